"""Variants of models: what reaches the worker, in every dialect, and how clients of Ollama make and delete them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import (
    CHAT,
    Answer,
    Gate,
    Received,
    ScriptedWorker,
    chat,
    config,
    on_uvloop,
    remote,
    reply,
    request,
    running_gateway,
)

from rolecast.config import load
from rolecast.config.sampling import SamplingSettings
from rolecast.config.schema import Model, Opening, Parameters, Variant
from rolecast.errors import ConfigError

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

MARIO = Variant(
    model="m",
    system="You are Mario.",
    messages=[Opening(role="user", content="Who?"), Opening(role="assistant", content="It's me.")],
    parameters=Parameters(
        temperature=0.25, top_k=7, num_predict=9, stop=["END"], repeat_penalty=1.5, mirostat=1, num_ctx=99
    ),
    license="MIT",
    description="A plumber.",
)
OPENED = [
    {"role": "system", "content": "You are Mario."},
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": "It's me."},
]
HELLO = {"role": "user", "content": "hello"}


@asynccontextmanager
async def staged(folder: Path, **models: Model) -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    async with ScriptedWorker().listening() as worker:
        conf = config({"m": remote(worker.url), **models})
        conf = msgspec.structs.replace(conf, variants={"mario": MARIO, "plain": Variant(model="standard")})
        async with running_gateway(conf, folder) as gate:
            yield gate, worker


async def post(gate: Gate, path: str, method: str = "POST", **body: Any) -> Answer:
    return await gate.ask(request(body, path=path, method=method), method=method)


async def get(gate: Gate, path: str) -> Answer:
    return await gate.ask(request(None, path=path, method="GET"), method="GET")


async def sent(gate: Gate, worker: ScriptedWorker, path: str, **body: Any) -> dict[str, Any]:
    """What the worker got."""
    worker.requests.clear()
    answer = await post(gate, path, **body)
    assert answer.status == 200, answer.body
    received: Received = worker.requests[-1]
    assert isinstance(received.json, dict)
    return received.json


# -- what reaches the worker -----------------------------------------------------------------------------------


ASK: dict[str, Callable[..., tuple[str, dict[str, Any]]]] = {
    "openai": lambda **more: (CHAT, {"messages": [HELLO], **more}),
    "ollama": lambda **more: ("/api/chat", {"messages": [HELLO], "stream": False, **more}),
    "generate": lambda **more: ("/api/generate", {"prompt": "hello", "stream": False, **more}),
    "responses": lambda **more: ("/v1/responses", {"input": "hello", "store": False, **more}),
}


@pytest.mark.parametrize("dialect", [*ASK, "anthropic"])
async def test_the_prompt_the_messages_and_the_settings_reach_the_worker(tmp_path: Path, dialect: str) -> None:
    async with staged(tmp_path) as (gate, worker):
        if dialect == "anthropic":
            got = await sent(gate, worker, "/v1/messages", model="mario", messages=[HELLO], max_tokens=3)
            assert got.pop("max_tokens") == 3
        else:
            path, body = ASK[dialect](model="mario")
            got = await sent(gate, worker, path, **body)
            assert got.pop("max_tokens") == 9
        assert got["messages"] == [*OPENED, HELLO]
        settings = {name: got[name] for name in ("temperature", "top_k", "stop", "repetition_penalty", "mirostat")}
        assert settings == {
            "temperature": 0.25,
            "top_k": 7,
            "stop": ["END"],
            "repetition_penalty": 1.5,
            "mirostat": 1,
        }
        assert got["model"] == "m"
        assert "num_ctx" not in got


async def test_what_a_request_says_itself_wins(tmp_path: Path) -> None:
    mine = {"role": "system", "content": "Be brief."}
    async with staged(tmp_path) as (gate, worker):
        said = {"temperature": 0, "max_completion_tokens": 2, "stop": None, "repeat_penalty": 1.1, "odd": [1]}
        got = await sent(gate, worker, CHAT, model="mario", messages=[mine, HELLO], **said)
        assert got["messages"] == [mine, *OPENED[1:], HELLO]
        assert (got["temperature"], got["max_completion_tokens"], got["repeat_penalty"]) == (0, 2, 1.1)
        assert (got["stop"], got["odd"]) == (["END"], [1])
        assert not {"max_tokens", "repetition_penalty"} & set(got)
        options = {"temperature": 0, "num_predict": 4}
        got = await sent(
            gate, worker, "/api/generate", model="mario", prompt="hello", system="Be brief.", options=options
        )
        assert got["messages"] == [mine, *OPENED[1:], HELLO]
        assert (got["temperature"], got["max_tokens"], got["top_k"]) == (0, 4, 7)
        body = {"model": "mario", "messages": [HELLO], "max_tokens": 3, "system": "Be brief."}
        assert (await sent(gate, worker, "/v1/messages", **body))["messages"] == [mine, *OPENED[1:], HELLO]
        got = await sent(gate, worker, "/v1/responses", model="mario", input="hello", instructions="Be brief.")
        assert got["messages"] == [mine, *OPENED[1:], HELLO]


async def test_a_model_s_own_settings_hold_where_neither_a_variant_nor_the_request_says_anything(
    tmp_path: Path,
) -> None:
    own = SamplingSettings(temperature=0.5, top_p=0.75, repeat_penalty=1.125, typical_p=0.5, stop="X", num_predict=6)
    async with staged(tmp_path) as (gate, worker):
        conf = gate.gateway.current.config
        models = {"m": msgspec.structs.replace(conf.models["m"], sampling=own)}
        async with running_gateway(msgspec.structs.replace(conf, models=models), tmp_path / "2") as second:
            got = await sent(second, worker, CHAT, model="m", messages=[HELLO], temperature=0, stop=["Y"])
            assert [got[name] for name in ("temperature", "top_p", "repetition_penalty")] == [0, 0.75, 1.125]
            assert (got["stop"], got["typical_p"], got["max_tokens"]) == (["Y"], 0.5, 6)
            got = await sent(second, worker, "/api/chat", model="standard", messages=[HELLO], stream=False)
            assert (got["temperature"], got["stop"], got["typical_p"]) == (0.5, ["X"], 0.5)
            got = await sent(second, worker, CHAT, model="mario", messages=[HELLO])
            assert (got["temperature"], got["top_p"], got["stop"], got["max_tokens"]) == (0.25, 0.75, ["END"], 9)
            assert (got["repetition_penalty"], got["mirostat"], got["typical_p"]) == (1.5, 1, 0.5)
            form = {"type": "json_object"}
            got = await sent(second, worker, CHAT, model="m", messages=[HELLO], response_format=form)
            assert (got["temperature"], "repetition_penalty" in got) == (0.5, False)
            got = await sent(second, worker, "/api/chat", model="m", messages=[HELLO], format="json", stream=False)
            assert (got["temperature"], "repetition_penalty" in got) == (0.5, False)
            for none in ({"response_format": {"type": "text"}}, {"response_format": None}, {"grammar": ""}):
                assert (await sent(second, worker, CHAT, model="m", messages=[HELLO], **none))["repetition_penalty"]
            got = await sent(second, worker, CHAT, model="mario", messages=[HELLO], response_format=form)
            assert got["repetition_penalty"] == 1.5, "who makes a variant knows its forms"
            shown = (await post(second, "/api/show", model="m")).json["parameters"].splitlines()
            assert {"temperature 0.5", 'stop "X"', "repeat_penalty 1.125"} <= set(shown)


async def test_a_system_message_later_on_takes_nothing_away(tmp_path: Path) -> None:
    note = {"role": "system", "content": "A note."}
    async with staged(tmp_path) as (gate, worker):
        got = await sent(gate, worker, CHAT, model="mario", messages=[HELLO, note], stream=False)
        assert got["messages"] == [*OPENED, HELLO, note]
        got = await sent(gate, worker, "/api/chat", model="mario", messages=[HELLO, note], stream=False)
        told = "hello\n\n<system-reminder>\nA note.\n</system-reminder>"
        assert got["messages"] == [*OPENED, {"role": "user", "content": told}]


async def test_a_text_to_go_on_with_gets_settings_and_no_messages(tmp_path: Path) -> None:
    async with staged(tmp_path) as (gate, worker):
        worker.usual = reply(b'{"choices":[{"text":"x","index":0}]}')
        got = await sent(gate, worker, "/v1/completions", model="mario", prompt="once")
        assert (got["prompt"], got["top_k"], "messages" in got) == ("once", 7, False)
        got = await sent(gate, worker, "/api/generate", model="mario", prompt="once", raw=True, stream=False)
        assert (got["prompt"], got["top_k"], "messages" in got) == ("once", 7, False)


async def test_a_server_of_anthropics_kind_gets_its_own_words(tmp_path: Path) -> None:
    answer = b'{"type":"message","role":"assistant","content":[{"type":"text","text":"hi"}]}'
    async with staged(tmp_path) as (_, worker):
        conf = config({"m": Model(backend="anthropic", url=worker.url, key="k", parallel=4)})
        variants = {"mario": MARIO, "late": Variant(model="m", messages=[Opening(role="system", content="S")])}
        conf = msgspec.structs.replace(conf, variants=variants)
        worker.usual = reply(answer)
        async with running_gateway(conf, tmp_path) as gate:
            body: dict[str, Any] = {"messages": [HELLO], "max_tokens": 3}
            got = await sent(gate, worker, "/v1/messages", model="mario", **body)
            assert (got["system"], got["messages"]) == ("You are Mario.", [*OPENED[1:], HELLO])
            assert (got["temperature"], got["top_k"], got["stop_sequences"], got["max_tokens"]) == (0.25, 7, ["END"], 3)
            got = await sent(
                gate, worker, "/v1/messages", model="mario", system=[{"type": "text", "text": "B"}], **body
            )
            assert got["system"] == [{"type": "text", "text": "B"}]
            assert (await sent(gate, worker, "/v1/messages", model="late", **body))["system"] == "S"
            got = await sent(gate, worker, CHAT, model="mario", messages=[HELLO])
            assert (got["system"], len(got["messages"])) == ("You are Mario.", 3)


async def test_a_variant_that_says_nothing_lets_the_body_pass_as_it_is(tmp_path: Path) -> None:
    async with ScriptedWorker().listening() as worker:
        conf = config({"m": remote(worker.url, remote_model="plain")})
        conf = msgspec.structs.replace(conf, variants={"plain": Variant(model="m")})
        body = b'{ "model":"plain" ,"messages":[ {"role":"user","content":"hello"}]}'
        async with running_gateway(conf, tmp_path) as gate:
            assert (await gate.ask(request(body))).status == 200
            assert worker.requests[-1].body == body


async def test_the_books_have_the_variant_as_asked_and_its_model(tmp_path: Path) -> None:
    async with staged(tmp_path) as (gate, _):
        answer = await post(gate, CHAT, **chat(model="mario:latest"))
        assert answer.header("x-rolecast-model") == "m"
        assert (answer.header("x-rolecast-route") or "").startswith("variant; asked for variant mario")
        (row,) = await gate.rows()
        assert (row.asked, row.model, row.worker) == ("mario:latest", "m", "m")


async def test_a_variant_of_a_role_falls_back_and_keeps_its_prompt(tmp_path: Path) -> None:
    async with ScriptedWorker().listening() as worker:
        conf = config({"dead": remote("http://127.0.0.1:9/v1"), "m": remote(worker.url)})
        mario = msgspec.structs.replace(MARIO, model="both")
        conf = msgspec.structs.replace(
            conf, roles={"standard": ["m"], "both": ["dead", "m"]}, variants={"mario": mario}
        )
        async with running_gateway(conf, tmp_path) as gate:
            assert (await sent(gate, worker, CHAT, model="mario", messages=[HELLO]))["messages"] == [*OPENED, HELLO]


async def test_letting_a_variant_go_is_no_harm_to_a_pinned_model(tmp_path: Path) -> None:
    """Ollama's command lets a model go before it deletes it."""
    conf = config({"f": Model(backend="fake", pinned=True)})
    conf = msgspec.structs.replace(conf, variants={"v": Variant(model="f")})
    async with running_gateway(conf, tmp_path) as gate:
        assert (await post(gate, "/api/generate", model="v", keep_alive=0, stream=False)).status == 200
        assert (await post(gate, "/api/generate", model="f", keep_alive=0, stream=False)).status == 409


