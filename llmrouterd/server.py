"""The listening daemon: from a checked policy to a clean end."""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from aiohttp import web

from llmrouterd.app import Daemon, open_daemon, secrets_of
from llmrouterd.banner import greet
from llmrouterd.log import Log
from llmrouterd.notify import Notifier

if TYPE_CHECKING:
    from llmrouterd.policy import Policy
    from llmrouterd.settings import Settings

EXIT_OK, EXIT_REFUSED = 0, 2
_BACKLOG = 1024
_GC_THRESHOLDS = (20_000, 20, 50)


async def serve(policy: Policy, settings: Settings, seen: str) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status. seen: the fingerprint that the files
    had before the policy was read from them."""
    log = Log(policy.logging, secrets_of(policy))
    notifier = Notifier.from_environment(settings.environ)
    async with AsyncExitStack() as stack:
        daemon = await open_daemon(policy, settings, log, stack)
        daemon.state.reloader.seen = seen
        runner = build_runner(daemon.app, policy)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        server = policy.server
        site = web.TCPSite(runner, server.host, server.port, backlog=_BACKLOG)
        try:
            await site.start()
        except OSError as error:
            print(_cannot_listen(error, policy, settings), file=sys.stderr)
            return EXIT_REFUSED
        stop, hurry = _handle_signals(daemon)
        beat = asyncio.create_task(_watchdog(notifier), name="watchdog")
        hello = asyncio.create_task(greet(daemon, settings), name="banner")
        settle_memory()
        log("daemon.started", {"host": server.host, "port": server.port, "policy": policy.digest})
        notifier.ready(f"serving policy {policy.digest}")
        await stop.wait()
        notifier.stopping()
        hello.cancel()
        await site.stop()
        await _drain(daemon, hurry, log)
        beat.cancel()
        await asyncio.gather(beat, hello, return_exceptions=True)
    log("daemon.stopped", {})
    return EXIT_OK


def settle_memory() -> None:
    """Take what start-up or a reload has built out of the garbage collector's sight. The lexicons
    alone are hundreds of thousands of objects, and every full collection would walk them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def build_runner(app: web.Application, policy: Policy) -> web.AppRunner:
    """What speaks HTTP for the application: a handler is cancelled when its client leaves, and
    compressed bodies are not unpacked, for they are refused."""
    return web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        keepalive_timeout=policy.server.limits.header_seconds,
        shutdown_timeout=1.0,
        auto_decompress=False,
    )


def _cannot_listen(error: OSError, policy: Policy, settings: Settings) -> str:
    server = policy.server
    reason = (
        f"port {server.port} on {server.host} is in use; stop what uses it, or set server.port "
        "(ROUTER_PORT)"
        if error.errno == errno.EADDRINUSE
        else f"cannot listen on {server.host}:{server.port}: {error.strerror or error}"
    )
    return f"{settings.policy}:1:1: $.server.port: {reason}"


def _handle_signals(daemon: Daemon) -> tuple[asyncio.Event, asyncio.Event]:
    """(stop, hurry): set by the first and the second SIGTERM or SIGINT. SIGHUP reloads."""
    loop = asyncio.get_running_loop()
    stop, hurry = asyncio.Event(), asyncio.Event()
    reloads: set[asyncio.Task[object]] = set()

    def end() -> None:
        if stop.is_set():
            hurry.set()
        stop.set()

    def reload() -> None:
        task: asyncio.Task[object] = asyncio.create_task(
            daemon.state.reloader.reload("SIGHUP"), name="reload"
        )
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(signal.SIGHUP, reload)
    return stop, hurry


async def _drain(daemon: Daemon, hurry: asyncio.Event, log: Log) -> None:
    """Let running answers end within the configured time; then they are cut off."""
    state = daemon.state
    state.draining = True
    loop = asyncio.get_running_loop()
    deadline = loop.time() + state.current.snapshot.policy.server.drain_seconds
    if state.active:
        log("daemon.draining", {"running": state.active})
    while state.active and loop.time() < deadline and not hurry.is_set():
        await asyncio.sleep(0.05)
    if state.active:
        log("drain.failed", {"cut_off": state.active})


async def _watchdog(notifier: Notifier) -> None:
    """Tell systemd that the event loop turns."""
    interval = notifier.watchdog_interval
    while interval is not None:
        notifier.watchdog()
        await asyncio.sleep(interval)
