"""Which models and backends can be relied on now: a state machine without any I/O.

A key is a model's id, or a backend's name for what concerns all of its models. The caller tells
what has happened and what time it is (monotonic seconds), and takes the transitions that follow
from it (`take`).

    healthy     all is well
    suspect     an answer is silent for longer than the model's profile explains
    cooling     it has failed, and is left alone for a while
    recovering  that is over: one request at a time tries it
    dead        it went on failing, or the backend does not answer its listing

A token of any answer, a whole answer or an answered probe makes healthy again, as far as it
disproves what was held against the key: of an answer that stalled after its first words, only its
own next token or a whole answer does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from llmrouterd.scorer import load_seconds_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from llmrouterd.catalog import Model
    from llmrouterd.policy import Assumed
    from llmrouterd.policy_health import Failover, HealthLimits

HEALTHY, SUSPECT, COOLING, RECOVERING, DEAD = STATES = (
    "healthy",
    "suspect",
    "cooling",
    "recovering",
    "dead",
)
# What each state can be caused by.
CAUSES = {
    HEALTHY: ("token", "answer", "probe", "policy"),
    SUSPECT: ("silence", "stall"),
    COOLING: ("silence", "stall", "failures", "quota", "probe"),
    RECOVERING: ("time", "listing", "probe"),
    DEAD: ("silence", "stall", "failures", "probe", "listing"),
}
# Left alone, unless nobody else can serve; one that recovers is tried.
AVOIDED = (SUSPECT, COOLING, DEAD)
# What a token alone disproves: that nothing is generated.
_HANGS = ("silence", "probe")
_NEVER, ENDLESS = float("-inf"), float("inf")
_MOST_DOUBLINGS = 20


class Transition(NamedTuple):
    """key: whose. before, after: STATES. cause: of CAUSES[after]. reason: for a person."""

    key: str
    before: str
    after: str
    cause: str
    reason: str


@dataclass(slots=True, eq=False)
class Condition:
    """How one key is doing. `cause` and `reason` are of what is held against it. `coolings` in a
    row; `until` when its state ends by itself; `trial`: the request that tries it. `moved`: when
    the last token came from it."""

    state: str = HEALTHY
    cause: str = ""
    reason: str = ""
    since: float = _NEVER
    until: float = ENDLESS
    failures: int = 0
    coolings: int = 0
    moved: float = _NEVER
    trial: Watch | None = None


@dataclass(slots=True, eq=False, kw_only=True)
class Watch:
    """A request to a backend, from when it asks for a place until it ends.

    `work`: seconds until its first token if it ran alone; `gap`: seconds between two tokens, by
    the profile. `judged`: `work` is by the profile too, so that silence can be told from patience.
    `excused`: a probe was answered while it waited. `stalled`: it was silent for too long after its
    first words. `waits_since`: since when its backend is waited for.
    `patience`: seconds until another may try a key that this one tries. `host`: the machine that it
    shares with others, "" where nobody makes it slower.
    """

    model: str
    backend: str
    host: str = ""
    began: float = 0.0
    patience: float = 60.0
    work: float = 0.0
    gap: float = ENDLESS
    judged: bool = False
    excused: bool = False
    stalled: bool = False
    answering: bool = False
    waits_since: float = ENDLESS
    moved: float = _NEVER
    condition: Condition = field(default_factory=Condition)

    def move(self, now: float) -> bool:
        """A token has come; whether that is news, for its model was not healthy."""
        self.waits_since, self.moved, self.answering = ENDLESS, now, True
        return self.condition.state != HEALTHY


class Conditions:
    """All keys and all requests in flight."""

    def __init__(self, failover: Failover, limits: HealthLimits) -> None:
        self.failover = failover
        self.limits = limits
        self._all: dict[str, Condition] = {}
        self._unwell: dict[str, Condition] = {}
        self._watches: dict[Watch, None] = {}
        self._transitions: list[Transition] = []

    def take(self) -> list[Transition]:
        """The transitions that have come up since the last call."""
        taken, self._transitions = self._transitions, []
        return taken

    def begin(self, watch: Watch, now: float) -> None:
        """A request is about to be sent; where a key is recovering, it may be the one to try it."""
        watch.began = now
        for key in (watch.model, watch.backend):
            found = self._of(key)
            self._pass_time(key, found, now)
            if found.state == RECOVERING and not _is_tried(found, now):
                found.trial = watch
        watch.condition = self._all[watch.model]
        self._watches[watch] = None

    def end(self, watch: Watch, now: float) -> None:
        """It is over; `succeed` or `fail` say how, and without them it proves nothing."""
        del self._watches[watch]
        for key in (watch.model, watch.backend):
            found = self._all.get(key)
            if found is not None and found.trial is watch:
                found.trial = None
        watch.condition.moved = max(watch.condition.moved, watch.moved)
        if watch.condition.state == SUSPECT and watch.waits_since < ENDLESS:
            watch.condition.until = now + self.failover.cool_seconds

    def token(self, watch: Watch, now: float) -> None:
        """A token has come from a model that is not healthy."""
        found = watch.condition
        goes_on = found.cause == "stall" and watch.stalled
        if found.state != HEALTHY and (goes_on or found.cause in _HANGS):
            self._heal(watch.model, found, "token", "a token came", now)

    def succeed(self, key: str, now: float, cause: str = "answer") -> None:
        """A whole answer, or an answered probe."""
        found = self._all.get(key)
        if found is None:
            return
        found.failures = 0
        if cause == "probe":
            # Silence of what still waits was judged by it, and is not held against it again.
            found.moved = now
            for watch in self._watches:
                watch.excused |= watch.model == key
        text = "a probe was answered" if cause == "probe" else "an answer was complete"
        if found.cause == "stall" and cause == "probe":
            if found.state == SUSPECT:
                self._go(key, found, RECOVERING, cause, text, now)
        elif found.state != HEALTHY and not (found.cause == "quota" and now < found.until):
            self._heal(key, found, cause, text, now)

    def fail(
        self, key: str, reason: str, watch: Watch, now: float, cause: str = "failures"
    ) -> None:
        """A request has failed. One failure of a probe is enough, and one of what is not healthy;
        what was sent before it began to recover says nothing new. cause `silence`: nothing came
        within the time limit."""
        found = self._of(key)
        self._pass_time(key, found, now)
        if found.state in (COOLING, DEAD):
            return
        if found.state == RECOVERING and watch.began < found.since:
            return
        found.failures += 1
        if (
            cause == "probe"
            or found.state != HEALTHY
            or found.failures >= self.failover.errors_to_cool
        ):
            self._cool(key, found, cause, reason, now)
        elif cause == "silence":
            found.until = now + self.failover.cool_seconds
            self._go(key, found, SUSPECT, cause, reason, now)

    def rest(self, key: str, reason: str, seconds: float, now: float) -> None:
        """Leave a key alone for as long as its backend asked for (429 with Retry-After)."""
        found = self._of(key)
        until = now + min(self.limits.longest_cool_seconds, seconds)
        if found.state == COOLING:
            found.until = max(found.until, until)
        elif found.state != DEAD:
            found.until = until
            self._go(key, found, COOLING, "quota", reason, now)

    def unlisted(self, backend: str, reason: str, now: float) -> None:
        """A backend does not answer its listing."""
        found = self._of(backend)
        if found.state != DEAD or found.cause != "listing":
            found.until = ENDLESS
            self._go(backend, found, DEAD, "listing", reason, now)

    def listed(self, backend: str, now: float) -> None:
        """A backend answers its listing. That it generates is to be seen."""
        found = self._all.get(backend)
        if found is not None and found.state == DEAD and found.cause == "listing":
            self._go(backend, found, RECOVERING, "listing", "it answers its listing again", now)

    def forget(self, backend: str, now: float) -> None:
        """A backend is gone, or another server now: nothing is held against it and its models."""
        for key, found in self._all.items():
            if key == backend or key.startswith(backend + "/"):
                found.failures = 0
                if found.state != HEALTHY:
                    self._heal(key, found, "policy", "its backend was edited", now)

    def look(self, now: float) -> float:
        """Find who is silent for too long and whose time is over; when to look again."""
        again = ENDLESS
        for watch, since, allowed in self._silences(now):
            if now >= since + allowed:
                self._suspect(watch, now - since, allowed, now)
            else:
                again = min(again, since + allowed)
        waited_for = self.in_flight()
        for key, found in list(self._unwell.items()):
            self._pass_time(key, found, now)
            if found.state == SUSPECT and now >= found.until and key not in waited_for:
                ended = "nobody waits for it any more, the next request tries it"
                self._go(key, found, RECOVERING, "time", ended, now)
            if found.state != RECOVERING and found.until > now:
                again = min(again, found.until)
        return again

    def unwell(self, now: float) -> dict[str, tuple[str, str]]:
        """Key -> (state, reason) of all that are to be left alone now."""
        told = {}
        for key, found in list(self._unwell.items()):
            self._pass_time(key, found, now)
            if found.state != RECOVERING or _is_tried(found, now):
                told[key] = found.state, _in_words(found, now)
        return told

    def untried(self, now: float) -> set[str]:
        """The keys that a probe would tell something of."""
        return {
            key
            for key, found in self._unwell.items()
            if found.state == SUSPECT or (found.state == RECOVERING and not _is_tried(found, now))
            # Where a probe was answered that can tell no more.
            if found.cause != "stall" or found.moved < found.since
        }

    def of(self, key: str) -> Condition:
        """How a key is doing, as of the last call that was told the time."""
        return self._all.get(key) or Condition()

    def not_healthy(self) -> set[str]:
        """The keys against which something is held."""
        return set(self._unwell)

    def last_token(self, model: str) -> float:
        """When the last token came from a model."""
        last = [watch.moved for watch in self._watches if watch.model == model]
        return max((self.of(model).moved, *last))

    def in_flight(self) -> set[str]:
        """The models that requests or probes are sent to now."""
        return {watch.model for watch in self._watches}

    def _of(self, key: str) -> Condition:
        return self._all.setdefault(key, Condition())

    def _silences(self, now: float) -> Iterator[tuple[Watch, float, float]]:
        """Of each request that can be judged: since when it is silent, and for how many seconds
        it may be. What the same host has to read before, and whoever it is answering beside,
        makes it slower; a token of another answer shows that the model is not stuck."""
        work: dict[str, float] = {}
        answering: dict[str, int] = {}
        moved: dict[str, float] = {}
        for watch in self._watches:
            last = max(watch.moved, watch.condition.moved)
            moved[watch.model] = max(moved.get(watch.model, _NEVER), last)
            if watch.answering:
                answering[watch.host] = answering.get(watch.host, 0) + 1
            elif watch.waits_since <= now:
                work[watch.host] = work.get(watch.host, 0.0) + watch.work
        limits = self.limits
        for watch in self._watches if limits.suspect_factor else ():
            expected, beside = watch.gap if watch.answering else watch.work, 1
            profiled = watch.judged or watch.answering
            floor = limits.floor_seconds if profiled else limits.unprofiled_seconds
            if watch.excused or expected == ENDLESS or not (profiled or floor):
                continue
            if watch.host:
                expected = work.get(watch.host, 0.0) + (watch.gap if watch.answering else 0.0)
                beside += answering.get(watch.host, 0) - watch.answering
            allowed = max(floor, limits.suspect_factor * expected * beside)
            # Between two tokens it is the client, and not the backend, that is waited for.
            since = now if watch.waits_since > now else watch.waits_since
            yield watch, max(since, moved[watch.model]), allowed

    def _suspect(self, watch: Watch, silent: float, allowed: float, now: float) -> None:
        watch.stalled = watch.answering
        found, cause = watch.condition, "stall" if watch.answering else "silence"
        explained = f"{allowed:.1f} s are the limit without a profile"
        if watch.judged or watch.answering:
            explained = f"its profile explains {allowed:.1f} s at most"
        reason = f"no token for {silent:.1f} s, where {explained}"
        if found.state in (HEALTHY, SUSPECT):
            found.until = now + self.failover.cool_seconds
        if found.state == HEALTHY:
            self._go(watch.model, found, SUSPECT, cause, reason, now)
        elif found.state == RECOVERING and found.trial is watch:
            self._cool(watch.model, found, cause, reason, now)

    def _pass_time(self, key: str, found: Condition, now: float) -> None:
        if found.state in (COOLING, DEAD) and now >= found.until:
            ended = "its time of being left alone is over, the next request tries it"
            self._go(key, found, RECOVERING, "time", ended, now)

    def _cool(self, key: str, found: Condition, cause: str, reason: str, now: float) -> None:
        limits = self.limits
        found.coolings += 1
        dies = 0 < limits.coolings_to_die < found.coolings
        longest = limits.longest_dead_seconds if dies else limits.longest_cool_seconds
        doublings = min(found.coolings - 1, _MOST_DOUBLINGS)
        found.until = now + min(longest, self.failover.cool_seconds * 2.0**doublings)
        self._go(key, found, DEAD if dies else COOLING, cause, reason, now)

    def _heal(self, key: str, found: Condition, cause: str, reason: str, now: float) -> None:
        found.coolings = 0
        found.until = ENDLESS
        self._go(key, found, HEALTHY, cause, reason, now)

    def _go(
        self, key: str, found: Condition, after: str, cause: str, reason: str, now: float
    ) -> None:
        self._transitions.append(Transition(key, found.state, after, cause, reason))
        found.state, found.since, found.trial = after, now, None
        if after == HEALTHY:
            self._unwell.pop(key, None)
            found.cause = found.reason = ""
        else:
            self._unwell[key] = found
            if after != RECOVERING:  # what is held against it stays until it is disproved
                found.cause, found.reason = cause, reason


def _is_tried(found: Condition, now: float) -> bool:
    return found.trial is not None and now < found.trial.began + found.trial.patience


def _in_words(found: Condition, now: float) -> str:
    if found.state == SUSPECT:
        return f"suspect: {found.reason}"
    if found.state == RECOVERING:
        return f"recovering, one request is trying it: {found.reason}"
    left = f" for {found.until - now:.0f} s more" if found.until < ENDLESS else ""
    return f"{found.state}{left}: {found.reason}"


def expect(watch: Watch, model: Model, tokens: int, warm: bool, assumed: Assumed) -> None:
    """Set what the model's profile expects of an answer to a prompt of so many tokens. warm: the
    model is loaded. Without figures of its own, `work` is what the policy assumes."""
    profile, size = model.profile, model.size_b or assumed.size_b
    base, pace = profile.ttft_base_seconds, profile.prefill_tokens_per_second
    judged = base is not None and pace is not None
    if model.remote and not judged:
        judged = profile.ttft_seconds is not None
        work = profile.ttft_seconds or assumed.remote_seconds
    else:
        work = (base or 0.0) + tokens / (pace or assumed.prefill_tokens_per_second / size)
    if not warm:
        work += load_seconds_of(model, assumed)
        judged = judged and profile.load_seconds is not None
    decode = profile.decode_tokens_per_second
    watch.work, watch.judged = work, judged
    watch.gap = 1.0 / decode if decode else ENDLESS


def worst(*told: tuple[str, str] | None) -> tuple[str, str] | None:
    """Of what is told of a model and of its backend (state, reason), what counts."""
    found: Iterable[tuple[str, str]] = (one for one in told if one is not None)
    return max(found, key=lambda one: one[0] != SUSPECT, default=None)
