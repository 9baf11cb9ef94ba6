"""models.dev: context, price, capabilities and release date of models, by maker and by provider.

`models.json` says what a model is, `api.json` what each provider serves and for how much. A model's
name is MAKER/MODEL or PROVIDER/MODEL; where both files have it, the price comes from the second and
the rest from the first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from llmrouterd.benchmarks.providers import tables
from llmrouterd.benchmarks.providers.base import (
    About,
    Fetched,
    Parsed,
    ProviderError,
    Resource,
    missing,
)
from llmrouterd.benchmarks.rows import PublishedFacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_NAME = "models_dev"
_EMBEDDING = ("embed", "bge-", "gte-")


class ModelsDev:
    """models.dev, as a Provider."""

    about = About(
        name=_NAME,
        title="models.dev",
        licence="MIT",
        attribution="models.dev (github.com/anomalyco/models.dev)",
        home="https://models.dev",
    )
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "models": ("models_dev_models*.csv*", "models_dev_models*.json*"),
        "providers": ("models_dev_provider*.csv*", "models_dev_api*.json*"),
    }

    def resources(self, fetched: Sequence[Fetched]) -> tuple[Resource, ...]:
        both = (
            Resource(key="models", url="https://models.dev/models.json", kind="json"),
            Resource(key="providers", url="https://models.dev/api.json", kind="json"),
        )
        return missing(both, fetched)

    def parse(self, fetched: Sequence[Fetched]) -> Parsed:
        facts: dict[str, PublishedFacts] = {}
        # `models` comes after `providers`, so that it has the last word but for the price.
        for one in sorted(fetched, key=lambda one: one.key, reverse=True):
            for found in _flat(one) if one.kind == "csv" else _nested(one):
                former = facts.get(found.model)
                facts[found.model] = found if former is None else _merge(former, found)
        return Parsed(
            facts=tuple(facts.values()),
            published=max((tables.date(one.name) or one.modified for one in fetched), default=""),
        )


def _merge(former: PublishedFacts, later: PublishedFacts) -> PublishedFacts:
    return replace(
        later,
        context=later.context or former.context,
        price=later.price or former.price,
        capabilities=later.capabilities or former.capabilities,
        released=later.released or former.released,
    )


def _flat(one: Fetched) -> Iterator[PublishedFacts]:
    """The tables: booleans as 0/1 or True/False, modalities joined by +."""
    table = tables.read(one)
    names = tables.columns(
        table,
        one.name,
        {
            "model": ("id", "model"),
            "context": ("context",),
            "tools": ("tool_call",),
            "thinking": ("reasoning",),
            "inputs": ("input_modalities",),
            "released": ("release_date",),
        },
        {
            "provider": ("provider",),
            "json": ("structured_output",),
            "input": ("cost_input",),
            "output": ("cost_output",),
            "status": ("status",),
        },
    )
    for row in table:
        model = tables.text(row, names["model"])
        if "provider" in names:
            model = f"{tables.text(row, names['provider'])}/{model}"
        if tables.text(row, names.get("status")) == "deprecated":
            continue
        flags = {name: tables.flag(row, names.get(name)) for name in ("tools", "thinking", "json")}
        inputs = tables.text(row, names["inputs"]).split("+")
        yield PublishedFacts(
            source=_NAME,
            model=model,
            context=tables.count(row, names["context"], model) or None,
            price=_price(row, names.get("input"), names.get("output"), model),
            capabilities=_capabilities(model, flags, inputs),
            released=tables.date(tables.text(row, names["released"])),
        )


def _nested(one: Fetched) -> Iterator[PublishedFacts]:
    document = tables.document(one)
    if not isinstance(document, dict) or not document:
        raise ProviderError(f"{one.name}: no object of {one.key}")
    if one.key == "models":
        for model, entry in document.items():
            yield from _entry(str(model), entry, one.name)
        return
    for provider, entry in document.items():
        models = entry.get("models") if isinstance(entry, dict) else None
        if not isinstance(models, dict):
            raise ProviderError(f"{one.name} {provider}: 'models' is missing")
        for model, found in models.items():
            yield from _entry(f"{provider}/{model}", found, one.name)


def _entry(model: str, entry: Any, name: str) -> Iterator[PublishedFacts]:
    limit = entry.get("limit") if isinstance(entry, dict) else None
    if not isinstance(limit, dict):
        raise ProviderError(f"{name} {model}: 'limit' is missing")
    modalities = entry.get("modalities")
    modalities = modalities if isinstance(modalities, dict) else {}
    outputs = modalities.get("output")
    if entry.get("status") == "deprecated" or (isinstance(outputs, list) and "text" not in outputs):
        return
    flags = {
        "tools": entry.get("tool_call") is True,
        "thinking": entry.get("reasoning") is True,
        "json": entry.get("structured_output") is True,
    }
    inputs = modalities.get("input")
    cost = entry.get("cost")
    yield PublishedFacts(
        source=_NAME,
        model=model,
        context=tables.count(limit, "context", model) or None,
        price=_price(cost, "input", "output", model) if isinstance(cost, dict) else None,
        capabilities=_capabilities(model, flags, inputs if isinstance(inputs, list) else []),
        released=tables.date(str(entry.get("release_date") or "")),
    )


def _price(
    row: Mapping[str, Any], input_: str | None, output: str | None, model: str
) -> tuple[float, float] | None:
    prices = tables.number(row, input_, model), tables.number(row, output, model)
    if prices[0] is None or prices[1] is None:
        return None
    return prices[0], prices[1]


def _capabilities(model: str, flags: Mapping[str, bool], inputs: Sequence[Any]) -> frozenset[str]:
    if any(part in model.lower() for part in _EMBEDDING):
        return frozenset({"embedding"})
    found = {"chat"} | {name for name, there in flags.items() if there}
    if "image" in inputs:
        found.add("vision")
    if "audio" in inputs:
        found.add("audio")
    return frozenset(found)
