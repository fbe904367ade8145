"""What is said of a key that is to be made or changed: read, checked, and put into a key. Stores nothing."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from rolecast.access import keys
from rolecast.access.keys import Key, Limits, Scope
from rolecast.errors import UNREADABLE, BadRequest, Invalid

EXAMPLE = '{"name":"laptop","scopes":["use"],"requests_per_minute":60}'


class KeyWanted(msgspec.Struct, forbid_unknown_fields=True):
    """A key, or what is to be different about one: what is left out stays as it is, null takes a bound away."""

    name: str | UnsetType = UNSET
    """What people call it."""
    scopes: list[Scope] | UnsetType = UNSET
    """`admin` may all, `use` may ask models, and is meant where neither is named; `local-only`: nothing that it asks
    leaves this machine; `raw`: what it asks goes to clouds as it is."""
    models: list[str] | UnsetType | None = UNSET
    """The names it may ask for, with `*` for any part; none = all."""
    requests_per_minute: int | UnsetType | None = UNSET
    """0 = as many as wanted, here and of the next three."""
    tokens_per_minute: int | UnsetType | None = UNSET
    requests_per_day: int | UnsetType | None = UNSET
    parallel: int | UnsetType | None = UNSET
    """Requests at the same time."""
    budget: str | UnsetType | None = UNSET
    """Dollars and a time: `5/month`, `0.50/day`, `20/total`."""
    expires: str | UnsetType | None = UNSET
    """A time from now such as `30d` or `12h`, or a day to come such as `2027-01-31`."""


NEW = Key("", "", b"", ("use",), (), Limits(), None, 0.0)
"""A key of which nothing was said."""


def wanted_of(body: bytes) -> KeyWanted:
    """What was said of a key. Raises BadRequest and Invalid."""
    try:
        return msgspec.json.decode(body, type=KeyWanted)
    except msgspec.ValidationError as exc:
        if "$.scopes[" in str(exc):
            raise Invalid(f"A scope is one of {', '.join(keys.SCOPES)}.", param="scopes") from None
        raise Invalid(f"{exc}. Send such as {EXAMPLE}.") from None
    except UNREADABLE as exc:
        raise BadRequest(f"The body must be JSON such as {EXAMPLE}: {exc}.", code="bad_json") from None


def edited(key: Key, wanted: KeyWanted, now: float) -> Key:
    """The key as it is wanted. Raises Invalid."""
    changes: dict[str, Any] = {}
    if wanted.name is not UNSET:
        changes["name"] = keys.name_of(wanted.name)
    if wanted.scopes is not UNSET:
        changes["scopes"] = keys.scopes_of(wanted.scopes)
    if wanted.models is not UNSET:
        changes["models"] = keys.models_of(wanted.models or ())
    rates = {name: getattr(wanted, name) for name in Limits.__struct_fields__}
    said = {name: keys.rate_of(rate or 0, name) for name, rate in rates.items() if rate is not UNSET}
    if said:
        changes["limits"] = msgspec.structs.replace(key.limits, **said)
    if wanted.budget is not UNSET:
        changes["budget"] = None if wanted.budget is None else keys.budget_of(wanted.budget)
    if wanted.expires is not UNSET:
        changes["expires"] = None if wanted.expires is None else keys.expiry_of(wanted.expires, now)
    return msgspec.structs.replace(key, **changes)
