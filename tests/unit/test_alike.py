"""Events that are like one before are read without parsing them, and never otherwise than by parsing them."""

import json
import random
import sys
from typing import Any

import msgspec
import pytest

from rolecast.config.schema import Limits
from rolecast.dialects import dialect, family
from rolecast.dialects.alike import Alike
from rolecast.values import Event, Reasoning, Text, ToolCallDelta

WORDS = [
    "a",
    " b",
    "",
    "x\ny",
    'say "so"',
    "\\",
    "é",
    "日本",
    "😀",
    "\x01 is no word",
    "content",
    "0",
    "null",
    "\u2028",
    "/",
]


def chunk(content: Any, *, ascii_only: bool = False, **beside: Any) -> bytes:
    value = {"id": "x", "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}], **beside}
    return json.dumps(value, ensure_ascii=ascii_only).encode()


def stream(*events: bytes) -> list[Event]:
    """All in one read, behind one of its own."""
    reader = family("openai").reader(streaming=True)
    found = reader.read(b"data: %b\n\n" % events[0])
    return found + reader.read(b"".join(b"data: %b\n\n" % each for each in events[1:])) + reader.read(b"")


def apart(*events: bytes) -> list[Event]:
    """Each by a reader of its own, which knows of none before."""
    return [said for each in events for said in family("openai").reader(streaming=True).read(b"data: %b\n\n" % each)]


@pytest.mark.parametrize("ascii_only", [True, False])
def test_whatever_a_text_holds_it_is_read_as_if_it_was_the_first(ascii_only: bool) -> None:
    events = [chunk(word, ascii_only=ascii_only) for word in (*WORDS, *WORDS)]
    assert stream(*events) == apart(*events) == [Text(word) for word in (*WORDS, *WORDS) if word]


ODD = [
    b'{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"x":"b"}',
    b'{"choices":[{"index":0,"delta":{"content":"a","reasoning_content":"b"}}]}',
    b'{"choices":[{"index":0,"delta":{"content":"a","content":"b"}}]}',
    b'{"choices":[{"index":1,"delta":{"content":"a"}},{"index":0,"delta":{"content":"b"}}]}',
    b'{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}',
    b'{"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}',
    b'{"choices":[{"index":0,"delta":{"content":"a"}}],"created":NaN}',
    b'{"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}',
    b'{"choices":[{"index":0,"delta":{"content":"\xff"}}]}',
    b'{"choices":[{"index":0,"delta":{"content":"a","tool_calls":[{"function":{"name":"f"}}]}}]}',
    b'{"choices":[{"index":0,"delta":{"refusal":"a"}}]}',
    b'{"choices":[{"index":0,"text":"a"}]}',
    b'{"choices":[{"index":0,"delta":{"content":"a"}}] , "z":"\\"a"}',
    b'{"choices":[{"index":0,"delta":{"content":"a","z":"b"}}]}',
    b'{"choices":[{"index":0,"delta":{"content":"","z":"b"}}]}',
    b'{"choices":[{"index":0,"delta":{"content":"a"}}]}{',
    b'{"choices":[{"index":0,"delta":{"content":"","finish_reason":"stop"}}]}',
]


def test_events_of_any_shape_in_any_order_are_read_as_each_alone() -> None:
    chance = random.Random(7)
    for _ in range(400):
        one = chance.choice(ODD)
        events = [one, one, *chance.choices([one, *ODD, chunk("w"), chunk("v")], k=6)]
        events = [each for each in events if not any(isinstance(said, ToolCallDelta) for said in apart(each))]
        assert not events or stream(*events) == apart(*events), events


def test_where_a_text_ends_inside_another_string_nothing_is_learnt() -> None:
    read = msgspec.json.Decoder(dict[str, str]).decode
    alike = Alike(lambda event: [Text(read(event)["t"])])
    first = rb'{"z":"q\"a","t":"a"}'
    alike.learn(first, [Text("a")])
    assert alike.again(rb'{"z":"q\"b","t":"a"}') is None


def test_a_text_of_another_kind_or_choice_stays_what_it_is() -> None:
    thought = b'{"choices":[{"index":3,"delta":{"reasoning_content":"%b"}}]}'
    assert stream(thought % b"a", thought % b"b", chunk("c"), thought % b"d") == [
        Reasoning("a", 3),
        Reasoning("b", 3),
        Text("c"),
        Reasoning("d", 3),
    ]


def test_a_stream_whose_events_are_never_alike_costs_few_second_readings() -> None:
    readings = 0

    def read(event: bytes) -> list[Event]:
        nonlocal readings
        readings += 1
        return [Text(json.loads(event)["t"])]

    alike = Alike(read)
    for number in range(1000):
        event = b'{"t":"w","pad":"%d"}' % number
        assert alike.again(event) is None
        alike.learn(event, [Text("w")])
    assert readings < 20


def test_a_frame_that_changes_now_and_then_is_learnt_again() -> None:
    readings = 0

    def read(event: bytes) -> list[Event]:
        nonlocal readings
        readings += 1
        return [Text(json.loads(event)["t"])]

    alike = Alike(read)
    for number in range(10_000):
        event = b'{"t":"w%d","created":"%d"}' % (number, number // 100)
        if alike.again(event) is None:
            alike.learn(event, read(event))
    assert readings == 200


def test_events_that_a_read_cuts_anywhere_are_the_same_events() -> None:
    whole = b"".join(b"data: %b\n\n" % chunk(word) for word in ("a", 'b "c"', "é\n", "d")) + b": hm\n\ndata: [DONE]\n\n"
    expected = [Text("a"), Text('b "c"'), Text("é\n"), Text("d")]
    for first in range(len(whole)):
        for second in (first, first + 1, first + 40):
            reader = family("openai").reader(streaming=True)
            cuts = (whole[:first], whole[first:second], whole[second:])
            assert [said for cut in cuts for said in reader.read(cut)] + reader.end() == expected


def _calls(reads: list[bytes], reader: Any, writer: Any) -> int:
    """How many functions run for these reads, of Python and of C."""
    count = 0

    def note(_frame: Any, what: str, _arg: Any) -> None:
        nonlocal count
        count += what in ("call", "c_call")

    sys.setprofile(note)
    try:
        for data in reads:
            b"".join(map(writer.write, reader.read(data)))
    finally:
        sys.setprofile(None)
    return count


WRITERS = ["ollama", "anthropic", "responses", "openai"]


@pytest.mark.parametrize("name", WRITERS)
def test_an_event_like_the_one_before_takes_few_steps_in_every_dialect(name: str) -> None:
    body: dict[str, Any] = {"model": "m", "stream": True, "max_tokens": 9}
    body |= {"input": "q"} if name == "responses" else {"messages": [{"role": "user", "content": "q"}]}
    spoken = dialect(name)
    request = next(iter(spoken.paths(Limits()).values()))(json.dumps(body).encode())
    reader, writer = family("openai").reader(streaming=True), spoken.writer(request, "m")
    events = [b"data: %b\n\n" % chunk(f" w{number}") for number in range(300)]
    for event in events[:100]:
        b"".join(map(writer.write, reader.read(event)))
    alone = _calls([], reader, writer)
    taken = _calls([b"".join(events[100:])], reader, writer) - alone
    assert taken / 200 < 24, "a whole parse and an object made anew take 30 to 40"
