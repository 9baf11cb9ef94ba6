"""Catalog files: JSON with models, their capabilities, profiles and benchmark rows, and the live
state to assume. `llmrouterd catalog` writes them, `decide --catalog` reads them; docs/cli.md
describes every field."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from llmrouterd.assemble import Knowledge, group_rows, with_evidence
from llmrouterd.catalog import Catalog, Evidence, Finding, Model, Profile, build_catalog
from llmrouterd.evidence import BenchmarkRow
from llmrouterd.scorer import Load

if TYPE_CHECKING:
    from llmrouterd.evidence import Prior
    from llmrouterd.policy import Policy


class CatalogFileError(ValueError):
    """The file cannot be used; the message names the place."""


def read_catalog(path: str, policy: Policy, prior: Prior) -> tuple[Catalog, Load]:
    """The catalog and the live state of a file. A model without `evidence` gets it from the
    file's `benchmarks`, its own `quality` and the prior."""
    try:
        data = orjson.loads(Path(path).read_bytes())
    except OSError as error:
        raise CatalogFileError(f"{path}: cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise CatalogFileError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("models"), list):
        raise CatalogFileError(f"{path}: must be an object with a list `models`")
    rows = [
        _build(BenchmarkRow, item, f"{path}: benchmarks[{at}]")
        for at, item in enumerate(data.get("benchmarks") or ())
    ]
    knowledge = Knowledge(prior=prior, rows=group_rows(rows))
    models = []
    for at, item in enumerate(data["models"]):
        where = f"{path}: models[{at}]"
        if not isinstance(item, dict):
            raise CatalogFileError(f"{where}: must be an object")
        model = _model(item, where)
        if not model.evidence:
            quality = item.get("quality") or {}
            model = with_evidence(model, policy, knowledge, quality)
        models.append(model)
    live = data.get("load") or {}
    load = Load(
        resident=frozenset(
            live.get("resident") or (item["id"] for item in data["models"] if item.get("resident"))
        ),
        busy=live.get("busy") or {},
        cooling=live.get("cooling") or {},
        slots=live.get("slots") or {},
        sticky=live.get("sticky") or "",
    )
    return build_catalog(models), load


def _model(item: dict[str, Any], where: str) -> Model:
    id_ = item.get("id")
    if not isinstance(id_, str) or not id_:
        raise CatalogFileError(f"{where}: id is missing")
    backend, slash, name = id_.partition("/")
    known = {field.name for field in fields(Model)} | {"quality", "resident"}
    unknown = sorted(item.keys() - known)
    if unknown:
        raise CatalogFileError(f"{where}: unknown field {unknown[0]!r}")
    capabilities = item.get("capabilities")
    price = item.get("price")
    given = {
        **{key: value for key, value in item.items() if key not in ("quality", "resident")},
        "name": item.get("name") or (name if slash else id_),
        "backend": item.get("backend") or (backend if slash else ""),
        "aliases": tuple(item.get("aliases") or ()),
        "capabilities": None if capabilities is None else frozenset(capabilities),
        "price": None if price is None else (float(price[0]), float(price[1])),
        "profile": _build(Profile, item.get("profile") or {}, f"{where}.profile"),
        "evidence": {
            category: _evidence(found, f"{where}.evidence.{category}")
            for category, found in (item.get("evidence") or {}).items()
        },
    }
    return Model(**given)


def _evidence(item: Any, where: str) -> Evidence:
    try:
        sources = tuple(Finding(**source) for source in item.get("sources") or ())
        return Evidence(mean=float(item["mean"]), sd=float(item["sd"]), sources=sources)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CatalogFileError(f"{where}: {error}") from None


def _build(kind: type[Any], item: Any, where: str) -> Any:
    try:
        return kind(**item)
    except TypeError as error:
        raise CatalogFileError(f"{where}: {error}") from None
