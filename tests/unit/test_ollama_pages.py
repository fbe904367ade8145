"""Ollama's lists, pulls and deletions over HTTP, of a real gateway, with a hub on loopback."""

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import Answer, Gate, config, on_uvloop, remote, request, running_gateway, until
from hf_server import Hub, gguf_file, text, weights

from rolecast.config.schema import Listener, Model

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop
Q4 = "tiny-Q4_K_M.gguf"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    hub = Hub("owner/tiny", {Q4: weights(300)})
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
    yield hub
    hub.close()


def cast(**more: Model) -> dict[str, Model]:
    tiny = Model(source=f"hf:owner/tiny/{Q4}", aliases=["t"])
    return {"far/away:7b": remote("http://127.0.0.1:9/v1", tools=True), "tiny": tiny, **more}


async def get(gate: Gate, path: str, head: str = "", listener: str = "front door", method: str = "GET") -> Answer:
    return await gate.ask(request(None, path=path, method=method, head=head), listener, method=method)


async def post(gate: Gate, path: str, listener: str = "front door", method: str = "POST", **body: Any) -> Answer:
    return await gate.ask(request(body, path=path, method=method), listener)


def steps(answer: Answer) -> list[dict[str, Any]]:
    assert (answer.status, answer.header("content-type")) == (200, "application/x-ndjson")
    return [json.loads(line) for line in answer.body.splitlines()]


# -- lists ---------------------------------------------------------------------------------------------------------


async def test_every_name_that_can_be_asked_is_listed_with_its_tag(hub: Hub, tmp_path: Path) -> None:
    conf = config(cast(off=Model(backend="fake", enabled=False), f=Model(backend="fake", aliases=["g"])))
    async with running_gateway(conf, tmp_path) as gate:
        models = (await get(gate, "/api/tags")).json["models"]
        names = [model["name"] for model in models]
        assert sorted(names) == ["auto:latest", "f:latest", "far/away:7b", "g:latest", "standard:latest"]
        assert [model["model"] for model in models] == names
        assert all(re.fullmatch(r"[0-9a-f]{64}", model["digest"]) for model in models)
        parents = {model["name"]: model["details"]["parent_model"] for model in models}
        assert (parents["f:latest"], parents["g:latest"], parents["auto:latest"]) == ("", "f", "far/away:7b")
        for name in [*names, *(name.removesuffix(":latest") for name in names)]:
            assert (await post(gate, "/api/show", model=name)).status == 200
        assert (await post(gate, "/api/pull", name="tiny:latest")).status == 200
        assert "tiny:latest" in [m["name"] for m in (await get(gate, "/api/tags")).json["models"]]


async def test_what_a_model_is_comes_from_its_weights(tmp_path: Path) -> None:
    template = "{% if tools %}x{% endif %}<think>" + "y" * 500
    settings = (("tokenizer.chat_template", 8, text(template)), ("general.file_type", 4, b"\x0f\x00\x00\x00"))
    file = tmp_path / "w.gguf"
    file.write_bytes(gguf_file(*settings))
    model = Model(source=f"file:{file}", context=2048, license="MIT")
    conf = msgspec.structs.replace(
        config({"m": model, "e": Model(backend="fake", capabilities=["embeddings"])}), roles={"both": ["e", "m"]}
    )
    async with running_gateway(conf, tmp_path) as gate:
        told = (await post(gate, "/api/show", model="m", verbose=True)).json
        assert told["capabilities"] == ["completion", "tools", "thinking"]
        assert (told["template"], told["license"], told["parameters"]) == (template, "MIT", "num_ctx 2048")
        assert told["details"]["format"] == "gguf"
        assert (told["details"]["family"], told["details"]["quantization_level"]) == ("llama", "Q4_K_M")
        assert told["model_info"]["general.architecture"] == "llama"
        assert told["model_info"]["llama.context_length"] == 2048
        assert (await post(gate, "/api/show", name="e")).json["capabilities"] == ["embedding"]
        assert "tools" in (await post(gate, "/api/show", model="both")).json["capabilities"]
        (listed,) = [m for m in (await get(gate, "/api/tags")).json["models"] if m["name"] == "m:latest"]
        assert listed["size"] == file.stat().st_size


