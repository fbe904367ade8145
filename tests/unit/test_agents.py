"""Agents that registered are found and given work: by a model here, at their own address, or by a tool."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import Answer, Gate, config, on_uvloop, request, running_gateway, until
from msgspec.structs import replace
from quick_python import tool_server

from rolecast.config.mcp import Mcp, ToolServer
from rolecast.config.registry import Registry
from rolecast.config.schema import Listener, Model
from rolecast.egress.ledger import everything
from rolecast.errors import NotFound
from rolecast.pages.pas.agents import AgentRouter, tool_caller
from rolecast.ports import Ports
from rolecast.registry.agents import Agents, agent_name
from rolecast.registry.invoke import Invoker

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop
PORT = "agent_router"


class Service(msgspec.Struct, frozen=True):
    """A service as the registry knows it."""

    id: str
    name: str = "X"
    kind: str = "agent"
    url: str = "internal://agents/x"
    caps: tuple[str, ...] = ()
    labels: Mapping[str, str] = {}
    status: str = "ok"
    is_ours: bool = False


def fifty() -> list[Service]:
    """Agents as `tools/register_agents.py` of PAS registers them."""
    roles = ["coord"] * 12 + ["exec"] * 28 + ["system"] * 10
    return [
        Service(
            f"agent-{'architect' if n == 0 else f'agent-{n}'}",
            "Architect" if n == 0 else f"Agent {n}",
            url=f"internal://agents/{n}",
            caps=("planning", "decomposition") if n < 3 else ("coding",),
            labels={"agent_role": role, "tier": str(1 + n % 2), "mode": "task", "models_primary": "nobody, m"},
        )
        for n, role in enumerate(roles)
    ]


OURS = [
    Service(
        "agent-llm_m",
        "M Service",
        url="http://localhost:8050",
        caps=("planning", "reasoning"),
        labels={"managed_by": "rolecast", "agent_role": "execution", "tier": "2", "model": "m"},
        is_ours=True,
    ),
    Service("task-summary", "Summary", "tool", "http://localhost:8000", ("summarization",), is_ours=True),
]


class Own(Gate):
    """A gateway whose registry holds what a test puts there."""

    def __init__(self, gate: Gate, services: list[Service]) -> None:
        super().__init__(gate.gateway)
        self.services = services

    async def post(self, path: str, head: str = "", **body: Any) -> Answer:
        return await self.ask(request(body, path=path, head=head), PORT)

    async def invoke(self, **body: Any) -> Any:
        answer = await self.post("/invoke", **{"request_id": "r-1", "payload": {"message": "Hello"}} | body)
        assert answer.status == 200, answer.body
        assert set(answer.json) == {
            *("request_id", "agent_name", "status", "result", "error", "metadata", "latency_ms"),
        }
        return answer.json


@asynccontextmanager
async def gateway(
    folder: Path,
    services: list[Service],
    monkeypatch: pytest.MonkeyPatch,
    models: dict[str, Model] | None = None,
    mcp: Mcp | None = None,
    **registry: Any,
) -> AsyncIterator[Own]:
    def router(self: Ports) -> AgentRouter:
        of = self._parts
        invoker = Invoker(of.current, of.asker, tool_caller(of.toolbox), of.dispatch)
        return AgentRouter(Agents(services), invoker, of.events)

    monkeypatch.setattr(Ports, "_agent_router", router)
    found = models or {"m": Model(backend="fake"), "other": Model(backend="fake", capabilities=["chat", "coding"])}
    made = config(found, listeners=[Listener(port=0, name=PORT, surface="agents")])
    made = replace(made, registry=Registry(**registry), mcp=mcp or Mcp())
    async with running_gateway(made, folder) as gate:
        yield Own(gate, services)


class Elsewhere:
    """An agent with an address of its own."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes]] = []
        self.answer = b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"done":true}'
        self.url = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length: ")[2].split("\r\n")[0])
        self.asked.append((head, await reader.readexactly(length)))
        if self.answer:
            writer.write(self.answer)
            await writer.drain()
        else:
            await reader.read()
        writer.close()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Elsewhere"]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self


# -- who is found ----------------------------------------------------------------------------------------


def test_ours_are_found_by_name_and_by_who_asks_for_them_only() -> None:
    agents = Agents([*fifty(), *OURS])
    assert len(list(agents.all())) == 50
    assert len(list(agents.all(managed=True))) == 52
    assert agent_name(agents.named("llm_m")) == "llm_m"
    assert agents.named("agent-architect").id == agents.named("Architect").id == agents.named("architect").id
    assert agent_name(agents.able(["planning"])) == "architect"
    assert agents.able(["summarization"]).id == "task-summary"  # nobody else can
    for ask in (lambda: agents.named("nobody"), lambda: agents.able(["planning", "flying"])):
        with pytest.raises(NotFound):
            ask()


