"""Files that travel with the package: the schema, the default policy, the lexicons, figures.

`config` and `rules` are the folders of the same names at the top of the repository.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

ROOT = Path(str(files(__name__)))
SCHEMA = ROOT / "config" / "schema.json"
LEXICON_SCHEMA = ROOT / "config" / "lexicon.schema.json"
DEFAULT_POLICY = ROOT / "config" / "router.yaml"
RULES = ROOT / "rules"
EVIDENCE = ROOT / "evidence.json"
EVIDENCE_SCHEMA = ROOT / "evidence.schema.json"
PROBES = ROOT / "probes.json"
CATEGORY_MODEL = ROOT / "classifier" / "category.bin"
SEMANTIC_MODEL = ROOT / "classifier" / "semantic.json"
