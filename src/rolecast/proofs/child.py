"""The process beside the gateway that checks answers: `python -m rolecast.proofs.child SOCKET`.

`POST /check` with `{"problem", "work", "seconds"}` gives a `judge.Verdict`. Each check runs in a fork (`box.py`), so
one that takes for ever or eats memory ends alone, and the next one finds all modules loaded. Its log stays empty.
"""

import asyncio
import gc
import os
import sys

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.processes.lifeline import end_with_gateway
from rolecast.proofs.box import boxed
from rolecast.proofs.judge import NOT_CHECKABLE, Verdict, judge

AT_ONCE = max(1, min(4, os.cpu_count() or 1))
WAIT_S = 20.0
"""Who waits longer for a turn goes without a check."""
LONGEST_S = 60.0
SLOW = "the check took too long"
BUSY = "too many checks at once"


class Order(msgspec.Struct):
    """A check."""

    problem: str
    work: str
    seconds: float = 5.0


class Checks:
    """The checks that run, and those that wait."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def check(self, http: Request) -> Response:
        """Check one answer."""
        try:
            order = msgspec.json.decode(await http.body(), type=Order)
        except msgspec.MsgspecError:
            return Response(status_code=400)
        try:
            await asyncio.wait_for(self._turns.acquire(), WAIT_S)
        except TimeoutError:
            return _told(Verdict(NOT_CHECKABLE, BUSY))
        try:
            found = await boxed(lambda: _encoded(judge(order.problem, order.work)), min(order.seconds, LONGEST_S))
        finally:
            self._turns.release()
        return _told(Verdict(NOT_CHECKABLE, SLOW)) if found is None else Response(found, media_type="application/json")


def _encoded(verdict: Verdict) -> bytes:
    return msgspec.json.encode(verdict._asdict())


def _told(verdict: Verdict) -> Response:
    return Response(_encoded(verdict), media_type="application/json")


async def _health(_: Request) -> Response:
    return Response(b"{}", media_type="application/json")


def _app() -> Starlette:
    return Starlette(routes=[Route("/health", _health), Route("/check", Checks().check, methods=["POST"])])


WARM = (
    ("What is 3/4 + 1/6?", "11/12"),
    ("Solve x^2 - 5x + 6 = 0", "x = 2, x = 3"),
    ("Find the derivative of x^2 sin(x)", "2x sin(x) + x^2 cos(x)"),
    ("Find the limit of sin(x)/x as x approaches 0", "1"),
    ("Solve x^2 - 4 < 0", "-2 < x < 2"),
    ("Find the inverse of [[1, 2], [3, 4]]", "[[-2, 1], [3/2, -1/2]]"),
)
"""Problems of ours: what sympy learns from them once, forks need not learn again."""


def main(socket: str) -> None:
    """Serve until the gateway ends."""
    end_with_gateway()
    for problem, answer in WARM:
        judge(problem, f"Answer: {answer}")
    gc.collect()
    gc.freeze()  # forks share these pages
    uvicorn.run(_app(), uds=socket, loop="asyncio", log_level="critical", access_log=False, lifespan="off")


if __name__ == "__main__":
    main(sys.argv[1])
