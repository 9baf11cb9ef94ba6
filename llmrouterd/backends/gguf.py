"""The metadata in the header of a GGUF file. Read here in a few lines: the package `gguf` brings
NumPy and reads the tensors as well."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

_MAGIC, _VERSIONS = b"GGUF", (2, 3)
_STRING, _ARRAY = 8, 9
_FORMATS = dict(enumerate(("<B", "<b", "<H", "<h", "<I", "<i", "<f", "<?")))
_FORMATS |= {10: "<Q", 11: "<q", 12: "<d"}
# More than any real file has: a broken one is not read for ever.
_MOST_KEYS, _MOST_TEXT, _MOST_ITEMS = 10_000, 1 << 24, 1 << 24
# Longer arrays, of tokens for example, are passed over.
_KEPT_ITEMS = 1024


class GGUFError(ValueError):
    """The file is none, or it is broken."""


def read_header(path: Path) -> dict[str, Any]:
    """Key -> value; of arrays with more than 1,024 items the number of items. Raises OSError and
    GGUFError."""
    with path.open("rb") as file:
        try:
            return _read(file)
        except struct.error:
            raise GGUFError(f"{path.name}: the header ends too early") from None
        except GGUFError as error:
            raise GGUFError(f"{path.name}: {error}") from None


def _read(file: BinaryIO) -> dict[str, Any]:
    if file.read(4) != _MAGIC:
        raise GGUFError("not a GGUF file")
    version = _number(file, "<I")
    if version not in _VERSIONS:
        raise GGUFError(f"version {version} of GGUF is not known")
    _number(file, "<Q")  # tensors
    keys = _bounded(file, _MOST_KEYS, "keys")
    return {_text(file): _value(file, _number(file, "<I")) for _ in range(keys)}


def _value(file: BinaryIO, kind: int, depth: int = 0) -> Any:
    if kind == _STRING:
        return _text(file)
    if kind != _ARRAY:
        if kind not in _FORMATS:
            raise GGUFError(f"a value of unknown type {kind}")
        return _number(file, _FORMATS[kind])
    if depth:
        raise GGUFError("an array of arrays")
    item = _number(file, "<I")
    count = _bounded(file, _MOST_ITEMS, "items")
    if count <= _KEPT_ITEMS:
        return [_value(file, item, depth + 1) for _ in range(count)]
    if item in _FORMATS:
        file.seek(count * struct.calcsize(_FORMATS[item]), 1)
    else:
        for _ in range(count):
            _value(file, item, depth + 1)
    return count


def _text(file: BinaryIO) -> str:
    length = _bounded(file, _MOST_TEXT, "characters")
    text = file.read(length)
    if len(text) < length:
        raise GGUFError("the header ends too early")
    return text.decode("utf-8", "replace")


def _bounded(file: BinaryIO, most: int, what: str) -> int:
    count = _number(file, "<Q")
    if count > most:
        raise GGUFError(f"{count} {what} are more than any model has")
    return int(count)


def _number(file: BinaryIO, form: str) -> Any:
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]
