"""The policy, the catalog and what backends say -> what a host needs to know. Pure."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, TypedDict

from llmrouterd.footprint import estimate
from llmrouterd.hardware import own_memory
from llmrouterd.policy_residency import LOCAL
from llmrouterd.residency.plan import gigabytes
from llmrouterd.residency.ticket import Limits, ModelNeeds
from llmrouterd.scorer import load_seconds_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llmrouterd.catalog import Catalog, Model, ModelFacts
    from llmrouterd.footprint import Footprint
    from llmrouterd.hardware import MemoryPool
    from llmrouterd.policy import BackendSpec, Policy

_ANSWER_TOKENS = 300.0


class _Memory(TypedDict, total=False):
    """Of `ModelNeeds`."""

    size: int
    basis: str
    error: float


def host_limits(name: str, policy: Policy, pools: Sequence[MemoryPool] = ()) -> Limits:
    """The limits of a host by this policy. pools: of this machine, for what is not declared."""
    declared, queue = policy.residency.host(name), policy.queue
    return Limits(
        budget=declared.budget or _total(name, pools),
        most=declared.most,
        queue=queue.max,
        max_wait=queue.max_wait_seconds,
        refuse_wait=queue.refuse_seconds,
        minimum=policy.residency.minimum_seconds,
        spared=policy.residency.spare_minutes * 60.0,
    )


def _total(name: str, pools: Sequence[MemoryPool]) -> int | None:
    """What the cards of this machine have; a unified pool counts only where there is no card."""
    if name != LOCAL:
        return None
    return sum(pool.total_bytes for pool in own_memory(pools) or pools) or None


def needs_by_host(
    policy: Policy, catalog: Catalog, facts: Mapping[str, ModelFacts]
) -> dict[str, dict[str, ModelNeeds]]:
    """What the models of each host need, by their ids. facts: as their backends said last."""
    specs = {spec.name: spec for spec in policy.backends}
    models: dict[str, list[Model]] = {spec.host: [] for spec in policy.backends}
    for model in catalog.models:
        if model.backend in specs:
            models[specs[model.backend].host].append(model)
    return {
        host: {
            model.id: model_needs(
                model,
                specs[model.backend],
                facts.get(model.id),
                policy,
                [other.id for other in beside],
            )
            for model in beside
        }
        for host, beside in models.items()
    }


def model_needs(
    model: Model,
    spec: BackendSpec,
    facts: ModelFacts | None,
    policy: Policy,
    others: Iterable[str] = (),
) -> ModelNeeds:
    """What one model needs. facts: as its backend said last. others: ids on the same host."""
    slots = spec.slots or (facts.slots if facts else None)
    if slots is None and spec.type == "ollama":
        slots = 1  # OLLAMA_NUM_PARALLEL, unless it is set
    groups = [group for group in policy.residency.apart if group.match(model.id)]
    return ModelNeeds(
        **memory_of(model, facts),
        slots=slots,
        load_seconds=load_seconds_of(model, policy.scoring.assumed),
        answer_seconds=_ANSWER_TOKENS / _decode(model, policy),
        pinned=model.pinned,
        movable=facts is not None and facts.movable,
        beside=facts.beside if facts else None,
        apart=frozenset(
            other
            for other in (others if groups else ())
            if other != model.id and any(group.match(other) for group in groups)
        ),
    )


def _decode(model: Model, policy: Policy) -> float:
    """Tokens a second that it writes."""
    assumed = policy.scoring.assumed
    if model.remote:
        usual = assumed.remote_tokens_per_second
    else:
        usual = assumed.decode_tokens_per_second / (model.size_b or assumed.size_b)
    return model.profile.decode_tokens_per_second or usual


def memory_of(model: Model, facts: ModelFacts | None) -> _Memory:
    """What a model takes once it is loaded: declared, measured, estimated, or unknown."""
    if model.vram:
        return {"size": model.vram, "basis": "declared"}
    context = model.num_ctx or model.context
    cache, told = (facts.cache, facts.slots) if facts else (None, None)
    slots = told or 1
    measured, at = model.profile.vram_bytes, model.profile.memory_context
    chosen = model.num_ctx or told  # else Ollama itself chooses the context
    if measured and (not at or not context or not chosen or at == context * slots):
        return {"size": measured, "basis": "measured"}
    if not model.size_bytes and not measured:
        return {"size": 0, "basis": "unknown"}

    def of(tokens: int | None) -> Footprint:
        known = cache.of(tokens) * slots if cache and tokens else None
        return estimate(model.size_bytes or 0, model.size_b, tokens, known)

    size, error = of(context)
    if measured and at:  # all but the cache stays as it was measured
        size += measured - of(at // slots).bytes
    return {"size": size, "basis": "estimated", "error": error}


def never_fit(limits: Limits, needs: Mapping[str, ModelNeeds]) -> tuple[str, ...]:
    """What cannot be loaded on a host whatever is put out, each with its numbers."""
    budget = limits.budget
    pinned = [name for name, each in needs.items() if each.pinned]
    found = []
    if limits.most is not None and len(pinned) > limits.most:
        found.append(f"{len(pinned)} models are pinned, and at most {limits.most} are loaded")
    for backend, names in groupby(sorted(pinned), key=lambda name: name.partition("/")[0]):
        same = list(names)
        most = needs[same[0]].beside
        if most is not None and len(same) > most:
            found.append(f"{', '.join(same)} are pinned, and {backend} holds at most {most}")
    if budget is None:
        return tuple(found)
    kept = sum(needs[name].size for name in pinned)
    if kept > budget:
        found.append(
            f"the pinned {', '.join(pinned)} need {gigabytes(kept)} of {gigabytes(budget)}"
        )
        kept = 0
    beside = f" beside the pinned {', '.join(pinned)}" if kept else ""
    found += [
        f"{name} needs {gigabytes(each.size)} of {gigabytes(budget - kept)}{beside}"
        for name, each in needs.items()
        if not each.pinned and each.size > budget - kept
    ]
    return tuple(found)


def misfits(policy: Policy, catalog: Catalog) -> tuple[str, ...]:
    """`never_fit` of each declared host, each message after the host's name. What this policy
    says of a model counts before the catalog, which may be older."""
    found: list[str] = []
    for host in policy.residency.hosts:
        specs = {spec.name: spec for spec in policy.backends if spec.host == host.name}
        needs = {
            model.id: model_needs(_declared(model, policy), specs[model.backend], None, policy)
            for model in catalog.models
            if model.backend in specs and not model.remote
        }
        messages = never_fit(host_limits(host.name, policy), needs)
        found += [f"{host.name}: {message}" for message in messages]
    return tuple(found)


def _declared(model: Model, policy: Policy) -> Model:
    said = [override for override in policy.models if override.match.match(model.id)]
    vram = [override.vram for override in said if override.vram is not None]
    return replace(model, pinned=policy.pins_model(model.id), vram=vram[-1] if vram else model.vram)
