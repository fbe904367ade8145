"""Holds callers to what their keys may do: whether they may ask, which models, how fast. A check of the gate.

What keys are and how rates are counted is `rolecast.access`'s; what a request may cost, another check's.
"""

import time
from collections.abc import Callable

from msgspec.structs import replace

from rolecast.access.keyring import Keyring
from rolecast.access.keys import Key
from rolecast.access.limits import Meter
from rolecast.dialects.request import NOTHING, Request
from rolecast.errors import RateLimited, ScopeMissing
from rolecast.routing.abilities import OF_KEY
from rolecast.turn.exchange import Exchange
from rolecast.turn.gate import LOCAL
from rolecast.values import Caller, Usage

BYTES_PER_TOKEN = 4
"""About so many bytes of a body are a token; what it really took is counted at the end."""
MOST_METERS = 1024
"""With more, those are forgotten that tell nothing."""

OWN_WORK = -9
"""The priority of what the gateway asks on the way for its own work."""


class RightsCheck:
    """Asks the keyring. `clock` gives nanoseconds, and need not be the wall's."""

    def __init__(self, keyring: Keyring, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._keyring = keyring
        self._clock = clock
        self._meters: dict[str, Meter] = {}
        self._most = MOST_METERS
        self._under_way: dict[int, tuple[Meter, int, bool]] = {}
        """By the number of the request: who it counts for, the tokens that were set aside for it, and whether it counts
        as one of the requests."""

    def needs(self, caller: Caller) -> frozenset[str]:
        """What a model must be for this caller."""
        needs = frozenset({LOCAL}) if caller.local_only else NOTHING
        rights = caller.rights
        if rights is not None and rights.models:
            needs |= {OF_KEY + self._keyring.listed(rights)}
        return needs

    def enter(self, exchange: Exchange, request: Request) -> frozenset[str]:
        """Raises Unauthorized, ScopeMissing and RateLimited."""
        rights = exchange.caller.rights
        if rights is None:
            return NOTHING
        held = self._keyring.current(rights)
        if held.rights is not rights:  # it was changed since its connection was let in
            rights = held.rights
            local_only = exchange.caller.local_only or rights.local_only
            exchange.caller = replace(exchange.caller, rights=rights, local_only=local_only)
        if not rights.use:
            raise ScopeMissing("This key may look at lists, and ask no models: it has no scope `use`.")
        if not rights.admin:
            _keep_hands_off(request)
        if not (exchange.part or exchange.number in self._under_way) and not held.key.limits.none:
            self._count(exchange, request, held.key)
        return self.needs(exchange.caller)

    def leave(self, exchange: Exchange, usage: Usage, cost: int) -> None:
        """Count what it really took."""
        used = usage.prompt_tokens + usage.completion_tokens
        found = self._under_way.pop(exchange.number, None) if not exchange.part else None
        if found is not None:
            meter, reserved, counts = found
            if counts:
                meter.settle(reserved, used, self._clock())
            else:
                meter.spend(used, self._clock())
        elif exchange.part and (rights := exchange.caller.rights) is not None and rights.key in self._meters:
            self._meters[rights.key].spend(used, self._clock())  # what has a row of its own, as who was asked to route

    def _count(self, exchange: Exchange, request: Request, key: Key) -> None:
        now = self._clock()
        meter = self._meters.get(key.id)
        if meter is None:
            self._forget_idle(now)
            meter = self._meters[key.id] = Meter(key.limits, now)
        else:
            meter.renew(key.limits, now)
        caller = exchange.caller
        if caller.priority == OWN_WORK:  # what the gateway asks on the way for its own work: only what it took counts
            self._under_way[exchange.number] = meter, 0, False
            return
        tokens = len(request.body) // BYTES_PER_TOKEN if request.upload is None else 0
        try:
            reserved = meter.admit(tokens, now)
        except RateLimited:
            exchange.caller = _told(caller, meter, now)
            raise
        self._under_way[exchange.number] = meter, reserved, True
        exchange.caller = _told(caller, meter, now)

    def _forget_idle(self, now: int) -> None:
        """A meter of which nothing is taken tells nothing."""
        if len(self._meters) > self._most:
            self._meters = {key: meter for key, meter in self._meters.items() if not meter.is_fresh(now)}
            self._most = max(MOST_METERS, 2 * len(self._meters))


def _told(caller: Caller, meter: Meter, now: int) -> Caller:
    """The same caller, whose answer says how much is left."""
    return replace(caller, answer_lines=caller.answer_lines + meter.lines(now))


def _keep_hands_off(request: Request) -> None:
    """What everybody shares is an admin's to arrange: how long a model stays, and that it leaves."""
    if request.only == "unload":
        raise ScopeMissing("Only a key with the scope `admin` may take a model out of memory.")
    request.stay_s = None
