"""Loading and unloading by the endpoints of llama.cpp's router, as Open WebUI's admin page does."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.daemon import VIRTUAL, Running
from tests.support.fake_ollama import FakeModel, FakeOllama
from tests.support.llama import model_paths, real_llama_router

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conftest import Opener, Scripted

ADMIN = {"Authorization": "Bearer admin-key-of-the-test"}
HOME = {"Authorization": "Bearer key-of-open-webui"}
LAB = {"Authorization": "Bearer key-of-the-lab"}
AUTH = {
    "admin_key": "admin-key-of-the-test",
    "clients": [
        {"name": "home", "key": "key-of-open-webui", "load_models": True},
        {"name": "lab", "key": "key-of-the-lab"},
    ],
}


@pytest.fixture
async def ollama() -> AsyncIterator[FakeOllama]:
    async with FakeOllama([FakeModel(name="a:1b"), FakeModel(name="b:1b")]) as server:
        yield server


async def statuses(daemon: Running, path: str = "/models", **fields: Any) -> dict[str, str]:
    listed = await daemon.get(path, **fields)
    assert listed.status == 200, listed.body
    return {entry["id"]: entry["status"]["value"] for entry in listed.data["data"]}


async def test_a_model_is_loaded_and_unloaded(open_daemon: Opener, ollama: FakeOllama) -> None:
    backend = {"name": "o", "type": "ollama", "url": ollama.url}
    daemon = await open_daemon({"backends": [backend], "server": {"expose_models": True}})
    assert await statuses(daemon) == {"o/a:1b": "unloaded", "o/b:1b": "unloaded"}
    loaded = await daemon.post("/models/load", {"model": "o/a:1b", "stream": False})
    assert (loaded.status, loaded.data) == (200, {"success": True})
    assert ollama.loads == ["a:1b"]
    assert await statuses(daemon) == {"o/a:1b": "loaded", "o/b:1b": "unloaded"}
    assert (await statuses(daemon, "/v1/models"))[VIRTUAL] == "available"
    assert (await statuses(daemon, "/v1/models"))["o/a:1b"] == "loaded"
    for _ in range(2):  # what is not loaded is unloaded already
        unloaded = await daemon.post("/models/unload", {"model": "a:1b"})
        assert (unloaded.status, unloaded.data) == (200, {"success": True})
    assert not ollama.loaded
    assert await statuses(daemon) == {"o/a:1b": "unloaded", "o/b:1b": "unloaded"}


async def test_a_real_router_of_llama_cpp(open_daemon: Opener, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    shutil.copy(model_paths()["tiny-random"], models / "a.gguf")
    async with real_llama_router(models) as url:
        daemon = await open_daemon({"backends": [{"name": "r", "type": "llamacpp", "url": url}]})
        for verb, status in (("load", "loaded"), ("unload", "unloaded")):
            assert (await daemon.post(f"/models/{verb}", {"model": "r/a"})).status == 200
            assert await statuses(daemon) == {"r/a": status}
            async with daemon.http.get(f"{url}/models") as response:
                (entry,) = (await response.json())["data"]
            assert entry["status"]["value"] == status


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"model": "nobody"}, 404, "does not exist"),
        ({"model": VIRTUAL}, 400, "no model that can be loaded"),
        ({"model": f"{VIRTUAL}:speed"}, 400, "no model that can be loaded"),
        ({"name": "o/a:1b"}, 400, "model must be"),
        ([], 400, "model must be"),
    ],
)
async def test_what_cannot_be_loaded(
    open_daemon: Opener, ollama: FakeOllama, body: Any, status: int, words: str
) -> None:
    daemon = await open_daemon({"backends": [{"name": "o", "type": "ollama", "url": ollama.url}]})
    for verb in ("load", "unload"):
        answer = await daemon.post(f"/models/{verb}", body)
        assert (answer.status, answer.error["param"]) == (status, "model")
        assert words in answer.error["message"]
    assert (await daemon.request("POST", "/models/load", data=b"{")).status == 400


async def test_what_its_backend_cannot_unload(scripted: Scripted) -> None:
    """A server of one model, or an API: it is always there."""
    daemon, _ = await scripted("ok")
    assert await statuses(daemon) == {"s/ok": "loaded"}
    assert (await daemon.post("/models/load", {"model": "s/ok"})).status == 200
    for path in ("/models/unload", "/admin/models/s/ok/unload"):
        answer = await daemon.post(path, {"model": "s/ok"})
        assert answer.status == 400
        assert "neither loads nor unloads" in answer.error["message"]


async def test_who_may_load(open_daemon: Opener, ollama: FakeOllama) -> None:
    backend = {"name": "o", "type": "ollama", "url": ollama.url}
    daemon = await open_daemon({"backends": [backend], "auth": AUTH})
    asked = {"model": "o/a:1b"}
    for who, status in ((HOME, 200), (ADMIN, 200), (LAB, 401), ({}, 401)):
        assert (await daemon.get("/models", headers=who)).status == status
        for verb in ("load", "unload"):
            answer = await daemon.post(f"/models/{verb}", asked, headers=who)
            assert (answer.status, verb) == (status, verb)
    # To load models is not to be the admin.
    assert (await daemon.post("/admin/models/o/a:1b/load", {}, headers=HOME)).status == 401
    assert (await daemon.get("/admin/vram", headers=HOME)).status == 401


async def test_without_an_admin_key_this_machine_may(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    daemon = await open_daemon({"backends": [{"name": "o", "type": "ollama", "url": ollama.url}]})
    away = {"X-Forwarded-For": "10.0.0.7"}
    assert (await daemon.get("/models", headers=away)).status == 403
    assert (await daemon.get("/models")).status == 200
