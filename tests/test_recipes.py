"""The recipes: policies that a person can copy. Each is checked, keeps what its page promises, and
breaks its own tests when the part that a promise rests on is taken out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmrouterd.benchmarks.packaged import read_packaged
from llmrouterd.catalog_file import read_catalog
from llmrouterd.chat import parse_request
from llmrouterd.classifier import classify
from llmrouterd.config import load_policy
from llmrouterd.decision import Decision, decide
from llmrouterd.outgoing import priority_of
from llmrouterd.policy import Globs, Policy
from llmrouterd.policy_tests import run_tests
from llmrouterd.residency.needs import misfits
from llmrouterd.residency.ticket import PRIORITIES
from llmrouterd.scorer import Load
from llmrouterd.settings import Settings
from llmrouterd.signals import RequestContext
from tests.support.clients import free_port
from tests.support.pages import FENCE, read

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "recipes"
RECIPES = (
    "one-12gb-gpu",
    "two-gpus-two-hosts",
    "cpu-and-cloud",
    "family-with-keys",
    "agents-beside-chat",
)
PRIMES = (
    "Prove that there are infinitely many prime numbers, compare three different proofs, and "
    "design an algorithm that finds the primes below a million without using more than a megabyte."
)


def keys_of(text: str) -> dict[str, str]:
    """A value for every variable that a recipe needs."""
    return {name: f"a-key-for-{name}" for name in re.findall(r"\$\{(\w+)\}", text)}


def load(file: Path) -> Policy:
    environ = keys_of(file.read_text("utf-8"))
    return load_policy(
        Settings(policy=file, rules=ROOT / "rules", state=file.parent, environ=environ)
    )


@cache
def policy_of(recipe: str) -> Policy:
    return load(FOLDER / f"{recipe}.yaml")


def ask(
    recipe: str, prompt: str, *, client: str = "", image: bool = False, live: Any = None
) -> Decision:
    """What a recipe decides for a prompt, by its own catalog, in a live state like its file's."""
    policy = policy_of(recipe)
    catalog, found = read_catalog(str(FOLDER / f"{recipe}.catalog.json"), policy)
    content: Any = prompt
    if image:
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
        content = [{"type": "text", "text": prompt}, picture]
    body = json.dumps({"messages": [{"role": "user", "content": content}]}).encode()
    signals = classify(
        parse_request("chat", body, policy.validators), policy, RequestContext(client=client)
    )
    state: Load = replace(found, **live) if live else found
    return decide(signals, policy, catalog, state)


def test_every_recipe_is_whole() -> None:
    assert {file.name for file in FOLDER.iterdir()} == {
        f"{recipe}{end}" for recipe in RECIPES for end in (".md", ".yaml", ".catalog.json")
    }
    for recipe in RECIPES:
        assert f"docs/recipes/{recipe}.md" in read("README.md")


