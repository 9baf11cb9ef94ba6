"""Which published model a local name means: a canonical key, and rules that compare keys. Pure."""

from __future__ import annotations

from llmrouterd.naming.index import NameIndex, names_of
from llmrouterd.naming.key import ModelKey, parse_name
from llmrouterd.naming.records import GRADES, Identity, LineRow, Match, Resolution
from llmrouterd.naming.tables import NameTables, make_tables

__all__ = [
    "GRADES",
    "Identity",
    "LineRow",
    "Match",
    "ModelKey",
    "NameIndex",
    "NameTables",
    "Resolution",
    "make_tables",
    "names_of",
    "parse_name",
]
