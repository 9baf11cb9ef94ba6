"""The speed benchmark; see bench/README.md.

python -m bench.speed [--quick] [--subjects direct,bare,llmrouterd] [--rounds 3] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from bench.speed import report, wire
from bench.speed.cells import CELLS, Cell
from bench.speed.procs import Child, Children, free_port
from bench.speed.subjects import ROOT, SUBJECTS, Launch, Missing, Place

_POLL_S = 0.01
_ANSWER_LIMIT_S = 10.0
_NO_START = "did not start"
_WRK_SUBJECTS = ("direct", "bare", "llmrouterd", "nginx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much is measured; times in seconds, `soak` in requests."""

    subjects: tuple[str, ...]
    rounds: int
    seconds: float
    warm: float
    soak: int
    soak_seconds: float
    wrk: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A subject that answers; `start_s` is from the process's start to its first answer."""

    name: str
    launch: Launch
    child: Child
    port: int
    start_s: float
    rss_start: int


def _options(arguments: list[str]) -> tuple[Options, Path | None]:
    parser = argparse.ArgumentParser(prog="python -m bench.speed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, about a minute")
    parser.add_argument(
        "--subjects",
        default=",".join(SUBJECTS),
        help="comma-separated, default: all of %(default)s",
    )
    parser.add_argument("--rounds", type=int, help="default 3, quick 1")
    parser.add_argument("--seconds", type=float, help="for each cell; default 3, quick 0.6")
    parser.add_argument("--soak", type=int, help="requests; default 50000, quick 3000, 0 for none")
    parser.add_argument("--soak-seconds", type=float, help="at most; default 120, quick 5")
    parser.add_argument("--wrk", action="store_true", help="cross-check with wrk where installed")
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    given = parser.parse_args(arguments)
    subjects = tuple(given.subjects.split(","))
    unknown = [name for name in subjects if name not in SUBJECTS]
    if unknown:
        parser.error(f"unknown subjects {', '.join(unknown)}; known: {', '.join(SUBJECTS)}")
    quick = given.quick
    options = Options(
        subjects=subjects,
        rounds=given.rounds or (1 if quick else 3),
        seconds=given.seconds or (0.6 if quick else 3.0),
        warm=0.1 if quick else 0.3,
        soak=(3_000 if quick else 50_000) if given.soak is None else given.soak,
        soak_seconds=given.soak_seconds or (5.0 if quick else 120.0),
        wrk=given.wrk,
    )
    return options, given.out


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# ---- starting -----------------------------------------------------------------------------------


def _answers(port: int, launch: Launch) -> bool:
    """True if the subject is ready and gives a right answer to one chat request."""
    root = f"http://127.0.0.1:{port}"
    body = b"00000000".join(
        wire.chat_bodies(model=launch.model, stream=False, plan=None, tools=False)[0]
    )
    headers = {"Content-Type": "application/json", **launch.headers}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        if launch.ready:
            opener.open(root + launch.ready, timeout=_ANSWER_LIMIT_S).close()
        chat = urllib.request.Request(root + launch.path, data=body, headers=headers)
        with opener.open(chat, timeout=_ANSWER_LIMIT_S) as answer:
            return bytes(answer.read()).count(wire.TOKEN) == wire.SHORT_EVENTS
    except (OSError, urllib.error.HTTPError):
        return False


def _announced_port(child: Child) -> int | None:
    found = re.search(r"http://[\w.]+:(\d+)", child.output(1000))
    return int(found[1]) if found else None


def _start(children: Children, name: str, place: Place) -> Running:
    """Start a subject and wait for its first answer. Raises Missing if there is none."""
    launch = SUBJECTS[name](place)
    child = children.start(name, launch.command, launch.env, ROOT)
    while time.perf_counter() < child.started + launch.start_limit_s:
        if child.process.poll() is not None:
            break
        port = _announced_port(child) if launch.announced else place.port
        if port is not None and _answers(port, launch):
            return Running(
                name=name,
                launch=launch,
                child=child,
                port=port,
                start_s=time.perf_counter() - child.started,
                rss_start=child.usage().rss,
            )
        time.sleep(_POLL_S)
    children.stop([child])
    raise Missing(f"{_NO_START}: exit {child.process.returncode}\n{child.output()}")


def _start_backend(children: Children, port: int) -> Running:
    command = (sys.executable, "-m", "bench.speed.backend", str(port))
    child = children.start("backend", command, cwd=ROOT)
    launch = Launch(command=command, ready="/health")
    while not _answers(port, launch):
        if child.process.poll() is not None:
            raise SystemExit(f"the scripted backend does not start:\n{child.output()}")
        time.sleep(_POLL_S)
    started = time.perf_counter() - child.started
    return Running(
        name="direct",
        launch=launch,
        child=child,
        port=port,
        start_s=started,
        rss_start=child.usage().rss,
    )