@pytest.mark.parametrize("recipe", RECIPES)
def test_check_finds_nothing(recipe: str) -> None:
    file = FOLDER / f"{recipe}.yaml"
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "ROUTER_PORT": str(free_port()),
        **keys_of(file.read_text("utf-8")),
    }
    command = [sys.executable, "-m", "llmrouterd", "check", str(file)]
    for more in ([], ["--catalog", str(FOLDER / f"{recipe}.catalog.json")]):
        found = subprocess.run(
            [*command, *more], env=environ, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert (found.returncode, found.stderr) == (0, "")
        assert "never fits" not in found.stdout
    assert found.stdout.endswith(" passed, 0 failed, 0 skipped\n")


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_page_shows_parts_of_the_file(recipe: str) -> None:
    policy = (FOLDER / f"{recipe}.yaml").read_text("utf-8")
    shown = [
        match[2] for match in FENCE.finditer(read(FOLDER / f"{recipe}.md")) if match[1] == "yaml"
    ]
    assert len(shown) >= 3
    for excerpt in shown:
        assert excerpt in policy


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_catalog_has_published_figures_as_they_are(recipe: str) -> None:
    published = {
        (row.model, row.board, row.value, row.low, row.high, row.date)
        for parsed in read_packaged().values()
        for row in parsed.rows
    }
    rows = json.loads((FOLDER / f"{recipe}.catalog.json").read_text("utf-8"))["benchmarks"]
    assert rows
    for row in rows:
        fields = ("model", "board", "value", "low", "high")
        assert (*(row.get(name) for name in fields), row.get("date", "")) in published


def named(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(item for item in items if item["name"] == name)


def changed(recipe: str, path: str, folder: Path) -> Policy:
    """A recipe without some parts, such as `rules/NAME` and `rules/NAME/only + residency`; its
    tests then say nothing of rules."""
    data = yaml.safe_load((FOLDER / f"{recipe}.yaml").read_text("utf-8"))
    for part in path.split(" + "):
        at: Any = data
        *way, last = part.split("/")
        for key in way:
            at = named(at, key) if isinstance(at, list) else at[key]
        if isinstance(at, list):
            at.remove(named(at, last))
        else:
            del at[last]
    for case in data["tests"]["cases"]:  # a rule's name in a test is no promise
        case["expect"].pop("rule", None)
    file = folder / "router.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False), "utf-8")
    return load(file)


@pytest.mark.parametrize(
    ("recipe", "path", "broken"),
    [
        ("one-12gb-gpu", "rules/code", "code goes to the coder"),
        (
            "one-12gb-gpu",
            "rules/people/when + rules/default",
            "a title goes to the small model, which evicts nothing",
        ),
        ("two-gpus-two-hosts", "rules/small talk", "a greeting goes to the closet"),
        (
            "two-gpus-two-hosts",
            "rules/people/when + rules/default",
            "a title stays off the large card",
        ),
        ("cpu-and-cloud", "rules/hard", "hard code may use the cloud"),
        ("cpu-and-cloud", "rules/private", "private words stay at home"),
        ("cpu-and-cloud", "rules/pictures/only", "a picture stays at home"),
        ("cpu-and-cloud", "rules/people + rules/default/only", "everyday questions stay at home"),
        ("cpu-and-cloud", "rules/people", "in a hurry they do not go to the smallest model either"),
        ("family-with-keys", "rules/kids", "a child's game puts no model out"),
        (
            "family-with-keys",
            "rules/kids + rules/parents' hard questions/when/client",
            "a child's hardest question stays at home",
        ),
        ("family-with-keys", "rules/guests", "a guest gets the model that is always there"),
        (
            "family-with-keys",
            "rules/parents' hard questions",
            "a parent's hard question may go out",
        ),
        ("agents-beside-chat", "rules/agents", "an agent's other words go there too"),
        ("agents-beside-chat", "rules/code", "a person's code"),
        ("agents-beside-chat", "rules/people/only", "a person's chat does not wait behind agents"),
    ],
)
def test_a_promise_rests_on_a_part(recipe: str, path: str, broken: str, tmp_path: Path) -> None:
    policy = changed(recipe, path, tmp_path)
    catalog, live = read_catalog(str(FOLDER / f"{recipe}.catalog.json"), policy)
    failed = [each.case.name for each in run_tests(policy, catalog, live) if each.missed]
    assert broken in failed


@pytest.mark.parametrize(
    ("recipe", "client", "prompt", "rule", "models"),
    [
        (
            "one-12gb-gpu",
            "",
            "Schreib mir ein Bash-Skript, das alte Logdateien löscht.",
            "code",
            "*coder*",
        ),
        ("one-12gb-gpu", "", "my c++ destructor never runs, why?", "code", "*coder*"),
        ("one-12gb-gpu", "", "Wie koche ich ein weiches Ei?", "people", "*gemma3:12b"),
        ("one-12gb-gpu", "", "Traduis en anglais : il pleut des cordes.", "people", "*gemma3:12b"),
        (
            "two-gpus-two-hosts",
            "",
            "Écris une fonction Python qui vérifie un IBAN.",
            "code",
            "desk/*",
        ),
        ("two-gpus-two-hosts", "", "Hola, ¿qué tal?", "small talk", "closet/*12b"),
        ("two-gpus-two-hosts", "", "Guten Morgen!", "small talk", "closet/*12b"),
        ("two-gpus-two-hosts", "", "Escribe un poema sobre el mar.", "people", "desk/gemma3:27b"),
        ("cpu-and-cloud", "", PRIMES, "hard", "cloud/*"),
        (
            "cpu-and-cloud",
            "",
            "Beweise, dass die Wurzel aus zwei irrational ist.",
            "hard",
            "cloud/*",
        ),
        ("cpu-and-cloud", "", "Mein Passwort ist zu kurz, was nun?", "private", "ollama/*"),
        (
            "cpu-and-cloud",
            "",
            "¿Qué puedo cocinar con huevos y patatas?",
            "people",
            "ollama/gemma3:4b",
        ),
        (
            "family-with-keys",
            "kids",
            "Schreibe ein Python-Programm für Tic Tac Toe.",
            "kids",
            "ollama/gemma3:27b",
        ),
        (
            "family-with-keys",
            "guests",
            "Quel temps fait-il en mai à Paris ?",
            "guests",
            "ollama/gemma3:4b",
        ),
        ("family-with-keys", "parents", "Thanks, that helped!", "default", "ollama/*"),
        ("family-with-keys", "", PRIMES, "default", "ollama/*"),
        (
            "agents-beside-chat",
            "agents",
            "Lies die Datei und fasse sie zusammen.",
            "agents",
            "coder/*",
        ),
        (
            "agents-beside-chat",
            "people",
            "Korrigiere diese SQL-Abfrage: SELEC * FORM users",
            "code",
            "coder/*",
        ),
        (
            "agents-beside-chat",
            "people",
            "Mein Vermieter antwortet nicht, was soll ich tun?",
            "people",
            "*gemma3:12b",
        ),
    ],
)
def test_other_words_and_languages(
    recipe: str, client: str, prompt: str, rule: str, models: str
) -> None:
    made = ask(recipe, prompt, client=client)
    assert made.rule == rule
    assert Globs([models]).match(made.ranked[0].model)


def test_a_long_text_goes_to_a_cheap_cloud_model() -> None:
    made = ask("cpu-and-cloud", "Summarize this: " + "The meeting went on and on. " * 900)
    assert made.rule == "long texts"
    assert made.ranked[0].model.startswith("cloud/")
    assert "cloud/anthropic/claude-sonnet-4.5" not in [one.model for one in made.ranked]


def test_a_budget_bounds_the_cloud() -> None:
    reason = "spent 1.00 of 1.00 dollars today"
    for recipe, client in (("cpu-and-cloud", ""), ("family-with-keys", "parents")):
        spec = policy_of(recipe).backend("cloud")
        assert spec is not None
        assert spec.budget.usd_per_day > 0
        usual = ask(recipe, PRIMES, client=client)
        assert usual.ranked[0].model.startswith("cloud/")
        assert not [one for one in usual.rejected if one.gate == "budget"]
        made = ask(recipe, PRIMES, client=client, live={"spent": {"cloud": reason}})
        assert all(one.model.startswith("ollama/") for one in made.ranked)
        assert {one.reason for one in made.rejected if one.gate == "budget"} == {reason}


def test_an_image_of_code_goes_to_the_model_that_sees() -> None:
    for recipe in ("one-12gb-gpu", "cpu-and-cloud"):
        made = ask(recipe, "Pourquoi cette fonction Python plante-t-elle ?", image=True)
        assert "gemma3" in made.ranked[0].model


def test_one_host_stands_in_for_the_other() -> None:
    poem = "Escribe un poema sobre el mar."
    usual = ask("two-gpus-two-hosts", poem).ranked[0].model
    down = dict.fromkeys(
        ("desk/gemma3:27b", "desk/mistral-small3.2:24b", "desk/gemma3:12b"), "down"
    )
    assert usual == "desk/gemma3:27b"
    made = ask("two-gpus-two-hosts", poem, live={"cooling": down})
    assert made.ranked[0].model == "closet/gemma3:12b"
    asleep = {"closet/gemma3:12b": "down", "closet/gemma3:4b": "down"}
    made = ask("two-gpus-two-hosts", "Good morning!", live={"cooling": asleep})
    assert made.ranked[0].model.startswith("desk/")


def test_agents_wait_behind_people(tmp_path: Path) -> None:
    body = b'{"stream": true, "messages": [{"role": "user", "content": "Go on."}]}'

    def priorities(policy: Policy) -> Mapping[str, str]:
        chat = parse_request("chat", body, policy.validators)
        return {
            name: PRIORITIES[
                priority_of(chat, classify(chat, policy, RequestContext(client=name)), policy)
            ]
            for name in ("people", "agents", "")
        }

    found = priorities(policy_of("agents-beside-chat"))
    assert found == {"people": "chat", "agents": "task", "": "chat"}
    without = changed("agents-beside-chat", "auth/clients/agents/priority", tmp_path)
    assert priorities(without)["agents"] == "chat"


def test_the_command_line_decides_for_a_client() -> None:
    file = FOLDER / "family-with-keys.yaml"
    words = [{"role": "user", "content": PRIMES}]
    lines = [
        {"client": "kids", "messages": words},
        {"client": "parents", "messages": words},
        {"client": "parents", "task": "title", "messages": words},
    ]
    catalog = str(FOLDER / "family-with-keys.catalog.json")
    command = [sys.executable, "-m", "llmrouterd", "decide", "--policy", str(file)]
    found = subprocess.run(
        [*command, "--catalog", catalog],
        input="".join(json.dumps(line) + "\n" for line in lines),
        env={"PYTHONPATH": str(ROOT), **keys_of(file.read_text("utf-8"))},
        capture_output=True,
        text=True,
        check=True,
    )
    decided = [json.loads(line)["model"] for line in found.stdout.splitlines()]
    assert decided == [
        "ollama/gemma3:27b",
        "cloud/anthropic/claude-sonnet-4.5",
        "ollama/gemma3:4b",
    ]


def test_what_a_childs_key_is_limited_to() -> None:
    limits = {client.name: client.limit for client in policy_of("family-with-keys").auth.clients}
    assert (limits["kids"].requests_per_minute, limits["kids"].concurrent) == (20, 1)
    assert limits["parents"].requests_per_minute == 0
    assert limits["guests"].tokens_per_minute == 6000


def test_all_models_of_a_recipe_fit_its_box() -> None:
    for recipe in RECIPES:
        policy = policy_of(recipe)
        catalog, _ = read_catalog(str(FOLDER / f"{recipe}.catalog.json"), policy)
        assert misfits(policy, catalog) == ()
