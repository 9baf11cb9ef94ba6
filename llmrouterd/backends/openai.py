"""Any OpenAI-compatible API. What it does not say of a model stays unknown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from llmrouterd.backends.base import Footprint, Hooks, ModelFacts
from llmrouterd.backends.http import HttpClient
from llmrouterd.backends.stream import open_stream
from llmrouterd.errors import UpstreamInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmrouterd.backends.base import Call, Stream
    from llmrouterd.policy import BackendSpec

PATHS = {"chat": "/chat/completions", "completions": "/completions"}
_MODALITIES = {"image": "vision", "audio": "audio"}


class OpenAIBackend:
    """spec.url ends before `/chat/completions`, mostly in `/v1`."""

    def __init__(self, spec: BackendSpec, hooks: Hooks) -> None:
        self.spec = spec
        self._client = HttpClient(spec, pooled=True)

    async def discover(self) -> tuple[ModelFacts, ...]:
        """See `Backend`."""
        listing = await self._client.get_json("/models")
        return tuple(facts for entry in entries(listing, self.spec.name) for facts in _facts(entry))

    async def stream(self, call: Call) -> Stream:
        """See `Backend`."""
        body = stream_body(call, usage=self.spec.stream_usage)
        return await open_stream(self._client, await self._client.post(PATHS[call.kind], body))

    async def embed(self, call: Call) -> dict[str, Any]:
        """See `Backend`."""
        return await self._client.post_json(
            "/embeddings", {**call.body, "model": call.model}, timeout=None
        )

    async def load(self, call: Call) -> None:
        """See `Backend`; its models are not movable."""

    async def unload(self, model: str) -> bool:
        """See `Backend`; the API has no word for it."""
        return False

    async def footprint(self, model: str) -> Footprint | None:
        """See `Backend`; the API does not say."""
        return None

    def state(self) -> dict[str, Any]:
        """See `Backend`; there is nothing besides health."""
        return {}

    def want(self, wanted: bool) -> None:
        """See `Backend`; a foreign server is not ours to start."""

    async def close(self) -> None:
        """See `Backend`."""
        await self._client.close()


def stream_body(call: Call, *, usage: bool) -> dict[str, Any]:
    """The client's body with our model's name, as a stream, with token counts where wanted."""
    body = {**call.body, "model": call.model, "stream": True}
    if usage:
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    return body


def entries(listing: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """The model entries of a /models answer: `data` (OpenAI) or `models`."""
    found = listing.get("data", listing.get("models"))
    if not isinstance(found, list):
        raise UpstreamInvalid(f"{name} answered /models without a list of models.")
    for entry in found:
        if isinstance(entry, dict) and isinstance(entry.get("id"), str) and entry["id"]:
            yield entry


def _facts(entry: dict[str, Any]) -> Iterator[ModelFacts]:
    """Facts in the forms of OpenRouter, vLLM and others; most APIs give the id alone."""
    context = first_int(entry, "context_length", "max_model_len", "context_window", "n_ctx")
    architecture = entry.get("architecture")
    parameters = entry.get("supported_parameters")
    capabilities: set[str] = set()
    if isinstance(architecture, dict) and isinstance(architecture.get("input_modalities"), list):
        capabilities |= {"chat"} | {
            _MODALITIES[kind]
            for kind in texts(architecture["input_modalities"])
            if kind in _MODALITIES
        }
        if isinstance(parameters, list):
            capabilities |= {"tools"} if "tools" in parameters else set()
            capabilities |= {"json"} if "response_format" in parameters else set()
            capabilities |= {"thinking"} if "reasoning" in parameters else set()
    elif texts(entry.get("capabilities")):
        said = set(texts(entry["capabilities"]))
        renamed = {"completion": "chat", "embeddings": "embedding", "function_calling": "tools"}
        capabilities |= {renamed.get(text, text) for text in said}
    yield ModelFacts(
        name=entry["id"],
        capabilities=frozenset(capabilities) or None,
        context=context,
        price=_price(entry.get("pricing")),
    )


def texts(value: Any) -> tuple[str, ...]:
    """The texts of a list; none where it is no list."""
    found = value if isinstance(value, list) else ()
    return tuple(text for text in found if isinstance(text, str))


def first_int(entry: dict[str, Any], *keys: str) -> int | None:
    """The first of these keys that holds a positive integer."""
    for key in keys:
        value = entry.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _price(pricing: Any) -> tuple[float, float] | None:
    """OpenRouter's dollars per token, as text -> dollars for a million. None where it varies,
    which is written as -1."""
    if not isinstance(pricing, dict):
        return None
    try:
        price = float(pricing["prompt"]) * 1e6, float(pricing["completion"]) * 1e6
    except (KeyError, TypeError, ValueError):
        return None
    return price if all(0 <= dollars < math.inf for dollars in price) else None
