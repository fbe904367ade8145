"""PAS's own acceptance flows, phase by phase, against the ports of a real gateway: by curl, and by the bytes it prints.

They are played as its users play them, again after a kill and a start with the same data. Every documented port is a
free one here; what waits for minutes there waits for seconds, because services may say how often they send heartbeats.
"""

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from free_ports import instead_of
from live_gateway import LiveGateway, ask, until

from rolecast.config import presets

SERVICES = {
    6102: ("event_stream", "events"),
    6103: ("provider_router", "providers"),
    6104: ("resource_manager", "resources"),
    6105: ("token_governor", "tokens"),
    6109: ("heartbeat_monitor", "heartbeat"),
    6119: ("agent_router", "agents"),
    6120: ("gateway", "gateway"),
    6121: ("registry", "registry"),
}
DEAD = (8100, 8101, 8102)
"""Where the providers of phase 3 would be; nobody listens there."""
PORT = re.compile(r"\bport: (\d+)")
pytestmark = pytest.mark.timeout(240)


class Pas:
    """The services of PAS, asked as its scripts ask them."""

    def __init__(self, gateway: LiveGateway, ports: dict[int, int]) -> None:
        self.gateway = gateway
        self.ports = ports

    def at(self, text: str) -> str:
        """The same with the ports that are used here."""
        return re.sub(r"(?<=localhost:)\d+", lambda found: str(self.ports.get(int(found[0]), found[0])), text)

    def curl(self, *arguments: str) -> bytes:
        """What curl prints: the body alone."""
        return subprocess.run(
            ["curl", "-s", *map(self.at, arguments)], capture_output=True, check=True, timeout=60
        ).stdout

    def get(self, port: int, path: str) -> Any:
        return json.loads(self.curl(f"http://localhost:{port}{path}"))

    def post(self, port: int, path: str, body: Any = None, method: str = "POST") -> Any:
        content = ["-H", "Content-Type: application/json", "-d", json.dumps(body)] if body is not None else []
        return json.loads(self.curl("-X", method, f"http://localhost:{port}{path}", *content))


@pytest.fixture(scope="module")
def pas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pas]:
    """The preset with all its services; a model without weights stands in."""
    folder = tmp_path_factory.mktemp("pas")
    text = presets.text("pas").replace("    # - {port: 61", "    - {port: 61")
    there = set(map(int, PORT.findall(text)))
    more = [
        f"    - {{port: {port}, name: {name}, surface: {surface}}}"
        for port, (name, surface) in SERVICES.items()
        if port not in there
    ]
    text = text.replace("\nmodels:", "\n".join(["", *more]) + "\n\nmodels:", 1)
    ports = instead_of([*map(int, PORT.findall(text)), *DEAD])
    text = PORT.sub(lambda found: f"port: {ports[int(found[1])]}", text)
    text += f"\nregistry: {{check_interval: 200ms, receipts: {folder / 'artifacts' / 'costs'}}}\n"
    arguments = ("--config", str(folder / "rolecast.yaml"), "--stand-in", "fake")
    with LiveGateway(folder, text, *arguments) as gateway:
        yield Pas(gateway, ports)


# -- phase 0: registry and heartbeat monitor -------------------------------------------------------------


def phase_0(pas: Pas) -> None:
    for port in (6121, 6109):
        assert b'"status":"ok"' in pas.curl(f"http://localhost:{port}/health")
    registration = {
        "name": "test-llama-service",
        "type": "model",
        "role": "experimental",
        "url": "http://127.0.0.1:8888",
        "caps": ["infer", "classify"],
        "labels": {"space": "local", "tier": "2"},
        "ctx_limit": 32768,
        "heartbeat_interval_s": 1,
        "ttl_s": 30,
    }
    service = pas.post(6121, "/register", registration)["service_id"]
    assert pas.get(6121, "/discover?name=test-llama-service")["items"][0]["service_id"] == service
    beat = {"service_id": service, "status": "ok", "p95_ms": 123.4, "queue_depth": 2, "load": 0.35}
    assert pas.post(6121, "/heartbeat", beat, "PUT")["success"] is True
    assert pas.get(6109, "/stats")["total_services"] >= 1
    assert len(pas.get(6121, "/discover?type=model&role=experimental&cap=infer")["items"]) >= 1
    until(lambda: pas.get(6109, "/stats")["down_services"] >= 1, "the service was marked down")
    alerts = pas.get(6109, "/alerts")["alerts"]
    assert "marked_down" in [each["action"] for each in alerts if each["service_id"] == service]
    assert pas.post(6121, "/deregister", {"service_id": service})["success"] is True
    assert pas.get(6121, "/discover?name=test-llama-service")["items"] == []


