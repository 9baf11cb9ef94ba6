"""/v1: what models are shown, what a model's name means, embeddings, errors in one envelope."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from llmrouterd.api.routes import ROUTES
from tests.conftest import Opener, Scripted
from tests.support.clients import free_port
from tests.support.daemon import VIRTUAL, openai_backend, preferring
from tests.support.faults import FaultServer

SLASHED = "hf.co/bartowski/Llama-3.2:Q4_K_M"


async def test_one_model_is_shown(scripted: Scripted) -> None:
    daemon, _ = await scripted("a", "b")
    listing = (await daemon.get("/v1/models")).data
    assert listing["object"] == "list"
    (entry,) = listing["data"]
    assert entry["id"] == VIRTUAL
    assert entry["object"] == "model"
    assert type(entry["created"]) is int
    assert entry["owned_by"] == "local"
    assert entry["admin_auth_required"] is False
    assert isinstance(entry["description"], str)
    one = (await daemon.get(f"/v1/models/{VIRTUAL}")).data
    assert one == entry


async def test_real_models_are_shown_when_asked_for(scripted: Scripted) -> None:
    rows: list[str | dict[str, Any]] = [{"id": SLASHED, "context_length": 4096}, "plain"]
    daemon, _ = await scripted(*rows)
    hidden = (await daemon.get("/v1/models")).data["data"]
    assert [entry["id"] for entry in hidden] == [VIRTUAL]
    # A real model can be asked for whether it is shown or not.
    for id_ in (f"s/{SLASHED}", SLASHED):
        for path in (id_, quote(id_, safe="")):
            entry = (await daemon.get(f"/v1/models/{path}")).data
            assert (entry["id"], entry["owned_by"]) == (id_, "s")
            assert entry["context_length"] == 4096
    missing = await daemon.get("/v1/models/nope")
    assert (missing.status, missing.error["code"]) == (404, "model_not_found")


async def test_expose_models(scripted: Scripted) -> None:
    daemon, _ = await scripted(SLASHED, "plain")
    text = json.loads(daemon.policy_file.read_text())
    text["server"] = {"expose_models": True, "model_name": "home", "description": "Ours."}
    daemon.policy_file.write_text(json.dumps(text))
    assert (await daemon.post("/admin/reload", {})).status == 200
    shown = (await daemon.get("/v1/models")).data["data"]
    assert [entry["id"] for entry in shown] == ["home", f"s/{SLASHED}", "s/plain"]
    assert shown[0]["description"] == "Ours."
    assert len({entry["created"] for entry in shown}) == 1
    assert all(entry["object"] == "model" for entry in shown)
    assert (await daemon.chat("Hello", model="home")).status == 200
    assert (await daemon.chat("Hello", model=VIRTUAL)).status == 404


async def test_explicit_names(open_daemon: Opener) -> None:
    async with FaultServer(["best", "both", SLASHED]) as one, FaultServer(["both"]) as two:
        daemon = await open_daemon(
            {
                "backends": [openai_backend("one", one.url), openai_backend("two", two.url)],
                "rules": preferring("one/best", "two/both"),
                "models": [{"match": f"one/{SLASHED}", "aliases": ["nick", "gpt-4o"]}],
            }
        )
        asked = {
            VIRTUAL: "one/best",
            f"{VIRTUAL}:quality": "one/best",
            "one/both": "one/both",
            "two/both": "two/both",
            "both": "two/both",  # any backend that has it: the ranking says which
            SLASHED: f"one/{SLASHED}",
            f"one/{SLASHED}": f"one/{SLASHED}",
            "nick": f"one/{SLASHED}",
            "gpt-4o": f"one/{SLASHED}",
        }
        for name, wanted in asked.items():
            answer = await daemon.chat("Hello", model=name)
            found = f"{answer.headers['x-router-backend']}/{answer.headers['x-router-model']}"
            assert (name, found) == (name, wanted)
            rule = "default" if name.startswith(VIRTUAL) else "explicit"
            assert answer.headers["x-router-rule"] == rule
        assert one.asked[-1].model == SLASHED  # the backend's own name is what is sent


@pytest.mark.parametrize("model", [None, ""])
async def test_no_name_means_choose(model: str | None, scripted: Scripted) -> None:
    daemon, _ = await scripted("a", "b")
    answer = await daemon.chat("Hello", model=model)
    assert answer.headers["x-router-model"] == "a"


async def test_a_named_model_is_never_rerouted(scripted: Scripted) -> None:
    daemon, backend = await scripted("500", "ok")
    answer = await daemon.chat("Hello", model="s/500")
    assert answer.status == 500
    assert [seen.model for seen in backend.asked] == ["500"]


async def test_the_same_name_elsewhere_may_answer(open_daemon: Opener) -> None:
    async with FaultServer(["m"]) as one, FaultServer(["m"]) as two:
        one.set_fault("m", "500")
        daemon = await open_daemon(
            {
                "backends": [openai_backend("one", one.url), openai_backend("two", two.url)],
                "rules": preferring("one/m", "two/m"),
            }
        )
        assert (await daemon.chat("Hello", model="m")).headers["x-router-backend"] == "two"
        assert (await daemon.chat("Hello", model="one/m")).status == 500


@pytest.mark.parametrize(
    "name", ["nope", "s/nope", f"{VIRTUAL}:fast", f"{VIRTUAL}:", "s", "hubrouter"]
)
async def test_unknown_models(name: str, scripted: Scripted) -> None:
    daemon, backend = await scripted("ok")
    for stream in (False, True):
        answer = await daemon.chat("Hello", model=name, stream=stream)
        assert answer.status == 404
        assert answer.error["code"] == "model_not_found"
        assert answer.error["type"] == "invalid_request_error"
        assert answer.error["param"] == "model"
        assert repr(name) in answer.error["message"] or "preset" in answer.error["message"]
        assert answer.headers["x-should-retry"] == "false"
        assert answer.headers["x-router-error-side"] == "gateway"
    assert backend.asked == []


async def test_unknown_models_may_be_routed(open_daemon: Opener) -> None:
    async with FaultServer(["ok"]) as backend:
        daemon = await open_daemon(
            {
                "server": {"unknown_models": "route"},
                "backends": [openai_backend("s", backend.url)],
            }
        )
        assert (await daemon.chat("Hello", model="gpt-4o")).status == 200


async def test_presets_weigh_differently(open_daemon: Opener) -> None:
    """A large model answers better and a small one sooner; the suffix says what counts."""
    async with FaultServer(["large", "small"]) as backend:
        daemon = await open_daemon(
            {
                "backends": [openai_backend("s", backend.url)],
                "models": [
                    {"match": "s/large", "size_b": 70, "quality": {"chat": 0.9}},
                    {"match": "s/small", "size_b": 1, "quality": {"chat": 0.6}},
                ],
            }
        )
        models = {}
        for preset in ("quality", "balanced", "speed"):
            answer = await daemon.chat("Hello", model=f"{VIRTUAL}:{preset}")
            models[preset] = answer.headers["x-router-model"]
            explained = await daemon.explain("Hello", model=f"{VIRTUAL}:{preset}")
            assert explained["preset"] == preset
        assert (models["quality"], models["speed"]) == ("large", "small")


async def test_include_and_exclude(open_daemon: Opener) -> None:
    async with FaultServer(["chat-a", "chat-b", "embed-c"]) as backend:
        entry = openai_backend("s", backend.url, include=["chat-*"], exclude=["*-b"])
        daemon = await open_daemon({"backends": [entry]})
        assert list(daemon.state.current.snapshot.catalog.by_id) == ["s/chat-a"]
        assert (await daemon.chat("Hello", model="chat-b")).status == 404


EMBEDDERS: list[str | dict[str, Any]] = [
    {"id": "talker", "capabilities": ["completion"]},
    {"id": "embedder", "capabilities": ["embedding"]},
    {"id": "other", "capabilities": ["embedding"]},
]


async def test_embeddings_go_to_the_configured_model(open_daemon: Opener) -> None:
    async with FaultServer(EMBEDDERS) as backend:
        policy = {"backends": [openai_backend("s", backend.url)]}
        daemon = await open_daemon({**policy, "server": {"embedding_model": "s/other"}})
        body = {"model": VIRTUAL, "input": ["one", "two"], "dimensions": 4}
        answer = await daemon.post("/v1/embeddings", body)
        assert answer.status == 200
        assert answer.headers["x-router-model"] == "other"
        assert [item["index"] for item in answer.data["data"]] == [0, 1]
        assert [len(item["embedding"]) for item in answer.data["data"]] == [4, 4]
        assert answer.data["usage"]["prompt_tokens"] >= 1
        assert backend.asked[0].body == {**body, "model": "other"}
        named = await daemon.post("/v1/embeddings", {**body, "model": "s/embedder"})
        assert named.headers["x-router-model"] == "embedder"
        # A chat never goes to a model that only embeds.
        assert (await daemon.chat("Hello")).headers["x-router-model"] == "talker"


async def test_embeddings_without_a_setting_go_to_one_that_can(open_daemon: Opener) -> None:
    async with FaultServer(EMBEDDERS) as backend:
        daemon = await open_daemon({"backends": [openai_backend("s", backend.url)]})
        answer = await daemon.post("/v1/embeddings", {"input": "one"})
        assert answer.headers["x-router-model"] in ("embedder", "other")


async def test_nobody_can_embed(open_daemon: Opener) -> None:
    async with FaultServer([EMBEDDERS[0]]) as backend:
        daemon = await open_daemon({"backends": [openai_backend("s", backend.url)]})
        answer = await daemon.post("/v1/embeddings", {"input": "one"})
        assert (answer.status, answer.error["code"]) == (400, "no_capable_model")
        assert "makes no embeddings" in answer.error["message"]


async def test_strays_get_the_same_envelope(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    for method, path, status in (
        ("GET", "/v1", 404),
        ("POST", "/v1/audio/speech", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/v1/../api/delete", 404),
        ("POST", "/v1/models/..%2f..%2fapi%2fdelete", 405),
    ):
        answer = await daemon.request(method, path)
        assert (method, path, answer.status) == (method, path, status)
        assert answer.error["message"]
        assert answer.headers["x-request-id"]


async def test_operations_endpoints(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    await daemon.chat("Hello")
    health = await daemon.get("/health")
    assert (health.status, health.data["status"]) == (200, "ok")
    assert (await daemon.get("/ready")).status == 200
    metrics = (await daemon.get("/metrics")).body.decode()
    for name in (
        "llmrouterd_requests_total",
        "llmrouterd_decisions_total",
        "llmrouterd_tokens_total",
    ):
        assert name in metrics
    assert 's/ok"' in metrics


async def test_every_admin_endpoint_answers(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    await daemon.chat("Hello")
    for method, path, access, _handler in ROUTES:
        endless = path == "/admin/events"
        if access == "admin" and method == "GET" and "{" not in path and not endless:
            answer = await daemon.get(path)
            assert (path, answer.status) == (path, 200)
            assert isinstance(answer.data, dict)
    decisions = (await daemon.get("/admin/decisions?limit=1")).data["decisions"]
    assert [row["model"] for row in decisions] == ["s/ok"]
    one = (await daemon.get(f"/admin/decisions/{decisions[0]['id']}")).data
    assert one["record"]["rule"] == "default"
    assert "s/ok" in one["words"]
    assert (await daemon.get("/admin/decisions/nope")).status == 404
    assert (await daemon.get("/admin/decisions?limit=many")).status == 400


async def test_explain_sends_nothing(scripted: Scripted) -> None:
    daemon, backend = await scripted("a", "b")
    explained = await daemon.explain("Hello, write python please")
    assert [row["model"] for row in explained["ranked"]] == ["s/a", "s/b"]
    assert explained["ranked"][0]["terms"]["prefer s/a"] == 1000.0
    assert explained["signals"]["probabilities"]
    assert backend.asked == []


async def test_a_backend_that_comes_up_later_is_found(open_daemon: Opener) -> None:
    port = free_port()
    entry = openai_backend("late", f"http://127.0.0.1:{port}/v1", poll_seconds=1)
    daemon = await open_daemon({"backends": [entry]})
    assert (await daemon.chat("Hello")).status == 503
    server = FaultServer(["m"])
    server.port = port
    async with server:
        daemon.state.discovery.wake()
        await daemon.wait_models("late/m")
        assert (await daemon.chat("Hello")).status == 200
        server.models.append("n")
        daemon.state.discovery.wake()
        await daemon.wait_models("late/m", "late/n")
        server.models.clear()
        daemon.state.discovery.wake()
        await daemon.wait_models()
