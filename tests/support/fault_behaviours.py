"""How the scripted backend misbehaves: one coroutine a fault, found by name in `BEHAVIOURS`.

A name may carry an argument after a colon or, when it is a number, after a hyphen: `ok-3`,
`slow-first:0.5`, `die-after-4`, `429:7`. Tokens, bytes and seconds are said at each behaviour.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Awaitable, Callable

from . import openai_answers as answers
from .fault_exchange import Exchange

Behaviour = Callable[[Exchange], Awaitable[None]]
BEHAVIOURS: dict[str, Behaviour] = {}


def named(*names: str) -> Callable[[Behaviour], Behaviour]:
    """Enter a behaviour into `BEHAVIOURS`."""

    def enter(behaviour: Behaviour) -> Behaviour:
        BEHAVIOURS.update(dict.fromkeys(names, behaviour))
        return behaviour

    return enter


async def forever() -> None:
    """Wait until cancelled: by the client's leaving or by the server's stop."""
    await asyncio.Event().wait()


async def healthy(exchange: Exchange, *, done: bool = True) -> None:
    """The right answer to this request, streamed when asked for."""
    if not exchange.streams:
        await exchange.whole(200, exchange.normal_body())
        return
    await exchange.start_stream()
    for chunk in exchange.chunks():
        await exchange.event(chunk)
    if done:
        await exchange.event("[DONE]")
    await exchange.end_stream()


@named("ok")
async def ok(exchange: Exchange) -> None:
    """Healthy; `ok-N` answers N tokens."""
    exchange.tokens = exchange.number(exchange.tokens)
    await healthy(exchange)


@named("tool-call", "reasoning")
async def styled(exchange: Exchange) -> None:
    """Healthy: a tool call in fragments; or `reasoning_content` deltas before the text."""
    exchange.style = "reasoning" if exchange.seen.fault.startswith("reasoning") else "tool-call"
    await healthy(exchange)


@named("close-after-stream")
async def close_after_stream(exchange: Exchange) -> None:
    """Healthy, then the TCP connection is closed although keep-alive was promised."""
    exchange.last = True
    await healthy(exchange)


@named("close-delimited")
async def close_delimited(exchange: Exchange) -> None:
    """Healthy, its end told by the closing of the connection alone."""
    exchange.last, exchange.chunked = True, False
    await healthy(exchange)


@named("crlf", "cr")
async def line_ends(exchange: Exchange) -> None:
    """Healthy; the SSE lines end in CRLF, or in CR alone."""
    exchange.line_end = "\r\n" if exchange.seen.fault == "crlf" else "\r"
    await healthy(exchange)


@named("comments")
async def comments(exchange: Exchange) -> None:
    """Healthy; comment lines (pings) stand before, between and inside events."""
    if not exchange.streams:
        await healthy(exchange)
        return
    await exchange.start_stream()
    for chunk in exchange.chunks():
        await exchange.part(b": ping\n\n")
        await exchange.part(b":\n")
        await exchange.event(chunk)
    await exchange.event("[DONE]")
    await exchange.end_stream()


@named("slow-first")
async def slow_first(exchange: Exchange) -> None:
    """Healthy after a silence of `slow-first:SECONDS` (0.5) before the headers."""
    await asyncio.sleep(exchange.seconds(0.5))
    await healthy(exchange)


@named("slow-headers")
async def slow_headers(exchange: Exchange) -> None:
    """Healthy headers, `slow-headers:SECONDS` (0.5) of silence, then the events or the body."""
    if not exchange.streams:
        await slow_first(exchange)
        return
    await exchange.start_stream()
    await asyncio.sleep(exchange.seconds(0.5))
    for chunk in exchange.chunks():
        await exchange.event(chunk)
    await exchange.event("[DONE]")
    await exchange.end_stream()


@named("slow-drip")
async def slow_drip(exchange: Exchange) -> None:
    """Healthy, but a byte at a time, `slow-drip:SECONDS` (0.0002) apart: cuts UTF-8 and lines."""
    pause = exchange.seconds(0.0002)
    if exchange.streams:
        lines = [f"data: {answers.encode(chunk).decode()}\n\n" for chunk in exchange.chunks()]
        data = "".join([*lines, "data: [DONE]\n\n"]).encode()
        await exchange.start_stream()
        send = exchange.part
    else:
        data = answers.encode(exchange.normal_body())
        await exchange.head(200, "application/json", len(data))
        send = exchange.write
    for place in range(len(data)):
        await send(data[place : place + 1])
        await asyncio.sleep(pause)
    if exchange.streams:
        await exchange.end_stream()


@named("huge-line")
async def huge_line(exchange: Exchange) -> None:
    """Healthy, but one event (or the body) is `huge-line:BYTES` (5,000,000) of text long."""
    text = "x" * exchange.number(5_000_000)
    if not exchange.streams:
        whole = answers.chat_body(exchange.body, exchange.model, 0)
        whole["choices"][0]["message"]["content"] = text
        await exchange.whole(200, whole)
        return
    first, *_, last = answers.chat_chunks(exchange.body, exchange.model, 1)
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    await exchange.start_stream()
    for event in (first, {**first, "choices": [choice]}, last, "[DONE]"):
        await exchange.event(event)
    await exchange.end_stream()


@named("endless")
async def endless(exchange: Exchange) -> None:
    """Tokens without end, until the client leaves."""
    await exchange.begin(1)
    if not exchange.streams:
        await forever()
    _, chunk, *_ = exchange.chunks()
    while True:
        await exchange.event(chunk)
        await asyncio.sleep(0)


@named("hang-before-headers")
async def hang_before_headers(exchange: Exchange) -> None:
    """The request is read, nothing is ever answered."""
    await forever()


@named("hang-after-headers")
async def hang_after_headers(exchange: Exchange) -> None:
    """200 and its headers, then no byte."""
    if exchange.streams:
        await exchange.start_stream()
    else:
        await exchange.head(200, "application/json", 100)
    await forever()


@named("hang-mid-stream")
async def hang_mid_stream(exchange: Exchange) -> None:
    """`hang-mid-stream-N` (2) tokens, or half a body, then no byte."""
    await exchange.begin(exchange.number(2))
    await forever()


@named("drop-before-headers")
async def drop_before_headers(exchange: Exchange) -> None:
    """The request is read and the connection closed without a byte."""
    exchange.last = True


@named("drop-mid-stream")
async def drop_mid_stream(exchange: Exchange) -> None:
    """`drop-mid-stream-N` (2) tokens, or half a body, then closed in the middle of the framing."""
    exchange.last = True
    await exchange.begin(exchange.number(2))


@named("die-after")
async def die_after(exchange: Exchange) -> None:
    """`die-after-N` (2) tokens, or half a body, then a TCP reset as of a killed process."""
    exchange.last = True
    await exchange.begin(exchange.number(2))
    # A moment for the bytes to be read: a reset throws away what the peer has not read yet.
    await asyncio.sleep(0.05)
    reset(exchange.writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@named("close-delimited-truncated")
async def close_delimited_truncated(exchange: Exchange) -> None:
    """N (2) tokens of an answer without length or chunks, then closed: HTTP cannot tell."""
    exchange.last, exchange.chunked = True, False
    await exchange.begin(exchange.number(2))


@named("error-mid-stream")
async def error_mid_stream(exchange: Exchange) -> None:
    """N (2) tokens, an error event as llama-server writes it, a clean end without [DONE]."""
    if not exchange.streams:
        await status_error(exchange, 500)
        return
    await exchange.begin(exchange.number(2))
    error = {"code": 500, "message": "the scripted model broke", "type": "server_error"}
    await exchange.event({"error": error})
    await exchange.end_stream()


@named("no-done")
async def no_done(exchange: Exchange) -> None:
    """A finish_reason, then a clean end without [DONE]."""
    await healthy(exchange, done=False)


@named("ends-early")
async def ends_early(exchange: Exchange) -> None:
    """N (2) tokens and a clean end of the transfer: no finish_reason, no [DONE]."""
    await exchange.begin(exchange.number(2))
    if exchange.streams:
        await exchange.end_stream()
    else:
        exchange.last = True


@named("garbage-json")
async def garbage_json(exchange: Exchange) -> None:
    """A token, then an event that is not JSON, then [DONE]; or a body that is not JSON."""
    if not exchange.streams:
        await exchange.whole(200, b'{"choices": [{"message": {"content": nope')
        return
    await exchange.begin(1)
    await exchange.event('{"choices": [{"delta": nope')
    await exchange.event("[DONE]")
    await exchange.end_stream()


@named("garbage-http")
async def garbage_http(exchange: Exchange) -> None:
    """Bytes that are not HTTP."""
    exchange.last = True
    await exchange.write(b"\x15\x03\x01\x00\x02\x02\x16 this is not HTTP\r\n\r\n")


@named("wrong-content-type")
async def wrong_content_type(exchange: Exchange) -> None:
    """200 and an HTML page, as a captive portal or a wrong proxy answers."""
    page = b"<html><body><h1>It works!</h1></body></html>"
    await exchange.head(200, "text/html", len(page))
    await exchange.write(page)


@named("error-200")
async def error_200(exchange: Exchange) -> None:
    """200 whose JSON body is an error."""
    error = answers.error_body(500, "the scripted model failed to load", "server_error")
    await exchange.whole(200, error)


@named("empty-200")
async def empty_200(exchange: Exchange) -> None:
    """200 with no body at all."""
    kind = "text/event-stream" if exchange.streams else "application/json"
    await exchange.head(200, kind, 0)


@named("redirect")
async def redirect(exchange: Exchange) -> None:
    """307 to `redirect:URL`, or to /redirected of this server."""
    location = exchange.argument or "/redirected"
    await exchange.head(307, "text/plain", 0, f"Location: {location}")


@named("503-loading")
async def loading(exchange: Exchange) -> None:
    """What llama-server answers to everything while it loads: 503 without Retry-After."""
    error = {"code": 503, "message": "Loading model", "type": "unavailable_error"}
    await exchange.whole(503, {"error": error})


@named("400-context")
async def context_exceeded(exchange: Exchange) -> None:
    """llama-server's refusal of a prompt that does not fit."""
    message = "the request exceeds the available context size, try increasing it"
    error = {"code": 400, "message": message, "type": "exceed_context_size_error"}
    await exchange.whole(400, {"error": {**error, "n_prompt_tokens": 9001, "n_ctx": 4096}})


