"""(model, signals, weights, load) -> named terms in points, and their total."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from llmrouterd.classifier.form import kind_of
from llmrouterd.evidence import OVERALL
from llmrouterd.policy import GENERAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmrouterd.catalog import Evidence, Model, Profile
    from llmrouterd.policy import Assumed, Policy, Rule, Weights
    from llmrouterd.signals import Signals


# Points that a lead which is not clear loses besides itself, so that the generalist wins the tie.
_TIE = 0.01


STATES = ("ready", "loading", "absent", "resting", "refused")


class Standing(NamedTuple):
    """How a model stands now. state: ready | loading | absent |
    resting (a load has failed) | refused (it cannot fit). wait: seconds until a
    request could start, without its own load. evicts: what would be put out, and `cost` the
    seconds that it loses others. reason: why it is refused."""

    state: str
    wait: float = 0.0
    evicts: tuple[str, ...] = ()
    cost: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The live state that a decision may read, as it was at one moment.

    resident: ids of loaded models. busy: requests in flight by model id. cooling: model id ->
    why it is left alone for now. suspect: model id -> why others are preferred for now.
    slots: how many requests a model answers at once (default 1).
    sticky: the model that this conversation already uses, "" for none. standing: how models stand
    in their host's memory and queue, where that is known. spent: backend -> why its budget lets it
    answer no more.
    """

    resident: frozenset[str] = frozenset()
    busy: Mapping[str, int] = field(default_factory=dict)
    cooling: Mapping[str, str] = field(default_factory=dict)
    suspect: Mapping[str, str] = field(default_factory=dict)
    slots: Mapping[str, int] = field(default_factory=dict)
    sticky: str = ""
    standing: Mapping[str, Standing] = field(default_factory=dict)
    spent: Mapping[str, str] = field(default_factory=dict)


class Candidate(NamedTuple):
    """A ranked model. quality: chance of a good answer (0 to 1); seconds: expected until the end
    of the answer; terms: (name, points), without those that are zero; standing: how it stood in
    its host's memory and queue, None where that is not known. wait: seconds expected until the
    first token. cents: US cents, None where it has no price."""

    model: str
    total: float
    quality: float
    seconds: float
    terms: tuple[tuple[str, float], ...]
    standing: Standing | None = None
    wait: float = 0.0
    cents: float | None = None


