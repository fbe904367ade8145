"""POST /v1/route: the choice of a real request, told without asking a model."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import CHAT, DEADLINE_S, Gate, chat, config, request, running_gateway, until

from rolecast.config.routing import Routing
from rolecast.config.schema import Config, Model
from rolecast.decision import Choice, Facts, Hints, Seen
from rolecast.turn.rehearsal import Routed, depth_of
from rolecast.turn.rehearsal import told as told_of

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
CODE = "Write a Python function that merges two sorted lists and explain its complexity."
HELLO = "hi there!"
ROLES = {"router": ["tiny"], "standard": ["small"], "reasoning": ["thinker", "small"], "coding": ["coder"]}


def cast(**routing: Any) -> Config:
    """A configuration whose models say what their name is, and none is loaded before it is asked."""
    models = {name: Model(backend="fake", parallel=64) for name in ("tiny", "small", "thinker", "coder")}
    models["seer"] = Model(backend="fake", capabilities=["chat", "vision"])
    models["off"] = Model(backend="fake", enabled=False)
    return msgspec.structs.replace(config(models), roles=ROLES, routing=Routing(**routing))


@asynccontextmanager
async def gateway(made: Config, folder: Path) -> AsyncIterator[Gate]:
    async with running_gateway(made, folder) as gate:
        yield gate


async def routed(gate: Gate, body: Any, *, path: str = "/v1/route", head: str = "") -> Any:
    answer = await gate.ask(request(body, path=path, head=head))
    assert answer.status == 200, answer
    return answer.json


async def test_a_prompt_is_told_who_answers_and_nothing_runs_or_is_booked(tmp_path: Path) -> None:
    async with gateway(cast(), tmp_path) as gate:
        told = await routed(gate, {"prompt": CODE})
        assert msgspec.convert(told, Routed).model == "coder"
        assert (told["role"], told["source"], told["tier"]) == ("coding", "learned", "heavy")
        assert told["opinions"]["role"]["label"] == "coding"
        guesses = [told["opinions"][of]["confidence"] for of in ("category", "role")]
        assert told["confidence"] == max(guesses) > 0.7
        assert 0 < told["difficulty"] < 1
        assert 0 < told["latency_ms"] < 1000
        assert (told["routing_decision"], told["target_model"]) == ("DELEGATE", "CODING")
        assert told["destination"] == told["consult"] == ""
        assert await gate.rows() == []
        assert all(gate.gateway.fleet.worker(name).endpoint is None for name in ("coder", "small", "tiny"))
        assert (await routed(gate, {"prompt": CODE}, path="/route"))["model"] == "coder"


async def test_whatever_the_dialect_the_same_words_have_the_same_choice(tmp_path: Path) -> None:
    turn = {"role": "user", "content": CODE}
    shapes: dict[str, dict[str, Any]] = {
        "prompt": {"prompt": CODE, "system": "Be brief."},
        "openai": {"messages": [turn], "max_tokens": 9},
        "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": CODE}]}]},
        "anthropic": {"messages": [turn], "system": "Be brief.", "max_tokens": 9, "model": "auto"},
        "ollama": {"messages": [turn], "options": {"num_ctx": 512}, "model": "auto"},
        "responses": {"input": CODE, "instructions": "Be brief."},
        "responses items": {"input": [{"role": "user", "content": CODE}]},
    }
    async with gateway(cast(), tmp_path) as gate:
        found = {name: await routed(gate, body) for name, body in shapes.items()}
    for name, told in found.items():
        assert (told["model"], told["source"], told["task"]) == ("coder", "learned", found["prompt"]["task"]), name
        assert told["opinions"] == found["prompt"]["opinions"], name


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": [{"role": "user", "content": CODE}]}),
        (CHAT, {"model": "coding", "messages": [{"role": "user", "content": HELLO}]}),
        (
            "/v1/messages",
            {"model": "auto", "max_tokens": 9, "system": "x", "messages": [{"role": "user", "content": CODE}]},
        ),
        (
            "/api/chat",
            {"model": "auto", "options": {}, "stream": False, "messages": [{"role": "user", "content": CODE}]},
        ),
        ("/v1/responses", {"model": "auto", "input": CODE}),
        ("/conductor/generate", {"prompt": "Guten Morgen", "category": "code_generation"}),
    ],
)
async def test_the_dry_run_of_a_body_is_what_its_own_path_does(path: str, body: dict[str, Any], tmp_path: Path) -> None:
    async with gateway(cast(), tmp_path) as gate:
        told = await routed(gate, body)
        real = await gate.ask(request(body, path=path))
    assert real.status == 200, real
    assert real.header("x-rolecast-model") == told["model"]
    assert told["model"] == "coder" or "category" in body
    assert real.header("x-rolecast-route") == f"{told['source']}; {told['reason']}"


async def test_a_request_that_goes_on_from_a_kept_answer_is_told_too(tmp_path: Path) -> None:
    async with gateway(cast(), tmp_path) as gate:
        kept = (await gate.ask(request({"model": "auto", "input": HELLO, "store": True}, path="/v1/responses"))).json
        body = {"previous_response_id": kept["id"], "input": CODE}
        assert (await routed(gate, body))["model"] == "coder"
        unknown = await gate.ask(request({"previous_response_id": "resp_nothing", "input": CODE}, path="/v1/route"))
        assert (unknown.status, unknown.error["code"]) == (404, "previous_response_not_found")


async def test_a_request_that_only_loads_decides_nothing_for_those_that_ask(tmp_path: Path) -> None:
    load = {"model": "auto", "messages": [], "options": {}, "stream": False}
    async with gateway(cast(), tmp_path) as gate:
        assert (await routed(gate, load))["model"] == "small"
        loaded = await gate.ask(request(load, path="/api/chat"))
        assert loaded.status == 200, loaded
        asked = await gate.ask(request(chat(CODE, model="auto")))
        assert asked.header("x-rolecast-model") == "coder"


async def test_a_name_is_explained_too_and_what_it_looks_like_is_told_beside(tmp_path: Path) -> None:
    async with gateway(cast(), tmp_path) as gate:
        told = await routed(gate, {"prompt": CODE, "model": "reasoning"})
    assert (told["model"], told["alternatives"], told["source"]) == ("thinker", ["small"], "role")
    assert (told["reason"], told["task"], told["confidence"]) == ("asked for role reasoning", "", 1.0)
    assert told["opinions"]["role"]["label"] == "coding"
    assert told["target_model"] == "REASONING"


async def test_a_default_is_as_sure_as_the_best_guess_that_was_not_enough_or_not_asked_for(tmp_path: Path) -> None:
    for number, routing in enumerate(({"strategies": ["explicit"]}, {"min_confidence": 1.0})):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with gateway(cast(**routing), folder) as gate:
            told = await routed(gate, {"prompt": CODE})
        assert (told["source"], told["model"]) == ("default", "small")
        assert told["confidence"] == told["opinions"]["role"]["confidence"] < 1


async def test_where_a_model_is_to_be_asked_the_dry_run_says_whom_and_asks_nobody(tmp_path: Path) -> None:
    async with gateway(cast(strategies=["explicit", "llm"]), tmp_path) as gate:
        said = await routed(gate, {"prompt": CODE})
        assert (said["source"], said["consult"], said["model"]) == ("llm", "router", "small")
        assert gate.gateway.fleet.worker("tiny").endpoint is None
        assert await gate.rows() == []


async def test_a_greeting_that_the_router_answers_is_handled_and_has_no_target(tmp_path: Path) -> None:
    async with gateway(cast(), tmp_path) as gate:
        told = await routed(gate, {"prompt": "hello", "model": "router"})
    assert (told["routing_decision"], told["target_model"], told["model"]) == ("HANDLE", None, "tiny")


async def test_errors_are_those_of_a_real_request(tmp_path: Path) -> None:
    picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    wrong: dict[str, dict[str, Any]] = {
        "model_not_found": {"messages": [{"role": "user", "content": "x"}], "model": "nobody"},
        "model_disabled": {"messages": [{"role": "user", "content": "x"}], "model": "off"},
        "wrong_capability": {"messages": [{"role": "user", "content": picture}], "model": "coder"},
        "invalid_value": {"messages": [{"content": "x"}]},
    }
    async with gateway(cast(), tmp_path) as gate:
        for code, body in wrong.items():
            told = await gate.ask(request(body, path="/v1/route"))
            real = await gate.ask(request(body, path=CHAT))
            assert told.error["code"] == code
            assert (told.status, told.body) == (real.status, real.body), code


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "messages"),
        ({"prompts": []}, 422, "prompts"),
        ({"prompts": ["x"] * 1001}, 422, "prompts"),
        ({"prompts": ["x", 1]}, 422, "prompts"),
        ({"prompts": "x"}, 422, "prompts"),
        ({"prompts": ["x"], "messages": []}, 422, "messages"),
        ({"prompt": ["x"]}, 422, "prompt"),
        ({"prompt": "x", "system": 1}, 422, "system"),
        ({"prompt": None}, 422, "prompt"),
        ({"messages": None}, 422, "messages"),
        ({"prompt": "x", "temperature": "hot"}, 422, "temperature"),
        ([], 400, None),
        ("x", 400, None),
    ],
)
async def test_a_body_that_is_none_is_a_plain_mistake(
    body: Any, status: int, param: str | None, tmp_path: Path
) -> None:
    async with gateway(cast(), tmp_path) as gate:
        answer = await gate.ask(request(json.dumps(body).encode(), path="/v1/route"))
        assert (answer.status, answer.error["param"]) == (status, param), answer


@pytest.mark.parametrize("text", ["", "\0", "\ud83d", "[" * 5000, "a" * 300_000, "?!", "\u202e\u0000\ufeff"])
async def test_no_prompt_is_a_fault_of_ours(text: str, tmp_path: Path) -> None:
    async with gateway(cast(), tmp_path) as gate:
        body = json.dumps({"prompt": text}).encode()
        answer = await gate.ask(request(body, path="/v1/route"))
    assert answer.status in (200, 400, 422), answer


async def test_of_several_each_has_its_answer_or_its_error(tmp_path: Path) -> None:
    async with gateway(cast(), tmp_path) as gate:
        told = await routed(gate, {"prompts": [CODE, HELLO], "model": "auto"})
        assert told["routes"][0]["model"] == "coder"
        alone = await routed(gate, {"prompt": HELLO})
        assert told["routes"][1] | {"latency_ms": 0} == alone | {"latency_ms": 0}
        told = await routed(gate, {"prompts": [CODE, HELLO], "model": "nobody"})
        assert [each["error"]["code"] for each in told["routes"]] == ["model_not_found"] * 2


async def test_many_prompts_hold_nobody_up(tmp_path: Path) -> None:
    async with gateway(cast(), tmp_path) as gate:
        await routed(gate, {"prompt": CODE})  # the learned model is there
        gaps: list[float] = []
        done = asyncio.Event()

        async def watch() -> None:
            loop = asyncio.get_running_loop()
            while not done.is_set():
                began = loop.time()
                await asyncio.sleep(0)
                gaps.append(loop.time() - began)

        watching = asyncio.create_task(watch())
        told = await routed(gate, {"prompts": [f"{CODE} {i}" for i in range(1000)]})
        done.set()
        await watching
    assert len(told["routes"]) == 1000
    # Without pauses it would be one gap of half a second; a busy machine makes some longer.
    assert sorted(gaps)[int(len(gaps) * 0.9)] < 0.05
    assert len(gaps) > 100


async def test_who_asks_of_many_and_leaves_has_nothing_done_any_more(tmp_path: Path) -> None:
    async with gateway(cast(), tmp_path) as gate:
        await routed(gate, {"prompt": CODE})  # the learned model is there
        asked: list[str] = []
        rehearsal = gate.gateway.rehearsal
        really = rehearsal.of

        async def counted(*given: Any) -> Any:
            asked.append("")
            return await really(*given)

        rehearsal.of = counted  # type: ignore[method-assign]
        for _ in range(4):
            async with gate.client() as client:
                await client.send(request({"prompts": [CODE] * 1000}, path="/v1/route"))
                count = len(asked)
                await until(lambda count=count: len(asked) > count, "it has begun")  # type: ignore[misc]
                client.abort()
        await routed(gate, {"prompts": [CODE] * 50})
        assert len(asked) < 1000
        before = len(asked)
        await asyncio.sleep(0.1)
        assert len(asked) == before, "nobody works for those who left"


async def test_a_bare_prompt_needs_the_content_type_that_no_foreign_form_can_send(tmp_path: Path) -> None:
    async with gateway(cast(), tmp_path) as gate:
        body = b'{"prompt":"x"}'
        plain = request(body, path="/v1/route").replace(b"application/json", b"text/plain")
        assert (await gate.ask(plain)).status == 415


def test_depth_is_from_one_to_ten() -> None:
    assert [depth_of(share) for share in (0.0, 0.1, 0.6, 1.0, 1.5)] == [1, 2, 6, 10, 10]
    assert depth_of(-1.0) == 5, "nobody knows"


@pytest.mark.parametrize(
    ("forced", "labels", "destination"),
    [
        ("erp", {}, "erp"),
        ("itops", {"destination": "crm"}, "it_ops"),
        ("", {"destination": "crm"}, "crm"),
        ("", {"colour": "red"}, ""),
        ("x" * 1000, {}, "x" * 64),
    ],
)
def test_a_destination_is_what_the_caller_forces_else_the_sure_label(
    forced: str, labels: dict[str, str], destination: str
) -> None:
    hints = Hints(metadata={"force_domain": forced} if forced else {})
    assert (
        told_of(Facts("auto", "chat", hints=hints), Choice("m", labels=labels), Seen(), 0.0).destination == destination
    )


def test_a_choice_that_a_model_is_to_be_asked_about_says_so() -> None:
    choice = Choice("small", role="router", source="default", reason="default role", consult="router", seen=Seen())
    routed = told_of(Facts("auto", "chat"), choice, Seen(), 0.001)
    assert (routed.source, routed.consult, routed.routing_decision) == ("llm", "router", "DELEGATE")
    assert routed.reason == "router would be asked; without its word: default role"
    assert (routed.difficulty, routed.reasoning_depth, routed.latency_ms) == (None, 5, 1.0)


# -- the same decisions end to end ---------------------------------------------------------------------------


def thousand() -> list[str]:
    """Prompts of the test and training data, one of each text."""
    folder = ROOT / "training" / "router"
    found: dict[str, None] = {}
    files = [*sorted((folder / "test").glob("*.jsonl")), *sorted((folder / "prompts").glob("*.jsonl"))]
    for file in files:
        for line in file.read_text("utf-8").splitlines():
            text = json.loads(line).get("text", "")
            if text:
                found[text] = None
    texts = list(found)
    step = len(texts) / 1000
    return [texts[int(i * step)] for i in range(1000)]


async def test_a_thousand_requests_get_what_the_dry_run_tells_each_with_a_reason(tmp_path: Path) -> None:
    prompts = thousand()
    assert len(set(prompts)) == 1000
    async with gateway(cast(), tmp_path) as gate:
        told = (await routed(gate, {"prompts": prompts}))["routes"]

        async def ask(part: list[int]) -> None:
            async with gate.client() as client:
                for i in part:
                    await client.send(request(chat(prompts[i], model="auto", max_tokens=1)))
                    got = await client.answer()
                    each = told[i]
                    assert got.status == 200, got
                    assert got.header("x-rolecast-model") == each["model"], prompts[i]
                    assert got.header("x-rolecast-role") == each["role"], prompts[i]
                    assert got.header("x-rolecast-route") == f"{each['source']}; {each['reason']}", prompts[i]
                    assert (got.header("x-rolecast-task") or "") == each["task"]
                    assert (got.header("x-rolecast-tier") or "") == each["tier"]
                    assert (got.header("x-rolecast-domain") or "") == each["domain"]
                    assert abs(float(got.header("x-rolecast-confidence") or "-1") - each["confidence"]) < 0.006
                    assert each["reason"]

        async with asyncio.timeout(10 * DEADLINE_S):
            await asyncio.gather(*(ask(list(range(start, 1000, 8))) for start in range(8)))
        assert len({each["model"] for each in told}) >= 3, "they are told apart at all"
        rows = await gate.rows()
        assert len(rows) == 1000
        assert {(row.task, row.tier) for row in rows} == {(each["task"], each["tier"]) for each in told}
        routes = await gate.gateway.store.read("SELECT count(*) FROM routes")
        assert routes[0][0] < 50, "reasons are few, whatever is asked"
