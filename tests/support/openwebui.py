"""What a real Open WebUI sent to its backends, recorded on the wire."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORDING = "data/openwebui/requests.jsonl.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One request: its place in the recording, the user's action, the wire, the answer's status.

    `headers` are (name, value) pairs in the order and the spelling they were sent; `body` is the
    parsed JSON body or None; `status` is what the recording backend answered.
    """

    seq: int
    label: str
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: Any
    status: int

    def header(self, name: str) -> str | None:
        """The first value of a header by its case-insensitive name, or None."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)


def shared_directory() -> Path:
    """The directory of shared data: $LLMROUTERD_SHARED, or `shared` beside the repository."""
    beside = Path(__file__).resolve().parents[3] / "shared"
    return Path(os.environ.get("LLMROUTERD_SHARED") or beside)


def recorded(label: str | None = None, path: str | None = None) -> list[Recorded]:
    """The recorded requests in the order they were sent.

    `label` keeps those whose label contains it, `path` those of exactly that path. Raises
    FileNotFoundError when the recording is not there.
    """
    requests: list[Recorded] = []
    with gzip.open(shared_directory() / RECORDING, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if label is not None and label not in row["label"]:
                continue
            if path is not None and path != row["path"]:
                continue
            headers = tuple((name, value) for name, value in row["headers"])
            fields = {key: row[key] for key in ("seq", "label", "method", "path", "body", "status")}
            requests.append(Recorded(headers=headers, **fields))
    return sorted(requests, key=lambda each: each.seq)
