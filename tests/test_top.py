"""`llmrouterd top`: frames as a pure function, one frame of a real daemon, and a real terminal."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.cli.screen import cells_of, clean, clip, render
from llmrouterd.cli.top import read_events
from tests.support.policies import plain_environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.conftest import Scripted
    from tests.support.daemon import Running

GIB = 2**30
PAINT = re.compile(r"\x1b\[\d+m")
HOSTILE = "a\x1b[2J\x1b]0;title\x07\r\nb\x9b31m\u202egnp\u200b\u2028\x00\x7f"

WELL: dict[str, Any] = {"health": {"state": "healthy"}, "unwell": {}}


def live(**parts: Any) -> dict[str, Any]:
    """What /admin/live answers, with one of everything."""
    return {
        "at": 1795985601.5,
        "policy": {"digest": "067fd5f143a5cb97", "rejected_digest": None},
        "requests": [
            {
                "model": "o/llama:3b",
                "host": "local",
                "priority": "chat",
                "client": "family",
                "state": state,
                "age_seconds": age,
            }
            for state, age in (("answering", 1.37), ("loading", 240.0), ("queued", 0.2))
        ],
        "in_flight": 1,
        "queued": 2,
        "requests_per_minute": 4,
        "speeds": [
            {"model": "o/llama:3b", "tokens_per_second": 48.1},
            {"model": "cloud/big", "tokens_per_second": 91.4},
        ],
        "hosts": [
            {
                "name": "local",
                "total_bytes": 12 * GIB,
                "used_bytes": 6 * GIB,
                "moving": {"kind": "load", "models": ["o/other:7b"]},
                "models": [
                    {
                        "model": "o/llama:3b",
                        "bytes": 3 * GIB,
                        "in_flight": 1,
                        "waiting": 2,
                        "pinned": True,
                    }
                ],
            },
            {"name": "nas", "total_bytes": None, "used_bytes": 0, "moving": None, "models": []},
        ],
        "backends": [
            {"name": "o", "status": "ok", "models": ["llama:3b"], "error": "", **WELL},
            {"name": "gone", "status": "error", "models": [], "error": "refused", **WELL},
            {
                "name": "ill",
                "status": "ok",
                "models": ["a", "b"],
                "error": "",
                "health": {"state": "healthy"},
                "unwell": {"ill/a": {"state": "cooling", "reason": "HTTP 500"}},
            },
        ],
        **parts,
    }


def decision(**parts: Any) -> dict[str, Any]:
    return {
        "id": "dec_1",
        "at": 1795985600.0,
        "model": "o/llama:3b",
        "rule": "default",
        "category": "coding",
        "outcome": "ok",
        "seconds": 2.34,
        "completion_tokens": 80,
        **parts,
    }


def test_a_frame() -> None:
    refused = decision(model=None, outcome="upstream_unreachable", completion_tokens=None)
    lines = render(live(), [decision(), refused], (80, None), note="q quits")
    for expected in (
        r"llmrouterd \d\d:\d\d:\d\d  policy 067fd5f1  1 answering, 2 waiting, 4 in a minute",
        r"AGE      STATE      PRIORITY   CLIENT        MODEL",
        r"4 m      loading    chat       family        o/llama:3b on local",
        r"1\.4 s    answering  chat       family        o/llama:3b on local",
        r"6\.0 GiB    \[#{9}\.{9}\]          local, 12\.0 GiB; load of o/other:7b",
        r"3\.0 GiB    \[#{4}\.{14}\]  48      o/llama:3b \(pinned, 1 answering, 2 w\w+…",
        r"0\.0 GiB +nas",
        r"- +91 +cloud/big",
        r"o +ok +1",
        r"gone +error +0 +refused",
        r"ill +cooling +2 +ill/a: HTTP 500",
        r"\d\d:\d\d:\d\d  2\.3 s    80      coding      ok           o/llama:3b by default",
        r"\d\d:\d\d:\d\d  2\.3 s            coding      upstream_u…  none by default",
        r"q quits",
    ):
        assert any(re.fullmatch(expected, line) for line in lines), (expected, lines)
    ages = [line.split()[0] for line in lines if "on local" in line]
    assert ages == ["4", "1.4", "0.2"]  # the oldest first


def test_nothing_at_all() -> None:
    nothing = live(requests=[], speeds=[], hosts=[], backends=[], in_flight=0, queued=0)
    lines = render(nothing, [])
    for words in ("no requests", "nothing is loaded", "no backends", "no decisions yet"):
        assert words in lines


def test_an_edit_that_is_refused_is_seen() -> None:
    policy = {"digest": "067fd5f143a5cb97", "rejected_digest": "aa"}
    (head, *_) = render(live(policy=policy), [], (120, 24), colour=True)
    assert "  edit refused  " in head
    assert head.startswith("\x1b[31m")


def test_more_in_memory_than_there_is() -> None:
    (host, _) = live()["hosts"]
    lines = render(live(hosts=[{**host, "used_bytes": 99 * GIB}]), [], (80, None), colour=True)
    assert any("\x1b[31m[" + "#" * 18 + "]" in line for line in lines)


def test_paint_is_all_that_colour_changes() -> None:
    plain = render(live(), [decision()], (80, 24))
    painted = render(live(), [decision()], (80, 24), colour=True)
    assert "\x1b" not in "".join(plain)
    assert [PAINT.sub("", line).rstrip() for line in painted] == plain
    assert any("\x1b[31merror" in line for line in painted)


@pytest.mark.parametrize("size", [(80, 24), (40, 10), (200, 60), (1, 1), (20, 5), (10, 3)])
def test_a_frame_fits_its_terminal(size: tuple[int, int]) -> None:
    one = live()["requests"][0]
    many = live(requests=[{**one, "model": "o/" + "模型" * 60, "client": "ü" * 99}] * 50)
    lines = render(many, [decision(rule="r" * 300)] * 50, size, note="q quits")
    assert len(lines) <= size[1]
    assert all(cells_of(line) <= size[0] for line in lines)
    assert lines[-1] == clip("q quits", size[0]).rstrip()


def test_what_has_no_room_is_counted() -> None:
    one = live()["requests"][0]
    lines = render(live(requests=[one] * 50), [decision()] * 50, (80, 24), note="q quits")
    assert len(lines) == 24
    shown = sum("on local" in line for line in lines)
    assert f"{50 - shown} more" in lines
    assert shown > 2
    assert "gone" in "\n".join(lines)  # short sections are whole


def test_hostile_names_cannot_reach_the_terminal() -> None:
    assert clean(HOSTILE) == "a[2J]0;title  b31mgnp"
    one, (host, _), backend = live()["requests"][0], live()["hosts"], live()["backends"][0]
    named = {**host["models"][0], "model": HOSTILE}
    bad = live(
        requests=[{**one, "model": HOSTILE, "client": HOSTILE, "host": HOSTILE}],
        hosts=[{**host, "name": HOSTILE, "models": [named]}],
        backends=[{**backend, "name": HOSTILE, "error": HOSTILE}],
        speeds=[{"model": HOSTILE + "2", "tokens_per_second": 1.0}],
    )
    rows = [decision(model=HOSTILE, rule=HOSTILE, category=HOSTILE, outcome=HOSTILE)]
    lines = render(bad, rows, (200, None), note=HOSTILE)
    for line in lines:
        assert line == clean(line)
    for line in render(bad, rows, (200, None), colour=True, note=HOSTILE):
        assert PAINT.sub("", line) == clean(PAINT.sub("", line))


@given(st.text(), st.integers(min_value=0, max_value=30))
def test_clipping(text: str, width: int) -> None:
    shown = clip(clean(text), width)
    assert cells_of(shown) == width


def test_reading_events() -> None:
    lines = [b": \n", b"\n", b"event: live\n", b'data: {"at":1}\n', b"\n", b"event: decision\r\n"]
    lines += [b'data: {"id":"dec_1"}\r\n', b"\r\n"]
    assert list(read_events(lines)) == [("live", {"at": 1}), ("decision", {"id": "dec_1"})]


class Terminal:
    """What a program writes to a pty of 80x24, as it comes."""

    def __init__(self, master: int) -> None:
        self.master = master
        self.text = ""
        self._changed = asyncio.Event()
        self.resize(80, 24)
        asyncio.get_running_loop().add_reader(master, self._read)

    def _read(self) -> None:
        try:
            self.text += os.read(self.master, 65536).decode("utf-8", "replace")
        except OSError:  # its other side was closed
            asyncio.get_running_loop().remove_reader(self.master)
        self._changed.set()

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def frame(self) -> list[str]:
        """The lines of the last frame that was drawn to its end."""
        drawn = self.text.rpartition("\x1b[J")[0].rpartition("\x1b[H")[2]
        return [PAINT.sub("", line) for line in re.sub(r"\x1b\[2K|\r", "", drawn).split("\n")]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    async def shows(self, words: str) -> None:
        await self.until(lambda: words in "\n".join(self.frame()))


def environment(folder: Path, **more: str) -> dict[str, str]:
    environ = plain_environment(folder / "state", TERM="xterm", **more)
    environ.pop("COLUMNS", None)
    environ.pop("LINES", None)
    return environ


@asynccontextmanager
async def terminal(
    daemon: Running, folder: Path, *words: str, **environ: str
) -> AsyncIterator[tuple[Terminal, asyncio.subprocess.Process]]:
    """`top` in a pty."""
    master, slave = pty.openpty()
    shown = Terminal(master)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llmrouterd", "top", "--url", daemon.url, *words),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(folder, **environ),
    )
    try:
        yield shown, process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        asyncio.get_running_loop().remove_reader(master)
        os.close(master)
        os.close(slave)


async def test_in_a_terminal(scripted: Scripted, tmp_path: Path) -> None:
    daemon, _ = await scripted("ok", "slow", faults={"tokens": 200, "delay": 0.05})
    async with terminal(daemon, tmp_path) as (shown, process):
        await shown.shows("no decisions yet")
        assert shown.text.startswith("\x1b[?1049h\x1b[?25l")
        assert not termios.tcgetattr(shown.master)[3] & termios.ICANON
        await daemon.chat("Hello", model="s/ok")
        await shown.shows("s/ok by explicit")
        assert len(shown.frame()) <= 24
        assert max(map(cells_of, shown.frame())) <= 80
        async with daemon.streaming("Hello", model="s/slow"):
            await shown.shows("s/slow on ")
            assert any("answering" in line for line in shown.frame()[1:])
        await shown.shows("client_gone")
        shown.resize(60, 12)
        await shown.until(lambda: max(map(cells_of, shown.frame())) <= 60)
        assert len(shown.frame()) <= 12
        os.write(shown.master, b"q")
        async with asyncio.timeout(60):
            assert await process.wait() == 0
        assert shown.text.endswith("\x1b[?25h\x1b[?1049l")
        assert termios.tcgetattr(shown.master)[3] & termios.ICANON


@pytest.mark.parametrize("signal", ["INT", "TERM"])
async def test_a_signal_leaves_the_terminal_as_it_was(
    scripted: Scripted, tmp_path: Path, signal: str
) -> None:
    daemon, _ = await scripted("ok")
    async with terminal(daemon, tmp_path) as (shown, process):
        await shown.shows("q quits")
        process.send_signal({"INT": 2, "TERM": 15}[signal])
        async with asyncio.timeout(60):
            assert await process.wait() == 0
        assert shown.text.endswith("\x1b[?25h\x1b[?1049l")
        assert termios.tcgetattr(shown.master)[3] & termios.ICANON


@pytest.mark.parametrize(("no_color", "painted"), [("", True), ("1", False)])
async def test_no_color(scripted: Scripted, tmp_path: Path, no_color: str, painted: bool) -> None:
    daemon, _ = await scripted("ok")
    async with terminal(daemon, tmp_path, "--once", NO_COLOR=no_color) as (shown, process):
        async with asyncio.timeout(60):
            assert await process.wait() == 0
        await shown.until(lambda: "no decisions yet" in shown.text)
        assert bool(PAINT.search(shown.text)) is painted
        assert "\x1b[?1049h" not in shown.text


async def once(daemon: Running, folder: Path, *words: str, **environ: str) -> tuple[int, str, str]:
    """`top` without a terminal."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llmrouterd", "top", "--url", daemon.url, *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(folder, **environ),
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("words", [("--once",), ()])
async def test_one_frame_without_a_terminal(
    scripted: Scripted, tmp_path: Path, words: tuple[str, ...]
) -> None:
    daemon, _ = await scripted("ok")
    await daemon.chat("Hello")
    status, out, err = await once(daemon, tmp_path, *words)
    assert (status, err) == (0, "")
    assert "\x1b" not in out
    assert re.search(r"^s +ok +1$", out, re.MULTILINE)
    assert "s/ok by default" in out
    assert all(cells_of(line) <= 80 for line in out.splitlines())


async def test_a_daemon_that_does_not_let_in(scripted: Scripted, tmp_path: Path) -> None:
    daemon, _ = await scripted("ok", auth={"admin_key": "sk-admin-0815-for-tests"})
    status, out, err = await once(daemon, tmp_path, "--once")
    assert (status, out) == (1, "")
    assert "401" in err
    status, out, _ = await once(daemon, tmp_path, "--once", "--key", "sk-admin-0815-for-tests")
    assert status == 0
    assert "no decisions yet" in out
