"""Servers on other machines: which are left alone, when the same one is asked again, and how long that waits.

Decides with the circuits of `routing.breaker`, which hear of every attempt here. Sends nothing. Waits are drawn from
zero up to a bound that doubles ("full jitter": Brooker, "Exponential Backoff And Jitter", AWS, 2015).
"""

import asyncio
import logging
import random
import re
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from rolecast.config.edit import Change, Edit
from rolecast.config.retries import Retries
from rolecast.errors import Busy, RolecastError, WorkerDown
from rolecast.routing.breaker import Breaker, Fault
from rolecast.turn import deadline, verdict
from rolecast.turn.exchange import Exchange, clock
from rolecast.turn.paces import Paces
from rolecast.turn.plan import Plan
from rolecast.turn.plans import Plans
from rolecast.values import Failure, Outcome

log = logging.getLogger("rolecast.dispatch")

REPEATABLE = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
"""Statuses after which the same server may well answer: timeouts, too much to do, failures of its own."""
RESTING = "resting"
"""The code of a request for which nobody is left that may be asked now."""


class Again:
    """Who may be asked now, and what becomes of those that failed."""

    def __init__(self, plans: Plans, paces: Paces, draw: Callable[[], float] = random.random) -> None:
        self._plans = plans
        self._paces = paces
        self._draw = draw
        self.breaker: Breaker = plans.breaker
        self.troubled = plans.breaker.circuits
        """The models that failed lately; requests to others pass by all of this."""
        self._probes: dict[str, Exchange] = {}

    @property
    def attempts(self) -> int:
        """How often one request is tried."""
        return self._settings.attempts

    @property
    def _settings(self) -> Retries:
        return self._plans.config.retries

    async def prepare(self, edit: Edit) -> Change:
        """Nothing to refuse. A model that was edited may be mended, and is asked at once."""
        config = self._plans.config
        same = {i for i, model in edit.config.models.items() if model.enabled and model == config.models.get(i)}
        return Change(partial(self.breaker.keep, same))

    # -- before an attempt --------------------------------------------------------------------------------

    async def admitted(self, exchange: Exchange, plan: Plan) -> Plan:
        """The plan to follow: this one, or the next whose server may be asked now. Waits where nobody else is left.

        Raises what ends the request, where that would take too long.
        """
        patience = clock() + float(self._settings.longest_wait)
        while True:
            passed: list[Plan] = []
            following: Plan | None = plan
            while following is not None:
                if self._may(exchange, following):
                    return following
                passed.append(following)
                following = self._plans.next(following, self._why_not(exchange, following))
            if slow := [each for each in passed if not self._wait_of(each)]:
                if exchange.attempts:
                    raise deadline.exceeded(exchange)
                return self._taken(exchange, slow[0])  # an estimate is no proof, and else nothing is learnt
            names = {each.model_id for each in passed}
            failed = [each for each in exchange.tried if each.model_id not in names]
            best = min((*passed, *failed), key=self._wait_of)
            wait_s = self._wait_of(best) + (float(self._settings.first_wait) * self._draw() if best in failed else 0.0)
            now = clock()
            if now + wait_s > patience:
                raise self._resting(best, wait_s)
            if wait_s >= deadline.left(exchange):
                raise deadline.exceeded(exchange)
            await asyncio.sleep(wait_s)
            if exchange.closed:
                return best
            if best in failed and not self._wait_of(best):  # one that failed under this request before
                exchange.repeats += 1
                return self._taken(exchange, best)

    def _may(self, exchange: Exchange, plan: Plan) -> bool:
        """Whether it may be asked now, and can be expected to answer in time."""
        if not self._is_in_time(exchange, plan):
            return False
        if self._wait_of(plan):
            return False
        self._taken(exchange, plan)
        return True

    def _taken(self, exchange: Exchange, plan: Plan) -> Plan:
        """It is asked now; where its circuit was open, this is its probe."""
        if plan.model_id in self.troubled and self.breaker.state(plan.model_id) != "closed":
            self.breaker.admits(plan.model_id)
            self._probes[plan.model_id] = exchange
        return plan

    def _wait_of(self, plan: Plan) -> float:
        """Seconds until it may be asked. A probe whose first byte is there has told enough."""
        if not self.troubled or plan.model_id not in self.troubled:
            return 0.0
        probe = self._probes.get(plan.model_id)
        if probe is not None and probe.first and probe.status == 200:
            self._heard(plan.model_id)
        return self.breaker.wait_of(plan.model_id)

    def _is_in_time(self, exchange: Exchange, plan: Plan) -> bool:
        left_s = deadline.left(exchange)
        if left_s == float("inf"):
            return True
        pace, request = self._paces.of(plan.answerer_id), exchange.request
        expected_s = pace.request_s
        if request is not None and request.stream and pace.prompt_tokens_per_s:
            expected_s = min(expected_s, len(request.body) / 4 / pace.prompt_tokens_per_s)
        return expected_s + self._plans.card(plan.model_id).load_s <= left_s

    def _why_not(self, exchange: Exchange, plan: Plan) -> str:
        return "rests" if self._is_in_time(exchange, plan) else "would be too late"

    def _resting(self, plan: Plan, wait_s: float) -> RolecastError:
        why = self.breaker.why(plan.model_id)
        text = f"{plan.answerer_id} failed and is left alone for {max(1.0, wait_s):.0f} s"
        text += f": {why}" if why else "."
        kind = Busy if why.startswith(_BUSY) else WorkerDown
        return kind(text, code=RESTING, retry_after=max(1.0, wait_s))

    # -- after an attempt ---------------------------------------------------------------------------------

    def lost(self, exchange: Exchange, plan: Plan, error: RolecastError) -> None:
        """Its server went away, could not be reached, or said nothing for too long."""
        if plan.leaves:
            self._failed(exchange, plan, "failed", 0.0, error.code or "")

    def answered(self, exchange: Exchange, plan: Plan, error: RolecastError, said: Failure) -> None:
        """Its server answered with an error."""
        if not plan.leaves:
            return
        status = exchange.status
        if verdict.is_about_us(status, said):
            news = self.breaker.state(plan.model_id) == "closed"
            self._failed(
                exchange, plan, "refused", 0.0, f"its server does not accept our key or account (status {status})"
            )
            if news:
                key = plan.model.key if plan.model.key.startswith(("env:", "file:")) else "its key"
                log.warning(
                    "%s: %s does not accept our key or account (status %d); check %s. It is left alone for 10 minutes",
                    plan.model_id,
                    plan.provider,
                    status,
                    key,
                )
        elif status in REPEATABLE or status >= 500 or (status == 200 and error.status >= 500):
            told_s = asks_for(exchange) if status in (429, 503, 529) else 0.0
            if not told_s and status in (429, 503, 529) and said.wait_s:
                told_s = error.retry_after = said.wait_s
            fault: Fault = "busy" if status in (429, 529) else "failed"
            self._failed(
                exchange, plan, fault, told_s, f"{_BUSY} (status {status})" if fault == "busy" else f"status {status}"
            )
        elif plan.model_id in self.troubled:
            self._heard(plan.model_id)

    def over(self, exchange: Exchange, plan: Plan, outcome: Outcome) -> None:
        """A request has failed, or one to a model that failed lately is over."""
        if plan.leaves and outcome == "error" and exchange.status == 200:  # all other errors were heard when they came
            self._failed(exchange, plan, "failed", 0.0, "its stream ended with an error")
        elif exchange.first and exchange.status == 200:
            self._heard(plan.model_id)
        for model_id in [i for i, probe in self._probes.items() if probe is exchange]:
            del self._probes[model_id]  # its client left, its time was over, or it found no slot there
            self.breaker.gave_up(model_id)

    def may_repeat(self, exchange: Exchange, plan: Plan, error: RolecastError) -> bool:
        """Whether a server elsewhere is asked again for this request, where no other is left."""
        return self.next_wait(exchange, plan, error, 1.0) is not None

    def next_wait(
        self, exchange: Exchange, plan: Plan, error: RolecastError, drawn: float | None = None
    ) -> tuple[Plan, float] | None:
        """Which of the servers elsewhere is asked again, and after how many seconds; None = nobody is."""
        lost = exchange.carrier is None or not exchange.status or error.code in LOST
        if not plan.leaves or not (lost or exchange.status in REPEATABLE or exchange.status == 200):
            return None
        best = min((*exchange.tried, plan), key=self._wait_of)
        settings = self._settings
        bound_s = min(float(settings.longest_wait), float(settings.first_wait) * 2.0 ** min(exchange.repeats, 16))
        told_s = asks_for(exchange) if best is plan else 0.0
        wait_s = max(told_s, self._wait_of(best)) + bound_s * (self._draw() if drawn is None else drawn)
        if max(told_s, self._wait_of(best)) > settings.longest_wait or wait_s >= deadline.left(exchange):
            if error.retry_after is None and told_s == 0.0 and (rest_s := self._wait_of(best)):
                error.retry_after = rest_s
            return None
        return best, wait_s

    def _failed(self, exchange: Exchange, plan: Plan, fault: Fault, told_s: float, why: str) -> None:
        probe = self._probes.get(plan.model_id)
        if probe is exchange:
            del self._probes[plan.model_id]
        self.breaker.failed(plan.model_id, fault, told_s, why, probe=probe is None or probe is exchange)

    def _heard(self, model_id: str) -> None:
        self._probes.pop(model_id, None)
        self.breaker.answered(model_id)


