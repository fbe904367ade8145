"""Token counts: where the answers of workers report them, and our own count where they do not.

Reads bytes of OpenAI's wire and of llama.cpp's `timings`. Keeps nothing and books nothing.
"""

import re
from typing import Annotated, Any

import msgspec

from rolecast.dialects import lenient
from rolecast.errors import UNREADABLE
from rolecast.money import pico
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
_CACHED = re.compile(rb'"(?:cached_tokens|prompt_cache_hit_tokens)":\s*' + _NUMBER)
_WRITTEN = re.compile(rb'"(?:cache_write_tokens|cache_creation_(?:input_)?tokens)":\s*' + _NUMBER)
_PAID = re.compile(rb'"(?:total_)?cost":\s*(\d[\d.]{0,30}(?:[eE]-?\d{1,2})?)(?=[\s,}])')
_MOST_PAID = 10**6
"""Dollars; no answer costs so many."""
_TOTAL = re.compile(rb'"total_tokens":\s*' + _NUMBER)
_COUNTS = frozenset({"prompt_tokens", "completion_tokens"})
"""One of these that is wrong makes the report none."""
_PIECE = re.compile(rb'"(?:content|reasoning_content|text|arguments)":\s?"[^"]')
"""A piece of an answer in an event; inside of a text the quotes would be escaped."""


_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]


class Details(msgspec.Struct, gc=False):
    """Of a prompt, what its server had kept, and what it keeps from now on (OpenRouter's word and LiteLLM's)."""

    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None
    cache_creation_tokens: _Count | None = None


class Reported(msgspec.Struct, gc=False):
    """Counts as servers of OpenAI's wire report them."""

    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    total_tokens: _Count | None = None
    prompt_tokens_details: Details | None = None
    cached_tokens: _Count | None = None
    """Moonshot's and Together's place for it."""
    prompt_cache_hit_tokens: _Count | None = None
    """DeepSeek's."""
    cache_creation_input_tokens: _Count | None = None
    """LiteLLM's, of models of Anthropic."""
    cost: Any = None
    """In dollars: OpenRouter's number, or Perplexity's object."""

    def billed(self, thoughts: int = 0) -> Usage:
        """What is paid for. Runs for every answer, and most report two counts and their total."""
        prompt, completion, details = self.prompt_tokens, self.completion_tokens, self.prompt_tokens_details
        if prompt is None or completion is None or prompt + completion != self.total_tokens:
            prompt, completion = whole(prompt, completion, self.total_tokens)
        cached = self.cached_tokens or self.prompt_cache_hit_tokens or 0
        written = self.cache_creation_input_tokens or 0
        if details is not None:
            cached = details.cached_tokens or cached
            written = details.cache_write_tokens or details.cache_creation_tokens or written
        if not (written or thoughts or self.cost):
            return Usage(prompt, completion, cached)
        paid = paid_of(self.cost)
        return Usage(prompt, completion, cached, reasoning_tokens=thoughts, written_tokens=written, paid=paid)


def paid_of(cost: Any) -> int:
    """Picodollars of what a server says that it cost in dollars; 0 when that is no amount."""
    if isinstance(cost, dict):
        cost = cost.get("total_cost")
    if not isinstance(cost, int | float) or isinstance(cost, bool) or not 0 < cost < _MOST_PAID:
        return 0
    return pico(cost)


def whole(prompt: int | None, completion: int | None, total: int | None) -> tuple[int, int]:
    """Tokens of the prompt and of the answer, as they are billed.

    Gemini and xAI count thoughts in the total alone, and bill them as the answer; who embeds or ranks may tell
    nothing but the total.
    """
    if total is None:
        return prompt or 0, completion or 0
    if prompt is None:
        return max(total - (completion or 0), 0), completion or 0
    if completion is not None and total > prompt + completion:
        completion = total - prompt
    return prompt, completion or 0


class _Answer(msgspec.Struct):
    usage: Reported | None = None


class _Event(msgspec.Struct):
    choices: list[msgspec.Raw] = []
    usage: Reported | None = None


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
    return None if usage is None else usage.billed()


def of_tail(tail: bytes) -> Usage | None:
    """What the last bytes of a stream, or of an answer too long to hold, report."""
    told = tail[max(tail.rfind(b'"usage"'), 0) :]  # far less to search, as a rule
    if not (prompt := _PROMPT.findall(told)) and len(told) < len(tail):
        told, prompt = tail, _PROMPT.findall(tail)
    if prompt:
        completion, total = _last(_COMPLETION, told), _last(_TOTAL, told)
        asked, answered = whole(int(prompt[-1]), completion, total)
        costs = _PAID.findall(told)
        paid = paid_of(float(costs[-1])) if costs and costs[-1].count(b".") < 2 else 0
        return Usage(asked, answered, _last(_CACHED, told) or 0, written_tokens=_last(_WRITTEN, told) or 0, paid=paid)
    if m := _TIMINGS.search(tail):
        return Usage(int(m[1]) + int(m[2]), int(m[3]), int(m[1]))
    return None


def _last(count: re.Pattern[bytes], tail: bytes) -> int | None:
    found = count.findall(tail)
    return int(found[-1]) if found else None


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
