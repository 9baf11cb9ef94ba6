"""Rate limits of clients: requests, tokens and concurrency, each key and address for itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from llmrouterd.errors import RateLimited
from llmrouterd.limits import Limiter
from llmrouterd.policy import RateLimit
from tests.conftest import Opener
from tests.support.daemon import Answer, Running, openai_backend
from tests.support.fake_ollama import FakeModel, FakeOllama
from tests.support.faults import FaultServer


def _limit(requests: int = 0, concurrent: int = 0, tokens: int = 0) -> RateLimit:
    return RateLimit(requests_per_minute=requests, concurrent=concurrent, tokens_per_minute=tokens)


def test_requests_flow_back_with_time() -> None:
    limiter, limit = Limiter(), _limit(requests=60)
    for _ in range(60):
        limiter.enter("a", limit, 100.0)
        limiter.leave("a", limit, 0, 100.0)
    with pytest.raises(RateLimited) as raised:
        limiter.enter("a", limit, 100.0)
    assert raised.value.retry_after == pytest.approx(1.0)
    assert raised.value.headers["x-ratelimit-remaining-requests"] == "0"
    limiter.enter("b", limit, 100.0)  # another key is not concerned
    headers = limiter.enter("a", limit, 102.5)  # two and a half came back
    assert headers["x-ratelimit-remaining-requests"] == "1"
    assert headers["x-ratelimit-limit-requests"] == "60"
    assert headers["x-ratelimit-reset-requests"] == "58.500s"


def test_an_unused_bucket_holds_no_more_than_a_minute() -> None:
    limiter, limit = Limiter(), _limit(requests=2)
    limiter.enter("a", limit, 0.0)
    for _ in range(2):
        limiter.enter("a", limit, 1e6)
    with pytest.raises(RateLimited):
        limiter.enter("a", limit, 1e6)


def test_concurrency_counts_what_runs() -> None:
    limiter, limit = Limiter(), _limit(concurrent=2)
    limiter.enter("a", limit, 0.0)
    limiter.enter("a", limit, 0.0)
    with pytest.raises(RateLimited, match="At most 2 requests at the same time"):
        limiter.enter("a", limit, 0.0)
    limiter.leave("a", limit, 0, 0.0)
    limiter.enter("a", limit, 0.0)


def test_tokens_are_known_late_and_paid_back() -> None:
    limiter, limit = Limiter(), _limit(tokens=100)
    limiter.enter("a", limit, 0.0)
    limiter.leave("a", limit, 300, 0.0)
    with pytest.raises(RateLimited) as raised:
        limiter.enter("a", limit, 0.0)
    assert raised.value.retry_after == pytest.approx(120.6)
    with pytest.raises(RateLimited):
        limiter.enter("a", limit, 119.0)
    assert limiter.enter("a", limit, 121.0)["x-ratelimit-limit-tokens"] == "100"


def test_a_refused_request_takes_nothing() -> None:
    limiter, limit = Limiter(), _limit(requests=5, concurrent=1)
    limiter.enter("a", limit, 0.0)
    for _ in range(10):
        with pytest.raises(RateLimited, match="at the same time"):
            limiter.enter("a", limit, 0.0)
    limiter.leave("a", limit, 0, 0.0)
    assert limiter.enter("a", limit, 0.0)["x-ratelimit-remaining-requests"] == "3"


@pytest.fixture
async def backend() -> AsyncIterator[FaultServer]:
    async with FaultServer(["ok", "endless"]) as server:
        yield server


async def _limited(open_daemon: Opener, backend: FaultServer, **policy: Any) -> Running:
    return await open_daemon({"backends": [openai_backend("s", backend.url)], **policy})


def _key(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer sk-{name}"}


async def test_each_client_has_its_own_limits(open_daemon: Opener, backend: FaultServer) -> None:
    daemon = await _limited(
        open_daemon,
        backend,
        auth={
            "clients": [
                {"name": "a", "key": "sk-a"},
                {"name": "b", "key": "sk-b"},
                {"name": "c", "key": "sk-c", "rate_limits": {"requests_per_minute": 4}},
            ]
        },
        rate_limits={"client": {"requests_per_minute": 2}},
    )
    answers = [await daemon.chat("Hello", headers=_key("a"), model="s/ok") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert [a.headers["x-ratelimit-remaining-requests"] for a in answers] == ["1", "0", "0"]
    refused = answers[-1]
    assert refused.headers["x-ratelimit-limit-requests"] == "2"
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert refused.headers["x-should-retry"] == "true"
    assert refused.headers["x-router-error-side"] == "gateway"
    assert refused.error["type"] == "rate_limit_error"
    assert (await daemon.get("/v1/models", headers=_key("a"))).status == 429
    statuses = [(await daemon.get("/v1/models", headers=_key("c"))).status for _ in range(5)]
    assert statuses == [200, 200, 200, 200, 429]
    assert (await daemon.get("/v1/models", headers=_key("b"))).status == 200


async def test_users_of_a_client_have_limits_within_its_own(
    open_daemon: Opener, backend: FaultServer
) -> None:
    home = {
        "name": "home",
        "key": "sk-home",
        "user_header": "X-User",
        "rate_limits": {"requests_per_minute": 5},
        "user_rate_limits": {"requests_per_minute": 2},
    }
    daemon = await _limited(
        open_daemon, backend, auth={"clients": [home, {"name": "lab", "key": "sk-lab"}]}
    )

    async def ask(key: str, user: str) -> Answer:
        headers = {**_key(key), "X-User": user}
        return await daemon.chat("Hello", headers=headers, model="s/ok")

    answers = [await ask("home", "ada") for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 429, 429]
    assert [a.headers["x-ratelimit-remaining-requests"] for a in answers] == ["1", "0", "0", "0"]
    assert answers[-1].headers["x-ratelimit-limit-requests"] == "2"
    # What a user is refused costs the others nothing; and all together have the client's limit,
    # however many users it names.
    assert [(await ask("home", f"user-{n}")).status for n in range(4)] == [200, 200, 200, 429]
    # The header of a client that names no users is nothing.
    assert [(await ask("lab", "ada")).status for _ in range(3)] == [200] * 3
    found = [row["record"]["signals"] for row in await _decisions(daemon)]
    named = {(signals["client"], signals["user"]) for signals in found}
    assert named == {("home", "ada"), *(("home", f"user-{n}") for n in range(3)), ("lab", "")}


async def _decisions(daemon: Running) -> list[dict[str, Any]]:
    rows = (await daemon.get("/admin/decisions")).data["decisions"]
    return [(await daemon.get(f"/admin/decisions/{row['id']}")).data for row in rows]


async def test_users_of_a_client_take_turns(open_daemon: Opener) -> None:
    """One asks for much, another for little, with the same key."""
    client = {"name": "home", "key": "sk-home", "user_header": "X-User"}
    async with FakeOllama([FakeModel(name="a:1b")], tokens=3, delay=0.02) as ollama:
        daemon = await open_daemon(
            {
                "backends": [{"name": "o", "type": "ollama", "url": ollama.url, "slots": 1}],
                "auth": {"clients": [client]},
            }
        )
        assert (await daemon.chat("Hello", headers=_key("home"))).status == 200
        ended: list[str] = []

        async def ask(user: str) -> None:
            headers = {**_key("home"), "X-User": user}
            assert (await daemon.chat("Hello", headers=headers)).status == 200
            ended.append(user)

        many = [asyncio.create_task(ask("ada")) for _ in range(6)]
        async with asyncio.timeout(5):
            while sum(len(host.waiting) for host in daemon.state.places.hosts.values()) < 5:
                await asyncio.sleep(0.005)
        await ask("bob")
        assert len(ended) < 4, ended
        await asyncio.gather(*many)


async def test_without_keys_the_address_counts(open_daemon: Opener, backend: FaultServer) -> None:
    daemon = await _limited(
        open_daemon, backend, rate_limits={"client": {"requests_per_minute": 2}}
    )
    statuses = [(await daemon.get("/v1/models")).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    # Nobody gets new limits by claiming to be somebody else.
    spoofed = await daemon.get("/v1/models", headers={"X-Forwarded-For": "10.9.9.9"})
    assert spoofed.status == 429


async def test_addresses_behind_a_trusted_proxy(open_daemon: Opener, backend: FaultServer) -> None:
    daemon = await _limited(
        open_daemon,
        backend,
        server={"trusted_proxies": ["127.0.0.1", "10.0.0.0/8"]},
        rate_limits={"client": {"requests_per_minute": 1}},
    )

    async def ask(forwarded: str) -> int:
        answer = await daemon.get("/v1/models", headers={"X-Forwarded-For": forwarded})
        return answer.status

    assert await ask("192.168.1.5") == 200
    assert await ask("192.168.1.5") == 429
    assert await ask("192.168.1.6") == 200
    # What stands left of the last address that is no proxy was written by the client itself.
    assert await ask("1.2.3.4, 192.168.1.6") == 429
    assert await ask("1.2.3.4, 192.168.1.7, 10.1.1.1") == 200
    assert await ask("192.168.1.7") == 429
    for odd in ("", ",", "not an address", "10.1.1.1", "::1, , 10.0.0.1"):
        assert await ask(odd) in (200, 429)


async def test_concurrent_requests(open_daemon: Opener, backend: FaultServer) -> None:
    daemon = await _limited(open_daemon, backend, rate_limits={"client": {"concurrent": 1}})
    async with daemon.streaming("Hello", model="s/endless") as response:
        await response.content.readany()
        refused = await daemon.chat("Hello", model="s/ok")
        assert refused.status == 429
        assert refused.headers["retry-after"] == "1"
    await backend.wait_closed_by_client()
    async with asyncio.timeout(5):
        while daemon.state.active:
            await asyncio.sleep(0.01)
    assert (await daemon.chat("Hello", model="s/ok")).status == 200


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_tokens_per_minute(stream: bool, open_daemon: Opener, backend: FaultServer) -> None:
    daemon = await _limited(open_daemon, backend, rate_limits={"client": {"tokens_per_minute": 8}})
    if stream:
        await daemon.stream("Hello", model="s/ok")
    else:
        assert (await daemon.chat("Hello", model="s/ok")).status == 200
    refused = await daemon.chat("Hello", model="s/ok")  # 5 tokens and the prompt's 4 were taken
    assert refused.status == 429
    assert refused.headers["x-ratelimit-limit-tokens"] == "8"
    assert refused.headers["x-ratelimit-remaining-tokens"] == "0"
    assert "tokens a minute" in refused.error["message"]


async def test_admin_has_its_own_limit(open_daemon: Opener, backend: FaultServer) -> None:
    daemon = await _limited(
        open_daemon,
        backend,
        rate_limits={"client": {"requests_per_minute": 1}, "admin": {"requests_per_minute": 2}},
    )
    assert (await daemon.get("/v1/models")).status == 200
    statuses = [(await daemon.get("/admin/models")).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert (await daemon.get("/health")).status == 200


async def test_more_requests_than_the_daemon_takes(
    open_daemon: Opener, backend: FaultServer
) -> None:
    daemon = await _limited(open_daemon, backend, server={"limits": {"in_flight": 1}})
    async with daemon.streaming("Hello", model="s/endless") as response:
        await response.content.readany()
        refused = await daemon.chat("Hello", model="s/ok")
        assert (refused.status, refused.error["code"]) == (503, "no_model_available")
        assert refused.headers["retry-after"] == "2"
