"""The functions of integrations/openwebui against the daemon; Open WebUI itself runs in e2e."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.policies import ROOT

if TYPE_CHECKING:
    from tests.conftest import Scripted
    from tests.support.daemon import Running

FOLDER = ROOT / "integrations" / "openwebui"
MESSAGE = "5f1c0a5e-0000-4000-8000-000000000001"


@pytest.fixture
def feedbacks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Open WebUI's table of thumbs, by id, in a module of its name."""
    rows: dict[str, Any] = {}

    async def get_feedback_by_id(id_: str) -> Any:
        return rows.get(id_)

    names = ("open_webui", "open_webui.models", "open_webui.models.feedbacks")
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    table = SimpleNamespace(get_feedback_by_id=get_feedback_by_id)
    monkeypatch.setattr(sys.modules[names[-1]], "Feedbacks", table, raising=False)
    return rows


def load(name: str) -> ModuleType:
    """A function's file as a module, as Open WebUI executes it."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None  # noqa: PT018
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_file_says_what_it_is(feedbacks: dict[str, Any]) -> None:
    for path in FOLDER.glob("*.py"):
        lines = (load(path.stem).__doc__ or "").strip().splitlines()
        keys = {line.partition(":")[0] for line in lines}
        assert {"title", "description", "version", "required_open_webui_version"} <= keys, path


async def press(daemon: Running, **body: Any) -> list[dict[str, Any]]:
    """The events that the button emits for a message."""
    events: list[dict[str, Any]] = []

    async def emit(event: dict[str, Any]) -> None:
        events.append(event)

    action = load("why_this_model").Action()
    action.valves = action.Valves(router_url=f"{daemon.url}/v1")
    await action.action({"id": MESSAGE, **body}, emit)
    return events


async def test_why_this_model(scripted: Scripted) -> None:
    daemon, _ = await scripted("a")
    answer = await daemon.chat("Hello", headers={"X-Request-Id": MESSAGE})
    (event,) = await press(daemon)
    source = event["data"]
    assert event["type"] == "source"
    assert source["source"]["name"].startswith("s/a: ")
    assert source["metadata"][0]["source"] == answer.headers["x-router-decision"]
    (text,) = source["document"]
    assert text.startswith("```text\ns/a by rule 'default'")
    assert max(map(len, text.splitlines())) <= 92
    # What is there already is not added again.
    message = {"id": MESSAGE, "sources": [source]}
    assert await press(daemon, messages=[message]) == []


async def test_why_cannot_be_told(scripted: Scripted) -> None:
    daemon, _ = await scripted("a")
    (unknown,) = await press(daemon)
    assert unknown["type"] == "notification"
    assert "No such decision of yours is kept" in unknown["data"]["content"]
    daemon.url = "http://127.0.0.1:9"
    (gone,) = await press(daemon)
    assert gone["data"]["content"].startswith("The router cannot be asked: ")


async def test_thumbs(scripted: Scripted, feedbacks: dict[str, Any]) -> None:
    daemon, _ = await scripted("a")
    await daemon.chat("Hello", headers={"X-Request-Id": MESSAGE})
    thumbs = load("thumbs").Event()
    thumbs.valves = thumbs.Valves(router_url=f"{daemon.url}/v1")

    async def happen(event: str, **fields: Any) -> None:
        feedbacks["f"] = SimpleNamespace(**{"data": {}, "meta": {}, **fields})
        await thumbs.event({"event": event, "subject": {"type": "feedback", "id": "f"}})

    meta = {"message_id": MESSAGE}
    await happen("feedback.created", data={"rating": 1}, meta=meta)
    await happen("feedback.updated", data={"rating": -1}, meta=meta)
    await happen("feedback.updated", data={"rating": None}, meta=meta)
    await happen("feedback.deleted", data={"rating": 1}, meta=meta)
    await happen("feedback.created", data={"rating": 1}, meta={"message_id": "of-another-server"})
    await thumbs.event({"event": "feedback.created", "subject": {"id": "no-such"}})
    await thumbs.event({"event": "chat.created"})
    values = [event["value"] for event in daemon.events.of("feedback.given")]
    assert values == [1.0, -1.0]


async def test_a_thumb_is_lost_in_words(
    feedbacks: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    feedbacks["f"] = SimpleNamespace(data={"rating": 1}, meta={"message_id": MESSAGE})
    thumbs = load("thumbs").Event()
    thumbs.valves = thumbs.Valves(router_url="http://127.0.0.1:9/v1")
    await thumbs.event({"event": "feedback.created", "subject": {"id": "f"}})
    assert "llmrouterd cannot be told of a thumb" in caplog.text