# -- phase 1: resource manager and token governor --------------------------------------------------------


def phase_1(pas: Pas) -> None:
    for port in (6104, 6105):
        assert b'{"status":"ok"}' in pas.curl(f"http://localhost:{port}/health")
    assert pas.get(6104, "/quotas")["quotas"]["cpu"]["total_capacity"] == 10
    wanted = {"cpu": 4.0, "mem_mb": 8192, "gpu": 1, "gpu_mem_mb": 4096}
    granted = pas.post(6104, "/reserve", {"job_id": "J-TEST-001", "agent": "Q-Tower-Trainer", **wanted})
    assert granted["status"] == "granted"
    assert b'"cpu":{"total_capacity":10,"allocated":4,' in pas.curl("http://localhost:6104/quotas")
    over = {"job_id": "J-TEST-002", "agent": "Reranker-Trainer", "cpu": 100.0, "mem_mb": 999999}
    assert pas.post(6104, "/reserve", over)["status"] == "denied"
    assert len(pas.get(6104, "/reservations?status=active")["reservations"]) == 1
    assert pas.post(6104, "/release", {"reservation_id": granted["reservation_id"]})["success"] is True
    assert pas.get(6104, "/quotas")["quotas"]["cpu"]["allocated"] == 0
    for agent, run, used, status in (
        ("Architect", "R-001", 4000, "ok"),
        ("Director-Code", "R-002", 10000, "warning"),
        ("Manager-Data", "R-003", 12500, "breach"),
    ):
        body = {"agent": agent, "run_id": run, "ctx_used": used, "ctx_limit": 16000}
        answer = pas.post(6105, "/track", body)
        assert answer["status"] == status
    assert answer["action"] == "save_state_clear_resume"
    assert len(pas.get(6105, "/status")["agents"]) == 3
    said = {"agent": "Manager-Data", "run_id": "R-003", "trigger_reason": "hard_max_breach"}
    summary = pas.post(6105, "/summarize", said)
    assert summary["summary_id"]
    assert summary["ctx_after"] == 0
    assert Path(summary["summary_path"]).is_file()
    log = {"content_to_summarize": "We chose SQLite because it is fast enough."}
    assert pas.post(6105, "/summarize", said | log)["summary"]
    assert len(pas.get(6105, "/summaries")["summaries"]) >= 2


# -- phase 3: provider router and gateway ----------------------------------------------------------------

PROVIDERS = (
    ("test-gpt-3.5", "gpt-3.5-turbo", 4096, 0.0000015, 0.000002, 8100, ["function_calling", "streaming"], None),
    ("test-gpt-4", "gpt-4", 8192, 0.00003, 0.00006, 8101, ["function_calling", "streaming", "vision"], 2000),
    ("test-claude-haiku", "claude-haiku", 200000, 0.00000025, 0.00000125, 8102, ["streaming"], 800),
)


