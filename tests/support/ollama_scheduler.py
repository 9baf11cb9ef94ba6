"""Which models a fake Ollama has, which of them are loaded, and how one gets in and out of memory.

Follows server/sched.go: requests pass one queue in order, one load at a time blocks those behind
it, a model is reloaded when its runner options change, and the victim of an eviction is the idle
one with the shortest keep-alive, or, if all are busy, the one with the shortest once it is idle.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .ollama_rules import DEFAULT_KEEP_ALIVE, FOREVER

# What belongs to the loaded runner: another value means another load. `shift` is a field of the
# request itself, the others are options.
RUNNER_OPTIONS = (
    "num_batch",
    "num_gpu",
    "main_gpu",
    "use_mmap",
    "num_thread",
    "draft_num_predict",
    "shift",
)
DEFAULT_NUM_CTX = 4096
VISION_NUM_CTX = 2048


def full_name(name: str) -> str:
    """The name with its tag: `llama3` is `llama3:latest`."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeModel:
    """A model on disk.

    `size` is bytes; `parameters` the text that /api/show gives for the Modelfile's parameters;
    `load_seconds` the time a load takes (None: the server's); `prompt_rate` and `eval_rate` the
    tokens per second that the durations in its answers speak of (no time is really spent);
    `digest` is made from the name when empty.
    """

    name: str
    digest: str = ""
    size: int = 4_920_753_328
    parameter_size: str = "8.0B"
    parameter_count: int = 8_030_261_248
    quantization: str = "Q4_K_M"
    family: str = "llama"
    capabilities: tuple[str, ...] = ("completion", "tools")
    context_length: int = 131_072
    embedding_length: int = 4096
    block_count: int = 32
    head_count: int = 32
    head_count_kv: int = 8
    parameters: str = ""
    modified_at: str = "2026-10-01T12:00:00.123456789Z"
    load_seconds: float | None = None
    prompt_rate: float = 1000.0
    eval_rate: float = 50.0

    @property
    def hex_digest(self) -> str:
        return self.digest or hashlib.sha256(self.name.encode()).hexdigest()

    def cache_bytes(self, num_ctx: int) -> int:
        """The size of an f16 key-value cache of `num_ctx` tokens."""
        head = self.embedding_length // self.head_count
        return 2 * 2 * self.block_count * self.head_count_kv * head * num_ctx

    def details(self) -> dict[str, Any]:
        return {
            "parent_model": "",
            "format": "gguf",
            "family": self.family,
            "families": [self.family],
            "parameter_size": self.parameter_size,
            "quantization_level": self.quantization,
        }


@dataclass(slots=True, kw_only=True)
class Loaded:
    """A model in memory. `keep_alive` is seconds, `expires` wall-clock seconds, `busy` requests."""

    model: FakeModel
    num_ctx: int
    runner: dict[str, Any]
    keep_alive: float
    slots: asyncio.Semaphore
    expires: float = 0.0
    busy: int = 0
    size_vram: int = 0
    last_prompt: str | None = None
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def size(self) -> int:
        """Bytes in memory, weights and cache."""
        return self.model.size + self.model.cache_bytes(self.num_ctx)


class QueueFull(Exception):
    """More requests wait than OLLAMA_MAX_QUEUE allows: 503."""


@dataclass(slots=True, kw_only=True)
class Limits:
    """The environment of a fake Ollama; seconds and bytes. `vram` None: as much as it takes."""

    max_loaded: int = 3
    num_parallel: int = 1
    max_queue: int = 512
    keep_alive: float = DEFAULT_KEEP_ALIVE
    load_seconds: float = 0.0
    vram: int | None = None


