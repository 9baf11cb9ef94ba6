"""`reasoning_effort` by complexity: only where the policy, the model and the client allow it."""

from __future__ import annotations

from typing import Any

import pytest

from llmrouterd.effort import effort_of
from tests.support.faults import FaultServer
from tests.support.policies import model, policy, signals

ON = policy("reasoning: {by_complexity: true}").reasoning
THINKER = model("box/thinker", capabilities=frozenset({"chat", "thinking"}))
HARD = (
    "Design and analyze a distributed rate limiter architecture, compare consistency strategies, "
    "prove its correctness and evaluate critically every trade-off. " * 3
)


@pytest.mark.parametrize(
    ("complexity", "effort"),
    [
        (0.0, "low"),
        (0.34, "low"),
        (0.35, "medium"),
        (0.64, "medium"),
        (0.65, "high"),
        (1.0, "high"),
    ],
)
def test_thresholds(complexity: float, effort: str) -> None:
    assert effort_of(signals(complexity=complexity), THINKER, {}, ON) == effort


@pytest.mark.parametrize(
    "body",
    [
        {"reasoning_effort": "low"},
        {"reasoning": {"effort": "low"}},
        {"think": False},
        {"chat_template_kwargs": {"enable_thinking": False}},
    ],
)
def test_what_the_client_says_holds(body: dict[str, Any]) -> None:
    assert effort_of(signals(complexity=1.0), THINKER, body, ON) is None


def test_not_for_models_that_do_not_think_nor_tasks_nor_by_default() -> None:
    hard = signals(complexity=1.0)
    assert effort_of(hard, model("box/plain"), {}, ON) is None
    assert effort_of(hard, model("box/unknown", capabilities=None), {}, ON) is None
    assert effort_of(signals(complexity=1.0, task="title"), THINKER, {}, ON) is None
    assert effort_of(hard, THINKER, {}, policy().reasoning) is None


async def test_it_reaches_the_backend(scripted: Any) -> None:
    thinking = [{"match": "s/*", "capabilities": ["chat", "thinking"]}]
    daemon, server = await scripted("ok", models=thinking, reasoning={"by_complexity": True})
    assert isinstance(server, FaultServer)
    await daemon.chat("hi")
    await daemon.chat(HARD)
    sent = [request.get("reasoning_effort") for request in bodies(server)]
    assert sent == ["low", "high"]


def bodies(server: FaultServer) -> list[dict[str, Any]]:
    return [request.body for request in server.requests if request.path.endswith("completions")]
