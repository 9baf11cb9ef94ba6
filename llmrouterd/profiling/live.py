"""Profiles kept up to date by the requests that are served: averages that forget.

Only answers of a loaded model that had the box to themselves count. Taking one in costs a few
microseconds and never waits; what was learnt goes to the profile when `drain` is called.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmrouterd.profiling.fit import Fading, FadingRate, Line, kept_share
from llmrouterd.profiling.generation import cached_tokens, count, evaluated_tokens, milliseconds

if TYPE_CHECKING:
    from llmrouterd.catalog import Model, Profile
    from llmrouterd.journal import Outcome
    from llmrouterd.policy_profiling import LiveProfiles

# A profile that was known before counts like an answer of this length at the start.
_KNOWN_LENGTH = 1024.0
_KNOWN_OUTPUT = 100.0
# Answers shorter than this say little of the speed of generation.
_FEWEST_TOKENS = 8
# A prompt read in less than this share of the expected time came from a cache nobody told of.
_CACHED_SHARE, _CACHED_TOKENS = 0.5, 64


@dataclass(slots=True)
class _Tracked:
    """What is being learnt of one model. `at` is the Unix time of the newest sample."""

    digest: str | None
    at: float
    first: Fading | None = None
    pace: FadingRate | None = None
    load_seconds: float | None = None
    samples: int = 0


class Live:
    """One for the daemon's life. `observe` is called for every answer."""

    def __init__(self) -> None:
        self._tracked: dict[str, _Tracked] = {}
        self._changed: set[str] = set()

    def observe(self, outcome: Outcome, settings: LiveProfiles, now: float) -> None:
        """Learn from an answer. now: Unix time."""
        model = outcome.model
        if model is None or not (outcome.alone or model.remote) or not settings.enabled:
            return
        waited = outcome.waited
        if waited is None or outcome.status != "ok" or outcome.attempts:
            return
        tracked = self._of(model, settings, now)
        usage, timings = outcome.usage or {}, outcome.timings or {}
        keep = kept_share(
            settings.half_life_samples, settings.half_life_hours * 3600.0, now - tracked.at
        )
        read = evaluated_tokens(usage, timings)
        if not outcome.warm:
            self._take_load(tracked, waited, read, milliseconds(timings.get("load_ms")))
        elif read:
            told = cached_tokens(usage, timings) is not None
            _take_wait(tracked, (read, waited, told), settings, keep)
        written = count(usage.get("completion_tokens"))
        seconds = milliseconds(timings.get("predicted_ms")) or outcome.generated
        if written >= _FEWEST_TOKENS and seconds and seconds > 0:
            if tracked.pace is None:
                tracked.pace = FadingRate(float(written), seconds)
            else:
                tracked.pace.add(written, seconds, keep)
        tracked.at = now
        tracked.samples += 1
        self._changed.add(model.id)

    def observe_load(
        self, model: Model, seconds: float, settings: LiveProfiles, now: float
    ) -> None:
        """Learn from a load. now: Unix time."""
        if settings.enabled:
            tracked = self._of(model, settings, now)
            self._take_load(tracked, 0.0, 0, seconds)
            self._changed.add(model.id)

    def _of(self, model: Model, settings: LiveProfiles, now: float) -> _Tracked:
        tracked = self._tracked.get(model.id)
        if tracked is None or tracked.digest != model.digest:
            tracked = self._tracked[model.id] = _begin(model, settings, now)
        return tracked

    def forget(self, model: str) -> None:
        """Begin anew from the profile: the model has been measured."""
        self._tracked.pop(model, None)
        self._changed.discard(model)

    def drain(self) -> dict[str, _Tracked]:
        """What was learnt since the last call, by model id; `apply` lays it over a profile."""
        found = {name: replace(self._tracked[name]) for name in self._changed}
        for name in found:
            self._tracked[name].samples = 0
        self._changed.clear()
        return found

    @staticmethod
    def _take_load(tracked: _Tracked, waited: float, read: int, own: float | None) -> None:
        """A start from not loaded: the backend's own figure, else what is beyond the usual wait."""
        if own is None:
            if tracked.first is None:
                return
            own = max(0.0, waited - tracked.first.line().at(read))
        before = tracked.load_seconds
        tracked.load_seconds = own if before is None else 0.7 * before + 0.3 * own


def _begin(model: Model, settings: LiveProfiles, now: float) -> _Tracked:
    """Start from what the profile says; it counts like half_life_samples answers."""
    profile = model.profile
    tracked = _Tracked(digest=model.digest, at=now, load_seconds=profile.load_seconds)
    strength = settings.half_life_samples
    if profile.ttft_base_seconds is not None and profile.prefill_tokens_per_second:
        line = Line(profile.ttft_base_seconds, 1.0 / profile.prefill_tokens_per_second)
        tracked.first = Fading.begin(line, strength, _KNOWN_LENGTH)
    elif model.remote and profile.ttft_seconds is not None:
        tracked.first = Fading.begin(Line(profile.ttft_seconds, 0.0), strength, _KNOWN_LENGTH)
    if profile.decode_tokens_per_second:
        pace = 1.0 / profile.decode_tokens_per_second
        tracked.pace = FadingRate.begin(pace, strength * _KNOWN_OUTPUT)
    return tracked


def _take_wait(
    tracked: _Tracked, sample: tuple[int, float, bool], settings: LiveProfiles, keep: float
) -> None:
    """The wait for the first token of a loaded model. sample: tokens read, seconds, and whether
    the server told what came from its cache."""
    read, waited, told = sample
    if tracked.first is None:
        # Nothing was measured: at first all of the wait is put down to reading.
        tracked.first = Fading.begin(Line(0.0, waited / read), 1.0, float(read))
        return
    expected = tracked.first.line().at(read)
    if not told and read >= _CACHED_TOKENS and waited < _CACHED_SHARE * expected:
        return
    tracked.first.add(read, waited, keep)


def apply(profile: Profile, tracked: _Tracked, remote: bool, moment: str) -> Profile:
    """The profile with what was learnt. moment: ISO 8601."""
    line = tracked.first.line() if tracked.first is not None else None
    found: dict[str, float | None] = {}
    if line is not None:
        if remote:
            found["ttft_seconds"] = round(line.at(_KNOWN_LENGTH), 4)
        found["ttft_base_seconds"] = round(line.base, 4)
        if line.slope > 1e-7:
            found["prefill_tokens_per_second"] = round(1.0 / line.slope, 2)
    if tracked.pace is not None and tracked.pace.rate > 1e-7:
        found["decode_tokens_per_second"] = round(1.0 / tracked.pace.rate, 2)
    if tracked.load_seconds is not None:
        found["load_seconds"] = round(tracked.load_seconds, 3)
    made = replace(profile, **found)  # type: ignore[arg-type]
    return replace(made, live_samples=profile.live_samples + tracked.samples, live_at=moment)
