"""Did the answer pass? Pure and bounded; nothing that a model wrote is ever run."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from llmrouterd.probes import answers
from llmrouterd.probes.answers import folded, occurs
from llmrouterd.probes.checks import (
    CallCheck,
    ChoiceCheck,
    DateCheck,
    JsonCheck,
    ListCheck,
    NumberCheck,
    PhraseCheck,
    Probe,
    RuleCheck,
    Verdict,
)
from llmrouterd.probes.jsons import NoJson, find_json, same
from llmrouterd.probes.numbers import HUGE, find_number_words, find_numbers, plain, show
from llmrouterd.probes.rules import broken, text_of
from llmrouterd.probes.times import find_dates, find_times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from fractions import Fraction

_MOST_CALLS = 16
# A final sentence with more numbers is no answer, it goes round in circles.
_MOST_NUMBERS = 12
_BRACKETED = re.compile(r"[(\[][^()\[\]\n]{0,200}[)\]]")
_NEGATED = re.compile(r"\b(?:not|never|isn't|aren't|wasn't|no|neither|nor|than|unlike)\b[^.;]*$")
_EITHER = re.compile(r"\b(?:or|either|oder|ou|entweder)\b|(?<=\w)\s?/\s?(?=[^\W\d])")
_LEADS = re.compile(
    r"(?:^|\s)(?:is|are|means|says|gives|prints|ist|heisst|bedeutet|est|signifie|es|significa|e|"
    r"be|would be|written|as|son|sont|sind)$"
)
_QUOTES = "\"'“”‘’„«»「」"


def verify(probe: Probe, answer: str, tool_calls: Sequence[Any] = ()) -> Verdict:
    """Hold an answer against its probe. `tool_calls`: in OpenAI's shape, as parsed from JSON."""
    if isinstance(probe.check, CallCheck):
        return _calls(probe.check, tool_calls)
    if tool_calls:
        return _no("a tool call where none was offered")
    if len(answer) > answers.MOST_CHARACTERS:
        return _no("the answer is too long")
    shown = answers.visible(answer)
    if len(shown) > answers.MOST_VISIBLE:
        return _no("the answer is too long")
    if not shown:
        return _no("the answer is empty")
    check = probe.check
    asked = tuple(str(m["content"]) for m in probe.messages if m["role"] != "assistant")
    shown = answers.without_echo(shown, asked)
    if not shown:
        return _no("the answer is the question")
    if isinstance(check, RuleCheck):
        return _rules(check, shown)
    if isinstance(check, JsonCheck):
        return _json(check, shown)
    if isinstance(check, PhraseCheck) and check.literal:
        return _literal(check, shown)
    text = answers.bare(answers.unfenced(shown))
    if isinstance(check, NumberCheck):
        return _number(check, text, plain(probe.prompt))
    if isinstance(check, ChoiceCheck):
        return _choice(check, text)
    if isinstance(check, ListCheck):
        return _list(check, text)
    if isinstance(check, PhraseCheck):
        return _phrase(check, text)
    if isinstance(check, DateCheck):
        return _found(check.day, text, lambda part: [str(day) for day in find_dates(part)])
    return _found(check.time, text, find_times)


def _yes(reason: str = "right") -> Verdict:
    return Verdict(passed=True, reason=reason)


def _no(reason: str) -> Verdict:
    return Verdict(passed=False, reason=reason[:200])


def _number(check: NumberCheck, text: str, prompt: str) -> Verdict:
    parts, marked = answers.finals(text)
    given = set(find_numbers(prompt)) - {check.value}
    for part in parts:
        found = _values(part, given, marked)
        if len(found) != 1:
            return _no(f"{len(found)} final numbers in {part[:60]!r}")
        if found != {check.value}:
            return _no(f"{_show(found)}, not {_show([check.value])}")
    if not parts:
        return _no("no number")
    if not marked and not answers.concludes(parts[0]):
        others = set(find_numbers(text)) - given - {check.value}
        if others:
            return _no("several numbers and none is marked as the answer")
    rest = answers.revision(text)
    if rest and set(find_numbers(rest)) - given - {check.value}:
        return _no("the answer is taken back")
    return _yes()


