"""What the backends report + the owner's overrides + what is known -> the Catalog. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from llmrouterd.catalog import Catalog, Model, ModelFacts, Profile, Sighting, build_catalog
from llmrouterd.evidence import OVERALL, build_evidence
from llmrouterd.evidence.subject import About, Subject
from llmrouterd.library import Library
from llmrouterd.naming import Identity, parse_name
from llmrouterd.naming.key import family_of
from llmrouterd.probes.result import ability

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmrouterd.evidence.figures import Figures
    from llmrouterd.policy import BackendSpec, ModelOverride, Policy
    from llmrouterd.probes.result import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What was measured, published and said. profiles: by model id, with the digest of the
    weights they were taken of. feedback: (number, sum of values) by model id, then category.
    pins: what the owner has pinned or let go over the API, against the policy."""

    library: Library = field(default_factory=Library)
    profiles: Mapping[str, tuple[str | None, Profile]] = field(default_factory=dict)
    feedback: Mapping[str, Mapping[str, tuple[int, float]]] = field(default_factory=dict)
    pins: Mapping[str, bool] = field(default_factory=dict)


def assemble(
    policy: Policy, facts: Mapping[str, Iterable[ModelFacts]], knowledge: Knowledge
) -> Catalog:
    """Build the catalog. facts: by backend name; backends that the policy no longer has are
    left out, and so are models that its globs leave out."""
    seen = []
    for name, reported in facts.items():
        spec = policy.backend(name)
        if spec is not None:
            seen += [
                _see(item, spec, policy, knowledge) for item in reported if spec.serves(item.name)
            ]
    return assemble_seen(policy, seen)


def assemble_seen(policy: Policy, seen: Iterable[Sighting]) -> Catalog:
    """The catalog that this policy makes of what was seen."""
    made = [(sighting, build_model(sighting, policy)) for sighting in seen]
    catalog = build_catalog(model for _, model in made if model is not None)
    return replace(catalog, seen=tuple(sighting for sighting, model in made if model is not None))


def _see(facts: ModelFacts, spec: BackendSpec, policy: Policy, knowledge: Knowledge) -> Sighting:
    id_ = f"{spec.name}/{facts.name}"
    digest, profile = knowledge.profiles.get(id_, (None, Profile()))
    bare = Sighting(
        backend=spec.name,
        facts=facts,
        profile=profile if digest == facts.digest else Profile(),
        feedback=knowledge.feedback.get(id_, {}),
        pinned=knowledge.pins.get(id_),
        about=About(),
    )
    identity = identity_of(_declared(bare, spec, policy)[0], spec.type)
    return replace(bare, about=knowledge.library.about(identity, id_))


def build_model(sighting: Sighting, policy: Policy) -> Model | None:
    """One model as this policy sees it; None where it does not serve it."""
    spec = policy.backend(sighting.backend)
    if spec is None or not spec.serves(sighting.facts.name):
        return None
    model, estimates = _declared(sighting, spec, policy)
    return _with_evidence(model, policy, sighting, estimates)


def _declared(
    sighting: Sighting, spec: BackendSpec, policy: Policy
) -> tuple[Model, Mapping[str, float]]:
    """What its backend and the owner say of it, and the owner's estimates of its quality."""
    facts = sighting.facts
    id_ = f"{spec.name}/{facts.name}"
    said = _merge(override for override in policy.models if override.match.match(id_))
    context = said.get("context", facts.context)
    num_ctx = keep_alive = None
    pinned = policy.pins_model(id_) if sighting.pinned is None else sighting.pinned
    if spec.type == "ollama":
        wanted = said.get("num_ctx") or policy.residency.num_ctx
        num_ctx = min(wanted, facts.context or wanted) if wanted else None
        context = said.get("context") or num_ctx or facts.context
        keep_alive = "-1" if pinned else said.get("keep_alive") or policy.residency.keep_alive
    model = Model(
        id=id_,
        name=facts.name,
        backend=spec.name,
        aliases=(*facts.aliases, *said.get("aliases", ())),
        capabilities=said.get("capabilities", facts.capabilities),
        context=context,
        size_b=said.get("size_b", facts.size_b),
        size_bytes=facts.size_bytes,
        quantization=facts.quantization,
        family=facts.family,
        digest=facts.digest,
        base_model=facts.base_model,
        file=facts.file,
        price=said.get("price", facts.price),
        canonical=said.get("canonical"),
        num_ctx=num_ctx,
        keep_alive=keep_alive or None,
        pinned=pinned,
        vram=said.get("vram"),
        enabled=said.get("enabled", True),
        remote=spec.remote,
        fallback=spec.fallback,
        profile=sighting.profile,
    )
    return model, said.get("quality", {})


