"""The hardware probes on trees and outputs as the drivers give them, whole, partial and broken."""

from __future__ import annotations

import stat
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pynvml
import pytest

from llmrouterd.hardware import (
    AmdProbe,
    AppleProbe,
    IntelProbe,
    MemoryPool,
    NvidiaProbe,
    probes,
    read_pools,
    used_bytes,
)
from llmrouterd.hardware.apple import run_command
from llmrouterd.hardware.sysfs import cards, read_number, system_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

GIB = 1 << 30
MIB = 1 << 20


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    """Write files by their path under `root`."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def card(number: int, vendor: str, product: str, slot: str | None, **files: str | bytes) -> Any:
    """Return the files of one card; `__` in a name is a `/`, and names are under `device`."""
    base = f"sys/class/drm/card{number}"
    tree: dict[str, str | bytes] = {
        f"{base}/device/vendor": f"{vendor}\n",
        f"{base}/device/device": f"{product}\n",
        f"{base}-DP-1/status": "connected\n",
    }
    if slot is not None:
        lines = ("DRIVER=x", f"PCI_ID={vendor[2:]}:{product[2:]}", f"PCI_SLOT_NAME={slot}", "")
        tree[f"{base}/device/uevent"] = "\n".join(lines)
    for name, content in files.items():
        tree[f"{base}/device/{name.replace('__', '/')}"] = content
    return tree


def meminfo(total: int, available: int) -> dict[str, str | bytes]:
    """Return /proc/meminfo of a system with so many bytes of RAM."""
    return {
        "proc/meminfo": f"MemTotal:       {total // 1024} kB\n"
        f"MemFree:          123456 kB\nMemAvailable:   {available // 1024} kB\n"
        "HugePages_Total:       0\n"
    }


# --- NVIDIA ---


def refused(code: int) -> Exception:
    """Return the error that pynvml raises for a code, with its real class."""
    return pynvml.NVMLError(code)


NOT_SUPPORTED = pynvml.NVML_ERROR_NOT_SUPPORTED


@dataclass
class Device:
    """What the driver says of one card or MIG instance; an Exception is raised instead."""

    name: str | Exception
    memory: tuple[int, int, int] | Exception  # total, free, used
    compute: list[tuple[int, int | None]] | Exception = field(default_factory=list)
    graphics: list[tuple[int, int | None]] | Exception = field(default_factory=list)
    mig: list[int] | Exception = field(default_factory=lambda: refused(NOT_SUPPORTED))
    instances: list[Device | Exception] = field(default_factory=list)


@dataclass
class RecordedNvml:
    """pynvml's functions over recorded answers, with pynvml's own error classes."""

    devices: list[Device | Exception]
    init: Exception | None = None
    count: Exception | None = None
    shutdown: Exception | None = None
    opened: int = 0
    NVMLError = pynvml.NVMLError
    NVMLError_NotSupported = pynvml.NVMLError_NotSupported

    @staticmethod
    def _answer(value: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    def nvmlInit(self) -> None:
        self._answer(self.init)
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1
        self._answer(self.shutdown)

    def nvmlDeviceGetCount(self) -> int:
        self._answer(self.count)
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        return self._answer(self.devices[index])

    def nvmlDeviceGetName(self, handle: Any) -> str:
        return self._answer(handle.name)

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:
        total, free, used = self._answer(handle.memory)
        return SimpleNamespace(total=total, free=free, used=used)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> Sequence[Any]:
        return [SimpleNamespace(pid=p, usedGpuMemory=m) for p, m in self._answer(handle.compute)]

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: Any) -> Sequence[Any]:
        return [SimpleNamespace(pid=p, usedGpuMemory=m) for p, m in self._answer(handle.graphics)]

    def nvmlDeviceGetMigMode(self, handle: Any) -> Sequence[int]:
        return self._answer(handle.mig)

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Any) -> int:
        return len(handle.instances)

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Any, index: int) -> Any:
        return self._answer(handle.instances[index])


def rtx_3090(**more: Any) -> Device:
    return Device("NVIDIA GeForce RTX 3090", (24 * GIB, 20 * GIB, 3 * GIB), **more)


def test_recorded_nvml_has_only_functions_that_pynvml_has() -> None:
    names = [name for name in dir(RecordedNvml) if name.startswith(("nvml", "NVML"))]
    assert len(names) == 13
    assert all(hasattr(pynvml, name) for name in names)


def test_nvidia_two_cards_with_processes() -> None:
    first = rtx_3090(
        compute=[(900, 2 * GIB), (31, 500 * MIB), (77, None)], graphics=[(900, GIB), (5, MIB)]
    )
    nvml = RecordedNvml([first, Device("NVIDIA RTX A2000", (6 * GIB, 6 * GIB, 0))])
    pools = NvidiaProbe(nvml=nvml).read()
    assert pools == (
        MemoryPool(
            name="nvidia:0 NVIDIA GeForce RTX 3090",
            vendor="nvidia",
            total_bytes=24 * GIB,
            used_bytes=4 * GIB,  # not 3: what the driver keeps is not free
            processes=((5, MIB), (31, 500 * MIB), (900, 2 * GIB)),
        ),
        MemoryPool(
            name="nvidia:1 NVIDIA RTX A2000", vendor="nvidia", total_bytes=6 * GIB, used_bytes=0
        ),
    )
    assert nvml.opened == 0


@pytest.mark.parametrize(
    "code",
    [
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,  # a driver that was updated, before the reboot
    ],
)
def test_nvidia_without_a_usable_driver(code: int) -> None:
    nvml = RecordedNvml([rtx_3090()], init=refused(code))
    assert NvidiaProbe(nvml=nvml).read() == ()
    assert nvml.opened == 0


def test_nvidia_closes_what_it_opened_when_counting_or_closing_fails() -> None:
    uninitialized = refused(pynvml.NVML_ERROR_UNINITIALIZED)
    broken = RecordedNvml([rtx_3090()], count=uninitialized, shutdown=uninitialized)
    assert NvidiaProbe(nvml=broken).read() == ()
    assert broken.opened == 0


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_UNKNOWN])
def test_nvidia_leaves_out_a_lost_card_and_reads_the_others(code: int) -> None:
    lost = refused(code)
    nvml = RecordedNvml(
        [lost, Device(lost, (GIB, GIB, 0)), Device("dead", lost), rtx_3090(compute=lost)]
    )
    (pool,) = NvidiaProbe(nvml=nvml).read()
    assert pool.name == "nvidia:3 NVIDIA GeForce RTX 3090"
    assert pool.processes == ()


def test_nvidia_mig_instances_are_the_pools() -> None:
    small = Device("NVIDIA A100 80GB PCIe MIG 1g.10gb", (10 * GIB, 9 * GIB, GIB), [(12, GIB)])
    large = Device("NVIDIA A100 80GB PCIe MIG 3g.40gb", (40 * GIB, 40 * GIB, 0))
    hidden = Device("no access", refused(pynvml.NVML_ERROR_NO_PERMISSION))
    empty = refused(pynvml.NVML_ERROR_NOT_FOUND)
    split = Device(
        "NVIDIA A100 80GB PCIe",
        refused(pynvml.NVML_ERROR_NO_PERMISSION),
        mig=[1, 1],
        instances=[small, empty, large, hidden],
    )
    whole = Device("NVIDIA A100 80GB PCIe", (80 * GIB, 79 * GIB, GIB), mig=[0, 1])
    pools = NvidiaProbe(nvml=RecordedNvml([split, whole])).read()
    assert [(p.name, p.total_bytes, p.used_bytes, p.processes) for p in pools] == [
        ("nvidia:0.0 NVIDIA A100 80GB PCIe MIG 1g.10gb", 10 * GIB, GIB, ((12, GIB),)),
        ("nvidia:0.2 NVIDIA A100 80GB PCIe MIG 3g.40gb", 40 * GIB, 0, ()),
        ("nvidia:1 NVIDIA A100 80GB PCIe", 80 * GIB, GIB, ()),
    ]


def test_nvidia_mig_without_instances_has_no_memory_to_give() -> None:
    split = Device("NVIDIA H100", (80 * GIB, 80 * GIB, 0), mig=[1, 1])
    assert NvidiaProbe(nvml=RecordedNvml([split])).read() == ()


@pytest.mark.parametrize("memory", [refused(NOT_SUPPORTED), (0, 0, 0)])
def test_nvidia_unified_part_uses_the_system_memory(tmp_path: Path, memory: Any) -> None:
    write(tmp_path, meminfo(120 * GIB, 100 * GIB))
    spark = Device("NVIDIA GB10", memory, [(4242, 15 * GIB)])
    (pool,) = NvidiaProbe(tmp_path, RecordedNvml([spark])).read()
    assert pool == MemoryPool(
        name="nvidia:0 NVIDIA GB10",
        vendor="nvidia",
        total_bytes=120 * GIB,
        used_bytes=20 * GIB,
        unified=True,
        processes=((4242, 15 * GIB),),
    )


def test_nvidia_unified_memory_is_counted_once_and_beside_a_discrete_card(tmp_path: Path) -> None:
    write(tmp_path, meminfo(64 * GIB, 60 * GIB))
    parts = [Device(name, refused(NOT_SUPPORTED)) for name in ("iGPU", "second")]
    pools = NvidiaProbe(tmp_path, RecordedNvml([parts[0], rtx_3090(), parts[1]])).read()
    assert [(p.name, p.unified) for p in pools] == [
        ("nvidia:0 iGPU", True),
        ("nvidia:1 NVIDIA GeForce RTX 3090", False),
    ]


def test_nvidia_unified_part_without_meminfo_gives_nothing(tmp_path: Path) -> None:
    nvml = RecordedNvml([Device("NVIDIA GB10", refused(NOT_SUPPORTED))])
    assert NvidiaProbe(tmp_path, nvml).read() == ()


def test_nvidia_by_the_real_library() -> None:
    """The real NVML, where there is one; where there is none, nothing is found and none raises."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        assert NvidiaProbe().read() == ()
        return
    count = pynvml.nvmlDeviceGetCount()
    pynvml.nvmlShutdown()
    pools = NvidiaProbe().read()
    assert bool(pools) == bool(count)
    assert all(0 <= (pool.used_bytes or 0) <= pool.total_bytes for pool in pools)


