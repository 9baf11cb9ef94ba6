"""A backend that lists its models and does not generate: found, avoided, probed and used again."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from llmrouterd.catalog import Profile
from llmrouterd.errors import UpstreamTimeout
from tests.conftest import Opener
from tests.support.daemon import Running, preferring
from tests.support.fake_ollama import FakeModel, FakeOllama
from tests.support.faults import FaultServer
from tests.support.llama import model_paths, real_llama, real_llama_router
from tests.support.owned_llama import marked_name, processes

HANG = "hang-before-headers"
# Of a quick machine: a floor decides.
PROFILE = Profile(
    ttft_base_seconds=0.001, prefill_tokens_per_second=1e6, decode_tokens_per_second=1e4
)
HEALTH = {"floor_seconds": 0.2, "probe_seconds": 0.3, "probe_idle_minutes": 0, "held_tokens": 1}
FAILOVER = {"cool_seconds": 0.3, "errors_to_cool": 1}


def entry(name: str, url: str, **fields: Any) -> dict[str, Any]:
    """A backend that tells what it has loaded, with a long time limit."""
    given = {"type": "llamacpp", "timeouts": {"first_token": 30, "idle": 30}, "poll_seconds": 3600}
    return {"name": name, "url": url, **given, **fields}


async def start(
    opener: Opener,
    *entries: dict[str, Any],
    health: Mapping[str, Any] | None = None,
    profile: Profile | None = PROFILE,
    **policy: Any,
) -> Running:
    """A daemon that prefers the first backend's model `m`, whose profile it knows."""
    given = {
        "backends": list(entries),
        "rules": preferring(*(f"{each['name']}/m" for each in entries)),
        "failover": FAILOVER,
        "health": {**HEALTH, **(health or {})},
        **policy,
    }
    daemon = await opener(given)
    if profile is not None:
        profiles = {f"{each['name']}/m": (None, profile) for each in entries}
        daemon.state.discovery.learn(profiles=profiles)
    return daemon


@asynccontextmanager
async def pair(**faults: Any) -> AsyncIterator[tuple[FaultServer, FaultServer]]:
    """The one that goes wrong, and a good one."""
    async with FaultServer(["m"], **faults) as bad, FaultServer(["m"]) as good:
        yield bad, good


async def told(daemon: Running, event: str, key: str, count: int = 1) -> dict[str, Any]:
    """The count-th event of a key, once it has come."""

    def found() -> list[dict[str, Any]]:
        return [fields for fields in daemon.events.of(event) if fields["name"] == key]

    await daemon.events.until(lambda: len(found()) >= count)
    return found()[count - 1]


async def states(daemon: Running) -> dict[str, str]:
    """What /admin/backends says of backends and models that are not well."""
    rows = (await daemon.get("/admin/backends")).data["backends"]
    found = {row["name"]: row["health"]["state"] for row in rows}
    for row in rows:
        found |= {key: data["state"] for key, data in row["unwell"].items()}
    return {key: state for key, state in found.items() if state != "healthy"}


async def answered_by(daemon: Running) -> str:
    async with asyncio.timeout(10):
        answer = await daemon.chat("Hello")
    assert answer.status == 200
    return answer.headers["x-router-backend"]


async def leave(*requests: asyncio.Task[Any]) -> None:
    for request in requests:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)


