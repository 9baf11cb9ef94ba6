"""The subjects: what stands between the load and the backend, and how each is started."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.speed import wire

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "bench" / ".peers"
_CHAT = "/v1/chat/completions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a subject runs: its directory for files, its port, and the backend's port."""

    directory: Path
    port: int
    backend: int

    @property
    def upstream(self) -> str:
        """The backend's root URL."""
        return f"http://127.0.0.1:{self.backend}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to run a subject and how to talk to it. An empty command means the backend itself.

    `announced`: the subject chooses its port and prints its URL instead of taking `Place.port`.
    """

    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ready: str = ""
    path: str = _CHAT
    model: str = wire.MODELS[0]
    headers: Mapping[str, str] = field(default_factory=dict)
    start_limit_s: float = 30.0
    announced: bool = False


class Missing(Exception):
    """The subject cannot run here; the text says why and what installs it."""


def _direct(place: Place) -> Launch:
    return Launch()


def _bare(place: Place) -> Launch:
    command = (sys.executable, "-m", "bench.speed.bare", str(place.port), place.upstream)
    return Launch(command=command, ready="/health")


_NGINX = """
daemon off; pid {directory}/nginx.pid; error_log stderr warn; worker_processes auto;
events {{ worker_connections 2048; }}
http {{
  access_log off; keepalive_requests 100000000; client_body_buffer_size 1m;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  upstream backend {{
    server 127.0.0.1:{backend}; keepalive 512; keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


def _nginx(place: Place) -> Launch:
    binary = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if binary is None:
        raise Missing("nginx is not installed (apt install nginx-light)")
    config = place.directory / "nginx.conf"
    config.write_text(
        _NGINX.format(directory=place.directory, port=place.port, backend=place.backend)
    )
    return Launch(command=(binary, "-c", str(config), "-p", str(place.directory)), ready="/health")


def _installed(peer: str) -> Path:
    """The directory of a peer that bench/peers.sh has installed."""
    if not (PEERS / f"{peer}.ok").exists():
        raise Missing(f"{peer} is not installed (bash bench/peers.sh {peer})")
    return PEERS / peer


_TENSORZERO = """
import sys, time, tensorzero
gateway = tensorzero._start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None,
    async_setup=False,
)
print(gateway.base_url, flush=True)
while True:
    time.sleep(3600)
"""

_TENSORZERO_CONFIG = """
[gateway]
observability.enabled = false
[models.bench]
routing = ["backend"]
[models.bench.providers.backend]
type = "openai"
model_name = "{model}"
api_base = "{upstream}/v1/"
api_key_location = "none"
"""


def _tensorzero(place: Place) -> Launch:
    home = _installed("tensorzero")
    config = place.directory / "tensorzero.toml"
    config.write_text(_TENSORZERO_CONFIG.format(model=wire.MODELS[0], upstream=place.upstream))
    script = place.directory / "tensorzero_gateway.py"
    script.write_text(_TENSORZERO)
    return Launch(
        command=(str(home / "bin" / "python"), str(script), str(config)),
        env={"RUST_LOG": "warn"},
        path="/openai/v1/chat/completions",
        model="tensorzero::model_name::bench",
        announced=True,
    )


def _portkey(place: Place) -> Launch:
    home = _installed("portkey")
    node = shutil.which("node")
    if node is None:
        raise Missing("node is not installed")
    server = home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    return Launch(
        command=(node, str(server), "--headless", f"--port={place.port}"),
        env={"NODE_ENV": "production"},
        headers={
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"{place.upstream}/v1",
            "Authorization": "Bearer none",
        },
    )


def _litellm(place: Place) -> Launch:
    home = _installed("litellm")
    config = place.directory / "litellm.yaml"
    model = {
        "model_name": wire.MODELS[0],
        "litellm_params": {
            "model": f"openai/{wire.MODELS[0]}",
            "api_base": f"{place.upstream}/v1",
            "api_key": "none",
        },
    }
    config.write_text(json.dumps({"model_list": [model]}))
    arguments = ("--config", str(config), "--host", "127.0.0.1", "--port", str(place.port))
    return Launch(
        command=(str(home / "bin" / "litellm"), *arguments, "--telemetry", "False"),
        env={
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            "NO_PROXY": "127.0.0.1",
        },
        ready="/health/liveliness",
        start_limit_s=120.0,
    )


_SIZES = (32.0, 70.0, 8.0, 1.0)


def router_policy(upstream: str) -> dict[str, object]:
    """A policy like a household's: one backend, four models, a few rules, otherwise defaults.

    Background measuring is off, so that it does not disturb the other subjects.
    """
    return {
        "backends": [{"name": "scripted", "type": "openai", "url": f"{upstream}/v1"}],
        "models": [
            {"match": f"scripted/{name}", "size_b": size, "context": 131072}
            for name, size in zip(wire.MODELS, _SIZES, strict=True)
        ],
        "rules": [
            {"name": "background", "when": {"task": ["any"]}, "preset": "speed"},
            {
                "name": "code",
                "when": {"category": ["coding"]},
                "prefer": {"*coder*": 20},
            },
            {
                "name": "hard-thinking",
                "when": {"category": ["math", "reasoning"], "min_complexity": 0.3},
                "preset": "quality",
            },
            {"name": "rest", "when": {}},
        ],
        "profiling": {"enabled": False},
    }


def _llmrouterd(place: Place) -> Launch:
    if importlib.util.find_spec("llmrouterd") is None:
        raise Missing("the package llmrouterd is not there")
    if importlib.util.find_spec("llmrouterd.__main__") is None:
        raise Missing("llmrouterd has no __main__ yet")
    # A directory of its own: the daemon watches it, and the other files here change all the time.
    config = place.directory / "policy" / "router.yaml"
    config.parent.mkdir()
    config.write_text(json.dumps(router_policy(place.upstream), indent=1))
    return Launch(
        command=(sys.executable, "-m", "llmrouterd", "serve"),
        env={
            "ROUTER_CONFIG": str(config),
            "ROUTER_HOST": "127.0.0.1",
            "ROUTER_PORT": str(place.port),
            "ROUTER_DATABASE": str(place.directory / "llmrouterd.db"),
            "ROUTER_STATE_DIR": str(place.directory / "llmrouterd"),
            "ROUTER_ENV_FILE": "/dev/null",
        },
        ready="/ready",
        model="hubrouter/main",
        start_limit_s=60.0,
    )


SUBJECTS: dict[str, Callable[[Place], Launch]] = {
    "direct": _direct,
    "bare": _bare,
    "llmrouterd": _llmrouterd,
    "nginx": _nginx,
    "tensorzero": _tensorzero,
    "portkey": _portkey,
    "litellm": _litellm,
}
