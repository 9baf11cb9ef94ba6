"""Prompts of about so many tokens, no two alike from their first word on, so that no cache of
prefixes helps."""

from __future__ import annotations

import random

_WORDS = (
    "river stone window garden letter market candle bridge silver morning paper engine island "
    "winter summer forest mountain kitchen doctor teacher horse cloud table music street water "
    "fire glass hand story friend house light night road sea train tree voice wall yellow green"
).split()
_ASK = "Tell me a long story with these words, in any order: "


def make_prompt(tokens: int, source: random.Random) -> str:
    """About `tokens` tokens, rather fewer: a common word is one token in most vocabularies."""
    words = [str(source.randrange(1000, 10000))]
    words += source.choices(_WORDS, k=max(1, int(tokens * 0.9) - 16))
    return f"{words[0]}. {_ASK}{' '.join(words[1:])}."


def make_body(tokens: int, output_tokens: int, source: random.Random) -> dict[str, object]:
    """The body of a chat with such a prompt."""
    return {
        "messages": [{"role": "user", "content": make_prompt(tokens, source)}],
        "max_tokens": output_tokens,
        "temperature": 0.7,
    }
