"""Who may call what: keys, addresses, hosts, origins; and secrets that are never shown."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from llmrouterd.api.routes import ROUTES
from tests.conftest import Opener, Scripted
from tests.support.daemon import Running, chat_body, openai_backend, read_body
from tests.support.faults import FaultServer
from tests.support.policies import running

ADMIN = "admin-key-of-the-test"
KEYS = [{"name": "family", "key": "sk-family"}, {"name": "lab", "key": "sk-lab"}]


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _admin_gets() -> list[str]:
    return [path for method, path in _routes("admin") if method == "GET"]


def _routes(access: str) -> list[tuple[str, str]]:
    """Method and path of the routes with this access, an id filled in."""
    return [
        (method, path.replace("{id}", "x").replace("{id:.+}", "ok"))
        for method, path, needed, _ in ROUTES
        if needed == access
    ]


async def _raw(daemon: Running, request: bytes) -> bytes:
    """Bytes to the daemon, and its whole answer until it closes (or five seconds)."""
    host, port = daemon.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    await writer.drain()
    answer = b""
    try:
        async with asyncio.timeout(5):
            while part := await reader.read(65536):
                answer += part
    except TimeoutError:
        pass
    writer.close()
    await writer.wait_closed()
    return answer


async def test_every_route_is_classified(scripted: Scripted) -> None:
    """A new endpoint must say who may call it, and its path must agree."""
    for method, path, access, _ in ROUTES:
        if path.startswith("/admin"):
            assert access == "admin", path
        elif path.startswith("/v1"):
            assert access == "client", path
        elif path.startswith("/models"):
            assert access == "loading", path
        else:
            assert (access, method) == ("open", "GET"), path
    daemon, _ = await scripted("ok")
    served = {(method, path) for method, path, _, _ in ROUTES}
    assert len(served) == len(ROUTES)
    for method, path in _routes("open") + _routes("admin"):
        assert (await daemon.request(method, path, data=b"{}")).status != 405


async def test_admin_without_a_key_is_for_this_machine(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    for path in _admin_gets():
        direct = await daemon.get(path)
        assert direct.status in (200, 404)
        proxied = await daemon.get(path, headers={"X-Forwarded-For": "10.0.0.7"})
        assert (path, proxied.status) == (path, 403)
        assert "ROUTER_ADMIN_API_KEY" in proxied.error["message"]


async def test_admin_without_a_key_behind_a_trusted_proxy(open_daemon: Opener) -> None:
    async with FaultServer() as backend:
        daemon = await open_daemon(
            {
                "server": {"trusted_proxies": ["127.0.0.0/8"]},
                "backends": [openai_backend("s", backend.url)],
            }
        )
        refused = await daemon.get("/admin/models", headers={"X-Forwarded-For": "10.0.0.7"})
        assert refused.status == 403
        assert (await daemon.get("/admin/models")).status == 200


@pytest.fixture
async def keyed(open_daemon: Opener) -> Any:
    async with FaultServer() as backend:
        yield await open_daemon(
            {
                "auth": {"admin_key": ADMIN, "clients": KEYS},
                "backends": [openai_backend("s", backend.url)],
                "rate_limits": {"failed_keys_per_minute": 200},
            }
        )


async def test_admin_with_a_key(keyed: Running) -> None:
    for method, path in _routes("admin"):
        for headers in ({}, _bearer("wrong"), _bearer("sk-family"), {"Authorization": ADMIN}):
            answer = await keyed.request(method, path, headers=headers, data=b"{}")
            assert (path, answer.status) == (path, 401)
            assert answer.error["type"] == "authentication_error"
            assert answer.error["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"
    for path in _admin_gets():
        assert (await keyed.get(path, headers=_bearer(ADMIN))).status in (200, 404)
    forwarded = {**_bearer(ADMIN), "X-Forwarded-For": "10.0.0.7"}
    assert (await keyed.get("/admin/models", headers=forwarded)).status == 200


async def test_clients_need_their_key(keyed: Running) -> None:
    for method, path in _routes("client"):
        for headers in ({}, _bearer("wrong"), _bearer(ADMIN), _bearer(""), {"X-Api-Key": "sk-lab"}):
            answer = await keyed.request(method, path, headers=headers, data=b"{}")
            assert (path, answer.status) == (path, 401)
    for key in KEYS:
        headers = _bearer(key["key"])
        assert (await keyed.get("/v1/models", headers=headers)).status == 200
        assert (await keyed.chat("Hello", headers=headers)).status == 200
    assert (await keyed.get("/v1/models", headers={"Authorization": "bearer sk-lab"})).status == 200
    for path in ("/health", "/ready", "/metrics"):
        assert (await keyed.get(path)).status == 200


async def test_a_missing_key_is_told_apart_from_a_wrong_one(keyed: Running) -> None:
    missing = await keyed.get("/v1/models")
    wrong = await keyed.get("/v1/models", headers=_bearer("sk-nobody"))
    assert "is missing" in missing.error["message"]
    assert "is not valid" in wrong.error["message"]
    assert "sk-nobody" not in wrong.body.decode()


async def test_the_body_is_not_read_before_the_key(keyed: Running) -> None:
    """Who has no key cannot make the daemon take in megabytes, or hold it with a slow body."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n"
    host, port = keyed.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head)
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 401")
    writer.close()
    await writer.wait_closed()


