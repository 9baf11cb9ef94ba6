"""llama.cpp's server: one model, or its router mode with many.

It closes the connection after every stream and after five idle seconds whatever it announces,
so connections to it are not kept. `/props` with `?model=` loads that model on a router, so it is
asked of loaded ones only, and with `autoload=false`; so is `/slots`, which besides wakes a model
that sleeps (`--sleep-idle-seconds`), and keeps an idle one awake.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from llmrouterd.backends.base import Footprint, Hooks, ModelFacts
from llmrouterd.backends.gguf import GGUFError, read_header
from llmrouterd.backends.http import HttpClient
from llmrouterd.backends.llama_events import RouterEvents
from llmrouterd.backends.openai import PATHS, entries, first_int, stream_body, texts
from llmrouterd.backends.stream import open_stream
from llmrouterd.errors import UpstreamBusy, UpstreamError, UpstreamStatus
from llmrouterd.footprint import Cache, cache_of

if TYPE_CHECKING:
    from llmrouterd.backends.base import Call, Stream
    from llmrouterd.policy import BackendSpec

_UNLOAD_LOOKS, _LOOK_PAUSE = 300, 0.03
_SLOTS_SECONDS = 1.0
# What a client of ours has just left is worked at until its step is done.
_LEFT_SECONDS = 2.0
_PARTED = re.compile(r"(.+)-00001-of-(\d{5})\.gguf")
_LOADED = {"loaded": True, "sleeping": False, "unloaded": False, "loading": False}
_RUNNING = ("loading", "loaded", "sleeping")


class LlamaCppBackend:
    """spec.url is the server's root; a trailing `/v1` is taken off."""

    def __init__(self, spec: BackendSpec, hooks: Hooks) -> None:
        self.spec = spec
        self._client = HttpClient(replace(spec, url=spec.url.removesuffix("/v1")), pooled=False)
        self._events = RouterEvents(self._client, hooks.changed)
        self._most: int | None = None  # models that a router holds at once
        # A model's server that is asked something while it is told to end may never end.
        self._ending = asyncio.Lock()
        # Of a router's models, by digest: what each has told while it was loaded, and its file.
        self._told: dict[str, dict[str, Any]] = {}
        self._files: dict[str, tuple[int | None, Cache | None]] = {}
        # Models whose slots were idle when they were asked: since when, and when last.
        self._idle: dict[str, tuple[float, float]] = {}

    async def discover(self) -> tuple[ModelFacts, ...]:
        """See `Backend`."""
        listing, props = await asyncio.gather(self._client.get_json("/v1/models"), self._props())
        router = props.get("role") == "router"
        listed = tuple(entries(listing, self.spec.name))
        if not router:
            busy = None
            if listed and props.get("endpoint_slots") and not props.get("is_sleeping"):
                busy = await self._busy(listed[0]["id"], "/slots", None)
            return tuple(replace(_single_facts(entry, props), busy=busy) for entry in listed)
        self._events.follow()
        self._most = first_int(props, "max_instances")
        files = await asyncio.to_thread(lambda: [self._file_of(entry) for entry in listed])
        return tuple([await self._routed(*pair) for pair in zip(listed, files, strict=True)])

    async def stream(self, call: Call) -> Stream:
        """See `Backend`."""
        self._idle.pop(call.model, None)
        body = stream_body(call, usage=self.spec.stream_usage)
        return await open_stream(
            self._client, await self._client.post("/v1" + PATHS[call.kind], body)
        )

    async def embed(self, call: Call) -> dict[str, Any]:
        """See `Backend`."""
        self._idle.pop(call.model, None)
        body = {**call.body, "model": call.model}
        return await self._client.post_json("/v1/embeddings", body, timeout=None)

    async def load(self, call: Call) -> None:
        """See `Backend`: the router says yes at once, and the child serves later."""
        await self._end_sleeper(call.model)
        await self._tell("/models/load", call.model, "already running")
        while (state := await self._state_of(call.model)) != "loaded":
            if state == "sleeping":  # its server is there without the model, until it has to work
                asked = {"model": call.model, "content": ""}
                await self._client.post_json("/tokenize", asked, timeout=None)
                return
            if state != "loading":
                raise UpstreamError(f"{self.spec.name}: model {call.model} failed to load")
            await asyncio.sleep(_LOOK_PAUSE)

    async def unload(self, model: str) -> bool:
        """See `Backend`: a router can, and it cuts off whom the model is answering."""
        if (await self._props()).get("role") != "router":
            return False
        async with self._ending:
            if await self._state_of(model) == "loaded":
                await self._until_idle(model)
            await self._tell("/models/unload", model, "not running")
            for _ in range(_UNLOAD_LOOKS):  # it says yes at once, and the child ends a little later
                if await self._state_of(model) not in ("loaded", "sleeping"):
                    return True
                await asyncio.sleep(_LOOK_PAUSE)
        raise UpstreamBusy(f"{self.spec.name} still holds {model}.", retry_after=5)

    async def footprint(self, model: str) -> Footprint | None:
        """See `Backend`; the server does not say."""
        return None

    def state(self) -> dict[str, Any]:
        """See `Backend`."""
        return {}

    def want(self, wanted: bool) -> None:
        """See `Backend`; a foreign server is not ours to start."""

    async def close(self) -> None:
        """See `Backend`."""
        await self._events.close()
        await self._client.close()

    def _file_of(self, entry: dict[str, Any]) -> str:
        """The digest of a router's model, whose size and shape are read where its file is here."""
        digest = _file_digest(entry)
        if digest not in self._files:
            path = Path(_argument(entry, "-m", "--model"))
            try:
                header = read_header(path)
            except (OSError, GGUFError):
                header = {}
            self._files[digest] = _file_bytes(path), cache_of(header)
        return digest

    async def _routed(self, entry: dict[str, Any], digest: str) -> ModelFacts:
        """A router's model. It tells its size, context and slots while it is loaded only; they are
        remembered, or a profile would be lost with every unloading."""
        meta = entry.get("meta")
        if isinstance(meta, dict) and meta:
            self._told[digest] = {**self._told.get(digest, {}), "meta": meta}
        busy = None
        if _state(entry) == "loaded" and not self._ending.locked():
            query = _query(entry["id"])
            async with self._ending:
                if "props" not in self._told.get(digest, {}):
                    props = await self._props("/props" + query)
                    self._told[digest] = {**self._told.get(digest, {}), "props": props}
                sleeps = float(_argument(entry, "--sleep-idle-seconds") or 0.0)
                rest = sleeps + 1.0 if sleeps > 0.0 else 0.0
                busy = await self._busy(entry["id"], "/slots" + query, rest)
        told = {"meta": {}, **self._told.get(digest, {})}
        size, cache = self._files[digest]
        facts = _router_facts({**entry, **told}, digest, cache)
        size = facts.size_bytes or size
        return replace(facts, busy=busy, size_bytes=size, beside=self._most)

    async def _tell(self, path: str, model: str, done: str) -> None:
        """Have a router load or unload. done: what it answers where that is so already."""
        try:
            await self._client.post_json(path, {"model": model}, timeout=10)
        except UpstreamStatus as error:
            if error.upstream_status != 400 or done not in error.message:
                raise

    async def _end_sleeper(self, model: str) -> None:
        """Before a load by a full router, which counts what sleeps and would put out any."""
        states = await self._states()
        running = [name for name, state in states.items() if state in _RUNNING]
        if self._most and model not in running and len(running) >= self._most:
            asleep = (name for name in running if states[name] == "sleeping")
            if first := next(asleep, None):
                await self.unload(first)

    async def _states(self) -> dict[str, str]:
        """Model -> its state as a router lists it."""
        listing = await self._client.get_json("/v1/models")
        return {entry["id"]: _state(entry) for entry in entries(listing, self.spec.name)}

    async def _state_of(self, model: str) -> str:
        """ "" for a model that the router does not have."""
        return (await self._states()).get(model, "")

    async def _busy(self, model: str, path: str, rest: float | None) -> int | None:
        """How many slots are at work. It is answered between two steps of a generation, which may
        take long, so it is not waited for; None is 'not known'.

        rest: seconds that an idle model is left alone, for the question would keep it awake;
        None for as long as it has been idle."""
        now = time.monotonic()
        since, asked = self._idle.get(model, (now, float("-inf")))
        if now - asked <= (asked - since if rest is None else rest):
            return 0
        busy = await self._slots(path)
        if busy:
            self._idle.pop(model, None)
        elif busy == 0:
            self._idle[model] = since, time.monotonic()
        return busy

    async def _until_idle(self, model: str) -> None:
        """Raises UpstreamBusy: a loaded model goes on answering others."""
        self._idle.pop(model, None)
        until = time.monotonic() + _LEFT_SECONDS
        while await self._slots("/slots" + _query(model)):
            if time.monotonic() > until:
                text = f"{self.spec.name}/{model} is answering others."
                raise UpstreamBusy(text, retry_after=5)
            await asyncio.sleep(_LOOK_PAUSE)

    async def _slots(self, path: str) -> int | None:
        """How many are at work; None where it is not told in time."""
        try:
            slots = await self._client.get_list(path, timeout=_SLOTS_SECONDS)
        except UpstreamError:
            return None
        return sum(isinstance(slot, dict) and slot.get("is_processing") is True for slot in slots)

    async def _props(self, path: str = "/props") -> dict[str, Any]:
        try:
            return await self._client.get_json(path)
        except UpstreamStatus as error:
            if error.upstream_status in (400, 403, 404, 501):  # switched off, or an old server
                return {}
            raise


