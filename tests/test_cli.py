"""The command line, as a shell sees it: exit status, standard output, standard error."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from llmrouterd import __version__
from llmrouterd.__main__ import COMMANDS
from tests.support.clients import free_port
from tests.support.faults import FaultServer
from tests.support.policies import Running, plain_environment, running

SECRET = "sk-very-secret-0815"


class Ran(NamedTuple):
    status: int
    out: str
    err: str

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Shell:
    """Runs llmrouterd in a folder with a router.yaml and small lexicons."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.policy = folder / "router.yaml"
        self.policy.write_text("{}\n")
        self.environ = {"ROUTER_PORT": str(free_port()), "ROUTER_CONFIG": str(self.policy)}

    def __call__(self, *words: str, stdin: Any = "", **environ: str) -> Ran:
        text = stdin if isinstance(stdin, str) else "".join(json.dumps(s) + "\n" for s in stdin)
        done = subprocess.run(
            [sys.executable, "-m", "llmrouterd", *words],
            input=text,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=plain_environment(self.folder / "state", **{**self.environ, **environ}),
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    async def beside(self, *words: str, **more: Any) -> Ran:
        """Run while the event loop goes on."""
        return await asyncio.to_thread(self, *words, **more)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def user(words: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": words}], **more}


CATALOG = {
    "models": [
        {"id": "box/coder", "size_b": 8, "quality": {"coding": 0.9}, "resident": True},
        {"id": "box/talker", "size_b": 8, "quality": {"coding": 0.2, "overall": 0.8}},
        {"id": "box/eyes", "size_b": 8, "capabilities": ["chat", "vision"]},
    ]
}


@pytest.fixture
def catalog(tmp_path: Path) -> str:
    file = tmp_path / "catalog.json"
    file.write_text(json.dumps(CATALOG))
    return str(file)


def test_version_and_help(shell: Shell) -> None:
    assert shell("--version").out == f"llmrouterd {__version__}\n"
    found = shell("--help")
    assert found.status == 0
    assert all(name in found.out for name, _, _ in COMMANDS)
    nothing = shell()
    assert (nothing.status, nothing.out) == (2, "")
    assert "COMMAND" in nothing.err


def test_check_says_ok(shell: Shell) -> None:
    found = shell("check")
    assert found.status == 0
    assert found.out.startswith(f"{shell.policy}: ok (1 rules, 3 backends, 12 categories, digest ")
    answer = json.loads(shell("check", str(shell.policy), "--json").out)
    assert answer == {"ok": True, "problems": []}


def test_check_says_all_problems(shell: Shell) -> None:
    shell.policy.write_text("pins: x\nrules:\n  - {name: a, use: nobody}\n")
    found = shell("check")
    assert (found.status, found.out) == (1, "")
    first, second, last = found.err.splitlines()
    assert first == f"{shell.policy}:1:7: $.pins: 'x' is a text; must be a list"
    assert second.startswith(f"{shell.policy}:3:20: $.rules[0].use: unknown model 'nobody'")
    assert last == "2 problems; the policy is refused as a whole."
    answer = shell("check", "--json")
    assert answer.status == 1
    problems = json.loads(answer.out)["problems"]
    assert [problem["path"] for problem in problems] == ["$.pins", "$.rules[0].use"]
    assert problems[0]["line"] == 1


def test_check_of_a_file_that_is_not_there(shell: Shell) -> None:
    found = shell("check", "none.yaml")
    assert found.status == 1
    assert (
        found.err.splitlines()[0] == "none.yaml:1:1: $: cannot be read: No such file or directory"
    )


def test_check_sees_a_port_in_use(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.settimeout(1)
        port = str(taken.getsockname()[1])
        found = shell("check", ROUTER_PORT=port)
    assert found.status == 1
    assert f"$.server.port: 127.0.0.1:{port} cannot be used: Address already in use" in found.err


def test_classify(shell: Shell) -> None:
    given = [
        {"id": "a", "prompt": "write python"},
        {"prompt": "lorem"},
        {"id": "c", "messages": [{"role": "user", "content": "a poem"}]},
        {"id": "d", "prompt": "lorem", "task": "title_generation"},
    ]
    found = shell("classify", stdin=given)
    assert found.status == 0
    assert [line["id"] for line in found.lines()] == ["a", 2, "c", "d"]
    categories = [line["category"] for line in found.lines()]
    assert categories[0::2] == ["coding", "creative"]
    assert categories[3] == "general"  # the task's words are not the human's
    assert found.lines()[3]["task"] == "title"
    assert sum(found.lines()[0]["probabilities"].values()) == pytest.approx(1, abs=1e-3)


def test_a_line_that_fails_does_not_stop_the_others(shell: Shell) -> None:
    given = '{"id": 1, "prompt": "python"}\n{nonsense\n[]\n\n{"id": 4}\n{"id": 5, "prompt": "hi"}\n'
    found = shell("classify", stdin=given)
    assert found.status == 1
    lines = found.lines()
    assert [line["id"] for line in lines] == [1, 2, 3, 4, 5]
    assert ["error" in line for line in lines] == [False, True, True, True, False]
    assert lines[2]["error"]["message"] == "line 3: a line must be a JSON object"


def test_decide(shell: Shell, catalog: str) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    given = [
        user("write python", id="x"),
        user("lorem"),
        {"messages": [{"role": "user", "content": [image]}]},
        user("lorem", model="box/eyes"),
        user("lorem", model="gpt-5"),
        user("lorem", model="hubrouter/main:speed"),
    ]
    found = shell("decide", "--catalog", catalog, stdin=given)
    assert found.status == 1  # the fifth names a model that nobody has
    lines = found.lines()
    assert [line.get("model") for line in lines[:4]] == [
        "box/coder",
        "box/talker",
        "box/eyes",
        "box/eyes",
    ]
    assert lines[0]["id"] == "x"
    assert lines[3]["mode"] == "explicit"
    assert lines[4]["error"]["code"] == "model_not_found"
    assert lines[5]["preset"] == "speed"
    again = shell("decide", "--catalog", catalog, stdin=given)
    assert again.out == found.out


def test_decide_by_another_policy(shell: Shell, catalog: str) -> None:
    other = shell.folder / "other.yaml"
    other.write_text(
        "backends: [{name: box, type: ollama, url: http://box}]\n"
        "rules: [{name: mine, use: box/eyes}]\n"
    )
    found = shell("decide", "--catalog", catalog, "--policy", str(other), stdin=[user("python")])
    assert found.lines()[0]["rule"] == "mine"
    assert found.lines()[0]["model"] == "box/eyes"


def test_check_tells_what_can_never_be_loaded(shell: Shell, catalog: str) -> None:
    policy = shell.folder / "small.yaml"
    policy.write_text(
        "backends: [{name: box, type: ollama, url: http://127.0.0.1:9}]\n"
        "residency: {hosts: [{name: local, vram_gb: 24, max_models: 1}]}\n"
        "models: [{match: box/coder, vram_gb: 18}, {match: box/talker, vram_gb: 8},"
        " {match: box/eyes, vram_gb: 40}]\n"
        "pins: [box/coder]\n"
    )
    found = shell("check", str(policy), "--catalog", catalog)
    assert found.status == 0
    assert found.out.splitlines()[1:3] == [
        "never fits: local: box/eyes needs 40.0 GB of 6.0 GB beside the pinned box/coder",
        "never fits: local: box/talker needs 8.0 GB of 6.0 GB beside the pinned box/coder",
    ]
    policy.write_text(
        policy.read_text().replace("pins: [box/coder]", "pins: [box/coder, box/eyes]")
    )
    told = json.loads(shell("check", str(policy), "--catalog", catalog, "--json").out)
    assert told["ok"]
    assert told["misfits"] == [
        "local: 2 models are pinned, and at most 1 are loaded",
        "local: the pinned box/coder, box/eyes need 58.0 GB of 24.0 GB",
    ]


def test_offline_explanations(shell: Shell, catalog: str) -> None:
    given = json.dumps(user("write python"))
    found = shell("explain", "--offline", "--catalog", catalog, stdin=given)
    assert found.status == 0
    assert found.out.startswith("box/coder by rule 'default' (routed, preset balanced)\n")
    as_json = shell("explain", "--offline", "--catalog", catalog, "--json", stdin=given)
    assert json.loads(as_json.out)["model"] == "box/coder"
    assert json.loads(as_json.out)["words"] + "\n" == found.out


@pytest.mark.parametrize(
    ("words", "stdin", "message"),
    [
        (("explain", "--offline"), "{}", "explain --offline needs --catalog FILE"),
        (("explain", "--offline", "--catalog", "none.json"), "{}", "none.json: cannot be read"),
        (("explain", "--offline", "--catalog", "catalog.json"), "{", "unexpected end of data"),
        (("explain", "--offline", "--catalog", "catalog.json"), "[]", "must be a JSON object"),
        (("explain", "--offline", "--catalog", "catalog.json"), "{}", "messages"),
        (("explain",), "{}", "no daemon answers there"),
        (("models",), "", "no daemon answers there"),
        (("catalog", "--url", "nonsense"), "", "nonsense"),
        (("decide", "--catalog", "catalog.json", "--policy", "none.yaml"), "", "cannot be read"),
    ],
)
def test_what_goes_wrong_is_said(
    shell: Shell, catalog: str, words: tuple[str, ...], stdin: str, message: str
) -> None:
    assert catalog
    found = shell(*words, stdin=stdin)
    assert (found.status, found.out) == (1, "")
    assert message in found.err


def test_a_closed_pipe_is_no_error(shell: Shell) -> None:
    given = "".join(json.dumps({"prompt": f"python {n}"}) + "\n" for n in range(2000))
    (shell.folder / "in.jsonl").write_text(given)
    done = subprocess.run(
        f"{sys.executable} -m llmrouterd classify < in.jsonl | head -1",
        shell=True,
        capture_output=True,
        text=True,
        cwd=shell.folder,
        env=plain_environment(shell.folder / "state", **shell.environ),
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout)["category"] == "coding"
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Running]:
    async with FaultServer(["alpha", {"id": "beta", "context_length": 4096}]) as server:
        backend = {"name": "box", "type": "openai", "url": server.url, "remote": True}
        models = [{"match": "box/beta", "quality": {"coding": 0.9}, "size_b": 8}]
        clients = [{"name": "kids", "key": "kids-key-0815"}]
        rules = [{"name": "kids", "when": {"client": ["kids"]}, "only": ["box/alpha"]}]
        rules += [{"name": "default"}]
        given = {"models": models, "rules": rules, "auth": {"clients": clients}}
        text = json.dumps({"backends": [backend], **given})
        async with running(text, tmp_path / "daemon", ROUTER_ADMIN_API_KEY=SECRET) as found:
            yield found


async def test_asking_the_daemon(shell: Shell, daemon: Running) -> None:
    url, key = ("--url", daemon.url), ("--key", SECRET)
    table = await shell.beside("models", *url, *key)
    head, *rows = table.out.splitlines()
    assert head.split()[:3] == ["MODEL", "SIZE", "CONTEXT"]
    assert [row.split()[0] for row in rows] == ["box/alpha", "box/beta"]
    as_json = await shell.beside("models", "--json", *url, ROUTER_ADMIN_API_KEY=SECRET)
    assert [model["id"] for model in json.loads(as_json.out)] == ["box/alpha", "box/beta"]
    refused = await shell.beside("models", *url)
    assert (refused.status, refused.out) == (1, "")
    assert "401: The key is missing" in refused.err
    given = json.dumps(user("write python"))
    explained = await shell.beside("explain", *url, *key, stdin=given)
    assert explained.out.startswith("box/beta by rule 'default'")
    bad = await shell.beside("explain", *url, *key, stdin='{"messages": 3}')
    assert bad.status == 1
    assert "400: messages" in bad.err
    port = daemon.url.rpartition(":")[2]
    ours = await shell.beside("check", ROUTER_PORT=port)
    assert ours.status == 0, ours.err  # the port is in use, but by us


async def test_the_printed_catalog_decides_the_same(
    shell: Shell, daemon: Running, tmp_path: Path
) -> None:
    url, key = ("--url", daemon.url), ("--key", SECRET)
    printed = await shell.beside("catalog", *url, *key)
    file = tmp_path / "printed.json"
    file.write_text(printed.out)
    for words, named, rule in (
        ("write python", {}, "default"),
        ("lorem", {"id": 7}, "default"),
        ("a poem", {}, "default"),
        ("a poem", {"client": "kids"}, "kids"),
        ("a poem", {"client": "kids", "task": "title"}, "task:title"),
    ):
        given = json.dumps(user(words) | named)
        online = await shell.beside("explain", "--json", *url, *key, stdin=given)
        offline = await shell.beside(
            *("explain", "--json", "--offline", "--catalog", str(file)),
            *("--policy", str(daemon.policy)),
            stdin=given,
        )
        first, second = json.loads(online.out), json.loads(offline.out)
        assert first["rule"] == second["rule"] == rule
        assert first["model"] == second["model"]
        assert first["ranked"] == second["ranked"]
        assert first["rejected"] == second["rejected"]
