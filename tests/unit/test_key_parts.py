"""Requests that are several questions count as one of their key: a router model is asked, a session goes on, a task."""

import time
from typing import Any

import pytest
from gateway import Answer, request
from msgspec.structs import replace
from test_consult import Cast, cast, delegate, handle

from rolecast.access.keys import Limits
from rolecast.access.wanted import NEW

pytestmark = pytest.mark.anyio


async def key(there: Cast, **fields: Any) -> str:
    made = await there.gate.gateway.keyring.create(replace(NEW, **fields))
    return made.secret


async def ask(there: Cast, secret: str, **fields: Any) -> Answer:
    body = {"model": "auto", "messages": [{"role": "user", "content": "hello"}], **fields}
    return await there.gate.ask(request(body, head=f"Authorization: Bearer {secret}\r\n"))


def left(answer: Answer, what: str) -> int:
    return int(answer.header(f"x-ratelimit-remaining-{what}") or -1)


async def test_a_question_to_the_router_model_takes_no_place_and_counts_with_its_tokens() -> None:
    limits = Limits(requests_per_minute=10, tokens_per_minute=10_000, parallel=1)
    async with cast() as there:
        secret = await key(there, limits=limits)
        there.r.script += [delegate(), handle(), delegate()]
        began = time.monotonic()
        first = await ask(there, secret)
        assert (first.status, first.header("x-rolecast-model"), left(first, "requests")) == (200, "c", 9)
        second = await ask(there, secret)
        assert (second.status, second.header("x-rolecast-model"), left(second, "requests")) == (200, "r", 8)
        third = await ask(there, secret)
        assert (third.status, left(third, "requests")) == (200, 7)
        # 120 tokens of each of two questions to the router, and 7 of the answer of the other model.
        back = (time.monotonic() - began) * limits.tokens_per_minute / 60
        assert 10_000 - 300 <= left(third, "tokens") <= 10_000 - 240 + back


async def test_a_key_that_may_not_reach_the_router_model_gets_who_it_names_of_its_own() -> None:
    async with cast() as there:
        secret = await key(there, models=("s",))
        there.r.script.append(delegate())
        answer = await ask(there, secret)
        assert (answer.status, answer.header("x-rolecast-model")) == (200, "s")
        assert there.c.requests == []


async def test_a_router_model_that_is_refused_leaves_no_place_taken() -> None:
    async with cast() as there:
        secret = await key(there, limits=Limits(parallel=1))
        for _ in range(3):
            there.r.script.append(handle("no json at all " * 50, confidence=0.0))
            assert (await ask(there, secret)).status == 200
