"""What reaches the log, in which form, and what never does."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from llmrouterd.log import Log
from llmrouterd.policy import Logging

SECRET = "sk-very-secret-0815"


@pytest.fixture(autouse=True)
def _root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def settings(level: str = "info", format_: str = "json") -> Logging:
    return Logging(level=level, format=format_, prompts=False)


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_json_lines(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log(settings())
    log("config.reloaded", {"digest": "abc", "changed": ["rules"], "odd": {1, 2} and (1, 2)})
    (line,) = lines(capfd)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "config.reloaded",
        "level": "info",
        "digest": "abc",
        "changed": ["rules"],
        "odd": [1, 2],
    }


@pytest.mark.parametrize(
    ("event", "level"),
    [
        ("catalog.changed", "info"),
        ("config.rejected", "warning"),
        ("backend.down", "warning"),
        ("store.degraded", "warning"),
        ("config.restart_needed", "warning"),
        ("request.crashed", "error"),
    ],
)
def test_the_level_follows_the_verb(
    event: str, level: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Log(settings())(event, {})
    assert lines(capfd)[0]["level"] == level


def test_the_level_filters_and_can_be_changed(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log(settings("warning"))
    log("catalog.changed", {})
    log("backend.down", {})
    log.configure(settings("info"), [])
    log("catalog.changed", {})
    log.configure(settings("error"), [])
    log("backend.down", {})
    log("request.crashed", {})
    assert [line["event"] for line in lines(capfd)] == [
        "backend.down",
        "catalog.changed",
        "request.crashed",
    ]


def test_secrets_are_starred_wherever_they_stand(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log(settings(), [SECRET, "", "abc"])
    log(
        "backend.down",
        {
            "error": f"401 for Bearer {SECRET}!",
            "nested": {"list": [f"x{SECRET}", 1]},
            "authorization": "Bearer other",
            "api_key": "whatever",
            "note": "abc is too short to be a secret",
        },
    )
    text = json.dumps(line := lines(capfd)[0])
    assert SECRET not in text
    assert "whatever" not in text
    assert "Bearer other" not in text
    assert line["error"] == "401 for Bearer ***!"
    assert line["nested"] == {"list": ["x***", 1]}
    assert line["note"].startswith("abc")


def test_the_console_form(capfd: pytest.CaptureFixture[str]) -> None:
    Log(settings(format_="console"), [SECRET])("backend.down", {"error": SECRET})
    text = capfd.readouterr().err
    assert "backend.down" in text
    assert SECRET not in text
    assert not text.startswith("{")


def test_libraries_are_heard(capfd: pytest.CaptureFixture[str]) -> None:
    Log(settings(), [SECRET])
    logging.getLogger("asyncio").error("Task exception with %s", SECRET)
    logging.getLogger("some.lib").warning("odd")
    logging.getLogger("some.lib").info("chatter")
    found = lines(capfd)
    assert [line["event"] for line in found] == ["library.failed", "library.degraded"]
    assert found[0]["detail"] == "Task exception with ***"
