"""How the fake Ollama reads keep_alive, and what it is set to when nothing is said."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fake_ollama import Limits
from tests.support.ollama_rules import FOREVER, Refused, parse_keep_alive


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (0, 0),
        ("0", 0),
        (30, 30),
        (-1, FOREVER),
        ("-1s", FOREVER),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        ("250ms", 0.25),
    ],
)
def test_keep_alive_is_read_as_go_reads_it(value: Any, seconds: float | None) -> None:
    assert parse_keep_alive(value) == seconds


@pytest.mark.parametrize("value", ["", "5 minutes", "10", "m", True, [1]])
def test_keep_alive_that_go_refuses(value: Any) -> None:
    with pytest.raises(Refused):
        parse_keep_alive(value)


def test_limits_are_ollamas_defaults() -> None:
    assert Limits() == Limits(max_loaded=3, num_parallel=1, max_queue=512, keep_alive=300.0)
