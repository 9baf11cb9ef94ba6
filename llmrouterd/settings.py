"""The process environment -> Settings, read once: where things are, not what to do.

What to do is in router.yaml, which may refer to the same environment. `ENV_DEFAULT` documents
every variable.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dotenv import dotenv_values

from llmrouterd import data

if TYPE_CHECKING:
    from collections.abc import Mapping

# Read here; every other ROUTER_ variable is read through a `${...}` of the policy or its schema.
NAMES = frozenset({"ROUTER_CONFIG", "ROUTER_RULES", "ROUTER_STATE_DIR", "ROUTER_ENV_FILE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """policy: the router.yaml in use. rules: the folder of the lexicons, None for the usual
    search. state: folder of the database and caches. environ: process environment over .env."""

    policy: Path
    rules: Path | None
    state: Path
    environ: Mapping[str, str]


def read_settings(process_environ: Mapping[str, str], policy: str | None = None) -> Settings:
    """Settings from the environment, with a `.env` file (ROUTER_ENV_FILE, default ./.env) below.

    policy: path given on the command line, which wins over ROUTER_CONFIG. Without both,
    ./config/router.yaml, /etc/llmrouterd/router.yaml and the packaged one are looked for.
    """
    file = process_environ.get("ROUTER_ENV_FILE") or ".env"
    written = {key: text for key, text in dotenv_values(file).items() if text is not None}
    environ = {**written, **process_environ}
    rules = environ.get("ROUTER_RULES")
    return Settings(
        policy=_policy_path(policy or environ.get("ROUTER_CONFIG")),
        rules=Path(rules) if rules else None,
        state=_state_path(environ),
        environ=environ,
    )


def _policy_path(given: str | None) -> Path:
    if given:
        return Path(given)
    for candidate in (Path("config/router.yaml"), Path("/etc/llmrouterd/router.yaml")):
        if candidate.is_file():
            return candidate
    return data.DEFAULT_POLICY


def _state_path(environ: Mapping[str, str]) -> Path:
    given = environ.get("ROUTER_STATE_DIR") or environ.get("STATE_DIRECTORY")
    if given:
        return Path(given.split(":")[0])
    home = environ.get("XDG_STATE_HOME") or os.path.join(
        environ.get("HOME") or os.path.expanduser("~"), ".local", "state"
    )
    return Path(home) / "llmrouterd"
