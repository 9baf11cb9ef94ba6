"""The recorded Open WebUI requests, the seeded token files and the small clients."""

from __future__ import annotations

import socket
from pathlib import Path

import aiohttp
import pytest
import tiktoken.load
from aiohttp import web

from tests.support import tokens
from tests.support.clients import free_port, read_sse, wait_http
from tests.support.openwebui import recorded, shared_directory


def test_the_recording_is_whole_and_in_order() -> None:
    requests = recorded()
    assert len(requests) == 114
    assert [each.seq for each in requests] == sorted(each.seq for each in requests)
    chats = recorded(path="/v1/chat/completions")
    assert len(chats) == 74
    assert all(each.method == "POST" and each.body["messages"] for each in chats)
    assert {each.status for each in chats} == {200, 429, 500, 503}


def test_the_recording_is_filtered_by_label() -> None:
    templated = recorded(label="per-connection header templates", path="/v1/chat/completions")
    tasks = {each.header("x-owui-task") for each in templated}
    assert {"title_generation", "follow_up_generation", "tags_generation"} <= tasks
    assert recorded(label="no such label") == []


def test_the_shared_directory_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LLMROUTERD_SHARED", str(tmp_path))
    assert shared_directory() == tmp_path
    with pytest.raises(FileNotFoundError):
        recorded()


@pytest.fixture
def seeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tokens.seed(tmp_path)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    return tmp_path


def test_tiktoken_loads_what_was_seeded(seeded: Path) -> None:
    assert {path.name for path in seeded.iterdir()} == {
        tokens.cache_name(name) for name in tokens.EXPECTED
    }
    for name, expected in tokens.EXPECTED.items():
        ranks = tiktoken.load.load_tiktoken_bpe(tokens.SOURCE.format(name=name), expected)
        assert len(ranks) > 100_000 - 300
        assert ranks[b" the"] < 1000


def test_a_spoilt_file_is_written_again_and_a_good_one_left(seeded: Path) -> None:
    spoilt = seeded / tokens.cache_name("cl100k_base")
    good = seeded / tokens.cache_name("o200k_base")
    before = good.stat().st_mtime_ns
    spoilt.write_bytes(b"nonsense")
    tokens.seed(seeded)
    assert spoilt.stat().st_size > 1_000_000
    assert good.stat().st_mtime_ns == before


def test_a_free_port_can_be_bound() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))


async def test_events_are_read_across_any_cut_and_line_end() -> None:
    text = 'data: {"a":"é"}\r\n\r\n: ping\r\n\r\nevent: error\r\ndata: x\r\ndata: y\r\n\r\n'
    wire = text.encode() + b"data:last\r\rdata: [DONE]\n\ndata: unfinished"

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for place in range(len(wire)):
            await response.write(wire[place : place + 1])
        await response.write_eof()
        return response

    app = web.Application()
    app.router.add_get("/", drip)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    url = f"http://127.0.0.1:{port}/"
    await wait_http(url, timeout=5)
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        events = await read_sse(response)
    await runner.cleanup()
    assert [event.data for event in events] == ['{"a":"é"}', "x\ny", "last", "[DONE]"]
    assert events[0].json() == {"a": "é"}
    assert events[1].event == "error"
    assert events[-1].done
    assert [event.at for event in events] == sorted(event.at for event in events)


async def test_waiting_for_an_address_that_never_answers_times_out() -> None:
    with pytest.raises(TimeoutError):
        await wait_http(f"http://127.0.0.1:{free_port()}/", timeout=0.1)
