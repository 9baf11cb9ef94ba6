"""The files that a policy is read from: where they are, and whether they have changed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from llmrouterd import data
from llmrouterd.config.cases import tests_file

if TYPE_CHECKING:
    from pathlib import Path

    from llmrouterd.settings import Settings


def rules_folder(settings: Settings) -> Path:
    """The folder of the owner's lexicons: ROUTER_RULES, `rules` beside or above the policy's
    folder, else the packaged one."""
    if settings.rules is not None:
        return settings.rules
    here = settings.policy.resolve().parent
    for candidate in (here / "rules", here.parent / "rules"):
        if candidate.is_dir():
            return candidate
    return data.RULES


def fingerprint(settings: Settings) -> str:
    """A digest of the bytes of the policy, of the lexicons, of JSON beside the policy
    (`evidence.file`), and of `tests.file`; a missing file counts as such."""
    digest = hashlib.sha256()
    lexicons = sorted(rules_folder(settings).glob("*.y*ml"))
    numbers = sorted(settings.policy.resolve().parent.glob("*.json"))
    policy = _add(digest, settings.policy)
    cases = tests_file(policy, settings)
    for path in (*lexicons, *numbers, *((cases,) if cases else ())):
        _add(digest, path)
    return digest.hexdigest()[:16]


def _add(digest: hashlib._Hash, path: Path) -> bytes:
    """Add a file's name and bytes, which are returned; none where it cannot be read."""
    digest.update(str(path).encode())
    try:
        content = path.read_bytes()
    except OSError:
        digest.update(b"\x00missing")
        return b""
    digest.update(content)
    return content
