"""A policy's own tests: what a case can say, what comes of it, and what an edit then does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmrouterd.config import load_policy
from llmrouterd.errors import ConfigError
from llmrouterd.policy_tests import count_results, describe_result, problems_of, run_tests
from tests.conftest import Opener, Scripted
from tests.support.clients import free_port
from tests.support.daemon import Running
from tests.support.policies import catalog, model, plain_environment, policy, settings_for

RULES = """
classification: {model: none}
backends: [{name: box, type: openai, url: "http://127.0.0.1:9/v1"}]
rules:
  - {name: code, when: {category: [coding]}, only: ["box/coder"]}
  - {name: pictures, when: {needs: [vision]}}
  - {name: default}
"""
CODE = "python: why does this loop never end?"
MODELS = catalog(model("box/coder"), model("box/talker"))


def case(**fields: Any) -> str:
    return RULES + f"tests: {json.dumps({'cases': [fields]})}\n"


def status(text: str, **world: Any) -> str:
    (result,) = run_tests(policy(text), **world)
    return result.status


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"prompt": CODE, "expect": {"category": "coding", "rule": "code"}}, "passed"),
        ({"prompt": CODE, "expect": {"category": ["math", "coding"]}}, "passed"),
        ({"prompt": CODE, "expect": {"category": "math"}}, "failed"),
        ({"prompt": CODE, "expect": {"rule": ["default", "pictures"]}}, "failed"),
        ({"prompt": CODE, "expect": {"max_complexity": 0.9}}, "passed"),
        ({"prompt": CODE, "expect": {"min_complexity": 0.99}}, "failed"),
        ({"prompt": "what is it", "expect": {"category": "general"}}, "passed"),
        ({"prompt": "what is it", "image": True, "expect": {"rule": "pictures"}}, "passed"),
        ({"prompt": CODE, "task": "title", "expect": {"task": "title"}}, "passed"),
        ({"prompt": CODE, "expect": {"task": "title"}}, "failed"),
        ({"prompt": CODE, "expect": {"task": "none"}}, "passed"),
        (
            {
                "messages": [
                    {"role": "user", "content": CODE},
                    {"role": "assistant", "content": "It says while True."},
                    {"role": "user", "content": "and then?"},
                ],
                "expect": {"category": "coding"},
            },
            "passed",
        ),
    ],
)
def test_what_a_case_expects(fields: dict[str, Any], expected: str) -> None:
    assert status(case(**fields)) == expected


def test_models_are_looked_at_where_a_catalog_knows_some() -> None:
    text = case(prompt=CODE, expect={"rule": "code", "models": ["BOX/*"]})
    assert status(text, catalog=MODELS) == "passed"
    assert status(text) == "skipped"
    assert status(text, catalog=catalog()) == "skipped"
    wrong = case(prompt=CODE, expect={"models": ["box/talker"]})
    (result,) = run_tests(policy(wrong), MODELS)
    assert result.status == "failed"
    assert result.missed[0].got == "box/coder"
    assert "ranked box/coder" in result.missed[0].remedy
    nobody = case(prompt=CODE, image=True, expect={"models": ["*"]})
    (result,) = run_tests(policy(nobody), MODELS)
    assert result.missed[0].got == "none"
    assert "vision" in result.missed[0].remedy


def test_preset_and_client_are_those_of_the_case() -> None:
    text = """
auth: {clients: [{name: kids, key: kids-key-0123456789}]}
rules:
  - {name: kids, when: {client: [kids]}}
  - {name: quick, when: {preset: [speed]}}
  - {name: default}
tests:
  cases:
    - {prompt: hi, client: kids, expect: {rule: kids}}
    - {prompt: hi, preset: speed, expect: {rule: quick}}
    - {prompt: hi, expect: {rule: default}}