async def test_variants_are_in_every_list(tmp_path: Path) -> None:
    async with staged(tmp_path) as (gate, _):
        listed = {entry["id"]: entry for entry in (await get(gate, "/v1/models")).json["data"]}
        assert (listed["mario"]["kind"], listed["mario"]["root"]) == ("variant", "m")
        assert listed["mario"]["description"] == "A plumber."
        tags = {entry["name"]: entry for entry in (await get(gate, "/api/tags")).json["models"]}
        assert tags["mario:latest"]["details"]["parent_model"] == "m"
        assert tags["mario:latest"]["digest"] != tags["plain:latest"]["digest"]
        shown = (await post(gate, "/api/show", model="mario")).json
        assert (shown["system"], shown["license"]) == ("You are Mario.", "MIT")
        assert shown["messages"] == OPENED[1:]
        assert "temperature 0.25" in shown["parameters"].splitlines()
        assert 'stop "END"' in shown["parameters"].splitlines()
        for line in ("FROM m", 'SYSTEM """You are Mario."""', "PARAMETER top_k 7", 'MESSAGE user """Who?"""'):
            assert line in shown["modelfile"].splitlines()


async def test_an_edit_of_a_variant_applies_while_the_gateway_runs(tmp_path: Path) -> None:
    async with ScriptedWorker().listening() as worker:
        file = tmp_path / "rolecast.yaml"
        storage = f"storage: {{url: 'sqlite:///{tmp_path}/ledger.db', models: '{tmp_path}/models'}}"
        whole = f"server: {{port: 0}}\n{storage}\nmodels: {{m: {{backend: openai, url: '{worker.url}'}}}}\n"
        whole += "roles: {standard: [m]}\n"
        file.write_text(whole + "variants: {v: {model: m, system: one}}\n")
        async with running_gateway(load(file), tmp_path, file) as gate:
            assert (await make(gate, system="made")).status == 200
            got = await sent(gate, worker, CHAT, model="v", messages=[HELLO])
            assert got["messages"][0]["content"] == "one"
            file.write_text(whole + "variants: {v: {model: m, system: two}, luigi: {model: m, system: mine}}\n")
            report = await gate.gateway.reloader.reload()
            assert "variants.v.system" in report.applied
            got = await sent(gate, worker, CHAT, model="v", messages=[HELLO])
            assert got["messages"][0]["content"] == "two"
            got = await sent(gate, worker, CHAT, model="luigi", messages=[HELLO])
            assert got["messages"][0]["content"] == "mine"
            file.write_text(whole + "variants: {v: {model: v}}\n")
            with pytest.raises(ConfigError, match="goes round in a circle"):
                await gate.gateway.reloader.reload()
            got = await sent(gate, worker, CHAT, model="v", messages=[HELLO])
            assert got["messages"][0]["content"] == "two"
            file.write_text(whole)
            await gate.gateway.reloader.reload()
            assert (await post(gate, CHAT, **chat(model="v"))).status == 404
            got = await sent(gate, worker, CHAT, model="luigi", messages=[HELLO])
            assert got["messages"][0]["content"] == "made"  # which waited