# --- AMD ---


def amd(number: int, slot: str | None, sizes: tuple[int, int, int, int], **files: Any) -> Any:
    """Return an amdgpu card's files; sizes are VRAM total and used, GTT total and used."""
    names = ("vram_total", "vram_used", "gtt_total", "gtt_used")
    counts = {f"mem_info_{n}": f"{s}\n" for n, s in zip(names, sizes, strict=True)}
    product = files.pop("product", "0x744c")
    return card(number, "0x1002", product, slot, **counts, **files)


def metrics(revision: int) -> bytes:
    """Return a gpu_metrics file of a format: its header, then sensors."""
    return bytes((120, 0, revision, 3)) + b"\xff" * 116


DISCRETE = {"hwmon__hwmon4__freq2_label": "mclk\n", "hwmon__hwmon4__in0_label": "vddgfx\n"}
APU = {"hwmon__hwmon2__in1_label": "vddnb\n", "hwmon__hwmon2__in0_label": "vddgfx\n"}


def test_amd_discrete_and_integrated_together(tmp_path: Path) -> None:
    write(tmp_path, meminfo(62 * GIB, 50 * GIB))
    # The integrated one loaded first, so the kernel's numbers are not in the bus's order.
    write(
        tmp_path,
        amd(0, "0000:0c:00.0", (512 * MIB, 40 * MIB, 31 * GIB, 10 * MIB), product="0x164e", **APU),
    )
    write(
        tmp_path,
        amd(
            1,
            "0000:03:00.0",
            (24 * GIB, 5 * GIB, 31 * GIB, 90 * MIB),
            product_name="Radeon RX 7900 XTX\n",
            **DISCRETE,
        ),
    )
    assert AmdProbe(tmp_path).read() == (
        MemoryPool(
            name="amd:0 Radeon RX 7900 XTX",
            vendor="amd",
            total_bytes=24 * GIB,
            used_bytes=5 * GIB,
        ),
        MemoryPool(
            name="amd:1 Radeon [1002:164e]",
            vendor="amd",
            total_bytes=512 * MIB + 31 * GIB,
            used_bytes=50 * MIB,
            unified=True,
        ),
    )


