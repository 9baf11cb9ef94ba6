"""Names: the gold list, an own list, look-alikes, and what must hold for every name."""

from __future__ import annotations

import csv
import gzip
import os
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrouterd.benchmarks.packaged import read_name_tables
from llmrouterd.benchmarks.rows import BenchmarkRow
from llmrouterd.naming import (
    GRADES,
    Identity,
    NameIndex,
    NameTables,
    Resolution,
    make_tables,
    names_of,
    parse_name,
)
from llmrouterd.naming.key import same_size
from llmrouterd.naming.tables import short_digest

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("LLMROUTERD_SHARED", ROOT.parent / "shared"))
GOLD = SHARED / "data" / "model_name_gold_dev.csv"
TAGS = SHARED / "data" / "benchmarks" / "ollama_tags_2026-08-21.csv.gz"
OWN = Path(__file__).with_name("model_names_heldout.csv")
BOARDS = {"open_llm_leaderboard": "hf_leaderboard_id", "lmarena": "arena_name"}
OLLB, ARENA = BOARDS


@cache
def tables() -> NameTables:
    return read_name_tables(boards=True)


@cache
def index() -> NameIndex:
    return NameIndex(tables().boards, tables())


@cache
def digests() -> dict[str, str]:
    if not TAGS.exists():
        return {}
    with gzip.open(TAGS, "rt", encoding="utf-8") as file:
        return {f"{row['model']}:{row['tag']}": row["digest"] for row in csv.DictReader(file)}


def resolve(name: str, backend: str = "llamacpp", **said: object) -> dict[str, str]:
    """The matched model of every board."""
    return found_models(index().resolve(Identity(name=name, backend=backend, **said)))  # type: ignore[arg-type]


def found_models(found: Resolution) -> dict[str, str]:
    return {match.source: match.model for match in found.matches}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def score(rows: list[dict[str, str]], *, with_digests: bool) -> dict[str, tuple[float, float]]:
    """Precision and recall for each board."""
    right, given_, wanted = (dict.fromkeys(BOARDS, 0) for _ in range(3))
    for row in rows:
        name = row["local_name"]
        full = name if ":" in name else f"{name}:latest"
        digest = digests().get(full) if with_digests and row["backend"] == "ollama" else None
        found = resolve(name, row["backend"], digest=digest)
        for board, column in BOARDS.items():
            given_[board] += board in found
            wanted[board] += bool(row[column])
            right[board] += bool(row[column]) and found.get(board) == row[column]
    return {board: (right[board] / given_[board], right[board] / wanted[board]) for board in BOARDS}


@pytest.mark.parametrize("with_digests", [True, False])
@pytest.mark.parametrize("path", [GOLD, OWN], ids=["gold", "own"])
def test_precision_and_recall(path: Path, with_digests: bool) -> None:
    if not path.exists():
        pytest.skip("the gold list is not here")
    for board, (precision, recall) in score(rows_of(path), with_digests=with_digests).items():
        assert precision >= 0.99, board
        assert recall >= 0.97, board


@pytest.mark.parametrize("path", [GOLD, OWN], ids=["gold", "own"])
def test_lists_name_known_rows(path: Path) -> None:
    if not path.exists():
        pytest.skip("the gold list is not here")
    known = set(tables().boards)
    for row in rows_of(path):
        for board, column in BOARDS.items():
            assert not row[column] or (board, row[column]) in known, row


def test_fields_of_the_key() -> None:
    """Each field of the gold list is right for at least 19 of 20 names."""
    if not GOLD.exists():
        pytest.skip("the gold list is not here")
    rows = rows_of(GOLD)
    right = dict.fromkeys(("family", "version", "params_b", "variant", "quant"), 0)
    for row in rows:
        key = index().resolve(Identity(name=row["local_name"], backend=row["backend"])).key
        versions = {key.version, key.date, f"{key.version}-{key.date}"}
        size = float(row["params_b"]) if row["params_b"] else None
        right["family"] += key.family == row["family"]
        right["version"] += not row["version"] or row["version"] in versions
        right["params_b"] += same_size(key.size_b, size)
        right["variant"] += "+".join(sorted(key.variants)) == row["variant"]
        right["quant"] += key.quant == row["quant"]
    assert {field: n for field, n in right.items() if n < 0.95 * len(rows)} == {}