def phase_3(pas: Pas) -> None:
    for port in (6121, 6109, 6104, 6105, 6102):
        assert pas.get(port, "/health")["status"] == "ok"
    for port, service in ((6103, "provider_router"), (6120, "gateway")):
        health = pas.get(port, "/health")
        assert (health["status"], health["service"], health["port"]) == ("ok", service, pas.ports[port])
    for name, model, context, cost_in, cost_out, port, features, p95 in PROVIDERS:
        body = {
            "name": name,
            "model": model,
            "context_window": context,
            "cost_per_input_token": cost_in,
            "cost_per_output_token": cost_out,
            "endpoint": pas.at(f"http://localhost:{port}"),
            "features": features,
            "slo": {"latency_p95_ms": p95} if p95 else None,
        }
        assert pas.post(6103, "/register", body)["status"] == "success"
    assert pas.get(6103, "/providers/test-gpt-3.5")["name"] == "test-gpt-3.5"
    assert pas.get(6103, "/providers")["count"] >= 3
    assert pas.get(6103, "/stats")["active_providers"] >= 3
    cheapest = {"requirements": {"model": "gpt-3.5-turbo", "context_window": 2000}, "optimization": "cost"}
    assert pas.post(6103, "/select", cheapest)["selected_provider"]["name"] == "test-gpt-3.5"
    seeing = {
        "requirements": {"model": "gpt-4", "context_window": 4000, "features": ["vision"]},
        "optimization": "cost",
    }
    assert pas.post(6103, "/select", seeing)["selected_provider"]["name"] == "test-gpt-4"
    first = {
        "request_id": "test-req-001",
        "run_id": "test-run",
        "agent": "test-agent",
        "requirements": {"model": "gpt-3.5-turbo", "context_window": 2000},
        "optimization": "cost",
        "payload": {"messages": [{"role": "user", "content": "Hello, world!"}]},
    }
    answer = pas.post(6120, "/route", first)
    assert answer["status"] == "success", answer
    assert answer["response"]["choices"][0]["message"]["content"]
    for window in ("minute", "hour"):
        assert pas.get(6120, f"/metrics?window={window}")["total_requests"] >= 1
    assert pas.get(6120, "/receipts/test-run")["count"] >= 1
    set_budget = pas.curl("-X", "POST", "http://localhost:6120/budget?run_id=test-run&budget_usd=10.0")
    assert b'"status":"Budget set successfully"' in set_budget
    assert b'"budget_set":true' in pas.curl("http://localhost:6120/budget/test-run")
    second = {name: first[name] for name in ("run_id", "agent", "optimization")} | {
        "request_id": "test-req-002",
        "requirements": {"model": "gpt-4", "context_window": 4000},
    }
    assert pas.post(6120, "/route", second)["status"] == "success"
    receipts = pas.get(6120, "/receipts/test-run")["receipts"]
    assert {"test-req-001", "test-req-002"} <= {each["request_id"] for each in receipts}
    file = pas.gateway.folder / "artifacts" / "costs" / "test-run.jsonl"
    lines = until(lambda: found if len(found := file.read_text().splitlines()) >= 2 else None, "two receipts")
    assert {json.loads(line)["run_id"] for line in lines} == {"test-run"}


# -- phase 4: fifty agents -------------------------------------------------------------------------------


def fifty() -> Iterator[dict[str, Any]]:
    """What `tools/register_agents.py` sends: agents that are definitions, without an address."""
    roles = ["coord"] * 14 + ["exec"] * 26 + ["system"] * 10
    for number, role in enumerate(roles):
        name = "architect" if not number else f"agent-{number}"
        yield {
            "service_id": f"agent-{name}",
            "name": name.title(),
            "type": "agent",
            "role": "production",
            "url": f"internal://agents/{name}",
            "caps": ["planning", "coordination"] if role == "coord" else ["implementation"],
            "labels": {"tier": str(1 + number % 2), "mode": "task", "agent_role": role},
            "heartbeat_interval_s": 3600,
            "ttl_s": 86400,
        }


def registered(pas: Pas) -> int:
    return len([each for each in pas.get(6121, "/services")["items"] if each["type"] == "agent"])


def phase_4(pas: Pas) -> None:
    for each in fifty():
        assert ask(f"http://127.0.0.1:{pas.ports[6121]}", "POST", "/register", each).status == 200
    assert registered(pas) == 50
    assert pas.post(6119, "/discover", {"capabilities": ["planning"], "limit": 10})["count"] == 10
    counts = [
        pas.post(6119, "/discover", {"agent_role": role, "limit": 30})["count"] for role in ("coord", "exec", "system")
    ]
    assert sum(counts) == 50
    assert pas.post(6119, "/discover", {"tier": 1, "limit": 50})["count"] == 25
    payload = {"task": "Test invocation", "message": "Hello from integration test"}
    by_name = {"request_id": "test-001", "agent_name": "architect", "payload": payload, "timeout_s": 10}
    answer = pas.post(6119, "/invoke", by_name)
    assert (answer["status"], answer["agent_name"]) == ("success", "architect")
    assert "Hello from integration test" in answer["result"]["message"]  # a model has answered
    by_capability = {"request_id": "test-002", "capabilities": ["planning"], "payload": payload, "timeout_s": 10}
    assert pas.post(6119, "/invoke", by_capability)["status"] == "success"
    assert pas.get(6119, "/stats")["total_agents"] == 50


# -- phase 5: the LLM services, and the document's own tests ---------------------------------------------


def phase_5_services(pas: Pas) -> None:
    for port in (8050, 8051, 8052):
        assert b'"status":"healthy"' in pas.curl(f"http://localhost:{port}/health")
        assert b'"service_name"' in pas.curl(f"http://localhost:{port}/info")
    for port, model in ((8050, "llama3.1:8b"), (8051, "tinyllama:1.1b")):
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "What is 2+2?"}],
            "temperature": 0,
            "max_tokens": 10,
        }
        assert pas.post(port, "/chat/completions", body)["choices"]
    body = {"model": "llama3.1:8b", "prompt": "What is AI?", "stream": False}
    assert pas.post(8050, "/generate", body)["response"]
    question = {"query": "What is the role of glucose in diabetes?", "top_k": 3}
    assert pas.post(8052, "/classify_domain", question)["primary_domain"] == "MEDICINE"
    assert pas.post(8052, "/extract_tmd", {"query": "What is machine learning?", "method_hint": "DENSE"})["tmd"]


