"""The simulated boxes: their cards, the models on them, and what each model is worth.

Sizes are those of the 4-bit files in Ollama's library. Speeds follow from the card by rules of
thumb: writing is bound by its memory's bandwidth, of which a good 60 % is reached, reading by its
arithmetic, loading by the disk. Quality is what the daemon knows after its first start: the
packaged figures of public boards.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from llmrouterd.assemble import Knowledge, with_evidence
from llmrouterd.benchmarks.packaged import read_name_tables, read_packaged
from llmrouterd.catalog import Catalog, Model, Profile, build_catalog
from llmrouterd.config import load_policy
from llmrouterd.library import Library
from llmrouterd.policy import Policy
from llmrouterd.settings import Settings

BACKEND = "ollama"
SLOTS = 2
# Gigabytes a second of a file that is partly in the page cache, and what a start takes besides.
_DISK, _START = 1.5, 1.5
_BANDWIDTH_USED = 0.6
UNLOAD_SECONDS = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """memory: bytes for models. bandwidth: bytes a second. arithmetic: useful operations a
    second."""

    memory: int
    bandwidth: float
    arithmetic: float


CARD_12 = Card(memory=11_500_000_000, bandwidth=360e9, arithmetic=12e12)
CARD_24 = Card(memory=23_500_000_000, bandwidth=936e9, arithmetic=30e12)

# name -> billions of parameters, gigabytes of the file, gigabytes of cache for 8,192 tokens
MODELS: dict[str, tuple[float, float, float]] = {
    "qwen3:4b": (4.0, 2.5, 1.2),
    "llama3.1:8b": (8.0, 4.9, 1.1),
    "qwen2.5-coder:7b": (7.6, 4.7, 0.5),
    "qwen3:8b": (8.2, 5.2, 1.2),
    "gemma3:12b": (12.2, 8.1, 1.4),
    "qwen2.5-coder:14b": (14.8, 9.0, 1.6),
    "qwen3:14b": (14.8, 9.3, 1.3),
    "gemma3:27b": (27.4, 17.4, 2.0),
    "qwen2.5-coder:32b": (32.8, 19.9, 2.1),
    "qwen3:32b": (32.8, 20.2, 2.1),
}
_BESIDE = 0.4  # gigabytes of buffers


@cache
def library() -> Library:
    """What the daemon's first start knows of published figures."""
    parsed = read_packaged().values()
    rows = [row for source in parsed for row in source.rows]
    facts = [fact for source in parsed for fact in source.facts]
    return Library(rows, facts, read_name_tables())


@cache
def policy(text: str = "{}") -> Policy:
    """The policy that this YAML makes of the defaults, with one Ollama."""
    with tempfile.TemporaryDirectory(prefix="llmrouterd-bench-") as folder:
        file = Path(folder) / "router.yaml"
        file.write_text(
            f"backends: [{{name: {BACKEND}, type: ollama, url: 'http://127.0.0.1:9', "
            f"slots: {SLOTS}}}]\n{'' if text == '{}' else text}"
        )
        return load_policy(Settings(policy=file, rules=None, state=Path(folder), environ={}))


def footprint(name: str) -> int:
    """Bytes in memory."""
    _, file, cache_ = MODELS[name]
    return round((file + cache_ + _BESIDE) * 1e9)


def catalog(names: tuple[str, ...], card: Card) -> Catalog:
    """The models with profiles of this card and their evidence."""
    known = Knowledge(library=library())
    return build_catalog([with_evidence(_model(name, card), policy(), known, {}) for name in names])


def _model(name: str, card: Card) -> Model:
    billions, file, _ = MODELS[name]
    given: dict[str, Any] = {
        "id": f"{BACKEND}/{name}",
        "name": name,
        "backend": BACKEND,
        "capabilities": frozenset({"chat", "tools"}),
        "context": 8192,
        "num_ctx": 8192,
        "size_b": billions,
        "size_bytes": round(file * 1e9),
        "vram": footprint(name),
        "profile": Profile(
            load_seconds=file / _DISK + _START,
            ttft_base_seconds=0.05,
            prefill_tokens_per_second=card.arithmetic / (2e9 * billions),
            decode_tokens_per_second=_BANDWIDTH_USED * card.bandwidth / (file * 1e9),
        ),
    }
    return Model(**given)
