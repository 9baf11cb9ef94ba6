"""What is kept of one model's measuring, and the Profile that it makes. Pure.

A record is stored as JSON: the profile's fields, the digest of the weights, and under `done` the
result of every step that is finished, so that an interrupted measuring goes on where it was.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Any

import orjson

from llmrouterd.catalog import ParallelSpeed, Profile, SpeedPoint, read_profile
from llmrouterd.profiling.fit import Line, fit_line, fit_rate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llmrouterd.profiling.steps import Result

_LEAST_SHARE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One model's profile, with the results of the steps that made it, by the steps' keys."""

    profile: Profile = field(default_factory=Profile)
    done: Mapping[str, Result] = field(default_factory=dict)


def encode(record: Record) -> str:
    """The stored form."""
    return orjson.dumps({**asdict(record.profile), "done": dict(record.done)}).decode()


def decode(text: str) -> Record:
    """A stored record; what cannot be understood is left out, as if it was never measured."""
    try:
        stored = orjson.loads(text)
    except orjson.JSONDecodeError:
        return Record()
    if not isinstance(stored, dict):
        return Record()
    done = stored.pop("done", None)
    try:
        profile = read_profile(stored)
    except (TypeError, ValueError):
        return Record()
    results = done.items() if isinstance(done, dict) else ()
    return Record(
        profile=profile, done={key: value for key, value in results if isinstance(value, dict)}
    )


def with_results(before: Profile, done: Mapping[str, Result], now: str) -> Profile:
    """The profile after these steps; what none of them has measured stays as it was before.

    now: ISO 8601. Figures are worked out from all points again, so the order of steps does not
    matter.
    """
    points = [
        SpeedPoint(**result["point"])
        for key, result in done.items()
        if "point" in result and not result.get("cold")
    ]
    load = done.get("load", {})
    if not points and "point" not in load:
        return before
    cold = SpeedPoint(**load["point"]) if "point" in load else None
    found: dict[str, Any] = {"samples": len(points) + bool(load.get("cold")), "measured_at": now}
    line = _sound(_first_token_line(points), points)
    if points:
        found["points"] = tuple(points)
        found["ttft_seconds"] = round(min(points, key=lambda p: p.prompt_tokens).ttft, 4)
    if line is not None:
        found["ttft_base_seconds"] = round(line.base, 4)
        found["prefill_tokens_per_second"] = _rate(line.slope)
    found["prefill_tokens_per_second"] = found.get("prefill_tokens_per_second") or _said(points)
    whole = [*points, cold] if cold is not None and load.get("cold") else points
    pace = fit_rate([(p.output_tokens, p.decode_seconds or 0.0) for p in whole])
    found["decode_tokens_per_second"] = _rate(pace)
    found |= _loading(load, done.get("reload", {}), cold, line)
    found |= _memory(load)
    parallel = tuple(_parallel(done))
    if parallel:
        found["parallel"] = parallel
    return replace(before, **{name: value for name, value in found.items() if value is not None})


def _first_token_line(points: Sequence[SpeedPoint]) -> Line | None:
    """The wait for the first token by the tokens of the prompt. Where the backend says itself how
    long it read, its figures give the slope; the rest of the wait is then the same for all."""
    own = [(p.prompt_tokens, p.prefill_seconds) for p in points if p.prefill_seconds is not None]
    if len(own) < len(points):
        return fit_line([(p.prompt_tokens, p.ttft) for p in points])
    line = fit_line([(float(tokens), seconds) for tokens, seconds in own])
    if line is None:
        return None
    rest = median(p.ttft - (p.prefill_seconds or 0.0) for p in points)
    return Line(line.base + max(0.0, rest), line.slope)


def _sound(line: Line | None, points: Sequence[SpeedPoint]) -> Line | None:
    """A line with some slope. Where short prompts all take the same time, a longer one would
    seem to take no more: a share of the longest prompt's time is put down to its tokens."""
    longest = max(points, key=lambda p: p.prompt_tokens, default=None)
    if line is None or longest is None or not longest.prompt_tokens:
        return line
    seconds = longest.ttft if longest.prefill_seconds is None else longest.prefill_seconds
    least = _LEAST_SHARE * seconds / longest.prompt_tokens
    if line.slope >= least:
        return line
    middle = median(p.prompt_tokens for p in points)
    return Line(max(0.0, line.base - (least - line.slope) * middle), least)


def _said(points: Sequence[SpeedPoint]) -> float | None:
    """Tokens per second of reading, as the backend says them, over all points."""
    own = [(p.prompt_tokens, p.prefill_seconds) for p in points if p.prefill_seconds]
    seconds = sum(spent or 0.0 for _, spent in own)
    return _rate(seconds / sum(tokens for tokens, _ in own)) if seconds else None


def _rate(seconds_per_token: float | None) -> float | None:
    if not seconds_per_token or seconds_per_token < 1e-7:
        return None
    return round(1.0 / seconds_per_token, 2)


def _loading(
    load: Result, again: Result, cold: SpeedPoint | None, line: Line | None
) -> dict[str, Any]:
    found: dict[str, Any] = {"load_seconds": load.get("load_seconds")}
    if found["load_seconds"] is None and load.get("cold") and cold is not None and line is not None:
        found["load_seconds"] = _beyond(cold.ttft, cold.prompt_tokens, line)
    found["warm_load_seconds"] = again.get("load_seconds")
    if found["warm_load_seconds"] is None and "ttft" in again and line is not None:
        found["warm_load_seconds"] = _beyond(again["ttft"], again["prompt_tokens"], line)
    return found


def _beyond(ttft: float, tokens: int, line: Line) -> float:
    """What of a wait is not explained by a loaded model's."""
    return round(max(0.0, ttft - line.at(tokens)), 3)


def _memory(load: Result) -> dict[str, Any]:
    memory = load.get("memory") or {}
    vram = memory.get("vram_bytes")
    return {
        "vram_bytes": load.get("gpu_delta_bytes") if vram is None else vram,
        "ram_bytes": memory.get("ram_bytes"),
        "memory_context": memory.get("context"),
    }


def _parallel(done: Mapping[str, Result]) -> Iterable[ParallelSpeed]:
    measured = {
        int(key.partition(":")[2]): result
        for key, result in done.items()
        if key.startswith("parallel:") and "tokens_per_second" in result
    }
    for streams, result in sorted(measured.items()):
        yield ParallelSpeed(
            streams=streams,
            tokens_per_second=result["tokens_per_second"],
            stream_tokens_per_second=result["stream_tokens_per_second"],
        )