# -- made by clients -------------------------------------------------------------------------------------------


async def make(gate: Gate, **body: Any) -> Answer:
    return await post(gate, "/api/create", **{"model": "luigi", "from": "m", "stream": False, **body})


async def test_a_variant_that_a_client_makes_is_there_at_once_and_after_a_start(tmp_path: Path) -> None:
    more = {"system": "You are Luigi.", "parameters": {"temperature": 0.5, "num_ctx": 8192, "penalize_newline": True}}
    async with staged(tmp_path) as (gate, worker):
        made = await post(gate, "/api/create", model="luigi:latest", **{"from": "m"}, **more, license=["A", "B"])
        assert (made.status, made.header("content-type")) == (200, "application/x-ndjson")
        steps = [json.loads(line)["status"] for line in made.body.splitlines()]
        assert (steps[0], steps[-1]) == ("reading model metadata", "success")
        for name in ("luigi", "luigi:latest"):
            got = await sent(gate, worker, CHAT, model=name, messages=[HELLO])
            assert got["messages"] == [{"role": "system", "content": "You are Luigi."}, HELLO]
            assert got["temperature"] == 0.5
    async with staged(tmp_path) as (gate, worker):
        got = await sent(gate, worker, "/api/chat", model="luigi", messages=[HELLO], stream=False)
        assert got["messages"][0]["content"] == "You are Luigi."
        shown = (await post(gate, "/api/show", model="luigi")).json
        assert (shown["system"], shown["license"]) == ("You are Luigi.", "A\n\nB")
        assert (await post(gate, "/api/delete", "DELETE", model="luigi:latest")).status == 200
        assert (await post(gate, CHAT, **chat(model="luigi"))).status == 404
        assert (await post(gate, "/api/delete", "DELETE", model="luigi")).status == 404
    async with staged(tmp_path) as (gate, _):
        assert "luigi" not in [entry["id"] for entry in (await get(gate, "/v1/models")).json["data"]]


