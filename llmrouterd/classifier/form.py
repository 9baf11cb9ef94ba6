"""The form of a prompt: what tells apart, within a category, the kinds that models differ on.

An exam question with options asks for something else than the same question asked freely, a
formula for something else than a story with numbers. `category/form` is a prompt's kind; a model's
evidence may know it (`scorer`), and falls back to the category where it does not.
"""

from __future__ import annotations

import re

FORMS = ("exam", "code", "formula", "long", "question", "plain")
_HEAD = 4000
_LONG = 300  # characters
_OPTION = re.compile(r"(?:^|[\s(])\(?[A-Ea-e][.):、．]\s?\S")
_OPTIONS = 3
_CODE = re.compile(r"```|\bdef \w+\(|\n {4}\S|[;{}]\s*\n")
_FORMULA = re.compile(r"\\[a-zA-Z(\[]|\$[^$\n]+\$|[∫∑√]|\w\^[{\d]")


def form_of(text: str) -> str:
    """One of FORMS, the first that holds."""
    text = text.strip()[:_HEAD]
    if len(_OPTION.findall(text)) >= _OPTIONS:
        return "exam"
    if _CODE.search(text):
        return "code"
    if _FORMULA.search(text):
        return "formula"
    if len(text) > _LONG:
        return "long"
    return "question" if text.endswith(("?", "？", "؟")) else "plain"


def kind_of(category: str, form: str) -> str:
    """The key of a prompt's kind in a model's evidence."""
    return f"{category}/{form}"
