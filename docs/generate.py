"""Writes docs/configuration.md from config/schema.json and ENV_DEFAULT.

    python docs/generate.py [--check]

With --check nothing is written; the exit status is 1 if the file is not what it should be.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = ROOT / "config" / "schema.json"
SETTINGS = ROOT / "ENV_DEFAULT"
TARGET = ROOT / "docs" / "configuration.md"
Schema = dict[str, Any]

_INTRODUCTION = """# Configuration

<!-- Written by docs/generate.py from config/schema.json and ENV_DEFAULT: change those, then run
     `make docs`. -->

All that the router does is said in one file, `router.yaml`. Every key has a default, so an empty
file is a policy; `config/router.yaml` is a commented one to begin with. Its first line tells
editors with a YAML language server where the schema is: they complete and check while you type.

- **Which file**: the one given on the command line, else `ROUTER_CONFIG`, else
  `./config/router.yaml`, else `/etc/llmrouterd/router.yaml`, else the packaged default.
- **Lexicons** are files of their own: see [lexicons.md](lexicons.md).
- **Edits** apply while the daemon runs. The file is checked as a whole: with any problem in it, the
  edit is refused and the old policy keeps serving. `llmrouterd check` says the same beforehand, one
  line a problem: `file:line:column: path: what is wrong, what is allowed`.
- **Restart needed** for `server.host`, `server.port` and `storage.database` only. The log says so
  (`config.restart_needed`), and the rest of the edit is applied.
- **Environment**: a text may hold `${NAME}` or `${NAME:-default}`; `:-` also replaces an empty
  value, as in a shell, and `$${` stands for `${`. `NAME` comes from the process environment,
  else from `.env`. A reference that is not set and has no default is a problem. The environment
  is read at start; edits of `.env` need a restart.
- **Lists replace** the default list as a whole: a file with `backends` has those backends only. The
  same holds for `categories`.
- **Patterns** (`when.text`, lexicons) are RE2: linear in time, without look-around and
  back-references. **Globs** (`include`, `only`, `prefer`, `pins`, `match`) know `*`, `?` and
  `[...]`, in any case of letters.
"""

_SETTINGS = """## Settings

Variables for the environment or for `.env` (copy `ENV_DEFAULT`); the environment wins. Those with a
key are that key's default; a value written in `router.yaml` without the reference wins over them.
A variable that begins with `ROUTER_` and is neither here nor named by the policy is refused, with
the nearest name.

