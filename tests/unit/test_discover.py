"""`rolecast discover`: what runs here is found, and what it prints is a configuration that works."""

import json
from collections.abc import AsyncIterator

import anyio
import pytest
from gateway import on_uvloop
from ollama_server import OllamaServer
from typer.testing import CliRunner

from rolecast import backends
from rolecast.backends.offered import Offered
from rolecast.cli.commands import app
from rolecast.cli.discover import Server, snippet
from rolecast.config.load import read

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop


@pytest.fixture
async def server() -> AsyncIterator[OllamaServer]:
    async with OllamaServer(("qwen3:8b", "llama3:latest")).listening() as running:
        yield running


async def ran(*words: str) -> tuple[int, str]:
    result = await anyio.to_thread.run_sync(lambda: CliRunner().invoke(app, ["discover", *words]))
    return result.exit_code, result.output


async def test_an_ollama_is_found_with_what_its_models_can(server: OllamaServer) -> None:
    code, said = await ran(server.url, "--json")
    assert code == 0
    (found,) = json.loads(said)["servers"]
    assert (found["backend"], found["url"]) == ("ollama", server.url)
    assert [one["name"] for one in found["models"]] == ["qwen3:8b", "llama3:latest"]
    assert found["models"][0]["context"] == 40960
    assert set(found["models"][0]["capabilities"]) == {"chat", "completion", "tools", "thinking"}


async def test_what_is_printed_is_a_configuration(server: OllamaServer) -> None:
    _, said = await ran(server.url)
    text = said[said.index("models:") :]
    config = read(text + "\nroles: {standard: [llama3:latest]}\n", name="x.yaml", backends=backends.table())
    model = config.models["qwen3:8b"]
    assert (model.backend, model.url, model.context, model.tools) == ("ollama", server.url, 40960, True)
    assert "thinking" in model.capabilities


async def test_where_nobody_answers_it_says_how_to_name_one() -> None:
    code, said = await ran("http://127.0.0.1:9")
    assert code == 1
    assert "rolecast discover http://HOST:PORT" in said


def test_names_that_two_servers_have_are_told_apart() -> None:
    here, there = (Server(kind, f"http://{kind}", (Offered("m"), Offered("null"))) for kind in ("ollama", "openai"))
    text = snippet([here, there]) + "\nroles: {standard: [m]}\n"
    config = read(text, name="x.yaml", backends=backends.table())
    assert set(config.models) == {"m", "null", "openai/m", "openai/null"}
    assert config.models["openai/m"].remote_model == "m"


def test_a_model_that_embeds_is_configured_so() -> None:
    text = snippet([Server("openai", "http://x/v1", (Offered("nomic-embed-text", 2048), Offered("m")))])
    config = read(text + "\nroles: {standard: [m]}\n", name="x.yaml", backends=backends.table())
    assert config.models["nomic-embed-text"].capabilities == ["embeddings"]
