"""The models that the backends serve, with everything the scorer may know about them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from llmrouterd.probes.result import Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmrouterd.evidence.subject import About
    from llmrouterd.footprint import Cache


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """A model as its backend describes it; None is 'does not say'.

    context: tokens that one request may have. slots: requests answered at the same time.
    loaded: in memory now; None where the backend does not tell. movable: it can be loaded and
    unloaded on request. memory: bytes that it takes while it is loaded. cache: what a context
    will take. busy: requests that it was answering when it was asked, whoever sent them.
    beside: models, itself among them, that its server holds at the same time at most.
    expires: when it will be let go if nobody uses it, in the backend's own words.
    """

    name: str
    aliases: tuple[str, ...] = ()
    digest: str | None = None
    family: str | None = None
    base_model: str | None = None
    file: str | None = None
    capabilities: frozenset[str] | None = None
    context: int | None = None
    size_b: float | None = None
    size_bytes: int | None = None
    quantization: str | None = None
    price: tuple[float, float] | None = None
    slots: int | None = None
    loaded: bool | None = None
    movable: bool = False
    memory: int | None = None
    cache: Cache | None = None
    busy: int | None = None
    beside: int | None = None
    expires: str | None = field(default=None, compare=False)  # no news of the model


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedPoint:
    """One measured answer: tokens that were read and written, and the seconds for each.

    `ttft` is the wait for the first token; `prefill_seconds` what the backend itself says of
    reading the prompt, None where it does not; `decode_seconds` covers `output_tokens`.
    """

    prompt_tokens: int
    ttft: float
    prefill_seconds: float | None = None
    output_tokens: int = 0
    decode_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelSpeed:
    """Tokens per second while `streams` answers are written at once: of all, and of each."""

    streams: int
    tokens_per_second: float
    stream_tokens_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a judge says of a model's answers in one category: the mean chance of a good answer
    (0 to 1) over `answers` of them."""

    category: str
    judge: str
    chance: float
    answers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One model, measured on this box; None is 'not measured'.

    `load_seconds` is what a start from not loaded adds to an answer, `warm_load_seconds` the
    same with the file still in the page cache. `ttft_seconds` is the time to first token of a
    loaded model and a short prompt. For a longer one it is `ttft_base_seconds` + tokens /
    `prefill_tokens_per_second`; the answer then takes tokens / `decode_tokens_per_second`.
    `vram_bytes` and `ram_bytes` are its size in memory with a context of `memory_context`
    tokens. `samples` counts the answers measured, `live_samples` those learnt from since; the
    times are ISO 8601, "" for never. `points` and `parallel` are what was measured,
    `abilities` which probes were passed, `judged` what a judge says.
    """

    load_seconds: float | None = None
    warm_load_seconds: float | None = None
    ttft_seconds: float | None = None
    ttft_base_seconds: float | None = None
    prefill_tokens_per_second: float | None = None
    decode_tokens_per_second: float | None = None
    vram_bytes: int | None = None
    ram_bytes: int | None = None
    memory_context: int | None = None
    samples: int = 0
    measured_at: str = ""
    live_samples: int = 0
    live_at: str = ""
    points: tuple[SpeedPoint, ...] = ()
    parallel: tuple[ParallelSpeed, ...] = ()
    abilities: tuple[Tally, ...] = ()
    judged: tuple[Judged, ...] = ()


# The parts of a profile that are lists of objects.
PROFILE_PARTS: Mapping[str, type[Any]] = {
    "points": SpeedPoint,
    "parallel": ParallelSpeed,
    "abilities": Tally,
    "judged": Judged,
}


def known_fields(kind: type[Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored of a dataclass's fields; those of another version are left out."""
    return {item.name: stored[item.name] for item in fields(kind) if item.name in stored}


def read_profile(stored: Mapping[str, Any]) -> Profile:
    """A Profile from its fields as JSON gives them. Raises TypeError where a part is not what it
    should be."""
    given = known_fields(Profile, stored)
    for name, kind in PROFILE_PARTS.items():
        given[name] = tuple(kind(**item) for item in given.get(name) or ())
    return Profile(**given)


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

    @property
    def weights(self) -> tuple[float, ...]:
        """The share that each source has in the mean; they add up to 1."""
        precisions = [source.sd**-2 for source in self.sources]
        return tuple(precision / sum(precisions) for precision in precisions)


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
    base_model: str | None = None
    file: str | None = None
    digest: str | None = None
    price: tuple[float, float] | None = None
    canonical: str | None = None
    num_ctx: int | None = None
    keep_alive: str | None = None
    pinned: bool = False
    vram: int | None = None
    enabled: bool = True
    remote: bool = False
    fallback: bool = False
    profile: Profile = field(default_factory=Profile)
    evidence: Mapping[str, Evidence] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """All that was known of one model at a time, but for what the policy says of it. profile: of
    these very weights. feedback: (number, sum of values) by category. pinned: over the API, None
    where nothing was said there."""

    backend: str
    facts: ModelFacts
    profile: Profile = field(default_factory=Profile)
    feedback: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    pinned: bool | None = None
    about: About


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """All models, in the order of their ids; `names` maps every way to ask for one to its id.
    `seen` is what the catalog was assembled of, so that another policy can be tried on it."""

    models: tuple[Model, ...] = ()
    by_id: Mapping[str, Model] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    seen: tuple[Sighting, ...] = field(default=(), compare=False, repr=False)

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