"""
    assert count_results(run_tests(policy(text))) == {"passed": 3, "failed": 0, "skipped": 0}


def test_a_failure_says_where_what_and_what_to_do() -> None:
    text = case(name="loop", prompt=CODE, expect={"category": "math", "rule": "default"})
    results = run_tests(policy(text))
    first, second = problems_of(results)
    assert (first.line, first.path) == (8, "$.tests.cases[0]")
    assert "test 'loop': expected category math, got coding (coding " in first.message
    assert "math.yaml" in first.message
    assert "expected rule default, got code;" in second.message
    described = describe_result(results[0])
    assert (described["place"], described["status"]) == ("tests.cases[0]", "failed")
    assert [miss["what"] for miss in described["missed"]] == ["category", "rule"]
    assert json.dumps(described)


def test_a_request_that_no_client_could_send() -> None:
    text = case(messages=[{"role": "user", "content": 7}], expect={"task": "none"})
    (result,) = run_tests(policy(text))
    assert result.missed[0].what == "request"


@pytest.mark.parametrize(
    ("tests", "path", "words"),
    [
        ({"cases": [{"prompt": "x", "expect": {}}]}, "$.tests.cases[0].expect", "expects nothing"),
        (
            {"cases": [{"prompt": "x", "expect": {"category": ["maths"]}}]},
            "$.tests.cases[0].expect.category",
            "unknown category 'maths'",
        ),
        (
            {"cases": [{"prompt": "x", "expect": {"rule": "no"}}]},
            "$.tests.cases[0].expect.rule",
            "unknown rule 'no'; there are: code, default, pictures",
        ),
        (
            {"cases": [{"prompt": "x", "client": "bob", "expect": {"rule": "code"}}]},
            "$.tests.cases[0].client",
            "none is declared",
        ),
        (
            {"cases": [{"prompt": "x", "messages": [{}], "expect": {"rule": "code"}}]},
            "$.tests.cases[0].messages",
            "not both",
        ),
        (
            {"cases": [{"prompt": "x", "expect": {"min_complexity": 0.5, "max_complexity": 0.4}}]},
            "$.tests.cases[0].expect.max_complexity",
            "0.4 is below min_complexity, 0.5",
        ),
        ({"cases": [{"expect": {"rule": "code"}}]}, "$.tests.cases[0]", "prompt, messages"),
        ({"cases": [{"prompt": "x"}]}, "$.tests.cases[0]", "expect is missing"),
        ({"file": "none.yaml"}, "$.tests.file", "'none.yaml' cannot be read"),
    ],
)
def test_a_case_that_means_nothing_is_a_problem(
    tests: dict[str, Any], path: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        policy(RULES + f"tests: {json.dumps(tests)}\n")
    (problem,) = caught.value.problems
    assert problem.path == path
    assert words in problem.message


def written(folder: Path, cases: str, **tests: Any) -> Path:
    """A policy with cases in a file beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cases.yaml").write_text(cases)
    file = folder / "router.yaml"
    file.write_text(RULES + f"tests: {json.dumps({'file': 'cases.yaml', **tests})}\n")
    return file


def test_a_file_of_cases_beside_the_policy(tmp_path: Path) -> None:
    one = "- {prompt: 'python ${X} {{y}}', expect: {category: coding}}\n"
    file = written(tmp_path, "# none yet\n")
    settings = settings_for(file, tmp_path)
    empty = load_policy(settings)
    assert empty.tests.cases == ()
    written(tmp_path, one)
    made = load_policy(settings)
    assert made.digest != empty.digest
    (result,) = run_tests(made)
    assert (result.status, result.place) == ("passed", "cases.yaml[0]")
    written(tmp_path, "\n\n" + one)
    moved = load_policy(settings)
    assert moved.tests == made.tests
    assert moved.tests.cases[0].at.line == 3
    for wrong, words in (
        ("prompt: x", "must be a list"),
        ("- {prompt: x, expect: {rule: code}, more: 1}", "unknown key 'more'"),
        ("- {", "not valid YAML"),
    ):
        written(tmp_path, wrong)
        with pytest.raises(ConfigError) as caught:
            load_policy(settings)
        (problem,) = caught.value.problems
        assert problem.file.endswith("cases.yaml")
        assert words in problem.message


def check(file: Path, state: Path, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "llmrouterd", "check", str(file), *words],
        capture_output=True,
        text=True,
        env=plain_environment(state, ROUTER_PORT=str(free_port())),
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def test_check_runs_them(tmp_path: Path) -> None:
    cases = f"- {{prompt: '{CODE}', expect: {{rule: code, models: [box/talker]}}}}\n"
    file = written(tmp_path / "etc", cases)
    plain, out, _ = check(file, tmp_path)
    assert (plain, "tests:" in out) == (0, False)
    skipped, out, _ = check(file, tmp_path, "--tests")
    assert skipped == 0
    assert "1 test: 0 passed, 0 failed, 1 skipped" in out
    assert "--catalog" in out
    models = tmp_path / "catalog.json"
    models.write_text('{"models": [{"id": "box/coder"}, {"id": "box/talker"}]}')
    failed, out, err = check(file, tmp_path, "--tests", "--catalog", str(models))
    assert failed == 1
    assert "1 test: 0 passed, 1 failed, 0 skipped" in out
    assert "cases.yaml:1:3: $[0]: expected a model like box/talker, got box/coder;" in err
    failed, out, _ = check(file, tmp_path, "--tests", "--catalog", str(models), "--json")
    answer = json.loads(out)
    assert (failed, answer["ok"], answer["problems"]) == (1, False, [])
    assert [result["status"] for result in answer["tests"]] == ["failed"]
    missing, _, err = check(file, tmp_path, "--tests", "--catalog", str(tmp_path / "none"))
    assert missing == 1
    assert "cannot be read" in err