async def test_clients_of_ollama_know_the_server(tmp_path: Path) -> None:
    listeners = [Listener(port=0, name="one", model="f")]
    async with running_gateway(config({"f": Model(backend="fake")}, listeners=listeners), tmp_path) as gate:
        version = (await get(gate, "/api/version")).json["version"]
        assert tuple(map(int, version.split("."))) >= (0, 6, 4)
        for listener in ("front door", "one"):
            for agent in ("ollama/0.12.6 (amd64 linux) Go/go1.24", "ollama-python/0.6.3"):
                known = await get(gate, "/", f"User-Agent: {agent}\r\n", listener)
                assert (known.status, known.body) == (200, b"Ollama is running")
            assert (await get(gate, "/", listener=listener, method="HEAD")).status == 200
            assert (await get(gate, "/", listener=listener)).json["service"] == "rolecast"


async def test_a_port_of_one_model_lists_that_alone(tmp_path: Path) -> None:
    models = {"f": Model(backend="fake"), "other": Model(backend="fake")}
    listeners = [Listener(port=0, name="one", model="f")]
    async with running_gateway(config(models, listeners=listeners), tmp_path) as gate:
        assert [m["name"] for m in (await get(gate, "/api/tags", listener="one")).json["models"]] == ["f:latest"]
        assert (await post(gate, "/api/show", "one", model="whatever")).json["modelfile"].endswith("FROM f\n")
        assert (await post(gate, "/api/pull", "one", model="f")).status == 404


# -- pulls ---------------------------------------------------------------------------------------------------------


async def test_a_pull_tells_how_far_it_is(hub: Hub, tmp_path: Path) -> None:
    hub.hold = threading.Event()
    async with running_gateway(config(cast()), tmp_path) as gate:
        async with gate.client() as client:
            await client.send(request({"model": "t", "insecure": True}, path="/api/pull"))
            assert (await client.head())[0] == 200
            pieces = client.chunks()
            told = [json.loads(await anext(pieces))]
            assert told == [{"status": "pulling manifest"}]
            await until(hub.holding.is_set)
            hub.hold.set()
            told += [json.loads(line) async for piece in pieces for line in piece.splitlines()]
        assert told[-1] == {"status": "success"}
        layers = [step for step in told if "digest" in step]
        assert all(step["completed"] <= step["total"] == len(hub.files[Q4]) for step in layers)
        assert all(step["status"] == f"pulling {step['digest'].removeprefix('sha256:')[:12]}" for step in layers)
        again = steps(await post(gate, "/api/pull", model="tiny"))
        assert [step["status"] for step in again] == ["pulling manifest", "verifying sha256 digest", "success"]
        assert (await post(gate, "/api/pull", model="tiny", stream=False)).json == {"status": "success"}


async def test_a_pull_that_fails_ends_with_the_reason(hub: Hub, tmp_path: Path) -> None:
    hub.corrupt = True
    model = Model(source=f"hf:owner/tiny/{Q4}", sha256="0" * 64)
    async with running_gateway(config({"f": Model(backend="fake"), "tiny": model}), tmp_path) as gate:
        last = steps(await post(gate, "/api/pull", model="tiny"))[-1]
        assert list(last) == ["error"]
        whole = await post(gate, "/api/pull", model="tiny", stream=False)
        assert (whole.status, list(whole.json)) == (502, ["error"])


async def test_only_models_of_the_configuration_are_pulled(hub: Hub, tmp_path: Path) -> None:
    async with running_gateway(config(cast()), tmp_path) as gate:
        for name in ("llama3.2", "hf.co/owner/tiny", "library/x:7b"):
            refused = await post(gate, "/api/pull", model=name)
            assert refused.status == 404
            assert "pull model manifest: file does not exist" in refused.json["error"]
        assert steps(await post(gate, "/api/pull", model="far/away:7b"))[-1] == {"status": "success"}
        assert not hub.seen


# -- deletions -----------------------------------------------------------------------------------------------------


