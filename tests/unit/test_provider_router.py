"""The provider router of PAS on a real port: both shapes of its contract, exact prices, and what a restart leaves."""

import asyncio
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from databases import OpenStore, database, postgres
from gateway import Gate, ScriptedWorker, config, on_uvloop, remote, request, running_gateway
from hypothesis import given
from hypothesis import strategies as st

from rolecast.books.ledger import Ledger
from rolecast.books.store import StoreError
from rolecast.config.current import Current
from rolecast.config.edit import edit_to
from rolecast.config.registry import Registry
from rolecast.config.schema import Config, Listener, Price
from rolecast.pages.pas.providers import (
    Deactivated,
    ProviderList,
    Registered,
    Routed,
    RouterHealth,
    Selected,
)
from rolecast.registry import provider_table
from rolecast.registry.adopted import Adopted
from rolecast.registry.directory import PREFIX, Directory, base_of
from rolecast.registry.observed import LEAST, Observed, p95
from rolecast.registry.providers import Provider, Slo, Stats
from rolecast.values import Usage

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop
__all__ = ["database", "postgres"]  # fixtures

REASONING = "llama3.1:8b"
TINY = "tinyllama:1.1b"
PROVIDER = {
    "name": "openai/gpt-4:turbo",
    "model": "gpt-4-turbo",
    "context_window": 128000,
    "cost_per_input_token": 0.00001,
    "cost_per_output_token": 0.00003,
    "endpoint": "http://localhost:8100",
    "features": ["function_calling", "vision", "something_new"],
    "slo": {"latency_p95_ms": 2000, "throughput_rps": 10, "availability_percent": 99.9},
    "metadata": {"region": "here"},
}


def configured() -> Config:
    """As the preset of PAS is, on free ports; the models are remote, and one is somebody else's."""
    nowhere = "http://127.0.0.1:9/v1"
    words = ["chat", "completion", "reasoning", "planning"]
    tiny = ["chat", "classification", "domain_classification", "tmd_extraction"]
    listeners = [
        Listener(port=0, name="llm_llama31_8b", model=REASONING, surface="pas"),
        Listener(port=0, name="llm_tinyllama_1b", model=TINY, surface="pas"),
        Listener(port=0, name="tlc_domain_classifier", model=TINY, surface="pas"),
        Listener(port=0, name="providers", surface="providers"),
    ]
    cloud = {"provider": "anthropic", "remote_model": "claude-x"}
    models = {
        REASONING: remote(nowhere, capabilities=words, context=8192),
        TINY: remote(nowhere, capabilities=tiny, aliases=["tiny"]),
        "claude": remote(
            "https://api.example.com/v1",
            **cloud,
            capabilities=["chat", "reasoning"],
            price=Price(input=300, output=1500),
        ),
    }
    return config(models, listeners=listeners)


