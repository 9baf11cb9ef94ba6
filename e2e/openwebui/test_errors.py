"""What goes wrong is told in the page, in words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from e2e.openwebui.conftest import Site
from e2e.openwebui.page import Talk
from tests.support.daemon import openai_backend
from tests.support.faults import FaultServer


@pytest.fixture
async def broken() -> AsyncIterator[FaultServer]:
    """A backend that does what its test says."""
    async with FaultServer(["ok"], delay=0.05) as server:
        yield server


@pytest.fixture
async def over_it(site: Site, broken: FaultServer) -> None:
    """The daemon sends every chat to the backend `far`, and tries no other."""
    await site.obey(openai_backend("far", broken.url), only="far/*")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            "drop-before-headers",
            "far did not answer properly: the connection was closed too early.",
        ),
        ("hang-before-headers", "far sent no token within 5 s."),
        ("die-after-3", "far broke the answer off: "),
        ("drop-mid-stream-3", "far broke the answer off: the connection was closed too early."),
        ("error-mid-stream-3", "the scripted model broke"),
        ("hang-mid-stream-3", "far sent nothing for 5 s."),
        ("429:7", "scripted 429"),
        ("500", "scripted 500"),
    ],
)
async def test_a_failure_is_shown_in_words(
    site: Site, talk: Talk, broken: FaultServer, over_it: None, fault: str, words: str
) -> None:
    broken.set_fault("ok", fault)
    await talk.begin()
    await talk.say("Hello")
    await talk.sees(words)
    if "-3" in fault:  # what had come stays above
        assert (await talk.answer()).startswith("Hello wörld 🌍")


async def test_a_backend_that_is_gone(
    site: Site, talk: Talk, broken: FaultServer, over_it: None
) -> None:
    await broken.stop()
    await talk.begin()
    await talk.say("Hello")
    await talk.sees("far cannot be reached: ")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    pytest.importorskip("PIL.Image").new("RGB", (64, 64), "red").save(path)
    return path


async def test_an_image_goes_to_a_model_that_sees(
    site: Site, talk: Talk, broken: FaultServer, photo: Path
) -> None:
    sees = [{"match": "far/ok", "capabilities": ["chat", "vision"]}]
    far = openai_backend("far", broken.url)
    prefer = {"name": "default", "prefer": {"box/*": 1000}}
    since = await site.obey(site.box_backend(), far, models=sees, rules=[prefer])
    await talk.begin()
    await talk.attach(photo)
    await talk.ask("What colour is it?")
    (answer,) = await site.router.answers(since, talk.chat)
    assert (answer["model"], answer["outcome"]) == ("far/ok", "ok")
    parts = broken.requests[-1].body["messages"][-1]["content"]
    assert any(part["type"] == "image_url" for part in parts)


async def test_an_image_that_no_model_sees_is_refused_in_words(
    site: Site, talk: Talk, photo: Path
) -> None:
    await site.obey(site.box_backend())
    await talk.begin()
    await talk.attach(photo)
    await talk.say("What colour is it?")
    await talk.sees("No model here can serve this request (it needs vision)")
    await talk.picture("openwebui-refused")
