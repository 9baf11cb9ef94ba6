"""Thumbs: who may give them, what they are kept as, and that they move the evidence a little."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llmrouterd.feedback import by_model
from tests.conftest import Scripted

ANN = {"Authorization": "Bearer ann-key-0123456789"}
BOB = {"Authorization": "Bearer bob-key-0123456789"}


def test_sums_by_model_and_overall() -> None:
    rows = [
        {"model": "a/x", "category": "coding", "number": 3, "total": -1.0},
        {"model": "a/x", "category": "math", "number": 1, "total": 1.0},
        {"model": "b/y", "category": "general", "number": 2, "total": 2.0},
    ]
    assert by_model(rows) == {
        "a/x": {"coding": (3, -1.0), "math": (1, 1.0), "overall": (4, 0.0)},
        "b/y": {"general": (2, 2.0), "overall": (2, 2.0)},
    }
    assert by_model([]) == {}


async def test_a_thumb_is_kept_by_decision_and_moves_the_evidence(scripted: Scripted) -> None:
    daemon, _ = await scripted("a")
    catalog = daemon.state.current
    before = catalog.snapshot.catalog.by_id["s/a"].evidence["overall"]
    answer = await daemon.chat("Hello")
    id_ = answer.headers["x-router-decision"]
    for value in (1, -1):  # the later opinion replaces the former
        given = await daemon.post("/v1/feedback", {"decision": id_, "value": value})
        assert given.status == 200, given.body
        assert given.data == {"decision": id_, "model": "s/a", "value": value}

    def moved() -> bool:
        known = daemon.state.discovery.knowledge.feedback
        return known.get("s/a", {}).get("overall") == (1, -1.0)

    async with asyncio.timeout(10):
        while not moved():
            await asyncio.sleep(0.05)
    after = catalog.snapshot.catalog.by_id["s/a"].evidence["overall"]
    assert after.mean < before.mean
    assert after.sd < before.sd
    assert "feedback: 1 with mean -1.00" in [source.source for source in after.sources]
    detail = await daemon.get("/admin/models/s/a")
    weights = [source["weight"] for source in detail.data["evidence"]["overall"]["sources"]]
    assert sum(weights) == pytest.approx(1, abs=0.001)
    assert detail.data["naming"]["matches"] == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"value": 1}, "decision"),
        ({"decision": 7, "value": 1}, "decision"),
        ({"decision": "x"}, "value"),
        ({"decision": "x", "value": 2}, "value"),
        ({"decision": "x", "value": True}, "value"),
        ({"decision": "x", "value": "so-so"}, "value"),
        ([], None),
    ],
)
async def test_what_is_no_opinion(scripted: Scripted, body: Any, param: str | None) -> None:
    daemon, _ = await scripted("a")
    answer = await daemon.post("/v1/feedback", body)
    assert (answer.status, answer.error["param"]) == (400, param)


async def test_only_ones_own_answers_are_judged(scripted: Scripted) -> None:
    daemon, _ = await scripted(
        "a",
        auth={
            "clients": [
                {"name": "ann", "key": "ann-key-0123456789"},
                {"name": "bob", "key": "bob-key-0123456789"},
            ]
        },
    )
    answer = await daemon.chat("Hello", headers=ANN)
    opinion = {"decision": answer.headers["x-router-decision"], "rating": "down"}
    assert (await daemon.post("/v1/feedback", opinion)).status == 401
    assert (await daemon.post("/v1/feedback", opinion, headers=BOB)).status == 404
    given = await daemon.post("/v1/feedback", opinion, headers=ANN)
    assert (given.status, given.data["value"]) == (200, -1.0)
    unknown = {"decision": "no-such", "value": 1}
    assert (await daemon.post("/v1/feedback", unknown, headers=ANN)).status == 404


async def test_a_request_is_found_by_the_id_that_the_client_gave_it(scripted: Scripted) -> None:
    """Open WebUI sends its message's id with the answer and with the tasks about it."""
    daemon, _ = await scripted("a")
    sent = {"X-Request-Id": "message-1", "X-Session": "chat-1"}
    answer = await daemon.chat("Hello", headers=sent)
    title = await daemon.chat("Name it", headers={**sent, "X-Task": "title_generation"})
    id_ = answer.headers["x-router-decision"]
    assert answer.headers["x-request-id"] == "message-1"
    assert title.headers["x-router-decision"] != id_
    for name in ("message-1", id_):
        found = await daemon.get(f"/v1/decisions/{name}")
        assert (found.status, found.data["id"], found.data["request"]) == (200, id_, "message-1")
        assert found.data["words"].startswith("s/a by rule 'default'")
    given = await daemon.post("/v1/feedback", {"decision": "message-1", "value": 1})
    assert given.data == {"decision": id_, "model": "s/a", "value": 1.0}
    task = title.headers["x-router-decision"]
    assert (await daemon.get(f"/v1/decisions/{task}")).data["rule"] == "task:title"
    assert (await daemon.get("/v1/decisions/message-2")).status == 404


async def test_a_decision_is_shown_to_its_own_client_without_words(scripted: Scripted) -> None:
    clients = [
        {"name": "ann", "key": "ann-key-0123456789"},
        {"name": "bob", "key": "bob-key-0123456789"},
    ]
    daemon, _ = await scripted(
        "a",
        auth={"clients": clients, "admin_key": "the-admin-key"},
        logging={"prompts": True},
    )
    # Two clients may use the same id.
    sent = {"X-Request-Id": "1"}
    ids = {}
    for who, key in (("ann", ANN), ("bob", BOB)):
        answer = await daemon.chat(f"I am {who}", headers={**sent, **key})
        ids[who] = answer.headers["x-router-decision"]
    for who, key in (("ann", ANN), ("bob", BOB)):
        found = await daemon.get("/v1/decisions/1", headers=key)
        assert found.data["id"] == ids[who]
        assert b"I am" not in found.body
        assert "load" not in found.data["record"]
    assert (await daemon.get(f"/v1/decisions/{ids['ann']}", headers=BOB)).status == 404
    assert (await daemon.get("/v1/decisions/1")).status == 401
    admin = {"Authorization": "Bearer the-admin-key"}
    kept = await daemon.get(f"/admin/decisions/{ids['ann']}", headers=admin)
    assert kept.data["record"]["words"] == "I am ann"
