"""The genuine llama.cpp servers start, answer, stream, embed, route and end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.clients import read_sse, stream_text
from tests.support.llama import build_tiny, model_paths, real_llama, real_llama_router

MESSAGES = [{"role": "user", "content": "Say something."}]


def chat(model: str, **more: Any) -> dict[str, Any]:
    return {
        "json": {"model": model, "messages": MESSAGES, "temperature": 0, "max_tokens": 6} | more
    }


def test_the_models_are_built_once_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = model_paths()
    monkeypatch.setenv("LLMROUTERD_TEST_CACHE", str(tmp_path))
    assert model_paths()["smollm2-135m"].stat().st_size > 90_000_000
    tiny = model_paths()["tiny-random"]
    assert tiny.parent == tmp_path
    assert tiny.read_bytes() == known["tiny-random"].read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [tiny.name]
    built = tiny.stat().st_mtime_ns
    assert model_paths()["tiny-random"].stat().st_mtime_ns == built


def test_a_build_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    source = tmp_path / "source.gguf"
    source.write_bytes(b"not a model")
    with pytest.raises(ValueError, match="GGUF magic invalid"):
        build_tiny(source, tmp_path / "cache" / "tiny.gguf")
    assert not list(tmp_path.glob("cache/*"))


async def test_a_single_server_streams_deterministically_and_ends() -> None:
    tiny = model_paths()["tiny-random"]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        async with real_llama(tiny, alias="little", n_ctx=1024, n_parallel=2) as url:
            async with session.get(f"{url}/v1/models") as response:
                (row,) = (await response.json())["data"]
            assert (row["id"], row["meta"]["n_ctx"]) == ("little", 512)
            texts = []
            for _ in range(2):
                asked = chat("little", stream=True, stream_options={"include_usage": True})
                async with session.post(f"{url}/v1/chat/completions", **asked) as response:
                    events = await read_sse(response)
                assert events[-1].done
                assert events[-2].json()["usage"]["completion_tokens"] == 6
                assert events[-2].json()["timings"]["predicted_n"] == 6
                texts.append(stream_text(events))
            assert texts[0] == texts[1] != ""
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"{url}/health")


async def test_a_single_server_embeds_when_asked_to() -> None:
    tiny = model_paths()["tiny-random"]
    async with real_llama(tiny, embeddings=True) as url, aiohttp.ClientSession() as session:
        asked = {"model": "tiny-random", "input": ["one", "two"]}
        async with session.post(f"{url}/v1/embeddings", json=asked) as response:
            assert response.status == 200
            vectors = [row["embedding"] for row in (await response.json())["data"]]
    assert [len(vector) for vector in vectors] == [64, 64]
    assert vectors[0] != vectors[1]


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model")
    with pytest.raises(RuntimeError, match="did not start"):
        async with real_llama(broken):
            raise AssertionError("it must not start")


async def test_a_router_lists_loads_and_evicts(tmp_path: Path) -> None:
    tiny = model_paths()["tiny-random"]
    for name in ("first", "second"):
        (tmp_path / f"{name}.gguf").symlink_to(tiny)

    async def states(session: aiohttp.ClientSession, url: str) -> dict[str, str]:
        async with session.get(f"{url}/models") as response:
            rows = (await response.json())["data"]
        return {row["id"]: row["status"]["value"] for row in rows}

    connector = aiohttp.TCPConnector(force_close=True)
    async with (
        real_llama_router(tmp_path, models_max=1) as url,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        assert await states(session, url) == {"first": "unloaded", "second": "unloaded"}
        for name in ("first", "second"):
            async with session.post(f"{url}/v1/chat/completions", **chat(name)) as response:
                assert response.status == 200, await response.text()
                assert (await response.json())["usage"]["completion_tokens"] == 6
        assert await states(session, url) == {"first": "unloaded", "second": "loaded"}
