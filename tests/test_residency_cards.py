"""What others use of a card is told from what our backends hold, load and give back."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from llmrouterd.hardware import MemoryPool
from tests.support.daemon import QUIET
from tests.support.fake_ollama import FakeModel, FakeOllama
from tests.support.llama import model_paths

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conftest import Opener
    from tests.support.daemon import Running

GB = 10**9
MODELS = [
    FakeModel(name="a:1b", size=8 * GB, load_seconds=0.5),
    FakeModel(name="b:1b", size=8 * GB),
]


class Card:
    """A card whose memory is Ollama's, that of `coming` as soon as its load begins, and `others`
    bytes. `late` is what the driver has not given back."""

    name = "card"

    def __init__(self, ollama: FakeOllama, total: int) -> None:
        self.ollama = ollama
        self.total = total
        self.coming: FakeModel | None = None
        self.others = self.late = self.looks = 0

    def read(self) -> tuple[MemoryPool, ...]:
        self.looks += 1
        used = sum(live.size for live in list(self.ollama.scheduler.loaded.values()))
        used += self.others + self.late
        if self.coming is not None and self.coming.name not in self.ollama.loads:
            used += self.coming.size
        return (MemoryPool(name="c", vendor="c", total_bytes=self.total, used_bytes=used),)


@pytest.fixture
async def ollama() -> AsyncIterator[FakeOllama]:
    async with FakeOllama(MODELS, tokens=3) as fake:
        yield fake


async def start(opener: Opener, ollama: FakeOllama, total: int) -> tuple[Running, Card]:
    entry = {"name": "o", "type": "ollama", "url": ollama.url}
    daemon = await opener({"backends": [entry], "residency": {"minimum_seconds": 0}})
    card = Card(ollama, total)
    daemon.state.places.cards._probes = (card,)
    await read(daemon, card)
    return daemon, card


async def read(daemon: Running, card: Card) -> dict[str, Any]:
    """Have the card read once more; what /admin/vram then says of the host."""
    looks = card.looks
    daemon.state.places.cards.wake()
    async with asyncio.timeout(5):
        while card.looks == looks or daemon.state.places.cards._wake.is_set():
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)  # until what was read is taken in
    (host,) = (await daemon.get("/admin/vram")).data["hosts"]
    return dict(host)


@pytest.mark.parametrize(("total", "left"), [(12, {"b:1b"}), (24, {"a:1b", "b:1b"})])
async def test_a_model_that_is_being_loaded_is_not_taken_for_others_use(
    total: int, left: set[str], open_daemon: Opener, ollama: FakeOllama
) -> None:
    daemon, card = await start(open_daemon, ollama, total * GB)
    card.coming = MODELS[0]
    first = asyncio.create_task(daemon.chat("Hello", model="a:1b"))
    async with asyncio.timeout(5):
        while not any(seen.path == "/api/generate" for seen in ollama.requests):
            await asyncio.sleep(0.01)
    assert (await read(daemon, card))["moving"]["kind"] == "load"
    answers = await asyncio.gather(first, daemon.chat("Hello", model="b:1b"))
    assert [answer.status for answer in answers] == [200, 200]
    assert (await read(daemon, card))["foreign_bytes"] == 0
    assert set(ollama.loaded) == left


async def test_what_others_use_is_seen_and_what_a_driver_keeps_is_not(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    daemon, card = await start(open_daemon, ollama, 24 * GB)
    assert (await daemon.chat("Hello", model="b:1b")).status == 200
    card.others = 5 * GB
    async with asyncio.timeout(5):  # until Ollama has said what the model takes
        while (await read(daemon, card))["foreign_bytes"] != 5 * GB:
            pass
    assert (await daemon.post("/admin/models/o/b:1b/unload", {})).status == 200
    card.late = 8 * GB
    assert (await read(daemon, card))["foreign_bytes"] == 5 * GB
    card.late = card.others = 0
    assert (await read(daemon, card))["foreign_bytes"] == 0


async def test_what_somebody_else_has_loaded_is_counted_once(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    daemon, card = await start(open_daemon, ollama, 24 * GB)
    async with daemon.http.post(
        f"{ollama.url}/api/generate", json={"model": "b:1b", "options": {"num_ctx": 4096}}
    ) as response:
        assert response.status == 200
    size = ollama.loaded["b:1b"].size
    assert (await read(daemon, card))["foreign_bytes"] == size
    looks = card.looks
    daemon.state.discovery.wake()
    async with asyncio.timeout(5):
        while card.looks == looks:
            await asyncio.sleep(0.01)
    host = await read(daemon, card)
    assert (host["used_bytes"], host["foreign_bytes"]) == (size, 0)


async def test_what_a_backend_holds_that_is_taken_out_of_the_policy_is_others_use(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    daemon, card = await start(open_daemon, ollama, 24 * GB)
    assert (await daemon.chat("Hello", model="b:1b")).status == 200
    size = ollama.loaded["b:1b"].size
    daemon.policy_file.write_text(json.dumps({**QUIET, "backends": []}))
    async with asyncio.timeout(10):
        while daemon.state.places.holds("o/b:1b"):
            await asyncio.sleep(0.02)
    host = await read(daemon, card)
    assert (host["used_bytes"], host["foreign_bytes"]) == (size, size)


async def test_a_size_that_the_policy_declares_anew_is_counted_once(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    tiny = {"name": "m", "model": str(model_paths()["tiny-random"]), "context": 512}

    def policy(size: int) -> dict[str, Any]:
        return {
            **QUIET,
            "backends": [{"name": "own", "type": "managed", "models": [tiny]}],
            "models": [{"match": "own/m", "vram_gb": size}],
        }

    daemon, card = await open_daemon(policy(5)), Card(ollama, 24 * GB)
    daemon.state.places.cards._probes = (card,)
    card.others = 8 * GB
    async with asyncio.timeout(60):
        while not daemon.state.places.holds("own/m"):
            await asyncio.sleep(0.02)
    assert (await read(daemon, card))["foreign_bytes"] == 3 * GB
    daemon.policy_file.write_text(json.dumps(policy(8)))
    async with asyncio.timeout(5):  # sooner than the cards are read by themselves
        while daemon.state.places.hosts["local"].foreign:
            await asyncio.sleep(0.02)
    assert daemon.state.places.hosts["local"].used == 8 * GB
