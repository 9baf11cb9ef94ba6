"""Catalog files: JSON with models, their capabilities, profiles and benchmark rows, and the live
state to assume. `llmrouterd catalog` writes them, `decide --catalog` reads them; docs/cli.md
describes every field."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from jsonschema import Draft202012Validator

from llmrouterd.assemble import Knowledge, with_evidence
from llmrouterd.benchmarks.rows import BenchmarkRow
from llmrouterd.catalog import (
    PROFILE_PARTS,
    Catalog,
    Evidence,
    Finding,
    Model,
    Profile,
    build_catalog,
    read_profile,
)
from llmrouterd.library import Library
from llmrouterd.scorer import STATES, Load, Standing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.policy import Policy


_NUMBER = {"type": ["number", "null"]}
_COUNT = {"type": ["integer", "null"], "minimum": 0}
_TEXT = {"type": ["string", "null"]}
_TEXTS = {"type": ["array", "null"], "items": {"type": "string"}}
_FLAG = {"type": "boolean"}
_PARTS = {"type": ["array", "null"], "items": {"type": "object"}}
_PROFILE_KINDS: dict[str, Any] = {
    **dict.fromkeys(("vram_bytes", "ram_bytes", "memory_context"), _COUNT),
    **{key: {"type": "integer"} for key in ("samples", "live_samples")},
    **{key: {"type": "string"} for key in ("measured_at", "live_at")},
    **dict.fromkeys(PROFILE_PARTS, _PARTS),
}
_ROW_KINDS: dict[str, Any] = {"value": {"type": "number"}, "low": _NUMBER, "high": _NUMBER}
_MODEL_KINDS: dict[str, Any] = {
    **dict.fromkeys(("pinned", "enabled", "remote", "fallback", "resident"), _FLAG),
    **dict.fromkeys(("aliases", "capabilities"), _TEXTS),
    **dict.fromkeys(("context", "num_ctx", "size_bytes", "vram"), _COUNT),
    "id": {"type": "string", "minLength": 1},
    "size_b": {"type": ["number", "null"], "exclusiveMinimum": 0},
    "price": {"type": ["array", "null"], "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
    "quality": {
        "type": ["object", "null"],
        "additionalProperties": {"type": "number", "minimum": 0.01, "maximum": 0.99},
    },
    "evidence": {
        "type": ["object", "null"],
        "additionalProperties": {
            "type": "object",
            "required": ["mean", "sd"],
            "properties": {"mean": {"type": "number"}, "sd": {"type": "number"}},
        },
    },
}


def _object(kind: type[Any], kinds: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """A schema with the fields of a dataclass, and those of `kinds` besides them."""
    names = {field.name for field in fields(kind)} | kinds.keys()
    other = _NUMBER if kind is Profile else _TEXT
    return {
        "type": ["object", "null"] if kind is Profile else "object",
        "required": required,
        "additionalProperties": False,
        "properties": {name: kinds.get(name, other) for name in sorted(names)},
    }


_MODEL_KINDS["profile"] = _object(Profile, _PROFILE_KINDS, [])
_MAPPING = {"type": ["object", "null"]}
_SCHEMA = {
    "type": "object",
    "required": ["models"],
    "properties": {
        "models": {"type": "array", "items": _object(Model, _MODEL_KINDS, ["id"])},
        "benchmarks": {
            "type": ["array", "null"],
            "items": _object(BenchmarkRow, _ROW_KINDS, ["model", "board", "value"]),
        },
        "load": {
            "type": ["object", "null"],
            "additionalProperties": False,
            "properties": {
                "resident": _TEXTS,
                "busy": {**_MAPPING, "additionalProperties": {"type": "integer"}},
                "cooling": {**_MAPPING, "additionalProperties": {"type": "string"}},
                "suspect": {**_MAPPING, "additionalProperties": {"type": "string"}},
                "spent": {**_MAPPING, "additionalProperties": {"type": "string"}},
                "slots": {**_MAPPING, "additionalProperties": {"type": "integer", "minimum": 1}},
                "sticky": _TEXT,
                "standing": {
                    **_MAPPING,
                    "additionalProperties": {
                        "type": "object",
                        "required": ["state"],
                        "additionalProperties": False,
                        "properties": {
                            "state": {"enum": list(STATES)},
                            "wait": {"type": "number", "minimum": 0},
                            "evicts": {"type": "array", "items": {"type": "string"}},
                            "cost": {"type": "number", "minimum": 0},
                            "reason": {"type": "string"},
                        },
                    },
                },
            },
        },
    },
}


class CatalogFileError(ValueError):
    """The file cannot be used; the message names the place."""


def read_catalog(path: str, policy: Policy) -> tuple[Catalog, Load]:
    """The catalog and the live state of a file. A model without `evidence` gets it from the
    file's `benchmarks`, its own `quality` and the prior."""
    try:
        data = orjson.loads(Path(path).read_bytes())
    except OSError as error:
        raise CatalogFileError(f"{path}: cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise CatalogFileError(f"{path}: not valid JSON: {error}") from None
    for problem in Draft202012Validator(_SCHEMA).iter_errors(data):
        raise CatalogFileError(f"{path}: {problem.json_path}: {problem.message[:300]}")
    rows = [BenchmarkRow(**item) for item in data.get("benchmarks") or ()]
    knowledge = Knowledge(library=Library(rows))
    models = []
    for at, item in enumerate(data["models"]):
        model = _model(item, f"{path}: $.models[{at}]")
        if not model.evidence:
            model = with_evidence(model, policy, knowledge, item.get("quality") or {})
        models.append(model)
    live = data.get("load") or {}
    resident = [item["id"] for item in data["models"] if item.get("resident")]
    load = read_load({**live, "resident": live.get("resident") or resident})
    return build_catalog(models), load


def read_load(live: Mapping[str, Any]) -> Load:
    """The live state as a catalog file and a stored decision have it."""
    return Load(
        resident=frozenset(live.get("resident") or ()),
        busy=live.get("busy") or {},
        cooling=live.get("cooling") or {},
        suspect=live.get("suspect") or {},
        spent=live.get("spent") or {},
        slots=live.get("slots") or {},
        sticky=live.get("sticky") or "",
        standing={
            name: Standing(**{**item, "evicts": tuple(item.get("evicts", ()))})
            for name, item in (live.get("standing") or {}).items()
        },
    )


def _model(item: dict[str, Any], where: str) -> Model:
    backend, slash, name = item["id"].partition("/")
    capabilities = item.get("capabilities")
    price = item.get("price")
    given = {
        **{key: value for key, value in item.items() if key not in ("quality", "resident")},
        "name": item.get("name") or (name if slash else item["id"]),
        "backend": item.get("backend") or (backend if slash else ""),
        "aliases": tuple(item.get("aliases") or ()),
        "capabilities": None if capabilities is None else frozenset(capabilities),
        "price": None if price is None else (float(price[0]), float(price[1])),
        "profile": _profile(item.get("profile") or {}, f"{where}.profile"),
        "evidence": {
            category: _evidence(found, f"{where}.evidence.{category}")
            for category, found in (item.get("evidence") or {}).items()
        },
    }
    return Model(**given)


def _profile(item: dict[str, Any], where: str) -> Profile:
    try:
        return read_profile(item)
    except TypeError as error:
        raise CatalogFileError(f"{where}: {error}") from None


def _evidence(item: Any, where: str) -> Evidence:
    try:
        sources = tuple(Finding(**source) for source in item.get("sources") or ())
    except TypeError as error:
        raise CatalogFileError(f"{where}: {error}") from None
    return Evidence(mean=item["mean"], sd=item["sd"], sources=sources)