async def test_wrong_keys_are_limited(open_daemon: Opener) -> None:
    async with FaultServer() as backend:
        daemon = await open_daemon(
            {
                "auth": {"admin_key": ADMIN, "clients": KEYS},
                "backends": [openai_backend("s", backend.url)],
                "rate_limits": {"failed_keys_per_minute": 3},
            }
        )
        statuses = [
            (await daemon.get("/admin/models", headers=_bearer(f"guess-{n}"))).status
            for n in range(5)
        ]
        assert statuses == [401, 401, 401, 429, 429]
        answer = await daemon.get("/admin/models", headers=_bearer("guess"))
        assert answer.error["code"] == "rate_limit_exceeded"
        assert int(answer.headers["retry-after"]) >= 1
        # Whoever has a right key is not locked out by those who guess from the same address.
        assert (await daemon.get("/admin/models", headers=_bearer(ADMIN))).status == 200
        assert (await daemon.get("/v1/models", headers=_bearer("sk-lab"))).status == 200


REBINDING = (
    "evil.example.com",
    "evil.example.com:11436",
    "127.0.0.1.nip.io",
    "localhost.evil.com",
    "a.local.evil.com",
    "evil.com.",
)
FINE = (
    "localhost",
    "localhost:11436",
    "127.0.0.1:1",
    "[::1]:11436",
    "192.168.1.5",
    "box",
    "box.local",
    "BOX.LAN:80",
    "router.home.arpa",
    "open-webui.internal",
)


@pytest.mark.parametrize("host", REBINDING)
async def test_foreign_host_names_are_refused(host: str, scripted: Scripted) -> None:
    daemon, backend = await scripted("ok")
    for path in ("/v1/models", "/admin/models", "/health", "/nowhere"):
        answer = await daemon.get(path, headers={"Host": host})
        assert (path, answer.status) == (path, 403)
        assert answer.error["code"] == "forbidden"
    assert (await daemon.chat("Hello", headers={"Host": host})).status == 403
    assert backend.asked == []


