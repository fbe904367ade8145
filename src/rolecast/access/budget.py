"""One budget: how much, for how long, and how it stands. Pure: time comes in, nothing goes out.

Money is whole picodollars; a request in flight counts by an estimate of it until it is over.
"""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Literal, get_args

import msgspec

from rolecast.books.charges import LAST, number_at
from rolecast.money import dollars

Scope = Literal["run", "key"]
Window = Literal["total", "day", "month"]
Level = Literal["ok", "caution", "warning", "critical"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
WINDOWS: tuple[Window, ...] = get_args(Window)
LEVELS: tuple[Level, ...] = get_args(Level)
BOUNDS = (75, 90, 100)
"""Percent from which the second level, the third and the last hold."""


SET_BACK_S = 60.0
"""A clock that is set back by less changes no window."""


class Budget(msgspec.Struct, frozen=True):
    """What may be spent."""

    amount: int
    """In picodollars."""
    window: Window = "total"
    """`total` = once; a `day` and a `month` are those of UTC."""

    @property
    def text(self) -> str:
        """As people write it: `5/month`."""
        amount = f"{dollars(self.amount):f}"
        amount = amount.rstrip("0").rstrip(".") if "." in amount else amount
        return f"{amount}/{self.window}"


class Standing(msgspec.Struct, frozen=True):
    """How a budget stands. Amounts in picodollars; `_usd` is the same in dollars, exactly."""

    scope: Scope
    name: str
    amount: int
    window: Window
    spent: int
    reserved: int
    """What requests in flight may come to."""
    renews_at: float | None
    """When nothing is spent again, in seconds since 1970; None = never."""

    @property
    def remaining(self) -> int:
        """What is left, without what is reserved; never less than nothing."""
        return max(self.amount - self.spent, 0)

    @property
    def percent(self) -> Decimal:
        """Of the amount that is spent, rounded down to hundredths, so that it never says 100 too soon."""
        if not self.amount:
            return Decimal(100)
        return (Decimal(self.spent * 100) / self.amount).quantize(Decimal("0.01"), ROUND_DOWN)

    @property
    def level(self) -> Level:
        """`ok` below 75 %, `caution` below 90 %, `warning` below 100 %, else `critical`."""
        return level(self.spent, self.amount)

    @property
    def can_proceed(self) -> bool:
        """Whether another request may cost something: what is spent and reserved leaves some of it."""
        return self.spent + self.reserved < self.amount

    @property
    def amount_usd(self) -> Decimal:
        return dollars(self.amount)

    @property
    def spent_usd(self) -> Decimal:
        return dollars(self.spent)

    @property
    def reserved_usd(self) -> Decimal:
        return dollars(self.reserved)

    @property
    def remaining_usd(self) -> Decimal:
        return dollars(self.remaining)


def level(spent: int, amount: int) -> Level:
    """Compared in whole numbers, so that a level begins at its very bound."""
    return LEVELS[sum(spent * 100 >= amount * bound for bound in BOUNDS)]


def began(window: Window, now: float) -> float:
    """When the window began that holds this time, in seconds since 1970; 0 = always."""
    if window == "total":
        return 0.0
    day = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (day.replace(day=1) if window == "month" else day).timestamp()


def renews(window: Window, now: float) -> float | None:
    """When the next one begins."""
    if window == "total":
        return None
    days = 1 if window == "day" else 31
    next_day = datetime.fromtimestamp(began(window, now), UTC) + timedelta(days=days)
    return began(window, next_day.timestamp())


class Account:
    """A budget as it is used up."""

    def __init__(self, scope: Scope, name: str, budget: Budget, now: float) -> None:
        self.scope = scope
        self.name = name
        self.budget = budget
        self.spent = 0
        self.reserved = 0
        self.told: Level = "ok"
        """The highest level that was told in this window."""
        self.fresh: dict[int, int] | None = None
        """What was charged, by the number of the request, since the books are being read for it; None = they are
        not."""
        self._begin(now)

    def at(self, now: float) -> "Account":
        """The same as of now: a new window begins with nothing spent. So it does where the clock was far ahead and is
        set right, until the books are read again."""
        if self.until is not None and not self.since - SET_BACK_S <= now < self.until:
            self._begin(now)
            self.spent, self.told = 0, "ok"
        return self

    def _begin(self, now: float) -> None:
        window = self.budget.window
        self.since, self.until = began(window, now), renews(window, now)
        self._numbers = range(number_at(self.since), LAST if self.until is None else number_at(self.until))

    @property
    def standing(self) -> Standing:
        return Standing(
            self.scope, self.name, self.budget.amount, self.budget.window, self.spent, self.reserved, self.until
        )

    def charge(self, number: int, cost: int) -> Level | None:
        """That request cost so much; the level that is reached by it and was not told before. One that began in
        another window is that one's."""
        if self.fresh is not None:
            self.fresh[number] = cost
        if number not in self._numbers:
            return None
        self.spent += cost
        return self.reached()

    def keep(self, waiting: Collection[int]) -> None:
        """Of what was charged, the books have all but these now."""
        self.fresh = {number: cost for number, cost in (self.fresh or {}).items() if number in waiting}

    def read(self, found: int, since: float) -> bool:
        """The books say so much of a window that began then, without what they did not have; False = it is over."""
        fresh, self.fresh = self.fresh or {}, None
        if since != self.since:
            return False
        self.spent = found + sum(cost for number, cost in fresh.items() if number in self._numbers)
        return True

    def note(self) -> None:
        """What is reached now is not told: it was, before this start."""
        self.told = level(self.spent, self.budget.amount)

    def reached(self) -> Level | None:
        """The level that it is at, where that is higher than what was told in this window; then it counts as told."""
        now = level(self.spent, self.budget.amount)
        if LEVELS.index(now) <= LEVELS.index(self.told):
            return None
        self.told = now
        return now
