"""decide(): match a rule, drop the unfit, rank the rest. Reads only its arguments.

The Decision it returns is what is executed, stored, logged, put in headers and explained; its
rendering is in `explanation`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from llmrouterd.catalog import Catalog
from llmrouterd.errors import BudgetSpent, ModelNotFound, NoCapableModel, NoModelAvailable
from llmrouterd.gates import Gate, Rejection
from llmrouterd.policy import PRESETS
from llmrouterd.scorer import Candidate, Load, Scorer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmrouterd.catalog import Model
    from llmrouterd.policy import Policy, When
    from llmrouterd.signals import Signals


class Ask(NamedTuple):
    """What the client asked for by the model's name.

    model: None means choose. backends: the models that answer to the name it gave.
    """

    preset: str
    models: tuple[Model, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """mode: explicit (the client named a model), routed, or task (a client's background task).

    ranked: best first; dispatch tries them in this order; none where the request is refused.
    rejected: with the gate each failed.
    load and catalog: what it was made from.
    """

    mode: str
    rule: str
    preset: str
    ranked: tuple[Candidate, ...]
    rejected: tuple[Rejection, ...]
    signals: Signals
    policy_digest: str
    generation: int = 0
    load: Load = field(default_factory=Load, compare=False, repr=False)
    catalog: Catalog = field(default_factory=Catalog, compare=False, repr=False)


def resolve(name: str | None, policy: Policy, catalog: Catalog) -> Ask:
    """What a model's name means: the virtual name (with `:preset`), or a real model.

    Raises ModelNotFound.
    """
    virtual = policy.server.model_name
    if name is None or name == virtual:
        return Ask("", None)
    base, _, suffix = name.rpartition(":")
    if base == virtual:
        if suffix in PRESETS:
            return Ask(suffix, None)
        raise ModelNotFound(
            f"The preset {suffix!r} does not exist; use one of {', '.join(PRESETS)}.", param="model"
        )
    model = catalog.find(name)
    if model is None:
        if policy.server.unknown_models == "route":
            return Ask("", None)
        raise ModelNotFound(
            f"The model {name!r} does not exist here; {virtual!r} chooses one for each prompt.",
            param="model",
        )
    if name == model.id:
        return Ask("", (model,))
    # The same name on several backends: any of them may answer.
    return Ask("", tuple(other for other in catalog.models if other.name == model.name))


def decide(
    signals: Signals,
    policy: Policy,
    catalog: Catalog,
    load: Load,
    ask: Ask | None = None,
    generation: int = 0,
) -> Decision:
    """Rank the models for a request. Raises NoCapableModel, NoModelAvailable or BudgetSpent when
    none can."""
    decision = consider(signals, policy, catalog, load, ask, generation)
    if not decision.ranked:
        raise refusal(decision)
    return decision


def consider(
    signals: Signals,
    policy: Policy,
    catalog: Catalog,
    load: Load,
    ask: Ask | None = None,
    generation: int = 0,
) -> Decision:
    """As `decide`, but when none can, nothing is ranked."""
    rule = next(rule for rule in policy.rules if matches(rule.when, signals))
    preset = signals.preset or (ask.preset if ask else "") or rule.preset or policy.scoring.preset
    scorer = Scorer(signals, policy, rule, rule.weights[preset], load)
    gate = Gate(rule, signals, policy, catalog, load)
    mode, name = "routed", rule.name
    if ask is not None and ask.models is not None:
        mode, name = "explicit", "explicit"
        fit, rejected = _affordable(ask.models, gate)
        ranked = rank(scorer.score(model) for model in fit)
    else:
        fit, rejected = _fit(gate, catalog)
        if signals.task and rule.when.task is None and not rule.use:
            mode, name = "task", f"task:{signals.task}"
            ranked = _rank_for_task(fit, scorer, policy, load)
        elif signals.kind == "embeddings":
            mode, name = "task", "embeddings"
            ranked = _rank_for_task(fit, scorer, policy, load)
        else:
            ranked = rank(scorer.candidates(fit))
    return Decision(
        mode=mode,
        rule=name,
        preset=preset,
        ranked=ranked,
        rejected=rejected,
        signals=signals,
        policy_digest=policy.digest,
        generation=generation,
        load=load,
        catalog=catalog,
    )


def rank(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Best total first; equal totals in the order of the model ids."""
    return tuple(sorted(candidates, key=lambda candidate: (-candidate.total, candidate.model)))


def matches(when: When, signals: Signals) -> bool:
    """Whether all conditions of a rule hold."""
    task = signals.task
    return not (
        (when.category is not None and signals.category not in when.category)
        or (
            when.task is not None
            and (task or "none") not in when.task
            and not (task and "any" in when.task)
        )
        or (when.needs is not None and not when.needs <= signals.needs)
        or (when.min_complexity is not None and signals.complexity < when.min_complexity)
        or (when.max_complexity is not None and signals.complexity > when.max_complexity)
        or (when.min_prompt_tokens is not None and signals.prompt_tokens < when.min_prompt_tokens)
        or (when.max_prompt_tokens is not None and signals.prompt_tokens > when.max_prompt_tokens)
        or (when.client is not None and signals.client not in when.client)
        or (when.preset is not None and signals.preset not in when.preset)
        or (when.text is not None and when.text not in signals.texts)
    )


def _affordable(models: Iterable[Model], gate: Gate) -> tuple[list[Model], tuple[Rejection, ...]]:
    """Of models that a client has named, those that a budget is left for, and the others with
    their reasons."""
    against = [(model, gate.budget(model)) for model in models]
    fit = [model for model, found in against if found is None]
    return fit, tuple(Rejection(model.id, *found) for model, found in against if found)


def _fit(gate: Gate, catalog: Catalog) -> tuple[list[Model], tuple[Rejection, ...]]:
    """The models that can serve, and the others with their reasons.

    What can be bent is bent only when nobody is left: a model whose context may cut the answer
    short is better than none, then one that is suspect, then one that is cooling.
    """
    fit: list[Model] = []
    rejected: list[Rejection] = []
    for model in catalog.models:
        reason = gate.reason(model)
        if reason is None:
            fit.append(model)
        else:
            rejected.append(reason)
    if not fit:
        for soft in ("answer_space", "suspect", "cooling"):
            bent = {rejection.model for rejection in rejected if rejection.gate == soft}
            if bent:
                fit = [model for model in catalog.models if model.id in bent]
                rejected = [rejection for rejection in rejected if rejection.model not in bent]
                break
    return fit, tuple(rejected)


def _rank_for_task(
    fit: list[Model], scorer: Scorer, policy: Policy, load: Load
) -> tuple[Candidate, ...]:
    """Resident models first, then the smallest that is large enough: a background task must
    neither evict a model nor keep a large one busy."""
    tasks = policy.tasks

    def key(model: Model) -> tuple[bool, bool, bool, float, str]:
        size = model.size_b or policy.scoring.assumed.size_b
        too_small = size < tasks.min_size_b
        absent = not model.remote and model.id not in load.resident
        order = -size if too_small else size
        return (model.id != tasks.model, absent, too_small, order, model.id)

    return tuple(scorer.score(model) for model in sorted(fit, key=key))


# Gates by which the policy names the models; the others tell what a model cannot do.
_BY_NAME = frozenset({"disabled", "fallback", "use", "only", "exclude"})


def refusal(decision: Decision) -> NoCapableModel | NoModelAvailable | BudgetSpent:
    """The error for a decision that ranks nothing."""
    signals, rejected = decision.signals, decision.rejected
    if not decision.catalog.models:
        return NoModelAvailable("No backend serves a model now; see GET /ready.", retry_after=5)
    reasons = _reasons(rejected)
    if any(rejection.gate == "budget" for rejection in rejected):
        return BudgetSpent(f"No budget is left for this. {reasons}")
    if any(rejection.gate == "fallback" for rejection in rejected):
        return NoModelAvailable(f"No model can serve this now. {reasons}", retry_after=5)
    needs = ", ".join(sorted(signals.needs)) or "nothing special"
    return NoCapableModel(f"No model here can serve this request (it needs {needs}). {reasons}")


def _reasons(rejected: tuple[Rejection, ...]) -> str:
    """Each reason once, with its models; those that the policy gives by name come last."""
    models: dict[str, list[str]] = {}
    for rejection in sorted(rejected, key=lambda each: each.gate in _BY_NAME):
        models.setdefault(rejection.reason, []).append(rejection.model)
    return "; ".join(
        f"{', '.join(ids[:4])}{f' and {len(ids) - 4} more' if len(ids) > 4 else ''}: {reason}"
        for reason, ids in list(models.items())[:6]
    )
