"""A failure before the first byte moves to the next candidate; what each kind of failure means."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.conftest import Opener, Scripted
from tests.support.clients import free_port, stream_text
from tests.support.daemon import openai_backend, preferring
from tests.support.faults import FaultServer
from tests.support.openai_answers import answer_text

TEXT = answer_text(5)
QUICK = {"timeouts": {"first_token": 0.2, "idle": 0.2}}

BEFORE_THE_FIRST_BYTE = (
    "401",
    "404",
    "429",
    "500",
    "500-text",
    "502",
    "503",
    "503-loading",
    "400-context",
    "hang-before-headers",
    "hang-after-headers",
    "drop-before-headers",
    "garbage-http",
    "wrong-content-type",
    "redirect",
    "error-200",
    "empty-200",
)


@pytest.mark.parametrize("fault", BEFORE_THE_FIRST_BYTE)
async def test_the_next_candidate_answers(fault: str, scripted: Scripted) -> None:
    daemon, backend = await scripted(fault, "ok", backend=QUICK)
    answer = await daemon.chat("Hello")
    assert (answer.status, answer.text) == (200, TEXT)
    assert answer.headers["x-router-model"] == "ok"
    backend.requests.clear()
    events = await daemon.stream("Hello")
    assert stream_text(events) == TEXT
    assert events[-1].done
    models = [seen.model for seen in backend.asked]
    assert models[-1] == "ok"
    assert set(models) <= {fault, "ok"}


AFTER_THE_HEADERS = (
    "drop-mid-stream-0",
    "die-after-0",
    "ends-early-0",
    "error-mid-stream-0",
    "hang-mid-stream-0",
    "garbage-json",
    "drop-mid-stream-3",
    "hang-mid-stream-3",
    "ends-early-3",
    "error-mid-stream-3",
)


@pytest.mark.parametrize("fault", AFTER_THE_HEADERS)
async def test_a_client_that_does_not_stream_gets_the_next_candidates_answer(
    fault: str, scripted: Scripted
) -> None:
    """It was sent nothing yet, so a failure in the middle of an answer can still be made good."""
    daemon, backend = await scripted(fault, "ok", backend=QUICK)
    answer = await daemon.chat("Hello")
    assert (answer.status, answer.text) == (200, TEXT)
    assert answer.headers["x-router-model"] == "ok"
    assert [seen.model for seen in backend.asked] == [fault, "ok"]
    (routed,) = daemon.events.of("request.routed")
    assert routed["failed_before"] == [f"s/{fault}"]
    assert routed["outcome"] == "ok"


async def test_why_this_model_tells_who_failed_and_who_answered(scripted: Scripted) -> None:
    daemon, _ = await scripted("500", "ok")
    id_ = (await daemon.chat("Hello")).headers["x-router-decision"]
    for place in ("/v1/decisions", "/admin/decisions"):
        first, failed, answered, *_ = (await daemon.get(f"{place}/{id_}")).data["words"].split("\n")
        assert first == "s/ok in place of s/500 by rule 'default' (routed, preset balanced)"
        assert failed.startswith("  s/500 failed after 0.")
        assert answered == "  s/ok answered"
    for model, said in (("s/500", "s/500 was chosen."), ("s/ok", "s/ok was not chosen: place 2, ")):
        told = (await daemon.get(f"/admin/decisions/{id_}?why_not={model}")).data["why_not"]
        lines = told["words"].split("\n")
        assert lines[:2] == [failed.strip(), answered.strip()]
        assert lines[2].startswith(said)


async def test_when_all_break_off_the_last_error_is_told(scripted: Scripted) -> None:
    daemon, backend = await scripted("drop-mid-stream", "ends-early", backend=QUICK)
    answer = await daemon.chat("Hello")
    assert answer.status == 502
    assert answer.error["code"] == "upstream_interrupted"
    assert answer.headers["x-router-error-side"] == "upstream"
    assert [seen.model for seen in backend.asked] == ["drop-mid-stream", "ends-early"]


async def test_attempts_are_bounded(scripted: Scripted) -> None:
    daemon, backend = await scripted("500", "502", "503", "ok", failover={"attempts": 3})
    answer = await daemon.chat("Hello")
    assert answer.status == 503
    assert answer.error["message"] == "scripted 503"
    assert [seen.model for seen in backend.asked] == ["500", "502", "503"]
    backend.requests.clear()
    mixed = await daemon.chat("Hello", model="hubrouter/main:speed")
    assert mixed.status == 503
    assert len(backend.asked) == 3


async def test_the_bound_counts_answers_that_broke_off_too(scripted: Scripted) -> None:
    daemon, backend = await scripted(
        "drop-mid-stream-1", "500", "ok", failover={"attempts": 2}, backend=QUICK
    )
    answer = await daemon.chat("Hello")
    assert answer.status == 500
    assert [seen.model for seen in backend.asked] == ["drop-mid-stream-1", "500"]


@pytest.mark.parametrize("status", ["400", "413", "422"])
async def test_a_wrong_request_is_wrong_for_all(status: str, scripted: Scripted) -> None:
    daemon, backend = await scripted(status, "ok")
    for stream in (False, True):
        answer = await daemon.chat("Hello", stream=stream)
        assert answer.status == int(status)
        assert answer.error["message"] == f"scripted {status}"
        assert answer.headers["x-should-retry"] == "false"
    assert {seen.model for seen in backend.asked} == {status}


async def test_the_upstreams_status_and_body_are_preserved(scripted: Scripted) -> None:
    daemon, _ = await scripted("429:7")
    answer = await daemon.chat("Hello")
    assert answer.status == 429
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["x-router-error-side"] == "upstream"
    assert answer.data == {
        "error": {
            "message": "scripted 429",
            "type": "rate_limit_error",
            "param": None,
            "code": "rate_limit_error",
        }
    }


async def test_unknown_fields_of_an_upstreams_error_stay(scripted: Scripted) -> None:
    daemon, _ = await scripted("400-context")
    answer = await daemon.chat("Hello")
    assert answer.status == 400
    assert answer.error["type"] == "exceed_context_size_error"
    assert (answer.error["n_ctx"], answer.error["n_prompt_tokens"]) == (4096, 9001)


@pytest.mark.parametrize("status", ["401", "403"])
async def test_our_key_being_refused_is_not_the_clients_fault(
    status: str, scripted: Scripted
) -> None:
    daemon, _ = await scripted(status)
    answer = await daemon.chat("Hello")
    assert answer.status == 502
    assert answer.error["message"] == f"scripted {status}"
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("hang-before-headers", 504, "upstream_timeout"),
        ("garbage-http", 502, "upstream_invalid_response"),
        ("wrong-content-type", 502, "upstream_invalid_response"),
        ("drop-before-headers", 502, "upstream_invalid_response"),
        ("drop-mid-stream", 502, "upstream_interrupted"),
        ("hang-mid-stream", 504, "upstream_timeout"),
    ],
)
async def test_the_error_when_nobody_is_left(
    fault: str, status: int, code: str, scripted: Scripted
) -> None:
    daemon, _ = await scripted(fault, backend=QUICK)
    answer = await daemon.chat("Hello")
    assert (answer.status, answer.error["code"]) == (status, code)
    assert answer.error["type"] == "upstream_error"
    (routed,) = daemon.events.of("request.routed")
    assert routed["outcome"] == code
    assert routed["failed_before"] == [f"s/{fault}"]


async def test_other_models_of_an_unreachable_backend_are_skipped(open_daemon: Opener) -> None:
    async with FaultServer(["a", "b", "c"]) as dying, FaultServer(["ok"]) as alive:
        backends = [openai_backend("dying", dying.url), openai_backend("alive", alive.url)]
        rules = preferring("dying/a", "dying/b", "dying/c", "alive/ok")
        daemon = await open_daemon({"backends": backends, "rules": rules})
        await dying.stop()
        answer = await daemon.chat("Hello")
        assert (answer.status, answer.headers["x-router-backend"]) == (200, "alive")
        (routed,) = daemon.events.of("request.routed")
        assert routed["failed_before"] == ["dying/a"]


async def test_a_backend_that_dies_while_it_answers(open_daemon: Opener) -> None:
    """The process is killed in the middle: the stream ends honestly, the next request moves on."""
    async with FaultServer(["endless"]) as dying, FaultServer(["ok"]) as alive:
        backends = [openai_backend("dying", dying.url), openai_backend("alive", alive.url)]
        rules = preferring("dying/endless", "alive/ok")
        daemon = await open_daemon({"backends": backends, "rules": rules})
        async with daemon.streaming("Hello") as response:
            await response.content.readany()
            await dying.stop()
            rest = (await response.content.read()).decode()
        assert '"error"' in rest
        assert "[DONE]" not in rest
        answer = await daemon.chat("Hello")
        assert answer.headers["x-router-backend"] == "alive"


async def test_a_model_that_keeps_failing_is_left_alone(scripted: Scripted) -> None:
    daemon, backend = await scripted("a", "b", failover={"errors_to_cool": 2, "cool_seconds": 60})
    backend.set_fault("a", "500")
    for _ in range(4):
        assert (await daemon.chat("Hello")).headers["x-router-model"] == "b"
    assert [seen.model for seen in backend.asked].count("a") == 2
    explained = await daemon.explain("Hello")
    (rejected,) = explained["rejected"]
    assert (rejected["model"], rejected["gate"]) == ("s/a", "cooling")
    backend.set_fault("b", "500")
    for _ in range(2):
        assert (await daemon.chat("Hello")).status == 500
    backend.set_fault("b", None)
    backend.set_fault("a", None)
    assert (await daemon.chat("Hello")).status == 200  # all are cooling: better one than none


async def test_a_model_whose_quota_is_used_up_rests_as_long_as_asked(scripted: Scripted) -> None:
    daemon, backend = await scripted("a", "b")
    backend.fail_times("a", 1, "429:60")
    for _ in range(3):
        assert (await daemon.chat("Hello")).headers["x-router-model"] == "b"
    assert [seen.model for seen in backend.asked].count("a") == 1


async def test_a_recovered_model_comes_back(scripted: Scripted) -> None:
    daemon, backend = await scripted("a", "b", failover={"errors_to_cool": 1, "cool_seconds": 0.1})
    backend.fail_times("a", 1)
    assert (await daemon.chat("Hello")).headers["x-router-model"] == "b"
    await asyncio.sleep(0.12)
    assert (await daemon.chat("Hello")).headers["x-router-model"] == "a"
    (recovered,) = daemon.events.of("backend.recovered")
    assert (recovered["name"], recovered["cause"]) == ("s/a", "answer")


async def test_a_loading_backend_is_waited_for_when_nobody_else_can(scripted: Scripted) -> None:
    daemon, backend = await scripted("m")
    backend.fail_times("m", 2, "503-loading")
    answer = await daemon.chat("Hello")
    assert (answer.status, answer.text) == (200, TEXT)
    assert len(backend.asked) == 3


async def test_loading_that_never_ends(scripted: Scripted) -> None:
    daemon, _ = await scripted("503-loading", backend={"timeouts": {"load": 0.1}})
    answer = await daemon.chat("Hello")
    assert answer.status == 503
    assert answer.error["code"] == "model_loading"
    assert answer.headers["retry-after"] == "2"
    assert answer.headers["x-should-retry"] == "true"


async def test_no_place_within_the_queues_limit(scripted: Scripted) -> None:
    daemon, backend = await scripted(
        "endless", backend={"concurrency": 1, "timeouts": {"queue": 0.1}}
    )
    async with daemon.streaming("Hello") as response:
        await response.content.readany()
        answer = await daemon.chat("Hello")
        assert answer.status == 503
        assert answer.error["code"] == "backend_busy"
        assert answer.headers["retry-after"] == "5"
    await backend.wait_closed_by_client()
    assert len(backend.asked) == 1


async def test_nothing_is_served_at_all(open_daemon: Opener) -> None:
    backends = [openai_backend("gone", f"http://127.0.0.1:{free_port()}/v1")]
    daemon = await open_daemon({"backends": backends})
    answer = await daemon.chat("Hello")
    assert answer.status == 503
    assert answer.error["code"] == "no_model_available"
    assert "retry-after" in answer.headers
    kept = await daemon.get(f"/admin/decisions/{answer.headers['x-router-decision']}")
    assert (kept.data["outcome"], kept.data["model"]) == ("no_model_available", None)
    assert "no backend serves one" in kept.data["words"]
    metrics = (await daemon.get("/metrics")).body.decode()
    assert 'llmrouterd_answers_total{outcome="failed"} 1.0' in metrics  # and not refused
    assert (await daemon.get("/ready")).status == 503
    assert (await daemon.get("/health")).status == 200
    assert (await daemon.get("/v1/models")).status == 200


async def test_a_dead_backend_does_not_delay_another(open_daemon: Opener) -> None:
    async with FaultServer() as silent, FaultServer(["ok"]) as alive:
        silent.set_fault("*", "hang-before-headers")
        silent_entry = openai_backend("silent", silent.url)
        rules = preferring("alive/ok")
        daemon_backends = [openai_backend("alive", alive.url)]
        daemon = await open_daemon({"backends": daemon_backends, "rules": rules})
        both = {"backends": [*daemon_backends, silent_entry], "profiling": {"enabled": False}}
        daemon.policy_file.write_text(json.dumps(both))
        assert (await daemon.post("/admin/reload", {})).status == 200
        assert (await daemon.chat("Hello")).text == TEXT
        assert (await daemon.get("/v1/models")).status == 200
        health = (await daemon.get("/admin/backends")).data["backends"]
        assert {row["name"]: row["status"] for row in health} == {
            "alive": "ok",
            "silent": "unknown",
        }


@pytest.mark.parametrize("fault", ["500", "drop-before-headers", "garbage-json"])
async def test_embeddings_move_on_too(fault: str, open_daemon: Opener) -> None:
    async with FaultServer([fault]) as bad, FaultServer(["ok"]) as good:
        backends = [openai_backend("bad", bad.url), openai_backend("good", good.url)]
        models = [{"match": "bad/*", "size_b": 1}, {"match": "good/*", "size_b": 2}]
        daemon = await open_daemon({"backends": backends, "models": models})
        answer = await daemon.post("/v1/embeddings", {"input": "a"})
        assert answer.status == 200
        assert answer.headers["x-router-backend"] == "good"
        assert len(bad.asked) >= 1
