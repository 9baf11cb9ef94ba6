"""Where things are: process environment over .env over the usual places."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrouterd import data
from llmrouterd.settings import read_settings


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_policy_is_looked_for(tmp_path: Path) -> None:
    expected = Path("/etc/llmrouterd/router.yaml")
    assert read_settings({}).policy == (expected if expected.is_file() else data.DEFAULT_POLICY)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "router.yaml").write_text("{}")
    assert read_settings({}).policy == Path("config/router.yaml")
    assert read_settings({"ROUTER_CONFIG": "/x/y.yaml"}).policy == Path("/x/y.yaml")
    assert read_settings({"ROUTER_CONFIG": "/x/y.yaml"}, "z.yaml").policy == Path("z.yaml")


def test_the_file_env_is_below_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# words\nROUTER_PORT=12000\nexport ROUTER_HOST='127.0.0.2'\nROUTER_SIGNATURE=\nLOOSE\n"
    )
    settings = read_settings({"ROUTER_PORT": "13000"})
    assert settings.environ["ROUTER_PORT"] == "13000"
    assert settings.environ["ROUTER_HOST"] == "127.0.0.2"
    assert settings.environ["ROUTER_SIGNATURE"] == ""
    assert "LOOSE" not in settings.environ


def test_another_file_may_be_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ROUTER_PORT=12000\n")
    other = tmp_path / "other.env"
    other.write_text("ROUTER_PORT=14000\nROUTER_RULES=/r\n")
    settings = read_settings({"ROUTER_ENV_FILE": str(other)})
    assert settings.environ["ROUTER_PORT"] == "14000"
    assert settings.rules == Path("/r")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"ROUTER_STATE_DIR": "/a"}, "/a"),
        ({"ROUTER_STATE_DIR": "/a", "STATE_DIRECTORY": "/b"}, "/a"),
        ({"STATE_DIRECTORY": "/b:/c"}, "/b"),
        ({"XDG_STATE_HOME": "/d", "HOME": "/h"}, "/d/llmrouterd"),
        ({"HOME": "/h"}, "/h/.local/state/llmrouterd"),
    ],
)
def test_the_folder_of_the_state(environ: dict[str, str], expected: str) -> None:
    assert read_settings(environ).state == Path(expected)


def test_no_rules_folder_is_the_usual_search() -> None:
    assert read_settings({"ROUTER_RULES": ""}).rules is None