@pytest.mark.parametrize(
    ("vram", "facts", "apu"),
    [
        (0, {}, True),  # MI300A
        (96 * GIB, APU, True),  # Strix Halo with most of its RAM set aside by the firmware
        (96 * GIB, {"gpu_metrics": metrics(3)}, True),
        (4 * GIB, {"gpu_metrics": metrics(2)}, True),
        (512 * MIB, {"gpu_metrics": metrics(1)}, False),
        (512 * MIB, DISCRETE, False),
        (16 * GIB, DISCRETE | {"gpu_metrics": metrics(2)}, False),
        (512 * MIB, {}, True),  # an old kernel, by size
        (2 * GIB, {}, False),
        (512 * MIB, {"gpu_metrics": b"\x78"}, True),  # cut short: by size
        (8 * GIB, {"gpu_metrics": b"\xff" * 120}, False),  # an unknown format: by size
    ],
)
def test_amd_tells_an_apu(tmp_path: Path, vram: int, facts: dict[str, Any], apu: bool) -> None:
    write(tmp_path, meminfo(64 * GIB, 64 * GIB))
    write(tmp_path, amd(0, "0000:c5:00.0", (vram, 0, 32 * GIB, 0), **facts))
    (pool,) = AmdProbe(tmp_path).read()
    assert pool.unified is apu
    assert pool.total_bytes == (vram + 32 * GIB if apu else vram)


