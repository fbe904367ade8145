"""How long models stay at the word of Ollama's clients: loading and leaving without an answer, `keep_alive`."""

from pathlib import Path
from typing import Any

import pytest
from gateway import Gate, config, on_uvloop, request, running_gateway, until

from rolecast.config.schema import Model, Seconds

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop
CHAT, GENERATE, EMBED = "/api/chat", "/api/generate", "/api/embed"
HELLO: list[dict[str, str]] = [{"role": "user", "content": "hello"}]
MODELS = {
    "m": Model(backend="fake", aliases=["a"]),
    "v": Model(backend="fake", capabilities=["embeddings"]),
    "p": Model(backend="fake", pinned=True),
    "ever": Model(backend="fake", idle_timeout=Seconds(0)),
}


async def post(gate: Gate, path: str, **fields: Any) -> Any:
    return await gate.ask(request({"model": "m", **fields}, path=path))


def state(gate: Gate, model: str = "m") -> str:
    return str(gate.gateway.fleet.worker(model).state)


async def test_a_request_without_a_question_loads_the_model_or_lets_it_go(tmp_path: Path) -> None:
    async with running_gateway(config(MODELS), tmp_path) as gate:
        for path, fields, empty in (
            (GENERATE, {}, {"response": ""}),
            (CHAT, {"messages": []}, {"message": {"role": "assistant", "content": ""}}),
        ):
            for name in ("m", "a:latest", "auto"):
                told = (await post(gate, path, model=name, **fields)).json
                assert (told["model"], told["done"], told["done_reason"], state(gate)) == (name, True, "load", "ready")
                assert {key: told[key] for key in empty} == empty
                told = (await post(gate, path, model=name, keep_alive=0, **fields)).json
                assert (told["done"], told["done_reason"]) == (True, "unload")
                await until(lambda: state(gate) == "cold")
        again = (await post(gate, GENERATE, keep_alive=0)).json
        assert (again["done_reason"], state(gate)) == ("unload", "cold")
        assert {row.outcome for row in await gate.rows()} == {"ok"}


async def test_any_kind_of_model_is_loaded_so(tmp_path: Path) -> None:
    async with running_gateway(config(MODELS), tmp_path) as gate:
        assert (await post(gate, GENERATE, model="v")).json["done_reason"] == "load"
        assert state(gate, "v") == "ready"
        assert (await post(gate, EMBED, model="v", input=[], keep_alive=0)).json["embeddings"] == []
        await until(lambda: state(gate, "v") == "cold")
        assert (await post(gate, GENERATE, model="nobody")).status == 404


async def test_a_model_that_cannot_load_says_why(tmp_path: Path) -> None:
    models = {"m": Model(source=f"file:{tmp_path}/none.gguf")}
    async with running_gateway(config(models), tmp_path) as gate:
        answer = await post(gate, GENERATE)
        assert (answer.status, "not here" in answer.json["error"]) == (503, True)


async def test_a_pinned_model_stays_and_says_so(tmp_path: Path) -> None:
    async with running_gateway(config(MODELS), tmp_path) as gate:
        await until(lambda: state(gate, "p") == "ready")
        refused = await post(gate, GENERATE, model="p", keep_alive=0)
        assert (refused.status, "pinned" in refused.json["error"]) == (409, True)
        assert (await post(gate, CHAT, model="p", messages=HELLO, keep_alive=0, stream=False)).status == 200
        assert not gate.gateway.fleet.worker("p").idles


@pytest.mark.parametrize(
    ("path", "model", "fields"),
    [
        (CHAT, "m", {"messages": HELLO}),
        (GENERATE, "m", {"prompt": "hello"}),
        (GENERATE, "m", {"prompt": "hello", "raw": True}),
        (EMBED, "v", {"input": "hello"}),
    ],
)
async def test_a_model_leaves_when_the_last_request_said(
    tmp_path: Path, path: str, model: str, fields: dict[str, Any]
) -> None:
    async with running_gateway(config(MODELS), tmp_path) as gate:
        worker = gate.gateway.fleet.worker(model)
        assert (await post(gate, path, model=model, keep_alive="1h", **fields)).status == 200
        assert (worker.idles, worker.idle_timeout_s) == (True, 3600)
        assert (await post(gate, path, model=model, **fields)).status == 200
        assert worker.idle_timeout_s == 3600, "a request that says nothing changes nothing"
        assert (await post(gate, path, model=model, keep_alive=-1, **fields)).status == 200
        assert not worker.idles
        assert (await post(gate, path, model=model, keep_alive="0s", **fields)).status == 200
        await until(lambda: state(gate, model) == "cold")
        assert (await post(gate, path, model=model, **fields)).status == 200
        assert worker.idle_timeout_s == 600, "the next start goes by the settings"


async def test_a_model_without_a_limit_leaves_when_a_request_says_so(tmp_path: Path) -> None:
    async with running_gateway(config(MODELS), tmp_path) as gate:
        await post(gate, CHAT, model="ever", messages=HELLO)
        assert not gate.gateway.fleet.worker("ever").idles
        await post(gate, CHAT, model="ever", messages=HELLO, keep_alive=0)
        await until(lambda: state(gate, "ever") == "cold")


async def test_what_is_loaded_is_listed_with_its_end(tmp_path: Path) -> None:
    async with running_gateway(config(MODELS), tmp_path) as gate:
        await until(lambda: state(gate, "p") == "ready")
        await post(gate, GENERATE, keep_alive="10m")
        told = (await gate.ask(request(None, path="/api/ps", method="GET"))).json["models"]
        (first, second) = sorted(told, key=lambda each: each["name"])
        assert (first["name"], second["name"]) == ("m:latest", "p:latest")
        assert second["expires_at"].startswith("2318-")
        assert first["expires_at"] < second["expires_at"]
        assert first["size"] > 0
