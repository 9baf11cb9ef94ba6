"""What a decision knows about a request. Holds no words of the human's, so it may be stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """What is known of a request besides its body; "" where it says nothing.

    `session` and `task` are the header values; `client` is the key's name, `user` who of its
    users asks.
    """

    client: str = ""
    user: str = ""
    preset: str = ""
    session: str = ""
    task: str = ""


def context_named(request: Mapping[str, Any]) -> RequestContext:
    """What a request that is explained names beside its chat: the `client` whose key it would come
    with, and the `task` that its header would say."""
    client, task = (str(request.get(name) or "") for name in ("client", "task"))
    return RequestContext(client=client, task=task)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """`probabilities` sum to 1 over the categories; `abstain` is the classifier's doubt (0 to 1).

    category: a category, or `general` where the classifier abstains. form: of
    `classifier.form.FORMS`, "" where there are no words. complexity: 0 to 1.
    needs: of vision, tools, json, audio. `prompt_tokens` counts the messages, `tool_tokens` the
    offered tools; `exact_tokens` is False where they are an upper bound. `task` is "" for a
    human's own message. `texts` are the rules' text patterns that matched. `tool_loop`: a
    tool's result is being handed back. `taught`: how like the words are to an example of the
    owner's that gave the category (0 to 1); 0 where none did.
    """

    kind: str = "chat"
    category: str
    probabilities: Mapping[str, float]
    form: str = ""
    abstain: float
    complexity: float
    needs: frozenset[str] = frozenset()
    prompt_tokens: int = 0
    tool_tokens: int = 0
    exact_tokens: bool = False
    max_tokens: int | None = None
    task: str = ""
    session: str = ""
    client: str = ""
    user: str = ""
    preset: str = ""
    tool_loop: bool = False
    texts: frozenset[str] = frozenset()
    taught: float = 0.0