async def test_the_second_request_does_not_wait_for_what_hangs(open_daemon: Opener) -> None:
    async with pair() as (bad, good):
        daemon = await start(open_daemon, entry("bad", bad.root), entry("good", good.root))
        assert await answered_by(daemon) == "bad"
        bad.set_fault("m", HANG)
        first = asyncio.create_task(daemon.chat("Hello"))
        suspected = await told(daemon, "backend.suspected", "bad/m")
        assert (suspected["from"], suspected["cause"]) == ("healthy", "silence")
        assert not first.done()
        assert await answered_by(daemon) == "good"
        assert not first.done()
        explained = await daemon.explain("Hello")
        (rejected,) = explained["rejected"]
        assert (rejected["model"], rejected["gate"]) == ("bad/m", "suspect")
        assert await states(daemon) == {"bad/m": "suspect"}
        rows = (await daemon.get("/admin/models")).data["models"]
        health = {row["id"]: row["health"] for row in rows}
        assert health["good/m"] == {"state": "healthy"}
        assert health["bad/m"]["reason"] == suspected["reason"]
        metrics = (await daemon.get("/metrics")).body.decode()
        assert 'llmrouterd_health_state{key="bad/m",state="suspect"} 1.0' in metrics
        assert 'llmrouterd_health_state{key="bad/m",state="healthy"} 0.0' in metrics
        assert 'llmrouterd_health_state{key="bad",state="healthy"} 1.0' in metrics
        counted = 'llmrouterd_health_transitions_total{cause="silence",state="suspect"} 1.0'
        assert counted in metrics
        # Its only slot is taken by the one that waits, so it was not probed.
        assert len(bad.asked) == 2
        await leave(first)


async def test_who_waits_behind_what_hangs_goes_elsewhere(open_daemon: Opener) -> None:
    async with pair() as (bad, good):
        daemon = await start(open_daemon, entry("bad", bad.root), entry("good", good.root))
        bad.set_fault("m", HANG)
        first = asyncio.create_task(daemon.chat("Hello"))
        await bad.wait_requests()
        queued = [asyncio.create_task(daemon.chat("Hello")) for _ in range(3)]
        async with asyncio.timeout(10):
            answers = await asyncio.gather(*queued)
        assert [answer.headers["x-router-backend"] for answer in answers] == ["good"] * 3
        assert not first.done()
        assert len(bad.asked) == 1
        failed = daemon.events.of("candidate.failed")
        assert [fields["model"] for fields in failed] == ["bad/m"] * 3
        assert "bad/m was waited for: suspect: no token for" in failed[0]["error"]
        await leave(first)


async def test_who_went_elsewhere_in_vain_comes_back(open_daemon: Opener) -> None:
    async with pair() as (bad, good):
        daemon = await start(
            open_daemon, entry("bad", bad.root), entry("good", good.root), failover={"attempts": 2}
        )
        bad.set_fault("m", HANG)
        good.set_fault("m", "500")
        first = asyncio.create_task(daemon.chat("Hello"))
        await bad.wait_requests()
        second = asyncio.create_task(daemon.chat("Hello"))
        await good.wait_requests()
        bad.set_fault("m", "ok")
        await leave(first)
        assert (await second).headers["x-router-backend"] == "bad"
        failed = [fields["model"] for fields in daemon.events.of("candidate.failed")]
        assert failed == ["bad/m", "good/m"]


async def test_nobody_goes_to_a_model_that_would_need_the_memory(open_daemon: Opener) -> None:
    models = [FakeModel(name=name, size=6 * 10**9, load_seconds=0.1) for name in ("a:1b", "b:1b")]
    async with FakeOllama(models) as ollama:
        daemon = await open_daemon(
            {
                "backends": [{"name": "o", "type": "ollama", "url": ollama.url, "slots": 1}],
                "rules": preferring("o/a:1b", "o/b:1b"),
                "residency": {"hosts": [{"name": "local", "vram_gb": 10}]},
                "health": {**HEALTH, "unprofiled_seconds": 0.2, "suspect_factor": 0.001},
                "failover": FAILOVER,
            }
        )
        assert (await daemon.chat("Hello")).headers["x-router-model"] == "a:1b"
        ollama.set_fault("a:1b", "hang")
        first, second = (asyncio.create_task(daemon.chat("Hello")) for _ in range(2))
        await told(daemon, "backend.suspected", "o/a:1b")
        ollama.set_fault("a:1b", None)
        await leave(first)
        assert (await second).headers["x-router-model"] == "a:1b"
        assert daemon.events.of("candidate.failed") == []