def identity_of(model: Model, kind: str = "") -> Identity:
    """What its names are looked up by. kind: the type of its backend. A file's name says more than
    the name that a server was told to show, unless it is one like model.gguf."""
    by_file = model.file and family_of(parse_name(model.file)) is not None
    return Identity(
        name=(model.file if by_file else None) or model.name,
        backend=kind,
        digest=model.digest if kind == "ollama" else None,
        base_model=model.base_model,
        parameter_count=round(model.size_b * 1e9) if model.size_b else None,
        canonical=model.canonical,
        family=model.family,
        quantization=model.quantization,
    )


def with_evidence(
    model: Model, policy: Policy, knowledge: Knowledge, estimates: Mapping[str, float]
) -> Model:
    """A model of a catalog file with its evidence. estimates: the owner's, see `Subject`."""
    spec = policy.backend(model.backend)
    identity = identity_of(model, spec.type if spec else "")
    sighting = Sighting(
        backend=model.backend,
        facts=ModelFacts(name=model.name),
        feedback=knowledge.feedback.get(model.id, {}),
        about=knowledge.library.about(identity, model.id),
    )
    return _with_evidence(model, policy, sighting, estimates)


def _with_evidence(
    model: Model, policy: Policy, sighting: Sighting, estimates: Mapping[str, float]
) -> Model:
    """The model with its evidence in every category of the policy, and what registries say
    where the backend says nothing."""
    about = sighting.about
    sizes = [model.size_b, about.size_b, *(fact.size_b for fact in about.facts)]
    size = next((size for size in sizes if size), None)
    # A registry knows what an API offers, not how a server at home was started.
    offered = about.facts if model.remote else ()
    contexts = [model.context, *(fact.context for fact in offered)]
    prices = [model.price, *(fact.price for fact in offered)]
    capabilities = [model.capabilities, *(fact.capabilities for fact in offered)]
    subject = Subject(
        size_b=size,
        released=about.released,
        quantization=_quantization(model, about.quant, size, policy),
        context=model.context,
        figures=about.figures,
        relatives=about.relatives,
        abilities=_abilities(model.profile.abilities, policy.figures),
        judged={one.category: (one.judge, one.chance, one.answers) for one in model.profile.judged},
        feedback=sighting.feedback,
        estimates=estimates,
        discrimination=policy.scoring.discrimination or 1.0,
        newest=about.newest,
    )
    return replace(
        model,
        size_b=size,
        quantization=subject.quantization,
        context=next((context for context in contexts if context), None),
        price=next((price for price in prices if price is not None), None),
        capabilities=next((found for found in capabilities if found is not None), None),
        evidence=build_evidence(subject, policy.categories, policy.figures),
    )


@lru_cache(maxsize=256)
def _abilities(tallies: tuple[Tally, ...], figures: Figures) -> dict[str, tuple[float, float]]:
    """(mean, sd) by category, and overall. All categories share the error of the difficulties,
    which therefore does not shrink with their number."""
    found = {name: (one.mean, one.sd) for name, one in ability(tallies, figures.levels).items()}
    if not found:
        return {}
    weights = [sd**-2 for _, sd in found.values()]
    mean = sum(w * m for w, (m, _) in zip(weights, found.values(), strict=True)) / sum(weights)
    return {**found, OVERALL: (mean, math.sqrt(len(found) / sum(weights)))}


def _quantization(model: Model, named: str, size: float | None, policy: Policy) -> str | None:
    """As the backend says, as the name says, or as the file's bits a weight say."""
    if model.remote:
        return model.quantization
    parameters = size * 1e9 if size else None
    nearest = policy.figures.nearest_quantization(model.size_bytes, parameters)
    return model.quantization or named or nearest


def _merge(overrides: Iterable[ModelOverride]) -> dict[str, Any]:
    """The overrides of one model as one; later ones win, aliases and qualities add up."""
    said: dict[str, Any] = {}
    for item in overrides:
        for name in (
            "enabled",
            "capabilities",
            "context",
            "size_b",
            "price",
            "canonical",
            "num_ctx",
            "keep_alive",
            "pinned",
            "vram",
        ):
            value = getattr(item, name)
            if value is not None:
                said[name] = value
        said["aliases"] = (*said.get("aliases", ()), *item.aliases)
        said["quality"] = {**said.get("quality", {}), **dict(item.quality)}
    return said
