"""The bars that the code holds itself to: sizes, names, imports, errors, words, licence."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "llmrouterd").rglob("*.py"))
MOST_LINES, MOST_FUNCTION_LINES, MOST_PARAMETERS = 400, 60, 6
BROAD = {"Exception", "BaseException"}
# Words that say nothing of what a thing is. Keys of the policy are not names of ours.
VAGUE = re.compile(r"(?i)managers?|helpers?|utils?|services?|engines?|processors?|misc")
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b|\b(?i:not implemented|placeholder for now)\b")
# Written in pieces, or this file would be at fault itself.
MACHINE = re.compile(
    "|".join(["/wo" + "rk/", "/ro" + "ot/(?!\\.ollama)", "pypi" + r"\.org/simple"])
)
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def each(kind: type | tuple[type, ...]) -> Iterator[tuple[str, ast.AST]]:
    """Every node of a kind in the package, with its place."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kind):
                yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", node


def tracked() -> list[Path]:
    """The text files that belong to the repository, new ones included."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:4096]]


def test_the_package_is_found() -> None:
    assert len(SOURCES) > 50


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_functions_are_short() -> None:
    found = [
        f"{place} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for place, node in each(FUNCTION)
        if node.end_lineno - node.lineno + 1 > MOST_FUNCTION_LINES
    ]
    assert found == []


def test_functions_have_few_parameters() -> None:
    found = []
    for place, node in each((*FUNCTION, ast.Lambda)):
        arguments = node.args
        names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        if names[:1] in (["self"], ["cls"]):
            names = names[1:]
        if len(names) > MOST_PARAMETERS:
            found.append(f"{place}: {', '.join(names)}")
    assert found == []


def test_no_global_state() -> None:
    assert [place for place, _ in each((ast.Global, ast.Nonlocal))] == []


def test_no_imports_inside_of_functions() -> None:
    found = [
        place
        for place, function in each(FUNCTION)
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    # The child of a managed model imports what its command line asks for, and nothing else.
    assert [place for place in found if "llama_child.py" not in place] == []


def test_broad_excepts_are_boundaries() -> None:
    found = []
    for place, node in each(ast.ExceptHandler):
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        broad = any(kind is None or getattr(kind, "id", "") in BROAD for kind in kinds)
        path, _, line = place.rpartition(":")
        text = (ROOT / path).read_text(encoding="utf-8").splitlines()[int(line) - 1]
        if broad and "# boundary:" not in text:
            found.append(place)
    assert found == []


def test_what_is_public_has_a_docstring() -> None:
    found = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not ast.get_docstring(tree):
            found.append(f"{path.relative_to(ROOT)}")
        for node in tree.body:
            public = isinstance(node, (*FUNCTION, ast.ClassDef)) and not node.name.startswith("_")
            if public and not ast.get_docstring(node) and not _is_plain(node):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert found == []


def _is_plain(node: ast.AST) -> bool:
    """Whether a class holds nothing but values whose names say it all."""
    return isinstance(node, ast.ClassDef) and all(
        isinstance(item, (ast.Assign, ast.AnnAssign)) for item in node.body
    )


def test_names_say_what_things_are() -> None:
    names = [(str(path.relative_to(ROOT)), path.stem) for path in SOURCES]
    names += [(str(path.parent.relative_to(ROOT)), path.parent.name) for path in SOURCES]
    names += [(place, node.name) for place, node in each((*FUNCTION, ast.ClassDef))]
    found = []
    for place, name in names:
        words = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)
        found += [f"{place} {name}" for word in words if VAGUE.fullmatch(word)]
    assert found == []


def test_nothing_is_left_unfinished() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if UNFINISHED.search(line)
    ]
    found += [
        place
        for place, node in each(ast.Name)
        if node.id in ("NotImplemented", "NotImplementedError")
    ]
    assert found == []


def test_no_paths_of_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked()
        for number, line in enumerate(
            path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1
        )
        if MACHINE.search(line)
    ]
    assert found == []


def test_the_licence_is_mit() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.startswith("MIT License\n")
    assert "Permission is hereby granted, free of charge, to any person" in text
    assert "license = MIT" in (ROOT / "setup.cfg").read_text(encoding="utf-8")
