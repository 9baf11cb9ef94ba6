"""What the daemon asks of a backend, and what a backend says of its models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from llmrouterd.catalog import ModelFacts

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmrouterd.policy import BackendSpec


class Frame(NamedTuple):
    """A piece of a streaming answer in OpenAI's form.

    raw: the bytes to relay, whole SSE events. chunk: the parsed object; None for a comment.
    done: this is `[DONE]`.
    """

    raw: bytes
    chunk: dict[str, Any] | None
    done: bool = False

    def begins(self) -> bool:
        """Whether something was generated, or read of the prompt: the first chunk of many servers
        holds a role alone, and is sent before anything was."""
        chunk = self.chunk or {}
        if "prompt_progress" in chunk:
            return True
        for choice in chunk.get("choices") or ():
            said = {name for name, text in (choice.get("delta") or {}).items() if text}
            if choice.get("finish_reason") or choice.get("text") or said - {"role"}:
                return True
        return False


class Call(NamedTuple):
    """A request to one model. kind: chat | completions | embeddings. model: the backend's own
    name. body: the client's request; the backend sets `model` and `stream` itself."""

    kind: str
    model: str
    body: dict[str, Any]
    num_ctx: int | None = None
    keep_alive: str | None = None


class Footprint(NamedTuple):
    """What a loaded model takes, in bytes; None is 'does not say'. context: the tokens that it
    was loaded for. load_seconds: how long its last load took, where the backend timed it."""

    vram_bytes: int | None = None
    ram_bytes: int | None = None
    context: int | None = None
    load_seconds: float | None = None


class Stream(Protocol):
    """A streaming answer. `next` waits at most `timeout` seconds (None: for ever).

    Raises UpstreamError; an error event of the upstream is an UpstreamStatus or UpstreamInvalid.
    """

    async def next(self, timeout: float | None) -> list[Frame] | None:
        """The frames that have come since the last call; None at the end."""

    def close(self) -> None:
        """Close the connection now, so that the backend stops generating. May be called twice."""


class Backend(Protocol):
    """One server of models. All methods raise only UpstreamError (see `errors`)."""

    spec: BackendSpec

    async def discover(self) -> tuple[ModelFacts, ...]:
        """The models it serves now, with their facts. Never loads one."""

    async def stream(self, call: Call) -> Stream:
        """Send a chat or completion; returns once the answer's headers are there."""

    async def embed(self, call: Call) -> dict[str, Any]:
        """Send an embeddings request; the answer is in OpenAI's form."""

    async def load(self, call: Call) -> None:
        """Take a model into memory as `call` (whose body is not used) would; returns once it can
        answer. Of models that are movable only (see `ModelFacts`)."""

    async def unload(self, model: str) -> bool:
        """Take a model out of memory; the next request loads it again. False: cannot be done."""

    async def footprint(self, model: str) -> Footprint | None:
        """What a model takes in memory; None where it is not loaded or the backend does not say.
        Never loads one."""

    def state(self) -> dict[str, Any]:
        """What /admin/backends shows besides health, such as the state of owned processes."""

    def want(self, wanted: bool) -> None:
        """Tell a backend that owns processes whether it is needed now."""

    async def close(self) -> None:
        """Close connections and stop owned processes."""


@dataclass(slots=True)
class Hooks:
    """What a backend may tell the daemon. `changed` asks for a discovery soon."""

    changed: Callable[[], None] = field(default=lambda: None)
    log: Callable[[str, dict[str, Any]], None] = field(default=lambda event, fields: None)


__all__ = ["Backend", "Call", "Footprint", "Frame", "Hooks", "ModelFacts", "Stream"]