def test_amd_apu_counts_what_other_programs_hold(tmp_path: Path) -> None:
    sizes = (512 * MIB, 112 * MIB, 108 * GIB, 8 * GIB)
    write(tmp_path, amd(1, "0000:c5:00.0", sizes, **APU))
    write(tmp_path, meminfo(124 * GIB, 30 * GIB))
    (pool,) = AmdProbe(tmp_path).read()
    # Free are 400 MiB of VRAM, and of GTT's 100 GiB only the 30 that the system can give.
    assert pool.total_bytes == 108 * GIB + 512 * MIB
    assert pool.used_bytes == pool.total_bytes - 30 * GIB - 400 * MIB


def test_amd_apu_gtt_is_bounded_by_the_ram(tmp_path: Path) -> None:
    write(tmp_path, amd(0, "0000:c5:00.0", (96 * GIB, 0, 96 * GIB, GIB), **APU))
    write(tmp_path, meminfo(30 * GIB, 20 * GIB))
    (pool,) = AmdProbe(tmp_path).read()
    assert (pool.total_bytes, pool.used_bytes) == (126 * GIB, 10 * GIB)


def test_amd_apu_without_meminfo_takes_the_driver_at_its_word(tmp_path: Path) -> None:
    write(tmp_path, amd(0, "0000:c5:00.0", (GIB, MIB, 15 * GIB, 2 * GIB), **APU))
    (pool,) = AmdProbe(tmp_path).read()
    assert (pool.total_bytes, pool.used_bytes) == (16 * GIB, 2 * GIB + MIB)


def test_amd_missing_and_garbage_files(tmp_path: Path) -> None:
    base = "sys/class/drm/card{}/device"
    for number in range(3):
        slot = f"0000:0{number}:00.0"
        write(tmp_path, amd(number, slot, (8 * GIB, GIB, 16 * GIB, 0), **DISCRETE))
    (tmp_path / base.format(0) / "mem_info_vram_total").write_text("no\n")
    (tmp_path / base.format(1) / "mem_info_vram_used").unlink()
    (tmp_path / base.format(2) / "mem_info_vram_used").write_bytes(b"\xff\xfe\x00")
    pools = AmdProbe(tmp_path).read()
    assert [(p.name, p.total_bytes, p.used_bytes) for p in pools] == [
        ("amd:1 Radeon [1002:744c]", 8 * GIB, None),
        ("amd:2 Radeon [1002:744c]", 8 * GIB, None),
    ]


