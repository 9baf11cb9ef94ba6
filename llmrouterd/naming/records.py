"""What is asked about a local model, and what is answered. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmrouterd.naming.key import ModelKey

# How far a match may be trusted: a score's weight in the combination of evidence.
GRADES = {"exact": 1.0, "alias": 0.95, "canonical": 0.9, "revision": 0.6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a backend says about a model it serves.

    name: as the backend lists it. digest: Ollama's, whole or its first 12 hex digits, with or
    without `sha256:`. base_model: a Hugging Face repository or its address (GGUF
    `general.base_model.0.repo_url`). parameter_count: exact. canonical: the owner's own word
    for what the model is. family and quantization: as the backend spells them.
    """

    name: str
    backend: str = ""
    digest: str | None = None
    base_model: str | None = None
    parameter_count: int | None = None
    canonical: str | None = None
    family: str | None = None
    quantization: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A board's row that is this model. method: override, digest, base_model, name, alias or
    exact. grade: 0..1, one of GRADES."""

    source: str
    model: str
    method: str
    grade: float

    @property
    def grade_name(self) -> str:
        """The grade's name: exact, alias, canonical or revision."""
        return next((name for name, grade in GRADES.items() if grade == self.grade), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """A model's canonical key, the name it was read from, and what matches it, best first."""

    key: ModelKey
    upstream: str
    matches: tuple[Match, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRow:
    """A board's row of the same product line, of any size. size_b: billions of parameters."""

    size_b: float | None
    source: str
    model: str
