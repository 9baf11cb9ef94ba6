"""Reading of the kernel's files: graphics cards under /sys/class/drm and RAM in /proc/meminfo.

Everything here answers None or () for what is missing, unreadable or not a number: a driver may
lack any file, and may refuse to be read while the card sleeps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST = 65_536  # bytes; sysfs files are at most a page, /proc/meminfo a few kilobytes
_CARD = re.compile(r"card(\d{1,6})")  # not card0-DP-1, which is a connector
_SLOT = re.compile(r"^PCI_SLOT_NAME=([0-9a-fA-F:.]+)$", re.MULTILINE)
_KIBIBYTES = re.compile(r"^(\w+):\s+([0-9]{1,18}) kB$", re.MULTILINE)
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One graphics card: its DRM folder, its device's folder and its place on the PCI bus."""

    path: Path
    device: Path
    slot: str | None  # e.g. "0000:03:00.0"
    pci_id: int | None  # the product, e.g. 0x744c


def read_bytes(path: Path, limit: int = _LONGEST) -> bytes | None:
    """Return the first `limit` bytes of a file, None if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError:
        return None


def read_text(path: Path) -> str | None:
    """Return a file's text without surrounding space, None if it cannot be read or is empty."""
    raw = read_bytes(path)
    return (raw.decode("utf-8", "replace").strip() or None) if raw else None


def read_number(path: Path) -> int | None:
    """Return the non-negative number (decimal, or hexadecimal with 0x) that a file holds."""
    text = read_text(path)
    if text is None or not _NUMBER.fullmatch(text):
        return None
    return int(text, 16) if text[:2] in {"0x", "0X"} else int(text)


def cards(root: Path, vendor: int) -> tuple[Card, ...]:
    """Return the cards of one PCI vendor, by PCI address, then by the kernel's own number.

    The kernel numbers cards in the order in which drivers load, which may change at each start;
    the PCI address does not.
    """
    try:
        entries = sorted((root / "sys/class/drm").iterdir())
    except OSError:
        return ()
    found: list[tuple[str, int, Card]] = []
    for entry in entries:
        match = _CARD.fullmatch(entry.name)
        device = entry / "device"
        if match is None or read_number(device / "vendor") != vendor:
            continue
        slot = _SLOT.search(read_text(device / "uevent") or "")
        card = Card(
            path=entry,
            device=device,
            slot=slot[1].lower() if slot else None,
            pci_id=read_number(device / "device"),
        )
        found.append((card.slot or "~", int(match[1]), card))  # "~" sorts after every address
    return tuple(card for _, _, card in sorted(found, key=lambda each: each[:2]))


def system_memory(root: Path) -> tuple[int, int] | None:
    """Return the RAM as (total, available) bytes, None if the system does not say.

    Available counts what the kernel can drop, such as the page cache, as free.
    """
    fields = dict(_KIBIBYTES.findall(read_text(root / "proc/meminfo") or ""))
    total, available = fields.get("MemTotal"), fields.get("MemAvailable")
    if total is None or available is None or not int(total):
        return None
    return int(total) * 1024, min(int(total), int(available)) * 1024
