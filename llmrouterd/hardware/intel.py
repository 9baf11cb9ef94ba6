"""Intel's discrete cards through the files of the xe and i915 drivers.

Neither driver has one file that always tells, so the sources are, in this order:
1. `lmem_total_bytes` and `lmem_avail_bytes` of Intel's own i915 packages (total and used);
2. `device/tile*/physical_vram_size_bytes` of xe, summed up (total; about 1 % of it is reserved);
3. for the kernel's own i915, and an xe without that file, the window through which the CPU
   sees the memory (PCI resource 2). With a resizable window it is the memory's size rounded up to
   a power of two, so it is held against the known size of the product, where one is listed. A
   window of 256 MiB or less says nothing about the memory; then the listed size is all there is.

Used bytes are known only from the first: the others tell them to root alone.

An integrated GPU gives no pool. It has no memory of its own, neither driver states what share of
the RAM it may map, and on a box with another card an invented pool would be taken for room.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from llmrouterd.hardware.pool import MemoryPool
from llmrouterd.hardware.sysfs import Card, cards, read_number, read_text

_VENDOR = "intel"
_PCI_VENDOR = 0x8086
_GIB = 1 << 30
_SMALL_WINDOW = 256 << 20  # bytes; what is mapped where the window cannot be resized
_WINDOW = 2  # the PCI resource that shows the memory
# The integrated GPU is device 2 of bus 0, in every Intel CPU that has one; its virtual
# functions are that device's other functions.
_INTEGRATED = re.compile(r"[0-9a-f]{4}:00:02\.[0-7]")
_RESOURCE = re.compile(r"0x([0-9a-f]{1,16}) 0x([0-9a-f]{1,16}) 0x[0-9a-f]{1,16}")


class _Product(NamedTuple):
    name: str
    gibibytes: int


# The largest memory with which each product was sold.
_PRODUCTS = {
    0x5690: _Product("Arc A770M", 16),
    0x5691: _Product("Arc A730M", 12),
    0x5692: _Product("Arc A550M", 8),
    0x5693: _Product("Arc A370M", 4),
    0x5694: _Product("Arc A350M", 4),
    0x56A0: _Product("Arc A770", 16),
    0x56A1: _Product("Arc A750", 8),
    0x56A2: _Product("Arc A580", 8),
    0x56A5: _Product("Arc A380", 6),
    0x56A6: _Product("Arc A310", 4),
    0xE20B: _Product("Arc B580", 12),
    0xE20C: _Product("Arc B570", 10),
    0xE211: _Product("Arc Pro B60", 24),
    0xE212: _Product("Arc Pro B50", 16),
}


class IntelProbe:
    """Reads every discrete Intel card."""

    name = _VENDOR

    def __init__(self, root: Path = Path("/")) -> None:
        """Take the root under which `sys` is found."""
        self._root = root

    def read(self) -> tuple[MemoryPool, ...]:
        """Return one pool per discrete card whose memory's size can be told."""
        pools: list[MemoryPool] = []
        for card in cards(self._root, _PCI_VENDOR):
            pool = _pool(f"{_VENDOR}:{len(pools)} {_product(card)}", card)
            if pool is not None:
                pools.append(pool)
        return tuple(pools)


def _pool(name: str, card: Card) -> MemoryPool | None:
    total = read_number(card.path / "lmem_total_bytes")
    if total:
        free = read_number(card.path / "lmem_avail_bytes")
        used = None if free is None else max(0, total - free)
        return MemoryPool(name=name, vendor=_VENDOR, total_bytes=total, used_bytes=used)
    sizes = (read_number(file) for file in card.device.glob("tile[0-9]*/physical_vram_size_bytes"))
    total = sum(size or 0 for size in sizes) or _size_from_bus(card)
    if not total:
        return None
    return MemoryPool(name=name, vendor=_VENDOR, total_bytes=total, used_bytes=None)


def _size_from_bus(card: Card) -> int | None:
    """Return a discrete card's memory by its PCI window and product, None if neither tells."""
    product = _PRODUCTS.get(card.pci_id or 0)
    listed = None if product is None else product.gibibytes * _GIB
    if listed is None and (card.slot is None or _INTEGRATED.fullmatch(card.slot)):
        return None
    window = _window(card)
    if window is None or window <= _SMALL_WINDOW:
        return listed
    return window if listed is None else min(window, listed)


def _window(card: Card) -> int | None:
    """Return the bytes of the PCI window that shows the card's memory."""
    lines = (read_text(card.device / "resource") or "").lower().splitlines()
    match = _RESOURCE.fullmatch(lines[_WINDOW]) if len(lines) > _WINDOW else None
    if match is None:
        return None
    first, last = int(match[1], 16), int(match[2], 16)
    return last - first + 1 if last > first else None


def _product(card: Card) -> str:
    """Return the product's name, or what the PCI bus knows."""
    product = _PRODUCTS.get(card.pci_id or 0)
    if product is not None:
        return product.name
    return "Graphics" if card.pci_id is None else f"Graphics [{_PCI_VENDOR:04x}:{card.pci_id:04x}]"
