"""The figures of a run as Markdown: medians over the rounds, ratios paired within each round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

Rounds = Sequence[Mapping[str, Any]]
Subjects = Mapping[str, Mapping[str, Any]]
_MB = 1e6
_BOUND = 0.9


def figure(rounds: Rounds, key: str) -> float | None:
    """The median of one figure over the rounds; None if a round lacks it."""
    values = [float(one[key]) for one in rounds if one.get(key) is not None]
    return median(values) if values and len(values) == len(rounds) else None


def ratio(rounds: Rounds, base: Rounds, key: str) -> float | None:
    """The median of the ratios to `base`, each within its own round, so that drift cancels."""
    ratios: list[float] = []
    for one, other in zip(rounds, base, strict=False):
        if one.get(key) is None or not other.get(key):
            return None
        ratios.append(one[key] / other[key])
    return median(ratios) if ratios else None


def invalid(rounds: Rounds) -> bool:
    """True if any answer of the cell was wrong."""
    return any(one["errors"] for one in rounds)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _times(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}x" if value >= 100 else f"{value:.3g}x"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[index]) for row in (head, *rows)) for index in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join([first, *rest]) + " |"

    rule = "|" + "|".join("-" * (width + 1) + (":" if i else "-") for i, width in enumerate(widths))
    return "\n".join([line(head), rule + "|", *(line(row) for row in rows)])


class _Row:
    """The texts of one subject's row, cell by cell."""

    def __init__(self, subjects: Subjects, name: str) -> None:
        self._subjects = subjects
        self._name = name
        self.texts = [name]

    def _rounds(self, subject: str, cell: str) -> Rounds:
        rounds: Rounds = self._subjects.get(subject, {}).get("cells", {}).get(cell, [])
        return rounds

    def add(self, cell: str, key: str, show: Callable[[float | None], str] = _number) -> None:
        """One figure; `INVALID` if an answer was wrong, `*` if the load generator was the limit."""
        rounds = self._rounds(self._name, cell)
        if rounds and invalid(rounds):
            self.texts.append("INVALID")
            return
        bound = key.endswith("_per_s") and any(
            one["generator_cpu_s"] > _BOUND * one["seconds"] for one in rounds
        )
        self.texts.append(show(figure(rounds, key)) + ("*" if bound else ""))

    def add_ratio(self, cell: str, key: str, base: str) -> None:
        """The ratio to another subject."""
        own, other = self._rounds(self._name, cell), self._rounds(base, cell)
        wrong = invalid(own) or invalid(other)
        self.texts.append("-" if wrong else _times(ratio(own, other, key)))

    def add_over(self, cell: str, key: str, base: str) -> None:
        """The difference to another subject, in the figure's unit."""
        own = figure(self._rounds(self._name, cell), key)
        other = figure(self._rounds(base, cell), key)
        self.texts.append("-" if own is None or other is None else f"{own - other:+.2f}")


def _plain(subjects: Subjects) -> str:
    head = ["subject", "req/s c=1", "p50 ms", "p99 ms", "req/s c=32", "p50 ms", "p99 ms"]
    head += ["to direct", "to bare", "CPU us/req", "to bare"]
    rows = []
    for name in subjects:
        row = _Row(subjects, name)
        for cell in ("plain-1", "plain-32"):
            for key in ("requests_per_s", "latency_p50_ms", "latency_p99_ms"):
                row.add(cell, key)
        row.add_ratio("plain-32", "requests_per_s", "direct")
        row.add_ratio("plain-32", "requests_per_s", "bare")
        row.add("plain-32", "cpu_us_per_request")
        row.add_ratio("plain-32", "cpu_us_per_request", "bare")
        rows.append(row.texts)
    return _table(head, rows)


