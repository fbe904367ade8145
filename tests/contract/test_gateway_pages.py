"""What a gateway tells besides answers: explaining headers, health, metrics, the ledger, its single-model ports."""

import re
import time
from typing import Any

import pytest
from live_gateway import LiveGateway, ask, until
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.real


def metrics(gateway: LiveGateway) -> dict[tuple[str, ...], float]:
    """Samples by name and label values, in the order of the label names."""
    text = gateway.get("/metrics").body.decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_answer_explains_itself(gateway: LiveGateway) -> None:
    answer = gateway.chat("auto", "Say hi.", max_tokens=2)
    headers = answer.headers
    assert re.fullmatch(r"req_[0-9a-f]{16}", headers["x-request-id"])
    assert headers["x-rolecast-model"] == "smollm2-135m"
    assert headers["x-rolecast-role"] == "standard"
    assert headers["x-rolecast-route"] == "learned; looks like conversational_chat, so standard"
    assert re.fullmatch(r"route;dur=\d+\.\d+, first-token;dur=\d+\.\d+", headers["server-timing"])
    with gateway.stream("coding", "hello") as stream:
        stream.rest()
        assert stream.response.headers["x-rolecast-role"] == "coding"
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        assert stream.response.headers["x-request-id"] > headers["x-request-id"]


def test_an_error_is_explained_as_far_as_the_request_came(gateway: LiveGateway) -> None:
    unknown = gateway.chat("nobody", "hello")
    assert re.fullmatch(r"req_[0-9a-f]{16}", unknown.headers["x-request-id"])
    assert "x-rolecast-model" not in unknown.headers
    refused = gateway.chat("standard", "a b c " * 420)
    assert (refused.status, refused.headers["x-rolecast-model"]) == (400, "smollm2-135m")


def test_health_is_open_and_says_what_runs(gateway: LiveGateway) -> None:
    health = ask(gateway.url, "GET", "/health")
    assert health.status == 200
    assert b'"status":"healthy"' in health.body
    assert health.json["loaded_models"] >= 1
    assert health.json["total_memory_gb"] > 0.05
    assert ask(gateway.url, "GET", "/").json["service"] == "rolecast"
    assert ask(gateway.url, "GET", "/metrics").status == 401


def test_the_health_of_backends_is_told_by_role(gateway: LiveGateway) -> None:
    gateway.chat("coding", "hello")
    backends = gateway.get("/v1/backends/health").json
    standard = backends["standard"]
    assert (standard["status"], standard["http_status"]) == ("healthy", 200)
    assert (standard["model_id"], standard["backend"]) == ("smollm2-135m", "llamacpp")
    assert (backends["coding"]["status"], backends["coding"]["backend"]) == ("healthy", "fake")
    assert backends["off"] == {"status": "disabled", "model_id": "off", "port": None}


def test_metrics_count_what_happened(gateway: LiveGateway) -> None:
    before = metrics(gateway)
    usage = gateway.chat("auto", "Say hi.", max_tokens=3).json["usage"]
    gateway.chat("standard", "a b c " * 420)
    with gateway.stream("auto", "Say hi.", max_tokens=2) as stream:
        stream.rest()
    gateway.chat("nobody", "hello")
    now = metrics(gateway)

    def grew(*key: str) -> float:
        return now[key] - before.get(key, 0)

    model = "smollm2-135m"
    assert grew("rolecast_requests_total", model, "ok") == 2
    assert grew("rolecast_requests_total", model, "error") == 1
    assert grew("rolecast_tokens_total", "completion", model) == 5
    assert grew("rolecast_tokens_total", "prompt", model) >= usage["prompt_tokens"]
    assert grew("rolecast_request_seconds_count", model) == 3
    assert grew("rolecast_request_seconds_bucket", "+Inf", model) == 3
    assert grew("rolecast_refused_total", "404") == 1
    assert now["rolecast_worker_up", model] == 1
    assert now["rolecast_active_requests", model] == 0
    assert now["rolecast_start_time_seconds",] <= time.time()


