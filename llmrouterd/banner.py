"""What a person at a terminal sees: how the start goes on, and then how to use the daemon."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmrouterd.app import Daemon
    from llmrouterd.settings import Settings

_LOOK_SECONDS = 0.25
_PATIENCE = 15.0
_HEADERS = (
    '{"X-OpenWebUI-Task": "{{TASK}}", "X-OpenWebUI-Chat-Id": "{{CHAT_ID}}",\n'
    '                          "X-Request-Id": "{{MESSAGE_ID}}"}'
)

_READY = """
llmrouterd is ready: {models}
  URL         {url}/v1
  first chat  curl {url}/v1/chat/completions -H 'Content-Type: application/json' \\
                -d '{{"messages": [{{"role": "user", "content": "Hello, who are you?"}}]}}'
  page        {url}/ui   (what happens, and why)
  Open WebUI  Admin Panel > Settings > Connections > OpenAI API: add a connection
                URL      {container_url}
                Key      {key}
                Headers  {headers}
  policy      {policy}  (edit it while the daemon runs)
  stop        Ctrl-C
"""


async def greet(daemon: Daemon, settings: Settings) -> None:
    """Say what is being waited for until a model can serve; then print how to use it. Under
    systemd the log says the same."""
    if settings.environ.get("NOTIFY_SOCKET"):
        return
    state = daemon.state
    loop = asyncio.get_running_loop()
    said, since = "", loop.time()
    while not state.discovery.ready():
        now = _waiting_for(daemon)
        if now != said or loop.time() - since > _PATIENCE:
            print(f"llmrouterd: {now}", flush=True)
            said, since = now, loop.time()
        await asyncio.sleep(_LOOK_SECONDS)
    server = state.current.snapshot.policy.server
    host = "127.0.0.1" if server.host in ("0.0.0.0", "::") else server.host
    models = state.current.snapshot.catalog.models
    shown = ", ".join(model.id for model in models[:4]) + (" ..." if len(models) > 4 else "")
    local = host in ("127.0.0.1", "localhost", "::1")
    print(
        _READY.format(
            models=f"{len(models)} model{'s' if len(models) != 1 else ''} ({shown})",
            url=f"http://{host}:{server.port}",
            container_url=f"http://{host}:{server.port}/v1"
            + ("   (from a container see the README)" if local else ""),
            key="one of auth.clients"
            if state.current.snapshot.policy.auth.clients
            else "anything (no client keys are declared)",
            headers=_HEADERS,
            policy=settings.policy,
        ),
        flush=True,
    )


def _waiting_for(daemon: Daemon) -> str:
    lines = []
    for name, health in daemon.state.discovery.backends.items():
        processes = health.entry.backend.state().get("processes", {})
        for model, process in processes.items():
            if process["state"] != "stopped":
                first = (process["detail"] or "").splitlines()[:1]
                lines.append(f"{name}/{model} {process['state']} {' '.join(first)}".rstrip())
        if health.error and not processes:
            lines.append(f"{name}: no answer")
    return "waiting for a model: " + ("; ".join(lines) or "asking the backends")
