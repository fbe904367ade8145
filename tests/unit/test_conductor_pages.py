"""Conductor's pages: models, categories, sessions and figures, and what loads, unloads and reloads, guarded."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import Answer, Gate, chat, config, remote, request, running_gateway, until

from rolecast.config import read
from rolecast.config.categories import Categories
from rolecast.config.labels import CATEGORIES
from rolecast.config.presets import text
from rolecast.config.schema import Config, Listener, Model, Routing, Seconds
from rolecast.fleet import State

pytestmark = pytest.mark.anyio
FIELDS = {"technical_name", "category", "status", "memory_gb", "generation_count", "stay_loaded"}
SLASHES = "org/with:all"
JSON = "Content-Type: application/json\r\n"
CONTROL = [
    ("POST", "/models/fast/load"),
    ("POST", "/models/fast/unload"),
    ("POST", "/reload-config"),
    ("DELETE", "/sessions/s"),
]


def cast(**server: Any) -> Config:
    """A model in a process of its own, one elsewhere, one without weights, and one that is not in use."""
    models = {
        "fast": Model(backend="fake", pinned=True, quantization="4-bit"),
        SLASHES: Model(backend="fake", idle_timeout=Seconds(0)),
        "far": remote("http://127.0.0.1:9/v1"),
        "absent": Model(source="file:/nowhere/x.gguf"),
        "off": Model(backend="fake", enabled=False),
    }
    roles: dict[str, Any] = {"general_reasoning": ["fast"], "translation": [SLASHES], "summarization": ["fast"]}
    roles |= {"code_review_debugging": ["far"], "erp": ["far"]}
    listeners = [
        Listener(port=0, name="single", model="fast", surface="conductor"),
        Listener(port=0, name="plain", model="fast"),
        Listener(port=0, name="second", surface="conductor"),
    ]
    made = config(models, listeners=listeners, **server)
    return msgspec.structs.replace(made, roles=roles, routing=Routing(default="general_reasoning"))


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    async with running_gateway(cast(surface="conductor"), tmp_path) as running:
        await until(lambda: running.gateway.fleet.worker("fast").state is State.READY, "the pinned model is loaded")
        yield running


async def get(gate: Gate, path: str, port: str = "front door", head: str = "") -> Answer:
    return await gate.ask(request(path=path, method="GET", head=head), port, "GET")


async def post(gate: Gate, path: str, head: str = "", method: str = "POST", port: str = "front door") -> Answer:
    return await gate.ask(request(path=path, method=method, head=head), port, method)


async def prompt(gate: Gate, path: str = "/generate", head: str = "", **fields: Any) -> Answer:
    return await gate.ask(request({"prompt": "Hi", **fields}, path=path, head=head))


async def listed(gate: Gate, path: str = "/models") -> dict[str, Any]:
    answer = await get(gate, path)
    assert answer.status == 200, answer.body
    return {each["technical_name"]: each for each in answer.json}


# -- models --------------------------------------------------------------------------------------------------------


async def test_the_list_tells_what_runs_what_it_takes_and_what_it_has_answered(gate: Gate) -> None:
    for path in ("/translate", "/summarize", "/legal/analyze"):
        assert (await prompt(gate, path)).status == 200
    models = await listed(gate)
    assert set(models) == {"fast", SLASHES, "far", "absent"}
    assert all(set(each) >= FIELDS for each in models.values())
    told = {name: (m["status"], m["category"], m["generation_count"], m["stay_loaded"]) for name, m in models.items()}
    assert told == {
        "fast": ("loaded", "general_reasoning", 2, True),
        SLASHES: ("loaded", "translation", 1, False),
        "far": ("loaded", "code_review", 0, False),
        "absent": ("unloaded", "", 0, False),
    }
    assert models["fast"]["categories"] == ["general_reasoning", "summarization"]
    # What an interpreter takes at least, and not more than the machine could have given it.
    assert 0.005 < models["fast"]["memory_gb"] < 1
    assert models["far"]["memory_gb"] == models["absent"]["memory_gb"] == 0


async def test_models_is_conductors_list_on_its_surface_and_openais_elsewhere(gate: Gate, tmp_path: Path) -> None:
    assert (await get(gate, "/conductor/models")).json == (await get(gate, "/models")).json
    assert (await get(gate, "/v1/models")).json["object"] == "list"
    assert {each["technical_name"] for each in (await get(gate, "/models", "second")).json} >= {"fast", "far"}
    assert [each["technical_name"] for each in (await get(gate, "/models", "single")).json] == ["fast"]
    assert (await get(gate, "/models", "plain")).json["object"] == "list"
    async with running_gateway(cast(), tmp_path / "other") as usual:
        assert (await get(usual, "/models")).json["object"] == "list"
        assert set(await listed(usual, "/conductor/models")) >= {"fast", "far"}
        now = usual.gateway.current.config
        server = msgspec.structs.replace(now.server, surface="conductor")
        await usual.gateway.reloader.apply(msgspec.structs.replace(now, server=server))
        assert set(await listed(usual)) >= {"fast", "far"}


@pytest.mark.parametrize("name", [SLASHES, "org%2Fwith%3Aall", "org%2fwith:all", "translation"])
async def test_a_model_is_loaded_behind_the_answer_and_unloaded(gate: Gate, name: str) -> None:
    worker = gate.gateway.fleet.worker(SLASHES)
    answer = await post(gate, f"/models/{name}/load")
    assert (answer.status, set(answer.json)) == (200, {"message"})
    await until(lambda: worker.state is State.READY, "it is loaded")
    assert (await listed(gate))[SLASHES]["status"] == "loaded"
    answer = await post(gate, f"/models/{name}/unload", JSON)
    assert (answer.status, set(answer.json), worker.state) == (200, {"message"}, State.COLD)
    assert (await listed(gate))[SLASHES]["status"] == "unloaded"


@pytest.mark.parametrize("name", ["nobody", "a/b/c", "off", "%00", "\u00fc".encode().hex("%")])
@pytest.mark.parametrize("what", ["load", "unload"])
async def test_an_unknown_model_is_404(gate: Gate, name: str, what: str) -> None:
    answer = await post(gate, f"/models/{name}/{what}")
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


async def test_what_cannot_be_loaded_says_so_at_once(gate: Gate) -> None:
    answer = await post(gate, "/models/absent/load")
    assert (answer.status, answer.error["code"]) == (503, "load_failed")
    assert "weights" in answer.error["message"]
    for what in ("load", "unload"):
        far = await post(gate, f"/models/far/{what}")
        assert (far.status, "another server" in far.json["message"]) == (200, True)


# -- categories, figures -------------------------------------------------------------------------------------------


async def test_categories_are_those_that_somebody_answers_with_who_that_is(gate: Gate) -> None:
    answer = (await get(gate, "/categories")).json
    assert set(answer) == {"categories", "category_info"}
    assert answer["categories"] == [*(c for c in CATEGORIES if c != "image_generation"), "erp"]
    assert answer["category_info"]["translation"] == {"model": SLASHES, "precision": "", "stay_loaded": False}
    assert answer["category_info"]["legal_analysis"]["model"] == "fast"
    assert answer["category_info"]["code_review"]["model"] == "far"
    assert answer["category_info"]["general_reasoning"] == {"model": "fast", "precision": "4-bit", "stay_loaded": True}
    for category in answer["categories"]:
        if answer["category_info"][category]["model"] != "far":
            reply = (await prompt(gate, category=category)).json
            assert (reply["category"], reply["model"]) == (category, answer["category_info"][category]["model"])


def test_the_preset_has_every_category_under_both_names() -> None:
    preset = read(text("conductor"))
    categories = Categories.of(preset)
    assert [each.name for each in categories if each.asked] == [*(c for c in CATEGORIES if c != "image_generation")]
    for role, models in preset.roles.items():
        found = categories.find(role)
        assert found is not None
        assert found.models == tuple(models)
    assert preset.server.surface == "conductor"


async def test_the_figures_are_those_that_were_counted(gate: Gate) -> None:
    before = (await get(gate, "/stats")).json
    assert (before["request_count"], before["activity"]["most_used"]) == (0, [])
    for path in ("/summarize", "/legal/analyze", "/translate"):
        await prompt(gate, path, session_id="s")
    stats = (await get(gate, "/stats")).json
    assert set(stats) == {
        *("uptime_seconds", "request_count", "active_sessions", "memory_usage", "activity", "engine_count")
    }
    assert (stats["request_count"], stats["active_sessions"]) == (3, 1)
    assert stats["engine_count"] == len((await get(gate, "/categories")).json["categories"])
    memory, activity = stats["memory_usage"], stats["activity"]
    assert (memory["loaded_model_count"], {m["technical_name"] for m in memory["models"]}) == (2, {"fast", SLASHES})
    assert memory["total_memory_gb"] == pytest.approx(sum(m["memory_gb"] for m in memory["models"]), abs=0.002)
    assert (activity["total_generations"], activity["active_models"], activity["recently_used_count"]) == (3, 3, 2)
    assert activity["most_used"] == [
        {"technical_name": "fast", "generation_count": 2},
        {"technical_name": SLASHES, "generation_count": 1},
    ]


async def test_figures_are_also_told_by_category(gate: Gate) -> None:
    assert (await get(gate, "/stats")).json["activity"]["by_category"] == {}
    for path in ("/summarize", "/translate", "/translate"):
        await prompt(gate, path)
    await prompt(gate, category="erp")  # by a model that is not reached
    await gate.ask(request(chat(model="fast")))  # for no task
    found = (await get(gate, "/stats")).json["activity"]["by_category"]
    assert set(found) == {"summarization", "translation", "erp"}
    assert set(found["erp"]) == {
        *("request_count", "generation_count", "error_count", "tokens_generated", "average_seconds")
    }
    assert (found["translation"]["request_count"], found["translation"]["generation_count"]) == (2, 2)
    assert found["translation"]["tokens_generated"] > 0
    assert (found["erp"]["generation_count"], found["erp"]["error_count"]) == (0, 1)
    metrics = (await get(gate, "/metrics")).body.decode()
    assert 'rolecast_task_requests_total{outcome="ok",task="translation"} 2.0' in metrics
    assert 'rolecast_worker_memory_bytes{model="fast"}' in metrics


async def test_a_stand_in_is_named_and_its_memory_told_once(tmp_path: Path) -> None:
    made = msgspec.structs.replace(cast(surface="conductor"), stand_in="fast")
    async with running_gateway(made, tmp_path) as gate:
        assert (await prompt(gate, model="absent", temperature=0)).json["model"] == "absent"
        models = await listed(gate)
        assert (models["absent"]["stand_in"], models["absent"]["status"]) == ("fast", "loaded")
        assert (models["absent"]["generation_count"], models["absent"]["memory_gb"]) == (1, 0)
        assert models["fast"]["memory_gb"] > 0
        assert (await get(gate, "/stats")).json["memory_usage"]["loaded_model_count"] == 1


async def test_health_is_compact_and_has_conductors_fields(gate: Gate) -> None:
    answer = await get(gate, "/health")
    assert b'"status":"healthy"' in answer.body
    assert set(answer.json) >= {"loaded_models", "total_memory_gb", "uptime_seconds", "last_updated"}
    assert isinstance(answer.json["last_updated"], float)
    root = await get(gate, "/")
    assert set(root.json) == {"service", "version", "status", "docs"}
    assert b"/ui/reference.js" in (await get(gate, root.json["docs"])).body
    assert f"GET {root.json['docs']} lists" in (await get(gate, "/v1/nothing")).json["error"]["message"]


# -- sessions ------------------------------------------------------------------------------------------------------


async def test_sessions_are_remembered_echoed_listed_and_forgotten(gate: Gate) -> None:
    assert (await prompt(gate, session_id="a/b//c ?\u00fc")).json["session_id"] == "a/b//c ?\u00fc"
    assert (await prompt(gate, "/translate", head="X-Session-Id: header\r\n")).json["session_id"] == "header"
    both = await prompt(gate, "/chat/completions", head="X-Session-Id: header\r\n", session_id="body")
    assert both.json["session_id"] == "body"
    assert (await prompt(gate, "/summarize")).json["session_id"] is None
    told = (await get(gate, "/sessions")).json
    assert (told["active_sessions"], told["sessions"]) == (3, ["body", "header", "a/b//c ?\u00fc"])
    assert list(told["last_used"].values()) == sorted(told["last_used"].values(), reverse=True)
    for name in ("header", "a/b//c%20%3F%C3%BC", "/body"):
        gone = await post(gate, f"/sessions/{name}", method="DELETE")
        assert (gone.status, set(gone.json)) == (200, {"message"})
        again = await post(gate, f"/sessions/{name}", method="DELETE")
        assert (again.status, again.error["code"]) == (404, "session_not_found")
    assert (await get(gate, "/sessions")).json == {"active_sessions": 0, "sessions": [], "last_used": {}}


async def test_a_key_sees_its_own_sessions_alone(tmp_path: Path) -> None:
    async with running_gateway(cast(keys=["one", "two"]), tmp_path) as gate:
        heads = [f"Authorization: Bearer {key}\r\n" for key in ("one", "two")]
        await asyncio.gather(*(prompt(gate, head=head, session_id=f"s{i}") for i, head in enumerate(heads)))
        assert [(await get(gate, "/sessions", head=head)).json["sessions"] for head in heads] == [["s0"], ["s1"]]
        assert (await get(gate, "/stats", head=heads[0])).json["active_sessions"] == 1
        assert (await post(gate, "/sessions/s1", heads[0], "DELETE")).status == 404
        assert (await post(gate, "/sessions/s1", heads[1], "DELETE")).status == 200
        for path in ("/sessions", "/stats", "/categories", "/models", "/conductor/models"):
            assert (await get(gate, path)).status == 401
        for method, path in CONTROL:
            assert (await post(gate, path, method=method)).status == 401


async def test_other_requests_of_a_session_are_not_looked_at(gate: Gate) -> None:
    spoken = request(chat(model="fast"), path="/v1/chat/completions", head="X-Session-Id: s\r\n")
    assert (await gate.ask(spoken)).status == 200
    assert (await get(gate, "/sessions")).json["active_sessions"] == 0


# -- what changes something ----------------------------------------------------------------------------------------


async def test_the_configuration_is_read_again_and_a_bad_edit_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "rolecast.yaml"
    lines = "server: {port: 0}\nmodels: {m: {backend: fake}, n: {backend: fake}}\nroles: {translation: [%s]}\n"
    lines += "routing: {default: translation}\n"
    file.write_text(lines % "m")
    async with running_gateway(read(file.read_text()), tmp_path, file) as gate:
        assert (await prompt(gate, "/translate")).json["model"] == "m"
        file.write_text(lines % "n")
        answer = await post(gate, "/reload-config")
        assert (answer.status, "error" in answer.json) == (200, False)
        assert "roles.translation" in answer.json["message"]
        assert (await prompt(gate, "/translate")).json["model"] == "n"
        file.write_text(lines % "nobody")
        refused = await post(gate, "/reload-config", JSON)
        assert (refused.status, refused.error["code"]) == (400, "bad_config")
        assert (await prompt(gate, "/translate")).json["model"] == "n"


@pytest.mark.parametrize(("method", "path"), CONTROL)
async def test_other_web_sites_and_other_ports_change_nothing(gate: Gate, method: str, path: str) -> None:
    await prompt(gate, session_id="s")
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        form = await post(gate, path, f"Content-Type: {kind}\r\n", method)
        assert (form.status, form.error["code"]) == (415, "unsupported_media_type")
    for origin in ("https://evil.example", "null"):
        foreign = await post(gate, path, f"Origin: {origin}\r\n", method)
        assert (foreign.status, foreign.error["code"]) == (403, "origin_not_allowed")
    for port in ("plain", "single"):
        assert (await post(gate, path, method=method, port=port)).status == 404
    assert gate.gateway.fleet.worker("fast").state is State.READY
    assert (await get(gate, "/sessions")).json["sessions"] == ["s"]
