"""Servers that speak Ollama's API: what they are asked, how their answers are read. The contract asks a real one."""

import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import Gate, config, on_uvloop, request, running_gateway, short_folder
from hypothesis import given
from hypothesis import strategies as st
from ollama_server import OllamaServer

from rolecast import backends
from rolecast.backends.ollama import Ollama, usual_url
from rolecast.config.schema import Model
from rolecast.config.units import Seconds
from rolecast.dialects import family
from rolecast.errors import BadRequest
from rolecast.turn.plan import along
from rolecast.values import (
    Chat,
    Completion,
    Done,
    Embedding,
    Endpoint,
    Failure,
    Listen,
    Message,
    Part,
    Reasoning,
    Report,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
    Vector,
)

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop


def asked(words: Any) -> tuple[str, dict[str, Any]]:
    path, body = family("ollama").ask(words, usage=True)
    return path.decode(), json.loads(body)


def chat(*messages: Message, **more: Any) -> Chat:
    return Chat("m", messages or (Message("user", "hi"),), **more)


def test_options_have_ollamas_names_and_nothing_is_cut_silently() -> None:
    sampling = Sampling(max_tokens=9, temperature=0.0, top_k=3, seed=1, stop=("x",), repetition_penalty=1.1)
    path, body = asked(chat(sampling=sampling, extra={"n_keep": 5, "repeat_last_n": 64, "unknown": 1}))
    assert path == "/api/chat"
    assert body["options"] == {
        "num_predict": 9,
        "temperature": 0.0,
        "top_k": 3,
        "seed": 1,
        "stop": ["x"],
        "repeat_penalty": 1.1,
        "num_keep": 5,
        "repeat_last_n": 64,
    }
    assert (body["truncate"], body["shift"], body["stream"]) == (False, False, False)


