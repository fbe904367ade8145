"""Conductor's paths to models on a scripted worker: which form a body has, what each is answered, and how it fails."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import (
    DONE,
    SSE_HEAD,
    USAGE,
    Gate,
    Held,
    ScriptedWorker,
    chat,
    chunk,
    config,
    delta,
    event,
    on_uvloop,
    raw,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    stream,
    until,
)
from hypothesis import given
from hypothesis import strategies as st

from rolecast.config.schema import Config, Listener, Model, Routing
from rolecast.dialects import entries
from rolecast.dialects.conductor import TASKS, on_port
from rolecast.dialects.surfaces import SURFACES
from rolecast.errors import BadRequest

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

TASK_PATHS = tuple(TASKS.items())
CONDUCTOR = {"response", "category", "model", "session_id", "generation_time", "tokens_generated"}
OLLAMA = {"model", "created_at", "response", "done", "done_reason", "total_duration", "load_duration"}
OLLAMA |= {"prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"}
STREAM = (delta("Hel"), delta("lo"), USAGE, DONE)
ROLES: dict[str, Any] = {
    "general_reasoning": ["m"],
    "conversational_chat": ["talker"],
    "translation": ["talker"],
    "code_review_debugging": ["talker"],
    "long_context": ["m"],
    "erp": ["talker"],
}


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    """`m` is the default; `talker` has categories of its own; `plain` has a port, and PAS another one."""
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            models = {name: remote(worker.url) for name in ("m", "talker", "plain", "org/with:all")}
            listeners = [
                Listener(port=0, name="plain", model="talker"),
                Listener(port=0, name="llama", model="m", surface="llama-server"),
                Listener(port=0, name="pas", model="m", surface="pas"),
            ]
            made = config(models, listeners=listeners)
            made = msgspec.structs.replace(made, roles=ROLES, routing=Routing(default="general_reasoning"))
            async with running_gateway(made, Path(folder)) as gate:
                yield gate, worker


@pytest.fixture
def both(front: Gate, worker: ScriptedWorker) -> tuple[Gate, ScriptedWorker]:
    return front, worker


def asked(path: str = "/generate", head: str = "", **fields: Any) -> bytes:
    return request({"prompt": "What is it?", **fields}, path=path, head=head)


def sent(worker: ScriptedWorker) -> Any:
    return worker.requests[-1].json


def events(body: bytes) -> list[Any]:
    """The events of a stream, each of which must be one line of data and an empty one."""
    *lines, last = body.split(b"\n\n")
    assert last == b""
    assert all(line.startswith(b"data: ") and b"\n" not in line for line in lines), body
    return [json.loads(line[6:]) for line in lines]


# -- the two forms of /generate ------------------------------------------------------------------------------------


SIGNS: list[dict[str, Any]] = [
    {"category": "translation"},
    {"category": None},
    {"session_id": "s"},
    {"extra_params": {}},
    {"language": "python"},
    {"max_tokens": 5},
    {"temperature": 0},
    {"top_p": 0.5},
]


@pytest.mark.parametrize("sign", [*SIGNS, {}, {"model": None}, {"model": ""}], ids=str)
async def test_a_field_of_conductors_or_no_model_makes_it_conductors(
    both: tuple[Gate, ScriptedWorker], sign: dict[str, Any]
) -> None:
    gate, worker = both
    body = {"model": "m", **sign} if sign in SIGNS else sign
    answer = await gate.ask(asked(**body))
    assert answer.status == 200, answer.body
    assert set(answer.json) - {"metadata"} == CONDUCTOR | OLLAMA
    assert (answer.json["response"], answer.json["tokens_generated"], answer.json["done"]) == ("hi", 2, True)
    assert answer.json["generation_time"] * 1e9 == pytest.approx(answer.json["total_duration"], rel=1e-3)
    worker.script.append(stream(*STREAM))
    streamed = await gate.ask(asked(**body, stream=True))
    assert streamed.header("content-type") == "text/event-stream"
    assert [each.get("chunk") for each in events(streamed.body)] == ["Hel", "lo", None]


@pytest.mark.parametrize("fields", [{}, {"options": {"temperature": 0, "num_predict": 3}}, {"system": "be brief"}])
async def test_a_model_and_a_prompt_are_ollamas_and_answered_whole_unless_a_stream_is_wanted(
    both: tuple[Gate, ScriptedWorker], fields: dict[str, Any]
) -> None:
    gate, worker = both
    answer = await gate.ask(asked(model="conversational_chat", **fields))
    assert set(answer.json) == CONDUCTOR | OLLAMA | {"context"}
    assert (answer.json["model"], answer.json["category"]) == ("conversational_chat", "conversational_chat")
    assert (answer.json["eval_count"], answer.json["tokens_generated"]) == (2, 2)
    worker.script.append(stream(*STREAM))
    streamed = await gate.ask(asked(model="m", stream=True, **fields))
    assert streamed.header("content-type") == "application/x-ndjson"
    *pieces, last = map(json.loads, streamed.body.splitlines())
    assert ([each["response"] for each in pieces], last["done"]) == (["Hel", "lo"], True)
    assert not CONDUCTOR - OLLAMA & set(last)
    assert "options" not in sent(worker)


async def test_ollamas_form_goes_on_from_a_context_and_loads_without_a_prompt(
    both: tuple[Gate, ScriptedWorker],
) -> None:
    gate, worker = both
    first = (await gate.ask(asked(model="m"))).json
    await gate.ask(asked(model="m", context=first["context"]))
    assert [each["content"] for each in sent(worker)["messages"]] == ["What is it?", "hi", "What is it?"]
    loaded = await gate.ask(request({"model": "m"}, path="/generate"))
    assert (loaded.status, loaded.json["done_reason"], loaded.json["response"]) == (200, "load", "")


async def test_what_is_said_in_the_words_of_both_is_obeyed_and_conductors_win(
    both: tuple[Gate, ScriptedWorker],
) -> None:
    gate, worker = both
    mixed = {"system": "be brief", "options": {"temperature": 0.9, "top_k": 3, "num_predict": 9}, "temperature": 0}
    answer = await gate.ask(asked(**mixed, category="translation", session_id="mixed"))
    assert (answer.status, set(answer.json) - {"metadata"}) == (200, CONDUCTOR | OLLAMA)
    assert (answer.json["category"], answer.json["session_id"]) == ("translation", "mixed")
    system, user = (each["content"] for each in sent(worker)["messages"])
    assert (system.endswith("be brief"), user) == (True, "What is it?")
    got = {name: sent(worker)[name] for name in ("model", "temperature", "top_k", "max_tokens")}
    assert got == {"model": "talker", "temperature": 0, "top_k": 3, "max_tokens": 9}
    worker.script.append(stream(*STREAM))
    assert events((await gate.ask(asked(**mixed, stream=True))).body)[-1] == {"done": True}
    blind = await gate.ask(asked(images=["no base64!"], temperature=0))
    assert (blind.status, blind.error["param"]) == (422, "images[0]")
    # Options of tasks that happen to be called like something of Ollama's, as a client of Conductor sends them.
    other = await gate.ask(asked(context="what was read", format="table", extra_params={"context": "what was read"}))
    assert (other.status, other.json["response"]) == (200, "hi")


@pytest.mark.parametrize("path", ["/conductor/generate", *TASKS, "/chat/completions"])
async def test_every_other_path_answers_with_conductors_fields_alone(
    both: tuple[Gate, ScriptedWorker], path: str
) -> None:
    gate, worker = both
    answer = await gate.ask(asked(path, model="m"))
    assert (answer.status, set(answer.json) - {"metadata"}) == (200, CONDUCTOR)
    assert answer.header("content-type") == "application/json"
    worker.script.append(stream(*STREAM))
    last = events((await gate.ask(asked(path, stream=True))).body)[-1]
    assert (last["done"], set(last) - {"metadata"}) == (True, {"done"})


# -- /chat/completions ---------------------------------------------------------------------------------------------


async def test_messages_are_openais_and_a_prompt_is_conductors(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    spoken = await gate.ask(request(chat(model="m", prompt="ignored"), path="/chat/completions"))
    assert spoken.json["choices"][0]["message"]["content"] == "hi"
    prompted = await gate.ask(asked("/chat/completions", category="translation"))
    assert (prompted.json["category"], prompted.json["model"]) == ("conversational_chat", "talker")
    assert sent(worker)["messages"][-1] == {"role": "user", "content": "What is it?"}
    worker.script.append(stream(*STREAM))
    streamed = await gate.ask(request(chat(model="m", stream=True), path="/chat/completions"))
    assert streamed.body.endswith(DONE)


@pytest.mark.parametrize("body", [{}, {"messages": None}, {"prompt": None}, {"prompt": ""}], ids=str)
async def test_neither_is_422_and_names_both(both: tuple[Gate, ScriptedWorker], body: dict[str, Any]) -> None:
    gate, _ = both
    answer = await gate.ask(request(body, path="/chat/completions"))
    assert answer.status == 422
    assert "`messages`" in answer.error["message"]
    assert "`prompt`" in answer.error["message"]
    malformed = await gate.ask(request({"prompt": 5}, path="/chat/completions"))
    assert (malformed.status, malformed.error["param"]) == (422, "prompt")


async def test_the_versioned_path_stays_openais(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, _ = both
    answer = await gate.ask(asked("/v1/chat/completions"))
    assert (answer.status, answer.error["param"]) == (422, "messages")
    assert "Conductor" not in answer.error["message"]


async def test_a_worker_of_another_family_answers_both_and_openais_is_named_as_it_was_asked(tmp_path: Path) -> None:
    said = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
    }
    async with ScriptedWorker().listening(f"{tmp_path}/w.sock") as worker:
        worker.usual = reply(json.dumps({**said, "usage": {"input_tokens": 5, "output_tokens": 2}}).encode())
        model = Model(backend="anthropic", url=worker.url, key="k", aliases=["other"])
        async with running_gateway(config({"m": model}), tmp_path) as gate:
            for path in ("/chat/completions", "/v1/chat/completions"):
                answer = (await gate.ask(request(chat(model="other"), path=path))).json
                assert (answer["model"], answer["choices"][0]["message"]["content"]) == ("other", "hi")
            prompted = (await gate.ask(asked("/chat/completions", model="other", max_tokens=5))).json
            assert (prompted["model"], prompted["response"], prompted["tokens_generated"]) == ("m", "hi", 2)
            assert sent(worker)["max_tokens"] == 5


# -- categories ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked_for", "category", "model"),
    [
        ({"category": "translation"}, "translation", "talker"),
        ({"category": " Translation "}, "translation", "talker"),
        ({"category": "code_review"}, "code_review", "talker"),
        ({"category": "code_review_debugging"}, "code_review", "talker"),
        ({"category": "Code Review/Debugging"}, "code_review", "talker"),
        ({"category": "long_context_tasks"}, "long_context", "m"),
        ({"category": "legal_document_analysis"}, "legal_analysis", "m"),
        ({"category": "summarization"}, "summarization", "m"),
        ({"category": "erp"}, "erp", "talker"),
        ({"category": ""}, "general_reasoning", "m"),  # nobody is sure: the default role
        ({"category": "auto"}, "general_reasoning", "m"),
        ({"category": "translation", "model": "auto"}, "translation", "talker"),
        ({}, "general_reasoning", "m"),
        ({"model": "talker", "session_id": None}, "conversational_chat", "talker"),
        ({"model": "code_review_debugging", "session_id": None}, "code_review", "talker"),
        ({"model": "plain", "session_id": None}, "general_reasoning", "plain"),
        ({"model": "org/with:all", "category": "translation"}, "translation", "org/with:all"),
    ],
    ids=str,
)
async def test_the_category_decides_the_model_and_the_reply_says_both(
    both: tuple[Gate, ScriptedWorker], asked_for: dict[str, str], category: str, model: str
) -> None:
    gate, worker = both
    answer = await gate.ask(asked("/conductor/generate", **asked_for))
    assert answer.status == 200, answer.body
    assert (answer.json["category"], answer.json["model"]) == (category, model)
    assert (answer.header("x-rolecast-model"), sent(worker)["model"]) == (model, model)


@pytest.mark.parametrize(("path", "category"), TASK_PATHS)
async def test_a_path_of_a_task_has_its_category_whatever_the_body_says(
    both: tuple[Gate, ScriptedWorker], path: str, category: str
) -> None:
    gate, _ = both
    answer = await gate.ask(asked(path, category="erp"))
    assert (answer.status, answer.json["category"]) == (200, category)
    assert answer.json["model"] == ("talker" if category == "translation" else "m")


@pytest.mark.parametrize("word", ["nonsense", "m", "\u00fc\U0001f600"])
async def test_what_is_no_category_here_is_400_with_those_that_are(
    both: tuple[Gate, ScriptedWorker], word: str
) -> None:
    gate, worker = both
    answer = await gate.ask(asked(category=word))
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "unknown_category", "category")
    assert "translation" in answer.error["message"]
    assert not worker.requests


async def test_an_unknown_model_is_404(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, _ = both
    for fields in ({"model": "nobody"}, {"model": "nobody", "category": "translation"}):
        answer = await gate.ask(asked(**fields))
        assert (answer.status, answer.error["code"]) == (404, "model_not_found")


async def test_the_next_model_of_a_category_answers_and_is_named(tmp_path: Path) -> None:
    async with ScriptedWorker().listening(f"{tmp_path}/w.sock") as worker:
        models = {name: remote(worker.url, stream_usage="never") for name in ("first", "second")}
        made = msgspec.structs.replace(config(models), roles={"translation": ["first", "second"]})
        made = msgspec.structs.replace(made, routing=Routing(default="translation"))
        async with running_gateway(made, tmp_path) as gate:
            worker.script.append(reply(b'{"error":{"message":"broken"}}', 500))
            answer = await gate.ask(asked("/translate"))
            assert (answer.status, answer.json["model"], answer.json["category"]) == (200, "second", "translation")


async def test_an_edit_changes_what_a_category_means(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, _ = both
    now = gate.gateway.current.config
    edited = msgspec.structs.replace(now, roles={**now.roles, "summarization": ["plain"]})
    async with gate.client() as client:
        await client.send(asked("/summarize"))
        assert (await client.answer()).json["model"] == "m"
        await gate.gateway.reloader.apply(edited)
        try:
            await client.send(asked("/summarize"))
            assert (await client.answer()).json["model"] == "plain"
        finally:
            await gate.gateway.reloader.apply(now)


# -- options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"max_tokens": 7, "temperature": 0, "top_p": 0.0}, {"max_tokens": 7, "temperature": 0, "top_p": 0}),
        ({"extra_params": {"max_tokens": 7, "temperature": 0, "top_p": 0}}, {"max_tokens": 7, "temperature": 0}),
        ({"temperature": 0, "extra_params": {"temperature": 0.9}}, {"temperature": 0}),
        ({"temperature": None, "extra_params": {"temperature": 0.9}}, {"temperature": 0.9}),
        ({"max_tokens": 7, "extra_params": {"max_tokens": 7, "style": "auto", "depth": None}}, {"max_tokens": 7}),
        ({"extra_params": {"max_tokens": 7.0}}, {"max_tokens": 7}),
        ({"extra_params": None, "language": "python"}, {}),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/generate", "/code/generation", "/chat/completions"])
async def test_options_count_beside_the_prompt_and_inside_of_extra_params(
    both: tuple[Gate, ScriptedWorker], path: str, fields: dict[str, Any], wanted: dict[str, Any]
) -> None:
    gate, worker = both
    assert (await gate.ask(asked(path, **fields))).status == 200
    ours = ("model", "messages", "stream", "stream_options")
    got = {name: value for name, value in sent(worker).items() if name not in ours}
    assert got.items() >= wanted.items()
    assert got.keys() <= {"max_tokens", "temperature", "top_p", "repetition_penalty"}


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("prompt", {"prompt": ""}),
    ("prompt", {"prompt": None}),
    ("prompt", {"prompt": ["SECRET"]}),
    ("category", {"category": 5}),
    ("session_id", {"session_id": {"SECRET": 1}}),
    ("session_id", {"session_id": "x" * 513}),
    ("stream", {"stream": "SECRET"}),
    ("max_tokens", {"max_tokens": -1}),
    ("max_tokens", {"max_tokens": 1.5}),
    ("max_tokens", {"extra_params": {"max_tokens": 1.5}}),
    ("max_tokens", {"max_tokens": 10**30}),
    ("temperature", {"temperature": "SECRET"}),
    ("top_p", {"top_p": 2}),
    ("extra_params", {"extra_params": ["SECRET"]}),
    ("extra_params.temperature", {"extra_params": {"temperature": "SECRET"}}),
    ("model", {"model": 5}),
]


@pytest.mark.parametrize("path", ["/conductor/generate", "/summarize", "/generate/stream"])
@pytest.mark.parametrize(("param", "fields"), WRONG, ids=str)
async def test_a_wrong_value_is_422_with_a_detail(
    both: tuple[Gate, ScriptedWorker], path: str, param: str, fields: dict[str, Any]
) -> None:
    gate, worker = both
    answer = await gate.ask(asked(path, **({"stream": True} | fields)))
    assert (answer.status, answer.error["param"]) == (422, param)
    assert b"SECRET" not in answer.body
    assert not worker.requests


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("options.top_p", {"options": {"top_p": 2}}),
        ("think", {"think": "x"}),
        ("raw", {"raw": {}, "max_tokens": 5}),
    ],
)
async def test_a_wrong_value_of_ollamas_is_422_too(
    both: tuple[Gate, ScriptedWorker], param: str, fields: dict[str, Any]
) -> None:
    gate, _ = both
    answer = await gate.ask(asked(model="m", **fields))
    assert (answer.status, answer.error["param"]) == (422, param)


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[]", b"5", b"null", b'{"prompt":"\xff"}', b"[" * 100_000])
@pytest.mark.parametrize("path", ["/generate", "/generate/stream", "/translate", "/chat/completions"])
async def test_what_is_no_json_object_is_400(both: tuple[Gate, ScriptedWorker], path: str, body: bytes) -> None:
    gate, _ = both
    answer = await gate.ask(request(body, path=path))
    assert (answer.status, answer.error["code"]) == (400, "bad_json")


_PATHS = [b"/generate", b"/generate/stream", b"/translate", b"/chat/completions"]
_VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda x: st.lists(x))
_FIELDS = st.sampled_from(["prompt", "model", "category", "session_id", "extra_params", "max_tokens", "stream"])


@given(st.sampled_from(_PATHS), st.dictionaries(_FIELDS | st.text(max_size=3), _VALUES))
def test_any_object_is_read_or_refused(path: bytes, fields: dict[str, Any]) -> None:
    made = Config(models={"m": Model(backend="fake")}, roles={"standard": ["m"]})
    hot = on_port(entries(made.server.limits), Listener(port=0), made, lambda key, session: None)
    try:
        request = hot[path].read(json.dumps(fields).encode())
    except BadRequest:
        return
    assert request.chat is not None or request.only or request.plain is not None


# -- streams -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/generate/stream", "/conductor/generate/stream"])
async def test_a_stream_has_pieces_with_what_answers_and_an_end(both: tuple[Gate, ScriptedWorker], path: str) -> None:
    gate, worker = both
    worker.script.append(stream(delta("Hel"), delta('l\n\ndata: {"done":true}'), delta(""), USAGE, DONE))
    answer = await gate.ask(asked(path, category="general_reasoning", session_id="s", stream=True))
    assert answer.header("content-type") == "text/event-stream"
    told = {"category": "general_reasoning", "model": "m", "session_id": "s"}
    assert events(answer.body) == [
        {"chunk": "Hel", **told},
        {"chunk": 'l\n\ndata: {"done":true}', **told},
        {"done": True},
    ]


@pytest.mark.parametrize("stream", [False, None])
async def test_the_path_of_streams_wants_a_stream(both: tuple[Gate, ScriptedWorker], stream: bool | None) -> None:
    gate, worker = both
    answer = await gate.ask(asked("/generate/stream", stream=stream))
    assert (answer.status, answer.error["param"]) == (400, "stream")
    assert not worker.requests


async def test_the_first_piece_is_there_before_the_last_is_made(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    held = Held(delta("first"))
    worker.script.append(held)
    async with gate.client() as client:
        await client.send(asked("/generate/stream", stream=True))
        await client.head()
        pieces = client.chunks()
        assert b'"chunk":"first"' in await anext(pieces)
        held.let_go.set()
        assert b"".join([piece async for piece in pieces]) == b'data: {"done":true}\n\n'


async def test_who_leaves_frees_the_slot_and_stops_the_worker(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    held = Held(delta("first"))
    worker.script.append(held)
    async with gate.client() as client:
        await client.send(asked("/generate/stream", category="translation", stream=True))
        await client.head()
        client.abort()
    assert held.peer is not None
    await held.peer.gone.wait()
    await until(lambda: not gate.gateway.dispatch.active, "the request is over")
    assert gate.gateway.fleet.worker("talker").active == 0
    assert (await gate.rows())[-1].outcome == "cancelled"


async def test_a_failure_inside_of_a_stream_is_its_last_event(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    broken = event({"error": {"message": "out of memory", "code": 500}})
    worker.script.append(raw(SSE_HEAD, chunk(delta("Hel")), chunk(broken), b"0\r\n\r\n"))
    answer = await gate.ask(asked("/generate/stream", stream=True))
    first, last = events(answer.body)
    assert first["chunk"] == "Hel"
    assert set(last) == {"error"}
    assert "out of memory" in last["error"]


async def test_a_failure_before_it_is_a_status(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.usual = reply(b'{"error":{"message":"the prompt is too long","code":400}}', 400)
    for path in ("/generate/stream", "/translate", "/chat/completions"):
        answer = await gate.ask(asked(path, stream=True))
        assert answer.status == 400
        assert "too long" in answer.error["message"]


async def test_many_at_once_are_not_mixed(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both

    async def echo(peer: Any, received: Any) -> None:
        text = received.json["messages"][-1]["content"]
        await peer.send(SSE_HEAD + chunk(delta(text)))
        await asyncio.sleep(0)
        await peer.send(chunk(delta(text)) + chunk(DONE) + b"0\r\n\r\n")

    worker.usual = echo
    bodies = [asked("/generate/stream", prompt=f"p{i}", session_id=f"s{i}", stream=True) for i in range(50)]
    for i, answer in enumerate(await asyncio.gather(*map(gate.ask, bodies))):
        *pieces, last = events(answer.body)
        assert [(each["chunk"], each["session_id"]) for each in pieces] == [(f"p{i}", f"s{i}")] * 2
        assert last == {"done": True}


# -- ports ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("port", "model"), [("plain", "talker"), ("llama", "m")])
async def test_a_port_of_one_model_answers_with_it_whatever_the_category(
    both: tuple[Gate, ScriptedWorker], port: str, model: str
) -> None:
    gate, worker = both
    answer = await gate.ask(asked("/translate"), port)
    assert (answer.json["category"], answer.json["model"], sent(worker)["model"]) == ("translation", model, model)
    nothing = await gate.ask(asked(), port)
    category = "conversational_chat" if model == "talker" else "general_reasoning"
    assert (nothing.json["category"], nothing.json["model"]) == (category, model)


async def test_a_port_of_pas_has_none_of_them(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, _ = both
    answer = await gate.ask(asked(category="translation"), "pas")
    assert (answer.status, set(answer.json) >= OLLAMA, "category" in answer.json) == (200, True, False)
    for path in ("/generate/stream", "/conductor/generate", *TASKS):
        assert (await gate.ask(asked(path), "pas")).status == 404
    chat = await gate.ask(asked("/chat/completions"), "pas")
    assert (chat.status, chat.error["param"]) == (422, "messages")


def test_every_surface_that_can_be_configured_has_a_row() -> None:
    (surfaces,) = (each.type for each in msgspec.inspect.type_info(Listener).fields if each.name == "surface")  # type: ignore[attr-defined]
    assert set(SURFACES) == set(surfaces.values)