LOST = ("worker_lost", "unreachable", "bad_upstream")
"""Codes of a server that gave no whole answer."""
_BUSY = "its server has too much to do"


async def later(wait_s: float, exchange: Exchange, then: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Go on after so many seconds, if the client is still there."""
    await asyncio.sleep(wait_s)
    if exchange.closed:
        exchange.task = None
    else:
        await then()


def asks_for(exchange: Exchange) -> float:
    """For so many seconds the server that just answered asks to be left alone; 0 = it does not say so."""
    lines = exchange.carrier.lines if exchange.carrier is not None else b""
    if not lines:
        return 0.0
    if told := _MILLISECONDS.search(lines):
        return float(told[1]) / 1000
    if told := _SECONDS.search(lines):
        return float(told[1])
    if told := _DATE.search(lines):
        from email.utils import parsedate_to_datetime  # seldom, and slow to import

        try:
            return max(0.0, parsedate_to_datetime(told[1].decode("ascii")).timestamp() - time.time())
        except (ValueError, OverflowError):
            return 0.0
    return 0.0


_MILLISECONDS = re.compile(rb"(?:\A|\n)retry-after-ms: *(\d{1,9})(?:\.\d*)?\r")
_SECONDS = re.compile(rb"(?:\A|\n)retry-after: *(\d{1,6}(?:\.\d{1,6})?)\r")
_DATE = re.compile(rb"(?:\A|\n)retry-after: *([A-Z][a-z]{2}, [\x20-\x7e]{10,40})\r")
