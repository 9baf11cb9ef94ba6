"""What the backends report + the owner's overrides + what is known -> the Catalog. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmrouterd.catalog import Catalog, Model, ModelFacts, Profile, build_catalog
from llmrouterd.evidence import BenchmarkRow, Prior, build_evidence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmrouterd.policy import BackendSpec, ModelOverride, Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What was measured and published: profiles by model id (with the digest of the weights
    they were taken of), benchmark rows by model id or canonical identity, and the prior."""

    prior: Prior
    profiles: Mapping[str, tuple[str | None, Profile]] = field(default_factory=dict)
    rows: Mapping[str, tuple[BenchmarkRow, ...]] = field(default_factory=dict)


def group_rows(rows: Iterable[BenchmarkRow]) -> dict[str, tuple[BenchmarkRow, ...]]:
    """Rows by model."""
    grouped: dict[str, list[BenchmarkRow]] = {}
    for row in rows:
        grouped.setdefault(row.model, []).append(row)
    return {model: tuple(found) for model, found in grouped.items()}


def assemble(
    policy: Policy, facts: Mapping[str, Iterable[ModelFacts]], knowledge: Knowledge
) -> Catalog:
    """Build the catalog. facts: by backend name; backends that the policy no longer has are
    left out, and so are models that its globs leave out."""
    models = []
    for name, reported in facts.items():
        spec = policy.backend(name)
        if spec is not None:
            models += [
                _model(item, spec, policy, knowledge) for item in reported if spec.serves(item.name)
            ]
    return build_catalog(models)


def _model(facts: ModelFacts, spec: BackendSpec, policy: Policy, knowledge: Knowledge) -> Model:
    id_ = f"{spec.name}/{facts.name}"
    said = _merge(override for override in policy.models if override.match.match(id_))
    context = said.get("context", facts.context)
    num_ctx = keep_alive = None
    pinned = bool(said.get("pinned")) or policy.pins.match(id_)
    if spec.type == "ollama":
        wanted = said.get("num_ctx") or policy.residency.num_ctx
        num_ctx = min(wanted, facts.context or wanted) if wanted else None
        context = said.get("context") or num_ctx or facts.context
        keep_alive = "-1" if pinned else said.get("keep_alive") or policy.residency.keep_alive
    digest, profile = knowledge.profiles.get(id_, (None, Profile()))
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
        price=said.get("price", facts.price),
        canonical=said.get("canonical"),
        num_ctx=num_ctx,
        keep_alive=keep_alive or None,
        pinned=pinned,
        enabled=said.get("enabled", True),
        remote=spec.remote,
        fallback=spec.fallback,
        profile=profile if digest == facts.digest else Profile(),
    )
    return with_evidence(model, policy, knowledge, said.get("quality", {}))


def with_evidence(
    model: Model, policy: Policy, knowledge: Knowledge, estimates: Mapping[str, float]
) -> Model:
    """The model with its evidence in every category of the policy."""
    evidence = build_evidence(model, policy.categories, knowledge.rows, estimates, knowledge.prior)
    fields = {name: getattr(model, name) for name in model.__dataclass_fields__}
    return Model(**{**fields, "evidence": evidence})


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
        ):
            value = getattr(item, name)
            if value is not None:
                said[name] = value
        said["aliases"] = (*said.get("aliases", ()), *item.aliases)
        said["quality"] = {**said.get("quality", {}), **dict(item.quality)}
    return said
