"""profile: the running daemon measures its models again, and this shows how far it is."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from llmrouterd.cli.ask import ask_daemon, print_table

if TYPE_CHECKING:
    import argparse

EXIT_FAILED = 1
EXIT_STOPPED = 130
_POLL_SECONDS = 0.5
_BAR = 24
_KINDS_TOLD_ONCE = ("probe", "answer", "judge")


def profile_command(options: argparse.Namespace) -> int:
    """Ask for new profiles and follow them to the end; 1 if a model could not be measured."""
    wanted = {"models": options.models or ["*"], "speed_only": options.speed_only}
    accepted = ask_daemon(options, "/admin/reprofile", json.dumps(wanted))
    if accepted is None:
        return EXIT_FAILED
    asked = accepted["asked"]
    if not asked:
        names = " ".join(options.models) or "it serves"
        print(f"the daemon measures no model of those that {names} names", file=sys.stderr)
        return EXIT_FAILED
    try:
        answer = _follow(options, asked)
    except KeyboardInterrupt:
        print("\nthe daemon goes on measuring; run this again to follow", file=sys.stderr)
        return EXIT_STOPPED
    if answer is None:
        return EXIT_FAILED
    found = [one for one in answer["profiles"] if one["model"] in asked]
    failed = {name: why for name, why in answer["failed"].items() if name in asked}
    missing = set(asked) - {one["model"] for one in found} - failed.keys()
    if options.json:
        print(json.dumps({"profiles": found, "failed": failed}))
    else:
        print_table(table(found))
    for name, why in failed.items():
        print(f"{name}: {why['step']}: {why['reason']}", file=sys.stderr)
    for name in sorted(missing):
        print(f"{name}: no backend serves it any longer", file=sys.stderr)
    return EXIT_FAILED if failed or missing else 0


def _follow(options: argparse.Namespace, asked: list[str]) -> Any:
    """The daemon's last answer, once every model is measured or has failed."""
    shown = _Bar() if sys.stderr.isatty() else _Lines()
    try:
        while True:
            answer = ask_daemon(options, "/admin/profiles")
            if answer is None:
                return None
            left = [name for name in answer["asked"] if name in asked]
            if all(name in answer["failed"] for name in left):
                return answer
            shown.show(answer["progress"], len(asked) - len(left), len(asked))
            time.sleep(_POLL_SECONDS)
    finally:
        shown.end()


class _Bar:
    """One line that is written over, on a terminal."""

    def show(self, progress: dict[str, Any], done: int, total: int) -> None:
        share = share_done(progress, done, total)
        full = round(share * _BAR)
        what = " ".join(progress[name] for name in ("model", "step") if progress[name])
        line = f"[{'#' * full}{'-' * (_BAR - full)}] {share:4.0%} {what or progress['state']}"
        line += f", {in_words(progress['eta_seconds'])}"
        print(f"\r\x1b[K{line[:110]}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class _Lines:
    """A line for each step of speed, and for each kind of the many others."""

    def __init__(self) -> None:
        self._last: tuple[Any, ...] = ()

    def show(self, progress: dict[str, Any], done: int, total: int) -> None:
        kind = (progress["step"] or "").partition(":")[0]
        step = kind if kind in _KINDS_TOLD_ONCE else progress["step"]
        now = (progress["model"], step, progress["state"])
        if now == self._last:
            return
        self._last = now
        what = f"{progress['model']} {step}" if step else progress["state"]
        share = share_done(progress, done, total)
        print(f"{share:4.0%} {what}, {in_words(progress['eta_seconds'])}", file=sys.stderr)

    def end(self) -> None:
        """Nothing to tidy up."""


def share_done(progress: dict[str, Any], done: int, total: int) -> float:
    """The part of all asked models that is measured, from 0 to 1."""
    steps = progress["steps_total"]
    within = progress["steps_done"] / steps if steps and done < total else 0.0
    return min(1.0, (done + within) / total)


def in_words(seconds: float | None) -> str:
    """An estimate of the time left."""
    if seconds is None:
        return "time left unknown"
    if seconds < 90:
        return f"about {max(1, round(seconds))} s left"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"about {minutes} min left"
    return f"about {minutes / 60:.1f} h left"


def table(profiles: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The profiles, a row each, under a row of titles."""
    rows: list[tuple[str, ...]] = [
        ("MODEL", "LOAD", "AGAIN", "TTFT", "READ/S", "WRITE/S", "VRAM", "RAM", "PROBES")
    ]
    for one in profiles:
        tallies = one["abilities"]
        passed, tried = (sum(tally[key] for tally in tallies) for key in ("passed", "tried"))
        rows.append(
            (
                one["model"],
                _with(one["load_seconds"], " s"),
                _with(one["warm_load_seconds"], " s"),
                _with(one["ttft_seconds"], " s"),
                _with(one["prefill_tokens_per_second"]),
                _with(one["decode_tokens_per_second"]),
                _size(one["vram_bytes"]),
                _size(one["ram_bytes"]),
                f"{passed}/{tried}" if tried else "?",
            )
        )
    return rows


def _with(value: float | None, unit: str = "") -> str:
    if value is None:
        return "?"
    return f"{value:.0f}{unit}" if value >= 100 else f"{value:.2f}{unit}"


def _size(value: int | None) -> str:
    return "?" if value is None else f"{value / 2**30:.1f} GiB"
