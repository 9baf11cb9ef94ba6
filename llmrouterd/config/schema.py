"""Schema and data: environment references resolved, defaults filled in, problems put in words."""

from __future__ import annotations

import re
from copy import deepcopy
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from llmrouterd.config.environment import convert, interpolate, names_in
from llmrouterd.config.source import json_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jsonschema.exceptions import ValidationError

    from llmrouterd.config.source import Path, Source

_SECRET_KEYS = frozenset({"auth", "api_key", "key", "headers", "hf_token"})
Schema = dict[str, Any]


def known_settings(value: Any) -> frozenset[str]:
    """The environment variables that any text inside of plain data refers to."""
    return frozenset(names_in(str(value)))


def resolve(source: Source, schema: Schema, environ: Mapping[str, str]) -> None:
    """Replace references to the environment in `source.data`, in place, typed by the schema.

    An unset variable without a default is a problem at the text that names it.
    """
    for written, path, names in _default_references(schema, ()):
        if written not in source.values:
            _note_origin(source, path, names, environ)
    source.data = _resolve(source.data, schema, (), (source, environ))


def _note_origin(source: Source, path: Path, names: set[str], environ: Mapping[str, str]) -> None:
    found = tuple(sorted(name for name in names if environ.get(name)))
    if found:
        source.origins[path] = found


