"""The acceptance flow of PAS's phase 3 on live ports: the preset, dead providers, bytes as a script greps them.

The flow is played twice with a restart in between, and once more when the second minute has begun.
"""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import Gate, on_uvloop, request, running_gateway

from rolecast import backends
from rolecast.config import presets
from rolecast.config.load import read
from rolecast.config.schema import Config

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

RUN = "phase3-run"
DEAD = {
    "openai-gpt4": ("gpt-4-turbo", 128000, 0.00001, 0.00003, 8100, ["function_calling", "streaming", "vision"], 2000),
    "anthropic-claude": ("claude-3-opus", 200000, 0.000015, 0.000075, 8101, ["streaming", "vision"], 3000),
    "openai-gpt4-cheap": ("gpt-4-turbo", 128000, 0.000005, 0.000015, 8102, ["streaming"], None),
}
"""Providers as the script registers them; nothing listens at their ports."""


def preset(folder: Path) -> Config:
    """The preset on free ports; a scripted model stands in for weights that are not here."""
    found = read(f"{presets.text('pas')}\nstand_in: fake\n", backends=backends.table())
    server = found.server
    listeners = [msgspec.structs.replace(each, port=0) for each in server.listeners]
    server = msgspec.structs.replace(server, port=0, listeners=listeners)
    registry = msgspec.structs.replace(found.registry, receipts=str(folder / "artifacts" / "costs"))
    return msgspec.structs.replace(found, server=server, registry=registry)


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    async with running_gateway(preset(tmp_path), tmp_path) as gate:
        yield gate


class Script:
    """Asks as curl does, and greps."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    async def get(self, port: str, path: str, *words: str) -> Any:
        return await self._ask(port, "GET", path, None, words)

    async def post(self, port: str, path: str, body: Any, *words: str) -> Any:
        return await self._ask(port, "POST", path, body, words)

    async def _ask(self, port: str, method: str, path: str, body: Any, words: tuple[str, ...]) -> Any:
        answer = await self.gate.ask(request(body, path=path, method=method), port)
        assert answer.status == 200, answer.body
        for word in words:
            assert word.encode() in answer.body, (word, answer.body)
        return answer.json


async def flow(gate: Gate, folder: Path) -> None:
    """Everything that the script asks."""
    script = Script(gate)
    router, gateway = gate.port("provider_router"), gate.port("gateway")
    said = '"status":"ok"', '"service":"provider_router"', f'"port":{router}'
    await script.get("provider_router", "/health", *said)
    await script.get("gateway", "/health", '"status":"ok"', '"service":"gateway"', f'"port":{gateway}')
    for name, (model, context, reading, writing, port, features, latency) in DEAD.items():
        body = {
            "name": name,
            "model": model,
            "context_window": context,
            "cost_per_input_token": reading,
            "cost_per_output_token": writing,
            "endpoint": f"http://localhost:{port}",
            "features": features,
            "slo": None if latency is None else {"latency_p95_ms": latency},
        }
        await script.post("provider_router", "/register", body, '"status":"success"', f'"name":"{name}"')
    await script.get("provider_router", "/providers/openai-gpt4", '"name":"openai-gpt4"', '"model":"gpt-4-turbo"')
    stats = await script.get("provider_router", "/stats", '"active_providers":3')
    assert stats["unique_models"] == ["claude-3-opus", "gpt-4-turbo"]
    wanted = {"requirements": {"model": "gpt-4-turbo"}, "optimization": "cost"}
    found = await script.post("provider_router", "/select", wanted, '"selected_provider"')
    assert found["selected_provider"]["name"] == "openai-gpt4-cheap"
    wanted = {"requirements": {"model": "gpt-4-turbo", "features": ["vision"]}, "optimization": "cost"}
    found = await script.post("provider_router", "/select", wanted, '"selected_provider"')
    assert found["selected_provider"]["name"] == "openai-gpt4"
    before = (await script.get("gateway", f"/receipts/{RUN}"))["count"]
    for number, model in enumerate(("gpt-4-turbo", "claude-3-opus")):
        asked = {
            "request_id": f"test-req-{number}",
            "run_id": RUN,
            "agent": "test-agent",
            "requirements": {"model": model},
            "optimization": "cost",
            "payload": {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0.7, "max_tokens": 100},
        }
        found = await script.post("gateway", "/route", asked, '"status":"success"', f'"run_id":"{RUN}"')
        assert found["fallback_from"] in DEAD
        assert found["response"]["choices"][0]["message"]["content"]
        del asked["payload"]
        await script.post("gateway", "/route", asked, '"status":"success"')
    for window in ("minute", "hour"):
        found = await script.get("gateway", f"/metrics?window={window}", f'"window":"{window}"')
        assert found["total_requests"] >= 4
    found = await script.get("gateway", f"/receipts/{RUN}", f'"run_id":"{RUN}"')
    assert found["count"] == before + 4
    await script.post("gateway", f"/budget?run_id={RUN}&budget_usd=10.0", None, "Budget set successfully")
    await script.get("gateway", f"/budget/{RUN}", '"budget_set":true', '"alert_level":"ok"', '"can_proceed":true')
    lines = (folder / "artifacts" / "costs" / f"{RUN}.jsonl").read_bytes().splitlines()
    assert len(lines) == before + 4
    assert all(msgspec.json.decode(line)["run_id"] == RUN for line in lines)


async def test_phase_3_passes_after_a_restart_and_in_the_second_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        async with running_gateway(preset(tmp_path), tmp_path) as gate:
            await flow(gate, tmp_path)
    async with running_gateway(preset(tmp_path), tmp_path) as gate:
        await flow(gate, tmp_path)
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 90)
        await flow(gate, tmp_path)


async def test_the_seeds_route_finds_the_service_on_its_port(gate: Gate) -> None:
    asked = {"capability": "reasoning", "prefer_local": True}
    found = await Script(gate).post("provider_router", "/route", asked, '"provider":"local"')
    assert found["endpoint"] == f"http://localhost:{gate.port('llm_llama31_8b')}"
    assert found["model"] == "llama3.1:8b"
    found = await Script(gate).post("provider_router", "/route", {"capability": "domain_classification"})
    assert found["endpoint"] == f"http://localhost:{gate.port('tlc_domain_classifier')}"


def test_the_preset_opens_the_ports_that_scripts_ask() -> None:
    listeners = read(presets.text("pas")).server.listeners
    assert {each.surface: each.port for each in listeners if each.model is None}.items() >= {
        "providers": 6103,
        "gateway": 6120,
    }.items()
