"""Runs the policy's own tests: each case against what would be decided, and what to do about it
in words. Pure; the cases are in `policy_cases`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmrouterd.chat import parse_request
from llmrouterd.classifier import classify
from llmrouterd.decision import Ask, decide, matches
from llmrouterd.errors import RouterError
from llmrouterd.scorer import Load
from llmrouterd.signals import RequestContext

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmrouterd.catalog import Catalog
    from llmrouterd.policy import Policy
    from llmrouterd.policy_cases import Case
    from llmrouterd.problems import Problem
    from llmrouterd.signals import Signals

_SHOWN_MODELS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """One expectation that does not hold, or, in `Result.skipped`, cannot be looked at."""

    what: str
    expected: str
    got: str
    remedy: str

    def __str__(self) -> str:
        return f"expected {self.what} {self.expected}, got {self.got}; {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one case: it passed where both lists are empty."""

    case: Case
    missed: tuple[Miss, ...] = ()
    skipped: tuple[Miss, ...] = ()

    @property
    def place(self) -> str:
        """Such as `tests.cases[3]`; in a file of its own `cases.yaml[3]`."""
        at = self.case.at
        name = at.file.rpartition("/")[2] if at.path.startswith("$[") else ""
        return name + at.path.removeprefix("$").removeprefix(".")

    @property
    def status(self) -> str:
        """failed | skipped | passed. What is skipped says nothing against the policy."""
        return "failed" if self.missed else "skipped" if self.skipped else "passed"


def run_tests(
    policy: Policy, catalog: Catalog | None = None, load: Load | None = None
) -> tuple[Result, ...]:
    """All cases in order. Without models in the catalog, what is expected of them is skipped."""
    live = load or Load()
    return tuple(_run(case, policy, catalog, live) for case in policy.tests.cases)


def problems_of(results: Iterable[Result]) -> tuple[Problem, ...]:
    """The failures as problems of the policy, at the places of their cases."""
    return tuple(
        replace(result.case.at, message=_words(result, miss))
        for result in results
        for miss in result.missed
    )


def describe_result(result: Result) -> dict[str, Any]:
    """A result with plain JSON values."""
    at = result.case.at
    return {
        "place": result.place,
        "name": result.case.name,
        "status": result.status,
        "file": at.file,
        "line": at.line,
        "missed": [_described(miss) for miss in result.missed],
        "skipped": [_described(miss) for miss in result.skipped],
    }


def count_results(results: Iterable[Result]) -> dict[str, int]:
    """How many passed, failed and were skipped."""
    found = dict.fromkeys(("passed", "failed", "skipped"), 0)
    for result in results:
        found[result.status] += 1
    return found


def _described(miss: Miss) -> dict[str, str]:
    return {
        "what": miss.what,
        "expected": miss.expected,
        "got": miss.got,
        "remedy": miss.remedy,
        "text": str(miss),
    }


def _words(result: Result, miss: Miss) -> str:
    name = f"test {result.case.name!r}: " if result.case.name else ""
    return f"{name}{miss}"


def _run(case: Case, policy: Policy, catalog: Catalog | None, load: Load) -> Result:
    context = RequestContext(client=case.client, preset=case.preset, task=case.task)
    try:
        chat = parse_request("chat", case.body, policy.validators)
    except RouterError as error:
        remedy = f"correct {error.param or 'the request'}"
        return Result(case=case, missed=(_miss("request", "a valid one", error.message, remedy),))
    signals = classify(chat, policy, context)
    missed = _signal_misses(case, signals, policy)
    skipped: tuple[Miss, ...] = ()
    if case.expected.models:
        miss = _model_miss(case, signals, policy, (catalog, load))
        if miss is not None and catalog is not None and catalog.models:
            missed.append(miss)
        elif miss is not None:
            skipped = (miss,)
    return Result(case=case, missed=tuple(missed), skipped=skipped)


def _miss(what: str, expected: str, got: str, remedy: str) -> Miss:
    return Miss(what=what, expected=expected, got=got, remedy=remedy)


def _signal_misses(case: Case, signals: Signals, policy: Policy) -> list[Miss]:
    expected = case.expected
    missed = []
    if expected.task is not None and signals.task != expected.task:
        remedy = "set the case's `task` if a client's header says so" + (
            "" if policy.tasks.detect else "; tasks.detect is off"
        )
        missed.append(_miss("task", expected.task or "none", signals.task or "none", remedy))
    if expected.category is not None and signals.category not in expected.category:
        missed.append(_category_miss(expected.category, signals, policy))
    low, high, found = expected.min_complexity, expected.max_complexity, signals.complexity
    if low is not None and found < low:
        missed.append(_miss("complexity", f"of at least {low:g}", f"{found:.2f}", _COMPLEXITY))
    if high is not None and found > high:
        missed.append(_miss("complexity", f"of at most {high:g}", f"{found:.2f}", _COMPLEXITY))
    rule = next(rule for rule in policy.rules if matches(rule.when, signals))
    if expected.rule is not None and rule.name not in expected.rule:
        remedy = f"category {signals.category}, complexity {found:.2f}" + (
            f", task {signals.task}" if signals.task else ""
        )
        remedy = f"the first rule whose `when` fits {remedy} is taken"
        missed.append(_miss("rule", _either(expected.rule), rule.name, remedy))
    return missed


_COMPLEXITY = "see the weights under `complexity`"


def _category_miss(wanted: tuple[str, ...], signals: Signals, policy: Policy) -> Miss:
    best = sorted(signals.probabilities.items(), key=lambda item: (-item[1], item[0]))[:2]
    chances = [f"{name} {chance:.0%}" for name, chance in best]
    got = f"{signals.category} ({', '.join([*chances, f'doubt {signals.abstain:.0%}'])})"
    category = policy.categories.get(wanted[0])
    lexicon = category.lexicon if category and category.lexicon else ""
    remedy = (
        f"add a phrase of it to {lexicon}, or see `llmrouterd classify` for what was found"
        if lexicon
        else "see `llmrouterd classify` for what was found"
    )
    return _miss("category", _either(wanted), got, remedy)


def _model_miss(
    case: Case, signals: Signals, policy: Policy, world: tuple[Catalog | None, Load]
) -> Miss | None:
    catalog, load = world
    globs = case.expected.models
    wanted = _either(globs.texts)
    if catalog is None or not catalog.models:
        remedy = "no models are known here; give a catalog, or let the daemon run it"
        return _miss("a model like", wanted, "none", remedy)
    try:
        decision = decide(signals, policy, catalog, load, Ask(case.preset, None))
    except RouterError as error:
        return _miss("a model like", wanted, "none", error.message)
    chosen = decision.ranked[0].model
    if globs.match(chosen):
        return None
    ranking = ", ".join(
        f"{candidate.model} {candidate.total:.1f}" for candidate in decision.ranked[:_SHOWN_MODELS]
    )
    remedy = f"rule {decision.rule!r}, preset {decision.preset}, ranked {ranking}"
    return _miss("a model like", wanted, chosen, remedy)


def _either(names: tuple[str, ...]) -> str:
    return " or ".join(names)
