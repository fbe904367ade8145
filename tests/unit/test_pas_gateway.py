"""The gateway of PAS on a real port: it really asks, falls back, keeps to budgets, and tells what the ledger says."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import (
    Gate,
    Held,
    ScriptedWorker,
    config,
    message,
    on_uvloop,
    raw,
    remote,
    reply,
    request,
    running_gateway,
    until,
)

from rolecast.config.registry import Registry
from rolecast.config.schema import Config, Listener, Price
from rolecast.decision import Choice
from rolecast.dialects import dialect
from rolecast.dialects.request import Request
from rolecast.errors import StaysHere
from rolecast.pages.pas.gateway_shapes import BudgetTold, GatewayAnswer, GatewayHealth, Metrics
from rolecast.pages.pas.receipts import ReceiptLine, file_of
from rolecast.values import Caller

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

ANSWER = {
    "id": "x",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500},
}
PAYLOAD = {"messages": [{"role": "user", "content": "hello"}], "temperature": 0.2, "max_tokens": 20}
FIELDS = ["request_id", "run_id", "status", "provider", "model", "response", "cost", "alternatives", "timestamp"]
RECEIPT = ["request_id", "run_id", "agent", "timestamp", "provider", "model", "input_tokens", "output_tokens"]
RECEIPT += ["cost_usd", "latency_ms", "status"]


def exactly(body: bytes) -> Any:
    """The JSON with its numbers as they are written."""
    return json.loads(body, parse_float=Decimal)


class Front:
    """A gateway with a model of its own and a provider that may be asked, and the ports of PAS."""

    def __init__(self, gate: Gate, ours: ScriptedWorker, theirs: ScriptedWorker, folder: Path) -> None:
        self.gate = gate
        self.ours = ours
        self.theirs = theirs
        self.folder = folder

    async def ask(self, method: str, path: str, body: Any = None, status: int = 200, port: str = "gateway") -> Any:
        answer = await self.gate.ask(request(body, path=path, method=method), port)
        assert answer.status == status, answer.body
        return exactly(answer.body)

    async def register(self, name: str, **fields: Any) -> None:
        body = {
            "name": name,
            "model": "gpt",
            "context_window": 8192,
            "cost_per_input_token": 0.00001,
            "cost_per_output_token": 0.00003,
            "endpoint": self.theirs.url,
            **fields,
        }
        await self.ask("POST", "/register", body, port="providers")

    async def route(self, model: str = "gpt", status: int = 200, **fields: Any) -> Any:
        body = {"request_id": "r-1", "run_id": "run 1", "agent": "coder", "requirements": {"model": model}}
        return await self.ask("POST", "/route", {**body, "payload": PAYLOAD, **fields}, status)

    async def receipts(self, run: str = "run%201") -> list[Any]:
        found = await self.ask("GET", f"/receipts/{run}")
        assert found["count"] == len(found["receipts"])
        return list(found["receipts"])


def configured(ours: ScriptedWorker, theirs: ScriptedWorker, folder: Path) -> Config:
    listeners = [Listener(port=0, name=name, surface=name) for name in ("providers", "gateway")]  # type: ignore[arg-type]
    models = {"m": remote(ours.url, capabilities=["chat", "vision"]), "other": remote(ours.url)}
    made = config(models, listeners=listeners)
    listed = [theirs.url.removesuffix("/v1"), "http://127.0.0.1:9"]
    return msgspec.structs.replace(made, registry=Registry(backends=listed, receipts=str(folder / "costs")))


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    async with ScriptedWorker().listening() as ours, ScriptedWorker().listening() as theirs:
        for worker in (ours, theirs):
            worker.usual = reply(msgspec.json.encode(ANSWER))
        async with running_gateway(configured(ours, theirs, tmp_path), tmp_path) as gate:
            yield Front(gate, ours, theirs, tmp_path)


async def test_the_provider_is_really_asked_and_its_answer_comes_whole(front: Front) -> None:
    await front.register("paid")
    found = await front.route()
    assert list(found)[: len(FIELDS)] == FIELDS
    assert set(found) <= set(GatewayAnswer.__struct_fields__)
    assert (found["status"], found["provider"], found["model"]) == ("success", "paid", "gpt")
    assert found["response"] == ANSWER
    sent = front.theirs.requests[0].json
    assert sent == {**PAYLOAD, "model": "gpt", "stream": False}
    # 1000 * 0.00001 + 500 * 0.00003
    assert found["cost"]["cost_usd"] == Decimal("0.025000")
    assert (found["cost"]["input_tokens"], found["cost"]["output_tokens"]) == (1000, 500)
    assert not front.ours.requests


async def test_the_receipt_has_the_fields_of_the_contract_and_the_ledgers_numbers(front: Front) -> None:
    await front.register("paid", cost_per_input_token=0.0000000015, cost_per_output_token=0)
    await front.route()
    (receipt,) = await front.receipts()
    assert list(receipt)[: len(RECEIPT)] == RECEIPT
    assert receipt["request_id"] == "r-1"
    assert (receipt["run_id"], receipt["agent"], receipt["provider"]) == ("run 1", "coder", "paid")
    assert (receipt["model"], receipt["status"], receipt["input_tokens"]) == ("gpt", "success", 1000)
    assert receipt["cost_usd"] == Decimal("0.000002")  # 0.0000015, halves up
    assert receipt["metadata"]["cost_picodollars"] == 1_500_000
    total = (await front.ask("GET", "/receipts/run%201"))["total_cost_usd"]
    assert total == Decimal("0.0000015")
    lines = (front.folder / "costs" / file_of("run 1")).read_bytes().splitlines()
    (kept,) = [msgspec.json.decode(each, type=ReceiptLine) for each in lines]
    assert (kept.request_id, kept.metadata["id"]) == ("r-1", receipt["metadata"]["id"])


async def test_receipts_come_as_lines_too(front: Front) -> None:
    for number in range(3):
        await front.route("m", request_id=f"r-{number}")
    for path, head in [("/receipts/run%201.jsonl", ""), ("/receipts/run%201", "Accept: application/x-ndjson\r\n")]:
        answer = await front.gate.ask(request(path=path, method="GET", head=head), "gateway")
        assert answer.header("content-type") == "application/x-ndjson"
        assert [msgspec.json.decode(line)["request_id"] for line in answer.body.splitlines()] == ["r-0", "r-1", "r-2"]


async def test_whatever_the_model_speaks_the_answer_is_openais_object(front: Front) -> None:
    body = b'{"id":"x","type":"message","role":"assistant","model":"c","content":[{"type":"text","text":"Ahoy"}],'
    body += b'"stop_reason":"end_turn","usage":{"input_tokens":7,"output_tokens":3}}'
    front.ours.usual = reply(body)
    current = front.gate.gateway.current.config
    speaks = msgspec.structs.replace(remote(front.ours.url), backend="anthropic", key="k")
    models = {**current.models, "claude": speaks}
    await front.gate.gateway.reloader.apply(msgspec.structs.replace(current, models=models))
    found = await front.route("claude")
    assert found["response"]["object"] == "chat.completion"
    assert found["response"]["choices"][0]["message"]["content"] == "Ahoy"
    assert (found["cost"]["input_tokens"], found["cost"]["output_tokens"]) == (7, 3)


async def test_several_answers_are_one_request_and_one_receipt(front: Front) -> None:
    found = await front.route("m", payload={**PAYLOAD, "n": 2, "stream": True, "stream_options": {}})
    assert found["status"] == "success"
    assert "stream_options" not in front.ours.requests[0].json
    assert len(await front.receipts()) == 1


async def test_one_whose_address_is_not_listed_is_passed_over_and_never_contacted(front: Front) -> None:
    async with ScriptedWorker().listening() as stranger:
        await front.register("stranger", endpoint=stranger.url, cost_per_input_token=0)
        found = await front.route()
        assert (found["status"], found["provider"], found["model"]) == ("success", "local", "m")
        assert (found["fallback_from"], found["skipped"][0]["provider"]) == ("stranger", "stranger")
        assert "registry.backends" in found["skipped"][0]["reason"]
        assert not stranger.peers
    (receipt,) = await front.receipts()
    assert (receipt["status"], receipt["fallback_from"], receipt["provider"]) == ("fallback", "stranger", "local")
    told = [each for each in front.gate.gateway.events.recent() if each.event_type == "gateway_fallback"]
    assert told[0].data == {"request_id": "r-1", "run_id": "run 1", "from": "stranger", "to": "m"}


async def test_a_dead_provider_is_followed_by_the_next_and_at_last_by_a_model_of_ours(front: Front) -> None:
    await front.register("dead", endpoint="http://127.0.0.1:9/v1", cost_per_input_token=0)
    await front.register("paid")
    found = await front.route()
    assert (found["provider"], found["fallback_from"], found["alternatives"]) == ("paid", "dead", ["dead"])
    front.theirs.usual = reply(b'{"error":{"message":"no"}}', 500)
    found = await front.route(request_id="r-2")
    assert (found["provider"], found["model"], found["status"]) == ("local", "m", "success")
    second = (await front.receipts())[1]
    assert (second["status"], second["cost_usd"]) == ("fallback", 0)


async def test_when_all_fail_the_error_is_told_with_its_own_status(front: Front) -> None:
    await front.register("paid")
    for worker in (front.ours, front.theirs):
        worker.usual = reply(b'{"error":{"message":"no"}}', 500)
    found = await front.route(status=502)
    assert (found["status"], found["response"]) == ("error", None)
    assert found["error"]["message"] == found["detail"]
    (receipt,) = await front.receipts()
    assert (receipt["status"], receipt["cost_usd"]) == ("error", 0)
    assert receipt["error_message"] == found["error"]["code"]


async def test_half_an_answer_is_none(front: Front) -> None:
    await front.register("paid")
    front.theirs.usual = raw(message(msgspec.json.encode(ANSWER))[:-30], close=True)
    found = await front.route()
    assert (found["status"], found["provider"], found["response"]["usage"]) == ("success", "local", ANSWER["usage"])


async def test_who_matches_nobody_gets_404_and_not_503(front: Front) -> None:
    found = await front.route("nobody", 404)
    assert found["error"]["code"] == "no_provider"
    await front.register("paid")
    await front.route(status=404, requirements={"model": "gpt", "context_window": 9000})
    await front.route(status=404, requirements={"model": "gpt", "features": ["vision"]})
    assert await front.receipts() == []


async def test_the_bounds_of_a_request_hold(front: Front) -> None:
    await front.register("slow", cost_per_input_token=0, slo={"latency_p95_ms": 9000})
    await front.register("fast", slo={"latency_p95_ms": 500})
    assert (await front.route())["provider"] == "slow"
    assert (await front.route(budget={"max_latency_ms": 1000}))["provider"] == "fast"
    assert (await front.route(optimization="latency"))["reason"] == "Lowest latency SLO"
    found = await front.route(status=429, budget={"max_cost_usd": 0.0001})
    assert found["error"]["code"] == "budget_spent"
    assert (await front.route("m", budget={"max_cost_usd": 0}))["provider"] == "local"


async def test_a_spent_budget_refuses_what_costs_and_lets_pass_what_is_free(front: Front) -> None:
    await front.register("paid")
    assert (await front.ask("GET", "/budget/run%201"))["budget_set"] is False
    found = await front.ask("POST", "/budget?run_id=run%201&budget_usd=0.05")
    assert found == {"run_id": "run 1", "budget_usd": Decimal("0.05"), "status": "Budget set successfully"}
    levels = []
    for _ in range(2):
        await front.route()
        told = await front.ask("GET", "/budget/run%201")
        levels.append((told["alert_level"], told["spent_usd"], told["can_proceed"]))
    assert levels == [("ok", Decimal("0.025"), True), ("critical", Decimal("0.05"), False)]
    assert set(told) == set(BudgetTold.__struct_fields__) - {"message"}
    assert (told["remaining_usd"], told["percent_used"]) == (0, 100)
    found = await front.route(status=429)
    assert found["error"]["code"] == "budget_spent"
    assert (await front.route("m"))["status"] == "success"
    assert (await front.route(run_id="another"))["provider"] == "paid"


@pytest.mark.parametrize("query", ["run_id=x&budget_usd=0", "run_id=x&budget_usd=-1", "run_id=x", "budget_usd=1", ""])
async def test_a_budget_must_be_an_amount_for_a_run(front: Front, query: str) -> None:
    await front.ask("POST", f"/budget?{query}", status=400)


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "1e400", "x", "0x1", "0.0000000000000001"])
async def test_what_is_no_amount_is_refused(front: Front, amount: str) -> None:
    answer = await front.gate.ask(request(path=f"/budget?run_id=x&budget_usd={amount}"), "gateway")
    assert answer.status == 400, answer.body


async def test_without_a_payload_nobody_is_asked_and_the_choice_is_told_and_written_down(front: Front) -> None:
    await front.register("paid")
    found = await front.route(payload=None, run_id=None)
    assert (found["status"], found["provider"], found["response"], found["run_id"]) == (
        "success",
        "paid",
        None,
        "default",
    )
    assert found["cost"]["input_tokens"] == found["cost"]["cost_usd"] == 0
    assert not front.theirs.requests
    (receipt,) = await front.receipts("default")
    assert (receipt["status"], receipt["cost_usd"]) == ("success", 0)


@pytest.mark.parametrize(
    "change",
    [
        {"request_id": ""},
        {"request_id": "a\nb"},
        {"agent": None},
        {"run_id": "x" * 201},
        {"requirements": {}},
        {"optimization": "speed"},
        {"payload": {"temperature": 1}},
        {"payload": {"messages": "hi"}},
        {"payload": []},
        {"budget": {"max_cost_usd": -1}},
    ],
)
async def test_bad_input_is_refused_before_anybody_is_asked(front: Front, change: dict[str, Any]) -> None:
    found = await front.route("m", 422, **change)
    assert found["detail"]
    assert not front.ours.requests
    assert await front.receipts() == []


async def test_the_name_of_a_run_leads_to_no_other_folder(front: Front) -> None:
    for run in ("../escape", "/etc/passwd", "..", ".", "a/b", "x" * 200, "ü"):
        await front.route("m", run_id=run)
    kept = sorted(path.relative_to(front.folder) for path in front.folder.rglob("*.jsonl"))
    assert {path.parent for path in kept} == {Path("costs")}
    assert len(kept) == 7
    assert len(await front.receipts("../escape")) + len(await front.receipts("%2E%2E%2Fescape")) >= 1


async def test_receipts_survive_a_folder_that_cannot_be_written(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    (front.folder / "costs").write_text("a file where the folder should be")
    for _ in range(2):
        await front.route("m")
    assert len(await front.receipts()) == 2
    assert len([each for each in caplog.records if "registry.receipts" in each.getMessage()]) == 1


async def test_requests_of_every_port_are_counted(front: Front) -> None:
    await front.register("paid")
    await front.route()
    chat = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    await front.gate.ask(request(chat))
    for window in ("minute", "hour", "day"):
        found = await front.ask("GET", f"/metrics?window={window}")
        assert set(found) == set(Metrics.__struct_fields__)
        assert (found["total_requests"], found["total_tokens"]) == (2, 3000)
        assert found["total_cost_usd"] == Decimal("0.025")
        assert found["cost_per_request"] == Decimal("0.0125")
        assert found["requests_per_provider"] == {"paid": 1, "local": 1}
        assert found["cost_per_provider"] == {"paid": Decimal("0.025"), "local": 0}
        assert found["local_tokens"] == 1500
    assert (await front.ask("GET", "/metrics"))["window"] == "hour"
    await front.ask("GET", "/metrics?window=week", status=400)


async def test_windows_end_by_the_clock_and_nothing_breaks_in_the_second_minute(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    await front.route("m")
    real = time.time
    for minutes, counted in [(0, (1, 1, 1)), (2, (0, 1, 1)), (61, (0, 0, 1)), (24 * 60 + 1, (0, 0, 0))]:
        monkeypatch.setattr("rolecast.pages.pas.gateway.time.time", lambda minutes=minutes: real() + minutes * 60)
        found = [await front.ask("GET", f"/metrics?window={each}") for each in ("minute", "hour", "day")]
        monkeypatch.setattr("rolecast.pages.pas.gateway.time.time", real)
        assert tuple(each["total_requests"] for each in found) == counted
    assert (await front.route("m"))["status"] == "success"


async def test_an_answer_of_this_machine_is_free_and_tells_what_it_saved(front: Front) -> None:
    found = await front.route("m")
    assert found["cost"]["cost_usd"] == 0
    # money.compare is gpt-4o-mini: 1000 * 0.15 / 10^6 + 500 * 0.60 / 10^6
    assert found["cost"]["avoided_usd"] == Decimal("0.000450")


async def test_a_client_that_goes_away_ends_what_it_asked_for(front: Front) -> None:
    held = Held()
    front.ours.usual = held
    async with front.gate.client("gateway") as client:
        body = {"request_id": "r", "agent": "a", "requirements": {"model": "m"}, "payload": PAYLOAD}
        await client.send(request(body, path="/route"))
        await held.began.wait()
        client.abort()
    assert held.peer is not None
    await asyncio.wait_for(held.peer.gone.wait(), 20)
    await until(lambda: not front.gate.gateway.dispatch.active)
    (receipt,) = await front.receipts("default")
    assert receipt["status"] == "error"


async def test_health_tells_what_it_depends_on(front: Front) -> None:
    found = await front.ask("GET", "/health")
    msgspec.convert(found, GatewayHealth)
    assert (found["status"], found["service"], found["port"]) == ("ok", "gateway", front.gate.port("gateway"))
    assert found["dependencies"] == {"provider_router": "ok", "cost_tracker": "ok", "models": "ok"}
    assert (await front.ask("GET", "/"))["service"] == "gateway"


async def test_what_must_stay_here_stays_here(front: Front) -> None:
    far = {"far": remote("https://api.example.com/v1", price=Price(input=1, output=1), capabilities=["chat"])}
    current = front.gate.gateway.current.config
    await front.gate.gateway.reloader.apply(msgspec.structs.replace(current, models={**current.models, **far}))
    gateway = front.gate.gateway
    settled = Request("chat", b"/chat/completions", "far", False, b"{}", needs=frozenset({"local"}))
    settled.settled = Choice("far", alternatives=("m",))
    assert gateway.plans.make("far", settled, Caller(), dialect("openai")).model_id == "m"
    settled.settled = Choice("far")
    with pytest.raises(StaysHere):
        gateway.plans.make("far", settled, Caller(), dialect("openai"))


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    async with ScriptedWorker().listening() as ours, ScriptedWorker().listening() as theirs:
        theirs.usual = ours.usual = reply(msgspec.json.encode(ANSWER))
        async with running_gateway(configured(ours, theirs, tmp_path), tmp_path) as gate:
            front = Front(gate, ours, theirs, tmp_path)
            await front.register("paid")
            await front.ask("POST", "/budget?run_id=run%201&budget_usd=1")
            await front.route()
            before = await front.receipts()
        async with running_gateway(configured(ours, theirs, tmp_path), tmp_path) as gate:
            front = Front(gate, ours, theirs, tmp_path)
            assert await front.receipts() == before
            told = await front.ask("GET", "/budget/run%201")
            assert (told["budget_usd"], told["spent_usd"]) == (1, Decimal("0.025"))
            assert (await front.ask("GET", "/metrics"))["total_cost_usd"] == Decimal("0.025")
            assert (await front.route())["provider"] == "paid"


ODD = [None, True, -1, 0, 0.5, 1e308, 10**30, "", "x", "\0", "\u2028", "../x", [], {}, [[]], {"a": {}}, "NaN", "1"]
REGISTRATION = {"name": "p", "model": "gpt", "context_window": 1, "cost_per_input_token": 0, "cost_per_output_token": 0}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("providers", "/register"): {
        **REGISTRATION,
        "endpoint": "http://a",
        "features": [],
        "slo": {"latency_p95_ms": 1},
        "metadata": {},
    },
    ("providers", "/select"): {
        "requirements": {"model": "gpt", "context_window": 1, "features": []},
        "optimization": "cost",
        "max_cost_usd": 1,
        "max_latency_ms": 1,
    },
    ("providers", "/route"): {"capability": "chat", "prefer_local": True},
    ("gateway", "/route"): {
        "request_id": "r",
        "agent": "a",
        "run_id": "x",
        "requirements": {"model": "m"},
        "budget": {"max_cost_usd": 1, "max_latency_ms": 1},
        "payload": PAYLOAD,
    },
}


def mutated(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The body with each of its fields replaced by each odd value, or left out, one at a time."""
    for field, value in body.items():
        yield {key: kept for key, kept in body.items() if key != field}
        for odd in ODD:
            yield {**body, field: odd}
        if isinstance(value, dict):
            for inner in mutated(value):
                yield {**body, field: inner}


async def test_no_odd_value_is_a_mistake_of_ours(front: Front) -> None:
    await front.register("paid")
    for (port, path), body in BODIES.items():
        async with front.gate.client(port) as client:
            for each in mutated(body):
                await client.send(request(each, path=path))
                answer = await client.answer()
                assert answer.status in (200, 400, 404, 409, 422, 429), (each, answer.body)
    assert (await front.ask("GET", "/metrics"))["total_requests"] > 0
    await front.ask("GET", "/providers", port="providers")
