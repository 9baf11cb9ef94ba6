"""The framer of server-sent events: any cut, any line end, the same events and the same bytes."""

from __future__ import annotations

from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.sse import DONE, Event, FrameTooLong, SSEFramer, encode


def frame(*reads: bytes, limit: int = 1 << 24) -> list[Event]:
    framer = SSEFramer(limit)
    return [event for read in reads for event in framer.feed(read)]


def payloads(events: list[Event]) -> list[bytes]:
    return [event.data for event in events if event.data is not None]


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data\n\n", [b""]),
        (b"data:\n\n", [b""]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data\ndata\n\n", [b"\n"]),
        (b"data: a\r\n\r\n", [b"a"]),
        (b"data: a\r\rdata: b\n\r\ndata: c\r\n\rdata: d\r\n\n", [b"a", b"b", b"c", b"d"]),
        (b"data: a\r\ndata: b\rdata: c\n\n", [b"a\nb\nc"]),
        (b": ping\n\n", [None]),
        (b":\n\ndata: a\n\n", [None, b"a"]),
        (b": ping\ndata: a\n\n", [b"a"]),
        (b"event: error\nid: 7\nretry: 10\ndata: {}\n\n", [b"{}"]),
        (b"event: end\n\n", [None]),
        (b"DATA: a\n\n", [None]),
        (b"data : a\n\n", [None]),
        (b"database: a\n\n", [None]),
        (b" data: a\n\n", [None]),
        (b"\xef\xbb\xbfdata: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a", None]),
        (b"data: a\n\n\n\ndata: b\n\n", [b"a", None, None, b"b"]),
        (b"\n\ndata: a\n\n", [None, None, b"a"]),
        (b"data: \xff\x00\n\n", [b"\xff\x00"]),
        (b"data: a\x0b\x0c\x85b\n\n", [b"a\x0b\x0c\x85b"]),
        (DONE, [b"[DONE]"]),
        (b"data: a\n", []),
        (b"", []),
    ],
)
def test_events(stream: bytes, data: list[bytes | None]) -> None:
    events = frame(stream)
    assert [event.data for event in events] == data
    assert stream.startswith(b"".join(event.raw for event in events))
    dripped = frame(*(bytes([byte]) for byte in stream))
    assert payloads(dripped) == [item for item in data if item is not None]
    assert b"".join(e.raw for e in dripped) == b"".join(e.raw for e in events)


ENDS = [b"\n", b"\r\n", b"\r"]
fragments = st.sampled_from(
    [
        *ENDS,
        b"data: ",
        b"data:",
        b"data",
        b": ping",
        b"event: x",
        "é€😀".encode(),
        b"{}",
        b"x",
        b" ",
    ]
) | st.binary(max_size=4)
wires = st.lists(fragments, max_size=40).map(b"".join)
cuts = st.lists(st.integers(0, 200), max_size=12)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(place, len(stream)) for place in places), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


def by_the_book(stream: bytes) -> list[bytes]:
    """The data of each event, read line by line as the standard words it."""
    found: list[bytes] = []
    data: list[bytes] = []
    lines = stream.removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True)
    for line in lines:
        bare = line.rstrip(b"\r\n")
        if bare == line:
            break
        name, colon, value = bare.partition(b":")
        if not bare:
            found += [b"\n".join(data)] if data else []
            data = []
        elif name == b"data":
            data.append(value.removeprefix(b" ") if colon else b"")
    return found


@given(wires, cuts)
def test_any_cut_gives_the_standards_events(stream: bytes, places: list[int]) -> None:
    assert payloads(frame(*cut(stream, places))) == by_the_book(stream)


@given(wires, cuts)
def test_raws_are_the_input(stream: bytes, places: list[int]) -> None:
    framer = SSEFramer()
    events = [event for piece in cut(stream, places) for event in framer.feed(piece)]
    raw = b"".join(event.raw for event in events)
    rest = stream[len(raw) :]
    assert stream.startswith(raw)
    last = framer.close()
    for event in last:
        assert event.raw.startswith(rest)
        assert event.raw[len(rest) :] in (b"\n", b"\r", b"\n\n")
        assert payloads(frame(event.raw)) == [event.data]
    assert framer.close() == []


texts = st.text(max_size=30)
events_of = st.lists(st.tuples(texts, st.sampled_from(ENDS), st.booleans()), max_size=10)


@given(events_of, cuts)
def test_what_is_sent_arrives(sent: list[tuple[str, bytes, bool]], places: list[int]) -> None:
    stream = b""
    for text, ending, pinged in sent:
        event = encode({"text": text}).replace(b"\n", ending)
        stream += (b": ping" + ending * 2 if pinged else b"") + event
    # A CR that ends one event and an LF that begins the next would be one line end.
    arrived = payloads(frame(*cut(stream, places)))
    assert [orjson.loads(data)["text"] for data in arrived] == [text for text, _, _ in sent]


