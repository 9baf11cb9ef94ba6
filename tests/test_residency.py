"""What is loaded where."""

from __future__ import annotations

from llmrouterd.residency.loaded import Residency


def test_what_backends_report_is_believed() -> None:
    made = Residency()
    made.report("a", {"a/x": True, "a/y": False}, {"a/x": 2})
    made.report("b", {"b/z": True}, {"b/z": 4})
    assert made.resident == {"a/x", "b/z"}
    assert made.slots == {"a/x": 2, "b/z": 4}
    view = made.resident
    made.report("a", {"a/y": True}, {"a/y": 1})
    assert made.resident == {"a/y", "b/z"}
    assert made.slots == {"a/y": 1, "b/z": 4}
    assert view == {"a/x", "b/z"}  # who holds the old view keeps it


def test_a_model_that_has_just_answered_is_loaded() -> None:
    made = Residency()
    made.report("a", {"a/x": False, "a/y": False}, {})
    made.used("a/y")
    assert made.resident == {"a/y"}
    made.report("a", {"a/x": False, "a/y": False}, {})  # unloaded meanwhile
    assert made.resident == frozenset()


def test_a_backend_that_does_not_tell_holds_what_it_served_last() -> None:
    made = Residency()
    made.report("a", {"a/x": None, "a/y": None}, {})
    assert made.resident == frozenset()
    made.used("a/x")
    made.used("a/y")
    assert made.resident == {"a/y"}
    made.report("a", {"a/x": None, "a/y": None}, {})
    assert made.resident == {"a/y"}


def test_a_backend_whose_name_begins_like_another() -> None:
    made = Residency()
    made.report("a", {"a/x": True}, {"a/x": 1})
    made.report("ab", {"ab/x": True}, {"ab/x": 1})
    made.forget("a")
    assert made.resident == {"ab/x"}
    made.report("a", {}, {})
    assert made.slots == {"ab/x": 1}
