"""The four presets, asked with the documented curl lines; a small model stands in.

Each listener has a port that is free here. Which ones the presets open is read from them, not from this machine.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from free_ports import instead_of
from live_gateway import Answer, LiveGateway, until

from rolecast.config import presets

pytestmark = pytest.mark.real

PORT = re.compile(r"\bport: (\d+)")


class Preset(LiveGateway):
    """A preset in which every documented port is another one; `at` finds it."""

    ports: dict[int, int]

    def at(self, url: str) -> str:
        """A documented URL as it is here."""
        return re.sub(r"(?<=localhost:)\d+", lambda found: str(self.ports[int(found[0])]), url)

    def curl(self, *arguments: str) -> Answer:
        """A documented command."""
        return curl(*map(self.at, arguments))

    def post(self, url: str, **body: Any) -> Answer:
        content = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 2, **body}
        return self.curl("-X", "POST", url, "-H", "Content-Type: application/json", "-d", json.dumps(content))


Start = Callable[[str], AbstractContextManager[Preset]]


@pytest.fixture
def start(tmp_path: Path, store: Path) -> Start:
    """Starts a preset with a stand-in."""

    @contextmanager
    def run(preset: str) -> Iterator[Preset]:
        ports = instead_of(map(int, PORT.findall(presets.text(preset))))
        text = PORT.sub(lambda found: f"port: {ports[int(found[1])]}", presets.text(preset))
        arguments = ("--config", str(tmp_path / "rolecast.yaml"), "--stand-in", "smollm2-135m")
        with Preset(tmp_path, text, *arguments, ROLECAST_STORAGE__MODELS=str(store)) as gateway:
            gateway.ports = ports
            yield gateway

    return run


def curl(*arguments: str) -> Answer:
    """What the curl command prints, taken apart."""
    printed = subprocess.run(["curl", "-s", "-i", *arguments], capture_output=True, check=True, timeout=110).stdout
    head, _, body = printed.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return Answer(int(status.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body)


def stands_in(answer: Answer, for_model: str) -> bool:
    """Whether it is an answer in place of that model, and marked as one."""
    assert answer.status == 200, answer.body
    assert answer.json["choices"][0]["message"]["content"]
    assert answer.headers["x-rolecast-model"] == for_model.lower()
    return answer.headers["x-rolecast-stand-in"] == "smollm2-135m"


def marked(answer: Answer) -> dict[str, str]:
    """Which listed names are answered by somebody else."""
    return {m["id"]: m["stand_in"] for m in answer.json["data"] if "stand_in" in m}


def test_slm_server(start: Start) -> None:
    roles = {
        8500: ("router", "liquid/lfm2.5-1.2b"),
        8501: ("standard", "qwen/qwen3-4b-2507"),
        8502: ("reasoning", "qwen/qwen3-8b"),
        8503: ("coding", "mistralai/devstral-small-2-2512"),
    }
    with start("slm-server") as gateway:
        assert b'"status":"healthy"' in gateway.curl("http://localhost:8000/health").body
        models = gateway.curl("http://localhost:8000/v1/models")
        listed = {m["id"]: m for m in models.json["data"]}
        for port, (role, model) in roles.items():
            assert (listed[model]["port"], listed[model]["stand_in"]) == (gateway.ports[port], "smollm2-135m")
            assert listed[role]["root"] == model
            assert listed[model]["quantization"] == "8bit"
            assert {"backend", "model_type", "context_length", "supports_function_calling"} <= set(listed[model])
        assert stands_in(
            gateway.curl(
                *("-X", "POST", "http://localhost:8000/v1/chat/completions"),
                *("-H", "Content-Type: application/json"),
                "-d",
                """{
    "model": "qwen/qwen3-4b-2507",
    "messages": [{"role": "user", "content": "Hello!"}]
  }""",
            ),
            "qwen/qwen3-4b-2507",
        )
        for port, (role, model) in roles.items():
            assert stands_in(gateway.post(f"http://localhost:{port}/v1/chat/completions", model=model), model)
            assert stands_in(gateway.post(f"http://localhost:{port}/v1/chat/completions", model="anything"), model)
            assert stands_in(gateway.post("http://localhost:8000/v1/chat/completions", model=role), model)
            health = gateway.curl(f"http://localhost:{port}/health").json
            assert (health["status"], health["stand_in"]) == ("healthy", "smollm2-135m")
        backends = gateway.curl("http://localhost:8000/v1/backends/health").json
        for port, (role, model) in roles.items():
            assert (backends[role]["status"], backends[role]["port"]) == ("healthy", gateway.ports[port])
            assert (backends[role]["model_id"], backends[role]["stand_in"]) == (model, "smollm2-135m")
        assert gateway.curl("http://localhost:8000/v1/nothing").json["detail"]


def generates(gateway: Preset, port: int) -> str:
    """The model that a prompt's answer names."""
    answer = gateway.curl(
        *("-X", "POST", f"http://localhost:{port}/generate"),
        *("-H", "Content-Type: application/json"),
        "-d",
        """{
  "model": "llama3.1:8b",
  "prompt": "What is AI?",
  "stream": false,
  "options": {
    "temperature": 0.7,
    "num_predict": 5
  }
}""",
    )
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json; charset=utf-8"), answer.body
    assert (bool(answer.json["response"]), answer.json["done"], answer.json["eval_count"]) == (True, True, 5)
    assert answer.json["total_duration"] >= answer.json["prompt_eval_duration"] + answer.json["eval_duration"] > 0
    assert answer.headers["x-rolecast-stand-in"] == "smollm2-135m"
    return str(answer.json["model"])


