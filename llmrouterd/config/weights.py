"""The trained classifier that travels with the program, read once."""

from __future__ import annotations

import hashlib
from functools import cache

from llmrouterd import data
from llmrouterd.classifier.model import CategoryModel, read_model


@cache
def category_model() -> CategoryModel:
    """The packaged classifier. Raises ModelError where the installation is damaged."""
    content = data.CATEGORY_MODEL.read_bytes()
    return read_model(content, hashlib.sha256(content).hexdigest()[:16])
