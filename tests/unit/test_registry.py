"""The registry's port and the monitor's on real sockets, in the shapes of PAS and of its agents; what survives what."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from databases import OpenStore, database, postgres
from gateway import (
    Answer,
    Gate,
    Held,
    chat,
    config,
    pair,
    remote,
    request,
    running_gateway,
    until,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolecast import books
from rolecast.books.ledger import Ledger
from rolecast.books.pace import slowest
from rolecast.config import presets, read
from rolecast.config.registry import Registry
from rolecast.config.schema import Listener, Model, Seconds
from rolecast.registry import rows as registry_rows
from rolecast.registry.rows import KEPT_ALERTS, Rows
from rolecast.registry.service import Alert, Moment, Service
from rolecast.values import Usage

pytestmark = pytest.mark.anyio
__all__ = ["database", "postgres"]  # fixtures

PORTS = [
    Listener(port=0, name="registry", surface="registry"),
    Listener(port=0, name="monitor", surface="heartbeat"),
]
WRAPPER = Listener(port=0, name="llm_llama31_8b", model="m", surface="pas")
TEST = {
    "name": "test-llm-service",
    "type": "model",
    "role": "production",
    "url": "http://localhost:9999",
    "caps": ["chat", "testing"],
    "labels": {"space": "local"},
    "ctx_limit": 8192,
    "cost_hint": {"usd_per_1k": 0.0},
    "heartbeat_interval_s": 60,
    "ttl_s": 90,
}
"""As PAS's phase 0 registers one."""
SEED = {
    "agent_id": "llm_other",
    "name": "Llama 3.1 8B Wrapper",
    "tier": 2,
    "role": "execution",
    "capabilities": ["thinking", "planning"],
    "endpoint": "http://localhost:9050",
    "transport": "rest",
    "cost_per_1k_tokens": 0.0,
    "metadata": {"model": "llama3.1:8b", "provider": "ollama", "avg_latency_ms": None, "throughput_tok_s": 73},
}
"""As an agent of the seed registers."""
REPO = {
    "service_id": "agent-llm_tinyllama_1b",
    "name": "TinyLlama 1.1B Service",
    "type": "agent",
    "role": "production",
    "url": "http://localhost:9051",
    "caps": ["classification", "tagging"],
    "labels": {
        "tier": "2",
        "mode": "service",
        "agent_role": "execution",
        "model": "tinyllama:1.1b",
        "provider": "ollama",
        "version": "1.0.0",
        "cost_per_1k_tokens": "0.0",
        "ollama_backend": "http://localhost:11434",
    },
    "heartbeat_interval_s": 60,
    "ttl_s": 120,
}
"""As a service of the repository registers."""
ITEM = {
    "service_id",
    "name",
    "type",
    "role",
    "url",
    "caps",
    "labels",
    "ctx_limit",
    "cost_hint_usd_per_1k",
    "status",
    "last_heartbeat_ts",
    "registered_at",
    "p95_ms",
    "queue_depth",
    "load",
}


class Ask:
    """The ports of one gateway, and its clock."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.passed_s = 0.0
        self.real = gate.gateway.registry.clock
        gate.gateway.registry.clock = self.clock

    def clock(self) -> Moment:
        ticks, at = self.real()
        return Moment(ticks + self.passed_s, at + self.passed_s)

    def wait(self, seconds: float) -> None:
        """Let time pass, as the registry's loop sees it: every half a minute."""
        for _ in range(int(seconds / 30)):
            self.passed_s += 30
            registry = self.gate.gateway.registry
            registry._tick()
            registry._beat_ours([service.id for service in registry.look() if service.is_ours])

    async def __call__(self, line: str, body: Any = None, port: str = "registry") -> Answer:
        method, path = line.split(" ", 1)
        return await self.gate.ask(request(body, path=path, method=method), port, method)

    async def ok(self, line: str, body: Any = None, port: str = "registry") -> Any:
        answer = await self(line, body, port)
        assert answer.status == 200, answer
        return answer.json

    async def ids(self, line: str, body: Any = None) -> list[str]:
        """The ids that are found, without those of the gateway itself."""
        items = (await self.ok(line, body))["items"]
        return [item["service_id"] for item in items if item["labels"].get("managed_by") != "rolecast"]

    def told(self) -> list[tuple[str, str]]:
        """The events of services that are not ours."""
        events = self.gate.gateway.events.recent()
        return [(e.event_type, e.data["service_id"]) for e in events if "missed_beats" in e.data]


@contextlib.asynccontextmanager
async def asking(*listeners: Listener, **model: Any) -> AsyncIterator[Ask]:
    async with pair(listeners=[*PORTS, *listeners], model=model) as (gate, _):
        yield Ask(gate)


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    async with asking(WRAPPER, capabilities=["chat", "reasoning"]) as found:
        yield found


# -- the documented flows ------------------------------------------------------------------------------------------


