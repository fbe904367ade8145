"""How fast a key may ask. Pure: the time comes in, and what may be said to the client comes out.

Token buckets: as many requests or tokens as a minute (or day) allows may come at once, and what was taken comes back
evenly. So in any time of w seconds no more are let in than `most * (1 + w / period)`. All is whole numbers, in units of
one request per nanosecond of the period, so nothing drifts however long it runs.
"""

import math

from rolecast.access.keys import Limits
from rolecast.errors import RateLimited

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
PARALLEL_RETRY_S = 1.0
"""Nobody knows when a request ends that runs now."""


class Bucket:
    """`most` at once, and as many again in each period of that many nanoseconds. May be overdrawn."""

    __slots__ = ("_at", "_level", "_period", "most")

    def __init__(self, most: int, period: int, now: int) -> None:
        self.most = most
        self._period = period
        self._level = most * period
        self._at = now

    def _refill(self, now: int) -> None:
        """A clock that goes back stands still here until it has caught up."""
        if now > self._at:
            self._level = min(self.most * self._period, self._level + (now - self._at) * self.most)
            self._at = now

    def left(self, now: int) -> int:
        """So many are there now; below zero when it is overdrawn."""
        self._refill(now)
        return self._level // self._period

    def take(self, count: int, now: int) -> None:
        """Take so many, whether they are there or not; a negative count gives back."""
        self._refill(now)
        self._level = min(self.most * self._period, self._level - count * self._period)

    def wait(self, count: int, now: int) -> int:
        """Nanoseconds until so many are there, or all that it ever holds."""
        self._refill(now)
        lacking = min(count, self.most) * self._period - self._level
        return -(-lacking // self.most) if lacking > 0 else 0

    def full(self, now: int) -> int:
        """Nanoseconds until it is full, if nobody takes any more."""
        return self.wait(self.most, now)

    def resized(self, most: int, now: int) -> "Bucket":
        """One of another size from which as much was taken."""
        self._refill(now)
        other = Bucket(most, self._period, self._at)
        other._level -= self.most * self._period - self._level
        return other


class Meter:
    """What one key has asked lately, by its limits. Times in nanoseconds of a clock that need not be the wall's."""

    __slots__ = ("_day", "_requests", "_tokens", "active", "limits")

    def __init__(self, limits: Limits, now: int) -> None:
        self.limits = limits
        self.active = 0
        """Requests that are under way."""
        self._requests = _bucket(None, limits.requests_per_minute, MINUTE, now)
        self._day = _bucket(None, limits.requests_per_day, DAY, now)
        self._tokens = _bucket(None, limits.tokens_per_minute, MINUTE, now)

    def renew(self, limits: Limits, now: int) -> None:
        """Hold it to other limits; what it asked until now still counts."""
        if limits != self.limits:
            self.limits = limits
            self._requests = _bucket(self._requests, limits.requests_per_minute, MINUTE, now)
            self._day = _bucket(self._day, limits.requests_per_day, DAY, now)
            self._tokens = _bucket(self._tokens, limits.tokens_per_minute, MINUTE, now)

    def admit(self, tokens: int, now: int) -> int:
        """Let a request in whose prompt has about so many tokens; how many of them were set aside, for `settle`.

        A prompt larger than a whole minute's tokens is let in when all are there. Raises RateLimited, and then
        nothing is counted.
        """
        limits = self.limits
        if limits.parallel and self.active >= limits.parallel:
            raise RateLimited(
                f"This key may have {limits.parallel} requests under way at once; wait for one to end.",
                retry_after=PARALLEL_RETRY_S,
            )
        for bucket, count, what in (
            (self._requests, 1, f"{limits.requests_per_minute} requests a minute"),
            (self._day, 1, f"{limits.requests_per_day} requests a day"),
            (self._tokens, max(tokens, 1), f"{limits.tokens_per_minute} tokens a minute"),
        ):
            if bucket is not None and (wait := bucket.wait(count, now)):
                seconds = math.ceil(wait / SECOND)
                raise RateLimited(f"This key may take {what}; ask again in {seconds} s.", retry_after=seconds)
        for bucket in (self._requests, self._day):
            if bucket is not None:
                bucket.take(1, now)
        if self._tokens is not None:
            self._tokens.take(tokens, now)
        self.active += 1
        return tokens

    def settle(self, reserved: int, used: int, now: int) -> None:
        """A request is over that took so many tokens."""
        self.active = max(self.active - 1, 0)
        self.spend(used - reserved, now)

    def spend(self, tokens: int, now: int) -> None:
        """So many tokens were taken besides."""
        if self._tokens is not None:
            self._tokens.take(tokens, now)

    def is_fresh(self, now: int) -> bool:
        """Whether it is as one that was made just now."""
        buckets = (self._requests, self._day, self._tokens)
        return not self.active and not any(bucket.full(now) for bucket in buckets if bucket is not None)

    def lines(self, now: int) -> bytes:
        """What clients of OpenAI's read of it: header lines, each ending in CRLF. Of requests the tighter limit."""
        requests = [each for each in (self._requests, self._day) if each is not None]
        told = b""
        if requests:
            told += _lines(b"requests", min(requests, key=lambda each: each.left(now)), now)
        if self._tokens is not None:
            told += _lines(b"tokens", self._tokens, now)
        return told


def _bucket(before: Bucket | None, most: int, period: int, now: int) -> Bucket | None:
    if not most:
        return None
    return before.resized(most, now) if before is not None else Bucket(most, period, now)


def _lines(what: bytes, bucket: Bucket, now: int) -> bytes:
    return b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %d\r\nx-ratelimit-reset-%b: %b\r\n" % (
        what,
        bucket.most,
        what,
        max(bucket.left(now), 0),
        what,
        span(bucket.full(now)).encode(),
    )


def span(nanoseconds: int) -> str:
    """A time as OpenAI's headers have it: `20ms`, `8.64s`, `6m0s`, `1h0m3s`."""
    if nanoseconds < SECOND:
        return f"{-(-nanoseconds // 1_000_000)}ms" if nanoseconds else "0s"
    if nanoseconds < MINUTE:
        return f"{nanoseconds / SECOND:.3f}".rstrip("0").rstrip(".") + "s"
    minutes, seconds = divmod(-(-nanoseconds // SECOND), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}s" if hours else f"{minutes}m{seconds}s"
