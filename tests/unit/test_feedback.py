"""What people think of answers is kept, once per request and key; decisions are, without a word of a prompt."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from databases import OpenStore, database, postgres
from gateway import Answer, Gate, chat, config, request, running_gateway, until

from rolecast.books import decisions, tables
from rolecast.books.ledger import Ledger
from rolecast.books.sqlite import SQLite
from rolecast.config.labels import DOMAINS
from rolecast.config.routing import Labels, Routing
from rolecast.config.schema import Config, Model
from rolecast.decision import Choice, Said, Seen
from rolecast.routing.learned import Learned
from rolecast.values import Usage

pytestmark = pytest.mark.anyio
__all__ = ["database", "postgres"]  # fixtures

CODE = "Write a Python function that merges two sorted lists and explain its complexity."
DESTINATIONS = {"destination": Labels(examples={"erp": ["book the invoice"], "crm": ["call the lead"]})}


def cast(**server: Any) -> Config:
    models = {name: Model(backend="fake", parallel=8) for name in ("small", "coder", "spare")}
    made = config(models, **server)
    roles = {"standard": ["small"], "coding": ["coder", "spare"]}
    return msgspec.structs.replace(made, roles=roles, routing=Routing(labels=DESTINATIONS))


@asynccontextmanager
async def gateway(folder: Path, **server: Any) -> AsyncIterator[Gate]:
    async with running_gateway(cast(**server), folder) as gate:
        yield gate


async def answered(gate: Gate, head: str = "", model: str = "auto", text: str = CODE) -> str:
    """The id of a request that was answered."""
    got = await gate.ask(request(chat(text, model=model), head=head))
    assert got.status == 200, got
    return got.header("x-request-id") or ""


async def say(gate: Gate, head: str = "", **said: Any) -> Answer:
    return await gate.ask(request(said, path="/v1/feedback", head=head))


async def listed(gate: Gate) -> Any:
    return (await gate.ask(request(path="/v1/feedback", method="GET"), method="GET")).json


# -- feedback ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [("up", 1.0), ("down", 0.0), (1, 1.0), (-1, 0.0), (0, 0.0), (0.25, 0.25), ("1", 1.0), ("-1", 0.0)],
)
async def test_a_thumb_or_a_number_is_kept_right_after_the_answer(given: Any, kept: float, tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        name = await answered(gate)
        said = await say(gate, request_id=name, rating=given)  # its row may not be written yet
        assert (said.status, said.json["feedback"]["rating"]) == (200, kept)
        (row,) = await gate.rows()
        assert row.rating == kept


async def test_the_last_word_of_a_key_counts_and_keys_do_not_touch_each_other(tmp_path: Path) -> None:
    async with gateway(tmp_path, keys=["sesame", "open"]) as gate:
        one, two = (f"Authorization: Bearer {key}\r\n" for key in ("sesame", "open"))
        name = await answered(gate, one)
        for rating in ("up", "down", "down"):
            assert (await say(gate, one, request_id=name, rating=rating)).status == 200
        assert (await say(gate, two, request_id=name, rating="up", comment="fine")).status == 200
        assert (await say(gate, request_id=name, rating="up")).status == 401
        answer = await gate.ask(request(path="/v1/feedback", method="GET", head=one), method="GET")
        assert answer.json["summary"] == {"count": 2, "up": 1, "down": 1, "mean": 0.5}
        first, second = answer.json["feedback"]
        assert (first["comment"], first["model"], first["role"]) == ("fine", "coder", "coding")
        assert first["key"] != second["key"] != ""
        assert "sesame" not in str(answer.json)
        (row,) = await gate.rows()
        assert row.rating == 0.5


async def test_a_correct_label_is_one_that_there_is_also_of_ones_own(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        name = await answered(gate)
        right = {
            "category": "code_review_debugging",
            "role": "reasoning",
            "tier": "light",
            "domain": "LAW",
            "model": "spare",
            "destination": "erp",
        }
        kept = (await say(gate, request_id=name, label=right)).json["feedback"]["label"]
        assert kept == right | {"category": "code_review"}, "twins are one"
        for of, value in (*((of, "nonsense") for of in right), ("colour", "red")):
            wrong = await say(gate, request_id=name, label={of: value})
            assert (wrong.status, wrong.error["code"]) == (422, "invalid_value"), of
            if of not in ("model", "colour"):
                assert right[of] in wrong.error["message"] or of == "category", of
        assert (await listed(gate))["summary"]["count"] == 1
        assert (await listed(gate))["feedback"][0]["label"]["role"] == "reasoning", "a mistake changed nothing"


async def test_feedback_on_a_request_that_waits_for_a_locked_database_is_put_off_and_not_refused(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as gate:
        other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        try:
            await answered(gate)
            await gate.gateway.ledger.close()
            other.execute("BEGIN IMMEDIATE")
            name = await answered(gate)
            said = await say(gate, request_id=name, rating="up")
            assert (said.status, said.error["code"]) == (503, "store_unavailable")
            nobody = await say(gate, request_id="req_00000000000000ff", rating="up")
            assert nobody.status == 404, "a request that there never was is no matter of the database"
            other.execute("ROLLBACK")
        finally:
            other.close()
        await gate.gateway.ledger.close()
        assert (await say(gate, request_id=name, rating="up")).status == 200


def test_the_domains_that_may_be_said_are_those_of_the_model() -> None:
    assert set(DOMAINS) == set(Learned.load().heads["domain"].labels)


@pytest.mark.parametrize("name", ["req_00000000000000ff", "req_ffffffffffffffff", "nonsense", "", "req_", "42"])
async def test_an_unknown_request_is_not_found(name: str, tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        answer = await say(gate, request_id=name, rating="up")
        assert (answer.status, answer.error["code"]) == (404, "request_not_found")
        assert (await listed(gate))["summary"] == {"count": 0, "up": 0, "down": 0, "mean": None}


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"rating": "maybe"},
        {"rating": 2},
        {"rating": -0.5},
        {"rating": True},
        {"rating": []},
        {"label": {"role": 1}},
        {"label": "role"},
        {"comment": "x" * 1001},
        {"comment": "a\0b"},
        {"comment": 7},
    ],
)
async def test_what_makes_no_sense_is_refused_and_keeps_nothing(said: dict[str, Any], tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        name = await answered(gate)
        assert (await say(gate, request_id=name, **said)).status == 422
        assert (await listed(gate))["feedback"] == []


# -- decisions in the ledger ---------------------------------------------------------------------------------


async def test_a_decision_is_in_the_row_and_a_name_that_was_obeyed_has_none(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        await answered(gate)
        await answered(gate, model="small")
        read, named = await gate.rows()
    assert (read.task, read.tier, read.domain) == ("code_generation", "heavy", "COMPUTER_SCIENCE")
    assert read.difficulty is not None
    assert 0 < read.difficulty < 1
    assert read.confidence is not None
    assert 0.7 < read.confidence <= 1
    assert (named.task, named.tier, named.domain, named.difficulty, named.confidence) == ("", "", "", None, None)


async def test_no_word_of_a_prompt_is_in_the_database(tmp_path: Path) -> None:
    words = "xylophone quokka zeppelin"
    async with gateway(tmp_path) as gate:
        await answered(gate, text=f"Translate {words} into French.")
        await gate.gateway.ledger.close()
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("ledger.db*"))
    assert b"opinions" in raw, "the decision is there"
    assert not any(word.encode() in raw for word in words.split())


async def test_a_model_that_steps_in_is_booked_with_what_was_decided(tmp_path: Path) -> None:
    made = cast()
    missing = Model(backend="openai", url="http://127.0.0.1:9/v1")
    made = msgspec.structs.replace(made, models={**made.models, "coder": missing})
    async with running_gateway(made, tmp_path) as gate:
        await answered(gate)
        (row,) = await gate.rows()
    assert (row.model, row.attempts, row.task) == ("spare", 2, "code_generation")
    assert row.route.startswith("fallback")


async def test_what_the_ledger_keeps_of_a_decision_comes_back_from_every_database(database: OpenStore) -> None:
    seen = Seen(tokens=12, code=True, opinions={"role": Said("coding", 0.9, True)}, difficulty=0.25)
    choice = Choice("m", task="code_review", tier="heavy", difficulty=0.25, confidence=0.9, seen=seen)
    store = database()
    await store.open()
    try:
        ledger = Ledger(store)
        for number in range(1, 2003):
            there = ledger.route("front door", "chat", "auto", "m", "m", "coding", "learned; x", "")
            if number % 2:
                ledger.decided(number, choice)
            ledger.record(number, there, 200, "ok", None, False, Usage(10, 4), 0.1, 2.0, 1, 0, 0, "")
        await ledger.close()
        found = [each async for each in decisions.past(store)]
        assert len(found) == 1001, "more than a page"
        assert (found[0].seen, found[0].model, found[0].completion_tokens) == (seen, "m", 4)
        assert await decisions.speeds(store) == {"m": 2.0}
        assert await ledger.holds(7)
        assert not await ledger.holds(2**40)
        newest, second = await ledger.tail(2)
        assert (newest.task, newest.difficulty, newest.rating) == ("", None, None)
        assert (second.task, second.tier, second.difficulty, second.confidence) == ("code_review", "heavy", 0.25, 0.9)
    finally:
        await store.close()


async def test_decisions_wait_with_their_rows_for_a_disk_that_fails(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        store: Any = gate.gateway.store
        store._writer.execute("PRAGMA query_only=ON")
        await answered(gate)
        await answered(gate)
        await until(lambda: gate.gateway.ledger.trouble)
        store._writer.execute("PRAGMA query_only=OFF")
        rows = await gate.rows()
    assert [row.task for row in rows] == ["code_generation"] * 2


def test_a_database_of_before_gets_the_tables_and_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    old = sqlite3.connect(path)
    for script in tables.scripts()[:3]:
        old.executescript(script.replace("hex16(q.id)", "printf('%016x', q.id)"))
    old.execute("PRAGMA user_version = 3")
    old.execute("INSERT INTO routes VALUES (1, 'front door', 'chat', 'auto', 'm', 'm', 'standard', 'default; x', '')")
    old.execute("INSERT INTO requests VALUES (7, 1, 0.0, 3200, 1, 1, 1, 1)")
    old.commit()
    old.close()

    async def read() -> list[Any]:
        store = SQLite(path)
        await store.open()
        try:
            return list(await Ledger(store).tail())
        finally:
            await store.close()

    (row,) = asyncio.run(read())
    assert (row.id, row.task, row.confidence) == ("req_0000000000000007", "", None)