# Names that look alike, and the row that must not be theirs.
LOOK_ALIKES = [
    ("gemma:2b", "ollama", "google/gemma-2-2b-it"),
    ("gemma2:2b", "ollama", "google/gemma-2b-it"),
    ("qwen2.5vl:7b", "ollama", "Qwen/Qwen2.5-7B-Instruct"),
    ("phi4-mini", "ollama", "microsoft/phi-4"),
    ("phi4-mini-reasoning", "ollama", "microsoft/Phi-4-mini-instruct"),
    ("deepseek-r1:7b", "ollama", "deepseek-r1"),
    ("deepseek-r1:8b", "ollama", "deepseek-ai/DeepSeek-R1-Distill-Llama-8B"),
    ("deepseek-coder-v2:16b", "ollama", "deepseek-coder-v2"),
    ("magistral:24b", "ollama", "magistral-medium-2506"),
    ("ministral-3:8b", "ollama", "ministral-8b-2410"),
    ("codegemma:7b", "ollama", "google/gemma-1.1-7b-it"),
    ("hermes3:8b", "ollama", "meta-llama/Llama-3.1-8B-Instruct"),
    ("llama3-gradient:8b", "ollama", "meta-llama/Meta-Llama-3-8B-Instruct"),
    ("gpt-oss-safeguard:20b", "ollama", "gpt-oss-20b"),
    ("qwen3-coder:30b", "ollama", "qwen3-coder-480b-a35b-instruct"),
    ("qwen3-embedding:8b", "ollama", "qwen3-32b"),
    ("Qwen3-30B-A3B-Q4_K_M.gguf", "llamacpp", "qwen3-32b"),
    ("Qwen2.5-7B-Instruct-1M-Q4_K_M.gguf", "llamacpp", "Qwen/Qwen2.5-7B-Instruct"),
    ("gemma-2-9b-it-SimPO.Q4_K_M.gguf", "llamacpp", "google/gemma-2-9b-it"),
    ("Meta-Llama-3.1-8B-Instruct-abliterated.gguf", "llamacpp", "llama-3.1-8b-instruct"),
    ("mmproj-google_gemma-3-12b-it-f16.gguf", "llamacpp", "gemma-3-12b-it"),
    ("Llama-3.1-8B.Q4_K_M.gguf", "llamacpp", "meta-llama/Llama-3.1-8B-Instruct"),
    ("Llama-3.1-8B.Q4_K_M.gguf", "llamacpp", "llama-3.1-8b-instruct"),
    ("granite-3.3-8b-instruct-Q4_K_M.gguf", "llamacpp", "ibm-granite/granite-3.2-8b-instruct"),
    ("gpt-4o-2024-11-20", "openai", "gpt-4o-2024-08-06"),
    ("o1-mini", "openai", "o1-2024-12-17"),
    ("internlm2-base-7b.gguf", "llamacpp", "internlm/internlm2-7b"),
]


@pytest.mark.parametrize(("name", "backend", "other"), LOOK_ALIKES)
def test_look_alikes_stay_apart(name: str, backend: str, other: str) -> None:
    assert other in {model for _, model in tables().boards}
    assert other not in resolve(name, backend).values()


def test_digest_before_tag() -> None:
    """Tags move: `qwen:7b` is Qwen1.5 by its digest, and so is a copy of another name."""
    known = next(d for d, (library, tag) in tables().digests.items() if library == "qwen2.5")
    library, tag = tables().digests[known]
    assert tag
    for digest in (known, f"sha256:{known}{'0' * 52}", known.upper()):
        found = index().resolve(Identity(name="llama3.1:8b", backend="ollama", digest=digest))
        assert found.key.family == "qwen"
        assert {match.method for match in found.matches} == {"digest"}
        assert {match.grade for match in found.matches} == {GRADES["alias"]}
    unknown = index().resolve(Identity(name="llama3.1:8b", backend="ollama", digest="0" * 64))
    assert found_models(unknown)[OLLB] == "meta-llama/Llama-3.1-8B-Instruct"
    assert {match.method for match in unknown.matches} == {"name"}