async def test_who_waits_has_nowhere_else_to_go(open_daemon: Opener) -> None:
    async with FaultServer(["m"]) as only:
        daemon = await start(open_daemon, entry("only", only.root))
        only.set_fault("m", HANG)
        first = asyncio.create_task(daemon.chat("Hello"))
        await only.wait_requests()
        second = asyncio.create_task(daemon.chat("Hello"))
        await told(daemon, "backend.suspected", "only/m")
        only.set_fault("m", "ok")
        await leave(first)
        assert (await second).status == 200


@pytest.mark.parametrize("profile", [PROFILE, None], ids=["profile", "no profile"])
async def test_a_probe_that_hangs_frees_who_waits_for_the_first_token(
    profile: Profile | None, open_daemon: Opener
) -> None:
    async with pair() as (bad, good):
        daemon = await start(
            open_daemon,
            entry("bad", bad.root, slots=2, timeouts={}),
            entry("good", good.root, slots=2, timeouts={}),
            health={"unprofiled_seconds": 0.3, "suspect_factor": 0.001},
            profile=profile,
        )
        bad.set_fault("m", HANG)
        assert await answered_by(daemon) == "good"
        (failed,) = daemon.events.of("candidate.failed")
        assert "a probe of one token had no answer" in failed["error"]
        reason = (await told(daemon, "backend.suspected", "bad/m"))["reason"]
        assert ("without a profile" in reason) is (profile is None)


async def test_a_role_is_no_token(open_daemon: Opener) -> None:
    remote = {"type": "openai", "timeouts": {"first_token": 0.5, "idle": 0.5}}
    async with pair() as (bad, good):
        daemon = await start(
            open_daemon,
            entry("bad", bad.root + "/v1", **remote),
            entry("good", good.root + "/v1", **remote),
            health={"coolings_to_die": 1},
        )
        bad.set_fault("m", "hang-mid-stream-0")
        for _ in range(20):
            events = await daemon.stream("Hello")
            assert events[-1].data == "[DONE]"
            await asyncio.sleep(0.05)
        await told(daemon, "backend.died", "bad/m")
        assert daemon.events.of("backend.recovered") == []


async def test_what_stalls_is_not_trusted_for_an_answered_probe(open_daemon: Opener) -> None:
    async with pair() as (bad, good):
        daemon = await start(
            open_daemon,
            entry("bad", bad.root, slots=4),
            entry("good", good.root),
            failover={"cool_seconds": 60},
        )
        bad.set_fault("m", "hang-mid-stream-1")
        async with daemon.streaming("Hello") as first:
            await first.content.readany()
            recovering = await told(daemon, "backend.recovering", "bad/m")
            assert (recovering["from"], recovering["cause"]) == ("suspect", "probe")
            async with daemon.streaming("Hello") as trial:
                assert trial.headers["x-router-backend"] == "bad"
                cooled = await told(daemon, "backend.cooled", "bad/m")
                assert (cooled["from"], cooled["cause"]) == ("recovering", "stall")
                assert await answered_by(daemon) == "good"
        assert daemon.events.of("backend.recovered") == []


async def test_a_probe_alone_brings_it_back(open_daemon: Opener) -> None:
    async with pair() as (bad, good):
        daemon = await start(open_daemon, entry("bad", bad.root), entry("good", good.root))
        bad.set_fault("m", HANG)
        first = asyncio.create_task(daemon.chat("Hello"))
        await told(daemon, "backend.suspected", "bad/m")
        await leave(first)
        cooled = await told(daemon, "backend.cooled", "bad/m")
        assert (cooled["from"], cooled["cause"]) == ("suspect", "probe")
        assert await answered_by(daemon) == "good"
        bad.set_fault("m", None)
        recovered = await told(daemon, "backend.recovered", "bad/m")
        assert (recovered["from"], recovered["cause"]) == ("recovering", "probe")
        first_asked, *probes = bad.asked
        assert first_asked.body["messages"] == [{"role": "user", "content": "Hello"}]
        assert {seen.body["max_tokens"] for seen in probes} == {1}
        assert all(seen.body["stream"] for seen in probes)
        assert await answered_by(daemon) == "bad"
        assert len(daemon.events.of("request.routed")) == 3  # and probes are no requests


