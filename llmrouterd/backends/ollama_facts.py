"""What Ollama says of its models: the answers of `/api/tags`, `/api/show` and `/api/ps`.

Versions differ in which fields they send. A field that is missing or of another type is None
(or empty); only an answer that is no answer of that kind at all raises ValueError.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmrouterd.footprint import Cache, cache_of

_SCALE = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_SIZE = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([KMBT]?)\s*", re.IGNORECASE | re.ASCII)
_NUM_CTX = re.compile(r"^\s*num_ctx\s+\"?(\d{1,12})\"?\s*$", re.MULTILINE | re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedModel:
    """A model on disk. `size` is in bytes; `parameter_count` is rounded as Ollama's text is.

    `capabilities` is empty where the version does not list them; `show` does.
    """

    name: str
    digest: str | None = None
    size: int | None = None
    modified_at: str | None = None
    family: str | None = None
    parameter_count: int | None = None
    quantization: str | None = None
    context_length: int | None = None
    embedding_length: int | None = None
    capabilities: frozenset[str] = frozenset()
    remote_host: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownModel:
    """A model's metadata. Lengths are in tokens, `embedding_length` in numbers a vector.

    `trained_context` is the model's own limit, `num_ctx` the one its Modelfile sets, and
    `context_length` the smaller of those known. `capabilities` are of completion, tools, insert,
    vision, embedding, thinking and whatever newer versions add.
    """

    family: str | None = None
    architecture: str | None = None
    base_model: str | None = None
    parameter_count: int | None = None
    quantization: str | None = None
    trained_context: int | None = None
    num_ctx: int | None = None
    context_length: int | None = None
    embedding_length: int | None = None
    capabilities: frozenset[str] = frozenset()
    modified_at: str | None = None
    cache: Cache | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningModel:
    """A loaded model. `size` and `size_vram` are Ollama's estimates in bytes; `context_length`
    is what it was loaded with; `expires_at` is a time in RFC 3339."""

    name: str
    digest: str | None = None
    size: int | None = None
    size_vram: int | None = None
    context_length: int | None = None
    expires_at: str | None = None


def parse_tags(body: object) -> tuple[TaggedModel, ...]:
    """The models of a parsed `/api/tags` answer; entries without a name are left out."""
    return tuple(_tagged(name, entry) for name, entry in _entries(body, "/api/tags"))


def parse_ps(body: object) -> tuple[RunningModel, ...]:
    """The loaded models of a parsed `/api/ps` answer; entries without a name are left out."""
    return tuple(
        RunningModel(
            name=name,
            digest=_text(entry.get("digest")),
            size=_count(entry.get("size")),
            # Absent means 0 here: Ollama leaves it out for a model that is all on the CPU.
            size_vram=_count(entry.get("size_vram", 0)),
            context_length=_count(entry.get("context_length")) or None,
            expires_at=_text(entry.get("expires_at")),
        )
        for name, entry in _entries(body, "/api/ps")
    )


def parse_show(body: object) -> ShownModel:
    """The metadata of a parsed `/api/show` answer."""
    if not isinstance(body, Mapping):
        raise ValueError("Ollama's /api/show answer is not an object")
    details = _object(body.get("details"))
    info = _object(body.get("model_info"))
    architecture = _text(info.get("general.architecture"))
    trained = _architecture_count(info, architecture, "context_length")
    set_by_file = _num_ctx(body.get("parameters"))
    limits = [limit for limit in (trained, set_by_file) if limit]
    return ShownModel(
        family=_text(details.get("family")) or architecture,
        architecture=architecture,
        base_model=_text(info.get("general.base_model.0.repo_url")),
        parameter_count=_count(info.get("general.parameter_count"))
        or parse_size(details.get("parameter_size")),
        quantization=_text(details.get("quantization_level")),
        trained_context=trained,
        cache=cache_of(info),
        num_ctx=set_by_file,
        context_length=min(limits, default=None),
        embedding_length=_architecture_count(info, architecture, "embedding_length"),
        capabilities=_names(body.get("capabilities")),
        modified_at=_text(body.get("modified_at")),
    )


def parse_size(text: object) -> int | None:
    """A number of parameters as Ollama writes it ("8.0B", "137M"), or None."""
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    return round(float(match[1]) * _SCALE[match[2].upper()]) or None


def _tagged(name: str, entry: Mapping[str, Any]) -> TaggedModel:
    details = _object(entry.get("details"))
    return TaggedModel(
        name=name,
        digest=_text(entry.get("digest")),
        size=_count(entry.get("size")),
        modified_at=_text(entry.get("modified_at")),
        family=_text(details.get("family")),
        parameter_count=parse_size(details.get("parameter_size")),
        quantization=_text(details.get("quantization_level")),
        context_length=_count(details.get("context_length")) or None,
        embedding_length=_count(details.get("embedding_length")) or None,
        capabilities=_names(entry.get("capabilities")),
        remote_host=_text(entry.get("remote_host")),
    )


def _entries(body: object, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and object of each model listed. Raises ValueError for what is no list of models."""
    if not isinstance(body, Mapping):
        raise ValueError(f"Ollama's {path} answer is not an object")
    models = body.get("models")
    if models is None:
        return
    if not isinstance(models, list):
        raise ValueError(f"Ollama's {path} answer has no list of models")
    for entry in models:
        if isinstance(entry, Mapping):
            name = _text(entry.get("name")) or _text(entry.get("model"))
            if name:
                yield name, entry


def _architecture_count(info: Mapping[str, Any], architecture: str | None, name: str) -> int | None:
    """A count under the model's own architecture, or else the one place it is found at all.

    A vision model has the same names once more under its projector's prefix.
    """
    own = _count(info.get(f"{architecture}.{name}"))
    if own or architecture:
        return own or None
    found = [_count(value) for key, value in info.items() if str(key).endswith(f".{name}")]
    return found[0] or None if len(found) == 1 else None


def _num_ctx(parameters: object) -> int | None:
    """`num_ctx` out of the lines `name    value` of a Modelfile's parameters; the last one."""
    if not isinstance(parameters, str):
        return None
    found = _NUM_CTX.findall(parameters)
    return int(found[-1]) or None if found else None


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: object) -> int | None:
    """A whole number of at least 0; JSON writers also write one as 4.0 or 4e9."""
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    return value if type(value) is int and value >= 0 else None


def _names(value: object) -> frozenset[str]:
    if not isinstance(value, list):
        return frozenset()
    return frozenset(name for name in value if isinstance(name, str) and name)
