"""The list of requests under way, and the end of one that somebody cancels."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from gateway import Gate, Held, chat, delta, pair, request, until
from msgspec.structs import replace

from rolecast.access.wanted import NEW

pytestmark = pytest.mark.anyio
LIST = "/v1/admin/requests"


async def listed(gate: Gate, head: str = "", query: str = "?state=running") -> list[dict[str, Any]]:
    answer = await gate.ask(request(path=f"{LIST}{query}", method="GET", head=head), method="GET")
    assert answer.status == 200, answer.body
    return list(answer.json["requests"])


async def cancel(gate: Gate, request_id: str, head: str = "") -> Any:
    return await gate.ask(request(path=f"{LIST}/{request_id}", method="DELETE", head=head), method="DELETE")


@asynccontextmanager
async def one_runs_one_waits(head: str = "", **server: Any) -> AsyncIterator[tuple[Gate, Held, Any, Any]]:
    async with pair(model={"parallel": 1}, **server) as (gate, worker):
        held = Held(delta("x"), delta("y"), delta("z"))
        worker.script.append(held)
        async with gate.client() as running, gate.client() as waiting:
            await running.send(request(chat("SECRET", stream=True), head=head))
            await held.began.wait()
            await waiting.send(request(chat("SECRET"), head=head + "X-Trace-Id: mine\r\n"))
            await until(lambda: gate.gateway.fleet.worker("m").waiting)
            yield gate, held, running, waiting


async def test_the_list_tells_who_runs_and_who_waits_and_no_word_of_what_they_asked() -> None:
    async with one_runs_one_waits() as (gate, _, running, _):
        await running.head()
        found = await until_tokens(gate)
        assert "SECRET" not in json.dumps(found)
        first, second = found
        assert [each["phase"] for each in found] == ["running", "queued"]
        assert (first["model"], first["asked"], first["kind"], first["stream"]) == ("m", "m", "chat", True)
        assert first["tokens"] == 2, "the first event of a stream usually has no text"
        assert first["age_ms"] >= second["age_ms"] >= 0
        assert (second["tokens"], second["first_ms"], second["client_id"]) == (0, None, "mine")
        assert first["client"] == second["client"] == "127.0.0.1"
        (one,) = [await gate.ask(request(path=f"{LIST}/{first['id']}", method="GET"), method="GET")]
        assert one.json["id"] == first["id"]


async def until_tokens(gate: Gate) -> list[dict[str, Any]]:
    while (found := await listed(gate))[0]["tokens"] < 2:
        pass
    return found


async def test_cancelling_a_stream_stops_its_engine_and_ends_it_with_an_error_event() -> None:
    async with one_runs_one_waits() as (gate, held, running, waiting):
        (running_id, *_) = [each["id"] for each in await until_tokens(gate)]
        answer = await cancel(gate, running_id)
        assert (answer.status, answer.json["phase"], answer.json["model"]) == (200, "running", "m")
        assert held.peer is not None
        await held.peer.gone.wait()
        ended = await running.answer()
        assert (ended.status, b'"code":"cancelled"' in ended.body) == (200, True)
        assert ended.body.endswith(b"data: [DONE]\n\n")
        assert (await waiting.answer()).status == 200, "the slot is free"
        await until(lambda: gate.gateway.ledger.written >= 2)
        assert [row.outcome for row in await gate.gateway.ledger.tail(2)] == ["ok", "cancelled"]


async def test_cancelling_one_that_waits_frees_its_place_and_says_so_with_a_status_that_nobody_retries() -> None:
    async with one_runs_one_waits() as (gate, _, _, waiting):
        (_, queued) = await listed(gate)
        await cancel(gate, queued["id"])
        answer = await waiting.answer()
        assert (answer.status, answer.error["code"]) == (499, "cancelled")
        assert not gate.gateway.fleet.worker("m").waiting
        assert (await cancel(gate, queued["id"])).status == 404


async def test_nobody_finds_what_is_not_there() -> None:
    async with pair() as (gate, _):
        assert await listed(gate) == []
        for name in ("req_0000000000000001", "nothing", "%00"):
            answer = await cancel(gate, name)
            assert (answer.status, answer.error["param"]) == (404, "id")
        answer = await gate.ask(request(path=f"{LIST}?state=maybe", method="GET"), method="GET")
        assert answer.status == 400


async def test_requests_that_are_over_are_the_ledgers() -> None:
    async with pair() as (gate, _):
        assert (await gate.ask(request(chat()))).status == 200
        await until(lambda: gate.gateway.ledger.written)
        (row,) = await listed(gate, query="?state=ended&limit=1")
        assert (row["model"], row["outcome"]) == ("m", "ok")


async def test_a_key_sees_and_cancels_its_own_alone() -> None:
    async with pair(model={"parallel": 1}) as (gate, worker):
        ring = gate.gateway.keyring
        made = [await ring.create(replace(NEW, name=name, scopes=scopes)) for name, scopes in KEYS]
        admin, ann, bob = (f"Authorization: Bearer {each.secret}\r\n" for each in made)
        held = Held(delta("x"))
        worker.script.append(held)
        async with gate.client() as running, gate.client() as waiting:
            await running.send(request(chat(stream=True), head=ann))
            await held.began.wait()
            await waiting.send(request(chat(), head=bob))
            await until(lambda: gate.gateway.fleet.worker("m").waiting)
            everybody = await listed(gate, admin)
            assert [each["key_name"] for each in everybody] == ["ann", "bob"]
            assert [each["key_name"] for each in await listed(gate, ann)] == ["ann"]
            assert (await cancel(gate, everybody[1]["id"], ann)).status == 404
            ended = await gate.ask(request(path=f"{LIST}?state=ended", method="GET", head=ann), method="GET")
            assert ended.status == 403
            assert (await cancel(gate, everybody[1]["id"], bob)).status == 200
            assert (await waiting.answer()).status == 499
            held.let_go.set()


KEYS = (("admin", ("admin",)), ("ann", ("use",)), ("bob", ("use",)))