def test_one_that_is_down_is_asked_last() -> None:
    down = Service("agent-a", caps=("x",), status="down")
    assert Agents([down, Service("agent-b", caps=("x",))]).able(["x"]).id == "agent-b"
    assert Agents([down]).able(["x"]).id == "agent-a"
    assert Agents([]).stats() == {"total_agents": 0, "by_role": {}, "by_tier": {}, "managed_agents": 0}


async def test_fifty_agents_are_found_by_capability_role_and_tier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, [*fifty(), *OURS], monkeypatch) as gate:
        found = (await gate.post("/discover", capabilities=["planning"], limit=10)).json
        assert (found["count"], [each["agent_name"] for each in found["agents"]]) == (
            3,
            ["architect", "agent-1", "agent-2"],
        )
        assert found["agents"][0] == {
            "agent_name": "architect",
            "display_name": "Architect",
            "role": "coord",
            "tier": "1",
            "capabilities": ["planning", "decomposition"],
            "url": "internal://agents/0",
            "status": "available",
        }
        counts = {
            role: (await gate.post("/discover", agent_role=role, limit=30)).json["count"]
            for role in ("coord", "exec", "system")
        }
        assert counts == {"coord": 12, "exec": 28, "system": 10}
        assert (await gate.post("/discover", tier=1, limit=50)).json["count"] == 25
        assert (await gate.post("/discover")).json["count"] == 10
        assert (await gate.post("/discover", limit=0)).json["count"] == 50
        assert (await gate.post("/discover", limit=0, include_managed=True)).json["count"] == 52
        stats = (await gate.ask(request(path="/stats", method="GET"), PORT, "GET")).json
        assert (stats["total_agents"], stats["by_role"]["exec"], stats["managed_agents"]) == (50, 28, 2)
        health = (await gate.ask(request(path="/health", method="GET"), PORT, "GET")).json
        assert (health["status"], health["port"], health["cached_agents"]) == ("ok", gate.port(PORT), 50)
        gate.services.clear()
        assert (await gate.post("/discover", limit=0)).json["count"] == 0


# -- who is given work -----------------------------------------------------------------------------------


async def test_an_agent_without_an_address_is_played_by_a_model_that_it_prefers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, fifty(), monkeypatch) as gate:
        answer = await gate.invoke(agent_name="architect", payload={"task": "Plan", "message": "Hello from a test"})
        assert (answer["request_id"], answer["agent_name"], answer["status"]) == ("r-1", "architect", "success")
        assert answer["metadata"] == {"transport": "rpc", "agent_role": "coord", "tier": "1"}
        assert answer["result"]["message"].startswith("fake: Hello from a test")
        assert answer["result"]["model"] == "m"
        assert answer["result"]["usage"]["completion_tokens"] > 0
        assert answer["error"] is None
        by_capability = await gate.invoke(capabilities=["planning"], run_id="run-1", timeout_s=10)
        assert (by_capability["agent_name"], by_capability["status"]) == ("architect", "success")
        rows = await gate.rows()
        assert [(row.worker, row.outcome) for row in rows] == [("m", "ok")] * 2
        (told,) = [each for each in gate.gateway.events.recent() if each.event_type == "agent_invocation"][-1:]
        assert (told.data["run_id"], told.data["status"]) == ("run-1", "success")
        assert "Hello" not in json.dumps(told.data)


async def test_who_prefers_nobody_is_played_by_who_can_do_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agents = [Service("agent-a", caps=("flying", "coding")), Service("agent-b", caps=("flying",))]
    async with gateway(tmp_path, [*agents, *OURS], monkeypatch) as gate:
        assert (await gate.invoke(agent_name="a"))["result"]["model"] == "other"
        assert (await gate.invoke(agent_name="b"))["result"]["model"] == "auto"
        ours = await gate.invoke(agent_name="llm_m", transport="rest")
        assert (ours["status"], ours["result"]["model"]) == ("success", "m")


async def test_a_payload_may_be_a_conversation_with_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(tmp_path, fifty(), monkeypatch) as gate:
        payload = {"messages": [{"role": "user", "content": "one two three"}], "max_tokens": 2, "temperature": 0}
        answer = await gate.invoke(agent_name="architect", payload=payload)
        assert (answer["result"]["finish_reason"], answer["result"]["usage"]["completion_tokens"]) == ("length", 2)
        other = await gate.invoke(agent_name="architect", payload={"anything": [1]})
        assert '{"anything":[1]}' in other["result"]["message"]
        for bad in ([{"role": "tool", "content": "x"}], [{"role": "user", "content": [1]}], ["x"]):
            refused = await gate.invoke(agent_name="architect", payload={"messages": bad})
            assert (refused["status"], "payload.messages" in refused["error"]) == ("error", True)