def test_owner_has_the_first_word() -> None:
    said = Identity(
        name="llama3.1:8b", backend="ollama", canonical="Qwen/QwQ-32B", parameter_count=1
    )
    found = index().resolve(said)
    assert found_models(found) == {OLLB: "Qwen/QwQ-32B", ARENA: "qwq-32b"}
    assert {(match.method, match.grade) for match in found.matches} == {("override", 1.0)}


@pytest.mark.parametrize(
    ("name", "base", "expected"),
    [
        ("ggml-model-Q4_K_M.gguf", "https://huggingface.co/microsoft/phi-4", "microsoft/phi-4"),
        ("phi-4-Q4_K_M.gguf", "microsoft/phi-4", "microsoft/phi-4"),
        # The base model of an instruct model's file is often the pretrained one.
        (
            "Meta-Llama-3.1-8B-Instruct.gguf",
            "meta-llama/Llama-3.1-8B",
            "meta-llama/Llama-3.1-8B-Instruct",
        ),
        ("my-finetune-v2.gguf", "meta-llama/Llama-3.1-8B-Instruct", None),
        ("phi-4-abliterated-x.gguf", "microsoft/phi-4", None),
    ],
)
def test_base_model(name: str, base: str, expected: str | None) -> None:
    assert resolve(name, base_model=base).get(OLLB) == expected


def test_base_model_of_an_unknown_name_is_another_revision() -> None:
    found = index().resolve(
        Identity(name="house-bot:latest", backend="ollama", base_model="microsoft/phi-4")
    )
    assert {(match.method, match.grade_name) for match in found.matches} == {
        ("base_model", "revision")
    }


def test_parameter_count_contradicts() -> None:
    name = "Qwen2.5-7B-Instruct-Q4_K_M.gguf"
    assert resolve(name, parameter_count=7_615_616_512)[OLLB] == "Qwen/Qwen2.5-7B-Instruct"
    assert resolve(name, parameter_count=14_770_033_664) == {}
    assert (
        resolve("gemma-3n-E4B-it.gguf", parameter_count=6_869_666_320)[ARENA] == "gemma-3n-e4b-it"
    )


def test_publishers() -> None:
    assert OLLB not in resolve("someone/Llama-3.1-8B-Instruct", "openai")
    assert resolve("hf.co/bartowski/phi-4-GGUF:Q8_0", "ollama")[OLLB] == "microsoft/phi-4"
    assert resolve("huihui_ai/qwen2.5:7b", "ollama") == {}
    names = [("b", "one/Foobarbaz-7B-v2"), ("b", "two/Foobarbaz-7B-v2")]
    both = NameIndex(names, NameTables())
    single = NameIndex(names[:1], NameTables())
    asked = Identity(name="Foobarbaz-7B-v2.Q4_K_M.gguf")
    assert both.resolve(asked).matches == ()
    assert found_models(single.resolve(asked)) == {"b": "one/Foobarbaz-7B-v2"}


def test_a_missing_date_needs_a_single_candidate() -> None:
    one = [
        ("lmarena", "claude-sonnet-4-20250514"),
        ("lmarena", "claude-sonnet-4-20250514-thinking"),
    ]
    two = [*one, ("lmarena", "claude-sonnet-4-20250901")]
    asked = Identity(name="claude-sonnet-4", backend="openai")
    assert found_models(NameIndex(one, NameTables()).resolve(asked)) == {
        ARENA: "claude-sonnet-4-20250514"
    }
    assert NameIndex(two, NameTables()).resolve(asked).matches == ()


