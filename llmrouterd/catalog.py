"""The models that the backends serve, with everything the scorer may know about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """A model as its backend describes it; None is 'does not say'.

    context: tokens that one request may have. slots: requests answered at the same time.
    loaded: in memory now; None where the backend does not tell.
    """

    name: str
    aliases: tuple[str, ...] = ()
    digest: str | None = None
    family: str | None = None
    capabilities: frozenset[str] | None = None
    context: int | None = None
    size_b: float | None = None
    size_bytes: int | None = None
    quantization: str | None = None
    price: tuple[float, float] | None = None
    slots: int = 1
    loaded: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Speed of one model, measured on this box; None is 'not measured'.

    `ttft_seconds` is the time to first token of a warm model and a short prompt,
    `load_seconds` what a cold start adds to it.
    """

    load_seconds: float | None = None
    ttft_seconds: float | None = None
    prefill_tokens_per_second: float | None = None
    decode_tokens_per_second: float | None = None
    samples: int = 0
    measured_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One source of evidence: `mean` and `sd` in logits of a good answer."""

    source: str
    mean: float
    sd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a model is worth in one category, in logits, with what it was made from."""

    mean: float
    sd: float
    sources: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model on one backend. None is 'the backend does not say'.

    `capabilities` is None where nothing is known; `context` is what the backend really has for
    one request, in tokens; `size_bytes` is the size of the weights; prices are US dollars for a
    million tokens.
    """

    id: str
    name: str
    backend: str
    aliases: tuple[str, ...] = ()
    capabilities: frozenset[str] | None = None
    context: int | None = None
    size_b: float | None = None
    size_bytes: int | None = None
    quantization: str | None = None
    family: str | None = None
    digest: str | None = None
    price: tuple[float, float] | None = None
    canonical: str | None = None
    num_ctx: int | None = None
    keep_alive: str | None = None
    pinned: bool = False
    enabled: bool = True
    remote: bool = False
    fallback: bool = False
    profile: Profile = field(default_factory=Profile)
    evidence: Mapping[str, Evidence] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """All models, in the order of their ids; `names` maps every way to ask for one to its id."""

    models: tuple[Model, ...] = ()
    by_id: Mapping[str, Model] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: str) -> Model | None:
        """The model with this id, name or alias; where a name has several, the first id."""
        found = self.names.get(name)
        return self.by_id[found] if found else None


def build_catalog(models: Iterable[Model]) -> Catalog:
    """An id wins over an alias, an alias over a bare name; then the first id in order."""
    ordered = tuple(sorted(models, key=lambda model: model.id))
    names: dict[str, str] = {}
    for model in ordered:
        names.setdefault(model.name, model.id)
        if model.name.endswith(":latest"):
            names.setdefault(model.name.removesuffix(":latest"), model.id)
    taken: set[str] = set()
    for model in ordered:
        for alias in model.aliases:
            if alias not in taken:
                taken.add(alias)
                names[alias] = model.id
    by_id = {model.id: model for model in ordered}
    names |= {id_: id_ for id_ in by_id}
    return Catalog(models=ordered, by_id=by_id, names=names)
