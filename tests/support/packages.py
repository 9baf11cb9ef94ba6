"""Data files of installed packages, reached without importing (and so running) the packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def package_directory(name: str) -> Path:
    """Where an installed package lies; raises ModuleNotFoundError."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"the package {name} is not installed")
    return Path(spec.origin).parent
