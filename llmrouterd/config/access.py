"""Keys and limits: `auth` and `rate_limits` of the policy. Keys are kept as digests only."""

from __future__ import annotations

import hashlib
import ipaddress
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from llmrouterd.policy import Auth, ClientKey, RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmrouterd.config.source import Path

Data = dict[str, Any]

_SECRET_HEADERS = frozenset({"authorization", "cookie"})


def key_digest(key: str) -> bytes:
    """SHA-256 of a key: what is compared, in constant time, instead of the key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def build_auth(filled: Data, report: Callable[[Path, str], None]) -> Auth:
    """Auth of a policy; a missing key, an unreadable key file or a doubled name is reported."""
    auth, limits = filled["auth"], filled["rate_limits"]
    admin = auth["admin_key"].strip()
    if not admin and not is_loopback(filled["server"]["host"]):
        report(
            ("server", "host"),
            f"listening on {filled['server']['host']} needs an admin key: set auth.admin_key "
            "(ROUTER_ADMIN_API_KEY), or listen on 127.0.0.1",
        )
    clients: list[ClientKey] = []
    for at, item in enumerate(auth["clients"]):
        key = _key(item, at, report)
        if any(client.name == item["name"] for client in clients):
            report(("auth", "clients", at, "name"), f"another client is named {item['name']!r}")
        if key and any(client.digest == key_digest(key) for client in clients):
            report(("auth", "clients", at), "another client has the same key")
        if item["user_header"].lower() in _SECRET_HEADERS:
            place = ("auth", "clients", at, "user_header")
            report(place, f"{item['user_header']} holds a secret, and would be stored")
        if any(item["user_rate_limits"].values()) and not item["user_header"]:
            place = ("auth", "clients", at, "user_rate_limits")
            report(place, "no user is known; say user_header, too")
        own = {name: value for name, value in item["rate_limits"].items() if value is not None}
        clients.append(
            ClientKey(
                name=item["name"],
                digest=key_digest(key),
                limit=RateLimit(**{**limits["client"], **own}),
                priority=item["priority"],
                user_header=item["user_header"],
                user_limit=RateLimit(**item["user_rate_limits"]),
                load_models=item["load_models"],
            )
        )
    return Auth(
        admin_digest=key_digest(admin) if admin else None,
        clients=tuple(clients),
        client_limit=RateLimit(**limits["client"]),
        admin_requests_per_minute=limits["admin"]["requests_per_minute"],
        failed_keys_per_minute=limits["failed_keys_per_minute"],
    )


def _key(item: Data, at: int, report: Callable[[Path, str], None]) -> str:
    if item["key_file"]:
        try:
            key = FilePath(item["key_file"]).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8"
            report(("auth", "clients", at, "key_file"), f"cannot be read: {reason}")
            return ""
    else:
        key = item["key"].strip()
    if not key:
        report(("auth", "clients", at), f"client {item['name']!r} needs a key or a key_file")
    return str(key)


def is_loopback(host: str) -> bool:
    """Whether listening on this address is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