async def test_phase_0_register_discover_live_miss_and_go(ask: Ask) -> None:
    made = await ask.ok("POST /register", TEST)
    service_id = made["service_id"]
    assert made["registered_at"].startswith("20")
    (found,) = (await ask.ok("GET /discover?name=test-llm-service"))["items"]
    assert set(found) == ITEM
    assert (found["service_id"], found["ctx_limit"], found["cost_hint_usd_per_1k"]) == (service_id, 8192, 0.0)
    beat = {"service_id": service_id, "status": "ok", "p95_ms": 450.5, "queue_depth": 2, "load": 0.35}
    answer = await ask.ok("PUT /heartbeat", beat)
    assert answer["success"] is True
    assert set(answer) == {"success", "ts"}
    assert (await ask.ok("GET /stats", port="monitor"))["total_services"] >= 1
    (found,) = (await ask.ok("GET /discover?type=model&role=production&cap=testing"))["items"]
    assert (found["p95_ms"], found["queue_depth"], found["load"]) == (450.5, 2, 0.35)
    ask.wait(60)
    assert (await ask.ok("GET /alerts", port="monitor"))["alerts"][0]["alert_type"] == "heartbeat_miss"
    ask.wait(60)
    assert (await ask.ok(f"GET /services/{service_id}"))["status"] == "down"
    alerts = (await ask.ok("GET /alerts?limit=1", port="monitor"))["alerts"]
    assert [(a["alert_type"], a["action"], a["missed_beats"]) for a in alerts] == [("service_down", "marked_down", 2)]
    assert set(alerts[0]) == {
        "alert_type",
        "service_id",
        "service_name",
        "missed_beats",
        "last_seen",
        "action",
        "ts",
        "parent",
    }
    stats = await ask.ok("GET /stats", port="monitor")
    assert (stats["down_services"], stats["last_check"] is not None) == (1, True)
    assert (await ask.ok("POST /deregister", {"service_id": service_id}))["success"] is True
    assert await ask.ids("GET /discover?name=test-llm-service") == []
    happened = ["service_registered", "heartbeat_miss", "service_down", "service_deregistered"]
    assert ask.told() == [(kind, service_id) for kind in happened]


async def test_a_service_that_is_back_is_restored_and_one_that_is_not_goes_by_itself(ask: Ask) -> None:
    for service_id in ("back", "gone"):
        await ask.ok("POST /register", {**TEST, "service_id": service_id})
    ask.wait(150)
    await ask.ok("PUT /heartbeat", {"service_id": "back"})
    await ask.ok("PUT /heartbeat", {"service_id": "back"})
    ask.wait(60)
    assert await ask.ids("GET /discover?cap=testing") == ["back"]
    assert (await ask("GET /services/gone")).status == 404
    alerts = (await ask.ok("GET /alerts", port="monitor"))["alerts"]
    of_back = [a["alert_type"] for a in reversed(alerts) if a["service_id"] == "back"]
    assert of_back == ["heartbeat_miss", "service_down", "heartbeat_restored", "heartbeat_miss"]
    assert ("service_restored", "back") in ask.told()
    assert ("service_deregistered", "gone") in ask.told()


async def test_agents_of_the_seed_register_and_find_in_their_own_words(ask: Ask) -> None:
    assert (await ask.ok("POST /register", SEED))["service_id"] == "agent-llm_other"
    found = await ask.ok("POST /discover", {"capabilities": ["thinking"]})
    (agent,) = found["agents"]
    assert (agent["agent_id"], agent["endpoint"], agent["capabilities"]) == (
        "llm_other",
        "http://localhost:9050",
        ["thinking", "planning"],
    )
    assert (agent["tier"], agent["role"], agent["transport"], agent["cost_per_1k_tokens"]) == (
        2,
        "execution",
        "rest",
        0,
    )
    assert agent["metadata"] == SEED["metadata"]
    (item,) = found["items"]
    assert (item["type"], item["role"], item["labels"]["agent_role"]) == ("agent", "production", "execution")
    assert await ask.ids("POST /discover", {"capabilities": ["thinking", "planning"]}) == ["agent-llm_other"]
    assert await ask.ids("POST /discover", {"capabilities": ["thinking", "cooking"]}) == []
    assert "agent-llm_other" in await ask.ids("GET /discover?role=execution")
    assert (await ask.ok("GET /services/llm_other"))["agent_id"] == "llm_other"
    await ask.ok("PUT /heartbeat", {"agent_id": "llm_other"})
    await ask.ok("POST /deregister", {"agent_id": "llm_other"})


async def test_our_own_port_is_found_once_by_the_seeds_question(ask: Ask) -> None:
    """Its model can reason, too, and is no agent."""
    port = ask.gate.port("llm_llama31_8b")
    (agent,) = (await ask.ok("POST /discover", {"capabilities": ["reasoning"]}))["agents"]
    assert (agent["agent_id"], agent["endpoint"]) == ("llm_llama31_8b", f"http://localhost:{port}")
    body = (await ask("GET /discover?cap=reasoning")).body
    assert b"llm_llama31_8b" in body
    assert b'": ' not in body, "compact, for scripts that search the bytes"