async def test_an_agent_elsewhere_is_asked_if_its_address_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Elsewhere().listening() as elsewhere:
        agents = [Service("agent-far", url=f"{elsewhere.url}/base/", labels={"agent_role": "system"})]
        async with gateway(tmp_path / "a", agents, monkeypatch) as gate:
            refused = await gate.invoke(agent_name="far")
            assert (refused["status"], refused["result"], elsewhere.asked) == ("error", None, [])
            assert "registry.backends" in refused["error"]
        async with gateway(tmp_path / "b", agents, monkeypatch, backends=["http://127.0.0.1:*"]) as gate:
            for transport in (None, "rest", "rpc"):
                answer = await gate.invoke(agent_name="far", payload={"x": 1}, transport=transport)
                assert (answer["status"], answer["result"]) == ("success", {"done": True})
                head, body = elsewhere.asked.pop()
                assert head.startswith("POST /base/invoke HTTP/1.1\r\n")
                assert body == b'{"x":1}'
                assert "authorization" not in head.lower()
                assert "via: 1.1 rolecast-" in head


async def test_what_goes_to_an_agent_on_another_machine_is_seen_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rolecast.net.pool.is_loopback", lambda host: False)
    monkeypatch.setattr("rolecast.turn.departure.is_cloud", lambda model: True)
    monkeypatch.setattr("rolecast.turn.departure.is_loopback", lambda host: False)
    async with Elsewhere().listening() as elsewhere:
        agents = [Service("agent-far", url=elsewhere.url)]
        mcp = Mcp(servers={"far": ToolServer(url=elsewhere.url, allow=["*"])})
        async with gateway(tmp_path, agents, monkeypatch, mcp=mcp, backends=["127.0.0.1:*"]) as gate:
            mail = {"to": "ann@example.org"}
            for head, payload, transport in (
                ("x-rolecast-local-only: true\r\n", mail, None),
                ("", {**mail, "metadata": {"local_only": True}}, None),
                ("x-rolecast-local-only: true\r\n", {"tool": "t", "arguments": mail}, "mcp"),
            ):
                body = {"request_id": "r", "agent_name": "far", "payload": payload, "transport": transport}
                told = (await gate.post("/invoke", head, **body)).json
                assert (told["status"], "may not leave" in told["error"]) == ("error", True)
            assert not elsewhere.asked
            assert not await everything(gate.gateway.store)
            elsewhere.answer = b""
            asking = asyncio.create_task(gate.invoke(agent_name="far", payload=mail))
            await until(lambda: elsewhere.asked)
            token = json.loads(elsewhere.asked[0][1])["to"]
            assert token.startswith("[EMAIL_")
            asking.cancel()
            said = b'{"sent":"%b"}' % token.encode()
            elsewhere.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said)
            answer = await gate.invoke(agent_name="far", payload=mail)
            assert answer["result"] == {"sent": "ann@example.org"}
            entry = (await everything(gate.gateway.store))[-1]
            assert (entry.kind, entry.model, entry.path, entry.replaced) == ("agent", "far", "/invoke", '{"emails":1}')


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "redirect"),
        (b"HTTP/1.1 500 X\r\nContent-Length: 6\r\n\r\nsecret", "status 500"),
        (b"HTTP/1.1 200 X\r\nContent-Length: 4\r\n\r\nnope", "no JSON"),
        (b"HTTP/1.1 200 X\r\nContent-Length: 2000000\r\n\r\n" + b"1" * 1_500_000, "larger than"),
        (b"garbage\r\n\r\n", ""),
    ],
)
async def test_what_an_agent_elsewhere_does_wrong_is_told(
    answer: bytes, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Elsewhere().listening() as elsewhere:
        elsewhere.answer = answer
        agents = [Service("agent-far", url=elsewhere.url)]
        async with gateway(tmp_path, agents, monkeypatch, backends=["127.0.0.1:*"]) as gate:
            told = await gate.invoke(agent_name="far")
            assert (told["status"], error in told["error"], "secret" in told["error"]) == ("error", True, False)
            assert len(elsewhere.asked) == 1


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:99999", "http://[::1", "http://u:pw@127.0.0.1:1", "HTTPS://Far.Example"]
)
async def test_an_address_that_is_none_or_not_listed_is_told(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, [Service("agent-odd", url=url)], monkeypatch, backends=["127.0.0.1:*"]) as gate:
        told = await gate.invoke(agent_name="odd")
        assert (told["status"], "registry.backends" in told["error"], "pw" in told["error"]) == ("error", True, False)