def start_all(
    children: Children, names: tuple[str, ...], directory: Path
) -> tuple[list[Running], dict[str, str]]:
    """Start the backend and the subjects, one after the other; also says which were skipped."""
    backend = _start_backend(children, free_port())
    running: list[Running] = []
    skipped: dict[str, str] = {}
    for name in names:
        place = Place(directory=directory, port=free_port(), backend=backend.port)
        try:
            subject = backend if name == "direct" else _start(children, name, place)
        except Missing as reason:
            skipped[name] = str(reason)
            _say(f"skipped {name}: {reason}")
            continue
        running.append(subject)
        _say(f"{name}: first answer after {subject.start_s:.2f} s")
    return running, skipped


# ---- measuring ----------------------------------------------------------------------------------


def load(subject: Running, job: dict[str, Any]) -> dict[str, Any]:
    """Run one job of the load generator against the subject; adds the subject's CPU time."""
    job = {
        "port": subject.port,
        "path": subject.launch.path,
        "model": subject.launch.model,
        "headers": dict(subject.launch.headers),
        **job,
    }
    before = subject.child.usage()
    done = subprocess.run(
        (sys.executable, "-m", "bench.speed.load", json.dumps(job)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    after = subject.child.usage()
    result: dict[str, Any] = json.loads(done.stdout)
    micros = 1e6 * (after.cpu_s - before.cpu_s)
    requests = result["completed"]
    tokens = requests * (job.get("events") or wire.SHORT_EVENTS)
    result["cpu_us_per_request"] = micros / requests if requests else None
    result["cpu_us_per_token"] = micros / tokens if tokens else None
    return result


def _measure(subject: Running, cell: Cell, options: Options) -> dict[str, Any]:
    job = asdict(cell) | {"seconds": options.seconds, "warm": options.warm}
    del job["name"], job["only"]
    return load(subject, job)


def _soak(subject: Running, options: Options) -> dict[str, Any]:
    """The memory before and after `options.soak` requests, or as many as fit in the limit."""
    before = subject.child.usage().rss
    job = {"connections": 32, "seconds": options.soak_seconds, "warm": 0, "total": options.soak}
    result = load(subject, job)
    rss = {"rss_start": subject.rss_start, "rss_before": before}
    return result | rss | {"rss_after": subject.child.usage().rss}


def _wrk(subject: Running, directory: Path) -> float | None:
    """Requests per second by wrk with 32 connections; None if it is not installed or fails."""
    binary = shutil.which("wrk")
    if binary is None:
        return None
    body = b"00000000".join(
        wire.chat_bodies(model=subject.launch.model, stream=False, plan=None, tools=False)[0]
    )
    script = directory / "post.lua"
    script.write_text(
        f'wrk.method = "POST"\nwrk.body = [==[{body.decode()}]==]\n'
        'wrk.headers["Content-Type"] = "application/json"\n'
    )
    url = f"http://127.0.0.1:{subject.port}{subject.launch.path}"
    command = (binary, "-t1", "-c32", "-d3", "-s", str(script), url)
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"Requests/sec:\s*([\d.]+)", text)
    return float(found[1]) if found and "Non-2xx" not in text else None


def measure_all(subjects: list[Running], options: Options) -> dict[str, dict[str, Any]]:
    """All cells of all subjects: in each round and cell, one subject right after the other."""
    results: dict[str, dict[str, Any]] = {
        subject.name: {"start_s": subject.start_s, "cells": {}} for subject in subjects
    }
    for number in range(options.rounds):
        for cell in CELLS:
            for subject in subjects:
                if cell.applies(subject.name):
                    figures = _measure(subject, cell, options)
                    results[subject.name]["cells"].setdefault(cell.name, []).append(figures)
            _say(f"round {number + 1}/{options.rounds}: {cell.name} done")
    if options.soak:
        for subject in subjects:
            results[subject.name]["soak"] = _soak(subject, options)
            _say(f"soak: {subject.name} done")
    return results


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _machine() -> dict[str, Any]:
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "aiohttp": _version("aiohttp"),
        "uvloop": _version("uvloop"),
    }


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run the benchmark; 1 if an answer was wrong or a subject did not start, 130 on Ctrl-C."""
    options, out = _options(sys.argv[1:])
    signal.signal(signal.SIGTERM, _interrupt)
    result: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": _machine(),
        "options": asdict(options),
    }
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            directory = Path(name)
            directory.chmod(0o755)  # nginx's workers run as another user
            with Children(directory) as children:
                subjects, result["skipped"] = start_all(children, options.subjects, directory)
                result["subjects"] = measure_all(subjects, options)
                if options.wrk:
                    result["wrk"] = {
                        subject.name: _wrk(subject, directory)
                        for subject in subjects
                        if subject.name in _WRK_SUBJECTS
                    }
    except KeyboardInterrupt:
        _say("interrupted; everything is stopped")
        return 130
    print(report.markdown(result))
    if out is not None:
        out.write_text(json.dumps(result, indent=1))
    cells = [rounds for one in result["subjects"].values() for rounds in one["cells"].values()]
    broken = any(why.startswith(_NO_START) for why in result["skipped"].values())
    return 1 if broken or any(report.invalid(rounds) for rounds in cells) else 0


if __name__ == "__main__":
    sys.exit(main())