async def test_a_daemon_whose_only_model_cools_is_not_ready(open_daemon: Opener) -> None:
    async with FaultServer(["m"]) as bad:
        daemon = await start(
            open_daemon, entry("bad", bad.root), failover={"cool_seconds": 60, "errors_to_cool": 1}
        )
        assert (await daemon.get("/ready")).status == 200
        bad.set_fault("m", HANG)
        first = asyncio.create_task(daemon.chat("Hello"))
        await told(daemon, "backend.suspected", "bad/m")
        assert (await daemon.get("/ready")).status == 200  # it may be slow only
        await leave(first)
        bad.set_fault("m", "500")
        assert (await daemon.chat("Hello")).status == 500
        answer = await daemon.get("/ready")
        assert (answer.status, answer.data["backends"]) == (503, {"bad": "unwell"})
        assert (await daemon.get("/health")).status == 200
        bad.set_fault("m", None)
        assert await answered_by(daemon) == "bad"  # nobody else can
        answer = await daemon.get("/ready")
        assert (answer.status, answer.data["backends"]) == (200, {"bad": "ok"})


async def test_one_backend_that_is_well_is_enough_to_be_ready(open_daemon: Opener) -> None:
    async with pair() as (bad, good):
        daemon = await start(open_daemon, entry("bad", bad.root), entry("good", good.root))
        bad.set_fault("m", "500")
        assert await answered_by(daemon) == "good"
        answer = await daemon.get("/ready")
        assert (answer.status, answer.data["backends"]) == (200, {"bad": "unwell", "good": "ok"})


async def test_a_token_that_comes_late_clears_it(open_daemon: Opener) -> None:
    async with pair() as (bad, good):
        daemon = await start(open_daemon, entry("bad", bad.root), entry("good", good.root))
        bad.set_fault("m", "slow-first:0.8")
        first = asyncio.create_task(daemon.chat("Hello"))
        await told(daemon, "backend.suspected", "bad/m")
        assert (await first).headers["x-router-backend"] == "bad"
        recovered = await told(daemon, "backend.recovered", "bad/m")
        assert (recovered["from"], recovered["cause"]) == ("suspect", "token")
        assert await states(daemon) == {}
        assert daemon.events.of("backend.cooled") == []


async def test_a_suspect_is_better_than_none(open_daemon: Opener) -> None:
    async with FaultServer(["m"]) as only:
        daemon = await start(open_daemon, entry("only", only.root, slots=2))
        only.set_fault("m", HANG, 1)
        first = asyncio.create_task(daemon.chat("Hello"))
        await told(daemon, "backend.suspected", "only/m")
        assert await answered_by(daemon) == "only"
        await leave(first)


async def test_a_free_slot_is_probed_while_the_first_request_waits(open_daemon: Opener) -> None:
    async with pair() as (bad, good):
        entries = entry("bad", bad.root, slots=2), entry("good", good.root)
        daemon = await start(open_daemon, *entries)
        bad.set_fault("m", HANG, 1)
        first = asyncio.create_task(daemon.chat("Hello"))
        recovered = await told(daemon, "backend.recovered", "bad/m")
        assert (recovered["from"], recovered["cause"]) == ("suspect", "probe")
        assert not first.done()
        # One stuck request is not held against the model again.
        assert await answered_by(daemon) == "bad"
        await asyncio.sleep(0.5)
        assert len(daemon.events.of("backend.suspected")) == 1
        await leave(first)