class Scheduler:
    """The queue of requests and the set of loaded models."""

    def __init__(self, models: Iterable[FakeModel], limits: Limits) -> None:
        self.models = {full_name(model.name): model for model in models}
        self.limits = limits
        self.loaded: dict[str, Loaded] = {}
        self.loading: Loaded | None = None
        self.loads: list[str] = []
        self.evicted: list[str] = []
        self.reloads = 0
        self.waiting = 0
        self.shift = 0.0
        self._one_load = asyncio.Lock()

    def now(self) -> float:
        """Wall-clock seconds, moved by `shift`."""
        return time.time() + self.shift

    def current(self) -> list[Loaded]:
        """What is in memory now, longest expiry first; what has expired is let go."""
        for name, loaded in list(self.loaded.items()):
            if not loaded.busy and loaded.expires <= self.now():
                del self.loaded[name]
        return sorted(self.loaded.values(), key=lambda each: each.expires, reverse=True)

    def listed(self) -> list[Loaded]:
        """What /api/ps shows, as PsHandler does: also what is being loaded, as if its stay began
        now."""
        loading = self.loading
        if loading is None:
            return self.current()
        loading.expires = self.now() + loading.keep_alive
        return [*self.current(), loading]

    def expire(self, model: FakeModel) -> None:
        """Unload now, or as soon as it is idle."""
        loaded, loading = self.loaded.get(full_name(model.name)), self.loading
        if loading is not None and loading.model is model:
            loading.keep_alive = 0.0  # it goes once it has served those who load it
        if loaded is not None:
            loaded.keep_alive = 0.0
            if not loaded.busy:
                self._unload(loaded)

    async def acquire(
        self, model: FakeModel, options: dict[str, Any], keep_alive: float | None
    ) -> tuple[Loaded, int]:
        """Wait for the model to be in memory as asked; the load's nanoseconds (0: it was there).

        Every acquire needs a release. Raises QueueFull.
        """
        if self._one_load.locked() and self.waiting >= self.limits.max_queue:
            raise QueueFull
        self.waiting += 1
        try:
            await self._one_load.acquire()
        finally:
            self.waiting -= 1
        try:
            return await self._ready(model, options, keep_alive)
        finally:
            self._one_load.release()

    def release(self, loaded: Loaded) -> None:
        """A request is done with the model: its expiry starts to count."""
        loaded.busy -= 1
        loaded.expires = self.now() + loaded.keep_alive
        if not loaded.busy:
            loaded.idle.set()
            if loaded.keep_alive == 0:
                self._unload(loaded)

    async def _ready(
        self, model: FakeModel, options: dict[str, Any], keep_alive: float | None
    ) -> tuple[Loaded, int]:
        self.current()
        loaded = self.loaded.get(full_name(model.name))
        spent = 0
        if loaded is not None and self._must_reload(loaded, model, options):
            await self._evict(loaded)
            self.reloads += 1
            loaded = None
        if loaded is None:
            started = time.perf_counter_ns()
            loaded = await self._load(model, options, keep_alive)
            spent = max(1, time.perf_counter_ns() - started)
        elif keep_alive is not None:
            loaded.keep_alive = keep_alive
        loaded.busy += 1
        loaded.idle.clear()
        return loaded, spent

    def _num_ctx(self, model: FakeModel, options: dict[str, Any]) -> int | None:
        asked = options.get("num_ctx")
        if asked is None:
            return None
        least = VISION_NUM_CTX if "vision" in model.capabilities else 4
        return min(max(int(asked), least), model.context_length)

    def _must_reload(self, loaded: Loaded, model: FakeModel, options: dict[str, Any]) -> bool:
        num_ctx = self._num_ctx(model, options)
        other = num_ctx is not None and num_ctx != loaded.num_ctx
        runner = {name: options[name] for name in RUNNER_OPTIONS if name in options}
        return other or runner != loaded.runner or loaded.model.hex_digest != model.hex_digest

    async def _load(
        self, model: FakeModel, options: dict[str, Any], keep_alive: float | None
    ) -> Loaded:
        fallback = min(DEFAULT_NUM_CTX, model.context_length)
        loaded = Loaded(
            model=model,
            num_ctx=self._num_ctx(model, options) or fallback,
            runner={name: options[name] for name in RUNNER_OPTIONS if name in options},
            keep_alive=self.limits.keep_alive if keep_alive is None else keep_alive,
            slots=asyncio.Semaphore(self.limits.num_parallel),
        )
        while self.loaded and not self._fits(loaded):
            await self._evict(self._victim())
        seconds = model.load_seconds
        vram = self.limits.vram
        loaded.size_vram = loaded.size if vram is None else min(loaded.size, vram)
        self.loading = loaded
        try:
            await asyncio.sleep(self.limits.load_seconds if seconds is None else seconds)
        finally:
            self.loading = None
        loaded.expires = self.now() + loaded.keep_alive
        loaded.idle.set()
        name = full_name(model.name)
        self.loaded[name] = loaded
        self.loads.append(name)
        return loaded

    def _fits(self, loaded: Loaded) -> bool:
        if self.limits.max_loaded and len(self.loaded) >= self.limits.max_loaded:
            return False
        taken = sum(each.size_vram for each in self.loaded.values())
        return self.limits.vram is None or taken + loaded.size <= self.limits.vram

    def _victim(self) -> Loaded:
        by_duration = sorted(self.loaded.values(), key=lambda each: each.keep_alive)
        return next((each for each in by_duration if not each.busy), by_duration[0])

    async def _evict(self, loaded: Loaded) -> None:
        while loaded.busy:
            await loaded.idle.wait()
        if self._unload(loaded):
            self.evicted.append(full_name(loaded.model.name))

    def _unload(self, loaded: Loaded) -> bool:
        name = full_name(loaded.model.name)
        if self.loaded.get(name) is not loaded:
            return False
        del self.loaded[name]
        return True


def expiry_text(seconds: float) -> str:
    """RFC 3339 of wall-clock seconds; for ever is what Go's largest duration comes to."""
    if seconds == FOREVER:
        return "2318-03-05T19:47:16.854775807Z"
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1e9):09d}Z"
