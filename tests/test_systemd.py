"""The systemd unit and its drop-ins, judged by systemd's own tools where they are installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "systemd"
UNIT = FOLDER / "llmrouterd.service"
DROP_INS = sorted((FOLDER / "drop-ins").glob("*.conf"))
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def parse(path: Path) -> dict[str, dict[str, list[str]]]:
    """Return section -> key -> values, in order."""
    sections: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, mark, value = line.partition("=")
            assert mark, f"{path.name}: {line!r} is no assignment"
            section.setdefault(key, []).append(value)
    return sections


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit with a program that exists in place of the daemon."""
    text = UNIT.read_text()
    assert text.count("/opt/llmrouterd/bin/llmrouterd") == 1
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace("/opt/llmrouterd/bin/llmrouterd", "/bin/true"))
    return unit


def add_drop_in(unit: Path, drop_in: Path) -> None:
    folder = unit.with_name(f"{unit.name}.d")
    folder.mkdir()
    shutil.copy(drop_in, folder)


def verify(unit: Path) -> str:
    """Return what systemd complains about: it exits 0 even for unknown keys."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stderr + (f"exit {done.returncode}" if done.returncode else "")


def exposure(unit: Path) -> float:
    """Return systemd's exposure level of the unit, 0 (none) to 10."""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    return float(found[1])


@needs_systemd
def test_unit_is_accepted_without_a_word(installed: Path) -> None:
    assert verify(installed) == ""


@needs_systemd
def test_a_slip_in_the_unit_would_be_seen(installed: Path) -> None:
    installed.write_text(installed.read_text().replace("PrivateTmp=", "PrivateTemp="))
    assert "PrivateTemp" in verify(installed)


@needs_systemd
def test_exposure_is_small(installed: Path) -> None:
    assert exposure(installed) <= 1.5


@needs_systemd
@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)
def test_drop_ins_are_accepted(installed: Path, drop_in: Path) -> None:
    add_drop_in(installed, drop_in)
    assert verify(installed) == ""
    assert exposure(installed) < 2.0


def test_unit_speaks_the_daemons_protocol() -> None:
    service = parse(UNIT)["Service"]
    assert service["Type"] == ["notify"]
    assert service["NotifyAccess"] == ["main"]
    assert service["ExecStart"] == ["/opt/llmrouterd/bin/llmrouterd serve"]
    assert service["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert service["Environment"] == [
        "ROUTER_CONFIG=/etc/llmrouterd/router.yaml",
        "ROUTER_DATABASE=%S/llmrouterd/llmrouterd.db",
    ]
    assert service["EnvironmentFile"] == ["-/etc/llmrouterd/llmrouterd.env"]
    assert service["StateDirectory"] == service["ConfigurationDirectory"] == ["llmrouterd"]
    assert service["Restart"] == ["on-failure"]
    assert service["RestartPreventExitStatus"] == ["2"]
    assert int(service["WatchdogSec"][0]) >= 10


def test_stop_leaves_time_for_the_drain_and_then_the_children() -> None:
    service = parse(UNIT)["Service"]
    drain, model_servers = 30, 5
    assert int(service["TimeoutStopSec"][0]) >= 2 * drain + model_servers
    assert service["KillMode"] == ["mixed"], "SIGTERM must not reach the model servers"


def test_every_bound_device_is_allowed() -> None:
    service = parse(UNIT)["Service"]
    bound = [path.removeprefix("-") for line in service["BindPaths"] for path in line.split()]
    assert [f"{path} rw" for path in bound] == service["DeviceAllow"]
    assert all(
        path.startswith("-/dev/nvidia") for line in service["BindPaths"] for path in line.split()
    )


def test_drop_ins_say_what_they_are_for() -> None:
    assert [path.stem for path in DROP_INS] == [
        "allow-jit",
        "gpu-amd-intel",
        "lan-only",
        "models-in-home",
    ]
    for path in DROP_INS:
        assert path.read_text().startswith("# ")
        assert list(parse(path)) == ["Service"]


def test_settings_file_holds_no_secret() -> None:
    lines = (FOLDER / "llmrouterd.env").read_text().splitlines()
    assert lines
    assert all(line.startswith("#") for line in lines)