async def test_what_is_made_of_a_variant_keeps_what_it_does_not_say(tmp_path: Path) -> None:
    async with staged(tmp_path) as (gate, worker):
        assert (await make(gate, **{"from": "mario"}, parameters={"top_k": 1})).json == {"status": "success"}
        got = await sent(gate, worker, CHAT, model="luigi", messages=[HELLO])
        assert got["messages"] == [*OPENED, HELLO]
        assert (got["top_k"], got["temperature"]) == (1, 0.25)
        assert (await make(gate, **{"from": "luigi"}, system="Now else.")).status == 200
        got = await sent(gate, worker, CHAT, model="luigi", messages=[HELLO])
        assert (got["messages"][0]["content"], got["top_k"]) == ("Now else.", 1)
        assert (await post(gate, "/api/show", model="luigi")).json["modelfile"].splitlines()[1] == "FROM m"


async def test_a_copy_is_another_name(tmp_path: Path) -> None:
    async with staged(tmp_path) as (gate, worker):
        for source, name in (("mario", "toad"), ("m", "m2:7b"), ("standard", "team/role"), ("toad", "toad-2")):
            assert (await post(gate, "/api/copy", source=source, destination=name)).status == 200
        for name, first in (("toad", OPENED), ("m2:7b", []), ("team/role", []), ("toad-2", OPENED)):
            assert (await sent(gate, worker, CHAT, model=name, messages=[HELLO]))["messages"] == [*first, HELLO]
        assert (await post(gate, "/api/copy", source="nobody", destination="x")).status == 404
        assert (await post(gate, "/api/copy", source="m")).status == 400
        for body in (b"{", b"[]", b'{"source":1}', b'{"source":"\xff"}', b""):
            assert (await gate.ask(request(body, path="/api/copy"))).status == 400


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"from": ""}, 400, "`from` is missing"),
        ({"from": "nobody"}, 404, "not found"),
        ({"from": "/etc/passwd"}, 404, "does not exist here"),
        ({"from": "/no/such/file"}, 404, "does not exist here"),
        ({"model": "../x"}, 400, "invalid model name"),
        ({"model": "/etc/passwd"}, 400, "invalid model name"),
        ({"model": "a/../b"}, 400, "invalid model name"),
        ({"model": "Mario\u00fc\U0001f344"}, 400, "invalid model name"),
        ({"model": "a\nb"}, 400, "invalid model name"),
        ({"model": "auto"}, 400, "invalid model name"),
        ({"model": "x" * 300}, 400, "invalid model name"),
        ({"model": "m"}, 409, "taken by the model"),
        ({"model": "m:latest"}, 409, "taken by the model"),
        ({"model": "standard"}, 409, "taken by the role"),
        ({"model": "mario:latest"}, 409, "variant of the configuration"),
        ({"template": "{{ .Prompt }}"}, 400, "template of the weights"),
        ({"adapters": {"a": "sha256:0"}}, 400, "adapters"),
        ({"quantize": "q4_0"}, 400, "quantize"),
        ({"files": {"x.gguf": "sha256:0"}, "from": ""}, 400, "no digest"),
        ({"files": {"x.gguf": "../../etc/passwd"}, "from": ""}, 400, "no digest"),
        ({"files": {"x.gguf": f"sha256:{'0' * 64}"}, "from": ""}, 404, "POST /api/blobs/"),
        ({"files": {"x.gguf": f"sha256:{'0' * 64}"}}, 400, "without `from`"),
        ({"files": {"a": "b", "c": "d"}, "from": ""}, 400, "one GGUF file"),
        ({"modelfile": "FROM m"}, 400, "Modelfile"),
        ({"parameters": {"temperature": 400}}, 400, "parameters.temperature"),
        ({"parameters": {"temperature": "hot"}}, 400, "parameters.temperature"),
        ({"parameters": {"magic": 1}}, 400, "parameters.magic"),
        ({"parameters": [1]}, 400, "JSON"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "JSON"),
        ({"messages": "x"}, 400, "JSON"),
        ({"system": 4}, 400, "JSON"),
        ({"system": "x" * 10_000_000}, 413, "shorter"),
    ],
)
async def test_what_cannot_be_made_is_said_and_leaves_nothing(
    tmp_path: Path, body: dict[str, Any], status: int, told: str
) -> None:
    async with staged(tmp_path) as (gate, _):
        before = (await get(gate, "/api/tags")).json
        refused = await make(gate, **body)
        assert (refused.status, list(refused.json)) == (status, ["error"])
        assert told in refused.json["error"]
        assert (await get(gate, "/api/tags")).json == before


