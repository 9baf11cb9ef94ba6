"""The evidence's numbers: the packaged file, or the owner's instead of it."""

from __future__ import annotations

import json
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from llmrouterd import data
from llmrouterd.evidence.figures import Figures, build_figures
from llmrouterd.probes.result import Levels, parse_levels

if TYPE_CHECKING:
    from pathlib import Path


class FiguresError(ValueError):
    """The file cannot be used; the message names the place."""


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(data.EVIDENCE_SCHEMA.read_bytes()))


def read_figures(path: Path = data.EVIDENCE) -> tuple[Figures, bytes]:
    """The numbers of a file, and its bytes. Raises FiguresError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FiguresError(f"{path} cannot be read: {error.strerror}") from None
    return _build(content, str(path)), content


@cache
def _levels() -> Levels:
    return parse_levels(json.loads(data.PROBES.read_bytes()))


@lru_cache(maxsize=2)
def _build(content: bytes, name: str) -> Figures:
    try:
        parsed: Any = json.loads(content)
    except ValueError as error:
        raise FiguresError(f"{name} is not valid JSON: {error}") from None
    for problem in _validator().iter_errors(parsed):
        raise FiguresError(f"{name}: {problem.json_path}: {problem.message[:300]}")
    return build_figures(parsed, _levels())