| variable | default | key | meaning |
|---|---|---|---|
"""


def render(schema: Schema) -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    names = ", ".join(f"[{key}](#{key})" for key in schema["properties"])
    parts.append(f"Sections: {names}, and the [settings](#settings).\n")
    for key, child in schema["properties"].items():
        parts.append(_section(key, child))
    parts.append(_SETTINGS + "".join(_setting_rows(schema)))
    return "\n".join(parts)


def _section(key: str, child: Schema) -> str:
    rows = list(_rows(key, child))
    lines = [f"## {key}", "", child["description"], ""]
    if len(rows) == 1 and not _children(child):
        lines += [_facts(child), ""]
    else:
        facts = _facts(child)
        lines += (
            [facts, ""] if child["type"] != "object" or "additionalProperties" not in child else []
        )
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        lines += [_row(*row) for row in rows[1:]]
        lines.append("")
    for example in child.get("examples", ())[:1]:
        lines += ["```yaml", *_yaml({key: example}), "```", ""]
    return "\n".join(lines)


def _rows(path: str, schema: Schema, required: bool = False) -> Iterator[tuple[str, Schema, bool]]:
    """(path, schema, whether it must be given) of a key and of all keys below it."""
    yield path, schema, required
    items, more = schema.get("items"), schema.get("additionalProperties")
    for inner, mark in ((schema, ""), (items, "[]"), (more, ".*")):
        if isinstance(inner, dict):
            for key, child in inner.get("properties", {}).items():
                yield from _rows(f"{path}{mark}.{key}", child, key in inner.get("required", ()))


def _children(schema: Schema) -> bool:
    more = schema.get("additionalProperties")
    items = schema.get("items")
    return (
        bool(schema.get("properties"))
        or (isinstance(more, dict) and bool(more.get("properties")))
        or (isinstance(items, dict) and bool(items.get("properties")))
    )


def _row(path: str, schema: Schema, required: bool) -> str:
    meaning = schema["description"]
    examples = schema.get("examples", ())
    if examples and not _children(schema):
        meaning += f" Example: `{_short(examples[0])}`."
    default = "required" if required else _default(schema)
    return f"| `{path}` | {_type(schema)} | {default} | {_cell(meaning)} |"


def _facts(schema: Schema) -> str:
    return f"Type: {_type(schema)}. Default: {_default(schema)}."


def _type(schema: Schema) -> str:
    kinds = {"array": "list", "object": "mapping", "string": "text", "boolean": "true, false"}
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return " or ".join(_type({**schema, "type": one}) for one in kind)
    name = kinds.get(kind, kind)
    items = schema.get("items")
    if kind == "array" and isinstance(items, dict):
        inner = _type(items)
        name = "list of mappings" if inner == "mapping" else f"list of {inner}"
    bounds = [
        f"{word} {schema[rule]:g}"
        for rule, word in (("minimum", "from"), ("maximum", "to"))
        if rule in schema
    ]
    return " ".join([name, *bounds])


def _default(schema: Schema) -> str:
    if "default" not in schema:
        return "required"
    default = schema["default"]
    if default is None:
        return "not set"
    text = _short(default)
    if len(text) > 90:
        names = list(default) if isinstance(default, dict) else [item["name"] for item in default]
        return _cell(", ".join(f"`{name}`" for name in names))
    return f"`{text}`" if text not in ("", '""') else "empty"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.replace("|", "\\|")


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(text.split()))


def _setting_rows(schema: Schema) -> Iterator[str]:
    """One row a variable of ENV_DEFAULT, with the comment above it."""
    keys = _keys_by_variable(schema)
    comment: list[str] = []
    used = False  # by the variable above; one that has no comment of its own shares it
    for line in SETTINGS.read_text(encoding="utf-8").splitlines():
        match = re.fullmatch(r"(?:# )?(ROUTER_[A-Z_]+)=(.*)", line)
        if match:
            key = f"`{keys[match[1]]}`" if match[1] in keys else ""
            default = f"`{match[2]}`" if match[2] and not line.startswith("#") else "empty"
            yield f"| `{match[1]}` | {default} | {key} | {_cell(' '.join(comment))} |\n"
            used = True
        else:
            comment = [] if used else comment
            used = False
            if line.startswith("# ") and not line.startswith("# ---"):
                comment.append(line[2:])
            else:
                comment = []


def _keys_by_variable(schema: Schema) -> dict[str, str]:
    """The key whose default refers to each variable."""
    found: dict[str, str] = {}
    for top, child in schema["properties"].items():
        for path, item, _ in _rows(top, child):
            for key, text in _texts(path, item.get("default")):
                for name in re.findall(r"\$\{(ROUTER_[A-Z_]+)", text):
                    found.setdefault(name, key)
    return found


def _texts(path: str, default: Any) -> Iterator[tuple[str, str]]:
    """(key, text) of a default, and of the entries of a list of mappings."""
    if isinstance(default, str):
        yield path, default
    elif isinstance(default, list):
        for entry in default:
            if isinstance(entry, dict):
                for key, value in entry.items():
                    yield from _texts(f"{path}[].{key}", value)


def _yaml(value: Any, depth: int = 0) -> Iterator[str]:
    """Plain YAML of plain data; flow style for what is short."""
    pad = "  " * depth
    if isinstance(value, dict):
        for key, item in value.items():
            name = json.dumps(key) if not re.fullmatch(r"[A-Za-z_][\w.-]*", key) else key
            if isinstance(item, (dict, list)) and item:
                yield f"{pad}{name}:"
                yield from _yaml(item, depth + 1)
            else:
                yield f"{pad}{name}: {_scalar(item)}"
    else:
        for item in value:
            if isinstance(item, dict):
                lines = list(_yaml(item, depth + 1))
                yield f"{pad}- {lines[0].lstrip()}"
                yield from lines[1:]
            else:
                yield f"{pad}- {_scalar(item)}"


def _scalar(value: Any) -> str:
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][\w./:-]*", value)
    words = {"true", "false", "yes", "no", "on", "off", "null"}
    if plain and value.lower() not in words and not re.fullmatch(r"[\d.:_-]+", value):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def main(arguments: list[str]) -> int:
    """Write the page, or compare it with --check."""
    text = render(json.loads(SCHEMA.read_text(encoding="utf-8")))
    if "--check" not in arguments:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    print(f"{TARGET.name} is not current: run python docs/generate.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