def _values(part: str, given: set[Fraction], marked: bool) -> set[Fraction]:
    """The numbers that a final piece gives as its result."""
    result = _result(part)
    found = find_numbers(result) or find_number_words(result)
    if len(found) > _MOST_NUMBERS or _EITHER.search(result.casefold()):
        return {*found, HUGE}
    if marked and len(set(found)) > 1:
        # 'Answer: 12 apples, because 5 + 7': what the question gave explains the first.
        return {found[0]} | {value for value in found[1:] if value not in given}
    return set(found) - given if len(set(found)) > 1 else set(found)


def _result(part: str) -> str:
    """The result side of an equation, without remarks in brackets."""
    after = part.rpartition("=")[2]
    shown = after if any(char.isdigit() for char in after) else part
    without = _BRACKETED.sub(" ", shown)
    return without if any(char.isalnum() for char in without) else shown


def _show(values: Iterable[Fraction]) -> str:
    """Numbers for a reason; those without a short form as fractions."""
    shown = []
    for value in sorted(values):
        try:
            shown.append(show(value))
        except ValueError:
            shown.append(str(value)[:40])
    return ", ".join(shown)


def _named(names: Iterable[str], flat: str) -> list[str]:
    """Those of the names that a `folded` text asserts: they occur, and not after a 'not'."""
    found = []
    for name in names:
        for place in occurs(folded(name), flat):
            if not _NEGATED.search(flat[max(0, place - 30) : place]):
                found.append(name)
                break
    return found


def _choice(check: ChoiceCheck, text: str) -> Verdict:
    parts, _ = answers.finals(text)
    wanted = {folded(name) for name in check.accepted}
    for part in parts:
        flat = folded(_without_brackets(part))
        others = [name for name in _named(check.others, flat) if folded(name) not in wanted]
        # A longer right name may hold a wrong one: 'New Delhi' and 'Delhi'.
        others = [n for n in others if not any(folded(n) in folded(a) for a in check.accepted)]
        if others:
            return _no(f"it names {others[0]}")
        if not _named(check.accepted, flat):
            return _no(f"not {check.accepted[0]}")
        if _EITHER.search(part.casefold()):
            return _no("it names alternatives")
    return _yes() if parts else _no("no answer")


def _without_brackets(part: str) -> str:
    cut = _BRACKETED.sub(" ", part)
    return cut if any(char.isalnum() for char in cut) else part


def _list(check: ListCheck, text: str) -> Verdict:
    parts, _ = answers.finals(text)
    for part in parts:
        flat = folded(_without_brackets(part))
        places = {name: occurs(folded(name), flat) for name in check.universe}
        named = set(_named(check.universe, flat))
        found = sorted((name for name in named), key=lambda name: places[name][0])
        if check.ordered and any(len(places[name]) > 1 for name in found):
            return _no("an item twice")
        right = tuple(found) == check.items if check.ordered else set(found) == set(check.items)
        if not right:
            return _no(f"{', '.join(found)[:80]}, not {', '.join(check.items)}")
        if _EITHER.search(part.casefold()):
            return _no("it names alternatives")
    return _yes() if parts else _no("no answer")


def _squeezed(text: str) -> str:
    """Letters and digits alone, without case and accents."""
    return "".join(char for char in folded(text.replace("ß", "ss")) if char.isalnum())


def _phrase(check: PhraseCheck, text: str) -> Verdict:
    parts, marked = answers.finals(text)
    if not marked and parts:
        # Not the last sentence alone: the dot of '15. September' ends none.
        parts = [text.rstrip().rpartition("\n")[2]]
    wanted = {_squeezed(phrase) for phrase in check.accepted}
    for part in parts:
        if not any(_squeezed(piece) in wanted for piece in _readings(part)):
            return _no(f"{part[:60]!r}, not {check.accepted[0]!r}")
    return _yes() if parts else _no("no answer")


