"""The daemon as a process: reloading under load, ending well, refusing to start."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.clients import iterate_sse, read_sse, stream_text
from tests.support.faults import FaultServer
from tests.support.policies import Running, plain_environment, running

RELOADS = 120


def policy(*urls: str, **more: Any) -> str:
    """A policy with these backends; JSON is YAML."""
    backends = [
        {"name": f"b{n}", "type": "openai", "url": url, "poll_seconds": 600}
        for n, url in enumerate(urls)
    ]
    quiet = {"profiling": {"enabled": False}}
    return json.dumps({"backends": backends, **quiet, **more})


def chat(**more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hello"}], **more}


async def _stream(session: aiohttp.ClientSession, url: str) -> str:
    """One streamed chat to its end; its text. Anything but a whole answer raises."""
    async with session.post(f"{url}/v1/chat/completions", json=chat(stream=True)) as answer:
        assert answer.status == 200
        events = await read_sse(answer)
    assert events[-1].done
    assert not any("error" in event.json() for event in events[:-1])
    return stream_text(events)


async def _ask(session: aiohttp.ClientSession, url: str, **more: Any) -> dict[str, Any]:
    async with session.post(f"{url}/v1/chat/completions", json=chat(**more)) as answer:
        body: dict[str, Any] = await answer.json()
        assert answer.status == 200, body
        return body


async def _steady(session: aiohttp.ClientSession, url: str, stop: asyncio.Event) -> int:
    done = 0
    while not stop.is_set():
        body = await _ask(session, url)
        assert body["choices"][0]["message"]["content"]
        done += 1
    return done


async def _streaming(session: aiohttp.ClientSession, url: str, stop: asyncio.Event) -> int:
    done = 0
    while not stop.is_set():
        assert await _stream(session, url)
        done += 1
    return done


async def _reload(daemon: Running, session: aiohttp.ClientSession) -> int:
    async with session.post(f"{daemon.url}/admin/reload") as answer:
        return answer.status


async def test_reloading_under_load_fails_no_request(tmp_path: Path) -> None:
    """Every second edit is invalid; every tenth moves to another backend."""
    async with (
        FaultServer(["ok"], tokens=30, delay=0.01) as first,
        FaultServer(["ok"], tokens=30, delay=0.01) as second,
        running(policy(first.url, second.url), tmp_path) as daemon,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        stop = asyncio.Event()
        load = [asyncio.create_task(_streaming(session, daemon.url, stop)) for _ in range(20)]
        load += [asyncio.create_task(_steady(session, daemon.url, stop)) for _ in range(3)]
        statuses = []
        for number in range(RELOADS):
            urls = (first.url, second.url) if number % 20 < 10 else (first.url,)
            valid = policy(*urls, pins=[f"edit-{number}"])
            daemon.policy.write_text(valid if number % 2 else valid.replace("pins", "pinns"))
            statuses.append(await _reload(daemon, session))
            assert not [task for task in load if task.done()]
            await asyncio.sleep(0.02)
        stop.set()
        done = await asyncio.gather(*load)
        state = await daemon.get("/admin/policy")
    assert statuses == [422, 200] * (RELOADS // 2)
    assert min(done[:20]) >= 2
    assert sum(done[20:]) >= 20
    assert state["rejected"] is None
    assert state["active"]["backends"] == ["b0"]
    assert not daemon.events("request.crashed")


async def test_a_request_ends_in_the_world_it_began_in(tmp_path: Path) -> None:
    """A backend that an edit takes out is closed after its last request; one that stays keeps its
    connections."""
    async with (
        FaultServer(["slow"], tokens=40, delay=0.03) as gone,
        FaultServer(["stays"]) as stays,
        running(policy(gone.url), tmp_path) as daemon,
        aiohttp.ClientSession() as session,
    ):
        body = chat(stream=True)
        async with session.post(f"{daemon.url}/v1/chat/completions", json=body) as answer:
            events = iterate_sse(answer)
            first = await anext(events)
            renamed = {"name": "other", "type": "openai", "url": stays.url}
            daemon.policy.write_text(policy().replace("[]", json.dumps([renamed]), 1))
            assert await _reload(daemon, session) == 200
            await daemon.wait_event("backend.up", 2)
            reply = await _ask(session, daemon.url)  # the new world serves at once
            assert reply["model"] == "stays"
            rest = [event async for event in events]
        assert len(stream_text([first, *rest])) > 40
        assert rest[-1].done
        # Its own connection was not cut, and is closed now that its last request has ended.
        assert not any(seen.disconnected for seen in gone.requests)
        async with asyncio.timeout(10):
            while not all(seen.closed for seen in gone.requests):
                await asyncio.sleep(0.02)
        before = stays.connections
        for number in range(5):
            daemon.policy.write_text(daemon.policy.read_text() + f"\n# {number}\n")
            assert await _reload(daemon, session) == 200
            await _ask(session, daemon.url)
        assert stays.connections <= before + 1
        models = await daemon.get("/admin/models")
        assert [model["id"] for model in models["models"]] == ["other/stays"]


async def test_sighup_and_saving_reload_too(tmp_path: Path) -> None:
    async with (
        FaultServer(["ok"]) as server,
        running(policy(server.url), tmp_path) as daemon,
    ):
        digest = (await daemon.get("/health"))["policy"]["digest"]
        daemon.process.send_signal(signal.SIGHUP)
        assert (await daemon.wait_event("config.unchanged"))["reason"] == "SIGHUP"
        daemon.policy.write_text(policy(server.url, pins=["x"]))
        assert (await daemon.wait_event("config.reloaded"))["changed"] == ["pins"]
        daemon.policy.write_text("nonsense: true")
        rejected = await daemon.wait_event("config.rejected")
        assert "unknown key 'nonsense'" in rejected["problems"][0]
        health = await daemon.get("/health")
        assert health["policy"]["digest"] not in (digest, None)
        assert health["policy"]["rejected_digest"]
        shown = await daemon.get("/admin/policy")
        assert shown["rejected"]["problems"][0]["path"] == "$.nonsense"
        assert shown["rejected"]["digest"] == health["policy"]["rejected_digest"]
        metrics = await _text(daemon, "/metrics")
        assert health["policy"]["digest"] in metrics


async def _text(daemon: Running, path: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(daemon.url + path) as answer:
        return await answer.text()


async def test_sigterm_lets_streams_end(tmp_path: Path) -> None:
    async with (
        FaultServer(["slow"], tokens=30, delay=0.03) as server,
        running(policy(server.url), tmp_path) as daemon,
        aiohttp.ClientSession() as session,
    ):
        streams = [asyncio.create_task(_stream(session, daemon.url)) for _ in range(4)]
        plain = asyncio.create_task(_ask(session, daemon.url))
        await server.wait_requests(5)
        await asyncio.sleep(0.2)
        status = await daemon.end()
        texts = await asyncio.gather(*streams)
        assert status == 0
        assert len(set(texts)) == 1
        assert len(texts[0]) > 30
        assert (await plain)["choices"][0]["finish_reason"] == "stop"
    assert daemon.events("daemon.draining")[0]["running"] == 5
    assert daemon.events("daemon.stopped")


async def test_a_draining_daemon_accepts_nothing_new(tmp_path: Path) -> None:
    async with (
        FaultServer(["slow"], tokens=30, delay=0.03) as server,
        running(policy(server.url), tmp_path) as daemon,
        aiohttp.ClientSession() as session,
    ):
        stream = asyncio.create_task(_stream(session, daemon.url))
        await server.wait_requests(1)
        daemon.process.send_signal(signal.SIGTERM)
        await daemon.wait_event("daemon.draining")
        async with aiohttp.ClientSession() as late:
            with pytest.raises(aiohttp.ClientConnectorError):
                await _ask(late, daemon.url)
        assert await stream
        assert await daemon.end() == 0


async def test_a_second_sigint_hurries(tmp_path: Path) -> None:
    async with (
        FaultServer(["hang-mid-stream"]) as server,
        running(policy(server.url), tmp_path) as daemon,
        aiohttp.ClientSession() as session,
    ):
        body = chat(stream=True)
        async with session.post(f"{daemon.url}/v1/chat/completions", json=body) as answer:
            await answer.content.readany()
            daemon.process.send_signal(signal.SIGINT)
            await daemon.wait_event("daemon.draining")
            async with asyncio.timeout(8):
                assert await daemon.end(signal.SIGINT) == 0
    assert daemon.events("drain.failed")[0]["cut_off"] == 1


async def test_draining_has_a_limit(tmp_path: Path) -> None:
    async with (
        FaultServer(["hang-mid-stream"]) as server,
        running(policy(server.url, server={"drain_seconds": 0.3}), tmp_path) as daemon,
        aiohttp.ClientSession() as session,
    ):
        body = chat(stream=True)
        async with session.post(f"{daemon.url}/v1/chat/completions", json=body) as answer:
            await answer.content.readany()
            async with asyncio.timeout(8):
                assert await daemon.end() == 0
    assert daemon.events("drain.failed")


async def _serve(folder: Path, text: str, **environ: str) -> tuple[int | None, str]:
    """(exit status, standard error) of a daemon that should refuse to start."""
    file = folder / "router.yaml"
    file.write_text(text)
    process = await asyncio.create_subprocess_exec(
        *("llmrouterd", "serve", "--policy", str(file)),
        env=_with_path(plain_environment(folder / "state", **environ)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        _, error = await process.communicate()
    return process.returncode, error.decode()


def _with_path(environ: dict[str, str]) -> dict[str, str]:
    """The console script beside the running interpreter comes first."""
    scripts = str(Path(sys.executable).parent)
    return {**environ, "PATH": f"{scripts}:{environ['PATH']}"}


async def test_a_bad_policy_at_the_start_ends_with_2(tmp_path: Path) -> None:
    status, error = await _serve(tmp_path, "serverr: {}\npins: x\n")
    file = tmp_path / "router.yaml"
    assert status == 2
    lines = error.splitlines()
    assert lines[0].startswith(f"{file}:1:1: $.serverr: unknown key 'serverr'")
    assert lines[1] == f"{file}:2:7: $.pins: 'x' is a text; must be a list"
    assert lines[2] == "2 problems; the policy is refused as a whole."


async def test_a_port_in_use_ends_with_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, error = await _serve(tmp_path, policy(), ROUTER_PORT=str(port))
    assert status == 2
    assert f"$.server.port: port {port} on 127.0.0.1 is in use" in error
    assert "Traceback" not in error


async def test_an_address_that_is_not_here_ends_with_2(tmp_path: Path) -> None:
    environ = {"ROUTER_HOST": "203.0.113.7", "ROUTER_ADMIN_API_KEY": "sk-very-secret-0815"}
    status, error = await _serve(tmp_path, policy(), **environ)
    assert status == 2
    assert "cannot listen on 203.0.113.7:11436" in error
    assert "sk-very-secret" not in error