def test_an_event_is_given_out_with_its_last_byte() -> None:
    for ending in ENDS:
        stream = b"data: a" + ending + ending
        framer = SSEFramer()
        assert framer.feed(stream[:-1]) == ([Event(stream[:-1], b"a")] if ending == b"\r\n" else [])
        assert b"".join(e.raw for e in framer.feed(stream[-1:])).endswith(stream[-1:])


def test_a_line_feed_after_a_given_event_is_passed_on_alone() -> None:
    assert frame(b"data: a\r\n\r", b"\ndata: b\r\n\r\n") == [
        Event(b"data: a\r\n\r", b"a"),
        Event(b"\n", None),
        Event(b"data: b\r\n\r\n", b"b"),
    ]


@pytest.mark.parametrize(
    ("rest", "event"),
    [
        (b"", None),
        (b"data: [DONE]", Event(b"data: [DONE]\n\n", b"[DONE]")),
        (b"data: [DONE]\n", Event(b"data: [DONE]\n\n", b"[DONE]")),
        (b"data: [DONE]\r\n", Event(b"data: [DONE]\r\n\n", b"[DONE]")),
        (b'data: {"a":1}', Event(b'data: {"a":1}\n\n', b'{"a":1}')),
        (b'data: {"a":1', None),
        (b"data: plain", None),
        (b"data: plain\n", Event(b"data: plain\n\n", b"plain")),
        (b'data: {"a":1}\nda', Event(b'data: {"a":1}\nda\n\n', b'{"a":1}')),
        (b"data: a\r", Event(b"data: a\r\r", b"a")),
        (b": ping\n", None),
        (b"event: x\n", None),
    ],
)
def test_close(rest: bytes, event: Event | None) -> None:
    framer = SSEFramer()
    assert payloads(framer.feed(b"data: before\n\n" + rest)) == [b"before"]
    assert framer.close() == ([event] if event else [])


@pytest.mark.parametrize("size", [1000, 65536])
@pytest.mark.parametrize("ending", ENDS, ids=["lf", "crlf", "cr"])
def test_five_megabytes_in_one_event(size: int, ending: bytes) -> None:
    body = orjson.dumps({"content": "é" * 2_500_000})
    stream = b"data: " + body + ending * 2
    events = frame(*(stream[n : n + size] for n in range(0, len(stream), size)))
    assert payloads(events) == [body]
    assert b"".join(event.raw for event in events) == stream


@pytest.mark.parametrize("ending", ENDS, ids=["lf", "crlf", "cr"])
def test_a_megabyte_byte_by_byte_is_linear(ending: bytes) -> None:
    # Rescanning from the start at each byte would take hours here, not a second.
    stream = b": " + b"x" * 1_000_000 + ending + b"data: a" + ending * 2
    framer = SSEFramer()
    found = [e for n in range(len(stream)) for e in framer.feed(stream[n : n + 1])]
    assert payloads(found) == [b"a"]


@pytest.mark.parametrize(
    "reads",
    [
        [b"data: " + b"x" * 100 + b"\n\n"],
        [b"data: " + b"x" * 100],
        [b"data: ", b"x" * 50, b"x" * 50],
        [b": " + b"x" * 100],
        [b"data: x\n" * 20],
        [b"data: x\r\n" * 20],
    ],
)
def test_an_event_above_the_limit_is_refused(reads: list[bytes]) -> None:
    with pytest.raises(FrameTooLong, match="longer than 64 bytes"):
        frame(*reads, limit=64)


def test_events_before_one_too_long_are_given_first() -> None:
    framer = SSEFramer(64)
    assert payloads(framer.feed(b"data: a\n\ndata: " + b"x" * 100)) == [b"a"]
    with pytest.raises(FrameTooLong):
        framer.feed(b"x")
    closing = SSEFramer(64)
    assert payloads(closing.feed(b"data: a\n\ndata: " + b"x" * 100)) == [b"a"]
    with pytest.raises(FrameTooLong):
        closing.close()


def test_the_limit_is_for_one_event_not_for_a_read() -> None:
    stream = (b"data: " + b"x" * 50 + b"\n\n") * 100
    assert len(frame(stream, limit=64)) == 100
    assert len(frame(b"data: " + b"x" * 56 + b"\n\n", limit=64)) == 1


@pytest.mark.parametrize(
    ("payload", "wire"),
    [
        ({"a": "é\n"}, 'data: {"a":"é\\n"}\n\n'.encode()),
        (b"[DONE]", DONE),
        (b"a\nb", b"data: a\ndata: b\n\n"),
        (b"a\r\n\rb", b"data: a\ndata: \ndata: b\n\n"),
        (b"", b"data: \n\n"),
    ],
)
def test_encode(payload: dict[str, str] | bytes, wire: bytes) -> None:
    assert encode(payload) == wire


@given(st.binary(max_size=60))
def test_encoded_bytes_are_always_one_event(payload: bytes) -> None:
    (event,) = frame(encode(payload))
    assert event.data is not None
    assert event.data.splitlines() == payload.splitlines()
