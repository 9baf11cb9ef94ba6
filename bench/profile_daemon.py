"""Where the daemon's time goes under load.

    python -m bench.profile_daemon [--seconds 8] [--stream] [--tools] [--cprofile] [--subject bare]

Starts the scripted backend and the daemon, drives it with 32 connections, and samples it with
py-spy where installed (`pip install py-spy`; it barely slows the daemon), else runs it under
cProfile, which slows small functions more than large ones. Prints three tables: time by module, by
function alone, and by function with all it calls.
"""

from __future__ import annotations

import argparse
import pstats
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.speed.__main__ import load, start_all
from bench.speed.procs import Children
from bench.speed.subjects import SUBJECTS, Launch, Place

_FRAME = re.compile(r"^(?P<name>.*) \((?P<file>[^()]*)\)$")
_WARM_S = 1.0
_TOP = 30


def _module(file: str) -> str:
    """A short name for a source file: whole for our own modules, the package otherwise."""
    parts = Path(file).with_suffix("").parts
    for package in ("llmrouterd", "bench", "aiohttp"):
        if package in parts:
            return ".".join(parts[parts.index(package) :])
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    return ".".join(parts[-2:]) if parts else "?"


def _table(title: str, counts: Counter[str], total: float) -> str:
    lines = [f"{100 * count / total:6.1f} %  {name}" for name, count in counts.most_common(_TOP)]
    return f"\n## {title}\n\n" + "\n".join(lines)


def read_samples(text: str) -> str:
    """The tables from py-spy's raw format: a line a stack, `outer;...;inner COUNT`."""
    threads: Counter[str] = Counter()
    modules: Counter[str] = Counter()
    own: Counter[str] = Counter()
    cumulative: Counter[str] = Counter()
    total = 0
    for line in text.splitlines():
        stack, _, number = line.rpartition(" ")
        count = int(number)
        thread, *frames = stack.split(";")
        names = [("", "?")]
        for frame in frames:
            found = _FRAME.match(frame)
            names.append((_module(found["file"]), found["name"]) if found else ("?", frame))
        total += count
        threads[thread] += count
        modules[names[-1][0]] += count
        own["  ".join(names[-1])] += count
        for name in set(names):
            cumulative["  ".join(name)] += count
    if not total:
        return "no samples"
    return "\n".join(
        [
            _table("By thread (those that wait may be counted as busy)", threads, total),
            _table("By module, own time", modules, total),
            _table("By function, own time", own, total),
            _table("By function, with what it calls", cumulative, total),
        ]
    )


def read_profile(path: Path) -> str:
    """The same tables from a cProfile file."""
    modules: Counter[str] = Counter()
    own: Counter[str] = Counter()
    cumulative: Counter[str] = Counter()
    stats: dict[tuple[str, int, str], tuple[int, int, float, float, Any]]
    stats = pstats.Stats(str(path)).stats  # type: ignore[attr-defined]
    for (file, _line, name), (_calls, _all, seconds, with_calls, _callers) in stats.items():
        module = "built-in" if file == "~" else _module(file)
        modules[module] += seconds  # type: ignore[assignment]
        own[f"{module}  {name}"] += seconds  # type: ignore[assignment]
        cumulative[f"{module}  {name}"] += with_calls  # type: ignore[assignment]
    total = float(sum(own.values()))
    return "\n".join(
        [
            _table("By module, own time", modules, total),
            _table("By function, own time", own, total),
            _table("By function, with what it calls", cumulative, total),
        ]
    )


def _profiled(name: str, output: Path) -> None:
    """Make the subject start under cProfile."""
    plain = SUBJECTS[name]

    def start(place: Place) -> Launch:
        launch = plain(place)
        python, *rest = launch.command
        command = (python, "-m", "cProfile", "-o", str(output), *rest)
        return replace(launch, command=command)

    SUBJECTS[name] = start


def main() -> int:
    """Run one profile; 1 if the subject does not start."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile_daemon", description=__doc__)
    parser.add_argument("--subject", choices=("llmrouterd", "bare"), default="llmrouterd")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--stream", action="store_true", help="streams of 50 events back to back")
    parser.add_argument("--tools", action="store_true", help="25 kB of tools in each request")
    parser.add_argument("--cprofile", action="store_true", help="even if py-spy is installed")
    parser.add_argument("--raw", type=Path, help="also keep py-spy's stacks in this file")
    given = parser.parse_args()
    beside = Path(sys.executable).parent / "py-spy"
    spy = str(beside) if beside.exists() else shutil.which("py-spy")
    sampling = spy is not None and not given.cprofile
    with tempfile.TemporaryDirectory(prefix="profile-") as name, Children(Path(name)) as children:
        output = Path(name) / "profile"
        if not sampling:
            _profiled(given.subject, output)
        running, skipped = start_all(children, (given.subject,), Path(name))
        if skipped:
            return 1
        subject = running[0]
        job = {"connections": 32, "seconds": given.seconds, "stream": given.stream}
        job |= {"tools": given.tools, "events": 50 if given.stream else 0}
        load(subject, job | {"seconds": _WARM_S})
        if spy is not None and sampling:
            pid = str(subject.child.process.pid)
            command = [spy, "record", "--pid", pid, "--format", "raw", "--function"]
            command += ["--threads", "--rate", "500", "--duration", str(round(given.seconds))]
            with subprocess.Popen([*command, "--output", str(output)], stdout=subprocess.DEVNULL):
                time.sleep(0.5)
                figures = load(subject, job)
            if given.raw is not None:
                shutil.copy(output, given.raw)
            report = read_samples(output.read_text())
        else:
            figures = load(subject, job)
            subject.child.process.send_signal(signal.SIGINT)
            subject.child.process.wait(30)
            report = read_profile(output)
    print(
        f"{given.subject}: {figures['requests_per_s']:,.0f} requests/s, "
        f"{figures['cpu_us_per_request']:.0f} us of CPU a request, "
        f"{'py-spy' if sampling else 'cProfile'}, errors: {figures['errors'] or 'none'}"
    )
    print(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