def _query(model: str) -> str:
    """Without autoload=false the question would load a model that has just been put out."""
    return f"?model={quote(model, safe='')}&autoload=false"


def _single_facts(entry: dict[str, Any], props: dict[str, Any]) -> ModelFacts:
    meta = entry.get("meta") if isinstance(entry.get("meta"), dict) else {}
    assert isinstance(meta, dict)
    settings = props.get("default_generation_settings")
    settings = settings if isinstance(settings, dict) else {}
    embeds = _embeds(entry)
    capabilities = {"embedding"} if embeds else {"chat", "json"}
    modalities = props.get("modalities")
    if isinstance(modalities, dict):
        capabilities |= {"vision"} if modalities.get("vision") else set()
        capabilities |= {"audio"} if modalities.get("audio") else set()
    caps = props.get("chat_template_caps")
    if isinstance(caps, dict) and (caps.get("supports_tools") or caps.get("supports_tool_calls")):
        capabilities.add("tools")
    return ModelFacts(
        name=entry["id"],
        aliases=texts(entry.get("aliases")),
        digest=_digest(meta, props),
        file=_file_name(props.get("model_path")),
        capabilities=frozenset(capabilities),
        context=first_int(settings, "n_ctx") or first_int(meta, "n_ctx", "n_ctx_train"),
        size_b=_billions(meta),
        size_bytes=first_int(meta, "size"),
        quantization=meta.get("ftype") if isinstance(meta.get("ftype"), str) else None,
        slots=first_int(props, "total_slots") or 1,
        loaded=not props.get("is_sleeping", False),
    )