def _readings(part: str) -> list[str]:
    """What of a final piece may be the answer: all, what is quoted, what follows 'is' or ':'."""
    whole = _without_brackets(part)
    readings = [part, whole, whole.rpartition(":")[2], whole.rpartition("=")[2]]
    quoted = re.findall(rf"[{_QUOTES}]([^{_QUOTES}\n]{{1,200}})[{_QUOTES}]", part)
    if quoted and (len(set(quoted)) == 1 or part.rstrip(" .")[-1] in _QUOTES):
        readings.append(quoted[-1])
    words = whole.split()
    for place in range(len(words) - 1, max(0, len(words) - 16), -1):
        if _LEADS.search(folded(" ".join(words[max(0, place - 2) : place]))):
            readings.append(" ".join(words[place:]))
            break
    return readings


def _literal(check: PhraseCheck, shown: str) -> Verdict:
    """What a program prints: spaces and the kind of quotes are free, all else counts."""
    text = answers.bare(shown)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    parts, marked = answers.finals(text)
    if not marked:
        parts = [lines[-1]] if lines else []
    wanted = {_printed(phrase) for phrase in check.accepted}
    for part in parts:
        given = {_printed(part), _printed(part.rstrip("."))}
        tail = part.rstrip(".").rpartition(" is ")[2] if not marked else part
        if not wanted & (given | {_printed(tail), _printed(part.rpartition(": ")[2])}):
            return _no(f"{part[:60]!r}, not {check.accepted[0]!r}")
    return _yes() if parts else _no("no answer")


def _printed(text: str) -> str:
    return re.sub(r"[\s\"'`]", "", plain(text))


def _found(wanted: str, text: str, find: Callable[[str], list[str]]) -> Verdict:
    parts, _ = answers.finals(text)
    for part in parts:
        found = set(find(_without_brackets(part)) or find(part))
        if len(found) != 1:
            return _no(f"{len(found)} readings in {part[:60]!r}")
        if found != {wanted}:
            return _no(f"{found.pop()}, not {wanted}")
    return _yes() if parts else _no("no answer")


def _json(check: JsonCheck, shown: str) -> Verdict:
    try:
        given = find_json(answers.unfenced(shown))
    except NoJson as error:
        return _no(str(error))
    wanted = json.loads(check.value)
    if isinstance(wanted, list) and isinstance(given, dict) and len(given) == 1:
        given = next(iter(given.values()))
    right = same(wanted, given, unordered=check.unordered)
    return _yes() if right else _no("other values")


def _rules(check: RuleCheck, shown: str) -> Verdict:
    text = text_of(answers.unfenced(shown))
    if not text:
        return _no("the answer is empty")
    for rule in check.rules:
        if problem := broken(rule, text):
            return _no(f"{rule.kind}: {problem}")
    return _yes()


def _calls(check: CallCheck, tool_calls: Sequence[Any]) -> Verdict:
    if not tool_calls:
        return _no("no tool call")
    if len(tool_calls) > _MOST_CALLS or len(tool_calls) != len(check.calls):
        return _no(f"{len(tool_calls)} tool calls, not {len(check.calls)}")
    left = [(name, json.loads(arguments)) for name, arguments in check.calls]
    for call in tool_calls:
        name, arguments = _call(call)
        match = next(
            (w for w in left if w[0] == name and same(w[1], arguments, unordered=False)), None
        )
        if match is None:
            return _no(f"an unwanted call of {str(name)[:40]!r}, or with other arguments")
        left.remove(match)
    return _yes()


def _call(call: Any) -> tuple[Any, Any]:
    """Name and arguments of one call, from OpenAI's shape or its inner part; None if broken."""
    inner = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(inner, dict):
        return None, None
    arguments = inner.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = find_json(arguments)
        except NoJson:
            return inner.get("name"), None
    return inner.get("name"), arguments