class Router:
    """The port, asked in a word."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def port(self, name: str) -> int:
        return self.gate.port(name)

    async def __call__(self, method: str, path: str, body: Any = None, status: int = 200, head: str = "") -> Any:
        answer = await self.gate.ask(request(body, path=path, method=method, head=head), "providers")
        assert answer.status == status, answer.body
        if status >= 400:
            assert answer.error["message"]
        return answer.json

    async def register(self, **fields: Any) -> Any:
        return await self("POST", "/register", {**PROVIDER, **fields})

    async def select(self, model: str = "gpt-4-turbo", status: int = 200, **fields: Any) -> Any:
        needed = {key: fields.pop(key) for key in ("context_window", "features") if key in fields}
        return await self("POST", "/select", {"requirements": {"model": model, **needed}, **fields}, status)


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[Router]:
    async with running_gateway(configured(), tmp_path) as gate:
        yield Router(gate)


def held(kind: type, answer: Any) -> Any:
    """The answer, which must have exactly that shape."""
    return msgspec.convert(answer, kind, strict=True)


async def test_a_provider_registers_and_is_told_as_it_registered(router: Router) -> None:
    answer = await router.register()
    held(Registered, answer)
    assert (answer["status"], answer["action"]) == ("success", "registered")
    told = await router("GET", "/providers/openai/gpt-4:turbo")
    assert {key: told[key] for key in PROVIDER} == PROVIDER
    assert told["status"] == "active"
    assert told["created_at"] == told["updated_at"] == answer["provider"]["created_at"]
    assert await router("GET", "/providers/openai%2Fgpt-4%3Aturbo") == told
    again = await router.register(context_window=4096)
    assert again["action"] == "updated"
    assert again["provider"]["created_at"] == told["created_at"]
    assert again["provider"]["context_window"] == 4096


async def test_what_real_adapters_send_is_taken(router: Router) -> None:
    await router.register(slo=None, features=None, metadata=None, unknown_field=1)
    told = await router("GET", "/providers/openai/gpt-4:turbo")
    assert (told["slo"], told["features"], told["metadata"]) == (None, [], {})


async def test_prices_are_exact_to_the_last_digit(router: Router) -> None:
    body = msgspec.json.encode({**PROVIDER, "cost_per_input_token": 7}).replace(
        b'"cost_per_input_token":7', b'"cost_per_input_token":0.000000150001'
    )
    await router("POST", "/register", body)
    answer = await router.gate.ask(request(path="/providers/openai/gpt-4:turbo", method="GET"), "providers")
    told = msgspec.json.decode(answer.body, type=dict[str, msgspec.Raw])
    assert Decimal(bytes(told["cost_per_input_token"]).decode()) == Decimal("0.000000150001")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"model": 5}, "model"),
        ({"context_window": 0}, "context_window"),
        ({"context_window": 2_000_001}, "context_window"),
        ({"cost_per_input_token": -0.1}, "cost_per_input_token"),
        ({"cost_per_output_token": 11}, "cost_per_output_token"),
        ({"cost_per_output_token": "NaN"}, "cost_per_output_token"),
        ({"cost_per_output_token": "Infinity"}, "cost_per_output_token"),
        ({"features": "vision"}, "features"),
        ({"features": ["x"] * 51}, "features"),
        ({"slo": {"latency_p95_ms": -1}}, "latency_p95_ms"),
        ({"metadata": {"x": "y" * 5000}}, "metadata"),
        ({"endpoint": ""}, "endpoint"),
    ],
)
async def test_a_wrong_field_is_named(router: Router, change: dict[str, Any], word: str) -> None:
    answer = await router("POST", "/register", {**PROVIDER, **change}, 422)
    assert word in answer["detail"]
    assert (await router("GET", "/stats"))["active_providers"] == 0


@pytest.mark.parametrize("path", ["/register", "/select", "/route"])
async def test_what_is_no_json_is_a_bad_request(router: Router, path: str) -> None:
    for body in (b"{", b"\xff", b'{"metadata":{"a":' + b"[" * 50_000):
        assert (await router("POST", path, body, 400))["error"]["code"] == "bad_json"
    await router("POST", path, b"[]", 422)
    answer = await router.gate.ask(
        request(path=path, head="Content-Type: text/plain\r\nContent-Length: 2\r\n") + b"{}", "providers"
    )
    assert answer.status == 415


async def test_one_that_is_switched_off_is_gone_and_can_come_back(router: Router) -> None:
    await router.register()
    answer = await router("DELETE", "/providers/openai/gpt-4:turbo")
    held(Deactivated, answer)
    assert (answer["action"], answer["provider"]) == ("deactivated", PROVIDER["name"])
    await router("GET", "/providers/openai/gpt-4:turbo", status=404)
    await router.select(status=404)
    assert await router("GET", "/stats") == {
        "active_providers": 0,
        "inactive_providers": 1,
        "unique_models": [],
        "total_models": 0,
    }
    assert (await router.register())["action"] == "updated"
    assert (await router.select())["selected_provider"]["name"] == PROVIDER["name"]
    await router("DELETE", "/providers/nobody", status=404)


async def test_the_list_is_filtered_and_has_our_clouds(router: Router) -> None:
    await router.register()
    await router.register(name="small", model="other", context_window=2048)
    found = await router("GET", "/providers")
    held(ProviderList, found)
    assert [each["name"] for each in found["providers"]] == ["openai/gpt-4:turbo", "small", "claude"]
    assert found["count"] == 3
    assert [each["name"] for each in (await router("GET", "/providers?model=other"))["providers"]] == ["small"]
    assert [each["name"] for each in (await router("GET", "/providers?model=claude-x"))["providers"]] == ["claude"]
    roomy = await router("GET", "/providers?min_context=100000")
    assert [each["name"] for each in roomy["providers"]] == ["openai/gpt-4:turbo"]
    await router("GET", "/providers?min_context=lots", status=422)
    await router("GET", "/providers?min_context=0", status=422)
    told = await router("GET", "/providers/claude")
    assert (told["cost_per_input_token"], told["metadata"]["provider"]) == (0.000003, "anthropic")


async def test_selection_follows_the_rules_of_the_contract(router: Router) -> None:
    await router.register(name="dear")
    await router.register(name="cheap", cost_per_input_token=0.000001, slo=None, features=[])
    await router.register(name="slow", cost_per_input_token=0.000002, slo={"latency_p95_ms": 5000})
    found = await router.select()
    held(Selected, found)
    assert found["selected_provider"]["name"] == "cheap"
    assert [each["name"] for each in found["alternatives"]] == ["slow", "dear"]
    assert (found["selection_reason"], found["optimization"]) == ("Lowest cost provider", "cost")
    found = await router.select(optimization="latency")
    assert (found["selected_provider"]["name"], found["selection_reason"]) == ("dear", "Lowest latency SLO")
    found = await router.select(optimization="balanced")
    assert found["selection_reason"] == "Balanced optimization (cost-weighted)"
    assert (await router.select(features=["vision"]))["selected_provider"]["name"] == "slow"
    # 1000 * 0.000001 + 500 * 0.00003 = 0.016
    assert (await router.select(max_cost_usd=0.016))["selected_provider"]["name"] == "cheap"
    answer = await router.select(max_cost_usd=0.015999, status=404)
    assert answer["error"]["code"] == "no_provider_in_budget"
    assert (await router.select(max_latency_ms=3000, optimization="latency"))["alternatives"][0]["name"] == "cheap"
    await router.select(features=["vision"], max_latency_ms=100, status=404)
    for wrong in ({"optimization": "speed"}, {"max_cost_usd": -1}, {"max_latency_ms": 0}, {"context_window": 0}):
        await router.select(status=422, **wrong)
    answer = await router.select("nobody", status=404)
    assert answer["detail"] == "No providers found matching requirements: model 'nobody'."


async def test_latency_without_any_promise_is_no_error(router: Router) -> None:
    await router.register(slo=None)
    await router.register(name="b", slo={"throughput_rps": 3})
    found = await router.select(optimization="latency")
    assert found["selection_reason"] == "No latency SLO available, selected lowest cost"


async def test_our_own_models_are_chosen_by_every_name_they_have(router: Router) -> None:
    for asked, name in [(REASONING, REASONING), ("tiny", TINY), ("standard", REASONING), ("claude-x", "claude")]:
        found = (await router.select(asked))["selected_provider"]
        assert (found["name"], found["metadata"]["managed_by"]) == (name, "rolecast")
    assert (await router.select(TINY))["selected_provider"]["cost_per_input_token"] == 0


@pytest.mark.parametrize(
    ("capability", "model", "port"),
    [
        ("reasoning", REASONING, "llm_llama31_8b"),
        ("standard", REASONING, "llm_llama31_8b"),
        ("classification", TINY, "llm_tinyllama_1b"),
        ("domain_classification", TINY, "tlc_domain_classifier"),
        ("tmd_extraction", TINY, "tlc_domain_classifier"),
    ],
)
async def test_the_seeds_route_finds_the_port_of_a_capability(
    router: Router, capability: str, model: str, port: str
) -> None:
    found = await router("POST", "/route", {"capability": capability, "prefer_local": True})
    held(Routed, found)
    assert (found["provider"], found["model"]) == ("local", model)
    assert found["endpoint"] == f"http://localhost:{router.port(port)}"
    assert found == await router("POST", "/route", {"capability": capability})


async def test_the_seeds_route_tells_alternatives_and_what_to_do_without_anybody(router: Router) -> None:
    found = await router("POST", "/route", {"capability": "reasoning"})
    assert [each["model"] for each in found["alternatives"]] == ["claude"]
    assert found["alternatives"][0]["provider"] == "anthropic"
    assert found["alternatives"][0]["endpoint"] == f"http://localhost:{router.port('front door')}"
    answer = await router("POST", "/route", {"capability": "flying"}, 404)
    assert "planning" in answer["detail"]
    await router("POST", "/route", {"prefer_local": True}, 422)
    await router.register(features=["flying"])
    found = await router("POST", "/route", {"capability": "flying"})
    assert (found["provider"], found["endpoint"]) == (PROVIDER["name"], PROVIDER["endpoint"])
    await router.register(name="b", features=[], metadata={"capabilities": ["swimming", 5]})
    assert (await router("POST", "/route", {"capability": "swimming"}))["provider"] == "b"


async def test_health_and_root_say_which_port_this_is(router: Router) -> None:
    await router.register()
    health = await router("GET", "/health")
    held(RouterHealth, health)
    port = router.port("providers")
    assert (health["status"], health["service"], health["port"]) == ("ok", "provider_router", port)
    assert health["registry_stats"]["active_providers"] == 1
    root = await router("GET", "/")
    assert (root["service"], root["port"], root["docs"]) == ("provider_router", port, "/docs")
    raw = (await router.gate.ask(request(path="/health", method="GET"), "providers")).body
    assert b'"status":"ok"' in raw
    await router("PUT", "/register", {}, 405)
    await router("GET", "/v1/models", status=404)


async def test_events_tell_who_came_and_went(router: Router) -> None:
    await router.register()
    await router("DELETE", "/providers/openai/gpt-4:turbo")
    recent = router.gate.gateway.events.recent()
    told = [(each.event_type, each.data["name"]) for each in recent if each.event_type.startswith("provider_")]
    assert ("provider_registered", PROVIDER["name"]) in told
    assert told[-1] == ("provider_deactivated", PROVIDER["name"])


async def test_all_of_it_is_there_after_a_restart(tmp_path: Path) -> None:
    async with running_gateway(configured(), tmp_path) as gate:
        router = Router(gate)
        before = (await router.register())["provider"]
        await router.register(name="off")
        await router("DELETE", "/providers/off")
    async with running_gateway(configured(), tmp_path) as gate:
        router = Router(gate)
        assert await router("GET", "/providers/openai/gpt-4:turbo") == before
        assert (await router("GET", "/stats"))["inactive_providers"] == 1
        assert (await router.register(name="off"))["action"] == "updated"
        assert (await router("GET", "/stats"))["active_providers"] == 2


async def test_only_one_whose_address_is_listed_becomes_a_model(tmp_path: Path) -> None:
    async with ScriptedWorker().listening() as theirs:
        listed = msgspec.structs.replace(configured(), registry=Registry(backends=[theirs.url.removesuffix("/v1")]))
        async with running_gateway(listed, tmp_path) as gate:
            router = Router(gate)
            await router.register(name="theirs", endpoint=f"{theirs.url}/chat/completions")
            await router.register(name="far", endpoint="http://10.0.0.1:8100")
            await router.register(name="theirs#2", endpoint=theirs.url)  # a copy of theirs is called so
            models = gate.gateway.current.config.models
            assert [i for i in models if i.startswith(PREFIX)] == ["provider/theirs"]
            model = models["provider/theirs"]
            assert (model.url, model.remote_model, model.key, model.context) == (theirs.url, "gpt-4-turbo", "", 128000)
            chat = {"model": "provider/theirs", "messages": [{"role": "user", "content": "hi"}]}
            answer = await gate.ask(request(chat))
            assert answer.status == 200, answer.body
            assert theirs.requests[0].json["model"] == "gpt-4-turbo"
            assert not theirs.requests[0].header("authorization")
            await router("DELETE", "/providers/theirs")
            assert not [i for i in gate.gateway.current.config.models if i.startswith(PREFIX)]
        async with running_gateway(listed, tmp_path) as gate:
            await Router(gate).register(name="theirs", endpoint=theirs.url)
            ports = {door.lane.name: door.port for door in gate.gateway.doors}
        listeners = [msgspec.structs.replace(each, port=ports[each.name or ""]) for each in listed.server.listeners]
        server = msgspec.structs.replace(listed.server, port=ports["front door"], listeners=listeners)
        async with running_gateway(msgspec.structs.replace(listed, server=server), tmp_path) as gate:
            assert "provider/theirs" in gate.gateway.current.config.models
            assert {door.lane.name: door.port for door in gate.gateway.doors} == ports


def test_the_path_of_a_chat_is_no_part_of_a_base() -> None:
    for endpoint in ("http://a/v1", "http://a/v1/", "http://a/v1/chat/completions", "http://a/v1/completions"):
        assert base_of(endpoint) == "http://a/v1"
    assert base_of("http://a:8100") == "http://a:8100"


# -- the table, and what was observed -------------------------------------------------------------------------


async def test_providers_come_back_from_either_database_as_they_were(database: OpenStore) -> None:
    store = database()
    await store.open()
    slo = Slo(latency_p95_ms=0.1, availability_percent=99.9)
    one = Provider("a/b:ü", "m", 2_000_000, 10**13, 0, "http://x", ("f", "g"), slo, {"x": [1, None, "\0"]}, 1.5, 2.5)
    plain = Provider("b", "m", 1, 0, 0, "x", created_at=3.0, updated_at=3.0)
    for each in (one, plain, msgspec.structs.replace(plain, active=False, updated_at=4.0)):
        await provider_table.keep(store, each)
    await store.close()
    store = database()
    await store.open()
    try:
        assert await provider_table.kept(store) == [one, msgspec.structs.replace(plain, active=False, updated_at=4.0)]
    finally:
        await store.close()


async def test_a_database_that_fails_leaves_things_as_they_were(tmp_path: Path, database: OpenStore) -> None:
    store = database()
    await store.open()
    told: list[str] = []

    async def nothing() -> None: ...

    current = Current(edit_to(Config(), {}))
    directory = Directory(store, Adopted(nothing), current, lambda kind, _: told.append(kind))
    await directory.open()
    await store.close()
    with pytest.raises(StoreError):
        await directory.register(Provider("a", "m", 1, 0, 0, "x"))
    assert (directory.known.get("a"), told) == (None, [])


async def test_what_was_observed_is_the_p95_of_each_worker(database: OpenStore) -> None:
    store = database()
    await store.open()
    try:
        ledger = Ledger(store)
        route = ledger.route("front", "chat", "m", "m", "worker", "", "explicit", "")
        rare = ledger.route("front", "chat", "m", "m", "rare", "", "explicit", "")
        number = int(time.time() * 1000) << 20
        for at in range(100):
            ledger.record(number + at, route, 200, "ok", None, False, Usage(1, 1), 0.0, at / 1000, 1, 0, 0, "")
        ledger.record(number + 200, route, 502, "error", "x", False, Usage(), 0.0, 99.0, 1, 0, 0, "")
        for at in range(LEAST - 1):
            ledger.record(number + 300 + at, rare, 200, "ok", None, False, Usage(1, 1), 0.0, 1.0, 1, 0, 0, "")
        await ledger.settled()
        now = 100.0
        observed = Observed(store, lambda: now)
        assert observed.look() == {}
        while not observed.p95_ms:
            await asyncio.sleep(0)
        assert observed.look() == {"worker": pytest.approx(94.0)}
        await observed.close()
        await ledger.close()
    finally:
        await store.close()


@given(st.lists(st.integers(0, 10**6).map(float), min_size=1, max_size=60))
def test_the_p95_is_a_time_that_was_and_95_in_100_do_not_exceed_it(times: list[float]) -> None:
    found = p95(times)
    assert found in times
    assert sum(each <= found for each in times) * 100 >= 95 * len(times)


def test_stats_have_the_fields_of_the_contract() -> None:
    assert Stats.__struct_fields__ == ("active_providers", "inactive_providers", "unique_models", "total_models")
