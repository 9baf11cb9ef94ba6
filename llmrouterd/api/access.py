"""Who may call what: keys, hosts, origins, addresses. Access belongs to the matched route."""

from __future__ import annotations

import hmac
import ipaddress
import time
from typing import TYPE_CHECKING, NamedTuple

from llmrouterd.config.access import is_loopback, key_digest
from llmrouterd.errors import Forbidden, RateLimited, Unauthorized

if TYPE_CHECKING:
    from aiohttp import web

    from llmrouterd.limits import Limiter
    from llmrouterd.policy import Auth, RateLimit, Server

_LOCAL_SUFFIXES = (".local", ".lan", ".home", ".internal", ".home.arpa", ".localhost")
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Client(NamedTuple):
    """Who sent a request. name: of its key, "" without one. bucket: the key of its limits.
    user: whom of its users it names, "" for none; their limits are within the client's."""

    name: str
    bucket: str
    limit: RateLimit
    user: str = ""
    user_limit: RateLimit | None = None

    def enter(self, limiter: Limiter) -> dict[str, str]:
        """Let a request in, or raise RateLimited; returns the x-ratelimit-* headers. Each `enter`
        that returns is followed by one `leave`."""
        now = time.monotonic()
        if not self.user or self.user_limit is None:
            return limiter.enter(self.bucket, self.limit, now)
        headers = limiter.enter(self._user_bucket, self.user_limit, now)
        try:
            return limiter.enter(self.bucket, self.limit, now) | headers
        except RateLimited:
            limiter.leave(self._user_bucket, self.user_limit, 0, now)
            raise

    def leave(self, limiter: Limiter, tokens: int = 0) -> None:
        """A request has ended and took so many tokens."""
        now = time.monotonic()
        limiter.leave(self.bucket, self.limit, tokens, now)
        if self.user and self.user_limit is not None:
            limiter.leave(self._user_bucket, self.user_limit, tokens, now)

    @property
    def _user_bucket(self) -> str:
        return f"{self.bucket}/{self.user}"


def client_address(request: web.Request, server: Server) -> str:
    """The peer's address; X-Forwarded-For counts only as far as trusted proxies wrote it."""
    peer = request.transport.get_extra_info("peername") if request.transport else None
    address = str(peer[0]) if isinstance(peer, tuple) and peer else ""
    if not server.trusted_proxies:
        return address
    networks = [ipaddress.ip_network(text, strict=False) for text in server.trusted_proxies]
    lines = request.headers.getall("X-Forwarded-For", [])
    hops = [hop.strip() for hop in ",".join(lines).split(",")]
    while hops and _within(address, networks):
        address = hops.pop() or address
    return address


def _within(address: str, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def check_host(request: web.Request, server: Server, host_name: str) -> None:
    """Refuse names that only a foreign DNS could have pointed here (DNS rebinding)."""
    host = request.headers.get("Host", "")
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    name = name.strip("[]").lower().rstrip(".")
    if "." not in name or name in server.allowed_hosts or "*" in server.allowed_hosts:
        return
    if name == host_name or name.endswith(_LOCAL_SUFFIXES) or is_address(name):
        return
    raise Forbidden(f"Requests for the host {name!r} are refused; add it to server.allowed_hosts.")


def is_address(text: str) -> bool:
    """Whether a text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def check_origin(request: web.Request, server: Server) -> str:
    """The origin to allow in CORS headers, "" for none. A page of another origin may not act."""
    origin = request.headers.get("Origin", "")
    if not origin:
        return ""
    if origin in server.allowed_origins or "*" in server.allowed_origins:
        return origin
    host = request.headers.get("Host", "")
    same = origin.partition("://")[2] == host
    if same or request.method in _READING:
        return ""
    raise Forbidden(f"Pages of {origin} may not call this; add it to server.allowed_origins.")


def bearer(request: web.Request) -> str:
    """The key that the request carries in `Authorization: Bearer`, "" for none."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def identify_client(request: web.Request, auth: Auth, server: Server, limiter: Limiter) -> Client:
    """Who may use /v1: anybody where no client keys are declared, else the owner of a key."""
    if not auth.clients:
        address = client_address(request, server)
        return Client("", f"address:{address}", auth.client_limit)
    key = bearer(request)
    digest = key_digest(key)
    found: Client | None = None
    for client in auth.clients:  # all are compared, so that the time tells nothing
        if hmac.compare_digest(client.digest, digest):
            user = header_value(request.headers.get(client.user_header, ""), 128)
            limits = client.limit, user, client.user_limit
            found = Client(client.name, f"key:{client.name}", *limits)
    if found is not None and key:
        return found
    raise _refused(request, auth, server, limiter, "an API key of this router")


def header_value(text: str, most: int) -> str:
    """A header's value as text that can be stored: bytes that are no UTF-8 become `?`."""
    text = text[:most]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def check_loading(request: web.Request, auth: Auth, server: Server, limiter: Limiter) -> None:
    """Let in who may load models: the admin, and clients whose key says so."""
    digest = key_digest(bearer(request))
    keys = [client.digest for client in auth.clients if client.load_models]
    if sum(hmac.compare_digest(key, digest) for key in keys):  # all are compared, see above
        address = client_address(request, server)
        limiter.take(f"admin:{address}", auth.admin_requests_per_minute, time.monotonic())
    else:
        check_admin(request, auth, server, limiter)


def check_admin(request: web.Request, auth: Auth, server: Server, limiter: Limiter) -> None:
    """Let the admin in: with the key, or without one declared from loopback only."""
    address = client_address(request, server)
    if auth.admin_digest is None:
        if not is_loopback(address) or request.headers.get("X-Forwarded-For"):
            raise Forbidden(
                "Without auth.admin_key the admin endpoints answer on loopback only; "
                "set ROUTER_ADMIN_API_KEY."
            )
    elif not hmac.compare_digest(auth.admin_digest, key_digest(bearer(request))):
        raise _refused(request, auth, server, limiter, "the admin key")
    limiter.take(f"admin:{address}", auth.admin_requests_per_minute, time.monotonic())


def _refused(
    request: web.Request, auth: Auth, server: Server, limiter: Limiter, wanted: str
) -> Unauthorized | RateLimited:
    address = client_address(request, server)
    try:
        limiter.take(f"refused:{address}", auth.failed_keys_per_minute, time.monotonic())
    except RateLimited as error:
        return error
    state = "is not valid" if bearer(request) else "is missing"
    return Unauthorized(f"The key {state}: send Authorization: Bearer with {wanted}.")
