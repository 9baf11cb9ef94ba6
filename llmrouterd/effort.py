"""How much a thinking model is asked to think: the policy's thresholds on a prompt's complexity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.catalog import Model
    from llmrouterd.policy_reading import Reasoning
    from llmrouterd.signals import Signals

# What clients say of it themselves, in the forms of OpenAI, OpenRouter, Ollama and llama.cpp.
_SAID = ("reasoning_effort", "reasoning", "think", "thinking", "chat_template_kwargs")


def effort_of(
    signals: Signals, model: Model, body: Mapping[str, Any], reasoning: Reasoning
) -> str | None:
    """The `reasoning_effort` to add to a request, None where nothing is to be added: the policy
    does not want it, the model is not known to think, or the client said what it wants."""
    thinks = model.capabilities is not None and "thinking" in model.capabilities
    if not reasoning.by_complexity or not thinks or signals.task:
        return None
    if any(body.get(name) is not None for name in _SAID):
        return None
    if signals.complexity >= reasoning.high:
        return "high"
    return "medium" if signals.complexity >= reasoning.medium else "low"
