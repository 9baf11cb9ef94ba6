"""`rules` and `scoring.presets` of the policy: names resolved, reachability checked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from llmrouterd.classifier.patterns import pattern_problem
from llmrouterd.policy import GENERAL, PRESETS, Globs, Require, Rule, Weights, When

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmrouterd.config.source import Path

    Report = Callable[[Path, str], None]

Data = dict[str, Any]
_SETS = ("category", "task", "needs", "client", "preset")
_MINIMA = ("min_complexity", "min_prompt_tokens")
_MAXIMA = ("max_complexity", "max_prompt_tokens")


def build_rules(filled: Data, report: Report) -> tuple[Rule, ...]:
    """The rules in order. Reports doubled names, unknown names, bad patterns, rules that can
    never match, and a missing catch-all."""
    rules: list[Rule] = []
    for at, item in enumerate(filled["rules"]):
        base: Path = ("rules", at)
        when = _when(item["when"])
        if any(rule.name == item["name"] for rule in rules):
            report((*base, "name"), f"another rule is named {item['name']!r}; names must differ")
        _check_names(item, base, filled, report)
        _check_text(item["when"]["text"], (*base, "when", "text"), report)
        hider = next((rule for rule in rules if covers(rule.when, when)), None)
        if hider is not None:
            message = f"never reached: rule {hider.name!r} above matches all that this one does"
            report(base, message)
        rules.append(_rule(item, when, filled))
    if not any(rule.when.empty for rule in rules):
        last = ("rules", len(rules) - 1)
        report(last, "the last rule must match everything: add one without `when` after it")
    return tuple(rules)


def check_model(name: str | None, path: Path, filled: Data, report: Report) -> None:
    """Report a model that no backend of the policy can serve, and that is no alias."""
    if not name:
        return
    aliases = {alias for item in filled["models"] for alias in item["aliases"]}
    if name in aliases:
        return
    backend_name, slash, model = name.partition("/")
    backend = next((b for b in filled["backends"] if b["name"] == backend_name), None)
    if not slash or backend is None:
        names = ", ".join(b["name"] for b in filled["backends"]) or "none is declared"
        report(
            path,
            f"unknown model {name!r}: write BACKEND/MODEL with one of the backends ({names}), "
            "or an alias from models",
        )
        return
    declared = [item["name"] for item in backend["models"]]
    if backend["type"] == "managed" and model not in declared:
        report(path, f"backend {backend_name!r} serves only {', '.join(declared)}")
    include, exclude = Globs(backend["include"]), Globs(backend["exclude"])
    if (include and not include.match(model)) or exclude.match(model):
        report(path, f"backend {backend_name!r} leaves {model!r} out by include or exclude")


def covers(general: When, special: When) -> bool:
    """Whether every request that `special` matches is matched by `general` too."""
    for name in _SETS:
        wide, narrow = getattr(general, name), getattr(special, name)
        if wide is None:
            continue
        if narrow is None:
            return False
        if not (wide <= narrow if name == "needs" else narrow <= wide):
            return False
    for name in _MINIMA:
        wide, narrow = getattr(general, name), getattr(special, name)
        if wide is not None and (narrow is None or narrow < wide):
            return False
    for name in _MAXIMA:
        wide, narrow = getattr(general, name), getattr(special, name)
        if wide is not None and (narrow is None or narrow > wide):
            return False
    return general.text is None or general.text == special.text


def _when(item: Data) -> When:
    given: Data = {name: item[name] for name in (*_MINIMA, *_MAXIMA, "text")}
    for name in _SETS:
        given[name] = None if item[name] is None else frozenset(item[name])
    return When(**given)


def _rule(item: Data, when: When, filled: Data) -> Rule:
    require = dict(item["require"])
    require["capabilities"] = frozenset(require["capabilities"])
    single = {name: value for name, value in item["weights"].items() if value is not None}
    presets = filled["scoring"]["presets"]
    return Rule(
        name=item["name"],
        when=when,
        use=item["use"],
        only=Globs(item["only"]),
        exclude=Globs(item["exclude"]),
        prefer=tuple((Globs((glob,)), points) for glob, points in item["prefer"].items()),
        require=Require(**require),
        category=item["category"],
        preset=item["preset"],
        weights={preset: Weights(**{**presets[preset], **single}) for preset in PRESETS},
    )


def _check_names(item: Data, base: Path, filled: Data, report: Report) -> None:
    categories = {*filled["categories"], GENERAL}
    clients = {client["name"] for client in filled["auth"]["clients"]}
    known = partial(_check_known, report)
    known(item["when"]["category"], categories, "category", (*base, "when", "category"))
    known(item["when"]["client"], clients, "client", (*base, "when", "client"))
    if item["category"] is not None and item["category"] not in categories:
        known([item["category"]], categories, "category", (*base, "category"))
    check_model(item["use"], (*base, "use"), filled, report)
    backends = {backend["name"] for backend in filled["backends"]}
    for key in ("only", "exclude", "prefer"):
        for at, glob in enumerate(item[key]):
            name, slash, _ = glob.partition("/")
            if slash and not set(name) & set("*?[") and name not in backends:
                place: Path = (*base, key, glob if key == "prefer" else at)
                report(place, f"unknown backend {name!r}; there are {', '.join(sorted(backends))}")


def _check_known(
    report: Report, names: list[str] | None, allowed: set[str], noun: str, path: Path
) -> None:
    for at, name in enumerate(names or ()):
        if name not in allowed:
            there = ", ".join(sorted(allowed)) or "none is declared"
            report((*path, at), f"unknown {noun} {name!r}; there are: {there}")


def _check_text(text: str | None, path: Path, report: Report) -> None:
    if text is None:
        return
    problem = pattern_problem(text)
    if problem is not None:
        report(path, problem)
