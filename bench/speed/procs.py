"""Processes of the benchmark: start, watch through /proc, and end every one (Linux only)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STOP_LIMIT_S = 5.0


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _die_with_parent() -> None:
    """Runs in the child: end it when the benchmark itself is killed."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a process and its descendants have used: CPU seconds, resident bytes, how many."""

    cpu_s: float
    rss: int
    processes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A started process, the leader of its own group, and the file that its output goes to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    started: float

    def usage(self) -> Usage:
        """CPU and memory of the process and its descendants, threads included."""
        tree = _descendants(self.process.pid)
        cpu, rss = 0.0, 0
        for pid in tree:
            fields = _stat(pid)
            if fields is not None:
                cpu += (int(fields[11]) + int(fields[12])) / _TICKS
                rss += int(fields[21]) * _PAGE
        return Usage(cpu_s=cpu, rss=rss, processes=len(tree))

    def output(self, lines: int = 12) -> str:
        """The last lines that the process wrote."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on, None if the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def _descendants(root: int) -> list[int]:
    """`root` and every process below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields is not None:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


class Children:
    """A context that ends every process started in it, whatever happens."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: list[Child] = []

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop(self._running)

    def start(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Child:
        """Start `command` in a process group of its own, its output in a file."""
        log = self._directory / f"{name}.log"
        with log.open("ab") as output:
            started = time.perf_counter()
            process = subprocess.Popen(
                command,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        child = Child(name=name, process=process, log=log, started=started)
        self._running.append(child)
        return child

    def stop(self, children: Sequence[Child]) -> None:
        """Ask each process to end, and kill those that do not within five seconds."""
        for child in children:
            _signal(child, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_LIMIT_S
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(deadline - time.monotonic(), 0.01))
            _signal(child, signal.SIGKILL)
            child.process.wait()
        self._running = [child for child in self._running if child not in children]


def _signal(child: Child, number: signal.Signals) -> None:
    """Signal the whole group; its members may have gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.process.pid, number)
