"""How the parts of a name are spelt: numbers in pieces, dates, versions, publishers. Pure."""

from __future__ import annotations

import re

NUMBER = re.compile(r"(?a)^v?(\d+(?:\.\d+)*)$")
_SINGLE = re.compile(r"(?a)^v?\d$")
_TWO_DIGITS = re.compile(r"(?a)^[01]\d$")
_DAY = re.compile(r"(?a)^[0-3]\d$")
_YEAR = re.compile(r"(?a)^20(?:2[2-9])$")
_PAIR = 2
_MONTHS = 12
_DAYS = 31
_FIRST_YEAR, _LAST_YEAR = 22, 29
# Leading words that name the publisher: `mistralai_Mistral-Small`, `nvidia-llama-3.3-nemotron`.
_PUBLISHER_PAIRS = {"deepseek": "ai", "zai": "org", "z": "ai", "open": "thoughts", "arcee": "ai"}
_PUBLISHERS = frozenset(
    """
    lgai mistralai google nvidia nv microsoft meta ibm c4ai coherelabs cohereforai allenai openai
    huggingfacetb thudm tiiuae moonshotai nousresearch cognitivecomputations amazon huggingfaceh4
    upstage bigcode ggml teknium nexusflow internlm stabilityai speakleash lmsys primeintellect
    minimaxai cohere primeintellect xiaomimimo stepfun baidu tencent rhymes
    """.split()
)
_QWEN_LINES = frozenset({"qwq", "qvq", "codeqwen"})


def merged(words: tuple[str, ...]) -> list[str]:
    """`3 5` is 3.5, `2024 08 06` and `08 2024` are dates, `05 06` is one too."""
    done: list[str] = []
    index = 0
    while index < len(words):
        here = words[index]
        after = words[index + 1] if index + 1 < len(words) else ""
        third = words[index + 2] if index + 2 < len(words) else ""
        if _YEAR.match(here) and _TWO_DIGITS.match(after) and _DAY.match(third):
            done.append(f"{here}-{after}-{third}")
            index += 3
        elif _TWO_DIGITS.match(here) and _YEAR.match(after):
            done.append(f"{here}-{after}")
            index += 2
        elif _TWO_DIGITS.match(here) and _DAY.match(after) and done:
            done.append(f"{here}{after}")
            index += 2
        elif _SINGLE.match(here) and _SINGLE.match(after) and not after.startswith("v"):
            done.append(f"{here}.{after}")
            index += 2
        else:
            done.append(here)
            index += 1
    return done


def without_publisher(words: list[str]) -> list[str]:
    """The words of a name without the publisher in front that some write into it."""
    if not words:
        return words
    for _ in range(_PAIR):  # `CohereForAI_c4ai-command-a`
        if len(words) > 1 and words[0] == "qwen" and words[1] in _QWEN_LINES:
            words = words[1:]
        if len(words) == 1 or NUMBER.match(words[1]):  # `internlm 2.5` is no publisher
            break
        if words[0] in _PUBLISHERS:
            words = words[1:]
        elif len(words) > _PAIR and _PUBLISHER_PAIRS.get(words[0]) == words[1]:
            words = words[_PAIR:]
    once = [word for at, word in enumerate(words) if not at or word != words[at - 1]]
    if once[:2] and once[0] in once[1:3] and not NUMBER.match(once[0]):
        once = once[1:]  # `ibm-granite_granite`, `LGAI-EXAONE_EXAONE`
    return once


def version(text: str) -> str:
    """`v1.0` is 1, `01` is 0.1."""
    plain = text.removeprefix("v")
    if len(plain) == len("01") and plain.startswith("0"):
        plain = f"0.{plain[1]}"
    return plain.removesuffix(".0")


def is_date(word: str) -> bool:
    """Whether a word of a name is a date."""
    if "-" in word:
        return True  # only whole dates are joined so, see `merged`
    if not word.isdigit() or not word.isascii():
        return False
    if len(word) in {6, 8}:
        return bool(_YEAR.match(word[:4]))
    if len(word) != len("2407"):
        return len(word) == len("001") and word.startswith("00")
    first, second = int(word[:2]), int(word[2:])
    month_day = 1 <= first <= _MONTHS and 1 <= second <= _DAYS
    year_month = _FIRST_YEAR <= first <= _LAST_YEAR and 1 <= second <= _MONTHS
    return month_day or year_month