class Scorer:
    """Scores the models of one request: what does not depend on the model is worked out once."""

    __slots__ = ("_category", "_load", "_output", "_policy", "_rule", "_shift", "_signals", "_w")

    def __init__(
        self, signals: Signals, policy: Policy, rule: Rule, weights: Weights, load: Load
    ) -> None:
        self._signals = signals
        self._policy = policy
        self._rule = rule
        self._load = load
        self._w = weights
        self._category = rule.category or signals.category
        known = policy.categories.get(self._category)
        expected = known.output_tokens if known else 400
        self._output = min(expected, signals.max_tokens or expected)
        self._shift = policy.scoring.difficulty * (2.0 * signals.complexity - 1.0)

    def score(self, model: Model) -> Candidate:
        """Score one model; pure."""
        weights, load, signals = self._w, self._load, self._signals
        quality = self.quality(model)
        wait, seconds = self.times(model)
        cents = self._cents(model)
        terms = [
            ("quality", weights.quality * 100.0 * quality),
            ("time", -weights.time * self._felt(seconds)),
        ]
        if cents is not None:
            terms.append(("cost", -weights.cost * cents))
        if load.sticky == model.id:
            points = weights.stickiness + (weights.tool_loop if signals.tool_loop else 0.0)
            terms.append(("stickiness", points))
        if signals.tool_tokens and model.capabilities and "tools" in model.capabilities:
            terms.append(("tools", weights.tools))
        if model.id in load.resident:
            terms.append(("resident", weights.resident))
        standing = load.standing.get(model.id)
        if standing is not None and standing.cost:
            terms.append(("eviction", -weights.time * weights.eviction * standing.cost))
        if model.pinned:
            terms.append(("pinned", weights.pinned))
        if model.capabilities is None and signals.needs:
            terms.append(("unknown", -weights.unknown))
        for globs, points in self._rule.prefer:
            if globs.match(model.id):
                terms.append((f"prefer {globs.texts[0]}", points))
        kept = tuple([term for term in terms if term[1]])
        total = sum([points for _, points in kept])
        return Candidate(model.id, total, quality, seconds, kept, standing, wait, cents)

    def candidates(self, models: Sequence[Model]) -> list[Candidate]:
        """Score models that compete. One whose lead over the best generalist among them is not
        clear loses that lead in the term `margin`."""
        scored = [self.score(model) for model in models]
        known = [item for item in zip(models, scored, strict=True) if OVERALL in item[0].evidence]
        if not known or self._category == GENERAL:
            return scored
        best, top = max(known, key=lambda item: item[0].evidence[OVERALL].mean)
        for at, (model, one) in enumerate(zip(models, scored, strict=True)):
            if one.quality >= top.quality and not self._is_clear(model, best):
                lost = self._w.quality * 100.0 * (one.quality - top.quality) + _TIE
                terms = (*one.terms, ("margin", -lost))
                scored[at] = one._replace(total=one.total - lost, terms=terms)
        return scored

    def _is_clear(self, model: Model, best: Model) -> bool:
        """Whether the lead over the best generalist outweighs what is trailed by overall. Both
        count in standard deviations: what is certain counts more than what is vague, and the
        overall quality says little of a category however well it is known."""
        scoring = self._policy.scoring
        kind = kind_of(self._category, self._signals.form)
        if kind in model.evidence and kind in best.evidence:
            # Found with prompts of this very kind: that the lead is no accident is enough.
            one, other = model.evidence[kind], best.evidence[kind]
            return one.mean - other.mean > math.hypot(one.sd, other.sd)
        here, there = self._in_category(model), self._in_category(best)
        above, below = best.evidence[OVERALL], model.evidence[OVERALL]
        scatter = math.hypot(above.sd, below.sd, scoring.spread, scoring.spread)
        lead = (here[0] - there[0]) * scatter
        trail = (above.mean - below.mean) * math.hypot(here[1], there[1])
        return trail <= 0.0 or lead > scoring.margin * trail

    def quality(self, model: Model) -> float:
        """Chance of a good answer: ability in the category against the prompt's difficulty."""
        if OVERALL not in model.evidence:
            return 0.0
        mean, sd = self._in_category(model)
        ability = self._policy.scoring.discrimination * (mean - self._w.risk * sd)
        return logistic(ability - self._shift)

    def _in_category(self, model: Model) -> tuple[float, float]:
        """Mean and sd in the category, in logits: overall where nothing special is known."""
        overall: Evidence = model.evidence[OVERALL]
        special = self._known(model)
        if special is None:
            return overall.mean, overall.sd
        share = self._policy.scoring.generalist
        return (1.0 - share) * special.mean + share * overall.mean, special.sd

    def _known(self, model: Model) -> Evidence | None:
        """What is known of the prompt's kind, else of the category."""
        if self._category == GENERAL:
            return None
        kind = kind_of(self._category, self._signals.form)
        return model.evidence.get(kind) or model.evidence.get(self._category)

    def times(self, model: Model) -> tuple[float, float]:
        """Seconds until the first token and until the answer's end: queue, load, prefill, and
        decode beside what runs."""
        assumed, profile = self._policy.scoring.assumed, model.profile
        size = model.size_b or assumed.size_b
        busy, slots = self._load.busy.get(model.id, 0), self._load.slots.get(model.id, 1)
        if model.remote:
            decode = profile.decode_tokens_per_second or assumed.remote_tokens_per_second
            first = profile.ttft_seconds or assumed.remote_seconds
            load_seconds = 0.0
        else:
            decode = profile.decode_tokens_per_second or assumed.decode_tokens_per_second / size
            prefill = profile.prefill_tokens_per_second or assumed.prefill_tokens_per_second / size
            if busy and profile.parallel:
                decode = _shared_pace(profile, decode, min(busy + 1, slots))
            first = self._prompt_tokens(model) / prefill + (profile.ttft_base_seconds or 0.0)
            load_seconds = (
                0.0 if model.id in self._load.resident else load_seconds_of(model, assumed)
            )
        answer = first + self._output / decode
        standing = self._load.standing.get(model.id)
        if standing is None:
            before = busy // slots * answer + load_seconds
        else:
            loading = standing.state in ("ready", "loading")
            before = standing.wait + (0.0 if loading else load_seconds)
        return before + first, before + answer

    def _cents(self, model: Model) -> float | None:
        if model.price is None:
            return None
        read, written = model.price
        return (self._prompt_tokens(model) * read + self._output * written) / 10_000

    def _felt(self, seconds: float) -> float:
        """Seconds as a waiting person counts them: fully at first, then less and less."""
        patience = self._policy.scoring.patience_seconds
        return patience * math.log1p(seconds / patience)

    def _prompt_tokens(self, model: Model) -> int:
        return self._signals.prompt_tokens + tool_tokens_for(model, self._signals)


def load_seconds_of(model: Model, assumed: Assumed) -> float:
    """Seconds until a model that is not loaded can answer: measured, else by its size."""
    if model.profile.load_seconds is not None:
        return model.profile.load_seconds
    # Half a byte a parameter is what the common 4-bit quantisations come to.
    size = model.size_bytes or (model.size_b or assumed.size_b) * 0.55e9
    # With its file in the page cache it was faster than it will be without.
    warm = model.profile.warm_load_seconds or 0.0
    return max(warm, size / (assumed.load_gigabytes_per_second * 1e9))


def _shared_pace(profile: Profile, alone: float, streams: int) -> float:
    """Tokens per second of one answer beside others, as measured with at most so many."""
    pace = alone
    for measured in profile.parallel:
        if measured.streams <= streams:
            pace = measured.stream_tokens_per_second
    return min(alone, pace)


def tool_tokens_for(model: Model, signals: Signals) -> int:
    """Tokens that the offered tools take with this model: none if it cannot call tools."""
    return signals.tool_tokens if sends_tools(model, signals.needs) else 0


def sends_tools(model: Model, needs: frozenset[str]) -> bool:
    """Whether offered tools are sent to this model: not to one that is known to have no use for
    them, unless the request needs a tool call."""
    return model.capabilities is None or "tools" in model.capabilities or "tools" in needs


def logistic(value: float) -> float:
    """A logit as a chance."""
    return 1.0 / (1.0 + math.exp(-value)) if value > -60.0 else 0.0
