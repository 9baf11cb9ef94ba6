"""Small generated programs with what they print: trees of ours, shown as Python or JavaScript.

A tree is run here by a tiny interpreter of its own; no text is ever run.
expressions: int | str (a variable) | (operator, left, right) | ("call", argument);
statements: ("set", name, expression), ("add", name, expression), ("if", condition, then, else),
("for", name, start, stop, body), ("while", condition, body), ("list", name, items),
("push", list, expression), ("same", name, list), ("each", name, list, body),
("put", list, index, expression).
"""

from __future__ import annotations

from typing import Any

_STEPS = 5000
Tree = Any


class TooLong(ValueError):
    """A program does not end soon, or its numbers grow too large."""


class Run:
    """The variables of a run. `function`: (parameter, base condition, base, otherwise)."""

    def __init__(self, function: Tree = None) -> None:
        self.values: dict[str, Any] = {}
        self._function = function
        self._steps = 0

    def value(self, tree: Tree) -> Any:
        """What an expression is worth."""
        self._steps += 1
        if self._steps > _STEPS:
            raise TooLong
        if isinstance(tree, int):
            return tree
        if isinstance(tree, str):
            return self.values[tree]
        if tree[0] == "call":
            return self._called(self.value(tree[1]))
        if tree[0] == "item":
            return self.values[tree[1]][self.value(tree[2])]
        if tree[0] == "size":
            return len(self.values[tree[1]])
        left, right = self.value(tree[1]), self.value(tree[2])
        made = _apply(tree[0], left, right)
        if abs(made) > 10**9 or (tree[0] in "%/" and (left < 0 or right < 1)):
            raise TooLong  # languages differ there
        return made

    def _called(self, argument: Any) -> Any:
        name, condition, base, otherwise = self._function
        kept = self.values.get(name)
        self.values[name] = argument
        made = self.value(base) if self.value(condition) else self.value(otherwise)
        self.values[name] = kept
        return made

    def do(self, body: list[Tree]) -> None:
        """Run statements."""
        for statement in body:
            kind, name, *rest = statement
            if kind == "set":
                self.values[name] = self.value(rest[0])
            elif kind == "add":
                self.values[name] += self.value(rest[0])
            elif kind == "if":
                self.do(rest[0] if self.value(name) else rest[1])
            elif kind == "for":
                for number in range(self.value(rest[0]), self.value(rest[1])):
                    self.values[name] = number
                    self.do(rest[2])
            elif kind == "while":
                while self.value(name):
                    self.do(rest[0])
            else:
                self._on_list(kind, name, rest)

    def _on_list(self, kind: str, name: str, rest: list[Any]) -> None:
        if kind == "list":
            self.values[name] = list(rest[0])
        elif kind == "push":
            self.values[name].append(self.value(rest[0]))
        elif kind == "same":
            self.values[name] = self.values[rest[0]]
        elif kind == "copy":
            self.values[name] = list(self.values[rest[0]])
        elif kind == "put":
            self.values[name][self.value(rest[0])] = self.value(rest[1])
        else:  # each
            for item in list(self.values[rest[0]]):
                self.values[name] = item
                self.do(rest[1])


def _apply(operator: str, left: int, right: int) -> int:
    if operator in "+-*":
        return (
            left + right if operator == "+" else left - right if operator == "-" else left * right
        )
    if operator in "%/":
        if right == 0:
            raise TooLong
        return left % right if operator == "%" else left // right
    return {"<": left < right, ">": left > right, "==": left == right, "<=": left <= right}[
        operator
    ]


def show_value(tree: Tree, js: bool) -> str:
    """An expression in the language's own way of writing."""
    if not isinstance(tree, tuple):
        return str(tree)
    if tree[0] == "call":
        return f"f({show_value(tree[1], js)})"
    if tree[0] == "item":
        return f"{tree[1]}[{show_value(tree[2], js)}]"
    if tree[0] == "size":
        return f"{tree[1]}.length" if js else f"len({tree[1]})"
    left, right = (_inner(part, js) for part in tree[1:])
    if tree[0] == "/":
        return f"Math.floor({left} / {right})" if js else f"{left} // {right}"
    operator = "===" if js and tree[0] == "==" else tree[0]
    return f"{left} {operator} {right}"


def _inner(tree: Tree, js: bool) -> str:
    shown = show_value(tree, js)
    simple = not isinstance(tree, tuple) or tree[0] in ("call", "item", "size")
    return shown if simple or (js and tree[0] == "/") else f"({shown})"


def show_body(body: list[Tree], js: bool, depth: int, known: set[str]) -> list[str]:
    """Statements as lines. `known`: the variables that were declared already."""
    lines: list[str] = []
    pad = ("  " if js else "    ") * depth
    for statement in body:
        lines += [pad + line for line in _shown(statement, js, known)]
    return lines


def _block(head: str, body: list[Tree], js: bool, known: set[str]) -> list[str]:
    inner = show_body(body, js, 1, known)
    return [f"{head} {{", *inner, "}"] if js else [f"{head}:", *inner]


def _shown(statement: Tree, js: bool, known: set[str]) -> list[str]:
    kind, name, *rest = statement
    end = ";" if js else ""
    if kind in ("set", "list", "same", "copy"):
        if kind == "set":
            made = show_value(rest[0], js)
        else:
            made = str(rest[0]) + ((".slice()" if js else "[:]") if kind == "copy" else "")
        declare = "let " if js and name not in known else ""
        known.add(name)
        return [f"{declare}{name} = {made}{end}"]
    if kind == "add":
        return [f"{name} += {show_value(rest[0], js)}{end}"]
    if kind == "push":
        return [f"{name}.{'push' if js else 'append'}({show_value(rest[0], js)}){end}"]
    if kind == "put":
        return [f"{name}[{show_value(rest[0], js)}] = {show_value(rest[1], js)}{end}"]
    if kind == "if":
        condition = show_value(name, js)
        lines = _block(f"if ({condition})" if js else f"if {condition}", rest[0], js, known)
        if rest[1]:
            other = _block("else", rest[1], js, known)
            if js:
                lines[-1] += " " + other.pop(0)
            lines += other
        return lines
    if kind == "while":
        condition = show_value(name, js)
        return _block(f"while ({condition})" if js else f"while {condition}", rest[0], js, known)
    if kind == "for":
        start, stop = (show_value(part, js) for part in rest[:2])
        head = f"for (let {name} = {start}; {name} < {stop}; {name}++)"
        return _block(head if js else f"for {name} in range({start}, {stop})", rest[2], js, known)
    head = f"for (const {name} of {rest[0]})" if js else f"for {name} in {rest[0]}"
    return _block(head, rest[1], js, known)


def show_function(function: Tree, js: bool) -> list[str]:
    """A recursive function of one parameter as lines."""
    name, condition, base, otherwise = function
    test, first, last = (show_value(part, js) for part in (condition, base, otherwise))
    if js:
        return [
            f"function f({name}) {{", f"  if ({test}) {{", f"    return {first};", "  }",
            f"  return {last};", "}",
        ]  # fmt: skip
    return [f"def f({name}):", f"    if {test}:", f"        return {first}", f"    return {last}"]
