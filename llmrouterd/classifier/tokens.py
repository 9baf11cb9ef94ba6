"""Words of a text, and a trie that finds phrases among them in one linear walk.

A token is a run of letters, digits and combining marks. In scripts written without spaces (Han,
kana, Thai, Lao, Khmer, Burmese) every character is a token of its own. Sentence punctuation (. ! ?
; : and their CJK forms) is a token too, so that no phrase spans two sentences; all other characters
only separate tokens. Tokens are NFKC-normalised and casefolded.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u3005-\u3007\u3041-\u3096\u30a1-\u30fa\u30fc"  # kana and iteration marks
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
# Python's \w leaves out the vowel signs of Indic scripts and the Arabic and Hebrew points.
_MARKS = "\u0300-\u036f\u0591-\u05bd\u064b-\u065f\u0900-\u0dff"
_LETTER = rf"[^\W_{_UNSPACED}]"
_RUN = re.compile(rf"[{_UNSPACED}]+")
_TOKEN = re.compile(rf"[{_UNSPACED}]+|{_LETTER}+(?:[{_MARKS}]+{_LETTER}*)*|[.!?;:。！？；：…।]")
_ASCII_TOKEN = re.compile(r"[a-z0-9]+|[.!?;:]")
_WIDE_MARKS = tuple(zip("，：；！？（）～", ",:;!?()~", strict=True))
_FIRST_UNSPACED = "\u0e00"
_BREAKS = frozenset(".!?;:。！？；：…।")

# Stems are found by their first letters: three where they are ASCII, else two, because
# Korean and Arabic stems are often that short.
ASCII_HEAD = 3
WIDE_HEAD = 2
_MOST_KNOWN = 20_000
_LONGEST_KNOWN = 24


def fold(text: str) -> str:
    """Return the text NFKC-normalised and casefolded: what tokens and phrases are made of."""
    if text.isascii():
        return text.lower()
    # The full-width marks of CJK text are often all that keeps it from being normal already, and
    # the check is several times faster than the normalisation.
    for wide, narrow in _WIDE_MARKS:
        text = text.replace(wide, narrow)
    if not unicodedata.is_normalized("NFKC", text):
        text = unicodedata.normalize("NFKC", text)
    return text.casefold()


def tokenize(folded: str) -> list[str]:
    """Split folded text into tokens, in order."""
    if folded.isascii():
        return _ASCII_TOKEN.findall(folded)
    tokens: list[str] = []
    for piece in _TOKEN.findall(folded):
        if piece[0] < _FIRST_UNSPACED or not _RUN.match(piece):
            tokens.append(piece)
        else:
            tokens.extend(piece)
    return tokens


def without_accents(token: str) -> str:
    """Return a token as people type it who leave the accents out ("poème" -> "poeme")."""
    if token.isascii():
        return token
    if not all(char.isascii() or _in_accented_blocks(char) for char in token):
        return token
    plain = unicodedata.normalize("NFD", token).translate(_DROP_MARKS)
    return unicodedata.normalize("NFC", plain)


def _in_accented_blocks(char: str) -> bool:
    """Return whether a character is Latin (Vietnamese included), Greek or Cyrillic."""
    return "\u00c0" <= char <= "\u04ff" or "\u1e00" <= char <= "\u1eff"


_DROP_MARKS = dict.fromkeys(range(0x300, 0x370), "") | {
    ord("ł"): "l",
    ord("ı"): "i",
    ord("đ"): "d",
    ord("ø"): "o",
}


def phrase_words(phrase: str) -> list[tuple[str, bool]]:
    """Split a phrase into (token, is a stem); the star belongs to the last token of its word."""
    words: list[tuple[str, bool]] = []
    for chunk in fold(phrase).split():
        tokens = tokenize(chunk)
        words.extend((token, False) for token in tokens)
        if tokens and chunk.endswith("*"):
            words[-1] = (words[-1][0], True)
    return words


def spellings(phrase: str) -> Iterator[list[tuple[str, bool]]]:
    """Yield a phrase as written, and once more without accents where it has any."""
    words = phrase_words(phrase)
    yield words
    plain = [(without_accents(token), stem) for token, stem in words]
    if plain != words:
        yield plain


def phrase_problem(phrase: str) -> str | None:
    """Return what is wrong with a phrase, or None."""
    words = phrase_words(phrase)
    if not any(token[0].isalnum() for token, _ in words):
        return f"the phrase {phrase!r} has no word in it"
    token, stem = words[0]
    least = ASCII_HEAD if token.isascii() else WIDE_HEAD
    if stem and len(token) < least:
        return (
            f"the prefix {token + '*'!r} is too short to begin a phrase: {least} letters are needed"
        )
    return None


class _Node:
    """What may follow the tokens read so far, and the entries that end with them."""

    __slots__ = ("children", "entries", "stems")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.stems: dict[str, _Node] = {}
        self.entries: tuple[int, ...] = ()


class PhraseTrie:
    """Phrases as paths of tokens; built once, then only read.

    A token of a phrase that ends in ``*`` is a stem and stands for every word that begins with it.
    """

    __slots__ = ("_heads", "_known", "_root")

    def __init__(self) -> None:
        self._root = _Node()
        self._heads: dict[str, list[tuple[str, _Node]]] = {}
        # What first words lead to, remembered: a pure function of the word, so sharing it is safe.
        self._known: dict[str, tuple[_Node, ...]] = {}

    def add(self, words: Sequence[tuple[str, bool]], entry: int) -> None:
        """Add one phrase, given as (token, is a stem) pairs, under the number of its entry."""
        node = self._root
        for depth, (token, stem) in enumerate(words):
            table = node.stems if stem else node.children
            known = table.get(token)
            if known is None:
                known = table[token] = _Node()
                if stem and depth == 0:
                    # A word with ASCII beginnings may have other letters further on.
                    for head in {_head(token), token[:WIDE_HEAD]}:
                        self._heads.setdefault(head, []).append((token, known))
            node = known
        if entry not in node.entries:
            node.entries += (entry,)

    def seal(self) -> None:
        """Let all empty tables be one, once the last phrase is in: most nodes are leaves."""
        nothing: dict[str, _Node] = {}
        pending = [self._root]
        while pending:
            node = pending.pop()
            pending.extend(node.children.values())
            pending.extend(node.stems.values())
            node.children = node.children or nothing
            node.stems = node.stems or nothing

    def find(self, tokens: Sequence[str]) -> list[tuple[int, int, int]]:
        """Return (entry, begin, end) for every phrase at each of its places, ordered by begin.

        ``begin`` and ``end`` are a half-open range of tokens.
        """
        last = len(tokens) - 1
        found: list[tuple[int, int, int]] = []
        known = self._known
        for begin, remembered in enumerate(map(known.get, tokens)):
            nodes = self._first(tokens[begin]) if remembered is None else remembered
            if not nodes:
                continue
            following = tokens[begin + 1] if begin < last else ""
            for node in nodes:
                if node.entries or following in node.children or node.stems:
                    _walk(node, tokens, begin, found)
        return found

    def _first(self, token: str) -> tuple[_Node, ...]:
        """Return the nodes that a first token leads to: its own, and those of the stems it has."""
        nodes = [self._root.children[token]] if token in self._root.children else []
        for stem, node in self._heads.get(_head(token), ()):
            if token.startswith(stem):
                nodes.append(node)
        if len(token) <= _LONGEST_KNOWN:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[token] = tuple(nodes)
        return tuple(nodes)


def _head(token: str) -> str:
    """Return the letters by which stems are looked up."""
    return token[:ASCII_HEAD] if token.isascii() else token[:WIDE_HEAD]


def _walk(
    node: _Node, tokens: Sequence[str], begin: int, found: list[tuple[int, int, int]]
) -> None:
    """Collect the phrases below a node whose first token stands at ``begin``."""
    count = len(tokens)
    pending = [(node, begin + 1)]
    while pending:
        node, end = pending.pop()
        for entry in node.entries:
            found.append((entry, begin, end))
        if end == count:
            continue
        token = tokens[end]
        if token in node.children:
            pending.append((node.children[token], end + 1))
        for stem, stem_node in node.stems.items():
            if token.startswith(stem):
                pending.append((stem_node, end + 1))


def is_break(token: str) -> bool:
    """Return whether a token ends a sentence or clause."""
    return token in _BREAKS


def unbroken(tokens: Sequence[str], begin: int, end: int) -> bool:
    """Return whether no sentence ends within a range of tokens."""
    return _BREAKS.isdisjoint(tokens[begin:end])


def inner_range(tokens: Sequence[str]) -> tuple[int, int]:
    """Return the token range without the punctuation at either end, for whole-text phrases."""
    low, high = 0, len(tokens)
    while low < high and tokens[low] in _BREAKS:
        low += 1
    while high > low and tokens[high - 1] in _BREAKS:
        high -= 1
    return low, high