@pytest.mark.parametrize("piece_bytes", [1, 700, 1_000_000])
async def test_many_services_are_told_in_pieces_of_the_same_answer(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, piece_bytes: int
) -> None:
    for number in range(4):
        kind = {"agent_id": f"a{number}", "capabilities": ["flying"], "endpoint": "internal://a"}
        said = kind if number % 2 else {**TEST, "service_id": f"s{number}", "caps": ["flying"]}
        await ask.ok("POST /register", {"name": "many", **said})
    whole = await ask.ok("GET /discover?cap=flying")
    assert (len(whole["items"]), len(whole["agents"])) == (4, 2)
    monkeypatch.setattr("rolecast.pages.pas.registry.AT_ONCE", 1)
    monkeypatch.setattr("rolecast.pages.pas.registry.PIECE_BYTES", piece_bytes)
    assert await ask.ok("GET /discover?cap=flying") == whole


async def test_who_starts_again_registers_again(ask: Ask) -> None:
    first = await ask.ok("POST /register", REPO)
    again = await ask.ok("POST /register", {**REPO, "caps": ["tagging"], "labels": None})
    assert (again["registered_at"], again["action"]) == (first["registered_at"], "updated")
    (found,) = (await ask.ok("GET /discover?name=TinyLlama%201.1B%20Service"))["items"]
    assert (found["caps"], found["labels"]) == (["tagging"], {}), "labels are never null"
    as_agent = {**SEED, "agent_id": "llm_tinyllama_1b"}
    assert (await ask.ok("POST /register", as_agent))["service_id"] == "agent-llm_tinyllama_1b"
    assert await ask.ids("GET /discover?type=agent") == ["agent-llm_tinyllama_1b"]
    assert ask.told()[0] == ("service_registered", "agent-llm_tinyllama_1b")
    assert set(ask.told()[1:]) == {("service_updated", "agent-llm_tinyllama_1b")}


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"heartbeat_interval_s": 3600, "ttl_s": 86400, "url": "internal://agents/x"}, {"ttl_s": 86400.0}),
        ({"heartbeat_interval_s": None, "ttl_s": None}, {"heartbeat_interval_s": 60.0, "ttl_s": 90.0}),
        ({"heartbeat_interval_s": 60.0, "ctx_limit": 8192.0}, {"ctx_limit": 8192}),
        ({"heartbeat_interval_s": "60", "ctx_limit": "8192"}, {"heartbeat_interval_s": 60.0, "ctx_limit": 8192}),
        ({"labels": None, "cost_hint": None}, {"labels": {}, "cost_hint_usd_per_1k": None}),
        ({"labels": {"tier": 2, "on": True, "none": None}}, {"labels": {"tier": "2", "on": "true"}}),
        ({"cost_hint": {"usd_per_1k": "0.5"}}, {"cost_hint_usd_per_1k": 0.5}),
        ({"cost_hint": {"usd_per_1k": None}}, {"cost_hint_usd_per_1k": None}),
        ({"cost_hint": 0.25}, {"cost_hint_usd_per_1k": 0.25}),
        ({"caps": ["a", "b", "a"]}, {"caps": ["a", "b"]}),
        ({"name": "Größe \U0001f600", "unknown_field": [1]}, {"name": "Größe \U0001f600"}),
        ({"role": "coord"}, {"role": "production", "labels": {"space": "local", "agent_role": "coord"}}),
    ],
)
async def test_what_clients_really_send_is_taken(ask: Ask, fields: dict[str, Any], kept: dict[str, Any]) -> None:
    made = await ask.ok("POST /register", {**TEST, **fields})
    found = await ask.ok(f"GET /services/{made['service_id']}")
    assert {name: found[name] for name in kept} == kept


async def test_instances_are_promoted(ask: Ask) -> None:
    for service_id, role in [("1", "staging"), ("2", "staging"), ("3", "canary")]:
        await ask.ok("POST /register", {**TEST, "service_id": service_id, "role": role})
    body = {"name": TEST["name"], "from_role": "staging", "to_role": "production"}
    answer = await ask.ok("POST /promote", body)
    assert (answer["updated_instances"], set(answer)) == (2, {"updated_instances", "ts"})
    assert await ask.ids("GET /discover?cap=testing&role=production") == ["1", "2"]
    assert (await ask("POST /promote", body)).status == 404


async def test_the_lists_and_the_health_have_their_documented_shapes(ask: Ask) -> None:
    await ask.ok("POST /discover", {})  # ours are there now
    before = (await ask.ok("GET /health"))["registered"]
    await ask.ok("POST /register", {**TEST, "service_id": "with/slash and space"})
    await ask.ok("PUT /heartbeat", {"service_id": "with/slash and space", "status": "degraded"})
    answer = await ask("GET /health")
    assert answer.body == b'{"status":"ok","registered":%d,"healthy":%d}' % (before + 1, before)
    found = await ask.ok("GET /services/with/slash%20and%20space")
    assert found["service_id"] == "with/slash and space"
    assert set(found) >= ITEM | {"heartbeat_interval_s", "ttl_s"}
    listed = (await ask.ok("GET /services"))["items"]
    assert len(listed) == before + 1
    assert set(listed[0]) == {"service_id", "name", "type", "role", "status", "url"}
    root = await ask.ok("GET /")
    assert (root["service"], root["port"], root["status"]) == ("registry", ask.gate.port("registry"), "running")
    assert (root["registered_services"], root["healthy_services"]) == (before + 1, before)
    assert "POST /register" in root["endpoints"]
    health = await ask("GET /health", port="monitor")
    assert health.json == {
        "status": "ok",
        "check_interval_s": 30,
        "max_misses_before_down": 2,
        "max_misses_before_deregister": 3,
    }
    stats = await ask.ok("GET /stats", port="monitor")
    del stats["last_check"]
    assert stats == {
        "total_services": before + 1,
        "healthy_services": before,
        "degraded_services": 1,
        "down_services": 0,
    }


