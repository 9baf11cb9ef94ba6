"""Published boards in the shapes in which they are served, made of the recorded ones."""

from __future__ import annotations

import csv
import json
from functools import cache
from typing import Any

from llmrouterd.policy import Benchmarks, ProviderSpec, Secret

from .openwebui import shared_directory
from .site import Reply, Site, as_parquet

FOLDER = shared_directory() / "data" / "benchmarks"
OLLB = "open_llm_leaderboard"
OLLB_PARQUET = "/api/datasets/open-llm-leaderboard/contents/parquet/default/train/0.parquet"
ROWS = "/rows"
LISTING = "/repos/LiveBench/livebench.github.io/contents/public"
LIVEBENCH = "/LiveBench/livebench.github.io/main/public"
RESULTS = ("/results.json", "/results-hard.json")


@cache
def _recorded(name: str) -> dict[str, Any]:
    page: dict[str, Any] = json.loads((FOLDER / name).read_bytes())
    return page


def ollb_rows(number: int, first: int = 0) -> list[dict[str, Any]]:
    """Rows of the Open LLM Leaderboard: the recorded ones under so many names."""
    recorded = [entry["row"] for entry in _recorded("fixture_ollb_rows_page.json")["rows"]]
    return [
        {**recorded[at % len(recorded)], "fullname": f"maker/model-{at}-8B"}
        for at in range(first, first + number)
    ]


def serve_ollb(site: Site, number: int, **headers: str) -> None:
    """The Open LLM Leaderboard with so many models, as Parquet."""
    site.on(OLLB_PARQUET, Reply(body=as_parquet(ollb_rows(number)), headers=headers))


def bigcodebench(hard: bool = False) -> bytes:
    """results.json, as the site serves it, from the recorded table."""
    prefix = "hard_" if hard else ""
    models: dict[str, Any] = {}
    with (FOLDER / "bigcodebench_2025-04-17.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            scores = {
                mode: float(row[prefix + mode]) if row[prefix + mode] else None
                for mode in ("instruct", "complete")
            }
            models[row["model"]] = {"link": row["link"], "pass@1": scores, "date": row["date"]}
    return json.dumps(models).encode()


def serve_bigcodebench(site: Site) -> None:
    """Both tables."""
    for path, hard in zip(RESULTS, (False, True), strict=True):
        site.on(path, Reply(body=bigcodebench(hard), headers={"ETag": f'"{path}"'}))


def serve_livebench(site: Site, release: str = "2026_01_08") -> None:
    """The listing and the recorded table and categories, under this release."""
    for kind, end in (("table", "csv"), ("categories", "json")):
        body = (FOLDER / f"livebench_{kind}_2026_01_08.{end}").read_bytes()
        path = f"{LIVEBENCH}/{kind}_{release}.{end}"
        site.on(path, Reply(body=body, headers={"ETag": f'"{kind}{release}"'}))
    names = ["index.html", f"table_{release}.csv", f"categories_{release}.json"]
    listing = json.dumps([{"name": name, "type": "file"} for name in names]).encode()
    site.on(LISTING, Reply(body=listing))


def settings(url: str = "", **fields: Any) -> Benchmarks:
    """The section `benchmarks` with every source at this address."""
    names = (OLLB, "lmarena", "bigcodebench", "livebench", "bfcl", "openevals", "models_dev")
    providers = {name: ProviderSpec(url=url) for name in names}
    given: dict[str, Any] = {
        "enabled": True,
        "files": (),
        "seed": False,
        "every_hours": 24.0,
        "budget_seconds": 20.0,
        "hf_token": Secret(),
        **fields,
        "providers": {**providers, **fields.get("providers", {})},
    }
    return Benchmarks(**given)