async def test_our_own_host_names_are_fine(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    for host in FINE:
        answer = await daemon.get("/v1/models", headers={"Host": host})
        assert (host, answer.status) == (host, 200)


async def test_odd_hosts_are_never_a_crash(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    for host in (b"x:99999", b"", b"[::1", b"a b", b"\xff\xfe", b"[", b"]", b":", b"x:y:z"):
        request = b"GET /v1/models HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n"
        status = int((await _raw(daemon, request)).split(b" ")[1])
        assert (host, status < 500) == (host, True)


async def test_a_host_can_be_allowed(open_daemon: Opener) -> None:
    async with FaultServer() as backend:
        entry = openai_backend("s", backend.url)
        one = await open_daemon(
            {"server": {"allowed_hosts": ["llm.example.com"]}, "backends": [entry]}
        )
        for host, status in (("llm.example.com", 200), ("evil.example.com", 403)):
            answer = await one.get("/v1/models", headers={"Host": host})
            assert answer.status == status
        everyone = await open_daemon({"server": {"allowed_hosts": ["*"]}, "backends": [entry]})
        answer = await everyone.get("/v1/models", headers={"Host": "evil.example.com"})
        assert answer.status == 200


async def test_pages_of_other_origins_may_not_act(scripted: Scripted) -> None:
    daemon, backend = await scripted("ok")
    for origin in ("https://evil.example.com", "http://127.0.0.1:1", "null"):
        answer = await daemon.chat("Hello", headers={"Origin": origin})
        assert (answer.status, answer.error["code"]) == (403, "forbidden")
        assert "access-control-allow-origin" not in answer.headers
        read = await daemon.get("/v1/models", headers={"Origin": origin})
        assert "access-control-allow-origin" not in read.headers  # the page cannot read it
        assert (await daemon.post("/admin/reload", {}, headers={"Origin": origin})).status == 403
        preflight = await daemon.request(
            "OPTIONS", "/v1/chat/completions", headers={"Origin": origin}
        )
        assert "access-control-allow-origin" not in preflight.headers
    assert backend.asked == []
    own = {"Origin": daemon.url}
    assert (await daemon.chat("Hello", headers=own)).status == 200


async def test_an_origin_can_be_allowed(open_daemon: Opener) -> None:
    origin = "https://chat.example.com"
    async with FaultServer() as backend:
        daemon = await open_daemon(
            {
                "server": {"allowed_origins": [origin]},
                "backends": [openai_backend("s", backend.url)],
            }
        )
        headers = {"Origin": origin}
        preflight = await daemon.request("OPTIONS", "/v1/chat/completions", headers=headers)
        assert preflight.status == 204
        assert preflight.headers["access-control-allow-origin"] == origin
        assert "Authorization" in preflight.headers["access-control-allow-headers"]
        answer = await daemon.chat("Hello", headers=headers)
        assert answer.headers["access-control-allow-origin"] == origin
        failed = await daemon.chat("Hello", headers=headers, model="nope")
        assert failed.headers["access-control-allow-origin"] == origin
        async with daemon.streaming("Hello", headers=headers) as response:
            assert response.headers["access-control-allow-origin"] == origin
            await response.read()


CANARIES = {
    "ADMIN_CANARY": "canary-admin-93ce",
    "CLIENT_CANARY": "canary-client-1f7a",
    "BACKEND_CANARY": "canary-backend-77d0",
    "HEADER_CANARY": "canary-header-5a5a",
}
PROMPT = "canary-prompt-c0de"
POLICY = """
auth:
  admin_key: ${ADMIN_CANARY}
  clients: [{name: family, key: "${CLIENT_CANARY}"}]
backends:
  - name: s
    type: openai
    url: URL
    api_key: ${BACKEND_CANARY}
    headers: {X-Secret: "${HEADER_CANARY}"}
    timeouts: {first_token: 1, idle: 1}
logging: {level: debug, format: json}
profiling: {enabled: false}
"""


async def _provoke(url: str) -> list[str]:
    """Every kind of answer of a daemon, with and without right keys; their texts."""
    texts: list[str] = []
    admin, client = CANARIES["ADMIN_CANARY"], CANARIES["CLIENT_CANARY"]
    bodies: list[Any] = [chat_body(PROMPT, model=model) for model in ("ok", "500", "drop", "nope")]
    bodies += [chat_body(PROMPT, stream=True, model="drop-mid-stream"), {"messages": PROMPT}]
    async with aiohttp.ClientSession() as session:
        for key in (admin, client, client[:-1], ""):
            for method, path, _, _ in ROUTES:
                async with session.request(
                    method, url + path, headers=_bearer(key), json=bodies[0]
                ) as response:
                    content = await read_body(response)
                    texts.append(f"{response.headers}{content.decode(errors='replace')}")
            for body in bodies:
                async with session.post(
                    url + "/v1/chat/completions", headers=_bearer(key), json=body
                ) as response:
                    texts.append(f"{response.headers}{await response.text()}")
    return texts


async def test_secrets_are_never_shown(tmp_path: Path) -> None:
    """Not in an answer, the log, the metrics or the database, whatever goes wrong."""
    models = ["ok", "500", "401", "drop-mid-stream"]
    async with FaultServer(models, api_key=CANARIES["BACKEND_CANARY"]) as backend:
        text = POLICY.replace("URL", backend.url)
        async with running(text, tmp_path, **CANARIES) as daemon:
            answers = await _provoke(daemon.url)
            assert any('"choices"' in answer for answer in answers)
            daemon.policy.write_text(text + "\nserver: {port: ${CLIENT_CANARY}}\n")
            await daemon.wait_event("config.rejected")
            answers += await _provoke(daemon.url)
            assert await daemon.end() == 0
    assert backend.asked[0].headers["x-secret"] == CANARIES["HEADER_CANARY"]
    log = daemon.log_file.read_text()
    assert "config.rejected" in log
    assert "request.routed" in log
    kept = b"".join(file.read_bytes() for file in (tmp_path / "state").glob("*.db*"))
    assert b"drop-mid-stream" in kept
    for name, canary in {**CANARIES, "prompt": PROMPT}.items():
        shown = [answer for answer in answers if canary in answer]
        # The scripted backend never repeats the prompt, and a refused body is quoted to its sender.
        shown = [answer for answer in shown if name != "prompt" or "messages" not in answer]
        assert (name, shown) == (name, [])
        assert (name, canary in log) == (name, False)
        assert (name, canary.encode() in kept) == (name, False)


async def test_prompts_are_logged_only_when_asked_for(tmp_path: Path) -> None:
    async with FaultServer() as backend:
        policy = {
            "backends": [openai_backend("s", backend.url)],
            "logging": {"prompts": True, "format": "json"},
        }
        async with running(json.dumps(policy), tmp_path) as daemon:
            async with aiohttp.ClientSession() as session:
                body = chat_body(PROMPT)
                async with session.post(f"{daemon.url}/v1/chat/completions", json=body) as answer:
                    assert answer.status == 200
            assert (await daemon.wait_event("request.routed"))["words"] == PROMPT
            assert await daemon.end() == 0
