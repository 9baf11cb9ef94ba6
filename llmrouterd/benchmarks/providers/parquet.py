"""Parquet, through pyarrow where it is installed (`pip install 'llmrouterd[parquet]'`)."""

from __future__ import annotations

import io
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from llmrouterd.benchmarks.providers.base import ProviderError

AVAILABLE = find_spec("pyarrow") is not None


def read(content: bytes) -> list[dict[str, Any]]:
    """The rows of a Parquet file. Raises ProviderError when it is broken or cannot be read here."""
    if not AVAILABLE:
        raise ProviderError("Parquet needs pyarrow: pip install 'llmrouterd[parquet]'")
    # Loaded here: it takes a third of a second and 40 MB, and most starts fetch nothing.
    pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    try:
        table = parquet.read_table(io.BytesIO(content))
    except (pyarrow.ArrowException, OSError) as error:
        raise ProviderError(f"not a whole Parquet file: {error}") from None
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
