"""The log: structlog to standard error, JSON lines or console text. Secrets never reach it."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import orjson
import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

    from llmrouterd.policy import Logging

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_WARNINGS = (
    ".rejected",
    ".failed",
    ".down",
    ".cooled",
    ".suspected",
    ".died",
    ".degraded",
    ".ended",
    ".estimated",
    ".misfit",
    ".restart_needed",
    ".spent",
)
_ERRORS = (".crashed",)
_HIDDEN_NAMES = frozenset(
    {"authorization", "api_key", "admin_key", "key", "token", "password", "secret", "headers"}
)
_STARS = "***"
_SHORTEST_SECRET = 4


class Log:
    """`log(event, fields)`; the level follows from the event's verb."""

    def __init__(self, settings: Logging, secrets: Iterable[str] = ()) -> None:
        self._secrets: tuple[str, ...] = ()
        self._level = 20
        self.configure(settings, secrets)

    def configure(self, settings: Logging, secrets: Iterable[str]) -> None:
        """Take over level, format and the texts that must never be shown."""
        self._secrets = tuple({text for text in secrets if len(text) >= _SHORTEST_SECRET})
        self._level = _LEVELS[settings.level]
        console = settings.format == "console" or (
            settings.format == "auto" and sys.stderr.isatty()
        )
        processors: list[Any] = [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            self._redact,
        ]
        factory: Any
        if console:
            processors.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()))
            factory = structlog.PrintLoggerFactory(sys.stderr)
        else:
            processors.append(structlog.processors.JSONRenderer(serializer=_serialise))
            factory = structlog.BytesLoggerFactory(sys.stderr.buffer)
        self._logger = structlog.wrap_logger(
            factory(),
            processors=processors,
            wrapper_class=structlog.make_filtering_bound_logger(self._level),
        )
        logging.basicConfig(level=logging.WARNING, handlers=[_Bridge(self)], force=True)

    def __call__(self, event: str, fields: dict[str, Any]) -> None:
        if event.endswith(_ERRORS):
            self._logger.error(event, **fields)
        elif event.endswith(_WARNINGS):
            self._logger.warning(event, **fields)
        elif self._level <= _LEVELS["info"]:
            self._logger.info(event, **fields)

    def _redact(
        self, logger: Any, method: str, fields: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        fields["level"] = method
        for name, value in fields.items():
            if name in _HIDDEN_NAMES and value:
                fields[name] = _STARS
            elif self._secrets:
                fields[name] = self._without_secrets(value)
        return fields

    def _without_secrets(self, value: Any) -> Any:
        if isinstance(value, str):
            for secret in self._secrets:
                if secret in value:
                    value = value.replace(secret, _STARS)
            return value
        if isinstance(value, (list, tuple)):
            return [self._without_secrets(item) for item in value]
        if isinstance(value, dict):
            return {key: self._without_secrets(item) for key, item in value.items()}
        return value


class _Bridge(logging.Handler):
    """Warnings of libraries, as events of ours."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log(
            "library.failed" if record.levelno >= logging.ERROR else "library.degraded",
            {"library": record.name, "detail": record.getMessage()},
        )


def _serialise(value: Any, **_: Any) -> bytes:
    return orjson.dumps(value, default=str)