def test_the_line_has_the_other_sizes() -> None:
    key = index().resolve(Identity(name="qwen2.5:7b", backend="ollama")).key
    sizes = [row.size_b for row in index().line(key, OLLB)]
    assert sizes == [0.5, 1.5, 3.0, 7.0, 14.0, 32.0, 72.0]
    assert {row.source for row in index().line(key)} == set(BOARDS)
    assert {parse_name(row.model).family for row in index().line(key)} == {"qwen"}


def test_suggestions_are_alike_and_assign_nothing() -> None:
    asked = Identity(name="my-llama-3.1-8b-instruct-bot", backend="openai")
    assert index().resolve(asked).matches == ()
    suggested = index().suggest(asked)
    assert len(suggested) == 3
    assert all(("Llama-3.1-8B" in model) or ("llama-3.1-8b" in model) for _, model, _ in suggested)
    shares = [share for *_, share in suggested]
    assert shares == sorted(shares, reverse=True)
    assert all(0 < share <= 1 for share in shares)


def test_quantisation_and_spelling() -> None:
    spelt = [
        "Mistral-Small-3.2-24B-Instruct-2506",
        "mistralai_Mistral-Small-3.2-24B-Instruct-2506-Q4_K_M.gguf",
        "hf.co/unsloth/Mistral-Small-3.2-24B-Instruct-2506-GGUF:UD-Q4_K_XL",
        "/models/Mistral-Small-3.2-24B-Instruct-2506.IQ3_XXS-00001-of-00002.gguf",
        "C:\\models\\mistral-small-3.2-24b-instruct-2506-q8_0.gguf",
    ]
    keys = [parse_name(name) for name in spelt]
    assert {(*key.model, key.size_b, key.date) for key in keys} == {
        ("mistral-small", "", frozenset({"instruct"}), (), 24.0, "2506")
    }
    assert [key.quant for key in keys] == ["", "Q4_K_M", "Q4_K_XL", "IQ3_XXS", "Q8_0"]


def test_names_of_rows() -> None:
    rows = [BenchmarkRow(model="m", board=f"lmarena/{board}", value=1.0) for board in "ab"]
    assert names_of(rows) == {("lmarena", "m")}


def test_tables_refuse_a_broken_row() -> None:
    with pytest.raises(ValueError, match="without its upstream"):
        make_tables("scope,name,tag,upstream\napi,x,,\n")


def test_short_digests() -> None:
    assert short_digest("SHA256:ABCDEF0123456789") == short_digest("abcdef012345") == "abcdef012345"


@given(st.text(max_size=400), st.sampled_from(["", "ollama", "openai", "lmarena", "llamacpp"]))
@settings(max_examples=300, deadline=None)
def test_any_text_has_a_key(name: str, backend: str) -> None:
    key = parse_name(name, backend)
    assert key == parse_name(name, backend)
    explained = [word for word in key.extra if word != "(no model)"]
    assert explained == sorted(explained)
    index().resolve(Identity(name=name, backend=backend))


NAMES = st.deferred(lambda: st.sampled_from([model for _, model in tables().boards]))
ADDED = st.sampled_from(
    ["", "-Q4_K_M.gguf", ".Q8_0.gguf", "-abliterated", "-v9", "-13b", "-vision", "-GGUF", "-extra"]
)


@given(NAMES, ADDED, st.sampled_from(["llamacpp", "openai"]))
@settings(max_examples=400, deadline=None)
def test_a_row_of_another_family_or_size_never_enters(name: str, added: str, backend: str) -> None:
    found = index().resolve(Identity(name=name + added, backend=backend))
    for match in found.matches:
        upstream = tables().names.get(match.source, {}).get(match.model.lower())
        upstream = upstream or tables().names["any"].get(match.model.lower())
        theirs = parse_name(upstream or match.model, "lmarena" if match.source == ARENA else "")
        if upstream is not None:
            theirs = parse_name(upstream)
        if match.model.lower() == found.upstream.lower():
            continue  # the very same name
        assert theirs.family == found.key.family
        assert same_size(theirs.size_b, found.key.size_b)
        assert theirs.extra == found.key.extra