def phase_5_registry(pas: Pas) -> None:
    for cap, name in (
        ("reasoning", "llm_llama31_8b"),
        ("classification", "llm_tinyllama_1b"),
        ("domain_classification", "tlc_domain_classifier"),
    ):
        assert name.encode() in pas.curl(f"http://localhost:6121/discover?cap={cap}")


def the_documents_own_tests(pas: Pas) -> None:
    health = pas.get(8050, "/health")
    assert (health["status"], health["port"]) == ("healthy", pas.ports[8050])
    body = {"model": "llama3.1:8b", "messages": [{"role": "user", "content": "Hello"}]}
    assert len(pas.post(8050, "/chat/completions", body)["choices"]) >= 1
    (agent,) = pas.post(6121, "/discover", {"capabilities": ["reasoning"]})["agents"]
    assert agent["agent_id"] == "llm_llama31_8b"
    assert agent["endpoint"] == pas.at("http://localhost:8050")
    routed = pas.post(6103, "/route", {"capability": "reasoning", "prefer_local": True})
    assert (routed["provider"], routed["endpoint"]) == ("local", pas.at("http://localhost:8050"))


def events_are_heard(pas: Pas) -> None:
    """What the dashboard asks, and what the other services tell."""
    told = pas.post(6102, "/broadcast", {"event_type": "cost_update", "data": {"usd": "0"}})
    assert (told["status"], told["event_type"]) == ("broadcasted", "cost_update")
    assert b'"event_type":"cost_update"' in pas.curl("http://localhost:6102/events/recent")
    assert pas.get(6102, "/health")["buffered_events"] >= 1


FLOWS = [
    pytest.param(phase_0, id="phase 0"),
    pytest.param(phase_1, id="phase 1"),
    pytest.param(phase_3, id="phase 3"),
    pytest.param(phase_4, id="phase 4"),
    pytest.param(phase_5_services, id="phase 5"),
    pytest.param(phase_5_registry, id="phase 5 with the registry"),
    pytest.param(the_documents_own_tests, id="the document's own"),
    pytest.param(events_are_heard, id="events"),
]


@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow_of_pas_passes(pas: Pas, flow: Any) -> None:
    flow(pas)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["a stop", "a kill"])
def test_what_was_said_is_there_after_a_restart_and_every_flow_passes_again(pas: Pas, number: int) -> None:
    kept = {"job_id": f"J-{number}", "agent": "keeper", "cpu": 1}
    assert pas.post(6104, "/reserve", kept)["status"] == "granted"
    pas.post(6105, "/track", {"agent": "Architect", "ctx_used": 1, "ctx_limit": 2})
    pas.post(6105, "/summarize", {"agent": "Architect", "run_id": "R-009", "trigger_reason": "manual"})
    summaries = pas.get(6105, "/summaries")["summaries"]
    phase_3(pas)
    receipts = pas.get(6120, "/receipts/test-run")
    budget = pas.get(6120, "/budget/test-run")
    phase_4(pas)
    pas.gateway.send(number)
    pas.gateway.wait()
    began = time.time()
    pas.gateway.start()
    assert registered(pas) == 50
    assert pas.get(6119, "/stats")["total_agents"] == 50
    assert pas.get(6120, "/receipts/test-run") == receipts
    assert pas.get(6120, "/budget/test-run") == budget
    assert pas.get(6103, "/providers/test-gpt-4")["status"] == "active"
    assert pas.get(6105, "/summaries")["summaries"] == summaries
    assert {each["agent"] for each in pas.get(6105, "/status")["agents"]} >= {"Architect"}
    active = pas.get(6104, "/reservations?status=active")["reservations"]
    assert [each["job_id"] for each in active] == [kept["job_id"]]
    assert pas.post(6104, "/kill", {"job_id": kept["job_id"]})["killed_reservations"] == 1
    recent = pas.get(6102, "/events/recent")["events"]
    assert recent[0]["event_type"] != "cost_update"  # events are of one start
    assert all(each["data"]["timestamp"] >= time.strftime("%Y-%m-%d", time.gmtime(began)) for each in recent)
    for each in FLOWS:
        flow: Any = each.values[0]
        flow(pas)