async def test_a_pause_in_the_middle_of_an_answer(open_daemon: Opener) -> None:
    async with pair() as (bad, good):
        daemon = await start(open_daemon, entry("bad", bad.root), entry("good", good.root))
        bad.set_fault("m", "hang-mid-stream-2")
        async with daemon.streaming("Hello") as response:
            await response.content.readany()
            bad.set_fault("m", HANG)
            await told(daemon, "backend.suspected", "bad/m")
            assert await answered_by(daemon) == "good"
        # Who leaves an answer that does not go on has not got a good one.
        await daemon.events.until(lambda: len(daemon.events.of("request.routed")) == 2)
        assert daemon.events.of("backend.recovered") == []
        cooled = await told(daemon, "backend.cooled", "bad/m")
        assert cooled["cause"] == "probe"


@pytest.mark.parametrize("case", ["slow tokens", "long prefill", "no profile", "comments"])
async def test_what_is_slow_and_goes_on_stays_healthy(case: str, open_daemon: Opener) -> None:
    async with FaultServer(["m"], tokens=4) as slow:
        profile: Profile | None = PROFILE
        health = {}
        if case == "slow tokens":
            slow.tokens, slow.delay = 10, 0.15
            health = {"floor_seconds": 1.0}
        elif case == "long prefill":
            slow.set_fault("m", "slow-first:0.5")
            profile = Profile(ttft_base_seconds=0.2, prefill_tokens_per_second=1000.0)
        elif case == "no profile":
            slow.set_fault("m", "slow-headers:0.5")
            profile = None
        else:
            slow.set_fault("m", "comments")
        daemon = await start(open_daemon, entry("slow", slow.root), profile=profile, health=health)
        assert await answered_by(daemon) == "slow"
        await asyncio.sleep(0.3)  # and a request that is over is not silent
        assert daemon.events.of("backend.suspected") == []
        assert len(slow.asked) == 1


async def test_a_server_that_holds_a_tool_call_back(open_daemon: Opener) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    async with FaultServer([{"id": "m", "capabilities": ["chat"]}]) as slow:
        slow.set_fault("m", "hang-mid-stream-2")
        slow_pace = Profile(**{**_fields(PROFILE), "decode_tokens_per_second": 100.0})
        held = {"held_tokens": 100}
        daemon = await start(open_daemon, entry("s", slow.root), health=held, profile=slow_pace)
        async with daemon.streaming("Hello", tools=[tool]) as response:
            await response.content.readany()
            await asyncio.sleep(0.5)
            assert daemon.events.of("backend.suspected") == []
        async with daemon.streaming("Hello") as response:
            await response.content.readany()
            await told(daemon, "backend.suspected", "s/m")


def _fields(profile: Profile) -> dict[str, Any]:
    return {name: getattr(profile, name) for name in Profile.__dataclass_fields__}


async def test_what_never_answers_a_probe_dies_and_is_tried_again(open_daemon: Opener) -> None:
    async with pair() as (bad, good):
        daemon = await start(
            open_daemon,
            entry("bad", bad.root),
            entry("good", good.root),
            health={"coolings_to_die": 2, "probe_seconds": 0.1, "floor_seconds": 0.1},
            failover={"cool_seconds": 0.1, "errors_to_cool": 1},
        )
        bad.set_fault("m", "500", 1)
        assert await answered_by(daemon) == "good"
        bad.set_fault("m", HANG)
        died = await told(daemon, "backend.died", "bad/m")
        assert (died["from"], died["cause"]) == ("recovering", "probe")
        assert len(daemon.events.of("backend.cooled")) == 2
        assert (await states(daemon))["bad/m"] in ("dead", "recovering")
        await told(daemon, "backend.died", "bad/m", 2)
        bad.set_fault("m", None)
        recovered = await told(daemon, "backend.recovered", "bad/m")
        assert (recovered["from"], recovered["cause"]) == ("recovering", "probe")
        assert len(daemon.events.of("request.routed")) == 1


