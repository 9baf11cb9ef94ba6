"""Rate limits by client: requests a minute (a token bucket), tokens a minute, concurrency."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmrouterd.errors import RateLimited

if TYPE_CHECKING:
    from llmrouterd.policy import RateLimit

_MOST_CLIENTS = 10_000


@dataclass(slots=True)
class _Bucket:
    """Fills by limit/60 a second up to the limit; may be overdrawn by what is known late."""

    level: float
    at: float

    def refill(self, limit: int, now: float) -> None:
        self.level = min(float(limit), self.level + (now - self.at) * limit / 60.0)
        self.at = now


class Limiter:
    """Counts by key, such as `key:family` or `address:10.0.0.7`. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._requests: OrderedDict[str, _Bucket] = OrderedDict()
        self._tokens: OrderedDict[str, _Bucket] = OrderedDict()
        self._running: dict[str, int] = {}

    def enter(self, key: str, limit: RateLimit, now: float) -> dict[str, str]:
        """Let a request in, or raise RateLimited; returns the x-ratelimit-* headers. Each
        `enter` that returns is followed by one `leave`."""
        headers: dict[str, str] = {}
        if limit.concurrent and self._running.get(key, 0) >= limit.concurrent:
            raise RateLimited(
                f"At most {limit.concurrent} requests at the same time; wait for one to end.",
                retry_after=1.0,
                headers=headers,
            )
        if limit.tokens_per_minute:
            bucket = _bucket(self._tokens, key, limit.tokens_per_minute, now)
            headers |= _headers("tokens", limit.tokens_per_minute, bucket)
            if bucket.level <= 0:
                wait = (1 - bucket.level) * 60.0 / limit.tokens_per_minute
                raise RateLimited(
                    f"The limit of {limit.tokens_per_minute} tokens a minute is used up.",
                    retry_after=wait,
                    headers=headers,
                )
        if limit.requests_per_minute:
            bucket = _bucket(self._requests, key, limit.requests_per_minute, now)
            if bucket.level < 1:
                wait = (1 - bucket.level) * 60.0 / limit.requests_per_minute
                headers |= _headers("requests", limit.requests_per_minute, bucket)
                raise RateLimited(
                    f"At most {limit.requests_per_minute} requests a minute are allowed.",
                    retry_after=wait,
                    headers=headers,
                )
            bucket.level -= 1
            headers |= _headers("requests", limit.requests_per_minute, bucket)
        self._running[key] = self._running.get(key, 0) + 1
        return headers

    def leave(self, key: str, limit: RateLimit, tokens: int, now: float) -> None:
        """A request has ended and took so many tokens."""
        left = self._running.get(key, 1) - 1
        if left > 0:
            self._running[key] = left
        else:
            self._running.pop(key, None)
        if limit.tokens_per_minute and tokens:
            _bucket(self._tokens, key, limit.tokens_per_minute, now).level -= tokens

    def take(self, key: str, per_minute: int, now: float) -> None:
        """Count one event against a plain limit, or raise RateLimited."""
        if not per_minute:
            return
        bucket = _bucket(self._requests, key, per_minute, now)
        if bucket.level < 1:
            wait = (1 - bucket.level) * 60.0 / per_minute
            raise RateLimited(
                f"At most {per_minute} a minute are allowed here.",
                retry_after=wait,
                headers=_headers("requests", per_minute, bucket),
            )
        bucket.level -= 1


def _bucket(buckets: OrderedDict[str, _Bucket], key: str, limit: int, now: float) -> _Bucket:
    bucket = buckets.get(key)
    if bucket is None:
        bucket = buckets[key] = _Bucket(float(limit), now)
        if len(buckets) > _MOST_CLIENTS:
            buckets.popitem(last=False)
    else:
        buckets.move_to_end(key)
        bucket.refill(limit, now)
    return bucket


def _headers(kind: str, limit: int, bucket: _Bucket) -> dict[str, str]:
    missing = max(0.0, limit - bucket.level)
    return {
        f"x-ratelimit-limit-{kind}": str(limit),
        f"x-ratelimit-remaining-{kind}": str(max(0, math.floor(bucket.level))),
        f"x-ratelimit-reset-{kind}": f"{missing * 60.0 / limit:.3f}s",
    }
