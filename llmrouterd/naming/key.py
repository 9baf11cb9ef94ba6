"""A name's canonical key: what the words of a name mean, and what is left unexplained. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from llmrouterd.naming.families import BY_FIRST_WORD, BY_LABEL, Family
from llmrouterd.naming.sizes import EXPERTS, REVISIONS, SIZES
from llmrouterd.naming.spelling import NUMBER, is_date, merged, version, without_publisher
from llmrouterd.naming.words import Parts, take_apart

_SIZE = re.compile(r"(?a)^(\d{1,4}(?:\.\d{1,3})?)([bm])$")
_EFFECTIVE = re.compile(r"(?a)^e(\d(?:\.\d)?)b$")
_EXPERT_SIZE = re.compile(r"(?a)^(\d{1,3})x(\d{1,3}(?:\.\d)?)([bm])$")
_ACTIVE = re.compile(r"(?a)^a(\d{1,3}(?:\.\d{1,2})?)([bm])$")
_EXPERT_COUNT = re.compile(r"(?a)^\d{1,3}e$")
_LETTERED = re.compile(r"(?a)^[mk](\d+(?:\.\d+)?)$")
_CONTEXT = re.compile(r"(?a)^\d{4,6}$")

_VARIANTS = {
    "instruct": "instruct",
    "inst": "instruct",
    "it": "instruct",
    "chat": "instruct",
    "instruction": "instruct",
    "base": "base",
    "pt": "base",
    "pretrained": "base",
    "thinking": "thinking",
    "think": "thinking",
    "reasoning": "reasoning",
    "reasoner": "reasoning",
    "coder": "coder",
    "code": "coder",
    "math": "math",
    "vision": "vision",
    "vl": "vision",
    "guard": "guard",
    "embed": "embed",
    "embedding": "embed",
    "embeddings": "embed",
    "rerank": "rerank",
    "reranker": "rerank",
}
_KINDS = frozenset("base instruct hybrid thinking reasoning embed rerank guard".split())
_SERVING = frozenset("turbo lite free reference versatile specdec instant tput".split())
_BY_VERSION = frozenset({"gpt", "o1", "o3", "o4"})
_HYBRID = (
    ("qwen", ("3", "3.5", "3.6", "3.7", "3.8")),
    ("smollm", ("3",)),
    ("glm", ("4.5", "4.6", "4.7", "5", "5.1", "5.2")),
    ("deepseek-v", ("3.1", "3.2", "4")),
    ("exaone", ("4",)),
)
_CHAT_BY_NAME = (("granite", ("4", "4.1", "3.3")), ("lfm", ("2", "2.5")))
_NOISE = frozenset({"hf", "latest"})
_SMALLEST_MILLIONS = 10.0
_LEAST_SIZE_SHARE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelKey:
    """A model, however it is spelt.

    family: product line. version: without `v` or a needless `.0`. size_b: billions of parameters
    in all. variants: of base, instruct, hybrid, thinking, reasoning, coder, math, vision,
    distill-BASE, guard, embed, rerank. date: as in names, 2407, 0528, 08-2024 or 2024-08-06.
    quant: upper case. extra: every word that is none of these, sorted. active_b: billions
    active per token.
    """

    family: str
    version: str
    size_b: float | None
    variants: frozenset[str]
    date: str
    quant: str
    extra: tuple[str, ...]
    active_b: float | None = None

    @property
    def line(self) -> str:
        """Family, version and variants: equal for the other sizes of a line."""
        parts = (self.family, self.version, "+".join(sorted(self.variants)), *self.extra)
        return " ".join(part for part in parts if part)

    @property
    def model(self) -> tuple[str, str, frozenset[str], tuple[str, ...]]:
        """All that must be equal, but for size and date, which have rules of their own."""
        return self.family, self.version, self.variants, self.extra


def same_size(one: float | None, other: float | None) -> bool:
    """Whether two sizes are the same within 2 %. An unknown size is only like another."""
    if one is None or other is None:
        return one is other
    return abs(one - other) <= _LEAST_SIZE_SHARE * max(one, other)


@lru_cache(maxsize=16384)
def parse_name(name: str, backend: str = "") -> ModelKey:
    """The key of any text. backend: where the name stands, since a name without `instruct` is a
    base model on Hugging Face and in files, and a chat model in Ollama, at an API in lower case
    and on the arena (`ollama`, `openai`, `lmarena`; anything else is as on Hugging Face)."""
    parts = take_apart(name)
    return read_key(parts, chat=_in_chat(parts, name, backend), text=backend == "ollama")


def read_key(parts: Parts, *, chat: bool, text: bool = False) -> ModelKey:
    """The key of a name's parts. chat: a name that says nothing is a chat model. text: the word
    `text` means base weights, as in Ollama's tags."""
    words = without_publisher(merged(parts.words))
    family = _family(words)
    reading = _Reading(family=family, label=_label(words, family))
    reading.read(words, text=text)
    return reading.key(parts.quant, chat=chat, is_model=parts.is_model)


