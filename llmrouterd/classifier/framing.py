"""A request without its frame: greetings, please and thanks, quotation marks around the whole.

None of them says what is wanted, and a decision must not hang on them. The training sees texts the
same way.
"""

from __future__ import annotations

import re

_LEAST_WORDS, _LEAST_CHARACTERS = 3, 8  # of what remains; a bare "hello" is itself the message
_EDGE = 160
_GREETING = (
    r"hi|hello|hey|hiya|good (?:morning|evening|afternoon)|dear assistant"
    r"|hallo|guten (?:tag|morgen)|moin|bonjour|salut|hola"
    r"|buenos días|buenas|ciao|buongiorno|salve|oi|olá|hoi|cześć|hej|привет|здравствуйте|привіт"
    r"|добрий день|merhaba|selam|مرحبا|السلام عليكم|سلام|שלום|नमस्ते|你好|您好|こんにちは|안녕하세요"
    r"|안녕|xin chào|halo"
)
_PLEASE = (
    r"please|pls|plz|kindly|could you (?:please )?|can you (?:please )?|would you (?:please )?"
    r"|bitte|s'il (?:te|vous) plaît|stp|svp|por favor|per favore|alsjeblieft|proszę|пожалуйста"
    r"|будь ласка|lütfen|من فضلك|لطفا|कृपया|请问|请|麻烦你|すみません|お願いします|부탁드려요"
)
_THANKS = (
    r"thanks(?: a lot| in advance)?|thank you(?: very much| so much)?|thx|ty|cheers"
    r"|danke(?: schön)?|merci(?: d'avance| beaucoup)?|gracias|grazie|obrigad[oa]"
    r"|dank je|bedankt|dziękuję|спасибо"
    r"|дякую|teşekkürler|شكرا|ممنون|תודה|धन्यवाद|谢谢|謝謝|ありがとう(?:ございます)?|감사합니다|고마워"
)
_BEFORE = re.compile(
    rf"(?i)\A\s*(?:(?:{_GREETING})(?!\w)[\s,!.:;…，！。、]*"
    rf"|(?:{_PLEASE})(?:(?<=[ \u3000-\u9fff])|(?!\w))[\s,!:，！：、]*)+"
)
_AFTER = re.compile(rf"(?i)[\s,.!?…，！。、]*(?:(?<!\w)(?:{_PLEASE}|{_THANKS})[\s!.…！。]*)+\Z")
_MARK = re.compile(r"[“”„‟«»「」『』＂]|(?<!\w)'|'(?!\w)|[‘‚](?=\w)|(?<=\w)’(?!\w)")


def unframed(text: str) -> str:
    """The text without its frame, with one kind of quotation marks."""
    text = _MARK.sub('"', text.strip())
    if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1]:
        text = text[1:-1].strip()
    found = _BEFORE.match(text[:_EDGE])
    if found is not None:
        text = _kept(text[found.end() :], text)
    found = _AFTER.search(text[-_EDGE:])
    if found is not None:
        text = _kept(text[: len(text) - len(text[-_EDGE:]) + found.start()], text, found[0])
    return text


def _kept(rest: str, text: str, ending: str = "") -> str:
    """What remains, with its question mark; the whole text where that is hardly anything."""
    mark = "?" if "?" in ending else ""
    enough = len(rest.split()) >= _LEAST_WORDS or (
        not rest.isascii() and len(rest) >= _LEAST_CHARACTERS
    )
    return rest + mark if enough else text
