"""How each source is doing, and when it is asked again. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from llmrouterd import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

NEVER, OK, STALE, FAILED, OFF = "never", "ok", "stale", "failed", "off"
_HOUR = 3600.0
_FROZEN_HOURS = 30 * 24.0
_FIRST_RETRY = 900.0
_LONGEST_RETRY = 6 * _HOUR
# Minutes after the start in which nothing is asked, so that a quick try reaches out to nobody.
_QUIET = (60.0, 600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What tells that the body of a URL has not changed; "" is 'not known'."""

    etag: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The status row of one source.

    status: ok; stale (the last try failed, the last good figures are used); failed (there are
    none); never (not tried yet; its figures, if any, are the packaged ones). checked_at and
    synced_at: when it was tried and when its figures last proved good, in ISO 8601, "" for never.
    next_at: Unix time of the next try, 0 where it is not known yet. failures: tries that failed
    since the last good one.
    """

    source: str
    status: str = NEVER
    checked_at: str = ""
    synced_at: str = ""
    http_status: int | None = None
    rows: int = 0
    published: str = ""
    detail: str = ""
    next_at: float = 0.0
    marks: Mapping[str, Mark] = field(default_factory=dict)
    failures: int = 0


def from_row(row: Mapping[str, Any]) -> Status:
    """A status as the store has kept it. Marks of another version of the program do not count:
    it may read more from the same bodies."""
    kept = orjson.loads(row.get("etags") or "{}")
    marks = kept.get("marks", {}) if kept.get("version") == __version__ else {}
    return Status(
        source=row["source"],
        status=row["status"],
        checked_at=row["checked_at"],
        synced_at=row["synced_at"],
        http_status=row["http_status"],
        rows=row["rows"],
        published=row["published"],
        detail=row["detail"],
        next_at=row["next_at"],
        marks={url: Mark(**mark) for url, mark in marks.items()},
    )


def to_row(status: Status) -> dict[str, Any]:
    """The row for the store, without the source's name."""
    marks = {url: asdict(mark) for url, mark in status.marks.items()}
    row = asdict(status)
    for name in ("source", "marks", "failures"):
        del row[name]
    return {**row, "etags": orjson.dumps({"version": __version__, "marks": marks}).decode()}


def shown(status: Status) -> dict[str, Any]:
    """As the owner sees it, ready for JSON."""
    data = asdict(status)
    del data["marks"]
    return {**data, "next_at": moment(status.next_at) if status.next_at else None}


def moment(now: float) -> str:
    """A Unix time in ISO 8601."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")


def succeeded(
    status: Status, now: float, detail: str, *, http_status: int | None, next_at: float
) -> Status:
    """After a try that brought good figures, or word that they are still good."""
    return replace(
        status,
        status=OK,
        checked_at=moment(now),
        synced_at=moment(now),
        http_status=http_status,
        detail=detail,
        next_at=next_at,
        failures=0,
    )


def failed(
    status: Status, now: float, detail: str, *, http_status: int | None, next_at: float
) -> Status:
    """After a try that failed: what was there stays."""
    return replace(
        status,
        status=STALE if status.rows else FAILED,
        checked_at=moment(now),
        http_status=http_status,
        detail=detail,
        next_at=next_at,
        failures=status.failures + 1,
    )


def next_sync(now: float, every_hours: float, frozen: bool, chance: float) -> float:
    """When to ask again after a success, Unix time. chance: 0..1, spreads by a tenth."""
    hours = max(every_hours, _FROZEN_HOURS) if frozen else every_hours
    return now + hours * _HOUR * (0.9 + 0.2 * chance)


def next_retry(now: float, failures: int, retry_after: float | None, chance: float) -> float:
    """When to ask again after so many failures in a row, 1 or more."""
    pause = min(_LONGEST_RETRY, _FIRST_RETRY * 2.0 ** min(failures - 1, 10))
    return now + max(pause * (0.5 + chance), retry_after or 0.0)


def quiet_until(now: float, chance: float) -> float:
    """Until when a source that was just met is left alone, Unix time."""
    low, high = _QUIET
    return now + low + (high - low) * chance
