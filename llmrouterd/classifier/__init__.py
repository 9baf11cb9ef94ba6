"""ChatRequest + policy -> Signals: what kind of request this is, from the human's words only."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

import re2

from llmrouterd.classifier.category import MOST_TURNS, read_category
from llmrouterd.classifier.complexity import complexity
from llmrouterd.classifier.examples import blend, taught
from llmrouterd.classifier.form import form_of
from llmrouterd.classifier.words import detect_task, human_turns
from llmrouterd.signals import RequestContext, Signals

if TYPE_CHECKING:
    from llmrouterd.chat import ChatRequest, Message
    from llmrouterd.classifier.examples import Examples, Near
    from llmrouterd.policy import Policy

_MESSAGE_TOKENS = 4  # what chat templates add to each message
_IMAGE_TOKENS = 800
_SESSION_TEXT = 20_000


class TokenCount(Protocol):
    """Counts tokens of a text: the number, and whether it is exact rather than a bound."""

    def __call__(self, text: str) -> tuple[int, bool]: ...


def byte_bound(text: str) -> tuple[int, bool]:
    """An upper bound for ordinary text: two ASCII characters, or one other byte, a token."""
    size = len(text.encode("utf-8", "surrogatepass"))
    ascii_size = size if text.isascii() else sum(1 for char in text if char < "\x80")
    return (ascii_size + 1) // 2 + (size - ascii_size), False


def classify(
    chat: ChatRequest,
    policy: Policy,
    context: RequestContext,
    count: TokenCount = byte_bound,
    examples: Examples | None = None,
) -> Signals:
    """Read the signals of a request. Pure, linear in the request's size."""
    messages = chat.messages
    turns = human_turns(messages, MOST_TURNS)
    words = turns[0] if turns else ""
    task = detect_task(context.task, messages) if policy.tasks.detect else ""
    spoken = [] if task else turns  # a task's template says nothing of what the human wants
    category, by_category, abstain = read_category(spoken, policy)
    near = _near(examples, spoken, category, policy)
    if near is not None:
        category = near.category
        by_category, abstain = blend(by_category, abstain, near)
    form = form_of(spoken[0]) if spoken else ""
    tokens, exact = _tokens(messages, count)
    tool_tokens, tools_exact = (
        count(chat.tools_json.decode("utf-8", "replace")) if chat.tools_json else (0, True)
    )
    return Signals(
        kind=chat.kind,
        category=category,
        probabilities=by_category,
        abstain=abstain,
        form=form,
        complexity=complexity(spoken[0] if spoken else "", category, form, policy.complexity),
        needs=_needs(chat),
        prompt_tokens=tokens,
        tool_tokens=tool_tokens,
        exact_tokens=exact and tools_exact,
        max_tokens=chat.max_tokens if chat.max_tokens and chat.max_tokens > 0 else None,
        task=task,
        session=context.session or _session(messages),
        client=context.client,
        user=context.user,
        preset=context.preset,
        tool_loop=messages[-1].role in ("tool", "function"),
        texts=frozenset(
            rule.when.text
            for rule in policy.rules
            if rule.when.text is not None and re2.search(f"(?i){rule.when.text}", words)
        ),
        taught=0.0 if near is None else near.similarity,
    )


def _near(examples: Examples | None, turns: list[str], read: str, policy: Policy) -> Near | None:
    """The example that overrides what was read from the human's turns."""
    if examples is None or not turns:
        return None
    least = policy.classification.teach_similarity
    return taught(
        examples, turns[0], read, least, lambda text: read_category([text], policy).category
    )


def _needs(chat: ChatRequest) -> frozenset[str]:
    needs = set()
    if any(message.images for message in chat.messages):
        needs.add("vision")
    if any(message.audio for message in chat.messages):
        needs.add("audio")
    if chat.tool_required or any(
        message.tool_calls or message.role in ("tool", "function") for message in chat.messages
    ):
        needs.add("tools")
    if chat.json_output:
        needs.add("json")
    return frozenset(needs)


def _tokens(messages: tuple[Message, ...], count: TokenCount) -> tuple[int, bool]:
    total, all_exact = 3, True
    for message in messages:
        tokens, exact = count(message.text)
        total += tokens + _MESSAGE_TOKENS + _IMAGE_TOKENS * message.images
        all_exact = all_exact and exact
    return total, all_exact


def _session(messages: tuple[Message, ...]) -> str:
    """A conversation's key from its beginning: the system prompt and the first user message."""
    digest = blake2b(digest_size=10)
    for message in messages:
        if message.role in ("system", "developer", "user"):
            digest.update(message.text[:_SESSION_TEXT].encode("utf-8", "replace"))
            digest.update(b"\x00")
        if message.role == "user":
            break
    return digest.hexdigest()
