"""Commands that need no daemon and no network: classify, decide, explain --offline."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from llmrouterd.catalog_file import CatalogFileError, read_catalog
from llmrouterd.chat import parse_request
from llmrouterd.classifier import classify
from llmrouterd.classifier.words import human_turns
from llmrouterd.config import load_policy
from llmrouterd.decision import decide, resolve
from llmrouterd.errors import ConfigError, RouterError
from llmrouterd.explanation import describe, describe_signals, explain_candidates, in_words
from llmrouterd.replay.why_not import describe_why_not, why_not
from llmrouterd.settings import read_settings
from llmrouterd.signals import RequestContext, context_named

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from llmrouterd.catalog import Catalog
    from llmrouterd.decision import Decision
    from llmrouterd.policy import Policy

EXIT_FAILED = 1
_MOST_HITS = 10


def classify_command(options: argparse.Namespace) -> int:
    """{"id", "prompt"} or {"id", "messages"} a line -> {"id", "category", ...} a line."""
    policy = _policy(options.policy)
    if policy is None:
        return EXIT_FAILED

    def work(item: dict[str, Any]) -> dict[str, Any]:
        if item.get("messages") is None and item.get("prompt") is None:
            raise ValueError("a prompt or messages are needed")
        messages = item.get("messages") or [{"role": "user", "content": item.get("prompt")}]
        chat = parse_request("chat", orjson.dumps({"messages": messages}), policy.validators)
        signals = classify(chat, policy, RequestContext(task=str(item.get("task") or "")))
        words = next(iter(human_turns(chat.messages, 1)), "")
        hits = policy.lexicons.match(words).hits[:_MOST_HITS]
        shown = [{"category": h.category, "entry": h.entry, "weight": h.weight} for h in hits]
        return {**describe_signals(signals), "hits": shown}

    return each_line(work)


def decide_command(options: argparse.Namespace) -> int:
    """A chat request a line -> its Decision a line. A line may carry an `id`, and the
    `client` and `task` that the headers would say."""
    made = _decider(options.policy, options.catalog)
    return EXIT_FAILED if made is None else each_line(made)


def explain_offline(text: str, options: argparse.Namespace) -> dict[str, Any] | None:
    """The Decision for one request; None after saying why there is none."""

    def render(decision: Decision, catalog: Catalog, policy: Policy) -> dict[str, Any]:
        described = explain_candidates(decision, catalog, policy)
        described["words"] = in_words(described)
        if options.why_not:
            model = catalog.find(options.why_not)
            if model is None:
                raise ValueError(f"the catalog has no model {options.why_not!r}")
            described["why_not"] = describe_why_not(why_not(decision, policy, model.id))
        return described

    made = _decider(options.policy, options.catalog, render)
    if made is None:
        return None
    try:
        request = orjson.loads(text)
        if not isinstance(request, dict):
            raise ValueError("the request must be a JSON object")
        return made(request)
    except (ValueError, RouterError) as error:
        print(error, file=sys.stderr)
        return None


def _plain(decision: Decision, catalog: Catalog, policy: Policy) -> dict[str, Any]:
    return describe(decision)


def _decider(
    policy_file: str | None,
    catalog_file: str,
    render: Callable[[Decision, Catalog, Policy], dict[str, Any]] = _plain,
) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
    policy = _policy(policy_file)
    if policy is None:
        return None
    try:
        catalog, load = read_catalog(catalog_file, policy)
    except CatalogFileError as error:
        print(error, file=sys.stderr)
        return None

    def work(item: dict[str, Any]) -> dict[str, Any]:
        chat = parse_request("chat", orjson.dumps(item), policy.validators)
        ask = resolve(chat.model, policy, catalog)
        context = replace(context_named(chat.raw), preset=ask.preset)
        signals = classify(chat, policy, context)
        return render(decide(signals, policy, catalog, load, ask), catalog, policy)

    return work


def _policy(path: str | None) -> Policy | None:
    try:
        return load_policy(read_settings(os.environ, path))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return None


def each_line(work: Callable[[dict[str, Any]], dict[str, Any]], label: str = "id") -> int:
    """Each input line's answer with its `label`, else its number; a line that fails gets an
    `error` and the exit status 1, and the others are answered all the same."""
    status = 0
    for number, line in enumerate(sys.stdin.buffer, start=1):
        if not line.strip():
            continue
        answer: dict[str, Any] = {label: number}
        try:
            item = orjson.loads(line)
            if not isinstance(item, dict):
                raise ValueError("a line must be a JSON object")
            answer[label] = item.get(label, number)
            answer |= work(item)
        except RouterError as error:
            answer |= error.envelope()
            status = EXIT_FAILED
        except ValueError as error:
            answer["error"] = {"message": f"line {number}: {error}"}
            status = EXIT_FAILED
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
        sys.stdout.buffer.flush()
    return status
