"""OpenAI's wire as servers of this field really write it, read into events and told to clients of Ollama."""

import json
from typing import Any

import pytest

from rolecast.dialects import family
from rolecast.dialects.ollama_writer import writer
from rolecast.values import Done, Event, Failure, Phases, Reasoning, Report, Text, ToolCallDelta, Usage

WORDS = [Text("a"), Text("b")]
COUNTED = Report(Usage(3, 2))
COUNTS = {"prompt_tokens": 3, "completion_tokens": 2}


def said(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta}]}


def call(name: str | None = None, arguments: Any = None, **fields: Any) -> dict[str, Any]:
    return said(tool_calls=[{**fields, "function": {"name": name, "arguments": arguments}}])


def read(*chunks: Any) -> list[Event]:
    """The events of a stream that comes to its end; bytes stand for themselves."""
    return _read(*chunks, b"[DONE]")


def _read(*chunks: Any) -> list[Event]:
    reader = family("openai").reader(streaming=True)
    lines = (each if isinstance(each, bytes) else json.dumps(each).encode() for each in chunks)
    return reader.read(b"".join(b"data: %b\n\n" % line for line in lines)) + reader.end()


def read_whole(answer: Any) -> list[Event]:
    reader = family("openai").reader(streaming=False)
    return reader.read(json.dumps(answer).encode()) + reader.end()


def told(events: list[Event]) -> dict[str, Any]:
    """The message that a client of Ollama gets."""
    out = writer("m", stream=False)
    for event in events:
        out.write(event)
    message: dict[str, Any] = json.loads(out.end(Phases()))["message"]
    return message


@pytest.mark.parametrize("nothing", [b"null", b"", b" ", b'{"choices":null}', b'{"choices":[]}', b"{}"])
def test_an_event_that_says_nothing_ends_no_answer(nothing: bytes) -> None:
    assert read(said(content="a"), nothing, said(content="b")) == WORDS


@pytest.mark.parametrize(
    "last",
    [
        {"choices": None, "usage": COUNTS},
        {"usage": COUNTS},
        {"choices": [{"index": None, "delta": None}], "usage": COUNTS, "error": None},
        {"choices": [], "usage": {"prompt_tokens": 3.0, "completion_tokens": 2.0, "prompt_tokens_details": []}},
        {"choices": [], "usage": {**COUNTS, "completion_tokens_details": {"reasoning_tokens": None}}},
        {"choices": [], "usage": COUNTS, "timings": {"prompt_ms": None, "predicted_n": "many"}},
        {"choices": [], "timings": {"cache_n": 0, "prompt_n": 3, "predicted_n": 2}, "usage": {"prompt_tokens": None}},
    ],
)
def test_counts_are_read_however_they_come(last: Any) -> None:
    assert read(said(content="a"), said(content="b"), last) == [*WORDS, COUNTED]


@pytest.mark.parametrize(
    "usage", [{}, [], "none", {"prompt_tokens": None}, {"prompt_tokens": "3"}, {"total_tokens": 5}]
)
def test_an_answer_is_not_given_up_for_counts_that_nobody_understands(usage: Any) -> None:
    assert read(said(content="a"), {**said(content="b"), "usage": usage}) == WORDS
    whole = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "usage": usage}
    assert read_whole(whole) == [Text("a"), Done("stop")]


def test_a_content_in_parts_is_text_and_thoughts() -> None:
    thoughts = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    assert read(said(content=[thoughts, {"type": "text", "text": "a"}])) == [Reasoning("hm"), Text("a")]
    assert read(said(content=[{"type": "thinking", "thinking": "hm"}, {"type": "reference"}])) == [Reasoning("hm")]


@pytest.mark.parametrize(
    "chunks",
    [
        [call("look", '{"a":1}', index=0, id="c"), call("find", '{"b":2}', index=0, id="d")],
        [call("look", '{"a":1}', id="c"), call("find", '{"b":2}', id="d")],
        [call("look", '{"a":1}', index=0), call("find", '{"b":2}', index=0)],
        [call("look", '{"a"', index=0, id="c"), call("look", ":1}", index=0, id="c"), call("find", '{"b":2}', index=1)],
        [call("look", '{"a"', index=0, id="c"), call(None, ":1}", index=0, id="x"), call("find", '{"b":2}', index=1)],
        [
            call("look", '{"a"', index=0, id="c"),
            call("find", '{"b"', index=1, id="d"),
            call(None, ":1}", index=0),
            call("", ":2}", index=1, id=""),
        ],
        [call("lo", None, index=0, id="c"), call("ok", '{"a":1}', index=0), call("find", {"b": 2}, index=5, id="d")],
    ],
)
def test_calls_stay_apart_however_a_server_numbers_them(chunks: list[Any]) -> None:
    events = read(*chunks, {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    functions = [made["function"] for made in told(events)["tool_calls"]]
    assert [(f["name"], f["arguments"]) for f in functions] == [("look", {"a": 1}), ("find", {"b": 2})]
    assert len({f["index"] for f in functions}) == 2
    named = [event for event in events if isinstance(event, ToolCallDelta) and event.id]
    assert len(named) == len({event.index for event in named})


@pytest.mark.parametrize("arguments", ["", "null", " ", None, {}, [], "{}", '"{}"'])
def test_a_call_without_arguments_is_a_call(arguments: Any) -> None:
    (made,) = told(read(call("look", arguments, index=0, id="c")))["tool_calls"]
    assert made["function"]["arguments"] == {}


@pytest.mark.parametrize("arguments", ['{"a":1}', '"{\\"a\\":1}"', {"a": 1}])
def test_arguments_are_an_object_however_they_are_wrapped(arguments: Any) -> None:
    (made,) = told(read(call("look", arguments, index=0, id="c")))["tool_calls"]
    assert made["function"]["arguments"] == {"a": 1}


@pytest.mark.parametrize(
    "chunk",
    [
        {"object": "error", "message": "no room", "type": "BadRequestError", "code": 400},
        {"type": "error", "error": {"message": "no room"}},
        {"choices": None, "error": "no room"},
        {
            "error": {"code": 502, "message": "no room"},
            "choices": [{"delta": {"content": ""}, "finish_reason": "error"}],
        },
        {"choices": [{"delta": {}, "finish_reason": "error", "error": {"message": "no room"}}]},
    ],
)
def test_an_error_in_a_stream_is_never_the_end_of_a_good_answer(chunk: Any) -> None:
    words, failure = read(said(content="a"), chunk)
    assert words == Text("a")
    assert isinstance(failure, Failure)
    assert failure.message == "no room"


@pytest.mark.parametrize("counts", [[], [{"choices": [], "usage": COUNTS}]])
def test_a_stream_that_stops_before_its_end_is_no_answer(counts: list[Any]) -> None:
    *words, failure = _read(said(content="a"), said(content="b"), *counts)
    assert words[:2] == WORDS
    assert isinstance(failure, Failure)


@pytest.mark.parametrize("last", [b"[DONE]", {"choices": [{"index": 0, "finish_reason": "stop"}]}])
def test_either_word_for_the_end_is_enough(last: Any) -> None:
    assert not any(isinstance(event, Failure) for event in _read(said(content="a"), last))


@pytest.mark.parametrize("error", [None, "", {}, False, "a warning"])
def test_an_error_beside_an_answer_that_goes_on_is_none(error: Any) -> None:
    assert read({**said(content="a"), "error": error}, said(content="b")) == WORDS
