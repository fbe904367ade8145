"""Servers elsewhere are asked for their health and their models: what is told of them, and what follows from it."""

import logging
from pathlib import Path
from typing import Any

import pytest
from gateway import Gate, config, on_uvloop, request, running_gateway, short_folder, until
from ollama_server import OllamaServer

from rolecast.backends.offered import Offered
from rolecast.config.schema import Model
from rolecast.fleet.elsewhere import Elsewhere, Seen

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop
CLOSED = "http://127.0.0.1:9"
"""Nobody listens on the port of `discard`."""


def told(gate: Gate) -> list[str]:
    return gate.gateway.health.problems()


async def chat(gate: Gate, model: str) -> Any:
    return await gate.ask(request({"model": model, "messages": [{"role": "user", "content": "hi"}]}))


async def look(gate: Gate) -> Elsewhere:
    """Ask all of them now."""
    elsewhere = gate.gateway.elsewhere
    elsewhere._due.clear()
    await elsewhere.look()
    return elsewhere


async def test_a_model_without_a_name_is_asked_for_by_what_its_server_has() -> None:
    with short_folder() as place:
        async with OllamaServer(("qwen3:8b",)).listening() as server:
            made = config({"mine": Model(backend="ollama", url=server.url)})
            async with running_gateway(made, Path(place), asks_remotes=True) as gate:
                assert (await chat(gate, "mine")).status == 200
                await look(gate)
                assert (await chat(gate, "mine")).status == 200
                assert server.asked[-1][1]["model"] == "qwen3:8b"
                assert told(gate) == []
                server.models = ("qwen3:8b", "llama3:8b")
                await look(gate)
                (line,) = told(gate)
                assert "has no model 'mine'; set models.mine.remote_model to one of qwen3:8b, llama3:8b" in line
                await chat(gate, "mine")
                assert server.asked[-1][1]["model"] == "mine"


async def test_a_name_that_is_configured_is_asked_whatever_the_server_has() -> None:
    with short_folder() as place:
        async with OllamaServer(("qwen3:8b",)).listening() as server:
            made = config({"mine": Model(backend="ollama", url=server.url, remote_model="other")})
            async with running_gateway(made, Path(place), asks_remotes=True) as gate:
                await look(gate)
                await chat(gate, "mine")
                assert server.asked[-1][1]["model"] == "other"
                assert "has no model 'other'" in told(gate)[0]


async def test_a_server_that_is_away_is_told_of_and_goes_on_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rolecast.fleet")
    with short_folder() as place:
        server = OllamaServer()
        async with server.listening():
            port = server.port
        made = config({"m": Model(backend="ollama", url=server.url)})
        async with running_gateway(made, Path(place), asks_remotes=True) as gate:
            elsewhere = await look(gate)
            (line,) = told(gate)
            assert f"m: its server at {server.url} does not answer; start it, or correct models.m.url" == line
            assert (await chat(gate, "m")).status in (502, 503)
            async with server.listening(port):
                await look(gate)
                assert elsewhere.seen["m"] == Seen(models=(Offered("m:latest"),))
                assert told(gate) == []
                await until(lambda: not list(gate.gateway.plans.breaker.open()), "it is tried again")
                assert (await chat(gate, "m")).status == 200
            said = [record.getMessage() for record in caplog.records]
            assert sum("does not answer" in line for line in said) == 1
            assert sum("answers again" in line for line in said) == 1


async def test_a_health_page_needs_no_server_that_nobody_asked() -> None:
    """One that is off is no fault of the gateway until a request suffers from it."""
    with short_folder() as place:
        made = config({"m": Model(backend="ollama", url=CLOSED)})
        async with running_gateway(made, Path(place), asks_remotes=True) as gate:
            await look(gate)
            assert len(told(gate)) == 1
            assert gate.gateway.health.told() == ([], [])


async def test_clouds_and_workers_of_ours_are_not_asked() -> None:
    with short_folder() as place:
        models = {
            "ours": Model(backend="fake"),
            "cloud": Model(backend="openai", url="https://api.example.com/v1"),
            "called": Model(backend="openai", url=f"{CLOSED}/v1", cloud=True),
        }
        async with running_gateway(config(models), Path(place), asks_remotes=True) as gate:
            assert (await look(gate)).seen == {}


async def test_what_left_the_configuration_is_forgotten() -> None:
    with short_folder() as place:
        async with running_gateway(config({"m": Model(backend="ollama", url=CLOSED)}), Path(place)) as gate:
            elsewhere = Elsewhere(gate.gateway.fleet.stations)
            elsewhere.seen["gone"] = Seen("does not answer")
            await elsewhere.look()
            assert set(elsewhere.seen) == {"m"}
