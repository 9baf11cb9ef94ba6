"""The sd_notify protocol: what a daemon of ``Type=notify`` tells systemd, in datagrams.

Every message is one non-blocking ``sendto``. Without NOTIFY_SOCKET (not started by systemd) all of
it does nothing. A message that cannot be delivered is dropped and reported by a False return: a
daemon must not fail for want of a listener.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Notifier:
    """Speaks to the socket at ``address``; None is the silent one.

    ``watchdog_interval`` is the number of seconds between two calls of `watchdog` (half of what
    systemd allows), or None when no watchdog watches this process.
    """

    address: str | None = None
    watchdog_interval: float | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Notifier:
        """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID; the malformed counts as absent."""
        return cls(
            address=_address(environ.get("NOTIFY_SOCKET", "")),
            watchdog_interval=_interval(environ),
        )

    def ready(self, status: str = "") -> bool:
        """Say that start-up, or a reload, is finished."""
        return self._send("READY=1", *_status(status))

    def status(self, text: str) -> bool:
        """Set the line that ``systemctl status`` shows."""
        return self._send(*_status(text))

    def reloading(self) -> bool:
        """Say that a reload begins; `ready` must follow, also when the reload was refused."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000
        return self._send("RELOADING=1", f"MONOTONIC_USEC={now}")

    def stopping(self, status: str = "") -> bool:
        """Say that shutdown begins."""
        return self._send("STOPPING=1", *_status(status))

    def watchdog(self) -> bool:
        """Say that the process is alive."""
        return self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> bool:
        if self.address is None or not lines:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(lines).encode(), self.address)
        except OSError:
            return False
        return True


def _status(text: str) -> tuple[str, ...]:
    line = " ".join(text.split())  # a line break would begin another variable
    return (f"STATUS={line}",) if line else ()


def _address(value: str) -> str | None:
    """Return the socket's address: a path, or ``@name`` in the abstract namespace (Linux)."""
    if value.startswith("@"):
        return "\0" + value[1:]
    return value if value.startswith("/") else None


def _interval(environ: Mapping[str, str]) -> float | None:
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return None
    if not (usec.isascii() and usec.isdigit() and len(usec) < 20) or int(usec) == 0:
        return None
    return int(usec) / 2_000_000
