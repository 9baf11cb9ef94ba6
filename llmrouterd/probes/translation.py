"""Translation of what has one right answer: numbers, days, dates, times of day."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from llmrouterd.probes.checks import Draft, NumberCheck, PhraseCheck, TimeCheck
from llmrouterd.probes.number_words import in_words

if TYPE_CHECKING:
    from llmrouterd.probes.seed import Source

_LANGUAGES = {
    "en": "English",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "it": "Italian",
    "zh": "Chinese",
}
_DAYS = {
    "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "de": "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
    "fr": "lundi mardi mercredi jeudi vendredi samedi dimanche",
    "es": "lunes martes miércoles jueves viernes sábado domingo",
    "it": "lunedì martedì mercoledì giovedì venerdì sabato domenica",
    "zh": "星期一 星期二 星期三 星期四 星期五 星期六 星期日",
}
_MONTHS = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre "
    "diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre "
    "dicembre",
    "zh": "1月 2月 3月 4月 5月 6月 7月 8月 9月 10月 11月 12月",
}
_LIMITS = ((2, 20), (21, 99), (101, 999), (1001, 9999), (21_001, 999_999))


def number_from_words(source: Source, level: int) -> Draft:
    """A number in words of some language, to be written in digits."""
    number = source.between(*_LIMITS[level - 1])
    language = source.choice(("de", "fr", "es", "it", "zh") if level > 1 else ("de", "fr", "es"))
    words = in_words(number, language)
    prompt = (
        f"Write this {_LANGUAGES[language]} number in digits: {words}\n"
        "End with one line of the form\nAnswer: <digits>"
    )
    return Draft(
        prompt=prompt,
        check=NumberCheck(value=Fraction(number)),
        reference=f"Answer: {number}",
        guess=0.05 if level == 1 else 0.0,
        max_tokens=250,
    )


def number_to_words(source: Source, level: int) -> Draft:
    """A number in words of one language, to be written in words of another."""
    number = source.between(*_LIMITS[level - 1])
    languages = ("en", "de", "fr", "es", "it", "zh") if level > 2 else ("en", "de", "fr", "es")
    first, second = source.sample(languages, 2)
    shown = in_words(number, first)
    prompt = (
        f"Translate this number from {_LANGUAGES[first]} to {_LANGUAGES[second]}, in words: "
        f"{shown}\nEnd with one line of the form\nAnswer: <number in words>"
    )
    wanted = in_words(number, second)
    return Draft(
        prompt=prompt,
        check=PhraseCheck(accepted=_spellings(number, second)),
        reference=f"Answer: {wanted}",
        max_tokens=250,
    )


def _spellings(number: int, language: str) -> tuple[str, ...]:
    """All ways to write a number that are right."""
    words = in_words(number, language)
    ways = [words]
    if language == "en":
        ways.append(words.replace("hundred ", "hundred and "))
        if number >= 1000 and 0 < number % 1000 < 100:
            ways.append(words.replace("thousand ", "thousand and "))
            ways.append(ways[1].replace("thousand ", "thousand and "))
    elif language == "de":
        for whole in ("hundert", "tausend"):
            if words.startswith(f"ein{whole}"):
                ways.append(words[3:])
        ways += [way.replace("tausendein", "tausend") for way in ways if "tausendeinhundert" in way]
        ways += [way.replace("hundert", "hundertund", 1) for way in ways if number % 100]
    elif language == "it":
        ways.append(words.replace("centootto", "centotto").replace("centoottanta", "centottanta"))
    elif language == "zh":
        ways += [words.replace("二千", "两千").replace("二百", "两百").replace("二万", "两万")]
        ways += [
            words.replace("二千", "两千"),
            words.replace("二万", "两万"),
            words.replace("二百", "两百"),
        ]
        ways.append(words.replace("一十", "十"))
    return tuple(dict.fromkeys(ways))


def _date(day: tuple[int, int, int, int], language: str, level: int) -> tuple[str, ...]:
    """Ways to write (weekday, day, month, year) in full; the first one is the best."""
    weekday, number, month, year = day
    name, month_name = _DAYS[language].split()[weekday], _MONTHS[language].split()[month - 1]
    if level == 1:
        plain = (name,)
        return (*plain, name.replace("星期", "周"), "星期天") if name == "星期日" else plain
    if language == "zh":
        head = f"{year}年{month_name}{number}日"
        whole = f"{month_name}{number}日"
        base = head if level > 2 else whole
        ends = [name, name.replace("星期", "周")] + (["星期天"] if weekday == 6 else [])
        return tuple(base + end for end in ends) + tuple(end + base for end in ends)
    tail = f" {year}" if level > 2 else ""
    if language == "en":
        ways = [
            f"{name}, {month_name} {number},{tail}",
            f"{name}, {number} {month_name}{tail}",
            f"{name} the {number}{_ordinal(number)} of {month_name}{tail}",
            f"{name}, {month_name} {number}{_ordinal(number)},{tail}",
            f"{name}, {number}{_ordinal(number)} {month_name}{tail}",
            f"{name}, {number}{_ordinal(number)} of {month_name}{tail}",
        ]
        return tuple(way.rstrip(",") for way in ways)
    if language == "de":
        return tuple(f"{name}, {pre}{number}. {month_name}{tail}" for pre in ("", "der ", "den "))
    if language == "es":
        end = (f" de {year}", f" del {year}") if tail else ("",)
        return tuple(
            f"{name}{pre} {number} de {month_name}{e}" for e in end for pre in (",", " el")
        )
    first = {"fr": "1er", "it": "1º"}[language] if number == 1 else str(number)
    shown = tuple(f"{name} {n} {month_name}{tail}" for n in {first: 0, str(number): 0})
    article = "le " if language == "fr" else "il "
    return shown + tuple(f"{name} {article}{n} {month_name}{tail}" for n in (first, str(number)))


def _ordinal(number: int) -> str:
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number not in (11, 12, 13) else 0, "th")


def dates(source: Source, level: int) -> Draft:
    """A day of the week, or a date with it, from one language into another."""
    day = (
        source.below(7),
        source.between(2, 28),
        source.between(1, 12),
        source.between(1950, 2040),
    )
    if level < 4:
        first, second = source.sample(("en", "de", "fr", "es"), 2)
    else:
        first, second = source.sample(("de", "fr", "es", "it", "zh"), 2)
    shown = _date(day, first, level)[0]
    ways = _date(day, second, level)
    if level == 5:
        other = (*day[:1], source.between(2, 28), source.between(1, 12), day[3] + 1)
        other = ((day[0] + source.between(1, 6)) % 7, *other[1:])
        shown = f"{shown} / {_date(other, first, level)[0]}"
        ways = tuple(f"{one} / {two}" for one in ways for two in _date(other, second, level))
    kind = "day of the week" if level == 1 else "date" if level < 5 else "two dates"
    keep = " Keep the slash between them." if level == 5 else ""
    prompt = (
        f"Translate the {kind} from {_LANGUAGES[first]} to {_LANGUAGES[second]}: {shown}\n"
        f"Write the names of the day and the month in words, all else in digits.{keep} End "
        "with one "
        "line of the form\nAnswer: <translation>"
    )
    return Draft(
        prompt=prompt,
        check=PhraseCheck(accepted=ways),
        reference=f"Answer: {ways[0]}",
        guess=1 / 7 if level == 1 else 0.0,
        max_tokens=250,
    )


_HOURS = {
    "de": "eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf".split(),
    "fr": "une deux trois quatre cinq six sept huit neuf dix onze douze".split(),
    "es": "una dos tres cuatro cinco seis siete ocho nueve diez once doce".split(),
    "it": "una due tre quattro cinque sei sette otto nove dieci undici dodici".split(),
}


def _clock(language: str, hour: int, minute: int) -> str:
    """A time as it is said; hour 2 to 11, minute 0, 10, 15, 20, 30, 35, 40, 45 or 50."""
    names = _HOURS[language]
    now, after = names[hour - 1], names[hour % 12]
    if language == "de":
        ways = {
            0: f"{now} Uhr",
            10: f"zehn nach {now}",
            15: f"Viertel nach {now}",
            20: f"zwanzig nach {now}",
            30: f"halb {after}",
            35: f"fünf nach halb {after}",
            40: f"zwanzig vor {after}",
            45: f"Viertel vor {after}",
            50: f"zehn vor {after}",
        }
        return ways[minute]
    if language == "fr":
        head, tail = f"{now} heures", f"{after} heures"
        ways = {
            0: head,
            10: f"{head} dix",
            15: f"{head} et quart",
            20: f"{head} vingt",
            30: f"{head} et demie",
            35: f"{tail} moins vingt-cinq",
            40: f"{tail} moins vingt",
            45: f"{tail} moins le quart",
            50: f"{tail} moins dix",
        }
        return ways[minute]
    article, joint, less = ("las", "y", "menos") if language == "es" else ("le", "e", "meno")
    head, tail = f"{article} {now}", f"{article} {after}"
    quarter = "cuarto" if language == "es" else "un quarto"
    half = "media" if language == "es" else "mezza"
    ten, twenty = ("diez", "veinte") if language == "es" else ("dieci", "venti")
    late = "veinticinco" if language == "es" else "venticinque"
    ways = {
        0: head,
        10: f"{head} {joint} {ten}",
        15: f"{head} {joint} {quarter}",
        20: f"{head} {joint} {twenty}",
        30: f"{head} {joint} {half}",
        35: f"{tail} {less} {late}",
        40: f"{tail} {less} {twenty}",
        45: f"{tail} {less} {quarter}",
        50: f"{tail} {less} {ten}",
    }
    return ways[minute]


def clock(source: Source, level: int) -> Draft:
    """A time of day as people say it, to be written as HH:MM."""
    minute = source.choice(((0,), (10, 15, 20), (30,), (40, 45, 50), (35,))[level - 1])
    hour = source.between(2, 11)
    language = source.choice(("de", "fr", "es", "it"))
    evening = source.below(2) == 1
    if evening and hour < 5:
        hour += 5
    said = _clock(language, hour, minute)
    when = "in the evening or afternoon" if evening else "in the morning"
    wanted = f"{hour + 12 if evening else hour:02d}:{minute:02d}"
    prompt = (
        f"What time is meant by this {_LANGUAGES[language]} expression, used {when}: {said}\n"
        "End with one line of the form\nAnswer: HH:MM (24-hour clock)"
    )
    return Draft(
        prompt=prompt,
        check=TimeCheck(time=wanted),
        reference=f"Answer: {wanted}",
        guess=0.05,
        max_tokens=250,
    )