async def test_a_variant_of_the_configuration_is_not_deleted(tmp_path: Path) -> None:
    async with staged(tmp_path) as (gate, _):
        refused = await post(gate, "/api/delete", "DELETE", model="mario")
        assert (refused.status, "configuration" in refused.json["error"]) == (409, True)


async def test_many_at_once_are_all_kept(tmp_path: Path) -> None:
    async with staged(tmp_path) as (gate, worker):
        answers = await asyncio.gather(*(make(gate, model=f"v{i}", system=f"S{i}") for i in range(50)))
        assert {answer.status for answer in answers} == {200}
        same = await asyncio.gather(*(make(gate, model="same", system=f"S{i}") for i in range(10)))
        assert {answer.status for answer in same} == {200}
        got = await sent(gate, worker, CHAT, model="v49", messages=[HELLO])
        assert got["messages"][0]["content"] == "S49"
    async with staged(tmp_path) as (gate, _):
        names = {entry["id"] for entry in (await get(gate, "/v1/models")).json["data"]}
        assert {*(f"v{i}" for i in range(50)), "same"} <= names


async def test_two_gateways_of_one_data_folder_take_nothing_from_each_other(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    async with staged(tmp_path) as (one, _), staged(tmp_path / "b") as (other, _):
        calls = [make(gate, model=f"{name}{i}") for i in range(10) for name, gate in (("a", one), ("b", other))]
        assert {answer.status for answer in await asyncio.gather(*calls)} == {200}
        for gate in (one, other):
            await gate.gateway.reloader.renew()
            names = {entry["id"] for entry in (await get(gate, "/v1/models")).json["data"]}
            assert {f"{name}{i}" for i in range(10) for name in "ab"} <= names
        assert (await post(one, "/api/delete", "DELETE", model="b3")).status == 200
        await other.gateway.reloader.renew()
        assert (await post(other, "/api/show", model="b3")).status == 404


async def test_one_whose_base_is_gone_says_so_and_comes_back_with_it(tmp_path: Path) -> None:
    async with staged(tmp_path, extra=Model(backend="fake")) as (gate, _):
        assert (await make(gate, **{"from": "extra"})).status == 200
    async with staged(tmp_path) as (gate, _):
        for path, body in ((CHAT, chat(model="luigi")), ("/api/show", {"model": "luigi"})):
            refused = await post(gate, path, **body)
            assert (refused.status, b"'extra'" in refused.body) == (404, True)
        assert "luigi" not in [entry["id"] for entry in (await get(gate, "/v1/models")).json["data"]]
    async with staged(tmp_path, luigi=Model(backend="fake")) as (gate, _):
        assert (await post(gate, CHAT, **chat(model="luigi"))).header("x-rolecast-model") == "luigi"
    async with staged(tmp_path, extra=Model(backend="fake")) as (gate, _):
        assert (await post(gate, CHAT, **chat(model="luigi"))).header("x-rolecast-model") == "extra"
        assert (await post(gate, "/api/delete", "DELETE", model="luigi")).status == 200


async def test_only_the_front_door_makes_and_deletes_and_wants_its_key(tmp_path: Path) -> None:
    from rolecast.config.schema import Listener

    models = {"f": Model(backend="fake")}
    listeners = [Listener(port=0, name="one", model="f")]
    async with running_gateway(config(models, listeners=listeners, keys=["k"]), tmp_path) as gate:
        body = {"model": "x", "from": "f", "source": "f", "destination": "x"}
        for path in ("/api/create", "/api/copy"):
            assert (await post(gate, path, **body)).status == 401
            head = "Authorization: Bearer k\r\n"
            assert (await gate.ask(request(body, path=path, head=head), "one")).status == 404
            foreign = head + "Origin: https://evil.example\r\n"
            assert (await gate.ask(request(body, path=path, head=foreign))).status == 403
            assert (await gate.ask(request(body, path=path, head=head))).status == 200