def _router_facts(
    entry: dict[str, Any], digest: str | None = None, cache: Cache | None = None
) -> ModelFacts:
    meta = entry.get("meta") if isinstance(entry.get("meta"), dict) else {}
    assert isinstance(meta, dict)
    modalities = _modalities(entry, "input_modalities")
    capabilities = {"embedding"} if _embeds(entry) else {"chat", "json"}
    capabilities |= {"vision"} if "image" in modalities else set()
    return ModelFacts(
        name=entry["id"],
        aliases=texts(entry.get("aliases")),
        digest=digest,
        file=_file_name(_argument(entry, "-m", "--model")),
        # What its template can do is told by /props alone, which would load it.
        capabilities=frozenset(capabilities | {"tools"}),
        context=first_int(meta, "n_ctx", "n_ctx_train"),
        size_b=_billions(meta),
        size_bytes=first_int(meta, "size"),
        slots=first_int(entry.get("props") or {}, "total_slots"),
        loaded=_LOADED.get(_state(entry)),
        movable=True,
        cache=cache,
    )


def _state(entry: dict[str, Any]) -> str:
    status = entry.get("status")
    value = status.get("value") if isinstance(status, dict) else None
    return value if isinstance(value, str) else ""


def _embeds(entry: dict[str, Any]) -> bool:
    status = entry.get("status")
    args = texts(status.get("args")) if isinstance(status, dict) else ()
    outputs = _modalities(entry, "output_modalities")
    return "embedding" in outputs or "embeddings" in outputs or "--embedding" in args


def _modalities(entry: dict[str, Any], key: str) -> tuple[str, ...]:
    architecture = entry.get("architecture")
    return texts(architecture.get(key)) if isinstance(architecture, dict) else ()


def _billions(meta: dict[str, Any]) -> float | None:
    count = first_int(meta, "n_params")
    return count / 1e9 if count else None


def _digest(meta: dict[str, Any], props: dict[str, Any]) -> str | None:
    """The server has no digest; what changes with the weights stands in for one."""
    parts = [str(meta.get(key)) for key in ("n_params", "size", "n_embd", "ftype") if key in meta]
    path = props.get("model_path")
    return "-".join([*parts, str(path)] if path else parts) or None


def _argument(entry: dict[str, Any], *names: str) -> str:
    """The value of an argument that a router starts the model's server with, "" without it."""
    status = entry.get("status")
    args = texts(status.get("args")) if isinstance(status, dict) else ()
    return next((value for name, value in pairwise(args) if name in names), "")


def _file_name(path: object) -> str | None:
    """The file's name, which says more than the name that a server was told to show."""
    return PurePath(path).name if isinstance(path, str) and path.endswith(".gguf") else None


def _file_bytes(path: Path) -> int | None:
    """Of all parts of a model's file; None where it is not on this machine."""
    parted = _PARTED.fullmatch(path.name)
    names = [path.name]
    if parted:
        first, of = parted.groups()
        names = [f"{first}-{number:05}-of-{of}.gguf" for number in range(1, int(of) + 1)]
    try:
        return sum(path.with_name(name).stat().st_size for name in names) if path.name else None
    except OSError:
        return None


def _file_digest(entry: dict[str, Any]) -> str:
    """What changes with a router's model: its file's path, and size and time where the file is on
    this machine."""
    path = _argument(entry, "-m", "--model")
    try:
        found = Path(path).stat() if path else None
    except OSError:
        found = None
    return f"{path or entry['id']}" + (f"-{found.st_size}-{found.st_mtime_ns}" if found else "")