def measured(gateway: Preset, port: int, agent: str) -> bool:
    """Whether the information about a port has the figures of its answers, which are those of the books."""

    def told() -> Any:
        answer = gateway.curl(f"http://localhost:{port}/info")
        assert b'"service_name":"' in answer.body
        assert {"service_name", "version", "model", "capabilities", "endpoints"} <= set(answer.json)
        figures = answer.json["performance"]
        times = [ms for listener, ms in gateway.rows("listener, total_ms") if listener == agent]
        return figures if len(times) == 3 and figures["p95_latency_ms"] == round(max(times), 1) else None

    figures = until(told, "the three answers are measured")
    return 0 < figures["avg_latency_ms"] <= figures["p95_latency_ms"] and figures["avg_throughput_tok_s"] > 0


def test_pas(start: Start) -> None:
    services = {
        8050: ("llama3.1:8b", "llama31_8b_wrapper", "llm_llama31_8b"),
        8051: ("tinyllama:1.1b", "tinyllama_wrapper", "llm_tinyllama_1b"),
        8052: ("tinyllama:1.1b", "tlc_domain_classifier", "tlc_domain_classifier"),
    }
    with start("pas") as gateway:
        for port, (model, service, agent) in services.items():
            health = gateway.curl(f"http://localhost:{port}/health")
            assert b'"status":"healthy"' in health.body
            assert (health.json["service"], health.json["port"], health.json["model"]) == (
                service,
                gateway.ports[port],
                model,
            )
            assert health.json["last_request_ms"] is None
            assert health.json["stand_in"] == "smollm2-135m"
            assert stands_in(gateway.post(f"http://localhost:{port}/chat/completions", model="ignored"), model)
            assert stands_in(gateway.post(f"http://localhost:{port}/v1/chat/completions", model=model), model)
            health = gateway.curl(f"http://localhost:{port}/health")
            assert health.json["model_loaded"] is True
            assert generates(gateway, port) == model
            assert measured(gateway, port, agent)
            assert health.json["last_request_ms"] >= 0
        finds_services(gateway)
        assert marked(gateway.curl("http://localhost:8000/v1/models"))["llm_tinyllama_1b"] == "smollm2-135m"


