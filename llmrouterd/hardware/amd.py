"""AMD cards and APUs through the files of the amdgpu driver.

A discrete card's pool is its VRAM; the GTT that the driver also lists is system RAM behind the
PCI bus, where a model would crawl. An APU has no memory of its own: its "VRAM" is a part of the
RAM that the firmware set aside (often 512 MiB) and GTT is the RAM that it may map besides, at
the same speed, so its pool is both together.

How an APU is told, from the surest fact on:
1. VRAM of zero bytes: only an APU has none at all (MI300A).
2. hwmon's in1 (the northbridge voltage), which the driver creates on APUs only; or freq2 (the
   memory clock), which it does not create on APUs. Both are looked for, not read, because a read
   would wake a sleeping card.
3. The format of gpu_metrics: 1 is for discrete cards, 2 and 3 are for APUs.
4. With none of these (old kernels): VRAM of at most 1 GiB beside a larger GTT.
The size alone would not do: APUs can be set to 96 GiB, and old cards have 2.
"""

from __future__ import annotations

from pathlib import Path

from llmrouterd.hardware.pool import MemoryPool
from llmrouterd.hardware.sysfs import (
    Card,
    cards,
    read_bytes,
    read_number,
    read_text,
    system_memory,
)

_VENDOR = "amd"
_PCI_VENDOR = 0x1002
_LARGEST_CARVE_OUT = 1 << 30  # bytes; rule 4
_METRICS_HEADER = 4  # bytes: size (2), format revision, content revision
_DISCRETE_FORMAT = 1
_APU_FORMATS = frozenset({2, 3})


class AmdProbe:
    """Reads every card that the amdgpu driver runs."""

    name = _VENDOR

    def __init__(self, root: Path = Path("/")) -> None:
        """Take the root under which `sys` and `proc` are found."""
        self._root = root

    def read(self) -> tuple[MemoryPool, ...]:
        """Return one pool per card; a card whose driver gives no figures is left out."""
        found = (self._pool(n, card) for n, card in enumerate(cards(self._root, _PCI_VENDOR)))
        return tuple(pool for pool in found if pool is not None)

    def _pool(self, index: int, card: Card) -> MemoryPool | None:
        vram = read_number(card.device / "mem_info_vram_total")
        if vram is None:
            return None
        gtt = read_number(card.device / "mem_info_gtt_total") or 0
        vram_used = read_number(card.device / "mem_info_vram_used")
        gtt_used = read_number(card.device / "mem_info_gtt_used")
        name = f"{_VENDOR}:{index} {_product(card)}"
        if not _is_apu(card, vram, gtt):
            return MemoryPool(name=name, vendor=_VENDOR, total_bytes=vram, used_bytes=vram_used)
        ram = system_memory(self._root)
        if ram is not None:
            gtt = min(gtt, ram[0])  # the driver lets GTT be set beyond the RAM that is left
        if not vram + gtt:
            return None
        used = None
        if vram_used is not None and gtt_used is not None:
            free = max(0, gtt - gtt_used)
            if ram is not None:
                free = min(free, ram[1])  # what other programs hold cannot be mapped
            used = vram + gtt - max(0, vram - vram_used) - free
        return MemoryPool(
            name=name, vendor=_VENDOR, total_bytes=vram + gtt, used_bytes=used, unified=True
        )


def _product(card: Card) -> str:
    """Return the product's name; most cards give none, then what the PCI bus knows."""
    name = read_text(card.device / "product_name")
    if name is not None:
        return name
    return "Radeon" if card.pci_id is None else f"Radeon [{_PCI_VENDOR:04x}:{card.pci_id:04x}]"


def _is_apu(card: Card, vram: int, gtt: int) -> bool:
    """Return whether the card shares the system's RAM; the rules are the module's."""
    if not vram:
        return True
    if any(card.device.glob("hwmon/hwmon*/in1_label")):
        return True
    if any(card.device.glob("hwmon/hwmon*/freq2_label")):
        return False
    header = read_bytes(card.device / "gpu_metrics", _METRICS_HEADER) or b""
    if len(header) == _METRICS_HEADER:
        if header[2] == _DISCRETE_FORMAT:
            return False
        if header[2] in _APU_FORMATS:
            return True
    return vram <= _LARGEST_CARVE_OUT and gtt > vram
