"""Whatever a client sends: a clear 4xx or an answer, never a 500, never a stall, never a change."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Opener, Scripted
from tests.support.daemon import Answer, Running, chat_body, openai_backend
from tests.support.faults import FaultServer
from tests.support.openwebui import shared_directory

CONFORMANCE = shared_directory() / "data" / "conformance"
CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}


async def _send(daemon: Running, body: bytes, path: str = CHAT, **headers: str) -> Answer:
    data = io.BytesIO(body)  # aiohttp warns of large bytes
    return await daemon.request("POST", path, data=data, headers={**JSON, **headers})


def _nested(value: bytes) -> bytes:
    """A chat body with a raw value in a field that is passed through."""
    return b'{"messages": [{"role": "user", "content": "Hi"}], "x_extra": ' + value + b"}"


def json_cases() -> Iterator[tuple[str, bytes]]:
    """JSONTestSuite's cases: y_ must be accepted, n_ refused, i_ may be either."""
    with tarfile.open(CONFORMANCE / "JSONTestSuite-test_parsing.tar.xz") as archive:
        for member in archive:
            name = Path(member.name).name
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None and name.endswith(".json") and not name.startswith("."):
                yield name, file.read()


async def test_every_case_of_the_json_test_suite(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    cases = list(json_cases())
    assert len(cases) == 318
    wrong = []
    for name, case in cases:
        whole = await _send(daemon, case)
        if whole.status != 400 or whole.error["code"] != "invalid_request":
            wrong.append((name, "whole", whole.status))
        nested = await _send(daemon, _nested(case))
        allowed = {"y": (200,), "n": (400,), "i": (200, 400)}[name[0]]
        if nested.status not in allowed:
            wrong.append((name, "nested", nested.status))
    assert wrong == []


@pytest.mark.parametrize(
    "value",
    [
        b"1e400",
        b"-1e400",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"nan",
        b"01",
        b'"\\ud800"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf1",
        b'"\x00"',
    ],
)
async def test_values_that_are_no_json(value: bytes, scripted: Scripted) -> None:
    daemon, backend = await scripted("ok")
    for path in (CHAT, "/admin/explain"):
        answer = await _send(daemon, _nested(value), path)
        assert (answer.status, answer.error["code"]) == (400, "invalid_request")
    assert backend.asked == []


@pytest.mark.parametrize("depth", [1_000, 100_000, 5_000_000])
@pytest.mark.parametrize("kind", [b"[", b'{"a":'], ids=["array", "object"])
async def test_deep_nesting(depth: int, kind: bytes, scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    close = b"]" if kind == b"[" else b"}"
    for body in (_nested(kind * depth + b"1" + close * depth), kind * depth):
        answer = await _send(daemon, body)
        assert answer.status == 400
        assert "nested" in answer.error["message"]


async def test_brackets_in_a_text_are_no_nesting(scripted: Scripted) -> None:
    daemon, backend = await scripted("ok")
    text = '[{"' * 5000 + "\\" + "}]" * 10
    assert (await daemon.chat(text)).status == 200
    assert backend.asked[-1].body["messages"][0]["content"] == text


WRONG: dict[str, tuple[Any, str]] = {
    "no messages": ({}, ""),
    "empty messages": ({"messages": []}, "messages"),
    "messages no array": ({"messages": "Hello"}, "messages"),
    "message no object": ({"messages": ["Hello"]}, "messages[0]"),
    "no role": ({"messages": [{"content": "a"}]}, "messages[0]"),
    "role no text": ({"messages": [{"role": 1, "content": "a"}]}, "messages[0].role"),
    "content a number": ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
    "part no object": (
        {"messages": [{"role": "user", "content": ["a"]}]},
        "messages[0].content[0]",
    ),
    "part without type": (
        {"messages": [{"role": "user", "content": [{"text": "a"}]}]},
        "messages[0].content[0]",
    ),
    "model a number": (chat_body("a", model=1), "model"),
    "stream a text": (chat_body("a", stream="yes"), "stream"),
    "temperature a text": (chat_body("a", temperature="hot"), "temperature"),
    "temperature huge": (chat_body("a", temperature=1e300), "temperature"),
    "max_tokens huge": (chat_body("a", max_tokens=10**30), "max_tokens"),
    "max_tokens a fraction": (chat_body("a", max_tokens=1.5), "max_tokens"),
    "n huge": (chat_body("a", n=10**9), "n"),
    "tools no array": (chat_body("a", tools={}), "tools"),
    "tool no object": (chat_body("a", tools=["a"]), "tools[0]"),
    "tool_choice a number": (chat_body("a", tool_choice=1), "tool_choice"),
    "response_format a text": (chat_body("a", response_format="json"), "response_format"),
    "stream_options a text": (chat_body("a", stream_options="x"), "stream_options"),
    "an array": ([], ""),
    "a text": ("Hello", ""),
    "null": (None, ""),
}


@pytest.mark.parametrize("case", WRONG)
async def test_wrong_bodies_name_the_field(case: str, scripted: Scripted) -> None:
    daemon, backend = await scripted("ok")
    body, field = WRONG[case]
    answer = await daemon.post(CHAT, body)
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    assert (answer.error["param"] or "") == field
    assert backend.asked == []


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings"])
async def test_wrong_bodies_of_the_other_endpoints(path: str, scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    for body in ({}, {"prompt": 1}, {"input": {}}, {"input": [[1.5]]}, {"prompt": [1, "a"]}, []):
        assert (await daemon.post(path, body)).status == 400


async def test_a_message_never_quotes_a_whole_body(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    answer = await daemon.post(CHAT, {"messages": "x" * 100_000})
    assert answer.status == 400
    assert len(answer.body) < 2000


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, identity", "x"])
async def test_compressed_bodies_are_refused(encoding: str, scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    body = gzip.compress(json.dumps(chat_body("Hello")).encode())
    answer = await _send(daemon, body, **{"Content-Encoding": encoding})
    assert (answer.status, answer.error["code"]) == (415, "unsupported_content_encoding")
    plain = json.dumps(chat_body("Hello")).encode()
    assert (await _send(daemon, plain, **{"Content-Encoding": "identity"})).status == 200


async def test_an_empty_body(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    assert (await _send(daemon, b"")).status == 400
    assert (await _send(daemon, b"  ")).status == 400


@pytest.fixture
async def small(open_daemon: Opener) -> AsyncIterator[Running]:
    """A daemon with narrow limits."""
    limits = {
        "body_bytes": 4096,
        "body_seconds": 1,
        "messages": 5,
        "text_characters": 1000,
        "tools": 2,
    }
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(FaultServer())
        policy = {"server": {"limits": limits}, "backends": [openai_backend("s", backend.url)]}
        yield await open_daemon(policy)


async def test_bodies_that_are_too_large(small: Running) -> None:
    large = json.dumps(chat_body("x" * 5000)).encode()

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(large), 500):
            yield large[at : at + 500]

    told = await _send(small, large)
    chunked = await small.request("POST", CHAT, data=chunks(), headers=JSON)
    for answer in (told, chunked):
        assert (answer.status, answer.error["code"]) == (413, "request_too_large")
        assert "4096" in answer.error["message"]
    assert (await small.chat("Hello")).status == 200


async def test_limits_of_messages_text_and_tools(small: Running) -> None:
    one = {"role": "user", "content": "a"}
    assert (await small.chat([one] * 5)).status == 200
    assert (await small.chat([one] * 6)).error["param"] == "messages"
    assert (await small.chat("x" * 1001)).error["param"] == "messages[0].content"
    parts = [{"type": "text", "text": "x" * 1001}]
    found = await small.chat([{"role": "user", "content": parts}])
    assert found.error["param"] == "messages[0].content[0].text"
    assert (await small.chat("a", tools=[{"type": "function"}] * 3)).error["param"] == "tools"


@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
async def test_a_body_that_does_not_come(framing: bytes, small: Running) -> None:
    host, port = small.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: localhost\r\n")
    writer.write(b"Content-Type: application/json\r\n" + framing + b"\r\n\r\n")
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        head = await reader.readuntil(b"\r\n\r\n")
    assert b"x-request-id" in head.lower()
    writer.close()
    await writer.wait_closed()


RAW = (
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}garbage\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
    b"Content-Length: -1\r\n\r\n{}",
    b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    b"Content-Length: two\r\n\r\n{}",
    b"Content-Length: 99999999999999999999\r\n\r\n{}",
    b"X-Bad\x00Name: a\r\n\r\n",
    b"X-Long: " + b"a" * 100_000 + b"\r\n\r\n",
)


async def _speak(daemon: Running, *parts: bytes) -> int:
    """Bytes to the daemon, with a pause before each part; the status of its answer."""
    host, port = daemon.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            return int((await reader.readline()).split(b" ")[1])
    finally:
        writer.close()
        await writer.wait_closed()


START = b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize("rest", RAW)
async def test_broken_http_is_a_4xx(rest: bytes, small: Running) -> None:
    assert 400 <= await _speak(small, START + rest) < 500
    assert (await small.chat("Hello")).status == 200


@pytest.mark.parametrize("chunk", [b"zz\r\n{}\r\n"])
async def test_a_body_that_breaks_while_it_is_read(chunk: bytes, small: Running) -> None:
    head = START + b'Transfer-Encoding: chunked\r\n\r\n2\r\n{"\r\n'
    assert await _speak(small, head, chunk) in (400, 408)
    assert (await small.chat("Hello")).status == 200


CONTROL = "".join(chr(code) for code in (*range(32), 127))


async def test_control_characters_are_taken_out_and_nothing_else(scripted: Scripted) -> None:
    daemon, backend = await scripted("ok")
    kept = "tab\tline\nreturn\r é ü 日本語 🌍 \u200b\u2028\u202e\x80\x9f\xa0 ff\\u0000 \\x00"
    tools = [{"type": "function", "function": {"name": "f\x07", "description": CONTROL}}]
    message = {"role": "user", "content": f"{CONTROL}{kept}", "name": "n\x1b[0m"}
    parts = {"role": "user", "content": [{"type": "text", "text": f"a\x00b{kept}"}]}
    answer = await daemon.chat([message, parts], tools=tools, metadata={"a\x01": ["\x02c"]})
    assert answer.status == 200
    sent = backend.asked[-1].body
    assert sent["messages"][0] == {"role": "user", "content": f"\t\n\r{kept}", "name": "n[0m"}
    assert sent["messages"][1]["content"][0]["text"] == f"ab{kept}"
    assert sent["tools"][0]["function"] == {"name": "f", "description": "\t\n\r"}
    assert sent["metadata"]["a\x01"] == ["c"]


async def test_naughty_strings_reach_the_model_as_they_are(scripted: Scripted) -> None:
    daemon, backend = await scripted("ok")
    strings = json.loads((CONFORMANCE / "blns.json").read_text(encoding="utf-8"))
    assert len(strings) > 500
    removed = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 127))
    for start in range(0, len(strings), 64):
        batch = strings[start : start + 64]
        messages = [{"role": "user", "content": text} for text in batch]
        for ensure_ascii in (True, False):
            body = json.dumps(chat_body(messages), ensure_ascii=ensure_ascii).encode()
            assert (await _send(daemon, body)).status == 200
            sent = [message["content"] for message in backend.asked[-1].body["messages"]]
            wanted = [text.translate(removed) for text in batch]
            assert sent == wanted
    answer = await daemon.chat(" ".join(strings))
    assert answer.status == 200


async def test_long_conversations_and_rare_roles(scripted: Scripted) -> None:
    daemon, backend = await scripted("ok")
    messages: list[dict[str, Any]] = [{"role": "developer", "content": "Be kind."}]
    for n in range(200):
        messages.append({"role": "user", "content": f"Question {n}", "name": "ann"})
        messages.append({"role": "assistant", "content": f"Answer {n}", "refusal": None})
    messages += [
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
        {"role": "user", "content": ""},
        {"role": "user", "content": []},
        {"role": "critic", "content": "A role of tomorrow."},
    ]
    assert (await daemon.chat(messages)).status == 200
    assert backend.asked[-1].body["messages"] == messages


async def test_unknown_fields_pass_through(scripted: Scripted) -> None:
    daemon, backend = await scripted("ok")
    fields = {
        "x_flag": True,
        "chat_template_kwargs": {"enable_thinking": False},
        "logit_bias": {"50256": -100},
        "seed": 2**53 + 1,
        "big": 2**63 - 1,
        "ratio": 0.1 + 0.2,
        "none": None,
        "temperature": None,
        "max_tokens": None,
        "stop": None,
        "": "empty key",
    }
    assert (await daemon.chat("Hello", **fields)).status == 200
    sent = backend.asked[-1].body
    assert {key: sent[key] for key in fields} == fields


async def test_another_content_type_is_read_as_json(scripted: Scripted) -> None:
    """Many small clients forget the header."""
    daemon, _ = await scripted("ok")
    body = json.dumps(chat_body("Hello")).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=x"):
        answer = await daemon.request("POST", CHAT, data=body, headers={"Content-Type": kind})
        assert answer.status == 200