async def test_a_backend_that_does_not_answer_its_listing(open_daemon: Opener) -> None:
    async with pair() as (bad, good):
        entries = entry("bad", bad.root, poll_seconds=1), entry("good", good.root)
        daemon = await start(open_daemon, *entries)
        await bad.stop()
        died = await told(daemon, "backend.died", "bad")
        assert (died["from"], died["cause"]) == ("healthy", "listing")
        assert (await states(daemon))["bad"] == "dead"
        assert await answered_by(daemon) == "good"
        bad.set_fault("m", HANG)  # it comes back, and only its listing does
        await bad.start()
        recovering = await told(daemon, "backend.recovering", "bad")
        assert (recovering["from"], recovering["cause"]) == ("dead", "listing")
        await told(daemon, "backend.cooled", "bad/m")
        bad.set_fault("m", None)
        recovered = await told(daemon, "backend.recovered", "bad")
        assert recovered["cause"] == "probe"
        assert len(daemon.events.of("request.routed")) == 1


async def test_a_suspect_whose_backend_does_not_list_either(open_daemon: Opener) -> None:
    async with pair() as (bad, good):
        daemon = await start(open_daemon, entry("bad", bad.root), entry("good", good.root))
        bad.set_fault("m", HANG)
        first = asyncio.create_task(daemon.chat("Hello"))
        await told(daemon, "backend.suspected", "bad/m")
        bad.set_fault("/v1/models", "500")
        await leave(first)
        cooled = await told(daemon, "backend.cooled", "bad/m")
        assert (cooled["cause"], len(bad.asked)) == ("probe", 1)


async def test_a_request_that_arrives_during_a_probe_is_not_delayed(open_daemon: Opener) -> None:
    async with FaultServer(["m"]) as only:
        only.set_fault("m", HANG, 1)
        idle = {"probe_idle_minutes": 0.001, "probe_seconds": 60}
        daemon = await start(open_daemon, entry("only", only.root, concurrency=1), health=idle)
        (probe,) = await only.wait_requests(1)
        assert probe.body["max_tokens"] == 1
        assert await answered_by(daemon) == "only"  # on its only slot
        await only.wait_closed_by_client(1)
        assert only.asked[1].body.get("max_tokens") != 1
        assert daemon.events.of("backend.cooled") == []
        assert await states(daemon) == {}
        seen = await only.wait_requests(4)  # and is probed again, once it is idle again
        assert seen[3].body["max_tokens"] == 1


async def test_an_idle_model_is_probed_and_what_hangs_is_found_without_users(
    open_daemon: Opener,
) -> None:
    async with pair() as (bad, good):
        bad.set_fault("m", HANG)
        idle = {"probe_idle_minutes": 0.001, "probe_seconds": 0.1}
        entries = entry("bad", bad.root), entry("good", good.root)
        daemon = await start(open_daemon, *entries, health=idle, profile=None)
        cooled = await told(daemon, "backend.cooled", "bad/m")
        assert (cooled["from"], cooled["cause"]) == ("healthy", "probe")
        assert (await good.wait_requests(2))[1].body["max_tokens"] == 1
        assert daemon.events.of("request.routed") == []


@pytest.mark.parametrize("told_to", [False, True])
async def test_a_remote_api_is_not_probed_unless_the_owner_says_so(
    told_to: bool, open_daemon: Opener
) -> None:
    async with FaultServer(["m"]) as paid:
        paid.set_fault("m", "500", 1)
        health = {"probe_remote": told_to, "probe_idle_minutes": 0.001}
        api = entry("paid", paid.url, type="openai", remote=True)
        daemon = await start(open_daemon, api, health=health)
        assert (await daemon.chat("Hello")).status == 500
        if told_to:
            recovered = await told(daemon, "backend.recovered", "paid/m")
            assert recovered["cause"] == "probe"
            return
        await told(daemon, "backend.recovering", "paid/m")
        await asyncio.sleep(0.5)
        assert len(paid.asked) == 1
        assert await answered_by(daemon) == "paid"
        recovered = await told(daemon, "backend.recovered", "paid/m")
        assert recovered["cause"] == "answer"


