"""What a model will take in memory: the arithmetic, the header of a file, and a real server."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from llmrouterd.backends.base import Call
from llmrouterd.backends.gguf import GGUFError, read_header
from llmrouterd.backends.llama_process import LlamaProcess, LlamaSpec
from llmrouterd.backends.managed import resident_bytes
from llmrouterd.catalog import Model, ModelFacts, Profile
from llmrouterd.footprint import Cache, cache_of, estimate
from llmrouterd.residency.needs import memory_of
from tests.support.backends import open_backend, spec_of
from tests.support.llama import (
    llama_server_path,
    model_paths,
    real_llama_router,
    smollm2_f16_path,
    smollm2_path,
)

QWEN3_8B = {
    "general.architecture": "qwen3",
    "qwen3.block_count": 36,
    "qwen3.embedding_length": 4096,
    "qwen3.attention.head_count": 32,
    "qwen3.attention.head_count_kv": 8,
    "qwen3.attention.key_length": 128,
    "qwen3.attention.value_length": 128,
}
GEMMA3_12B = {
    "general.architecture": "gemma3",
    "gemma3.block_count": 48,
    "gemma3.embedding_length": 3840,
    "gemma3.attention.head_count": 16,
    "gemma3.attention.head_count_kv": 8,
    "gemma3.attention.key_length": 256,
    "gemma3.attention.value_length": 256,
    "gemma3.attention.sliding_window": 1024,
}


def test_the_cache_of_known_shapes() -> None:
    assert cache_of(QWEN3_8B) == Cache(147_456.0)
    windowed = cache_of(GEMMA3_12B)
    # 8 of 48 layers see everything; 40 see 1,024 tokens: 0.9 GB at 8k instead of 3.2.
    assert windowed == Cache(8 * 8192.0, 40 * 8192.0, 1024)
    assert windowed.of(8192) == 8 * 8192 * 8192 + 40 * 8192 * 1024
    assert windowed.of(100) == 48 * 8192 * 100


@pytest.mark.parametrize("gone", ["general.architecture", "qwen3.block_count"])
def test_no_shape_is_no_cache(gone: str) -> None:
    assert cache_of({key: value for key, value in QWEN3_8B.items() if key != gone}) is None


def test_heads_by_layer_and_widths_by_division() -> None:
    less: dict[str, Any] = {
        key: value
        for key, value in QWEN3_8B.items()
        if not key.endswith(("key_length", "value_length"))
    }
    assert cache_of({**less, "qwen3.attention.head_count_kv": [8, 4] * 18}) == Cache(
        147_456.0 * 0.75
    )
    assert cache_of({**less, "qwen3.attention.head_count_kv": "8"}) is None
    assert cache_of({**less, "qwen3.attention.head_count": 0}) is None


def test_an_estimate_is_as_sure_as_what_it_is_made_of() -> None:
    file = 5_200_000_000
    told = estimate(file, 8.2, 8192, Cache(147_456.0).of(8192))
    assert told.bytes == pytest.approx(6.72e9, rel=0.01)
    guessed = estimate(file, 8.2, 8192, None)
    assert guessed.bytes == pytest.approx(told.bytes, rel=0.05)
    assert told.error < guessed.error < 0.3
    assert estimate(file, None, 8192, None) == (round(1.2 * file), 0.3)


@pytest.mark.parametrize(
    ("num_ctx", "measured_at", "slots", "size", "basis"),
    [
        (4096, 4096, None, 6.0, "measured"),
        (4096, None, None, 6.0, "measured"),
        (None, 4096, None, 6.0, "measured"),  # Ollama has chosen the context, and will again
        (65_536, 4096, None, 6.0 + 0.1 * 60, "estimated"),
        (2048, 4096, None, 6.0 - 0.1 * 2, "estimated"),
        (4096, 8192, 2, 6.0, "measured"),
        (8192, 8192, 2, 6.0 + 0.1 * 8, "estimated"),
    ],
)
def test_a_measured_footprint_is_that_of_its_context(
    num_ctx: int | None, measured_at: int | None, slots: int | None, size: float, basis: str
) -> None:
    model = Model(
        id="o/a",
        name="a",
        backend="o",
        context=131_072,
        num_ctx=num_ctx,
        size_bytes=5 * 10**9,
        profile=Profile(vram_bytes=6 * 10**9, memory_context=measured_at),
    )
    facts = ModelFacts(name="a", slots=slots, cache=Cache(10**8 / 1024))
    found = memory_of(model, facts)
    assert (found["size"], found["basis"]) == (round(size * 10**9), basis)
    assert (found.get("error", 0.0) > 0) == (basis == "estimated")


def test_the_header_of_a_real_file() -> None:
    header = read_header(smollm2_path())
    assert header["general.architecture"] == "llama"
    assert header["llama.block_count"] == 30
    assert header["tokenizer.ggml.tokens"] == 49152  # how many, not which
    assert "<|im_start|>" in header["tokenizer.chat_template"]
    assert cache_of(header) == Cache(23_040.0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a GGUF file"),
        (b"PK\3\4 something else", "not a GGUF file"),
        (b"GGUF" + struct.pack("<I", 99), "version 99"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), "more than any model has"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2), "ends too early"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 50) + b"short", "ends too early"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<I", 77), "type 77"),
        (
            b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 9, 1),
            "an array of arrays",
        ),
    ],
)
def test_a_broken_header(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(data)
    with pytest.raises(GGUFError, match=message):
        read_header(file)


async def test_a_router_tells_the_shape_from_its_files_and_slots_once_loaded(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.gguf").symlink_to(model_paths()["tiny-random"])
    async with real_llama_router(tmp_path, n_parallel=3) as url:
        backend = open_backend(spec_of("llamacpp", url))
        try:
            (before,) = await backend.discover()
            assert (before.loaded, before.slots) == (False, None)
            assert before.cache == cache_of(read_header(model_paths()["tiny-random"]))
            await backend.load(Call("chat", "a", {}))
            (after,) = await backend.discover()
            assert (after.loaded, after.slots) == (True, 3)
            assert await backend.unload("a")
            (again,) = await backend.discover()  # and asking has not loaded it again
            assert (again.loaded, again.slots) == (False, 3)
        finally:
            await backend.close()


async def resident(path: Path, context: int) -> int:
    """Bytes that a real server takes with this model and context."""
    spec = LlamaSpec(
        name="m",
        model=str(path),
        context=context,
        parallel=1,
        engine=str(llama_server_path()),
        args=("--no-mmap",),
    )
    server = LlamaProcess(spec, on_state=lambda state, detail: None)
    try:
        await server.start()
        assert server.pid is not None
        return resident_bytes(server.pid) or 0
    finally:
        await server.stop()


async def test_a_real_server_takes_what_was_estimated() -> None:
    """Of two contexts the longer takes the cache that its shape says; what else there is lies
    within the error."""
    path = smollm2_f16_path()
    cache = cache_of(read_header(path))
    assert cache is not None
    taken = {context: await resident(path, context) for context in (512, 8192)}
    assert taken[8192] - taken[512] == pytest.approx(cache.of(8192) - cache.of(512), rel=0.1)
    size = path.stat().st_size
    for context, bytes_ in taken.items():
        told = estimate(size, 0.135, context, cache.of(context))
        assert abs(bytes_ - told.bytes) <= told.error * told.bytes