# -- what is wrong ---------------------------------------------------------------------------------------------------

WRONG: list[tuple[str, Any, int, str | None]] = [
    ("POST /register", {**TEST, "caps": []}, 422, "caps"),
    ("POST /register", {**TEST, "caps": None}, 422, "caps"),
    ("POST /register", {**TEST, "caps": ["x" * 101]}, 422, "caps[0]"),
    ("POST /register", {**TEST, "name": ""}, 422, "name"),
    ("POST /register", {**TEST, "name": "x" * 101}, 422, "name"),
    ("POST /register", {**TEST, "name": "a\nb"}, 422, "name"),
    ("POST /register", {**TEST, "type": "spaceship"}, 422, "type"),
    ("POST /register", {**TEST, "type": None}, 422, "type"),
    ("POST /register", {**TEST, "role": "king"}, 422, "role"),
    ("POST /register", {**TEST, "url": ""}, 422, "url"),
    ("POST /register", {**TEST, "url": "http://a b"}, 422, "url"),
    ("POST /register", {**TEST, "heartbeat_interval_s": 0}, 422, "heartbeat_interval_s"),
    ("POST /register", {**TEST, "ttl_s": -1}, 422, "ttl_s"),
    ("POST /register", {**TEST, "ttl_s": 1e300}, 422, "ttl_s"),
    ("POST /register", {**TEST, "ctx_limit": -1}, 422, "ctx_limit"),
    ("POST /register", {**TEST, "cost_hint": {"usd_per_1k": "free"}}, 422, "cost_hint.usd_per_1k"),
    ("POST /register", {**TEST, "labels": {"x": "y" * 1001}}, 422, "labels"),
    ("POST /register", {**TEST, "labels": {str(i): "" for i in range(65)}}, 422, "labels"),
    ("POST /register", {**TEST, "metadata": {"x": "y" * 20_000}}, 422, "metadata"),
    ("POST /register", {**TEST, "service_id": "a\0b"}, 422, "service_id"),
    ("POST /register", {**TEST, "service_id": "model-m"}, 409, "service_id"),
    ("POST /register", {**SEED, "agent_id": "llm_llama31_8b"}, 409, "service_id"),
    ("POST /register", {}, 422, "name"),
    ("POST /register", b"[1]", 422, None),
    ("POST /register", b"{", 400, None),
    ("POST /register", b'{"name":"\xff"}', 400, None),
    ("PUT /heartbeat", {"service_id": "nobody"}, 404, "service_id"),
    ("PUT /heartbeat", {}, 422, "service_id"),
    ("PUT /heartbeat", {"service_id": "x", "status": "fine"}, 422, "status"),
    ("PUT /heartbeat", {"service_id": "x", "load": -1}, 422, "load"),
    ("POST /deregister", {"service_id": "nobody"}, 404, "service_id"),
    ("POST /deregister", {"service_id": "model-m"}, 409, "service_id"),
    ("POST /promote", {"name": "x", "from_role": "staging"}, 422, None),
    ("POST /promote", {"name": "x", "from_role": "staging", "to_role": "king"}, 422, "to_role"),
    ("POST /discover", {"capabilities": "reasoning"}, 422, "capabilities"),
    ("GET /discover?type=spaceship", None, 422, "type"),
    ("GET /discover?status=fine", None, 422, "status"),
    ("GET /discover?role=king", None, 422, "role"),
    ("GET /services/nobody", None, 404, "service_id"),
    ("DELETE /services/nobody", None, 405, None),
    ("GET /heartbeat", None, 405, None),
    ("POST /v1/chat/completions", {"model": "m", "messages": []}, 404, None),
]


async def test_wrong_requests_are_told_what_is_wrong_and_change_nothing(ask: Ask) -> None:
    before = await ask.ok("GET /services")
    for line, body, status, param in WRONG:
        answer = await ask(line, body)
        assert (answer.status, answer.error["param"]) == (status, param), (line, body, answer)
    text = await ask.gate.ask(
        request(path="/register", head="Content-Type: text/plain\r\nContent-Length: 2\r\n") + b"{}", "registry"
    )
    assert text.status == 415
    assert (await ask("GET /alerts?limit=0", port="monitor")).status == 422
    assert (await ask("GET /alerts?limit=x", port="monitor")).status == 400
    assert await ask.ok("GET /services") == before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = ("service_id", "agent_id", "name", "type", "role", "url", "caps", "labels", "cost_hint", "ttl_s", "metadata")