@pytest.mark.parametrize("off", [{"probe_seconds": 0}, {"suspect_factor": 0}])
async def test_it_can_be_switched_off(off: dict[str, Any], open_daemon: Opener) -> None:
    async with pair() as (bad, good):
        entries = entry("bad", bad.root), entry("good", good.root)
        daemon = await start(open_daemon, *entries, health={"probe_idle_minutes": 0.001, **off})
        if "suspect_factor" in off:
            bad.set_fault("m", HANG)
            first = asyncio.create_task(daemon.chat("Hello"))
            await bad.wait_requests(1)
            await asyncio.sleep(0.5)
            assert daemon.events.of("backend.suspected") == []
            await leave(first)
            return
        bad.set_fault("m", "500", 1)
        assert await answered_by(daemon) == "good"
        await told(daemon, "backend.recovering", "bad/m")
        await asyncio.sleep(0.5)
        assert len(bad.asked) + len(good.asked) == 2


OLLAMA = FakeModel(name="m:1b", size=10**9, load_seconds=0.05)


async def fail_once(daemon: Running, ollama: FakeOllama) -> None:
    """The model is loaded by a first chat, and cools after a second one."""
    assert (await daemon.chat("Hello")).status == 200
    ollama.set_fault("m:1b", "500", 1)
    assert (await daemon.chat("Hello")).status == 500
    await told(daemon, "backend.cooled", "o/m:1b")


async def test_a_loaded_model_of_ollama_is_probed_as_it_is_loaded(open_daemon: Opener) -> None:
    async with FakeOllama([OLLAMA]) as ollama:
        daemon = await start(open_daemon, entry("o", ollama.url, type="ollama"))
        await fail_once(daemon, ollama)
        recovered = await told(daemon, "backend.recovered", "o/m:1b")
        assert recovered["cause"] == "probe"
        probe = [seen for seen in ollama.requests if seen.path == "/api/chat"][-1]
        assert probe.body["options"]["num_predict"] == 1
        assert (ollama.loads, ollama.reloads, ollama.violations) == (["m:1b"], 0, [])


async def test_a_probe_does_not_keep_its_model_in_the_way(open_daemon: Opener) -> None:
    models = [FakeModel(name=name, size=6 * 10**9, load_seconds=0.05) for name in ("m:1b", "o:1b")]
    async with FakeOllama(models) as ollama:
        daemon = await start(
            open_daemon,
            entry("o", ollama.url, type="ollama", include=["m:*"]),
            entry("p", ollama.url, type="ollama", include=["o:*"]),
            health={"probe_idle_minutes": 0.005, "probe_seconds": 60},
            residency={
                "hosts": [{"name": "local", "vram_gb": 11}],
                "keep_alive": "-1",
                "minimum_seconds": 0,
            },
        )
        assert (await daemon.chat("Hello", model="o/m:1b")).status == 200
        ollama.set_fault("m:1b", "hang", 1)  # the probe, and not the unloading
        async with asyncio.timeout(10):
            asked = await ollama.wait_requests(len(ollama.asked) + 1)
        assert asked[-1].body["options"]["num_predict"] == 1
        async with asyncio.timeout(10):
            answer = await daemon.chat("Hello", model="p/o:1b")
        assert answer.status == 200
        assert daemon.events.of("backend.cooled") == []


