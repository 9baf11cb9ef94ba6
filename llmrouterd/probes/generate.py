"""Kinds of probes, single probes and balanced batteries of them. The same seed, the same probes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmrouterd.probes import (
    arithmetic,
    chatting,
    coding,
    extraction,
    factual,
    logic,
    translation,
    writing,
)
from llmrouterd.probes.answers import folded, occurs
from llmrouterd.probes.checks import LEVELS, ChoiceCheck, DateCheck, Draft, NumberCheck, Probe
from llmrouterd.probes.numbers import find_numbers, plain
from llmrouterd.probes.seed import Source, mix

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ATTEMPTS = 2000
_RECALL = re.compile(r"recall(?:-(\d{2,6}))?")
CHARS_PER_TOKEN = 3.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A generator. tools: only for models that can call tools."""

    name: str
    category: str
    build: Callable[[Source, int], Draft | None]
    tools: bool = False


def _kind(category: str, build: Callable[[Source, int], Draft | None], tools: bool = False) -> Kind:
    return Kind(name=build.__name__, category=category, build=build, tools=tools)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        _kind("math", arithmetic.word_problem),
        _kind("math", arithmetic.rate_problem),
        _kind("math", arithmetic.number_theory),
        _kind("coding", coding.code_output),
        _kind("coding", coding.bug_line),
        _kind("coding", coding.regex_match),
        _kind("coding", coding.sql_result),
        _kind("reasoning", logic.ordering),
        _kind("reasoning", logic.knights),
        _kind("reasoning", logic.truth_table),
        _kind("reasoning", logic.calendar),
        _kind("reasoning", logic.sequence),
        _kind("factual", factual.capital),
        _kind("factual", factual.element),
        _kind("factual", factual.number_fact),
        _kind("factual", factual.author),
        _kind("extraction", extraction.record_json),
        _kind("extraction", extraction.entity_list),
        _kind("extraction", extraction.table_lookup),
        _kind("extraction", extraction.counting),
        _kind("extraction", extraction.tool_call, tools=True),
        _kind("summarization", writing.summary),
        _kind("summarization", writing.recall),
        _kind("rewriting", writing.rewrite),
        _kind("rewriting", writing.transform),
        _kind("translation", translation.number_from_words),
        _kind("translation", translation.number_to_words),
        _kind("translation", translation.dates),
        _kind("translation", translation.clock),
        _kind("chat", chatting.exact_reply),
        _kind("chat", chatting.reply_format),
        _kind("chat", chatting.dialogue),
    )
}
CATEGORIES = tuple(dict.fromkeys(kind.category for kind in KINDS.values()))


def generate(kind: str, level: int, seed: int) -> Probe:
    """The probe of this kind, level and seed. Kind 'recall-N' asks over about N tokens.

    Raises ValueError for a kind or level that does not exist.
    """
    recalled = _RECALL.fullmatch(kind)
    found = KINDS.get("recall" if recalled else kind)
    if found is None or level not in LEVELS:
        raise ValueError(f"no probe of kind {kind!r} at level {level}")
    tokens = int(recalled[1]) if recalled and recalled[1] else None
    for attempt in range(_ATTEMPTS):
        source = Source(mix(kind, level, seed, attempt))
        if tokens:
            draft: Draft | None = writing.recall(source, level, tokens)
        else:
            draft = found.build(source, level)
        if draft is not None and not _gives_away(draft):
            return _probe(draft, found, f"{kind}:{level}:{seed}", level)
    raise RuntimeError(f"no {kind} of level {level} in {_ATTEMPTS} attempts")


def from_id(probe_id: str) -> Probe:
    """The probe with this id. Raises ValueError."""
    kind, _, rest = probe_id.partition(":")
    level, _, seed = rest.partition(":")
    return generate(kind, int(level), int(seed))


def _probe(draft: Draft, kind: Kind, probe_id: str, level: int) -> Probe:
    messages = draft.prompt
    if isinstance(messages, str):
        messages = ({"role": "user", "content": messages},)
    return Probe(
        id=probe_id,
        category=kind.category,
        kind=kind.name,
        level=level,
        messages=messages,
        tools=draft.tools,
        max_tokens=draft.max_tokens,
        guess=draft.guess,
        check=draft.check,
        reference=draft.reference,
    )


def _gives_away(draft: Draft) -> bool:
    """Whether a prompt that should hide its answer holds it."""
    if not draft.hidden or not isinstance(draft.prompt, str):
        return False
    if isinstance(draft.check, NumberCheck):
        return draft.check.value in find_numbers(plain(draft.prompt))
    text = folded(draft.prompt)
    if isinstance(draft.check, ChoiceCheck):
        return any(occurs(folded(name), text) for name in draft.check.accepted)
    if isinstance(draft.check, DateCheck):
        return draft.check.day in draft.prompt
    return any(folded(way) in text for way in getattr(draft.check, "accepted", ()))


def battery(
    seed: int,
    per_category: int,
    levels: Sequence[int] = LEVELS,
    *,
    tools: bool = False,
    longest: int = 4000,
) -> tuple[Probe, ...]:
    """`per_category` probes in each category, spread evenly over its kinds and the levels.

    tools: with tool calls too. longest: the most tokens of a long text to recall from. Another
    seed asks other questions. Interrupted in the middle it is still balanced over categories.
    """
    made: list[Probe] = []
    for place in range(per_category):
        for category in CATEGORIES:
            kinds = [k for k in KINDS.values() if k.category == category and (tools or not k.tools)]
            turn = mix(seed, category)
            level = levels[(turn + place) % len(levels)]
            # Each round over the levels shifts the kinds by one, so that all pairs come up.
            kind = kinds[
                (turn // 7 + place + place // _common(len(kinds), len(levels))) % len(kinds)
            ]
            name = kind.name
            if name == "recall" and writing.RECALL_TOKENS[level - 1] > longest:
                name = f"recall-{max(longest, 150)}"
            made.append(generate(name, level, mix(seed, category, place) % 2**31))
    return tuple(made)


def _common(kinds: int, levels: int) -> int:
    """After how many probes the pairs of kind and level would come again."""
    product = kinds * levels
    while levels:
        kinds, levels = levels, kinds % levels
    return product // kinds


def expected_tokens(probes: Sequence[Probe]) -> tuple[int, int]:
    """About how many tokens a battery costs: (of prompts, of answers at most)."""
    prompts = 0
    for probe in probes:
        characters = len(probe.prompt) + sum(len(str(tool)) for tool in probe.tools)
        prompts += int(characters / CHARS_PER_TOKEN) + 8 * len(probe.messages)
    return prompts, sum(probe.max_tokens for probe in probes)
