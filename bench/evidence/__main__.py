"""Are the evidence's numbers right? Fits every board against the arena, and predicts ratings that
were kept back.

    LLMROUTERD_SHARED=../shared python -m bench.evidence [--write]

reads the snapshots in $LLMROUTERD_SHARED/data/benchmarks, prints the report, and with --write puts
the boards' scales into llmrouterd/data/evidence.json and the report into docs/evidence.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path

from bench.evidence import fits
from bench.evidence.make_seed import read_sources
from llmrouterd import data
from llmrouterd.benchmarks.packaged import read_name_tables, read_packaged
from llmrouterd.benchmarks.providers import PROVIDERS
from llmrouterd.config import load_policy
from llmrouterd.library import Library
from llmrouterd.settings import read_settings

# A fit that leaves most of the ratings' spread is no scale.
_MOST_ERROR = 0.92
_FEWEST = 14
HEADLINES = frozenset(
    {
        "lmarena/overall",
        "open_llm_leaderboard/average",
        "livebench/global_average",
        "bfcl/overall",
        "artificial_analysis/intelligence_index",
    }
)
# Where a board is near its floor, by the look of its lowest figures.
LEAST = {
    "open_llm_leaderboard/average": 10.0,
    "open_llm_leaderboard/ifeval": 20.0,
    "open_llm_leaderboard/bbh": 5.0,
    "open_llm_leaderboard/math_lvl_5": 2.0,
    "open_llm_leaderboard/gpqa": 2.0,
    "open_llm_leaderboard/musr": 2.0,
    "open_llm_leaderboard/mmlu_pro": 3.0,
    "bigcodebench/complete": 15.0,
    "bigcodebench/hard_complete": 4.0,
    "bfcl/overall": 12.0,
}
# The chats of a home are not those of the arena; a rating there is no closer than this.
ARENA_SD = 15.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.evidence")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    shared = Path(os.environ.get("LLMROUTERD_SHARED", "../shared"))
    folder = shared / "data" / "benchmarks"
    if not folder.is_dir():
        print(f"{folder} is no folder; set LLMROUTERD_SHARED", file=sys.stderr)
        return 1
    parsed = read_sources(folder, PROVIDERS)
    rows = [row for source in parsed.values() for row in source.rows]
    facts = [fact for source in parsed.values() for fact in source.facts]
    facts += read_packaged()["huggingface"].facts
    library = Library(rows, facts, read_name_tables())
    found = fits.fit_boards(library)
    shifts = fits.category_shifts(fits.values_by_board(rows))
    if options.write:
        _write_figures(_scales(found, shifts), fits.fit_prior(library)[1])
    report = _report(library, found)
    print(report)
    if options.write:
        _write_report(report)
    return 0


def _scales(found: list[fits.Fit], shifts: dict[str, tuple[float, float]]) -> dict[str, object]:
    scales: dict[str, object] = {
        fits.ARENA: {"offset": 0.0, "factor": 1.0, "sd": 30.0, "fit": "any other board of it"}
    }
    for board, (mean, _) in sorted(shifts.items()):
        scales[board] = {
            "offset": round(-mean, 1),
            "factor": 1.0,
            "sd": ARENA_SD,
            "fit": "the mean distance to overall taken off",
        }
    for fit in found:
        if fit.error <= _MOST_ERROR * fit.spread and fit.factor > 0 and fit.number >= _FEWEST:
            scales[fit.board] = {
                "offset": round(fit.offset, 1),
                "factor": round(fit.factor, 3),
                "sd": round(fit.error, 1),
                "fit": f"{fit.number} models, to {fit.target}",
            }
    for board in HEADLINES & scales.keys():
        scales[board]["headline"] = True  # type: ignore[index]
    for board in LEAST.keys() & scales.keys():
        scales[board]["least"] = LEAST[board]  # type: ignore[index]
    return scales


def _write_figures(scales: dict[str, object], prior: tuple[float, float, float]) -> None:
    content = json.loads(data.EVIDENCE.read_bytes())
    content["boards"] = scales
    for name, value in zip(("base", "per_log2_b", "per_year"), prior, strict=True):
        content["prior"][name] = round(value, 1)
    data.EVIDENCE.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _report(library: Library, found: list[fits.Fit]) -> str:
    lines = [
        "| board | fitted to | models | rating = | error | spread |",
        "|---|---|---|---|---|---|",
    ]
    for fit in found:
        lines.append(
            f"| {fit.board} | {fit.target} | {fit.number} | {fit.offset:.0f} + {fit.factor:.2f} x "
            f"| {fit.error:.0f} | {fit.spread:.0f} |"
        )
    number, (base, per_size, per_year), error = fits.fit_prior(library)
    lines += [
        "",
        f"Size and date, {number} models: rating = {base:.0f} + {per_size:.1f} log2(B) + "
        f"{per_year:.1f} years since 2024; mean error with a family left out {error:.0f}.",
        "",
        "| ratings kept back, predicted from | models | mean error | spread | within 1 sd | 2 sd |",
        "|---|---|---|---|---|---|",
    ]
    policy = load_policy(read_settings({}, str(data.DEFAULT_POLICY)))
    for kind, many, mean, spread, one, two in fits.describe(fits.predict_hidden(library, policy)):
        lines.append(f"| {kind} | {many} | {mean:.0f} | {spread:.0f} | {one:.0%} | {two:.0%} |")
    return "\n".join(lines)


def _write_report(report: str) -> None:
    file = Path(__file__).resolve().parents[2] / "docs" / "evidence.md"
    text = file.read_text("utf-8")
    marked = re.compile(r"(<!-- bench.evidence -->\n).*?(<!-- end -->)", re.DOTALL)
    file.write_text(marked.sub(lambda found: found[1] + report + "\n" + found[2], text), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