def test_each_request_has_its_row_in_the_ledger(gateway: LiveGateway) -> None:
    chat = gateway.chat("default", "Say hi.", max_tokens=3)
    embedded = gateway.post("/v1/embeddings", {"model": "auto", "input": "A cat."})
    continued = gateway.post("/v1/completions", {"model": "auto", "prompt": "Once", "max_tokens": 2})
    with gateway.stream("auto", "Say hi.", max_tokens=2) as stream:
        stream.rest()
        streamed = str(stream.response.headers["x-request-id"])
    refused = gateway.chat("standard", "a b c " * 420)
    ids = [a.headers["x-request-id"] for a in (chat, embedded, continued)] + [streamed, refused.headers["x-request-id"]]

    def rows() -> list[dict[str, Any]]:
        by_id = {row["id"]: row for row in gateway.get("/admin/requests?limit=50").json["requests"]}
        return [by_id[i] for i in ids] if set(ids) <= set(by_id) else []

    first, second, third, fourth, fifth = until(rows, "all rows are written")
    assert (first["kind"], first["asked"], first["role"]) == ("chat", "default", "standard")
    assert first["route"] == "alias; asked for alias default"
    assert (first["completion_tokens"], first["counted"], first["stream"]) == (3, False, False)
    assert first["prompt_tokens"] == chat.json["usage"]["prompt_tokens"]
    assert 0 < first["first_ms"] <= first["total_ms"]
    assert (second["kind"], second["model"]) == ("embeddings", "all-minilm-l6-v2")
    assert second["prompt_tokens"] == embedded.json["usage"]["prompt_tokens"]
    assert (third["kind"], third["completion_tokens"]) == ("completion", 2)
    assert (fourth["stream"], fourth["completion_tokens"], fourth["counted"]) == (True, 2, False)
    assert fourth["prompt_tokens"] == first["prompt_tokens"]
    assert (fifth["status"], fifth["outcome"], fifth["completion_tokens"]) == (400, "error", 0)
    assert len({row["key"] for row in (first, second, third, fourth, fifth)}) == 1
    assert first["key"] not in ("", gateway.key)


def test_a_port_of_one_model_answers_with_that_model_whatever_is_asked(gateway: LiveGateway) -> None:
    port = gateway.port("smol")
    assert ask(port, "GET", "/health").body == b'{"status":"ok"}'
    assert [m["id"] for m in ask(port, "GET", "/v1/models", key=gateway.key).json["data"]] == ["smollm2-135m"]
    for name in ("gpt-4", "scripted", "auto"):
        answer = gateway.chat(name, "Say hi.", port, max_tokens=1)
        assert answer.headers["x-rolecast-model"] == "smollm2-135m"
        assert answer.headers["x-rolecast-route"] == "listener; port of smollm2-135m"
    explicit = gateway.chat("smollm2-135m", "Say hi.", max_tokens=1)
    assert explicit.headers["x-rolecast-route"] == "explicit; asked for model smollm2-135m"


def test_a_second_front_door_is_the_same_gateway(gateway: LiveGateway) -> None:
    door = gateway.port("second door")
    assert gateway.chat("coding", "hello", door).json["choices"][0]["message"]["content"] == "fake: hello"
    assert ask(door, "GET", "/v1/models", key=gateway.key).json == gateway.get("/v1/models").json
    until(lambda: gateway.get("/admin/requests?limit=1").json["requests"][0]["listener"] == "second door")


def test_the_key_of_a_stranger_opens_nothing(gateway: LiveGateway) -> None:
    paths = ["/v1/models", "/metrics", "/admin/status", "/admin/logs", "/admin/requests", "/v1/backends/health"]
    for path in paths:
        assert ask(gateway.url, "GET", path).status == 401
        assert ask(gateway.url, "GET", path, key="wrong").status == 401
    assert ask(gateway.port("smol"), "POST", "/v1/chat/completions", {"messages": []}).status == 401
    assert ask(gateway.url, "POST", "/admin/unload", {"model": "scripted"}, key="wrong").status == 401