def finds_services(gateway: Preset) -> None:
    """PAS's phases 0 and 5 and the seed's question, as their scripts ask them."""
    for cap, agent in [
        ("reasoning", b"llm_llama31_8b"),
        ("classification", b"llm_tinyllama_1b"),
        ("domain_classification", b"tlc_domain_classifier"),
    ]:
        assert agent in gateway.curl(f"http://localhost:6121/discover?cap={cap}").body

    def sent(method: str, path: str, body: dict[str, Any]) -> Any:
        arguments = ("-X", method, f"http://localhost:6121{path}", "-H", "Content-Type: application/json")
        answer = gateway.curl(*arguments, "-d", json.dumps(body))
        assert answer.status == 200, answer
        return answer.json

    (found,) = sent("POST", "/discover", {"capabilities": ["reasoning"]})["agents"]
    assert (found["agent_id"], found["endpoint"]) == ("llm_llama31_8b", gateway.at("http://localhost:8050"))
    test = {"name": "test-llm", "type": "model", "role": "production", "url": "http://x:9999", "caps": ["testing"]}
    service_id = sent("POST", "/register", test)["service_id"]
    items = gateway.curl("http://localhost:6121/discover?name=test-llm").json["items"]
    assert [each["service_id"] for each in items] == [service_id]
    assert sent("PUT", "/heartbeat", {"service_id": service_id, "status": "ok"})["success"] is True
    assert gateway.curl("http://localhost:6109/stats").json["total_services"] >= 1
    assert sent("POST", "/deregister", {"service_id": service_id})["success"] is True


def test_bestbox(start: Start) -> None:
    models = {8080: "qwen2.5-14b-instruct", 8081: "qwen2.5-7b-instruct"}
    with start("bestbox") as gateway:
        for port, model in models.items():
            assert gateway.curl(f"http://localhost:{port}/health").body == b'{"status":"ok"}'
            for name in ("qwen2.5", model, "gpt-4"):
                assert stands_in(gateway.post(f"http://localhost:{port}/v1/chat/completions", model=name), model)
            listed = gateway.curl(f"http://localhost:{port}/v1/models")
            assert marked(listed) == {model: "smollm2-135m"} == {m["id"]: "smollm2-135m" for m in listed.json["data"]}
        assert stands_in(gateway.post("http://localhost:8000/v1/chat/completions", model="light"), models[8081])
        front = "http://localhost:8000/v1/chat/completions"
        assert stands_in(gateway.post(front), models[8081])  # a greeting
        plan = "Work out step by step which of three suppliers we should keep, and prove that no other plan is cheaper."
        assert stands_in(gateway.post(front, messages=[{"role": "user", "content": plan}]), models[8080])


def test_conductor(start: Start) -> None:
    with start("conductor") as gateway:
        health = gateway.curl("http://localhost:8000/health").json
        assert health["status"] == "healthy"
        assert {"loaded_models", "total_memory_gb", "uptime_seconds", "last_updated"} <= set(health)
        roles = gateway.get("/admin/status").json["roles"]
        categories = [role for role in roles if role != "embeddings"]
        assert len(categories) >= 15
        for category in categories:
            answer = gateway.post("http://localhost:8000/v1/chat/completions", model=category, max_tokens=1)
            assert stands_in(answer, roles[category][0])
            assert answer.headers["x-rolecast-role"] == category
        listed = {m["id"]: m for m in gateway.curl("http://localhost:8000/v1/models").json["data"]}
        assert listed["mistralai/Mistral-7B-Instruct-v0.1"]["stand_in"] == "smollm2-135m"
        assert "stand_in" not in listed["smollm2-135m"]
        assert "facebook/nllb-200-distilled-1.3B" not in listed