def test_amd_apu_without_used_figures_or_any_memory(tmp_path: Path) -> None:
    write(tmp_path, amd(0, "0000:04:00.0", (GIB, 0, 15 * GIB, 0), **APU))
    (tmp_path / "sys/class/drm/card0/device/mem_info_gtt_used").unlink()
    write(tmp_path, amd(1, "0000:05:00.0", (0, 0, 0, 0), **APU))
    (pool,) = AmdProbe(tmp_path).read()
    assert (pool.total_bytes, pool.used_bytes) == (16 * GIB, None)


# --- Intel ---


def window(size: int, first: int = 0x4000000000) -> str:
    """Return a PCI device's `resource` file with a memory window of so many bytes."""
    zero = f"0x{0:016x} 0x{0:016x} 0x{0:016x}\n"
    mmio = f"0x{0x82000000:016x} 0x{0x82FFFFFF:016x} 0x{0x140204:016x}\n"
    return mmio + zero + f"0x{first:016x} 0x{first + size - 1:016x} 0x{0x14220C:016x}\n" + zero * 9


def integrated(number: int = 0) -> Any:
    """Return the files of a processor's own GPU: its window is an aperture, not memory."""
    aperture = window(256 * MIB)
    return card(number, "0x8086", "0x4680", "0000:00:02.0", resource=aperture, tile0__gt0__id="0\n")


def test_intel_by_the_packaged_i915(tmp_path: Path) -> None:
    write(tmp_path, integrated(1) | card(0, "0x8086", "0x56a0", "0000:03:00.0"))
    write(
        tmp_path,
        {
            "sys/class/drm/card0/lmem_total_bytes": f"{16 * GIB}\n",
            "sys/class/drm/card0/lmem_avail_bytes": f"{15 * GIB}\n",
        },
    )
    assert IntelProbe(tmp_path).read() == (
        MemoryPool(name="intel:0 Arc A770", vendor="intel", total_bytes=16 * GIB, used_bytes=GIB),
    )
    (tmp_path / "sys/class/drm/card0/lmem_avail_bytes").write_text("?\n")
    assert IntelProbe(tmp_path).read()[0].used_bytes is None


def test_intel_by_xe_with_two_cards_and_two_tiles(tmp_path: Path) -> None:
    tile = "physical_vram_size_bytes"
    b580 = card(
        2,
        "0x8086",
        "0xe20b",
        "0000:03:00.0",
        resource=window(16 * GIB),
        **{f"tile0__{tile}": f"{12 * GIB}\n"},
    )
    tiles = {f"tile0__{tile}": f"{64 * GIB}\n", f"tile1__{tile}": f"{64 * GIB}\n"}
    large = card(1, "0x8086", "0x0bd5", "0000:4d:00.0", **tiles)
    write(tmp_path, integrated() | large | b580)
    pools = IntelProbe(tmp_path).read()
    assert [(p.name, p.total_bytes, p.used_bytes, p.unified) for p in pools] == [
        ("intel:0 Arc B580", 12 * GIB, None, False),
        ("intel:1 Graphics [8086:0bd5]", 128 * GIB, None, False),
    ]


@pytest.mark.parametrize(
    ("product", "resource", "total"),
    [
        ("0x56a0", window(8 * GIB), 8 * GIB),  # sold with 8 or 16; the window tells
        ("0xe20b", window(16 * GIB), 12 * GIB),  # 12 GiB behind a window of 16
        ("0x56a5", window(256 * MIB), 6 * GIB),  # no resizable window: the product tells
        ("0x56a5", "0x0 nonsense\n", 6 * GIB),
        ("0xffff", window(32 * GIB), 32 * GIB),  # an unlisted product
        ("0xffff", window(256 * MIB), None),  # nothing tells
        ("0xffff", "\n\n\n", None),
        ("nonsense", window(16 * GIB), 16 * GIB),
    ],
)
def test_intel_by_the_bus(tmp_path: Path, product: str, resource: str, total: int | None) -> None:
    write(tmp_path, card(0, "0x8086", product, "0000:03:00.0", resource=resource))
    assert [p.total_bytes for p in IntelProbe(tmp_path).read()] == ([total] if total else [])