async def test_weights_are_deleted_and_can_be_pulled_again(hub: Hub, tmp_path: Path) -> None:
    async with running_gateway(config(cast()), tmp_path) as gate:
        absent = await post(gate, "/api/delete", method="DELETE", model="tiny")
        assert (absent.status, "not found" in absent.json["error"]) == (404, True)
        for _ in range(2):
            assert steps(await post(gate, "/api/pull", model="tiny"))[-1] == {"status": "success"}
            assert list((tmp_path / "models").rglob(Q4))
            gone = await post(gate, "/api/delete", method="DELETE", name="tiny")
            assert (gone.status, gone.body) == (200, b"")
            assert not list((tmp_path / "models").rglob(Q4))
            assert "tiny:latest" not in [m["name"] for m in (await get(gate, "/api/tags")).json["models"]]


async def test_a_client_that_was_given_the_address_of_openais_is_told_ours(tmp_path: Path) -> None:
    async with running_gateway(config({"f": Model(backend="fake")}), tmp_path) as gate:
        for refused in (await get(gate, "/v1/api/tags"), await post(gate, "/v1/api/chat", model="f", messages=[])):
            assert (refused.status, list(refused.json)) == (404, ["error"])
            assert "clients want the address without /v1" in refused.json["error"]


async def test_weights_that_are_needed_or_not_ours_stay(hub: Hub, tmp_path: Path) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(weights(1))
    source = f"hf:owner/tiny/{Q4}"
    models = {
        "own": Model(source=f"file:{own}"),
        "one": Model(source=source),
        "two": Model(source=source, aliases=["second"]),
        "far": remote("http://127.0.0.1:9/v1"),
    }
    conf = msgspec.structs.replace(config(models), roles={"standard": ["one", "two"], "coding": ["one"]})
    async with running_gateway(conf, tmp_path) as gate:
        assert steps(await post(gate, "/api/pull", model="one"))[-1] == {"status": "success"}
        for name, status, told in (
            ("two", 409, "one needs the same weights"),
            ("own", 409, "not downloaded by Rolecast"),
            ("far", 400, "runs elsewhere"),
            ("second", 400, "second is an alias of the configuration, which stays; weights are deleted by the name"),
            ("standard", 400, "standard is a role of the configuration"),
            ("coding", 400, "by the name of their model: one"),
            ("auto", 400, "by the name of their model: one or two"),
            ("nobody", 404, "not found"),
        ):
            refused = await post(gate, "/api/delete", method="DELETE", model=name)
            assert (refused.status, told in refused.json["error"]) == (status, True), refused.json
        assert own.exists()
        assert list((tmp_path / "models").rglob(Q4))


# -- what is not possible ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/push"])
async def test_what_is_not_possible_says_what_is(tmp_path: Path, path: str) -> None:
    async with running_gateway(config({"f": Model(backend="fake")}), tmp_path) as gate:
        refused = await post(gate, path, source="f", destination="g")
        assert (refused.status, list(refused.json)) == (400, ["error"])
        assert "not possible here" in refused.json["error"]


@pytest.mark.parametrize("path", ["/api/show", "/api/pull", "/api/delete", "/api/create", "/api/copy"])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model":1}', b'{"model":"\xff"}', b"[" * 100_000])
async def test_a_bad_body_is_the_clients_mistake(tmp_path: Path, path: str, body: bytes) -> None:
    method = "DELETE" if path == "/api/delete" else "POST"
    async with running_gateway(config({"f": Model(backend="fake")}), tmp_path) as gate:
        refused = await gate.ask(request(body, path=path, method=method))
        assert (refused.status, list(refused.json)) == (400, ["error"])


async def test_every_refusal_of_these_paths_is_a_text(tmp_path: Path) -> None:
    async with running_gateway(config({"f": Model(backend="fake")}, keys=["k"]), tmp_path) as gate:
        assert list((await get(gate, "/api/tags")).json) == ["error"]
        with_key = "Authorization: Bearer k\r\n"
        for path, status in (("/api/nothing", 404), ("/api/show", 405), ("/api/generate", 405)):
            refused = await get(gate, path, with_key)
            assert (refused.status, list(refused.json)) == (status, ["error"])