def test_pictures_calls_and_their_results_are_written_as_ollama_has_them() -> None:
    picture = Part("image", data="data:image/png;base64,AAAA")
    said = chat(
        Message("user", (Part("text", text="look"), picture)),
        Message("assistant", tool_calls=(ToolCall("c1", "weather", '{"at":"Rome"}'),), reasoning="hm"),
        Message("tool", "sunny", tool_call_id="c1"),
        tools=(Tool("weather", "tells", msgspec.Raw(b'{"properties":{}}')),),
    )
    _, body = asked(said)
    user, call, result = body["messages"]
    assert (user["content"], user["images"]) == ("look", ["AAAA"])
    assert call["thinking"] == "hm"
    assert call["tool_calls"] == [{"id": "c1", "function": {"name": "weather", "arguments": {"at": "Rome"}}}]
    assert (result["tool_name"], result["tool_call_id"], result["content"]) == ("weather", "c1", "sunny")
    assert body["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert "tools" not in asked(msgspec.structs.replace(said, tool_choice="none"))[1]


@pytest.mark.parametrize(
    ("schema", "written"), [(b"{}", "json"), (b'{"type":"object"}', {"type": "object"}), (None, None)]
)
def test_the_form_of_an_answer(schema: bytes | None, written: Any) -> None:
    _, body = asked(chat(answer_schema=None if schema is None else msgspec.Raw(schema), think=True))
    assert body.get("format") == written
    assert body["think"] is True


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (chat(Message("user", (Part("image", data="https://x/y.png"),))), "fetches no pictures"),
        (chat(Message("user", (Part("audio", data="data:audio/wav;base64,A"),))), "takes no audio"),
        (chat(Message("assistant", tool_calls=(ToolCall("c", "f", "{"),))), "must be the text of a JSON object"),
        (Completion("m", (1, 2)), "no numbers of tokens"),
        (Embedding("m", ((1, 2),)), "no numbers of tokens"),
    ],
)
def test_what_the_wire_has_no_word_for_is_refused(words: Any, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        asked(words)


def test_a_text_goes_on_as_it_stands_unless_there_is_a_gap() -> None:
    path, body = asked(Completion("m", "once"))
    assert (path, body["prompt"], body["raw"]) == ("/api/generate", "once", True)
    assert asked(Completion("m", "a", suffix="b"))[1].get("raw") is None
    path, body = asked(Embedding("m", ("a", "b")))
    assert (path, body["input"], body["truncate"]) == ("/api/embed", ["a", "b"], False)


# -- answers -----------------------------------------------------------------------------------------------------

LINES = [
    {"message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False},
    {"message": {"role": "assistant", "content": "He"}, "done": False},
    {"message": {"content": "y", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}, "done": False},
    {
        "message": {"content": ""},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 7,
        "eval_count": 3,
        "prompt_eval_duration": 2_000_000,
        "eval_duration": 5_000_000,
    },
]
EVENTS = [
    Reasoning("hm"),
    Text("He"),
    Text("y"),
    ToolCallDelta(0, "call_0", "f", '{"a":1}'),
    Done("tool_calls"),
    Report(Usage(7, 3), 2.0, 5.0),
]


def read(pieces: list[bytes], *, streaming: bool = True) -> list[Any]:
    reader = family("ollama").reader(streaming=streaming)
    return [event for piece in pieces for event in reader.read(piece)] + reader.end()


@given(cuts=st.lists(st.integers(1, 400), max_size=12))
def test_a_stream_is_read_alike_in_any_pieces(cuts: list[int]) -> None:
    data = b"".join(json.dumps(line).encode() + b"\n" for line in LINES)
    places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    assert read([data[a:b] for a, b in itertools.pairwise(places)]) == EVENTS


def test_a_whole_answer_and_embeddings_are_read() -> None:
    whole = LINES[3] | {"message": {"content": "Hey"}}
    assert read([json.dumps(whole).encode()], streaming=False) == [Text("Hey"), Done(), Report(Usage(7, 3), 2.0, 5.0)]
    said = read([b'{"embeddings":[[1,2],[3,4]],"prompt_eval_count":5}'], streaming=False)
    assert said == [
        *(Vector(msgspec.Raw(b"[1,2]"), 0), Vector(msgspec.Raw(b"[3,4]"), 1)),
        *(Done(), Report(Usage(5, 0))),
    ]


def test_a_stream_that_breaks_off_is_no_answer() -> None:
    found = read([json.dumps(LINES[1]).encode() + b"\n"])
    assert isinstance(found[-1], Failure)
    assert read([]) == []


def test_an_error_in_a_stream_ends_it() -> None:
    found = read([json.dumps(LINES[1]).encode() + b'\n{"error":"out of memory"}\n'])
    assert [type(each) for each in found] == [Text, Failure]
    assert found[-1].message == "out of memory"


@given(st.binary(max_size=200))
def test_any_bytes_end_in_events(data: bytes) -> None:
    for streaming in (True, False):
        read([data], streaming=streaming)


# -- the backend -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "url"),
    [
        ({}, "http://127.0.0.1:11434"),
        ({"OLLAMA_HOST": "0.0.0.0"}, "http://127.0.0.1:11434"),
        ({"OLLAMA_HOST": "0.0.0.0:8080"}, "http://127.0.0.1:8080"),
        ({"OLLAMA_HOST": "box"}, "http://box:11434"),
        ({"OLLAMA_HOST": "http://box"}, "http://box:80"),
        ({"OLLAMA_HOST": "https://box/ollama/"}, "https://box:443/ollama"),
        ({"OLLAMA_HOST": "[::1]:1234"}, "http://[::1]:1234"),
        ({"OLLAMA_HOST": "box:port"}, "http://127.0.0.1:11434"),
    ],
)
def test_it_is_looked_for_where_ollamas_own_programs_do(said: dict[str, str], url: str) -> None:
    assert usual_url(said) == url


@pytest.mark.parametrize(
    "url", ["http://box:11434", "http://box:11434/v1", "http://box:11434/api", "http://box:11434/"]
)
def test_any_spelling_of_its_address_will_do(url: str) -> None:
    endpoint = Ollama().plan("m", Model(url=url), None, Listen())
    assert isinstance(endpoint, Endpoint)
    assert (endpoint.base, endpoint.health_path) == ("", "/api/tags")


@pytest.mark.parametrize(
    ("settings", "stay_s", "told"),
    [
        ({}, None, None),
        ({}, 30.0, 30.0),
        ({}, float("inf"), -1),
        ({"pinned": True}, None, -1),
        ({"idle_timeout": Seconds(60)}, None, 60.0),
        ({"idle_timeout": Seconds(0)}, None, -1),
    ],
)
def test_how_long_the_model_stays_goes_along(settings: dict[str, Any], stay_s: float | None, told: Any) -> None:
    brought = Ollama().brings(Model(context=2048, **settings), stay_s)
    assert brought["options"] == {"num_ctx": 2048}
    assert brought.get("keep_alive") == told


def test_what_the_client_says_wins_over_what_goes_along() -> None:
    body = along(b'{"options":{"num_ctx":1,"seed":2},"a":1}', {"options": {"num_ctx": 9, "top_k": 3}, "a": 2, "b": 3})
    assert json.loads(body) == {"options": {"num_ctx": 1, "top_k": 3, "seed": 2}, "a": 1, "b": 3}


def test_other_backends_bring_nothing() -> None:
    assert [name for name in backends.names() if name != "ollama" and backends.get(name).brings(Model(), 1.0)] == []


@pytest.fixture(scope="module")
async def ollama() -> AsyncIterator[tuple[Gate, OllamaServer]]:
    with short_folder() as place:
        async with OllamaServer().listening() as server:
            made = config({"m": Model(backend="ollama", url=server.url, context=1024)})
            async with running_gateway(made, Path(place)) as gate:
                yield gate, server


async def test_context_and_keep_alive_of_a_client_of_ollamas_arrive(ollama: tuple[Gate, OllamaServer]) -> None:
    gate, server = ollama
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "keep_alive": "1m", "stream": False}
    answer = await gate.ask(request(body, path="/api/chat"))
    assert (answer.status, answer.json["message"]["content"]) == (200, "Hey")
    path, sent = server.asked[-1]
    assert (path, sent["keep_alive"], sent["options"]) == ("/api/chat", 60.0, {"num_ctx": 1024})


async def test_a_client_of_openais_gets_the_counts_of_ollama(ollama: tuple[Gate, OllamaServer]) -> None:
    gate, _ = ollama
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    answer = await gate.ask(request(body))
    assert answer.json["choices"][0]["message"]["content"] == "Hey"
    assert (answer.json["usage"]["prompt_tokens"], answer.json["usage"]["completion_tokens"]) == (7, 3)


async def test_a_stream_of_lines_is_a_stream_of_events_for_a_client_of_openais(
    ollama: tuple[Gate, OllamaServer],
) -> None:
    gate, server = ollama
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    answer = await gate.ask(request(body | {"stream_options": {"include_usage": True}}))
    assert server.asked[-1][1]["stream"] is True
    events = [json.loads(line[6:]) for line in answer.body.decode().splitlines() if line.startswith("data: {")]
    said = [choice["delta"].get("content") for event in events for choice in event["choices"]]
    assert [each for each in said if each] == ["He", "y"]
    assert events[-1]["usage"]["total_tokens"] == 10
