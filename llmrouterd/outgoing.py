"""What goes to a backend for a request: the body, and the place it takes in the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrouterd.backends.base import Call
from llmrouterd.effort import effort_of
from llmrouterd.residency.ticket import API, CHAT, PRIORITIES, TASK, Ticket
from llmrouterd.scorer import sends_tools
from llmrouterd.signature import strip_history

if TYPE_CHECKING:
    from llmrouterd.catalog import Model
    from llmrouterd.chat import ChatRequest
    from llmrouterd.policy import Policy
    from llmrouterd.signals import Signals

_TOOL_FIELDS = ("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call")


def ticket_for(
    chat: ChatRequest, signals: Signals, model: Model, policy: Policy, decision: str = ""
) -> Ticket:
    """A request's place in the queue. decision: its id."""
    client = "/".join(filter(None, (signals.client, signals.user)))
    priority = priority_of(chat, signals, policy)
    return Ticket(model=model.id, priority=priority, client=client, decision=decision)


def priority_of(chat: ChatRequest, signals: Signals, policy: Policy) -> int:
    """A request's priority, an index of PRIORITIES: somebody reads a stream as it comes, and
    none is better than its client's."""
    own = TASK if signals.task else CHAT if chat.stream else API
    return max(own, PRIORITIES.index(policy.auth.priority(signals.client)))


def call_for(
    chat: ChatRequest, model: Model, policy: Policy, signals: Signals | None = None
) -> Call:
    """What is sent: the client's body without our signatures, and without tools for a model that
    cannot call them (some servers refuse them, and they fill its context). A background task
    gets a limit where it has none: a small model may repeat itself until its context is full."""
    body, task = chat.raw, signals.task if signals else ""
    if chat.kind == "chat":
        needs = frozenset({"tools"}) if chat.tool_required else frozenset[str]()
        dropped = () if not chat.tools_json or sends_tools(model, needs) else _TOOL_FIELDS
        body = {key: value for key, value in body.items() if key not in dropped}
        body["messages"] = strip_history(body["messages"], quoted=bool(task))
        if task not in ("", "moa") and not (chat.max_tokens or model.remote):
            body["max_tokens"] = policy.tasks.max_tokens
        effort = effort_of(signals, model, body, policy.reasoning) if signals else None
        if effort:
            body["reasoning_effort"] = effort
    return Call(chat.kind, model.name, body, model.num_ctx, model.keep_alive)