def _in_chat(parts: Parts, name: str, backend: str) -> bool:
    if backend == "lmarena":
        return True
    if backend == "ollama":
        return not name.lower().startswith(("hf.co/", "huggingface.co/"))
    lower = parts.stem == parts.stem.lower() and parts.publisher != "meta-llama"
    return backend in {"openai", "api"} and (lower or parts.words[:1] in {("gpt",), ("claude",)})


def _family(words: list[str]) -> Family | None:
    present = set(words)
    found = [
        ranked
        for word in present
        for ranked in BY_FIRST_WORD.get(word, ())
        if present.issuperset(ranked[1].words)
    ]
    return min(found, key=lambda ranked: ranked[0])[1] if found else None


def _label(words: list[str], family: Family | None) -> str:
    if family is not None:
        return family.label
    taken: list[str] = []
    for word in words:
        if NUMBER.match(word) or _SIZE.match(word) or _EXPERT_SIZE.match(word):
            break
        if word in _VARIANTS:
            break
        taken.append(word)
    return "-".join(taken)


@dataclass(slots=True, kw_only=True)
class _Reading:
    """A key as it is being read."""

    family: Family | None
    label: str
    version: str = ""
    parts: list[str] = field(default_factory=list)
    size: float | None = None
    active: float | None = None
    date: str = ""
    experts: bool = False
    variants: set[str] = field(default_factory=set)
    extra: list[str] = field(default_factory=list)
    spare: list[str] = field(default_factory=list)

    def read(self, words: list[str], *, text: bool) -> None:
        """Take every word in."""
        mine = list(self.family.words) if self.family is not None else self.label.split("-")
        belongs = set(mine)
        owner = ""
        for word in words:
            if self._read_size(word):
                owner = ""
            elif self._read_number(word, owner, belongs):
                continue
            elif word in mine:
                mine.remove(word)
                owner = word
            else:
                owner = self._read_word(word, text=text)
        for number in self.spare:
            if not self.version:
                self.version = number
            else:
                self.extra.append(f"v{number}")

    def _read_size(self, word: str) -> bool:
        found = _EXPERT_SIZE.match(word)
        if found is not None:
            each = float(found[2]) / (1000.0 if found[3] == "m" else 1.0)
            self._add_size(EXPERTS.get(word, int(found[1]) * each))
            return True
        found = _SIZE.match(word)
        if found is not None:
            number = float(found[1])
            if found[2] == "m" and number < _SMALLEST_MILLIONS:
                return False  # a context, `1m`
            self._add_size(number / (1000.0 if found[2] == "m" else 1.0))
            return True
        found = _EFFECTIVE.match(word)
        if found is not None:
            self._add_size(float(found[1]))
            return True
        found = _ACTIVE.match(word)
        if found is not None:
            self.active = float(found[1]) / (1000.0 if found[2] == "m" else 1.0)
            return True
        if _EXPERT_COUNT.match(word):
            self.experts = True
            return True
        return False

    def _add_size(self, size: float) -> None:
        """Two sizes are those of a mixture of experts: the active and the total one."""
        if self.size is None or self.size == size:
            self.size = size
        else:
            self.active, self.size = sorted((self.size, size))

    def _read_number(self, word: str, owner: str, belongs: set[str]) -> bool:
        if is_date(word):
            if self.date and self.date != word:
                self.extra.append(word)
            self.date = self.date or word
            return True
        found = NUMBER.match(word)
        if found is None and self.label in {"minimax-m", "kimi-k"}:
            found = _LETTERED.match(word)
        if found is None:
            return False
        number = version(found[1])
        if _CONTEXT.match(number) and number.isdigit() and not int(number) & (int(number) - 1):
            return True  # a context length in tokens: 8192
        if owner in belongs and not self.version:
            self.version = number
        elif owner and owner not in belongs:
            self.extra[-1] = f"{owner}-{number}"
        else:
            self.spare.append(number)
        return True

    def _read_word(self, word: str, *, text: bool) -> str:
        """Returns the word if a number after it belongs to it."""
        if word in _NOISE:
            return ""
        if self.family is not None and word in self.family.parts:
            self.parts.append(word)
            return ""
        if text and word == "text":
            self.variants.add("base")
            return ""
        if word == "distill" or word == "distilled":
            self.variants.add("distill")
            return ""
        if word in _VARIANTS:
            self._read_variant(word)
            return ""
        if word in _SERVING and (self.label == "llama" or "instruct" in self.variants):
            return ""
        self.extra.append(word)
        return word

    def _read_variant(self, word: str) -> None:
        variant = _VARIANTS[word]
        if variant == "base" and self.label == "internlm":
            self.extra.append(word)  # internlm2-base-7b is not internlm2-7b
        if word == "code" and self.family is not None and "coder" in self.family.implied:
            self.variants.add("base")
        self.variants.add(variant)

    def key(self, quant: str, *, chat: bool, is_model: bool) -> ModelKey:
        """What was read, with what the family leaves out."""
        self._settle_version()
        self._settle_variants(chat=chat)
        self._settle_size()
        extra = sorted(self.extra)
        if not is_model:
            extra.append("(no model)")
        return ModelKey(
            family=self.label,
            version=self.version,
            size_b=self.size,
            variants=frozenset(self.variants),
            date=self.date,
            quant=quant,
            extra=tuple(extra),
            active_b=self.active,
        )

    def _settle_version(self) -> None:
        family = self.family
        if family is None:
            return
        self.version = self.version or family.version
        dated = REVISIONS.get((self.label, self.version))
        if dated is not None and (not self.date or self.date == dated):
            self.version, self.date = "", dated
        if self.label in _BY_VERSION:  # `gpt-4o`, `gpt-4.1-mini` and `o4-mini` are lines
            kinds = [word for word in ("turbo", "mini", "nano", "pro") if word in self.extra]
            self.extra = [word for word in self.extra if word not in kinds]
            self.label = "-".join([part for part in (self.label, self.version, *kinds) if part])
            self.version = ""
        if family.points and self.version and "." not in self.version:
            self.version += ".0"
        self.version = "-".join([part for part in (self.version, *sorted(self.parts)) if part])

    def _settle_variants(self, *, chat: bool) -> None:
        family = self.family
        bare = self.version.partition("-")[0].removesuffix(".0")
        if self.label == "deepseek-r1-distill":
            of = "qwen" if "qwen" in " ".join((*self.extra, *self._family_words())) else "llama"
            self.extra = [word for word in self.extra if word not in {"qwen", "llama"}]
            self.variants = {f"distill-{of}"}
            return
        if "distill" in self.variants:
            self.variants.discard("distill")
            self.extra.append("distill")
        if family is None:
            return
        self.variants |= family.implied
        if self.variants & _KINDS:
            return
        kind = family.kind
        if any(self.label == label and bare in of for label, of in _HYBRID):
            kind = frozenset({"hybrid"})
            if "coder" in self.variants:
                kind = frozenset({"instruct"})
        elif kind == {"base"} and (
            chat or any(self.label == label and bare in of for label, of in _CHAT_BY_NAME)
        ):
            kind = frozenset({"instruct"})
        self.variants |= kind

    def _family_words(self) -> tuple[str, ...]:
        return self.family.words if self.family is not None else ()

    def _settle_size(self) -> None:
        if self.experts and self.size is not None and self.active is None:
            self.active, self.size = self.size, None
        if self.size is not None:
            return
        for about in (*self.extra, self.version, self.date, ""):
            known = SIZES.get((self.label, about))
            if known is not None:
                self.size = known
                return


def family_of(key: ModelKey) -> Family | None:
    """The family's entry, if it is a known one."""
    return BY_LABEL.get(key.family) or BY_LABEL.get(key.family.partition("-")[0])
