"""Recorded decisions made again: by the policy that made them nothing changes, by another what it
says is what it would do."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from bench.residency.world import MODELS, library
from llmrouterd import tables
from llmrouterd.__main__ import main
from llmrouterd.assemble import Knowledge, assemble
from llmrouterd.catalog import Catalog, ModelFacts, Profile, SpeedPoint
from llmrouterd.decision import Ask, Decision, consider, decide
from llmrouterd.explanation import describe, in_words
from llmrouterd.journal import Outcome, RecordEncoder
from llmrouterd.replay.comparison import compare, summary
from llmrouterd.replay.pieces import encode_world, read_world
from llmrouterd.replay.reading import read_decisions
from llmrouterd.replay.recorded import Recorded, Replayer, read_recorded
from llmrouterd.replay.why_not import why_not
from llmrouterd.scorer import Load, Standing
from llmrouterd.signals import Signals
from llmrouterd.store import Store
from tests.conftest import Opener
from tests.support.daemon import Running
from tests.support.fake_ollama import FakeModel, FakeOllama
from tests.support.policies import policy, signals

BACKENDS = "backends: [{name: ollama, type: ollama, url: 'http://127.0.0.1:9'}]\n"
IDS = tuple(f"ollama/{name}" for name in MODELS)
CATEGORIES = ("coding", "math", "chat", "creative", "general")


def world(text: str = BACKENDS) -> Catalog:
    """Models with published figures, relatives, profiles and opinions."""
    facts = [
        ModelFacts(
            name=name,
            capabilities=frozenset({"chat", "tools"} if number % 2 else {"chat"}),
            context=8192 * (1 + number % 3),
            size_b=MODELS[name][0],
            loaded=number == 0,
            slots=2,
        )
        for number, name in enumerate(MODELS)
    ]
    profile = Profile(
        decode_tokens_per_second=41.7,
        prefill_tokens_per_second=812.25,
        points=(SpeedPoint(prompt_tokens=128, ttft=0.2, output_tokens=64, decode_seconds=1.5),),
    )
    knowledge = Knowledge(
        library=library(),
        profiles={IDS[1]: (None, profile)},
        feedback={IDS[2]: {"coding": (3, 1.5)}},
        pins={IDS[3]: True},
    )
    return assemble(policy(text), {"ollama": facts}, knowledge)


def recorded(made: Decision, id_: str = "d", at: float = 0.0) -> Recorded:
    """The decision as it comes back from the database."""
    columns, pieces = RecordEncoder().encode((made, Outcome(id=id_)))
    described = orjson.loads(columns["record"])
    seen = read_world(columns["world"], lambda digest: pieces[digest].body, {})
    return read_recorded({"id": id_, "at": at, "world": columns["world"]}, described, seen)


standings = st.builds(
    Standing,
    st.sampled_from(["ready", "loading", "absent"]),
    st.floats(0, 1e4),
    st.lists(st.sampled_from(IDS), max_size=2).map(tuple),
    st.floats(0, 1e3),
)
loads = st.builds(
    Load,
    resident=st.frozensets(st.sampled_from(IDS)),
    busy=st.dictionaries(st.sampled_from(IDS), st.integers(1, 5)),
    cooling=st.dictionaries(st.sampled_from(IDS), st.just("cooling for 3 s more")),
    slots=st.dictionaries(st.sampled_from(IDS), st.integers(1, 4)),
    sticky=st.sampled_from(["", *IDS]),
    standing=st.dictionaries(st.sampled_from(IDS), standings),
    suspect=st.dictionaries(st.sampled_from(IDS), st.just("suspect: no token for 9.0 s")),
    spent=st.sampled_from([{}, {"elsewhere": "spent 2.00 of 2.00 dollars today"}]),
)
asked = st.builds(
    signals,
    category=st.sampled_from(CATEGORIES),
    probabilities=st.dictionaries(st.sampled_from(CATEGORIES), st.floats(0, 1)),
    abstain=st.floats(0, 1),
    complexity=st.floats(0, 1),
    needs=st.sampled_from([frozenset(), frozenset({"tools"}), frozenset({"vision"})]),
    prompt_tokens=st.integers(0, 6000),
    tool_tokens=st.sampled_from([0, 900]),
    max_tokens=st.none() | st.integers(1, 4000),
    task=st.sampled_from(["", "", "title"]),
    session=st.sampled_from(["", "s1"]),
    client=st.sampled_from(["", "kid"]),
    preset=st.sampled_from(["", "speed", "quality"]),
    tool_loop=st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(found=asked, load=loads, explicit=st.sampled_from([(), IDS[:1], IDS[2:4]]))
def test_the_policy_that_decided_decides_the_same_again(
    found: Signals, load: Load, explicit: tuple[str, ...]
) -> None:
    catalog = WORLD
    ask = Ask("", tuple(catalog.by_id[id_] for id_ in explicit)) if explicit else None
    made = consider(found, policy(BACKENDS), catalog, load, ask)
    back = recorded(made)
    assert (back.model is None) == ("vision" in found.needs and not explicit)
    assert back.signals == found
    assert back.load == load
    again = Replayer(policy(BACKENDS)).decide(back)
    assert again == made  # every total and term of every candidate
    compared = compare([back], Replayer(policy(BACKENDS)))
    assert (compared.decisions, compared.changed, compared.moves) == (1, 0, ())
    assert compared.before == compared.after


WORLD = world()


def test_a_world_comes_back_as_it_was_and_shares_what_did_not_change() -> None:
    digest, pieces = encode_world(WORLD.seen)
    seen = read_world(digest, lambda name: pieces[name].body, {})
    assert len(seen) == len(MODELS)
    for before, after in zip(WORLD.seen, seen.values(), strict=True):
        assert after.about == before.about
        assert after.profile == before.profile
        assert (after.feedback, after.pinned) == (before.feedback, before.pinned)
    assert sum(bool(sighting.about.figures) for sighting in WORLD.seen) > 5
    faster = Profile(decode_tokens_per_second=99.0)
    changed = [
        sighting if number else type(sighting)(backend="ollama", facts=sighting.facts,
                                               profile=faster, about=sighting.about)
        for number, sighting in enumerate(WORLD.seen)
    ]  # fmt: skip
    other, more = encode_world(changed)
    assert other != digest
    assert len(more.keys() - pieces.keys()) == 2  # that model, and the list of all
    # What is of the moment makes no other world.
    assert encode_world(world().seen)[0] == digest


def decided(number: int, text: str = BACKENDS) -> list[Recorded]:
    found = []
    for at in range(number):
        category = CATEGORIES[at % len(CATEGORIES)]
        given = signals(category=category, complexity=at / number, prompt_tokens=100 + at)
        made = decide(given, policy(text), WORLD, Load(resident=frozenset(IDS[:1])))
        found.append(recorded(made, f"d{at}", float(at)))
    return found


@pytest.mark.parametrize(
    "edit",
    [
        f"models: [{{match: '{IDS[0]}', quality: {{overall: 0.99}}}}]\n",
        "rules: [{name: default, prefer: {'*qwen3:4b': 500}}]\n",
        "rules: [{name: default, weights: {quality: 0, time: 5}}]\n",
    ],
    ids=["estimate", "preference", "weights"],
)
def test_what_an_edit_changes_is_told(edit: str) -> None:
    records = decided(40)
    after = policy(BACKENDS + edit)
    compared = compare(records, Replayer(after))
    expected = [
        decide(each.signals, after, world(BACKENDS + edit), each.load).ranked[0].model
        for each in records
    ]
    moved = [(each.model, new) for each, new in zip(records, expected, strict=True)]
    changed = [pair for pair in moved if pair[0] != pair[1]]
    assert compared.changed == len(changed) > 0
    assert {(m.before, m.after): m.number for m in compared.moves} == {
        pair: changed.count(pair) for pair in set(changed)
    }
    assert f"moves {100 * len(changed) / 40:.0f} %" in summary(compared)
    first = compared.affected[0]
    assert first.gain == max(each.gain or 0.0 for each in compared.affected) > 0
    assert first.after in first.words_after
    assert first.before in first.words_before


def test_a_policy_that_would_refuse_and_one_without_the_backend() -> None:
    records = decided(5)
    none = policy(BACKENDS + "models: [{match: '*', enabled: false}]\n")
    compared = compare(records, Replayer(none))
    assert (compared.changed, compared.after.refused) == (5, 5)
    assert "5 would be refused" in summary(compared)
    assert {each.gain for each in compared.affected} == {None}
    elsewhere = policy("backends: [{name: other, type: ollama, url: 'http://127.0.0.1:9'}]\n")
    assert compare(records, Replayer(elsewhere)).after.refused == 5


def test_a_policy_that_refuses_is_mended() -> None:
    none = policy(BACKENDS + "models: [{match: '*', enabled: false}]\n")
    dark = world(BACKENDS + "models: [{match: '*', enabled: false}]\n")
    refused = [recorded(consider(signals(), none, dark, Load()), f"d{at}") for at in range(5)]
    assert {each.model for each in refused} == {None}
    mended, broken = Replayer(policy(BACKENDS)), Replayer(none)
    # Against what was decided; and of what was served then, against what the present one would do.
    for compared in (compare(refused, mended), compare(decided(5), mended, broken)):
        assert (compared.decisions, compared.skipped, compared.changed) == (5, 0, 5)
        assert (compared.before.refused, compared.after.refused) == (5, 0)
        assert {move.before for move in compared.moves} == {"nobody"}
        assert "from nobody to ollama/" in summary(compared)
        assert "points quality" not in summary(compared)
        assert summary(compared).endswith("; 5 would no longer be refused")
        first = compared.affected[0]
        assert first.words_before.startswith("no model by rule 'default'")
        assert f"not {IDS[0]}: switched off in models (disabled)" in first.words_before
        assert first.words_after.startswith(first.after)
    assert compare(refused, broken).changed == 0


def test_a_named_model_is_not_there_any_more() -> None:
    made = decide(signals(), policy(BACKENDS), WORLD, Load(), Ask("", (WORLD.by_id[IDS[1]],)))
    elsewhere = policy("backends: [{name: other, type: ollama, url: 'http://127.0.0.1:9'}]\n")
    found = Replayer(elsewhere).decide(recorded(made))
    assert (found.mode, found.ranked, found.rejected) == ("explicit", (), ())
    assert "no backend serves the model that was named" in in_words(describe(found))


PRIVATE = "rules: [{name: NAME, when: {text: TEXT}, only: ['*qwen3:4b']}, {name: default}]\n"


def private(name: str, text: str) -> Replayer:
    return Replayer(policy(BACKENDS + PRIVATE.replace("NAME", name).replace("TEXT", text)))


def test_a_rule_is_renamed_and_a_pattern_changed() -> None:
    before = private("secrets", "password")
    found = signals(texts=frozenset({"password"}))
    records = [recorded(decide(found, before.policy, WORLD, Load()))]
    assert records[0].model == "ollama/qwen3:4b"
    for compared in (
        compare(records, private("private", "password")),
        compare(records, private("private", "password"), before),
    ):
        assert (compared.changed, compared.new_texts) == (0, ())
    unread = "; new `when.text` shows in new requests only"
    other = private("secrets", "passphrase")
    assert compare(records, other, active=before.policy).new_texts == ("passphrase",)
    assert summary(compare(records, other, before)).endswith(unread)
    unsaid = [recorded(decide(signals(), before.policy, WORLD, Load()))]
    told = summary(compare(unsaid, other, before))
    assert told == f"this edit changes none of 1 recorded requests{unread}"


def test_decisions_with_the_names_of_rules_are_left_out() -> None:
    made = recorded(decide(signals(), policy(BACKENDS), WORLD, Load()))
    row = {"id": "d", "at": 0.0, "world": made.world}
    old = {**made.described, "signals": {**made.described["signals"], "text_rules": []}}
    assert read_recorded(row, old, made.seen).signals == made.signals
    old["signals"]["text_rules"] = ["secrets"]
    with pytest.raises(ValueError, match="names of the rules"):
        read_recorded(row, old, made.seen)


def store_row(number: int, made: Decision, at: float) -> dict[str, Any]:
    return {
        "id": f"d{number}",
        "at": at,
        "mode": made.mode,
        "rule": made.rule,
        "category": made.signals.category,
        "model": made.ranked[0].model,
        "backend": "ollama",
        "outcome": "ok",
        "policy": made.policy_digest,
        "ttft": 0.1,
        "seconds": 0.2,
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "record": (made, Outcome(id=f"d{number}")),
    }


def fill(path: Path, number: int, at: float) -> None:
    store = Store(path, most=10_000, encode=RecordEncoder().encode, on_error=print)
    for each in range(number):
        given = signals(category=CATEGORIES[each % 5], complexity=each / number)
        store.record(store_row(each, decide(given, policy(BACKENDS), WORLD, Load()), at + each))
    store.close()


def test_pieces_are_kept_as_long_as_a_decision_needs_them(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    fill(path, 6, at=100.0)
    with sqlite3.connect(path) as connection:
        database = Database(connection)
        whole = database["pieces"].count
        assert whole >= len(MODELS) + 1
        tables.forget_decisions(103.0)(database)
        assert (database["decisions"].count, database["pieces"].count) == (3, whole)
        assert None not in list(read_decisions(path, 0.0, 100))
        tables.forget_decisions(1e9)(database)
        assert database["pieces"].count == 0
    connection.close()


def test_a_world_that_was_forgotten_is_written_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "x.db", most=100, encode=RecordEncoder().encode, on_error=print)
    made = decide(signals(), policy(BACKENDS), WORLD, Load())
    store.record(store_row(1, made, 1.0))
    assert store.run(tables.forget_decisions(1e9)).result(10) == 1
    store.record(store_row(2, made, 2.0))
    store.close()
    (found,) = read_decisions(tmp_path / "x.db", 0.0, 10)
    assert found is not None
    assert found.model == made.ranked[0].model


def test_decisions_of_before_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as connection:
        database = Database(connection)
        for number, script in enumerate(tables.MIGRATIONS[:4], start=1):
            connection.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")
        old = {**store_row(7, decide(signals(), policy(BACKENDS), WORLD, Load()), 50.0)}
        database.table("decisions").insert(
            {**old, "record": json.dumps(describe(old["record"][0]))}
        )
    connection.close()
    fill(path, 4, at=100.0)
    records = list(read_decisions(path, 0.0, 100))
    assert [each is None for each in records] == [False] * 4 + [True]
    compared = compare(records, Replayer(policy(BACKENDS)))
    assert (compared.decisions, compared.skipped, compared.changed) == (4, 1, 0)


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str, *words: str) -> int:
    file = folder / "edit.yaml"
    file.write_text(text)
    monkeypatch.setenv("ROUTER_STATE_DIR", str(folder))
    return main(["replay", "--policy", str(file), *words])


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, tmp_path, BACKENDS) == 2
    assert "cannot be read" in capsys.readouterr().err
    fill(tmp_path / "llmrouterd.db", 20, at=time.time() - 3600)
    assert run(monkeypatch, tmp_path, BACKENDS) == 0
    assert "changes none of 20 recorded requests" in capsys.readouterr().out
    edit = BACKENDS + "rules: [{name: default, prefer: {'*qwen3:4b': 500}}]\n"
    assert run(monkeypatch, tmp_path, edit) == 1
    out = capsys.readouterr().out
    assert "most affected 1:" in out
    assert "-> ollama/qwen3:4b" in out
    assert run(monkeypatch, tmp_path, edit, "--json", "--since", "2h") == 1
    data = json.loads(capsys.readouterr().out)
    assert data["decisions"] == 20
    assert data["changed"] == sum(move["count"] for move in data["moves"]) > 0
    assert {"quality", "wait", "seconds", "dollars", "swaps", "refused"} == data["after"].keys()
    assert run(monkeypatch, tmp_path, edit, "--since", "30m") == 0
    assert "no recorded requests" in capsys.readouterr().out
    assert run(monkeypatch, tmp_path, BACKENDS + PRIVATE.replace("TEXT", "wool")) == 0
    assert "20 recorded requests; new `when.text` shows in" in capsys.readouterr().out
    assert run(monkeypatch, tmp_path, edit, "--since", "soon") == 2
    assert "span of time" in capsys.readouterr().err
    assert run(monkeypatch, tmp_path, "rules: 5\n") == 2
    assert "$.rules" in capsys.readouterr().err


def test_the_command_reads_a_copy_elsewhere_as_if_it_were_the_active_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ROUTER_CONFIG", raising=False)
    monkeypatch.delenv("ROUTER_RULES", raising=False)
    box, elsewhere = tmp_path / "box", tmp_path / "elsewhere"
    for folder in (box / "config", box / "rules", elsewhere):
        folder.mkdir(parents=True)
    lexicon = box / "rules" / "knitting.yaml"
    lexicon.write_text(
        "category: knitting\ndescription: of wool\ngroups: [{weight: 6, phrases: [purl]}]\n"
    )
    (box / "config" / "cases.yaml").write_text("[]\n")
    text = BACKENDS + "categories: {knitting: {lexicon: knitting.yaml}}\n"
    text += "tests: {file: cases.yaml}\n"
    (box / "config" / "router.yaml").write_text(text)
    fill(elsewhere / "llmrouterd.db", 5, at=time.time() - 60)
    monkeypatch.chdir(box)
    assert run(monkeypatch, elsewhere, text) in (0, 1)
    assert "of 5 recorded requests" in capsys.readouterr().out
    assert run(monkeypatch, elsewhere, text + "rules: 5\n") == 2
    assert f"{elsewhere / 'edit.yaml'}:4:" in capsys.readouterr().err
    # One that has lexicons of its own is a policy of its own.
    (elsewhere / "rules").mkdir()
    assert run(monkeypatch, elsewhere, text) == 2
    assert f"neither in {elsewhere / 'rules'} nor" in capsys.readouterr().err


# --- why not ---


def test_why_not_names_the_gate_the_terms_and_a_weight_that_would_do() -> None:
    text = BACKENDS + "models: [{match: '*gemma3*', enabled: false}]\n"
    catalog = world(text)
    made = decide(signals(category="coding", prompt_tokens=300), policy(text), catalog, Load())
    gone = why_not(made, policy(text), "ollama/gemma3:27b")
    assert gone.gate == "disabled"
    other = made.ranked[3].model
    found = why_not(made, policy(text), other)
    assert found.place == 4
    lost = sum(gap.chosen - gap.other for gap in found.terms)
    assert lost == pytest.approx(made.ranked[0].total - made.ranked[3].total)
    assert found.weights
    for change in found.weights:
        edited = policy(
            text + f"rules: [{{name: default, weights: {{{change.name}: {change.after}}}}}]\n"
        )
        again = decide(made.signals, edited, catalog, Load())
        assert again.ranked[0].model == other, change
    assert why_not(made, policy(text), made.ranked[0].model).weights == ()
    named = decide(signals(), policy(text), catalog, Load(), Ask("", (catalog.by_id[other],)))
    assert why_not(named, policy(text), made.ranked[0].model).reason == (
        "the client named another model"
    )


# --- with a daemon ---


@pytest.fixture
async def ollama() -> AsyncIterator[FakeOllama]:
    models = [
        FakeModel(name="small:1b", parameter_size="1B", parameter_count=10**9, size=10**9),
        FakeModel(name="large:8b"),
    ]
    async with FakeOllama(models, tokens=3) as fake:
        yield fake


def policy_of(ollama: FakeOllama, tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {
        "backends": [{"name": "o", "type": "ollama", "url": ollama.url}],
        "storage": {"database": str(tmp_path / "kept.db")},
        **more,
    }


async def ask_some(daemon: Running) -> list[str]:
    found = []
    for words, more in (
        ("Write python", {}),
        ("What is the capital of France?", {}),
        ("hello", {"model": "o/small:1b"}),
        ("### Task:\nGenerate a concise title summarizing the chat history.", {}),
        ("Tell me a poem", {"model": "hubrouter/main:speed", "max_tokens": 50}),
    ):
        answer = await daemon.chat(words, **more)
        assert answer.status == 200
        found.append(answer.headers["x-router-decision"])
    return found


async def test_a_daemons_decisions_replay_the_same_also_after_a_restart(
    open_daemon: Opener, ollama: FakeOllama, tmp_path: Path
) -> None:
    given = policy_of(ollama, tmp_path)
    daemon = await open_daemon(given)
    ids = await ask_some(daemon)
    rows = [(await daemon.get(f"/admin/decisions/{id_}")).data for id_ in ids]
    assert all(row["world"] for row in rows)
    again = await open_daemon(given)
    records = [each for each in read_decisions(tmp_path / "kept.db", 0.0, 100) if each]
    assert sorted(each.id for each in records) == sorted(ids)
    replayer = Replayer(again.state.current.snapshot.policy)
    for each in records:
        made = replayer.decide(each)
        assert made is not None
        stored = {**describe(made), "generation": each.described["generation"]}
        assert orjson.loads(orjson.dumps(stored)) == {key: each.described[key] for key in stored}


async def test_a_reload_tells_what_it_changes_and_an_edit_can_be_tried_and_saved(
    open_daemon: Opener, ollama: FakeOllama, tmp_path: Path
) -> None:
    given = policy_of(ollama, tmp_path, server={"edit_policy": True})
    daemon = await open_daemon(given)
    ids = await ask_some(daemon)
    assert (await daemon.get(f"/admin/decisions/{ids[-1]}")).status == 200  # all are written
    before = (await daemon.get("/admin/policy/text")).data
    assert json.loads(before["text"])["backends"] == given["backends"]
    edit = {
        **json.loads(before["text"]),
        "rules": [{"name": "default", "prefer": {"*small*": 900}}],
    }
    text = json.dumps(edit)
    tried = (await daemon.request("POST", "/admin/policy/try", data=text)).data
    assert tried["problems"] == []
    assert tried["comparison"]["decisions"] == 5
    assert tried["comparison"]["moves"] == [{"from": "o/large:8b", "to": "o/small:1b", "count": 3}]
    assert (await daemon.get("/admin/policy")).data["active"]["rules"] == ["default"]
    bad = (await daemon.request("POST", "/admin/policy/try", data="rules: 5")).data
    assert bad["problems"][0]["path"] == "$.rules"
    assert bad["problems"][0]["line"] == 1
    match = {"If-Match": f'"{before["digest"]}"'}

    assert (await daemon.request("PUT", "/admin/policy", data=text)).status == 400
    wrong = await daemon.request("PUT", "/admin/policy", data="rules: 5", headers=match)
    assert wrong.status == 422
    assert daemon.policy_file.read_text() == before["text"]
    done = await daemon.request("PUT", "/admin/policy", data=text, headers=match)
    assert done.status == 200
    assert Path(done.data["backup"]).read_text() == before["text"]
    assert daemon.policy_file.read_text() == text
    stale = await daemon.request("PUT", "/admin/policy", data=before["text"], headers=match)
    assert stale.status == 409
    assert (await daemon.chat("Write python")).headers["x-router-model"] == "small:1b"
    await daemon.events.until(lambda: bool(daemon.events.of("config.compared")))
    (told,) = daemon.events.of("config.compared")
    assert told["summary"].startswith("this edit moves 60 % of 5 recorded requests")
    shown = (await daemon.get("/admin/policy")).data
    assert shown["editable"] is True
    assert shown["history"][0]["summary"] == told["summary"]
    assert shown["history"][0]["reason"] == "page"
    assert [each["reason"] for each in shown["history"]] == ["page", "start"]
    again = await open_daemon({**edit})
    kept = (await again.get("/admin/policy")).data["history"]
    assert [each["summary"] for each in kept[-2:]] == [told["summary"], None]


async def test_what_a_broken_policy_refuses_is_recorded_and_tells_what_mends_it(
    open_daemon: Opener, ollama: FakeOllama, tmp_path: Path
) -> None:
    daemon = await open_daemon(policy_of(ollama, tmp_path))
    good = daemon.policy_file.read_text()
    broken = {**json.loads(good), "models": [{"match": "*", "enabled": False}]}
    daemon.policy_file.write_text(json.dumps(broken))
    assert (await daemon.post("/admin/reload", {})).status == 200
    assert (await daemon.post("/v1/chat/completions", {"messages": 5})).status == 400
    assert (await daemon.chat("Hello", model="nobody")).status == 404
    assert (await daemon.get("/admin/decisions")).data["decisions"] == []  # no decision was made
    listener = daemon.state.feed.join()
    refused = [await daemon.chat("Hello", stream=stream) for stream in (False, True, False)]
    assert {answer.error["code"] for answer in refused} == {"no_capable_model"}
    assert (await listener.take(1)).count(b"event: decision") == 3
    daemon.state.feed.leave(listener)
    ids = [answer.headers["x-router-decision"] for answer in refused]
    rows = (await daemon.get("/admin/decisions")).data["decisions"]
    assert {(row["id"], row["model"], row["outcome"]) for row in rows} == {
        (id_, None, "no_capable_model") for id_ in ids
    }
    told = daemon.events.of("request.routed")
    assert [(each["id"], each["outcome"]) for each in told] == [
        (id_, "no_capable_model") for id_ in ids
    ]
    metrics = (await daemon.get("/metrics")).body.decode()
    assert 'llmrouterd_answers_total{outcome="refused"} 3.0' in metrics
    shown = (await daemon.get(f"/admin/decisions/{ids[0]}?why_not=small:1b")).data
    assert shown["words"].startswith("no model by rule 'default' (routed")
    assert "not o/small:1b: switched off in models (disabled)" in shown["words"]
    assert shown["record"]["ranked"] == []
    assert shown["why_not"]["gate"] == "disabled"
    assert (await daemon.get(f"/v1/decisions/{ids[0]}")).data["words"] == shown["words"]
    thumb = await daemon.post("/v1/feedback", {"decision": ids[0], "value": 1})
    assert thumb.status == 404

    tried = (await daemon.request("POST", "/admin/policy/try", data=good)).data["comparison"]
    assert tried["moves"] == [{"from": "nobody", "to": "o/large:8b", "count": 3}]
    assert (tried["skipped"], tried["before"]["refused"], tried["after"]["refused"]) == (0, 3, 0)
    daemon.policy_file.write_text(good)
    assert (await daemon.post("/admin/reload", {})).status == 200
    # Deciding again by the present policy: now it is served.
    again = (await daemon.get(f"/admin/decisions/{ids[0]}?why_not=small:1b")).data["why_not"]
    assert (again["chosen"], again["same_policy"]) == ("o/large:8b", False)


async def test_a_privacy_rule_is_renamed(
    open_daemon: Opener, ollama: FakeOllama, tmp_path: Path
) -> None:
    rules = [
        {"name": "secrets", "when": {"text": "pass ?word"}, "only": ["o/small:1b"]},
        {"name": "default", "prefer": {"o/large:8b": 1000}},
    ]
    daemon = await open_daemon(policy_of(ollama, tmp_path, rules=rules))
    answer = await daemon.chat("my Password is lost")
    assert answer.headers["x-router-rule"] == "secrets"
    id_ = answer.headers["x-router-decision"]
    shown = (await daemon.get(f"/admin/decisions/{id_}")).data
    assert shown["record"]["signals"]["texts"] == ["pass ?word"]
    assert "prompt tokens, text pass ?word" in shown["words"]
    assert b"pass ?word" not in (await daemon.get(f"/v1/decisions/{id_}")).body
    edit = json.loads(daemon.policy_file.read_text())
    edit["rules"][0]["name"] = "private"
    tried = await daemon.request("POST", "/admin/policy/try", data=json.dumps(edit))
    told = tried.data["comparison"]
    assert (told["changed"], told["new_texts"]) == (0, [])
    assert told["summary"] == "this edit changes none of 1 recorded requests"


async def test_writing_is_off_unless_it_is_said(
    open_daemon: Opener, ollama: FakeOllama, tmp_path: Path
) -> None:
    daemon = await open_daemon(policy_of(ollama, tmp_path))
    assert (await daemon.get("/admin/policy")).data["editable"] is False
    text = daemon.policy_file.read_text()
    refused = await daemon.request("PUT", "/admin/policy", data="{}", headers={"If-Match": '"x"'})
    assert refused.status == 403
    assert daemon.policy_file.read_text() == text


async def test_why_not_over_the_api(
    open_daemon: Opener, ollama: FakeOllama, tmp_path: Path
) -> None:
    daemon = await open_daemon(policy_of(ollama, tmp_path))
    body = {"messages": [{"role": "user", "content": "Write python"}]}
    told = (await daemon.post("/admin/explain?why_not=small:1b", body)).data["why_not"]
    assert told["model"] == "o/small:1b"
    assert told["chosen"] == "o/large:8b"
    assert told["terms"][0]["name"] == "quality"
    assert "instead of" in told["words"]
    missing = await daemon.post("/admin/explain?why_not=nobody", body)
    assert missing.status == 404
    id_ = (await daemon.chat("Write python")).headers["x-router-decision"]
    title = "### Task:\nGenerate a concise title summarizing the chat history."
    task = await daemon.chat(title)
    other = {"small:1b": "large:8b", "large:8b": "small:1b"}[task.headers["x-router-model"]]
    place = f"/admin/decisions/{task.headers['x-router-decision']}?why_not={other}"
    assert "background tasks take" in (await daemon.get(place)).data["why_not"]["words"]
    place = f"/admin/decisions/{id_}?why_not=o/small:1b"
    kept = (await daemon.get(place)).data["why_not"]
    assert kept["same_policy"] is True
    assert kept["model"] == "o/small:1b"
    assert kept["terms"]
    assert kept["words"].startswith("o/small:1b was not chosen: place 2, ")
    edit = json.loads(daemon.policy_file.read_text())
    edit["rules"] = [{"name": "default", "exclude": ["o/small:1b"]}]
    daemon.policy_file.write_text(json.dumps(edit))
    assert (await daemon.post("/admin/reload", {})).status == 200
    edited = (await daemon.get(place)).data["why_not"]
    assert edited["same_policy"] is False
    assert edited["words"].splitlines() == [
        "Another policy decided; the present one decides:",
        "o/small:1b was not chosen: excluded by rule default (exclude)",
    ]
