"""`top`: what the daemon is doing, redrawn in place as its events come."""

from __future__ import annotations

import http.client
import json
import os
import queue
import select
import shutil
import signal
import sys
import termios
import threading
import time
import tty
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llmrouterd.cli.ask import DIRECT, EXIT_FAILED, ask_daemon, find_daemon
from llmrouterd.cli.screen import render

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

_MOST_DECISIONS, _MOST_ONCE = 50, 10
# How long a silent stream is waited for: the daemon beats every 15 seconds. Then try again.
_SILENCE_SECONDS, _RETRY_SECONDS = 40.0, 2.0
_LOOK_SECONDS = 0.2
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


def top_command(options: argparse.Namespace) -> int:
    """Show it until q is pressed; one frame with --once, or where there is no terminal."""
    found = find_daemon(options)
    if found is None:
        return EXIT_FAILED
    terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    colour = terminal and not os.environ.get("NO_COLOR")
    once = options.once or not (terminal and sys.stdin.isatty())
    news: queue.Queue[tuple[str, Any]] = queue.Queue()
    if not once:  # from before the first look, so that no decision is missed
        threading.Thread(target=_follow, args=(*found, news), name="events", daemon=True).start()
    live = ask_daemon(options, "/admin/live")
    path = f"/admin/decisions?limit={_MOST_ONCE if once else _MOST_DECISIONS}"
    answer = None if live is None else ask_daemon(options, path)
    if answer is None:
        return EXIT_FAILED
    if once:
        width = shutil.get_terminal_size().columns
        print("\n".join(render(live, answer["decisions"], (width, None), colour=colour)))
        return 0
    with _screen():
        _show(live, answer["decisions"], news, colour)
    return 0


def _show(
    live: dict[str, Any],
    decisions: list[dict[str, Any]],
    news: queue.Queue[tuple[str, Any]],
    colour: bool,
) -> None:
    """Draw whenever there is news or another size, until q."""
    shown: tuple[object, ...] = ()
    note = "q quits"
    while True:
        size = shutil.get_terminal_size()
        lines = render(live, decisions, (size.columns, size.lines), colour=colour, note=note)
        if (size, lines) != shown:
            shown = size, lines
            sys.stdout.write("\x1b[H\x1b[2K" + "\r\n\x1b[2K".join(lines) + "\x1b[J")
            sys.stdout.flush()
        ready, _, _ = select.select([sys.stdin], [], [], _LOOK_SECONDS)
        if ready:
            keys = os.read(sys.stdin.fileno(), 64)
            if not keys or b"q" in keys.lower():
                return
        while not news.empty():
            name, data = news.get()
            if name == "live":
                live, note = data, "q quits"
            elif name == "decision":
                others = [row for row in decisions if row["id"] != data["id"]]
                decisions = [data, *others][:_MOST_DECISIONS]
            elif name == "error":
                note = f"q quits  no news: {data}"


def _follow(url: str, headers: dict[str, str], news: queue.Queue[tuple[str, Any]]) -> None:
    """Hand on the daemon's events for ever; what went wrong as an event too."""
    request = urllib.request.Request(url + "/admin/events", headers=headers)
    while True:
        try:
            with DIRECT.open(request, timeout=_SILENCE_SECONDS) as answer:
                for event in read_events(answer):
                    news.put(event)
            news.put(("error", "the daemon has ended the stream"))
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            news.put(("error", str(getattr(error, "reason", error))))
        time.sleep(_RETRY_SECONDS)


def read_events(lines: Iterable[bytes]) -> Iterator[tuple[str, Any]]:
    """Named server-sent events, as the daemon writes them: one line of JSON each."""
    name = ""
    for line in lines:
        field, _, value = line.rstrip(b"\r\n").partition(b": ")
        if field == b"event":
            name = value.decode()
        elif field == b"data":
            yield name, json.loads(value)


@contextmanager
def _screen() -> Iterator[None]:
    """The terminal's other screen, keys unbuffered; as it was before, however this ends."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    ended = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        tty.setcbreak(keyboard)
        sys.stdout.write(_ENTER)
        yield
    except KeyboardInterrupt:
        pass
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTERM, ended)