def _default_references(schema: Schema, path: Path) -> Iterator[tuple[Path, Path, set[str]]]:
    """(the key with the default, the place of a text in it, the variables the text names)."""
    pending = [(path, schema.get("default"))]
    while pending:
        where, value = pending.pop()
        if isinstance(value, dict):
            pending += [((*where, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            pending += [((*where, at), item) for at, item in enumerate(value)]
        elif isinstance(value, str) and names_in(value):
            yield path, where, names_in(value)
    for key, child in schema.get("properties", {}).items():
        yield from _default_references(child, (*path, key))


def _resolve(
    value: Any, schema: Schema, path: Path, context: tuple[Source, Mapping[str, str]]
) -> Any:
    if isinstance(value, dict):
        return {
            key: _resolve(item, _child(schema, key), (*path, key), context)
            for key, item in value.items()
        }
    if isinstance(value, list):
        items = schema.get("items", {})
        return [_resolve(item, items, (*path, at), context) for at, item in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value
    source, environ = context
    text, unset = interpolate(value, environ)
    _note_origin(source, path, names_in(value), environ)
    for name in unset:
        source.report(
            path,
            f"the environment variable {name} is not set; set it, or give a default with "
            f"${{{name}:-...}}",
        )
    return convert(text, schema.get("type"))


def _child(schema: Schema, key: str) -> Schema:
    found = schema.get("properties", {}).get(key)
    if found is None:
        found = schema.get("additionalProperties")
    return found if isinstance(found, dict) else {}


def validate(source: Source, schema: Schema) -> bool:
    """Report every violation of the schema with its place and what is allowed.

    What is at fault is then taken out of `source.data`, so that the rest can be checked for its
    meaning too; False where that is not possible.
    """
    errors = sorted(
        Draft202012Validator(schema).iter_errors(source.data), key=lambda e: str(e.json_path)
    )
    told = {problem.path for problem in source.problems}
    faulty: list[Path] = []
    usable = isinstance(source.data, dict)
    for error in errors:
        for at_key, where, message in _in_words(error, tuple(error.absolute_path)):
            if json_path(where) not in told:
                source.report(where, message, at_key=at_key)
            usable = usable and error.validator != "required" and _removable(where, schema)
            faulty.append(where)
    if usable:
        for where in faulty:
            _remove(source.data, where)
    return usable


def _removable(path: Path, schema: Schema) -> bool:
    """Whether what is at fault can be left out without changing what the rest means."""
    if not path or not isinstance(path[-1], str) or "when" in path:
        return False
    for part in path[:-1]:
        schema = schema.get("items", {}) if isinstance(part, int) else _child(schema, part)
    return path[-1] not in schema.get("required", ())


def _remove(data: Any, path: Path) -> None:
    for part in path[:-1]:
        if isinstance(data, dict) and part not in data:
            return
        data = data[part]
    data.pop(path[-1], None)


def _in_words(error: ValidationError, path: Path) -> Iterator[tuple[bool, Path, str]]:
    wanted: Any = error.validator_value
    value: Any = error.instance
    rule = error.validator
    shown = "the value" if _is_secret(path, value) else _short(value)
    if "propertyNames" in error.absolute_schema_path:
        message = f"{value!r} cannot be a name here; {_pattern_words(error.schema)}"
        yield True, (*path, str(value)), message
    elif rule == "additionalProperties":
        allowed = sorted(_child_names(error.schema))
        for key in value:
            if key not in allowed:
                near = get_close_matches(str(key), allowed, n=1, cutoff=0.6)
                hint = f"; did you mean {near[0]!r}" if near else ""
                message = f"unknown key {key!r}{hint}; allowed: {', '.join(allowed)}"
                yield True, (*path, key), message
    elif rule == "required":
        missing = ", ".join(name for name in wanted if name not in value)
        verb = "are" if "," in missing else "is"
        yield False, path, f"{missing} {verb} missing; required here: {', '.join(wanted)}"
    elif rule == "type" and value is None:
        yield False, path, f"is empty; must be {_kinds(wanted)}, or leave the key out"
    elif rule == "type":
        yield False, path, f"{shown} is {_kind(value)}; must be {_kinds(wanted)}"
    elif rule == "enum":
        yield False, path, f"{shown} is not allowed; use one of {', '.join(map(str, wanted))}"
    elif rule == "minimum":
        yield False, path, f"{shown} is too small; at least {wanted}"
    elif rule == "exclusiveMinimum":
        yield False, path, f"{shown} is too small; must be above {wanted}"
    elif rule == "maximum":
        yield False, path, f"{shown} is too large; at most {wanted}"
    elif rule == "minLength":
        yield False, path, "must not be empty"
    elif rule == "minItems":
        yield False, path, "must have at least one entry"
    elif rule == "pattern":
        yield False, path, f"{shown} is not allowed; {_pattern_words(error.schema)}"
    elif rule == "anyOf":
        names = [name for choice in wanted for name in choice.get("required", ())]
        yield False, path, f"one of these is missing: {', '.join(names)}"
    else:
        yield False, path, error.message


def _child_names(schema: Any) -> list[str]:
    return list(schema.get("properties", {}))


def _is_secret(path: Path, value: Any) -> bool:
    """Whether a value is or may hold a key: a whole mapping or list may, wherever it stands."""
    return isinstance(value, (dict, list)) or any(part in _SECRET_KEYS for part in path)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _kind(value: Any) -> str:
    kinds = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false"}
    kinds |= {int: "an integer", float: "a number", type(None): "empty"}
    return kinds.get(type(value), type(value).__name__)


def _pattern_words(schema: Any) -> str:
    if "enum" in schema:
        return f"use one of {', '.join(schema['enum'])}"
    examples = ", ".join(map(str, schema.get("examples", ())))
    example = f" (for example {examples})" if examples else ""
    reserved = schema.get("not", {}).get("enum", ())
    taken = f" and is none of {', '.join(reserved)}" if reserved else ""
    return f"use what fits {schema.get('pattern')}{example}{taken}"


def _kinds(wanted: Any) -> str:
    return " or ".join(map(_article, [wanted] if isinstance(wanted, str) else wanted))


def _article(name: str) -> str:
    words = {"string": "a text", "integer": "an integer", "number": "a number"}
    words |= {"boolean": "true or false", "array": "a list", "object": "a mapping"}
    return words.get(name, name)


def fill(value: Any, schema: Schema, environ: Mapping[str, str]) -> Any:
    """The data with every default of the schema; a default of null means 'not said'.

    Defaults may refer to the environment, so they are resolved like the file's own texts.
    """
    if isinstance(value, dict) and schema.get("type") == "object":
        filled = {key: fill(item, _child(schema, key), environ) for key, item in value.items()}
        for key, child in schema.get("properties", {}).items():
            if key not in filled:
                default = _default(child, environ)
                filled[key] = None if default is None else fill(default, child, environ)
        return filled
    if isinstance(value, list):
        return [fill(item, schema.get("items", {}), environ) for item in value]
    return value


def _default(schema: Schema, environ: Mapping[str, str]) -> Any:
    return _plain(deepcopy(schema.get("default")), schema, environ)


def _plain(value: Any, schema: Schema, environ: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item, _child(schema, key), environ) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, schema.get("items", {}), environ) for item in value]
    if isinstance(value, str) and "${" in value:
        return convert(interpolate(value, environ)[0], schema.get("type"))
    return value


def environment_problems(schema: Schema, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(variable, message) for each setting of the environment that its key does not accept."""
    for variable, key, child in _settings(schema, ""):
        text = environ.get(variable)
        if text:
            value = convert(text, child.get("type"))
            for error in Draft202012Validator(child).iter_errors(value):
                words = [message for _, _, message in _in_words(error, (key,))]
                yield variable, f"{words[0] if words else error.message} (it sets {key})"


def _settings(schema: Schema, path: str) -> Iterator[tuple[str, str, Schema]]:
    for key, child in schema.get("properties", {}).items():
        here = f"{path}.{key}".lstrip(".")
        default = child.get("default")
        if isinstance(default, str):
            match = re.fullmatch(r"\$\{([A-Z_]+):-[^}]*\}", default)
            if match:
                yield match[1], here, child
        yield from _settings(child, here)
