"""Token counts: where the answers of workers report them, and our own count where they do not.

Reads bytes of OpenAI's wire and of llama.cpp's `timings`. Keeps nothing and books nothing.
"""

import re
from typing import Annotated

import msgspec

from rolecast.dialects import lenient
from rolecast.errors import UNREADABLE
from rolecast.values import Usage

BYTES_PER_TOKEN = 4
"""For our own count of a text."""

MOST_TOKENS = 10**12 - 1
"""A report of more is no count of tokens: the books and the sums made of them hold whole numbers of 64 bits."""
_NUMBER = rb"(\d{1,12})(?!\d)"
_TIMINGS = re.compile(
    rb'"timings":\{[^{}]*?"cache_n":%b,"prompt_n":%b[^{}]*?"predicted_n":%b' % (_NUMBER, _NUMBER, _NUMBER)
)
_PROMPT = re.compile(rb'"prompt_tokens":\s*' + _NUMBER)
_COMPLETION = re.compile(rb'"completion_tokens":\s*' + _NUMBER)
_CACHED = re.compile(rb'"cached_tokens":\s*' + _NUMBER)
_COUNTS = frozenset({"prompt_tokens", "completion_tokens"})
"""One of these that is wrong makes the report none."""
_PIECE = re.compile(rb'"(?:content|reasoning_content|text|arguments)":\s?"[^"]')
"""A piece of an answer in an event; inside of a text the quotes would be escaped."""


_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]


class _Details(msgspec.Struct):
    cached_tokens: _Count | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    prompt_tokens_details: _Details | None = None


class _Answer(msgspec.Struct):
    usage: _Usage | None = None


class _Event(msgspec.Struct):
    choices: list[msgspec.Raw] = []
    usage: _Usage | None = None


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None


class _Texts(msgspec.Struct):
    choices: list[_Choice] = []
    data: list[msgspec.Raw] = []


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_texts = msgspec.json.Decoder(_Texts).decode
_decode_event = msgspec.json.Decoder(_Event).decode


def of_answer(body: bytes) -> Usage | None:
    """What a whole answer reports; None when it reports nothing."""
    try:
        usage = _decode_answer(body).usage
    except UNREADABLE:
        read = lenient.read(body, _Answer, _COUNTS)
        usage = read.usage if read else None
    if usage is None:
        return None
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0
    return Usage(usage.prompt_tokens or 0, usage.completion_tokens or 0, cached or 0)


def of_tail(tail: bytes) -> Usage | None:
    """What the last bytes of a stream, or of an answer too long to hold, report."""
    if prompt := _PROMPT.findall(tail):
        completion, cached = _COMPLETION.findall(tail), _CACHED.findall(tail)
        return Usage(int(prompt[-1]), int(completion[-1]) if completion else 0, int(cached[-1]) if cached else 0)
    if m := _TIMINGS.search(tail):
        return Usage(int(m[1]) + int(m[2]), int(m[3]), int(m[1]))
    return None


def reported_by(event: bytes) -> tuple[bool, bool]:
    """Whether an event of a stream reports usage, and whether it does nothing else."""
    if b'"usage"' not in event:
        return False, False
    data = event.rpartition(b"data:")[2]
    try:
        parsed: _Event | None = _decode_event(data)
    except UNREADABLE:
        parsed = lenient.read(data, _Event, {*_COUNTS, "choices"})
    if parsed is None:
        return False, False
    return parsed.usage is not None, parsed.usage is not None and not parsed.choices


def pieces(data: bytes) -> int:
    """How many pieces of an answer are in these bytes of a stream; about one per token."""
    return len(_PIECE.findall(data))


def estimated(asked_bytes: int, body: bytes) -> Usage:
    """Our own count for a whole answer without a report to a request of so many bytes."""
    try:
        answer = _decode_texts(body)
    except UNREADABLE:
        return Usage(counted=True)
    if not (answer.choices or answer.data):
        return Usage(counted=True)
    texts = (choice.text or (choice.message and choice.message.content) or "" for choice in answer.choices)
    written = sum(-(-len(text) // BYTES_PER_TOKEN) for text in texts)
    return Usage(asked_bytes // BYTES_PER_TOKEN, written, counted=True)