async def test_one_that_does_not_answer_in_time_is_a_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Elsewhere().listening() as elsewhere:
        elsewhere.answer = b""
        agents = [Service("agent-far", url=elsewhere.url), Service("agent-gone", url="http://127.0.0.1:1")]
        async with gateway(tmp_path, agents, monkeypatch, backends=["127.0.0.1:*"]) as gate:
            told = await gate.invoke(agent_name="far", timeout_s=0.05)
            assert (told["status"], told["error"]) == ("timeout", "Agent invocation timed out after 0.05s")
            assert (await gate.invoke(agent_name="gone"))["status"] == "error"


async def test_an_agent_that_leads_back_here_goes_in_no_circle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services: list[Service] = []
    async with gateway(tmp_path, services, monkeypatch, backends=["127.0.0.1:*"]) as gate:
        services.append(Service("agent-loop", url=f"http://127.0.0.1:{gate.port(PORT)}"))
        told = await gate.invoke(agent_name="loop", payload={"request_id": "r", "agent_name": "loop"})
        assert (told["status"], "508" in told["error"]) == ("error", True)


async def test_a_client_that_leaves_frees_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("replies: [{match: slowly, hang: true}]\n")
    models = {"m": Model(backend="fake", script=str(script))}
    async with gateway(tmp_path, fifty(), monkeypatch, models) as gate, gate.client(PORT) as client:
        body = {"request_id": "r", "agent_name": "architect", "payload": {"message": "slowly"}}
        await client.send(request(body, path="/invoke"))
        await until(lambda: gate.gateway.dispatch.active)
        late = await gate.invoke(agent_name="architect", payload={"message": "slowly"}, timeout_s=0.05)
        assert late["status"] == "timeout"
        await until(lambda: len(gate.gateway.dispatch.active) == 1)
        client.abort()
        await until(lambda: not gate.gateway.dispatch.active)


async def test_files_are_not_written_and_servers_of_tools_must_be_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, fifty(), monkeypatch) as gate:
        said = {
            transport: (await gate.invoke(agent_name="architect", transport=transport))["error"]
            for transport in ("file", "mcp", "rest")
        }
        assert "nothing is written" in said["file"]
        assert "mcp.servers" in said["mcp"]
        assert "no address" in said["rest"]


async def test_an_agent_may_be_a_server_of_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    servers = {"notes": ToolServer(command=tool_server("good"), allow=["echo", "fails"])}
    agents = [Service("agent-keeper", labels={"mcp_server": "notes"})]
    async with gateway(tmp_path, agents, monkeypatch, mcp=Mcp(servers=servers)) as gate:
        asked = {"agent_name": "keeper", "transport": "mcp"}
        told = await gate.invoke(**asked, payload={"tool": "echo", "arguments": {"text": "hello"}})
        assert (told["status"], "hello" in told["result"]["message"]) == ("success", True)
        for payload in ({"tool": "fails", "arguments": {}}, {"tool": "slow"}, {"tool": 7}, {}):
            refused = await gate.invoke(**asked, payload=payload)
            assert (refused["status"], bool(refused["error"])) == ("error", True)


async def test_bad_input_is_told_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = {"request_id": "r", "agent_name": "architect"}
    cases: list[tuple[str, Any, int]] = [
        ("/invoke", {"request_id": "r"}, 400),
        ("/invoke", {"request_id": "r", "capabilities": []}, 400),
        ("/invoke", {"agent_name": "architect"}, 422),
        ("/invoke", {"request_id": "r", "agent_name": "nobody"}, 404),
        ("/invoke", {"request_id": "r", "capabilities": ["flying"]}, 404),
        ("/invoke", good | {"transport": "pigeon"}, 422),
        ("/invoke", good | {"timeout_s": -1}, 422),
        ("/invoke", good | {"timeout_s": 1e9}, 422),
        ("/invoke", good | {"payload": [1]}, 422),
        ("/invoke", good | {"run_id": "a b\nc"}, 422),
        ("/discover", {"capabilities": "planning"}, 422),
        ("/discover", {"limit": -1}, 422),
        ("/discover", {"tier": "one"}, 422),
    ]
    async with gateway(tmp_path, fifty(), monkeypatch) as gate:
        for path, body, status in cases:
            answer = await gate.ask(request(body, path=path), PORT)
            assert (answer.status, bool(answer.error["message"])) == (status, True), (path, body, answer.body)
        assert (await gate.ask(request(b"{", path="/discover"), PORT)).status == 400