def _first_token(subjects: Subjects) -> str:
    head = ["subject"]
    for count in (1, 32, 256):
        head += [f"p50 ms, {count}", "p99 ms", "over direct", "to bare"]
    head += ["CPU us/event", "gap p99 ms"]
    rows = []
    for name in subjects:
        row = _Row(subjects, name)
        for count in (1, 32, 256):
            cell = f"paced-{count}"
            row.add(cell, "first_token_p50_ms")
            row.add(cell, "first_token_p99_ms")
            row.add_over(cell, "first_token_p50_ms", "direct")
            row.add_ratio(cell, "first_token_p50_ms", "bare")
        row.add("paced-256", "cpu_us_per_token")
        row.add("paced-256", "gap_p99_ms")
        rows.append(row.texts)
    return _table(head, rows)


def _events(subjects: Subjects) -> str:
    head = ["subject"]
    for count in (1, 32, 256):
        head += [f"events/s, {count}", "to bare"]
    rows = []
    for name in subjects:
        row = _Row(subjects, name)
        for count in (1, 32, 256):
            row.add(f"flood-{count}", "tokens_per_s")
            row.add_ratio(f"flood-{count}", "tokens_per_s", "bare")
        rows.append(row.texts)
    return _table(head, rows)


def _large(subjects: Subjects) -> str:
    head = ["subject", "req/s c=32", "to bare", "p50 ms", "p99 ms", "CPU us/req"]
    rows = []
    for name, subject in subjects.items():
        if "tools-32" in subject["cells"]:
            row = _Row(subjects, name)
            row.add("tools-32", "requests_per_s")
            row.add_ratio("tools-32", "requests_per_s", "bare")
            for key in ("latency_p50_ms", "latency_p99_ms", "cpu_us_per_request"):
                row.add("tools-32", key)
            rows.append(row.texts)
    return _table(head, rows)


def _memory(subjects: Subjects) -> str:
    head = [
        "subject",
        "first answer s",
        "RSS at start MB",
        "before soak MB",
        "after MB",
        "requests",
    ]
    rows = []
    for name, subject in subjects.items():
        soak = subject.get("soak")
        if soak is None:
            continue
        rss = [_number(soak[key] / _MB) for key in ("rss_start", "rss_before", "rss_after")]
        count = f"{soak['completed']:,}" + (" INVALID" if soak["errors"] else "")
        rows.append([name, _number(subject["start_s"]), *rss, count])
    return _table(head, rows)


def _errors(subjects: Subjects) -> list[str]:
    found = []
    for name, subject in subjects.items():
        cells = dict(subject["cells"])
        if subject.get("soak"):
            cells["soak"] = [subject["soak"]]
        for cell, rounds in cells.items():
            for one in rounds:
                for reason, count in one["errors"].items():
                    found.append(f"- {name}, {cell}: {count} x {reason[:200]}")
    return found


def markdown(result: Mapping[str, Any]) -> str:
    """The whole report."""
    subjects: Subjects = result["subjects"]
    machine = result["machine"]
    parts = [
        f"# Speed, {result['date']}",
        f"{machine['cpu']}, {machine['cpus']} CPUs, load before {machine['load']}; Python "
        f"{machine['python']}, aiohttp {machine['aiohttp']}, uvloop {machine['uvloop']}; "
        f"{result['options']['rounds']} rounds of {result['options']['seconds']} s a cell. "
        "A star: the load generator was the limit.",
        "## Whole answers (8 tokens, 600-byte request)\n\n" + _plain(subjects),
        "## Time to first token (paced streams)\n\n" + _first_token(subjects),
        "## Events per second (streams sent back to back)\n\n" + _events(subjects),
        "## Whole answers, 25 kB of tools in the request\n\n" + _large(subjects),
        "## Start and memory\n\n" + _memory(subjects),
    ]
    if result.get("wrk"):
        rows = [[name, _number(value)] for name, value in result["wrk"].items()]
        parts.append("## Cross-check by wrk, c=32\n\n" + _table(["subject", "req/s"], rows))
    errors = _errors(subjects)
    if errors:
        parts.append("## Wrong answers\n\n" + "\n".join(errors))
    if result["skipped"]:
        lines = [f"- {name}: {why}" for name, why in result["skipped"].items()]
        parts.append("## Skipped\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"