@pytest.mark.parametrize("case", ["unloaded", "another context"])
async def test_a_probe_never_loads_a_model(case: str, open_daemon: Opener) -> None:
    """Somebody else changed what Ollama holds, and no poll has told us yet."""
    async with FakeOllama([OLLAMA]) as ollama:
        daemon = await start(open_daemon, entry("o", ollama.url, type="ollama"))
        daemon.state.places.changed = lambda: None  # after a request Ollama would be asked
        await fail_once(daemon, ollama)
        if case == "unloaded":
            ollama.advance(10 * 3600)
        else:
            body = {"model": "m:1b", "prompt": "", "options": {"num_ctx": 512}}
            async with daemon.http.post(f"{ollama.url}/api/generate", json=body) as response:
                assert response.status == 200
        before, asked = list(ollama.loads), len(ollama.asked)
        await told(daemon, "backend.recovering", "o/m:1b")
        await asyncio.sleep(0.7)  # twice the pause between two tries
        chats = [one for one in ollama.asked[asked:] if one.path == "/api/chat"]
        assert (chats, ollama.loads) == ([], before)
        assert await states(daemon) == {"o/m:1b": "recovering"}
        assert (await daemon.chat("Hello")).status == 200  # a request may load it


async def test_a_probe_loads_nothing_on_a_real_router(open_daemon: Opener, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for name in ("m", "other"):
        shutil.copy(model_paths()["tiny-random"], models / f"{name}.gguf")
    async with real_llama_router(models, models_max=2) as url:

        async def held() -> dict[str, str]:
            async with daemon.http.get(f"{url}/models") as response:
                listed = (await response.json())["data"]
            return {row["id"]: row["status"]["value"] for row in listed}

        def hang(name: str) -> None:
            vitals, snapshot = daemon.state.dispatcher.vitals, daemon.state.current.snapshot
            model, spec = snapshot.catalog.by_id[name], snapshot.policy.backend("r")
            assert spec is not None
            watch = vitals.begin_probe(model, spec)
            vitals.end_probe(watch, UpstreamTimeout("it hangs"), False)

        daemon = await start(
            open_daemon, entry("r", url), profile=None, health={"probe_seconds": 20}
        )
        assert (await daemon.chat("Hello", model="r/m", max_tokens=2)).status == 200
        hang("r/m")
        hang("r/other")
        recovered = await told(daemon, "backend.recovered", "r/m")
        assert recovered["cause"] == "probe"
        await told(daemon, "backend.recovering", "r/other")
        await asyncio.sleep(1.0)
        assert await held() == {"m": "loaded", "other": "unloaded"}
        assert await states(daemon) == {"r/other": "recovering"}
        answer = await daemon.chat("Hello", model="r/other", max_tokens=2)
        assert answer.status == 200


async def test_a_real_server_that_is_stopped_is_found_and_healed(open_daemon: Opener) -> None:
    """Its port accepts and nothing answers, as of a process that hangs."""
    with marked_name() as mark:
        async with (
            real_llama(model_paths()["tiny-random"], alias=mark) as url,
            FaultServer(["m"]) as good,
        ):
            stuck = f"stuck/{mark}"
            entries = [entry("stuck", url), entry("good", good.root)]
            daemon = await open_daemon(
                {
                    "backends": entries,
                    "rules": preferring(stuck, "good/m"),
                    "failover": {"cool_seconds": 1},
                    "health": {**HEALTH, "floor_seconds": 1, "probe_seconds": 2},
                }
            )
            model = daemon.state.current.snapshot.catalog.by_id[stuck]
            daemon.state.discovery.learn(profiles={stuck: (model.digest, PROFILE)})
            answer = await daemon.chat("Hello", max_tokens=4)
            assert answer.headers["x-router-backend"] == "stuck"
            (pid,) = processes(mark)
            os.kill(pid, signal.SIGSTOP)
            try:
                first = asyncio.create_task(daemon.chat("Hello", max_tokens=4))
                await told(daemon, "backend.suspected", stuck)
                assert await answered_by(daemon) == "good"
                assert not first.done()
                await leave(first)
            finally:
                os.kill(pid, signal.SIGCONT)
            recovered = await told(daemon, "backend.recovered", stuck)
            assert recovered["cause"] == "probe"
            answer = await daemon.chat("Hello", max_tokens=4)
            assert answer.headers["x-router-backend"] == "stuck"
