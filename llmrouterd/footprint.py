"""What a model will take in memory, where nobody has measured it: weights, cache and buffers.

The shape comes from a GGUF's metadata, as its header or Ollama's /api/show gives it; the arithmetic
is llama.cpp's: for each layer and token of context a key and a value for each of its KV heads, in
16 bits. docs/footprints.md compares it with real servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_BYTES = 2
# One layer in so many sees the whole context, the others a window (llama.cpp, by architecture).
_PATTERNS = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "cohere2": 4}
# Cache a token where the shape is not known: 60 kB for a model of 10^9 parameters, and so on; right
# within a factor of three for the common models.
_TOKEN_BYTES, _TOKEN_POWER = 60e3, 0.45
# Buffers for computing, and what the driver takes: a share of the file, and something always.
_BUFFER, _BUFFER_SHARE = 50e6, 0.05
_KNOWN, _GUESSED, _BUFFER_ERROR = 0.1, 0.7, 0.8
_PLAIN, _PLAIN_ERROR = 1.2, 0.3


class Cache(NamedTuple):
    """What a context takes: bytes for each token of it, and bytes for layers that see no more
    than their window of `window` tokens, each of them `windowed` bytes a token."""

    token_bytes: float
    windowed: float = 0.0
    window: int = 0

    def of(self, context: int) -> int:
        """Bytes for one context of so many tokens."""
        return round(self.token_bytes * context + self.windowed * min(self.window, context))


class Footprint(NamedTuple):
    """Bytes, and by what share of them it may be wrong."""

    bytes: int
    error: float


def cache_of(metadata: Mapping[str, Any]) -> Cache | None:
    """The cache of a model by its metadata; None where that does not tell its shape."""
    arch = metadata.get("general.architecture")

    def number(name: str) -> int | None:
        found = metadata.get(f"{arch}.{name}")
        return found if type(found) is int and found > 0 else None

    layers, heads = number("block_count"), number("attention.head_count")
    width = number("embedding_length")
    if layers is None:
        return None
    per_head = width // heads if width and heads else None
    key = number("attention.key_length") or per_head
    value = number("attention.value_length") or per_head
    each = metadata.get(f"{arch}.attention.head_count_kv", heads)
    if isinstance(each, list) and all(type(one) is int for one in each):
        kv_heads = sum(each) / len(each) if each else 0.0
    else:
        kv_heads = float(each) if type(each) is int else 0.0
    if not key or not value or not kv_heads:
        return None
    layer = kv_heads * (key + value) * _BYTES
    window, pattern = number("attention.sliding_window"), _PATTERNS.get(str(arch))
    if window is None or pattern is None:
        return Cache(layers * layer)
    full = layers // pattern
    return Cache(full * layer, (layers - full) * layer, window)


def estimate(
    size_bytes: int, size_b: float | None, context: int | None, cache_bytes: int | None
) -> Footprint:
    """What a model takes with these bytes of file, billions of parameters and tokens of context.
    cache_bytes: of that context, None where the shape is not known."""
    unsure = _KNOWN
    if cache_bytes is None:
        if size_b is None or context is None:
            return Footprint(round(size_bytes * _PLAIN), _PLAIN_ERROR)
        unsure = _GUESSED
        cache_bytes = round(_TOKEN_BYTES * size_b**_TOKEN_POWER * context)
    buffer = _BUFFER + _BUFFER_SHARE * size_bytes
    total = size_bytes + cache_bytes + buffer
    return Footprint(round(total), (unsure * cache_bytes + _BUFFER_ERROR * buffer) / total)
