"""What a key is: who holds it, what it may do, how much and how long. Values and words; nothing is stored here.

A secret is `rk-` and 256 random bits. Whoever has the table has only its SHA-256, from which no secret can be found, so
that neither a slow hash nor a salt would add anything.
"""

import hashlib
import re
import secrets
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Literal, get_args

import msgspec

from rolecast import money
from rolecast.access.budget import WINDOWS, Budget
from rolecast.config.schema import Seconds
from rolecast.errors import Invalid
from rolecast.values import Rights

PREFIX = "rk-"
Scope = Literal["admin", "use", "local-only", "raw", "urgent", "background"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
State = Literal["live", "expired", "revoked"]

MOST_NAMES = 200
"""So many names of models a key may list."""
MOST_CHARS = 200
"""Of a name, of a key's or a model's."""
MOST = 10**12
"""The largest rate."""
MOST_DOLLARS = 1_000_000
_BUDGET = re.compile(r"\$?\s*(\d{1,12}(?:\.\d{1,12})?)\s*(?:/\s*(total|day|month))?\Z", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class Limits(msgspec.Struct, frozen=True):
    """How fast a key may ask; 0 = as fast as it likes."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    requests_per_day: int = 0
    parallel: int = 0
    """Requests at the same time."""

    @property
    def none(self) -> bool:
        """Whether there are no limits."""
        return not any(getattr(self, name) for name in self.__struct_fields__)


class Key(msgspec.Struct, frozen=True):
    """One key. Times in seconds since 1970; None = never."""

    id: str
    name: str
    digest: bytes
    scopes: tuple[Scope, ...]
    models: tuple[str, ...]
    limits: Limits
    budget: Budget | None
    created: float
    expires: float | None = None
    revoked: float | None = None
    used: float | None = None
    """When it was last shown, to a minute or so."""

    def state(self, now: float) -> State:
        """Whether it opens anything."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and now >= self.expires else "live"

    @property
    def rights(self) -> Rights:
        """What its holder may do."""
        admin = "admin" in self.scopes
        return Rights(
            self.id,
            self.name,
            admin=admin,
            use=admin or "use" in self.scopes,
            local_only="local-only" in self.scopes,
            raw="raw" in self.scopes,
            models=self.models,
            priority=-1 if "background" in self.scopes else int("urgent" in self.scopes),
        )

    @property
    def bounded(self) -> bool:
        """Whether anything besides time is kept from its holder, if it is an admin's."""
        return (
            bool({"local-only", "urgent", "background"} & {*self.scopes})
            or bool(self.models)
            or self.budget is not None
            or not self.limits.none
        )


class Shown(msgspec.Struct, frozen=True):
    """A key as lists show it: all but its secret, which nobody has but its holder. Times in seconds since 1970."""

    id: str
    name: str
    state: State
    scopes: tuple[Scope, ...]
    models: tuple[str, ...]
    """The names it may ask for, with `*` for any part; empty = all."""
    requests_per_minute: int
    """0 = as many as wanted, here and of the next three."""
    tokens_per_minute: int
    requests_per_day: int
    parallel: int
    """Requests at the same time."""
    budget: str | None
    """In dollars: `5/month`, `5/day` or `5/total`; null = none."""
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    used_at: float | None
    """When it was last shown, to a minute or so."""


def shown(key: Key, now: float) -> Shown:
    """The key for a list."""
    return Shown(
        key.id,
        key.name,
        key.state(now),
        key.scopes,
        key.models,
        requests_per_minute=key.limits.requests_per_minute,
        tokens_per_minute=key.limits.tokens_per_minute,
        requests_per_day=key.limits.requests_per_day,
        parallel=key.limits.parallel,
        budget=key.budget.text if key.budget is not None else None,
        created_at=key.created,
        expires_at=key.expires,
        revoked_at=key.revoked,
        used_at=key.used,
    )


# -- making one ----------------------------------------------------------------------------------------------


def new_secret() -> str:
    """`rk-` and 256 bits, in letters, digits, `-` and `_`."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: bytes) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret).digest()


def id_of(digest: bytes) -> str:
    """The id of the key with that digest: 12 hexadecimal digits, which no key of `server.keys` has."""
    return digest.hex()[:12]


def name_of(text: str) -> str:
    """A name. Raises Invalid for what cannot be shown in one line."""
    name = text.strip()
    if len(name) > MOST_CHARS or not name.isprintable():
        raise Invalid(f"`name` must be one line of at most {MOST_CHARS} characters.", param="name")
    return name


def scopes_of(words: Collection[str]) -> tuple[Scope, ...]:
    """Scopes in their order. Who says only how it may be asked, may ask; nobody named = may ask. Raises Invalid."""
    for word in words:
        if word not in SCOPES:
            raise Invalid(f"There is no scope {word[:MOST_CHARS]!r}; use {', '.join(SCOPES)}.", param="scopes")
    asks = not words or not {"admin", "use"} & set(words)
    return tuple(scope for scope in SCOPES if scope in words or (asks and scope == "use"))


def models_of(names: Sequence[str]) -> tuple[str, ...]:
    """Names of models with `*` for any part, each once. Raises Invalid."""
    if len(names) > MOST_NAMES:
        raise Invalid(f"A key lists at most {MOST_NAMES} models; use `*` for any part of a name.", param="models")
    for name in names:
        if not name.strip() or len(name) > MOST_CHARS or not (name.isascii() and name.isprintable()):
            text = f"`models`: {name[:MOST_CHARS]!r} can be no name of a model; use one as lists show it, or `small-*`."
            raise Invalid(text, param="models")
    return tuple(dict.fromkeys(name.strip() for name in names))


def rate_of(number: int, param: str) -> int:
    """A rate; 0 = none. Raises Invalid."""
    if not 0 <= number <= MOST:
        raise Invalid(f"`{param}` must be a whole number from 0, which means no limit, to {MOST:,}.", param=param)
    return number


def budget_of(text: str) -> Budget:
    """`5/month`: dollars, and in what time. Raises Invalid."""
    found = _BUDGET.match(text.strip())
    try:
        amount = Decimal(found[1]) if found else Decimal(-1)
    except InvalidOperation:  # pragma: no cover  # the pattern lets only numbers in
        amount = Decimal(-1)
    if found is None or not 0 <= amount <= MOST_DOLLARS:
        raise Invalid(
            f"`budget` must be dollars and a time, as 5/month, 0.50/day or 20/total, up to {MOST_DOLLARS:,}.",
            param="budget",
        )
    window = found[2] or "total"
    return Budget(money.pico(amount), next(each for each in WINDOWS if each == window))


def expiry_of(text: str, now: float) -> float:
    """When that is: `30d`, `12h`, or a day such as 2027-01-31, at whose end it is over (UTC). Raises Invalid."""
    said = text.strip()
    try:
        if _DAY.fullmatch(said):
            at = datetime.fromisoformat(said).replace(tzinfo=UTC).timestamp() + 86_400
        else:
            at = now + Seconds.parse(said)
    except (ValueError, OverflowError):
        at = 0.0
    if not now < at < now + 100 * 366 * 86_400:
        text = "`expires` must be a time from now such as 30d or 12h, or a day to come such as 2027-01-31."
        raise Invalid(text, param="expires")
    return at
