"""The same model on two machines: load is spread, and a conversation goes where its cache is."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.daemon import openai_backend
from tests.support.faults import FaultServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conftest import Opener
    from tests.support.daemon import Answer, Running

ASKED = ("ok", "hubrouter/main")


@pytest.fixture
async def daemon(open_daemon: Opener) -> AsyncIterator[Running]:
    async with (
        FaultServer(["ok"], tokens=10, delay=0.03) as one,
        FaultServer(["ok"], tokens=10, delay=0.03) as two,
    ):
        hosts = {"one": one, "two": two}
        yield await open_daemon(
            {
                "backends": [
                    {**openai_backend(name, server.url), "slots": 1, "host": name}
                    for name, server in hosts.items()
                ],
                "profiling": {"enabled": False},
            }
        )


def backend(answer: Answer) -> str:
    assert answer.status == 200, answer.data
    return answer.headers["x-router-backend"]


@pytest.mark.parametrize("model", ASKED)
async def test_those_who_come_together_are_spread(daemon: Running, model: str) -> None:
    answers = await asyncio.gather(
        *(daemon.chat(f"Question {number}", model=model) for number in range(8))
    )
    assert Counter(map(backend, answers)) == {"one": 4, "two": 4}


@pytest.mark.parametrize("model", ASKED)
async def test_a_conversation_goes_where_its_cache_is(daemon: Running, model: str) -> None:
    async def say(chat: str, words: str) -> str:
        return backend(await daemon.chat(words, model=model, headers={"X-Session": chat}))

    first, second = await asyncio.gather(say("a", "Hello"), say("b", "Hello"))
    assert {first, second} == {"one", "two"}
    for _ in range(3):  # one after the other, so that both are free
        assert await say("b", "And then?") == second
        assert await say("a", "And then?") == first
