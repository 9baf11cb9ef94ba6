"""Whole numbers from 0 to 999,999 in words: English, German, French, Spanish, Italian, Chinese."""

from __future__ import annotations

_EN = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_EN_TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()
_DE = (
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn "
    "fünfzehn sechzehn siebzehn achtzehn neunzehn"
).split()
_DE_TENS = "- - zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()
_FR = (
    "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze "
    "seize dix-sept dix-huit dix-neuf"
).split()
_FR_TENS = "- - vingt trente quarante cinquante soixante soixante quatre-vingt quatre-vingt".split()
_ES = (
    "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince "
    "dieciséis diecisiete dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro "
    "veinticinco veintiséis veintisiete veintiocho veintinueve"
).split()
_ES_TENS = "- - - treinta cuarenta cincuenta sesenta setenta ochenta noventa".split()
_ES_HUNDREDS = (
    "- ciento doscientos trescientos cuatrocientos quinientos seiscientos setecientos "
    "ochocientos novecientos"
).split()
_IT = (
    "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici "
    "quindici sedici diciassette diciotto diciannove"
).split()
_IT_TENS = "- - venti trenta quaranta cinquanta sessanta settanta ottanta novanta".split()
_ZH = "零一二三四五六七八九"


def in_words(number: int, language: str) -> str:
    """A number in words. language: en | de | fr | es | it | zh. Raises ValueError."""
    if not 0 <= number <= 999_999:
        raise ValueError(f"{number} is not from 0 to 999,999")
    return _LANGUAGES[language](number)


def _english(number: int) -> str:
    if number < 20:
        return _EN[number]
    if number < 100:
        return _EN_TENS[number // 10] + (f"-{_EN[number % 10]}" if number % 10 else "")
    if number < 1000:
        rest = f" {_english(number % 100)}" if number % 100 else ""
        return f"{_EN[number // 100]} hundred{rest}"
    rest = f" {_english(number % 1000)}" if number % 1000 else ""
    return f"{_english(number // 1000)} thousand{rest}"


def _german(number: int) -> str:
    if number >= 1000:
        return (
            _german_head(number // 1000)
            + "tausend"
            + (_german(number % 1000) if number % 1000 else "")
        )
    if number >= 100:
        return (
            _german_head(number // 100)
            + "hundert"
            + (_german(number % 100) if number % 100 else "")
        )
    if number < 20:
        return _DE[number]
    unit = {0: "", 1: "einund"}.get(number % 10, f"{_DE[number % 10]}und")
    return unit + _DE_TENS[number // 10]


def _german_head(number: int) -> str:
    words = _german(number)
    return words[:-1] if words.endswith("eins") else words


def _french(number: int) -> str:
    if number >= 1000:
        head = number // 1000
        # 'quatre-vingts' and 'cents' lose their s before mille.
        words = _french(head)
        words = words[:-1] if words.endswith(("cents", "vingts")) else words
        first = "mille" if head == 1 else f"{words} mille"
        return first + (f" {_french(number % 1000)}" if number % 1000 else "")
    if number >= 100:
        head, rest = divmod(number, 100)
        first = "cent" if head == 1 else f"{_FR[head]} cent" + ("" if rest else "s")
        return first + (f" {_french(rest)}" if rest else "")
    if number < 20:
        return _FR[number]
    tens, unit = divmod(number, 10)
    if tens in (7, 9):
        unit += 10
    if number == 80:
        return "quatre-vingts"
    if unit == 0:
        return _FR_TENS[tens]
    joint = " et " if unit in (1, 11) and tens < 8 else "-"
    return _FR_TENS[tens] + joint + _FR[unit]


def _spanish(number: int) -> str:
    if number >= 1000:
        head = number // 1000
        first = "mil" if head == 1 else f"{_spanish_short(head)} mil"
        return first + (f" {_spanish(number % 1000)}" if number % 1000 else "")
    if number == 100:
        return "cien"
    if number > 100:
        rest = f" {_spanish(number % 100)}" if number % 100 else ""
        return _ES_HUNDREDS[number // 100] + rest
    if number < 30:
        return _ES[number]
    return _ES_TENS[number // 10] + (f" y {_ES[number % 10]}" if number % 10 else "")


def _spanish_short(number: int) -> str:
    """Before 'mil': veintiún, treinta y un."""
    words = _spanish(number)
    if words.endswith("veintiuno"):
        return words[:-9] + "veintiún"
    return words[:-1] if words.endswith("uno") else words


def _italian(number: int) -> str:
    if number >= 1000:
        thousands = number // 1000
        many = _italian(thousands).replace("tré", "tre")
        first = "mille" if thousands == 1 else f"{many}mila"
        return first + (_italian(number % 1000) if number % 1000 else "")
    if number >= 100:
        hundreds = "" if number < 200 else _IT[number // 100]
        rest = number % 100
        return f"{hundreds}cento" + (_italian(rest) if rest else "")
    if number < 20:
        return _IT[number]
    head, unit = _IT_TENS[number // 10], number % 10
    if unit in (1, 8):
        return head[:-1] + _IT[unit]
    return head + ("tré" if unit == 3 else _IT[unit] if unit else "")


def _chinese(number: int) -> str:
    if number == 0:
        return _ZH[0]
    if number >= 10_000:
        head, rest = divmod(number, 10_000)
        gap = "零" if 0 < rest < 1000 else ""
        return _below(head) + "万" + gap + (_below(rest, inner=True) if rest else "")
    return _below(number)


def _below(number: int, inner: bool = False) -> str:
    """1 to 9999. A ten at the start of a number is 十, inside of one 一十."""
    words, gap = "", False
    for value, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // value % 10
        if digit:
            if gap and words:
                words += "零"
            bare_ten = value == 10 and digit == 1 and not words and not inner
            words += ("" if bare_ten else _ZH[digit]) + name
            gap = False
        elif words:
            gap = True
    return words


_LANGUAGES = {
    "en": _english,
    "de": _german,
    "fr": _french,
    "es": _spanish,
    "it": _italian,
    "zh": _chinese,
}