@named("500-text")
async def plain_text_error(exchange: Exchange) -> None:
    """500 with a plain text body."""
    await exchange.whole(500, "Internal Server Error")


KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


async def status_error(exchange: Exchange, status: int) -> None:
    """OpenAI's envelope under a status; `429:SECONDS` and the like add Retry-After (429: 1)."""
    kind = KINDS.get(status, "server_error")
    wait = exchange.argument or ("1" if status == 429 else None)
    extra = [f"Retry-After: {wait}"] if wait else []
    await exchange.whole(
        status, answers.error_body(status, f"scripted {status}", kind, kind), *extra
    )


async def any_status(exchange: Exchange) -> None:
    await status_error(exchange, int(exchange.seen.fault[:3]))


def find(name: str) -> tuple[Behaviour, str | None] | None:
    """The behaviour of a fault name and its argument, or None for a name that is no fault."""
    if name in BEHAVIOURS:
        return BEHAVIOURS[name], None
    base, colon, argument = name.partition(":")
    if not colon and (match := re.fullmatch(r"(.+)-(\d+)", name)):
        base, argument = match.groups()
    if base in BEHAVIOURS and argument:
        return BEHAVIOURS[base], argument
    if re.fullmatch(r"[345]\d\d", base):
        return any_status, argument or None
    return None
