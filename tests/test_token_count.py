"""Exact counts once the ranks are there, a bound until then, and never a wait."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import tiktoken

from llmrouterd.token_count import TokenCounter
from tests.support.policies import read
from tests.support.tokens import seed

Events = list[tuple[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiktoken")
    seed(folder)
    return folder


@pytest.fixture
async def counter(ranks: Path, monkeypatch: pytest.MonkeyPatch) -> TokenCounter:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(ranks))
    made, events = TokenCounter(), Events()
    await made.fetch(ranks, lambda event, fields: events.append((event, fields)))
    assert events == [("tokens.ready", {"encoding": "o200k_base"})]
    return made


@pytest.mark.parametrize(
    "text",
    ["", "hello world", "Grüße aus Köln", "你好，世界", "def f(x):\n    return x\n", "🦙" * 9],
)
async def test_counts_are_tiktokens_own(counter: TokenCounter, text: str) -> None:
    bound, exact = TokenCounter()(text)
    assert not exact
    assert counter(text) == (len(tiktoken.get_encoding("o200k_base").encode_ordinary(text)), True)
    assert bound >= counter(text)[0]


async def test_the_special_marks_of_a_prompt_are_plain_text(counter: TokenCounter) -> None:
    assert counter("<|endoftext|>")[0] > 1


async def test_long_texts_are_counted_in_pieces_then_estimated(counter: TokenCounter) -> None:
    sentence = "The quick brown fox jumps over the lazy dog. "
    one = counter(sentence * 10)[0] / 10
    long, exact = counter(sentence * 500)
    assert exact
    assert long == pytest.approx(one * 500, rel=0.03)
    huge, exact = counter(sentence * 20_000)
    assert not exact
    assert one * 20_000 <= huge <= one * 20_000 * 1.2


async def test_counts_are_remembered_within_bounds(counter: TokenCounter) -> None:
    first = [counter("x" * n + str(n)) for n in range(1, 300)]
    for n in range(60):
        counter("y" * 100_000 + str(n))
    assert [counter("x" * n + str(n)) for n in range(1, 300)] == first


async def test_offline_there_is_a_bound_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "empty"))

    def refuse(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    tiktoken.registry.ENCODINGS.pop("o200k_base", None)
    made, events = TokenCounter(), Events()
    await made.fetch(tmp_path, lambda event, fields: events.append((event, fields)))
    assert [event for event, _ in events] == ["tokens.estimated"]
    assert not made.ready
    assert made("hello") == (3, False)


async def test_a_damaged_file_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed(tmp_path)
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:1000])
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    tiktoken.registry.ENCODINGS.pop("o200k_base", None)
    made, events = TokenCounter(), Events()
    await made.fetch(tmp_path, lambda event, fields: events.append((event, fields)))
    assert [event for event, _ in events] == ["tokens.estimated"]


def test_signals_say_whether_they_are_exact() -> None:
    assert not read("hello").exact_tokens
