"""A lexicon line from a corrected prompt: which of its phrases speaks for the right category and
for no other. Pure; nothing is edited here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrouterd.classifier.lexicon import build_lexicons
from llmrouterd.classifier.tokens import fold, is_break, tokenize

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from llmrouterd.classifier.lexicon import LexiconSet

_READ = 40  # tokens of the prompt; people say at the beginning what they want
_LENGTHS = (4, 3, 2)
_CHARACTERS = (6, 5, 4)  # of scripts without spaces, where a token is a character
_LEAST_LETTERS = 8
# Words that no phrase may begin or end with, for they say nothing of the task.
_COMMON = frozenset(
    "a an the and or but if of to in on at for with from by as is are was were be been do does "
    "did have has had i me my we us our you your he she it its they them their this that these "
    "those there here what which who how why when where can could would should will shall may "
    "must please hi hey hello thanks thank not no yes so just some any all one about into than "
    "then also very more most like need want help let get give make know tell say "
    "long many much old often far before after while until again "
    "der die das den dem ein eine einen einer und oder aber wenn von zu in im am an auf mit aus "
    "bei als ist sind war ich mich mir mein meine wir uns du dich dir dein sie ihr er es was wie "
    "warum wann wo wer kann kannst könntest würde bitte hallo danke nicht kein keine mal noch "
    "le la les un une des et ou mais si de du à au aux en dans sur pour avec par est sont je me "
    "mon ma mes nous vous tu te ton il elle ce cette que qui quoi comment pourquoi peux pouvez "
    "für nach über unter vor durch ohne gegen bonjour merci pas ne se son sa ses "
    "el los las una unos y o pero del al con por para es son "
    "yo mi tu su nos lo que como cómo puedes puede hola gracias por favor no il lo gli uno "
    "e ma di da per che come puoi ciao grazie non o os as um uma de do da em no na com se "
    "você pode olá obrigado não".split()
)


def phrases(text: str) -> Iterator[str]:
    """Phrases of a text that may name its task: from its beginning on, the longer first."""
    tokens = tokenize(fold(text[:2000]))[:_READ]
    for begin, token in enumerate(tokens):
        unspaced = len(token) == 1 and not token.isascii() and token.isalpha()
        for length in _CHARACTERS if unspaced else _LENGTHS:
            words = tokens[begin : begin + length]
            if len(words) == length and _telling(words, unspaced):
                yield ("" if unspaced else " ").join(words)


def _telling(words: list[str], unspaced: bool) -> bool:
    if any(is_break(word) or word.isdigit() for word in words):
        return False
    if unspaced:
        return all(len(word) == 1 and not word.isascii() for word in words)
    return (
        words[0] not in _COMMON
        and words[-1] not in _COMMON
        and sum(map(len, words)) >= _LEAST_LETTERS
    )


def choose_phrase(
    text: str, category: str, lexicons: LexiconSet, others: Collection[str]
) -> str | None:
    """The first phrase of a text that no lexicon of another category knows, that its own does not
    have, and that is in none of the other texts; None where there is none."""
    for phrase in phrases(text):
        hits = lexicons.match(phrase).hits
        if any(
            hit.weight > 0 and (hit.category != category or hit.entry == phrase) for hit in hits
        ):
            continue
        alone = build_lexicons(
            {"it": {"description": "", "groups": [{"weight": 1.0, "phrases": [phrase]}]}}
        )
        if not any(alone.match(other).hits for other in others):
            return phrase
    return None
