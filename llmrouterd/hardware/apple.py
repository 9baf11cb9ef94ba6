"""Apple silicon: the part of the RAM that macOS lets the GPU hold.

The limit is `iogpu.wired_limit_mb` if somebody set it. If not (zero, or a macOS without it), it is
macOS's own: two thirds of the RAM up to 32 GiB, three quarters above. Recent versions allow some
more (84 % of 128 GiB was seen), so this errs towards what surely fits.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence

from llmrouterd.hardware.pool import MemoryPool

_VENDOR = "apple"
_MIB = 1 << 20
_SMALL_RAM = 32 << 30  # bytes; up to here macOS gives the GPU two thirds
_SECONDS = 5.0
_SYSCTL = (
    "/usr/sbin/sysctl",
    "hw.memsize",
    "hw.optional.arm64",
    "machdep.cpu.brand_string",
    "iogpu.wired_limit_mb",
)
_VM_STAT = ("/usr/bin/vm_stat",)
_PAGE_SIZE = re.compile(r"page size of ([0-9]{1,9}) bytes")
_PAGES = re.compile(r"^Pages (free|inactive|speculative):\s+([0-9]{1,15})\.?$", re.MULTILINE)

Run = Callable[[Sequence[str]], str | None]


def run_command(command: Sequence[str], seconds: float = _SECONDS) -> str | None:
    """Return what a command printed, None if it cannot be run or takes longer than `seconds`.

    Its exit status is not looked at: sysctl fails if one name is unknown to this macOS, and
    prints the others all the same.
    """
    try:
        done = subprocess.run(  # noqa: S603 - only the two fixed commands above
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=seconds,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace")


class AppleProbe:
    """Reads the unified memory of a Mac with Apple silicon."""

    name = _VENDOR

    def __init__(self, run: Run = run_command, platform: str = sys.platform) -> None:
        """Take what runs a command and returns its output, and the system's name."""
        self._run = run
        self._platform = platform

    def read(self) -> tuple[MemoryPool, ...]:
        """Return the one pool, or () on other systems and on Macs with Intel CPUs."""
        if self._platform != "darwin":
            return ()
        facts = _facts(self._run(_SYSCTL) or "")
        ram = _number(facts.get("hw.memsize"))
        if not ram or _number(facts.get("hw.optional.arm64")) != 1:
            return ()
        limit = _number(facts.get("iogpu.wired_limit_mb"))
        total = min(ram, limit * _MIB) if limit else _default_limit(ram)
        available = _available(self._run(_VM_STAT) or "")
        pool = MemoryPool(
            name=f"{_VENDOR}:0 {facts.get('machdep.cpu.brand_string') or 'Apple silicon'}",
            vendor=_VENDOR,
            total_bytes=total,
            used_bytes=None if available is None else total - min(total, available),
            unified=True,
        )
        return (pool,)


def _default_limit(ram: int) -> int:
    return ram * 2 // 3 if ram <= _SMALL_RAM else ram * 3 // 4


def _facts(output: str) -> dict[str, str]:
    """Return sysctl's `name: value` lines."""
    pairs = (line.partition(":") for line in output.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"[0-9]{1,18}", text) else None


def _available(output: str) -> int | None:
    """Return the bytes that vm_stat lists as free, speculative or inactive, None if it does not.

    Inactive pages are reclaimed when somebody asks, so they are room for a model.
    """
    size = _PAGE_SIZE.search(output)
    pages = dict(_PAGES.findall(output))
    if size is None or "free" not in pages:
        return None
    return int(size[1]) * sum(int(count) for count in pages.values())
