"""The listings of a fake Ollama: /api/tags, /api/ps, /api/show, /v1/models."""

from __future__ import annotations

from typing import Any

from .ollama_scheduler import FakeModel, Loaded, expiry_text, full_name
from .openai_answers import CREATED


def _row(model: FakeModel) -> dict[str, Any]:
    name = full_name(model.name)
    return {"name": name, "model": name, "size": model.size, "digest": model.hex_digest}


def tags(models: list[FakeModel]) -> dict[str, Any]:
    """What is on disk, newest first."""
    rows = [
        {
            **_row(model),
            "modified_at": model.modified_at,
            "details": model.details(),
            "capabilities": list(model.capabilities),
        }
        for model in models
    ]
    return {"models": sorted(rows, key=lambda row: str(row["modified_at"]), reverse=True)}


def ps(loaded: list[Loaded]) -> dict[str, Any]:
    """What is in memory, in the order given."""
    rows = [
        {
            **_row(each.model),
            "size": each.size,
            "details": each.model.details(),
            "expires_at": expiry_text(each.expires),
            "size_vram": each.size_vram,
            "context_length": each.num_ctx,
        }
        for each in loaded
    ]
    return {"models": rows}


def openai_models(models: list[FakeModel]) -> dict[str, Any]:
    base = {"object": "model", "created": CREATED, "owned_by": "library"}
    data = [{"id": full_name(model.name), **base} for model in models]
    return {"object": "list", "data": data}


def show(model: FakeModel) -> dict[str, Any]:
    """All about one model; empty fields are left out."""
    family = model.family
    info = {
        "general.architecture": family,
        "general.parameter_count": model.parameter_count,
        "general.file_type": 15,
        f"{family}.context_length": model.context_length,
        f"{family}.embedding_length": model.embedding_length,
        f"{family}.block_count": model.block_count,
        f"{family}.attention.head_count": model.head_count,
        f"{family}.attention.head_count_kv": model.head_count_kv,
    }
    shown = {
        "license": "Apache License Version 2.0",
        "modelfile": f"FROM {full_name(model.name)}",
        "parameters": model.parameters,
        "template": "{{ .Prompt }}",
        "details": model.details(),
        "model_info": info,
        "capabilities": list(model.capabilities),
        "modified_at": model.modified_at,
    }
    return {name: value for name, value in shown.items() if value}