@pytest.mark.parametrize("slot", ["0000:00:02.0", "0000:00:02.3", None])
def test_intel_integrated_gives_no_pool(tmp_path: Path, slot: str | None) -> None:
    write(tmp_path, card(0, "0x8086", "0x46a6", slot, resource=window(512 * MIB)))
    assert IntelProbe(tmp_path).read() == ()


def test_intel_listed_card_at_the_integrated_address_of_a_virtual_machine(tmp_path: Path) -> None:
    write(tmp_path, card(0, "0x8086", "0xe211", "0000:00:02.0", resource=window(32 * GIB)))
    (pool,) = IntelProbe(tmp_path).read()
    assert (pool.name, pool.total_bytes) == ("intel:0 Arc Pro B60", 24 * GIB)


# --- Apple ---


def mac(ram: int, limit: str | None = "0", arm: bool = True, vm_stat: str | None = None) -> Any:
    """Return what runs sysctl and vm_stat on a Mac with so many bytes of RAM."""
    lines = [f"hw.memsize: {ram}"]
    lines += ["hw.optional.arm64: 1"] if arm else []
    lines += ["machdep.cpu.brand_string: Apple M3 Max"]
    lines += [] if limit is None else [f"iogpu.wired_limit_mb: {limit}"]
    outputs = {"sysctl": "\n".join(lines) + "\n", "vm_stat": vm_stat}
    return lambda command: outputs[Path(command[0]).name]


VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                             {free}.
Pages active:                          1000000.
Pages inactive:                          65536.
Pages speculative:                       32768.
Pages throttled:                             0.
Pages wired down:                       200000.
"Translation faults":                987654321.
"""


@pytest.mark.parametrize(
    ("ram", "limit", "total"),
    [
        (16 * GIB, "0", 16 * GIB * 2 // 3),
        (32 * GIB, None, 32 * GIB * 2 // 3),
        (36 * GIB, "0", 27 * GIB),
        (64 * GIB, None, 48 * GIB),
        (64 * GIB, "57344", 56 * GIB),
        (64 * GIB, "999999", 64 * GIB),  # more than there is
        (64 * GIB, "lots", 48 * GIB),
    ],
)
def test_apple_limit(ram: int, limit: str | None, total: int) -> None:
    (pool,) = AppleProbe(mac(ram, limit), "darwin").read()
    assert pool == MemoryPool(
        name="apple:0 Apple M3 Max",
        vendor="apple",
        total_bytes=total,
        used_bytes=None,
        unified=True,
    )


@pytest.mark.parametrize(
    ("vm_stat", "used"),
    [
        (VM_STAT.format(free=32768), 46 * GIB),  # 0.5 free + 1 inactive + 0.5 speculative
        (VM_STAT.format(free=99999999), 0),  # more free than the GPU may have
        (VM_STAT.replace("page size", "size").format(free=1), None),
        (VM_STAT.format(free="many"), None),
        ("", None),
    ],
)
def test_apple_used(vm_stat: str, used: int | None) -> None:
    (pool,) = AppleProbe(mac(64 * GIB, vm_stat=vm_stat), "darwin").read()
    assert pool.used_bytes == used


def test_apple_elsewhere_and_with_intel_processors() -> None:
    assert AppleProbe(mac(64 * GIB), "linux").read() == ()
    assert AppleProbe(mac(64 * GIB, arm=False), "darwin").read() == ()
    assert AppleProbe(lambda command: None, "darwin").read() == ()
    assert AppleProbe(lambda command: "sysctl: \x00 :::\n\n", "darwin").read() == ()


def test_apple_commands_as_they_run(tmp_path: Path) -> None:
    # sysctl fails for one unknown name, and prints the others all the same.
    command = tmp_path / "sysctl"
    command.write_text("#!/bin/sh\necho 'hw.memsize: 5'\necho 'unknown oid' >&2\nexit 1\n")
    assert run_command([str(command)]) is None  # it may not be executed
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    assert run_command([str(command)]) == "hw.memsize: 5\n"
    assert run_command([str(tmp_path / "missing")]) is None


def test_apple_command_that_hangs_is_ended(tmp_path: Path) -> None:
    assert run_command([sys.executable, "-c", "import time; time.sleep(60)"], 0.2) is None


# --- all together, and the files below ---


def test_all_vendors_in_one_box(tmp_path: Path) -> None:
    write(tmp_path, meminfo(64 * GIB, 60 * GIB))
    write(tmp_path, integrated(0))
    write(tmp_path, amd(1, "0000:03:00.0", (16 * GIB, GIB, 32 * GIB, 0), **DISCRETE))
    write(tmp_path, card(2, "0x10de", "0x2204", "0000:04:00.0"))
    found = (
        NvidiaProbe(tmp_path, RecordedNvml([rtx_3090()])),
        AmdProbe(tmp_path),
        IntelProbe(tmp_path),
        AppleProbe(mac(64 * GIB), "linux"),
    )
    assert [pool.vendor for pool in read_pools(found)] == ["nvidia", "amd"]


def test_probes_are_all_four_and_find_nothing_in_an_empty_root(tmp_path: Path) -> None:
    found = probes(tmp_path)
    assert [probe.name for probe in found] == ["nvidia", "amd", "intel", "apple"]
    assert read_pools(found[1:3]) == ()
    assert read_pools(()) == ()


def test_probes_of_this_machine_raise_nothing() -> None:
    for pool in read_pools(probes()):
        assert pool.total_bytes > 0
        assert pool.used_bytes is None or 0 <= pool.used_bytes <= pool.total_bytes


def test_cards_are_no_connectors_and_ordered_by_the_bus(tmp_path: Path) -> None:
    for number, slot in ((10, "0000:03:00.0"), (2, None), (1, "0000:41:00.0"), (3, None)):
        write(tmp_path, card(number, "0x1002", "0x1", slot))
    write(tmp_path, {"sys/class/drm/version": "drm 1.1.0\n", "sys/class/drm/card7/dev": "226:7"})
    found = cards(tmp_path, 0x1002)
    assert [each.path.name for each in found] == ["card10", "card1", "card2", "card3"]
    assert cards(tmp_path, 0x8086) == ()
    (tmp_path / "file").write_text("")
    assert cards(tmp_path / "file", 0x1002) == ()


@pytest.mark.parametrize(
    ("content", "number"),
    [
        ("12\n", 12),
        ("0x1002\n", 0x1002),
        ("-1\n", None),
        ("1_000", None),
        ("\u0663", None),  # a digit, but none that a kernel writes
        ("", None),
        ("9" * 5000, None),
        ("0x", None),
    ],
)
def test_numbers(tmp_path: Path, content: str, number: int | None) -> None:
    write(tmp_path, {"file": content})
    assert read_number(tmp_path / "file") == number
    assert read_number(tmp_path) is None  # a folder


@pytest.mark.parametrize(
    "content", ["", "MemTotal: 5 kB\n", "MemTotal: x kB\nMemAvailable: 1 kB\n", "MemTotal: 0 kB\n"]
)
def test_system_memory_unknown(tmp_path: Path, content: str) -> None:
    write(tmp_path, {"proc/meminfo": content})
    assert system_memory(tmp_path) is None


def test_system_memory_of_this_machine() -> None:
    found = system_memory(Path("/"))
    if sys.platform == "linux":
        assert found is not None
        assert 0 < found[1] <= found[0]


def test_what_is_used_on_all_cards() -> None:
    card = MemoryPool(name="nvidia:0 A", vendor="nvidia", total_bytes=8, used_bytes=3)
    assert used_bytes([card, replace(card, used_bytes=4)]) == 7
    assert used_bytes([card, replace(card, used_bytes=None)]) is None
    assert used_bytes([replace(card, unified=True)]) is None
    assert used_bytes([]) is None