async def test_any_json_is_taken_or_refused(ask: Ask) -> None:
    loop = asyncio.get_running_loop()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from(["POST /register", "PUT /heartbeat", "POST /discover", "POST /promote", "POST /deregister"]),
        st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6),
        st.booleans(),
    )
    def every(line: str, fields: dict[str, Any], whole: bool) -> None:
        body = {**TEST, **fields} if whole else fields
        answer = asyncio.run_coroutine_threadsafe(ask(line, body), loop).result()
        assert answer.status in (200, 404, 409, 422, 400), answer
        assert answer.status == 200 or answer.error["message"]

    await asyncio.to_thread(every)


async def test_a_stranger_cannot_speak_for_our_own_services(ask: Ask) -> None:
    await ask.ok("POST /discover", {})
    await ask.ok("PUT /heartbeat", {"service_id": "model-m", "status": "down", "load": 9})
    found = await ask.ok("GET /services/model-m")
    assert (found["status"], found["load"]) == ("ok", 0)
    for host in ("localhost", "127.0.0.1"):
        same = {**SEED, "agent_id": "llm_llama31_8b", "endpoint": f"http://{host}:{ask.gate.port('llm_llama31_8b')}/"}
        assert (await ask.ok("POST /register", same))["action"] == "updated"
    assert "reasoning" in (await ask.ok("GET /services/llm_llama31_8b"))["caps"], "what it says is known better here"
    await ask.ok("POST /register", {**TEST, "service_id": "x", "labels": {"managed_by": "rolecast"}})
    await ask.ok("POST /deregister", {"service_id": "x"})