def test_conductors_documented_requests(start: Start) -> None:
    sends = ("-H", "Content-Type: application/json")
    with start("conductor") as gateway:
        answer = gateway.curl(
            *("-X", "POST", "http://localhost:8000/generate", *sends),
            "-d",
            """{
  "prompt": "Explain quantum computing",
  "category": "general_reasoning",
  "max_tokens": 5,
  "temperature": 0.7
}""",
        )
        assert answer.status == 200, answer.body
        assert {"response", "category", "model", "session_id", "generation_time", "tokens_generated"} <= set(
            answer.json
        )
        assert (answer.json["category"], answer.json["model"]) == (
            "general_reasoning",
            "mistralai/Mistral-7B-Instruct-v0.1",
        )
        assert (bool(answer.json["response"]), answer.json["tokens_generated"]) == (True, 5)
        assert answer.json["generation_time"] > 0
        streamed = gateway.curl(
            *("-X", "POST", "http://localhost:8000/generate/stream", *sends),
            "-d",
            """{
  "prompt": "Write a story about...",
  "category": "creative_writing",
  "max_tokens": 5,
  "stream": true
}""",
        )
        *pieces, last, empty = streamed.body.split(b"\n\n")
        assert (last.startswith(b'data: {"done":true'), empty) == (True, b"")
        told = [json.loads(piece.removeprefix(b"data: ")) for piece in pieces]
        assert "".join(each["chunk"] for each in told)
        assert {(each["category"], each["model"]) for each in told} == {("creative_writing", "google/gemma-2b-it")}
        models = {each["technical_name"]: each for each in gateway.curl("http://localhost:8000/models").json}
        fields = {"technical_name", "category", "status", "memory_gb", "generation_count", "stay_loaded"}
        assert all(set(each) >= fields for each in models.values())
        assert models["google/gemma-2b-it"]["generation_count"] == 1
        assert (models["smollm2-135m"]["status"], models["smollm2-135m"]["memory_gb"] > 0.05) == ("loaded", True)
        health = gateway.curl("http://localhost:8000/health")
        assert b'"status":"healthy"' in health.body
        assert health.json["total_memory_gb"] > 0.05
        stats = gateway.curl("http://localhost:8000/stats").json
        assert (stats["request_count"], stats["activity"]["total_generations"]) == (2, 2)
        assert stats["memory_usage"]["total_memory_gb"] > 0.05


def test_conductors_tasks_sessions_and_models(start: Start) -> None:
    tasks = {
        "/code/completion": "code_completion",
        "/code/generation": "code_generation",
        "/translate": "translation",
        "/math/solve": "mathematical_reasoning",
        "/research/analyze": "scientific_research",
        "/legal/analyze": "legal_analysis",
        "/summarize": "summarization",
        "/chat/completions": "conversational_chat",
    }
    with start("conductor") as gateway:
        roles = gateway.get("/admin/status").json["roles"]
        front = "http://localhost:8000"
        wish = {"prompt": "Name a colour.", "messages": None, "extra_params": {"max_tokens": 4, "temperature": 0}}
        for path, category in tasks.items():
            answer = gateway.post(f"{front}{path}", **wish, max_tokens=4, session_id="s")
            assert answer.status == 200, answer.body
            assert (answer.json["category"], answer.json["model"]) == (category, roles[category][0])
            assert answer.json["session_id"] == "s"
            questions = 1 + bool(answer.json.get("metadata", {}).get("adjusted"))  # what was asked again counts, too
            assert answer.json["tokens_generated"] <= 4 * questions, (path, answer.json)
        again = [gateway.post(f"{front}/translate", **wish).json["response"] for _ in range(2)]
        assert again[0] == again[1]
        assert gateway.post(f"{front}/translate", prompt="Hi", max_tokens=0).json["tokens_generated"] <= 1
        assert gateway.curl(f"{front}/sessions").json["sessions"] == ["s"]
        assert gateway.curl("-X", "DELETE", f"{front}/sessions/s").json["message"]
        listed = gateway.curl(f"{front}/categories").json
        assert [c for c in listed["categories"] if c in roles] == listed["categories"]
        name = "smollm2-135m"
        assert gateway.curl("-X", "POST", f"{front}/models/{name}/unload").status == 200
        assert gateway.curl("-X", "POST", f"{front}/models/mistralai%2FMistral-7B-Instruct-v0.1/load").json["message"]

        def status() -> Any:
            return {m["technical_name"]: m["status"] for m in gateway.curl(f"{front}/models").json}

        until(lambda: status()[name] == "loaded", "it is loaded again")
        assert gateway.curl("-X", "POST", f"{front}/models/no/such/load").status == 404
        assert gateway.curl("-X", "POST", f"{front}/reload-config").json["message"]
