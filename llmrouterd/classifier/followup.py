"""Whether a turn goes on with the one before it: by its first words and its length."""

from __future__ import annotations

from llmrouterd.classifier.tokens import fold, is_break, tokenize

_MOST_CHARACTERS = 300
_MOST_WORDS = 24
_HALF_WORDS = 4.0
_OPENED = 0.8  # what a turn takes over that begins like a follow-up, however many words it has
# Turns that say nothing by themselves, whatever came before.
_WHOLE = frozenset(
    """continue|go on|more|again|why|why not|how so|how come|next|next one|yes|yes please|no|ok|okay
    |sure|really|are you sure|and|and then|what else|anything else|keep going|shorter|longer
    |another one|one more|same again|left|right|up|down|a|b|c|d|1|2|3|the first one|the second one
    |weiter|mehr|nochmal|noch mal|noch eins|warum|wieso|und|und dann|ja|nein|kürzer|länger|genauer
    |continue stp|encore|encore un|pourquoi|et|et après|oui|non|plus court|la suite|vas y
    |sigue|continúa|continua|más|otra|otra vez|otro|por qué|porque|y|sí|no|más corto
    |ancora|un altro|perché|perche|e poi|continua pure|più corto|mais|outra|de novo|por quê
    |ga door|verder|nog een|waarom|dalej|jeszcze|dlaczego|pokračuj|ještě jednou|proč
    |ещё|еще|дальше|продолжай|почему|зачем|а|и|да|нет|короче|ще|далі|чому
    |devam|devam et|neden|niye|bir tane daha|المزيد|أكمل|لماذا|تابع|ادامه بده|چرا|עוד|למה|תמשיך
    |जारी रखो|और|क्यों|আরও|কেন|tiếp|tiếp tục|tại sao|lanjut|lagi|kenapa|fortsätt|varför|mer
    |继续|繼續|还有呢|还有|再来一个|为什么|為什麼|然后呢|もっと|続けて|続き|なぜ|どうして|もう一つ
    |계속|계속해|더|왜|하나 더|ต่อ|ทำไม|συνέχισε|γιατί|continuă|de ce""".replace("\n", "").split("|")
)
_OPENING_PHRASES = """and|but|then|now|also|or|so|instead|what about|how about|what if|same|same for
    |no|nope|yes|next one|that one|this one|did that|tried that|still|the other|another|make it
    |make that|swap|add|remove|drop|leave out|change|keep|now do|do the same|again but
    |in that case|could you also|can you also|can you make it|can you do|only|just the|with
    |without|shorter|longer|and the|the last|the first|the second|number|und|aber|dann|jetzt
    |oder|auch|nimm noch|was ist mit|wie wäre es|stattdessen|nein|mach es|mach das|lass
    |und bei|noch|füg|das gleiche|et|mais|alors|maintenant|plutôt|et pour|et si|ajoute
    |enlève|non|pareil|y|pero|ahora|entonces|y si|quita|añade|mejor|igual|e|ma|adesso|invece
    |e se|togli|aggiungi|mas|agora|então|e se|tira|acrescenta|maar|nu|haal|voeg|ale|teraz
    |dodaj|usuń|а|и|но|теперь|тогда|а если|а что|добавь|убери|нет|та|але|додай|ve|peki|ama
    |şimdi|ya|و|لكن|الآن|ماذا عن|و اگر|ולמה|ואם|और|लेकिन|अब|আর|còn|và|thế|dan|kalau|tapi|och
    |lägg till|a co|ale|teď|那|那么|那如果|和|还|但是|现在|改成|换成
    |じゃあ|では|でも|それ|あと|次
    |그럼|그리고|그런데|이번엔|그건|แล้ว|και|αλλά|și|dar"""
_OPENERS = tuple(
    sorted(
        (
            tokenize(fold(phrase.strip()))
            for phrase in _OPENING_PHRASES.replace("\n", "").split("|")
        ),
        key=len,
        reverse=True,
    )
)


def continued(text: str) -> float:
    """How much of the turn before a turn takes over, 0 to 1. 1 says nothing by itself."""
    if len(text) > _MOST_CHARACTERS:
        return 0.0
    tokens = [token for token in tokenize(fold(text)) if not is_break(token)]
    if _spaced(tokens) in _TURNS:
        return 1.0
    # In scripts without spaces every character is a token; two make about a word.
    words = sum(1.0 if len(token) > 1 or token.isascii() else 0.5 for token in tokens)
    if words > _MOST_WORDS:
        return 0.0
    share = 1.0 / (1.0 + (words / _HALF_WORDS) ** 2)
    opened = any(tokens[: len(opener)] == opener for opener in _OPENERS)
    return max(share, _OPENED) if opened else share


def _spaced(tokens: list[str]) -> str:
    return " ".join(tokens)


_TURNS = frozenset(_spaced(tokenize(fold(phrase.strip()))) for phrase in _WHOLE)