def edit(daemon: Running, **changes: Any) -> None:
    known = json.loads(daemon.policy_file.read_text())
    daemon.policy_file.write_text(json.dumps({**known, **changes}))


async def test_an_edit_that_breaks_a_case(scripted: Scripted) -> None:
    cases = [{"prompt": "hello you", "expect": {"category": "chat", "models": ["s/a"]}}]
    daemon, _ = await scripted("a", "b", tests={"cases": cases})
    active = (await daemon.get("/admin/policy")).data["active"]
    assert active["tests"]["failed"] == []
    serving = active["digest"]
    prefer_b = [{"name": "default", "prefer": {"s/b": 1000.0}}]

    edit(daemon, rules=prefer_b, tests={"cases": cases, "on_failure": "refuse"})
    refused = await daemon.post("/admin/reload", {})
    assert refused.status == 422
    (problem,) = refused.data["problems"]
    assert "expected a model like s/a, got s/b;" in problem
    about = (await daemon.get("/admin/policy")).data
    assert about["active"]["digest"] == serving
    assert about["rejected"]["problems"][0]["path"] == "$.tests.cases[0]"
    assert daemon.events.of("config.rejected")[-1]["problems"] == [problem]
    assert 'policy_reloads_total{result="rejected"}' in (await daemon.get("/metrics")).body.decode()

    edit(daemon, rules=prefer_b, tests={"cases": cases, "on_failure": "warn"})
    applied = await daemon.post("/admin/reload", {})
    assert applied.status == 200
    warned = daemon.events.of("tests.failed")[-1]
    assert (warned["failed"], warned["passed"], len(warned["failures"])) == (1, 0, 1)
    about = (await daemon.get("/admin/policy")).data
    assert about["rejected"] is None
    assert about["active"]["digest"] == applied.data["digest"]
    (failed,) = about["active"]["tests"]["failed"]
    assert failed["missed"][0]["got"] == "s/b"


async def test_a_failing_case_does_not_stop_the_start(open_daemon: Opener) -> None:
    cases = [
        {"prompt": "hello you", "expect": {"category": "math"}},
        {"prompt": "hello you", "expect": {"models": ["*"]}},
    ]
    daemon = await open_daemon({"tests": {"cases": cases, "on_failure": "refuse"}, "backends": []})
    (failed,) = daemon.events.of("tests.failed")
    assert failed["reason"] == "start"
    assert (failed["failed"], failed["skipped"]) == (1, 1)
    # Nothing is edited, so there is nothing to refuse.
    assert (await daemon.post("/admin/reload", {})).status == 200
    tests = (await daemon.get("/admin/policy")).data["active"]["tests"]
    assert [item["place"] for item in tests["skipped"]] == ["tests.cases[1]"]


async def test_the_file_of_cases_is_watched(open_daemon: Opener) -> None:
    daemon = await open_daemon({"backends": []})
    beside = daemon.policy_file.parent / "cases.yaml"
    edit(daemon, tests={"file": "cases.yaml", "on_failure": "refuse"})
    assert (await daemon.post("/admin/reload", {})).status == 422
    beside.write_text("- {prompt: hello, expect: {category: chat}}\n")
    await daemon.events.until(lambda: len(daemon.events.of("config.reloaded")) == 1)
    assert daemon.state.reloader.tested[0].status == "passed"
    beside.write_text("- {prompt: hello, expect: {category: math}}\n")
    await daemon.events.until(lambda: len(daemon.events.of("config.rejected")) == 2)
    assert daemon.state.reloader.rejected is not None
    (problem,) = daemon.state.reloader.rejected.problems
    assert problem.file == str(beside)