async def test_more_than_there_is_room_for_are_refused(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolecast.registry.registry.MOST", 2)
    for service_id in ("1", "2"):
        await ask.ok("POST /register", {**TEST, "service_id": service_id})
    answer = await ask("POST /register", {**TEST, "service_id": "3"})
    assert (answer.status, answer.header("retry-after")) == (429, "30")
    await ask.ok("POST /register", {**TEST, "service_id": "1"})
    await ask.ok("POST /deregister", {"service_id": "2"})
    await ask.ok("POST /register", {**TEST, "service_id": "3"})


# -- what survives what ----------------------------------------------------------------------------------------------


async def test_registrations_and_alerts_survive_a_restart_and_nobody_is_punished_for_it(tmp_path: Path) -> None:
    setup = config({"m": Model(backend="fake")}, listeners=PORTS)
    async with running_gateway(setup, tmp_path) as gate:
        ask = Ask(gate)
        made = await ask.ok("POST /register", {**TEST, "service_id": "kept"})
        await ask.ok("POST /register", {**TEST, "service_id": "left"})
        await ask.ok("POST /deregister", {"service_id": "left"})
        ask.wait(60)
        await ask.ok("PUT /heartbeat", {"service_id": "kept", "status": "degraded", "p95_ms": 7})
        alerts = await ask.ok("GET /alerts", port="monitor")
    async with running_gateway(setup, tmp_path) as gate:
        ask = Ask(gate)
        ask.passed_s = 100_000  # the gateway was away for long
        assert await ask.ids("GET /discover") == ["kept"]
        found = await ask.ok("GET /services/kept")
        assert (found["registered_at"], found["status"], found["p95_ms"]) == (made["registered_at"], "degraded", 7)
        assert await ask.ok("GET /alerts", port="monitor") == alerts
        listed = [item["service_id"] for item in (await ask.ok("GET /services"))["items"]]
        assert len(listed) == len(set(listed))


async def test_what_was_answered_is_in_the_database_before_the_answer(tmp_path: Path) -> None:
    setup = config({"m": Model(backend="fake")}, listeners=PORTS)
    async with running_gateway(setup, tmp_path) as gate:
        ask = Ask(gate)
        count = registry_rows.Query("SELECT COUNT(*) FROM services")
        for number in range(1, 4):
            await ask.ok("POST /register", {**TEST, "service_id": str(number)})
            assert await gate.gateway.store.read(count) == [(number,)]
        await asyncio.gather(*(ask.ok("POST /register", {**TEST, "service_id": f"x{i}"}) for i in range(20)))
        assert await gate.gateway.store.read(count) == [(23,)]
        await ask.ok("POST /deregister", {"service_id": "1"})
        assert await gate.gateway.store.read(count) == [(22,)]


def service(service_id: str, **fields: Any) -> Service:
    return Service(**{"id": service_id, "name": "n", "kind": "tool", "caps": ("x",), **fields})


def alert(number: int) -> Alert:
    return Alert("service_down", str(number), "n", 2, 1.0, "marked_down", 2.0)


async def test_rows_are_kept_for_each_gateway_in_every_database(database: OpenStore) -> None:
    store = database()
    await store.open()
    mine, theirs = Rows(store, "mine"), Rows(store, "theirs")
    strange = service("\U0001f600 'x' --", labels={"a": "\x00", "b": "ü"}, metadata={"deep": [1, None]}, load=0.5)
    for rows in (mine, theirs):
        rows.note(service("a"))
        rows.note(strange)
    mine.forget("a")
    for number in range(KEPT_ALERTS + 10):
        mine.alert(alert(number))
    await asyncio.gather(mine.written(), theirs.written())
    mine.note(msgspec.structs.replace(strange, status="down"))
    mine.alert(alert(-1))
    await mine.close()
    await theirs.close()
    services, alerts = await Rows(store, "mine").read()
    assert services == [msgspec.structs.replace(strange, status="down")]
    assert [int(each.service_id) for each in alerts] == [*range(11, KEPT_ALERTS + 10), -1]
    assert {each.id for each in (await Rows(store, "theirs").read())[0]} == {"a", strange.id}
    assert await Rows(store, "nobody").read() == ([], [])
    await store.close()


async def test_without_a_database_services_go_on_and_are_written_when_it_is_back(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "rolecast.registry")
    monkeypatch.setattr(registry_rows, "RETRY_S", 0.01)
    gateway = ask.gate.gateway
    transact, broken = gateway.store.transact, True

    async def refuse(work: Any) -> Any:
        if broken:
            raise books.store.StoreError("The database cannot be used just now.")
        return await transact(work)

    monkeypatch.setattr(gateway.store, "transact", refuse)
    await ask.ok("POST /register", {**TEST, "service_id": "a"})
    await ask.ok("POST /register", {**TEST, "service_id": "b"})
    assert await ask.ids("GET /discover") == ["a", "b"]
    broken = False
    await until(lambda: "written down again" in caplog.text)
    assert {each.id for each in (await Rows(gateway.store, gateway.registry._rows._place).read())[0]} == {"a", "b"}
    assert caplog.text.count("would be forgotten") == 1


# -- ours ------------------------------------------------------------------------------------------------------------


async def test_our_ports_register_as_the_services_of_pas_did(tmp_path: Path) -> None:
    loaded = read(presets.text("pas"))
    listeners = [msgspec.structs.replace(listener, port=0) for listener in loaded.server.listeners]
    server = msgspec.structs.replace(loaded.server, port=0, listeners=listeners)
    async with running_gateway(msgspec.structs.replace(loaded, server=server), tmp_path) as gate:
        ask = Ask(gate)
        for cap, agent_id in [
            ("reasoning", "llm_llama31_8b"),
            ("classification", "llm_tinyllama_1b"),
            ("domain_classification", "tlc_domain_classifier"),
        ]:
            (agent,) = (await ask.ok("POST /discover", {"capabilities": [cap]}))["agents"]
            assert (agent["agent_id"], agent["endpoint"]) == (agent_id, f"http://localhost:{gate.port(agent_id)}")
            assert f"agent-{agent_id}".encode() in (await ask(f"GET /discover?cap={cap}")).body
        found = await ask.ok("GET /services/agent-llm_llama31_8b")
        assert (found["type"], found["role"], found["ctx_limit"]) == ("model", "production", 8192)
        assert (found["heartbeat_interval_s"], found["ttl_s"]) == (60, 120)
        labels = ("tier", "mode", "agent_role", "model", "provider", "cost_per_1k_tokens")
        assert [found["labels"][x] for x in labels] == ["2", "service", "execution", "llama3.1:8b", "ollama", "0.0"]
        assert found["status"] == "degraded", "its weights are not here"
        types = {item["service_id"]: item["type"] for item in (await ask.ok("GET /services"))["items"]}
        assert types["model-tinyllama:1.1b"] == "model"
        assert types["service-registry"] == types["task-summarization"] == "tool"


async def test_ours_send_heartbeats_with_what_the_fleet_and_the_ledger_know() -> None:
    async with pair(listeners=[*PORTS, WRAPPER], model={"parallel": 2}) as (gate, worker):
        ask = Ask(gate)
        assert (await gate.ask(request(chat()), "llm_llama31_8b")).status == 200
        assert len(await gate.rows()) == 1
        held = [Held(), Held()]
        worker.script.extend(held)
        async with contextlib.AsyncExitStack() as clients:
            for each in held:
                client = await clients.enter_async_context(gate.client())
                await client.send(request(chat(stream=True)))
                await each.began.wait()
            third = await clients.enter_async_context(gate.client())
            await third.send(request(chat()))
            waiting = gate.gateway.fleet.worker("m").waiting
            await until(lambda: len(waiting) == 1)
            await beat_of_ours(ask)
            for service_id in ("model-m", "agent-llm_llama31_8b"):
                found = await ask.ok(f"GET /services/{service_id}")
                assert (found["queue_depth"], found["load"], found["status"]) == (1, 1.5, "ok")
                assert found["p95_ms"] > 0
            for each in held:
                each.let_go.set()
        ask.wait(600)
        assert (await ask.ok("GET /services/model-m"))["missed_beats"] == 0


async def beat_of_ours(ask: Ask) -> None:
    """What the loop does every half a minute."""
    registry = ask.gate.gateway.registry
    await registry.settled()
    await registry._ours.measure()
    registry._beat_ours([service.id for service in registry.look() if service.is_ours])


async def test_a_model_that_does_not_run_is_down_and_one_without_weights_degraded(ask: Ask) -> None:
    await ask.ok("POST /discover", {})
    health = ask.gate.gateway.registry._ours._of
    for state, status in [("failed", "down"), ("absent", "degraded"), ("cold", "ok"), ("remote", "ok")]:
        ask.gate.gateway.registry._ours._of = msgspec.structs.replace(health, state=lambda _, now=state: now)
        await beat_of_ours(ask)
        assert (await ask.ok("GET /services/model-m"))["status"] == status
    assert ("service_updated", "model-m") in ask.told()


async def test_ours_follow_an_edit_and_leave_with_the_gateway() -> None:
    async with pair(listeners=[*PORTS, WRAPPER]) as (gate, worker):
        ask = Ask(gate)
        await ask.ok("POST /discover", {})
        ids = lambda: {service.id for service in gate.gateway.registry.look()}  # noqa: E731
        assert {"model-m", "agent-llm_llama31_8b"} <= ids()
        now = gate.gateway.current.config
        server = msgspec.structs.replace(now.server, listeners=PORTS)
        models = {"other": remote(worker.url, capabilities=["chat", "singing"])}
        edited = msgspec.structs.replace(now, models=models, server=server, roles={})
        await gate.gateway.reloader.apply(edited)
        await until(lambda: "model-other" in ids())
        assert not {"model-m", "agent-llm_llama31_8b"} & ids()
        assert ("service_deregistered", "agent-llm_llama31_8b") in ask.told()
        found = (await ask.ok("GET /discover?cap=singing"))["items"]
        assert [item["service_id"] for item in found] == ["model-other"]
        models = {"other": remote(worker.url, capabilities=["chat", "dancing"])}
        await gate.gateway.reloader.apply(msgspec.structs.replace(edited, models=models))
        await until(lambda: gate.gateway.registry.look().matching(["dancing"]))
        gateway = gate.gateway
    assert [service for service in gateway.registry.look() if service.is_ours] == []


async def test_ours_are_never_written_down_so_that_none_is_left_after_a_crash(ask: Ask) -> None:
    await ask.ok("POST /discover", {})
    await ask.gate.gateway.registry._rows.written()
    assert await ask.gate.gateway.store.read(registry_rows.Query("SELECT COUNT(*) FROM services")) == [(0,)]


async def test_what_a_model_is_for_is_found_also_while_another_stands_in_for_it(tmp_path: Path) -> None:
    absent = Model(source=f"file:{tmp_path}/none.gguf", capabilities=["chat", "vision", "reasoning"])
    setup = config({"m": absent, "fake": Model(backend="fake")}, listeners=[*PORTS, WRAPPER])
    async with running_gateway(msgspec.structs.replace(setup, stand_in="fake"), tmp_path) as gate:
        (agent,) = (await Ask(gate).ok("POST /discover", {"capabilities": ["reasoning"]}))["agents"]
        assert agent["agent_id"] == "llm_llama31_8b"
        assert "vision" not in agent["capabilities"], "that it cannot play"
        found = await Ask(gate).ok("GET /services/model-m")
        assert (found["labels"]["stand_in"], found["status"]) == ("fake", "ok")


async def test_without_a_port_of_pas_tasks_are_not_read_for_it() -> None:
    async with pair() as (gate, _):
        await gate.gateway.registry.settled()
        assert {service.kind for service in gate.gateway.registry.look()} == {"model", "tool"}
        assert [s.id for s in gate.gateway.registry.look() if s.kind == "tool"] == ["service-rolecast"]


async def test_the_slowest_answers_are_told_by_port_and_by_model(database: OpenStore) -> None:
    store = database()
    await store.open()
    try:
        ledger = Ledger(store)
        now = int(time.time() * 1000) << 20

        def add(number: int, seconds: float, listener: str, tokens: int = 10, outcome: str = "ok") -> None:
            where = {"listener": listener, "kind": "chat", "asked": "m", "model": "m", "worker": "m"}
            route = ledger.route(**where, role="", route="", key="")
            error = None if outcome == "ok" else "x"
            usage = Usage(tokens, 0)
            ledger.record(number, route, 200, outcome, error, False, usage, 0.0, seconds, 1, 0, 0, "")

        assert await slowest(store) == {}
        add(5, 99.0, "p")  # long ago
        add(now + 1, 99.0, "p", tokens=0)  # only loaded the model
        add(now + 2, 99.0, "p", outcome="error")
        for n in range(1, 101):
            add(now + 10 + n, n / 100, "p")
            add(now + 200 + n, 10.0, "q")
        await ledger.close()
        assert await slowest(store) == {("p", "m"): 950.0, ("q", "m"): 10_000.0, ("", "m"): 10_000.0}
    finally:
        await store.close()


# -- services of others that answer requests --------------------------------------------------------------------------


class Elsewhere:
    """A server on a port of its own, with or without a path /v1."""

    def __init__(self, below: str) -> None:
        self.below = below
        self.asked: list[tuple[str, bytes]] = []
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                line = head.split(b"\r\n")[0].decode()
                length = next(
                    (int(x.split(b":")[1]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length")), 0
                )
                await reader.readexactly(length)
                self.asked.append((line, head))
                path = line.split()[1]
                known = path in (f"{self.below}/models", f"{self.below}/chat/completions")
                body = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"}}]}' if known else b"{}"
                status = b"200 OK" if known else b"404 Not Found"
                writer.write(
                    b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (status, len(body), body)
                )
        writer.close()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["Elsewhere"]:
        server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()


@contextlib.asynccontextmanager
async def lending(tmp_path: Path, *allowed: str) -> AsyncIterator[Ask]:
    setup = config({"m": Model(backend="fake")}, listeners=PORTS)
    backends = Registry(backends=list(allowed), check_interval=Seconds(0.2))
    async with running_gateway(msgspec.structs.replace(setup, registry=backends), tmp_path) as gate:
        yield Ask(gate)


@pytest.mark.parametrize("below", ["", "/v1"])
async def test_a_registered_service_whose_address_is_listed_answers_as_a_model(tmp_path: Path, below: str) -> None:
    async with Elsewhere(below).listening() as there, lending(tmp_path, there.url) as ask:
        models = lambda: ask.gate.gateway.current.config.models  # noqa: E731
        said = {**SEED, "agent_id": "theirs", "name": "theirs", "endpoint": there.url, "cost_per_1k_tokens": 0.002}
        await ask.ok("POST /register", {**said, "ctx_limit": 2048})
        model = await until(lambda: models().get("theirs"))
        assert (model.url, model.remote_model, model.key, model.context) == (
            f"{there.url}{below}",
            "llama3.1:8b",
            "",
            2048,
        )
        assert model.capabilities == ["chat", "thinking", "planning"]
        assert (model.price.input, model.price.output) == (200, 200)
        answer = await ask.gate.ask(request(chat(model="theirs")))
        assert (answer.status, answer.header("x-rolecast-model")) == (200, "theirs")
        line, head = there.asked[-1]
        assert line == f"POST {below}/chat/completions HTTP/1.1"
        assert b"authorization" not in head.lower()
        listed = (await ask.ok("GET /services"))["items"]
        assert [item["service_id"] for item in listed if item["name"] == "theirs"] == ["agent-theirs"], (
            "not ours as well"
        )
        await ask.ok("PUT /heartbeat", {"agent_id": "theirs", "status": "down"})
        await until(lambda: "theirs" not in models())
        assert (await ask.gate.ask(request(chat(model="theirs")))).status == 404
        await ask.ok("PUT /heartbeat", {"agent_id": "theirs"})
        await until(lambda: "theirs" in models())
        now = ask.gate.gateway.current.config
        now = msgspec.structs.replace(now, models={"m": now.models["m"]})  # as the file has it
        await ask.gate.gateway.reloader.apply(msgspec.structs.replace(now, registry=Registry()))
        assert "theirs" not in models(), "its address is no longer listed"
        await ask.gate.gateway.reloader.apply(now)
        await until(lambda: "theirs" in models())
        await ask.ok("POST /deregister", {"agent_id": "theirs"})
        await until(lambda: "theirs" not in models())


async def test_a_name_that_is_taken_is_not_taken_over(tmp_path: Path) -> None:
    async with Elsewhere("/v1").listening() as there, lending(tmp_path, there.url) as ask:
        models = lambda: set(ask.gate.gateway.current.config.models)  # noqa: E731
        names = [("1", "m"), ("2", "m"), ("3", "auto"), ("4", "Größe"), ("5", "standard"), ("6", "m#2")]
        for service_id, name in names:
            said = {**TEST, "service_id": service_id, "name": name, "url": f"{there.url}/v1/chat/completions"}
            await ask.ok("POST /register", said)
        await until(lambda: len(models()) == 7)
        there_now = {"m", "service/m", "service/2", "service/auto", "service/4", "service/standard", "service/6"}
        assert models() == there_now, "nor is that of a copy, which shares the requests of its model"
        config = ask.gate.gateway.current.config
        assert config.models["m"].backend == "fake"
        assert {model.url for model in config.models.values()} == {"", f"{there.url}/v1"}


@pytest.mark.parametrize("allowed", [(), ("http://127.0.0.1:1",)])
async def test_an_address_that_is_not_listed_is_never_asked(tmp_path: Path, allowed: tuple[str, ...]) -> None:
    async with Elsewhere("/v1").listening() as there, lending(tmp_path, *allowed) as ask:
        await ask.ok("POST /register", {**TEST, "url": there.url})
        await ask.gate.gateway.registry._lent.settle(ask.gate.gateway.registry.look(), set())
        assert set(ask.gate.gateway.current.config.models) == {"m"}
        assert there.asked == []


async def test_our_own_ports_and_tools_and_strange_addresses_do_not_answer(tmp_path: Path) -> None:
    async with (
        Elsewhere("/v1").listening() as there,
        lending(tmp_path, "http://127.0.0.1:*", "http://localhost:*") as ask,
    ):
        registry = ask.gate.gateway.registry
        here = f"http://localhost:{ask.gate.port()}"
        for service_id, fields in {
            "ours": {"url": here},
            "tool": {"type": "tool", "url": there.url},
            "internal": {"type": "agent", "url": "internal://agents/x"},
            "file": {"url": "file:///etc/passwd"},
            "user": {"url": f"http://x:y@{there.url[7:]}"},
            "dead": {"url": "http://127.0.0.1:1"},
        }.items():
            await ask.ok("POST /register", {**TEST, **fields, "service_id": service_id})
        ports = registry._ports()
        assert [service.id for service in registry._lent.eligible(registry.look(), ports)] == ["dead"]
        await registry._lent.settle(registry.look(), ports)
        assert set(ask.gate.gateway.current.config.models) == {"m"}
        assert there.asked == []
