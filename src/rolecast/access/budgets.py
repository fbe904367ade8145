"""All budgets: kept in the database, spent by the ledger's charges, asked for each request that belongs to one.

A spent budget refuses nothing by itself: its requests may cost nothing more, so that models which are free go on
answering. Knows no request: who asks tells its number, its run and its key.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from rolecast.access.budget import Account, Budget, Scope, Standing, Window
from rolecast.books import charges
from rolecast.books.ledger import Ledger
from rolecast.books.store import Query, Store, change
from rolecast.errors import BudgetSpent
from rolecast.money import MOST, told

log = logging.getLogger("rolecast.budgets")

ALERT = "budget_alert"
"""The event of a level that is reached."""
TOGETHER = 200
"""So many are read while the ledger stands still: for each alone it would write what waits, one small batch after the
other."""
ALL = Query("SELECT scope, name, amount, span FROM budgets ORDER BY scope, name")
PUT = Query(
    "INSERT INTO budgets (scope, name, amount, span, at) VALUES (:scope, :name, :amount, :span, :at)"
    " ON CONFLICT (scope, name) DO UPDATE SET amount = excluded.amount, span = excluded.span, at = excluded.at"
)
REMOVE = Query("DELETE FROM budgets WHERE scope = :scope AND name = :name RETURNING name")


class Held(msgspec.Struct):
    """A request in flight."""

    accounts: tuple[Account, ...]
    estimate: int
    broke: BudgetSpent | None
    """Why it may cost nothing; None = it may."""


class Budgets:
    """What may be spent, and by whom. On the loop's thread."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        tell: Callable[[str, Mapping[str, Any]], object],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._tell = tell
        self._now = now
        self._accounts: dict[tuple[Scope, str], Account] = {}
        self._held: dict[int, Held] = {}
        self._reading = asyncio.Lock()

    # -- making them ---------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Read them, and what was spent. Raises StoreError."""
        for scope, name, amount, window in await self._store.read(ALL):
            (await self._load(Account(scope, name, Budget(int(amount), window), self._now()))).note()

    async def set(self, scope: Scope, name: str, amount: int, window: Window = "total") -> Standing:
        """Let that run, or key, spend so many picodollars; how it stands. Raises StoreError and Unstorable."""
        now = self._now()
        await change(self._store, PUT, scope=scope, name=name, amount=min(amount, MOST), span=window, at=now)
        account = await self._load(Account(scope, name, Budget(amount, window), now))
        account.note()
        return account.standing

    async def remove(self, scope: Scope, name: str) -> bool:
        """Let it spend what it wants; whether there was a budget. Raises StoreError."""
        found = await change(self._store, REMOVE, scope=scope, name=name)
        return self._accounts.pop((scope, name), None) is not None or bool(found)

    async def for_key(self, key_id: str, budget: Budget | None) -> None:
        """The same for a key whose budget is kept elsewhere, with the key; None = it has none. Raises StoreError."""
        if budget is None:
            self._accounts.pop(("key", key_id), None)
        else:
            (await self._load(Account("key", key_id, budget, self._now()))).note()

    async def reread(self) -> None:
        """Learn what other gateways with this database have charged. Raises StoreError."""
        known = list(self._accounts.values())
        for start in range(0, len(known), TOGETHER):
            some = known[start : start + TOGETHER]
            async with self._reading:
                await self._read(some)
            for account in some:
                if self._accounts.get((account.scope, account.name)) is account and account.reached():
                    self._alert(account.standing)

    def of(self, scope: Scope, name: str) -> Standing | None:
        """How it stands; None = there is no such budget."""
        account = self._accounts.get((scope, name))
        return None if account is None else account.at(self._now()).standing

    def all(self) -> list[Standing]:
        """How all stand."""
        now = self._now()
        return [account.at(now).standing for _, account in sorted(self._accounts.items())]

    # -- using them up -------------------------------------------------------------------------------------

    def enter(self, number: int, run: str, key: str, estimate: Callable[[], int]) -> BudgetSpent | None:
        """That request begins, for that run and key; why it may cost nothing, if so. `estimate` = what it may cost.

        Asked again for the same number it says the same, and reserves nothing more.
        """
        held = self._held.get(number)
        if held is None:
            accounts = self._accounts_of(run, key)
            if not accounts:
                return None
            broke = next((_broke(account.standing) for account in accounts if not account.standing.can_proceed), None)
            held = self._held[number] = Held(accounts, 0 if broke is not None else min(estimate(), MOST), broke)
            for account in accounts:
                account.reserved += held.estimate
        return held.broke

    def leave(self, number: int, run: str, key: str, cost: int) -> None:
        """It is over, and cost so much."""
        if (held := self._held.pop(number, None)) is not None:
            for account in held.accounts:
                account.reserved -= held.estimate
        if cost:
            for account in self._accounts_of(run, key):
                level = account.charge(number, cost)
                if level is not None:
                    self._alert(account.standing)

    @property
    def in_flight(self) -> int:
        """Requests that are held to a budget now."""
        return len(self._held)

    def _accounts_of(self, run: str, key: str) -> tuple[Account, ...]:
        known, now = self._accounts, self._now()
        if not known:
            return ()
        found = (known.get(("run", run)) if run else None, known.get(("key", key)) if key else None)
        return tuple(account.at(now) for account in found if account is not None)

    def _alert(self, standing: Standing) -> None:
        data = {
            "scope": standing.scope,
            "name": standing.name,
            "level": standing.level,
            "percent": str(standing.percent),
            "amount_usd": told(standing.amount),
            "spent_usd": told(standing.spent),
            "window": standing.window,
            "renews_at": standing.renews_at,
        }
        self._tell(ALERT, data)
        then = "; it may ask only what is free" if standing.level == "critical" else ""
        where = standing.scope, standing.name[:100], standing.percent
        log.warning("the budget of %s %r is at %s %%: %s%s", *where, standing.level, then)

    async def _load(self, account: Account) -> Account:
        """Read what it has spent; from now on it is the budget of that name, with what is in flight for the old one."""
        place = account.scope, account.name
        before = self._accounts.get(place)
        if before is not None and before is not account:
            account.spent, account.reserved = before.spent, before.reserved
            for held in self._held.values():
                held.accounts = tuple(account if each is before else each for each in held.accounts)
        self._accounts[place] = account
        try:
            async with self._reading:
                await self._read([account])
        except BaseException:
            if before is None:
                self._accounts.pop(place, None)
            raise
        return account

    async def _read(self, accounts: Sequence[Account]) -> None:
        """Make what they have spent what the books say, and what is charged meanwhile."""
        left = accounts
        try:
            while left:
                for account in left:
                    account.fresh = {}
                await self._ledger.settled()
                async with self._ledger.still() as waiting:
                    for account in left:
                        account.keep(waiting)
                    left = [account for account in left if not await self._is_read(account)]
        except BaseException:
            for account in accounts:
                account.fresh = None
            raise

    async def _is_read(self, account: Account) -> bool:
        """Whether that was done, and not over a change of windows."""
        since, until = account.at(self._now()).since, account.until
        found = await charges.spent(self._store, account.scope, account.name, since, until)
        return account.at(self._now()).read(found, since)


def _broke(standing: Standing) -> BudgetSpent:
    """Why nothing may be spent, for people, and when that is over."""
    when, retry = "it does not renew; raise it, or go on without", None
    if standing.renews_at is not None:
        when = f"it renews at {datetime.fromtimestamp(standing.renews_at, UTC):%Y-%m-%d %H:%M} UTC"
        retry = max(standing.renews_at - time.time(), 1.0)
    owner = f"run {standing.name[:100]!r}" if standing.scope == "run" else "this key"
    of = {"total": "", "day": " a day", "month": " a month"}[standing.window]
    held = f", {told(standing.reserved)} are reserved for requests in flight" if standing.reserved else ""
    text = (
        f"The budget of {owner} is spent: {told(standing.spent)} of {told(standing.amount)} dollars{of}{held}; {when}."
    )
    return BudgetSpent(text, retry_after=retry)
