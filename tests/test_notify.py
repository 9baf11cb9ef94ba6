"""sd_notify against real datagram sockets."""

from __future__ import annotations

import os
import socket
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from llmrouterd.notify import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A bound datagram socket and the NOTIFY_SOCKET that names it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@notify-{uuid.uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        bound.setblocking(False)
        yield bound, name


def test_messages_arrive_as_systemd_reads_them(listener: tuple[socket.socket, str]) -> None:
    bound, name = listener
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": name})
    assert notifier.ready()
    assert bound.recv(4096) == b"READY=1"
    assert notifier.ready("serving 3 models")
    assert bound.recv(4096) == b"READY=1\nSTATUS=serving 3 models"
    assert notifier.status("two\nlines\tand \u20ac")
    assert bound.recv(4096) == "STATUS=two lines and \u20ac".encode()
    assert notifier.stopping("draining")
    assert bound.recv(4096) == b"STOPPING=1\nSTATUS=draining"
    assert notifier.watchdog()
    assert bound.recv(4096) == b"WATCHDOG=1"


def test_reloading_carries_the_monotonic_clock(listener: tuple[socket.socket, str]) -> None:
    bound, name = listener
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert Notifier.from_environment({"NOTIFY_SOCKET": name}).reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    first, second = bound.recv(4096).decode().split("\n")
    assert first == "RELOADING=1"
    key, _, value = second.partition("=")
    assert key == "MONOTONIC_USEC"
    assert before <= int(value) <= after


def test_empty_status_sends_nothing(listener: tuple[socket.socket, str]) -> None:
    bound, name = listener
    assert not Notifier.from_environment({"NOTIFY_SOCKET": name}).status(" \n")
    with pytest.raises(BlockingIOError):
        bound.recv(1)


@pytest.mark.parametrize("value", [None, "", "notify", "vsock:2:1234"])
def test_no_socket_is_silent(value: str | None) -> None:
    notifier = Notifier.from_environment({} if value is None else {"NOTIFY_SOCKET": value})
    assert notifier == Notifier()
    sent = [notifier.ready(), notifier.status("x"), notifier.reloading(), notifier.stopping()]
    assert not any([*sent, notifier.watchdog()])


def test_lost_listener_is_reported_not_raised(tmp_path: Path) -> None:
    assert not Notifier(address=str(tmp_path / "gone")).ready()


def test_full_listener_does_not_block(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(path)
        notifier = Notifier(address=path)
        sent = [notifier.watchdog() for _ in range(5_000)]
        assert sent[0]
        assert not sent[-1]
        bound.recv(64)
        assert notifier.watchdog()


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid() + 1)}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "me"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_interval(environ: dict[str, str], seconds: float | None) -> None:
    assert Notifier.from_environment(environ).watchdog_interval == seconds
