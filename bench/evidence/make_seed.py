"""Builds the figures that travel with the package from snapshots of the sources.

    LLMROUTERD_SHARED=../shared python -m bench.evidence.make_seed

reads $LLMROUTERD_SHARED/data/benchmarks and writes llmrouterd/data/seed. The same snapshots give
the same figures.
"""

from __future__ import annotations

import csv
import gzip
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from llmrouterd import data
from llmrouterd.benchmarks.providers import PROVIDERS, gates, seed
from llmrouterd.benchmarks.providers.base import Parsed, local_file
from llmrouterd.benchmarks.rows import PublishedFacts

if TYPE_CHECKING:
    from collections.abc import Iterable

SEED = data.ROOT / "seed"
# Sources whose figures may travel with the package; the others state no licence, or their own.
SOURCES = ("open_llm_leaderboard", "lmarena", "bigcodebench", "bfcl", "models_dev")
HUB = "hf_models_llmfit_1.1.17.csv.gz"
HUB_MODELS = 1500
# Of the Open LLM Leaderboard: official publishers, what is downloaded or liked much, and makers of
# fine-tunes that Ollama's library or the GGUF repositories carry. The daemon fetches the rest.
POPULAR_DOWNLOADS, POPULAR_LIKES = 1000, 30
FINETUNERS = frozenset(
    """AIDC-AI Gryphe HuggingFaceH4 LGAI-EXAONE MaziyarPanahi NeverSleep NovaSky-AI Nexusflow
    NousResearch Orenguteng Sao10K SanjiWatsuki THUDM TheDrummer TinyLlama Undi95 ValiantLabs
    WizardLMTeam abacusai akjindal53244 alpindale anthracite-org arcee-ai argilla bespokelabs
    cognitivecomputations cyberagent failspy flammenai huihui-ai internlm jondurbin lmsys m42-health
    mattshumer migtissera mlabonne open-thoughts openchat pankajmathur princeton-nlp simplescaling
    sophosympatheia speakleash swiss-ai teknium unsloth upstage utter-project""".split()
)
_QUANTISED = re.compile(
    r"gguf|awq|gptq|bnb|[2-8]-?bit|mlx|fp8|fp4|exl[23]|int[48]|w[48]a|quant|eagle|draft|speculator|onnx|fp32|tts|vox|kokoro|speech"
    r"|-base\b|lora|tiny-random|dummy|embed|rerank|reward|guard|mtp",
    re.IGNORECASE,
)
_REPACKERS = frozenset(
    """mlx-community lmstudio-community RedHatAI TheBloke bartowski mradermacher QuantTrio cyankiwi
    amd nightmedia DavidAU unsloth neuralmagic nm-testing OsaurusAI JANGQ-AI z-lab""".split()
)
# The list knows no pipeline of a few, such as Mistral 7B Instruct v0.3.
_GENERATORS = frozenset({"text-generation", "image-text-to-text", "any-to-any", "unknown"})
# The list's own value for a context that it does not know.
_UNKNOWN_CONTEXT = 4096


def read_sources(folder: Path, sources: Iterable[str] = SOURCES) -> dict[str, Parsed]:
    """What each source's snapshots in the folder say, checked as a sync checks it; sources without
    a snapshot are left out."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    found: dict[str, Parsed] = {}
    for name in sources:
        provider = PROVIDERS[name]
        fetched = [local_file(provider, path.name, path.read_bytes()) for path in files]
        known = [one for one in fetched if one is not None]
        if not known:
            continue
        parsed = provider.parse(known)
        gates.check(provider, parsed)
        found[name] = parsed
    return found


def select(parsed: dict[str, Parsed], folder: Path) -> dict[str, Parsed]:
    """The same with only the popular models of the Open LLM Leaderboard."""
    hub = _table(folder / HUB)
    popular = {
        row["hf_id"]
        for row in hub
        if int(row["downloads"] or 0) >= POPULAR_DOWNLOADS
        or int(row["likes"] or 0) >= POPULAR_LIKES
    }
    popular |= {
        row["fullname"]
        for row in _table(folder / "open_llm_leaderboard_v2_full.csv.gz")
        if row["official_provider"] == "1"
    }
    whole = parsed["open_llm_leaderboard"]

    def wanted(model: str) -> bool:
        return model in popular or model.partition("/")[0] in FINETUNERS

    part = Parsed(
        rows=tuple(row for row in whole.rows if wanted(row.model)),
        facts=tuple(facts for facts in whole.facts if wanted(facts.model)),
        published=whole.published,
    )
    return {**parsed, "open_llm_leaderboard": part}


def hub_facts(folder: Path) -> list[PublishedFacts]:
    """Sizes and release dates of the most downloaded chat models on Hugging Face."""
    rows = [
        row
        for row in _table(folder / HUB)
        if row["pipeline"] in _GENERATORS
        and row["quant"] in {"Q4_K_M", "F16"}
        and not _QUANTISED.search(row["hf_id"])
        and row["hf_id"].partition("/")[0] not in _REPACKERS
        and int(row["params"]) >= 100_000_000
    ]
    rows.sort(key=lambda row: (-int(row["downloads"] or 0), row["hf_id"]))
    return [_hub_fact(row) for row in rows[:HUB_MODELS]]


def _hub_fact(row: dict[str, str]) -> PublishedFacts:
    context = int(row["context"] or 0)
    return PublishedFacts(
        source="huggingface",
        model=row["hf_id"],
        context=None if context in {0, _UNKNOWN_CONTEXT} else context,
        size_b=round(int(row["params"]) / 1e9, 3),
        active_b=round(int(row["active_params"]) / 1e9, 3) if row["active_params"] else None,
        released=row["release_date"],
    )


def _table(path: Path) -> list[dict[str, str]]:
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    return list(csv.DictReader(text.splitlines()))


def readme(parsed: dict[str, Parsed], hub: int, template: str) -> str:
    """The template with the counts filled in."""
    counts: dict[str, str] = {"hub": str(hub)}
    for name, one in parsed.items():
        counts[f"{name}.rows"] = str(len(one.rows))
        counts[f"{name}.facts"] = str(len(one.facts))
        counts[f"{name}.models"] = str(len({row.model for row in one.rows} or one.facts))
        counts[f"{name}.boards"] = str(len(Counter(row.board for row in one.rows)))
    return re.sub(r"\{([a-z_.]+)\}", lambda found: counts[found[1]], template)


def main(arguments: Iterable[str]) -> int:
    """Build the folder that is named, or the package's own."""
    target = Path(next(iter(arguments), SEED))
    folder = Path(os.environ.get("LLMROUTERD_SHARED", "../shared")) / "data" / "benchmarks"
    parsed = select(read_sources(folder), folder)
    hub = hub_facts(folder)
    target.mkdir(parents=True, exist_ok=True)
    rows = seed.dump_rows(row for one in parsed.values() for row in one.rows)
    facts = seed.dump_facts([*hub, *(fact for one in parsed.values() for fact in one.facts)])
    (target / seed.ROWS).write_bytes(rows)
    (target / seed.FACTS).write_bytes(facts)
    template = Path(__file__).with_name("seed_readme.md").read_text(encoding="utf-8")
    text = readme(parsed, len(hub), template)
    (target / "README.md").write_text(text, encoding="utf-8")
    for path in sorted(target.iterdir()):
        print(f"{path.name}: {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
