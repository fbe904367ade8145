"""What most workers speak: chats and all else written as OpenAI's wire has them, and its answers read into events.

Also reads llama.cpp's `timings`. Takes what servers of this field leave out or spell otherwise; holds at most a
bounded piece of an answer that is not complete.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from rolecast.dialects import complaint, lenient, openai_defaults, openai_logprobs, openai_plain, usage
from rolecast.dialects.alike import Alike
from rolecast.dialects.gathered import Gathered, unreadable
from rolecast.dialects.openai_calls import Calls
from rolecast.dialects.sse import BOM, Events
from rolecast.dialects.turns import settled
from rolecast.errors import UNREADABLE
from rolecast.values import (
    Chances,
    Chat,
    Defaults,
    Done,
    Event,
    Failure,
    Kind,
    Message,
    Part,
    Reasoning,
    Report,
    Score,
    Text,
    Tool,
    Usage,
    Vector,
    Words,
)

_SAY_NOTHING = (b"[DONE]", b"null", b"")
"""Events of a stream that end it, or keep it alive."""
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
MOST_MS = 1e9
"""Nobody computes for longer."""


class OpenAIWorker:
    """llama-server, vLLM, most servers and clouds."""

    kinds: frozenset[Kind] = frozenset({"chat", "completion", "embeddings", "rerank"})

    def ask(self, words: Words, *, usage: bool) -> tuple[bytes, bytes]:
        """A chat completion, a completion, embeddings, or a ranking."""
        if isinstance(words, Chat):
            return _chat(words, usage=usage)
        return openai_plain.ask(words, usage=usage)

    def fill(self, fields: dict[str, Any], kind: Kind, defaults: Defaults) -> None:
        """The defaults of a variant."""
        openai_defaults.fill(fields, kind, defaults)

    def reader(self, *, streaming: bool) -> "_Stream | _Whole":
        """Reads a stream of events, or one object."""
        return _Stream() if streaming else _Whole()


def _chat(chat: Chat, *, usage: bool) -> tuple[bytes, bytes]:
    fields: dict[str, Any] = dict(chat.extra)
    fields["model"] = chat.model
    fields["messages"] = [_message(each) for each in settled(chat.messages)]
    if chat.stream:
        fields["stream"] = True
        if usage:
            fields["stream_options"] = {"include_usage": True}
    if chat.tools:
        fields["tools"] = [_tool(each) for each in chat.tools]
    if chat.tool_named:
        fields["tool_choice"] = {"type": "function", "function": {"name": chat.tool_named}}
    elif chat.tool_choice:
        fields["tool_choice"] = chat.tool_choice
    if chat.answer_schema is not None:
        fields["response_format"] = openai_plain.answer_form(chat.answer_schema)
    if isinstance(chat.think, str):
        fields["reasoning_effort"] = chat.think
    elif chat.think is not None:
        fields["chat_template_kwargs"] = fields.get("chat_template_kwargs", {}) | {"enable_thinking": chat.think}
    sampling = msgspec.structs.asdict(chat.sampling)
    fields |= {name: value for name, value in sampling.items() if value not in (None, ())}
    return b"/chat/completions", msgspec.json.encode(fields)


def _message(message: Message) -> dict[str, Any]:
    content = message.content
    fields: dict[str, Any] = {
        "role": message.role,
        "content": content if isinstance(content, str) else [_part(each) for each in content],
    }
    if message.reasoning:
        fields["reasoning_content"] = message.reasoning
    if message.tool_calls:
        fields["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        fields["tool_call_id"] = message.tool_call_id
    if message.name:
        fields["name"] = message.name
    return fields


def _part(part: Part) -> dict[str, Any]:
    if part.kind == "text":
        return {"type": "text", "text": part.text}
    if part.kind == "file":
        return {"type": "file", "file": {"file_data": part.data, "filename": part.name}}
    head, comma, data = part.data.partition(";base64,")
    if part.kind == "audio" and comma and head.startswith("data:audio/"):
        return {"type": "input_audio", "input_audio": {"data": data, "format": head.removeprefix("data:audio/")}}
    return {"type": f"{part.kind}_url", f"{part.kind}_url": {"url": part.data}}


def _tool(tool: Tool) -> dict[str, Any]:
    """A function. Strict servers want a schema that says it is an object's; `properties` would close an open one."""
    schema: Any = tool.parameters
    with suppress(*UNREADABLE):  # what is no schema at all is refused there
        schema = {"type": "object"} | _object(tool.parameters)
    function: dict[str, Any] = {"name": tool.name, "parameters": schema}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}


# -- answers ---------------------------------------------------------------------------------------------


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Piece(msgspec.Struct):
    """Of a content in parts: a text, or thoughts, which have parts themselves."""

    text: str | None = None
    thinking: "str | list[_Piece] | None" = None


class _Delta(msgspec.Struct):
    content: str | list[_Piece] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None
    """Of a completion."""
    logprobs: msgspec.Raw = msgspec.Raw()
    finish_reason: str | None = None
    error: Any = None
    stop_reason: str | int | None = None
    """vLLM's: the stop sequence that ended the answer, or the number of a token."""


class _Verbose(msgspec.Struct, gc=False):
    stopping_word: str | None = None


class _Timings(msgspec.Struct, gc=False):
    cache_n: int | None = None
    prompt_n: int | None = None
    prompt_ms: float | None = None
    predicted_n: int | None = None
    predicted_ms: float | None = None


class _Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_creation_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    """Counts, in the words of all who have some: see `usage.Reported`."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    cached_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cost: Any = None


class _Vector(msgspec.Struct):
    embedding: msgspec.Raw
    index: int | None = None


class _Score(msgspec.Struct):
    index: int
    relevance_score: float | None = None
    score: float | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice] | None = None
    data: list[_Vector] | None = None
    """Of embeddings."""
    results: list[_Score] | None = None
    """Of a ranking."""
    usage: _Usage | None = None
    timings: _Timings | None = None
    error: Any = None
    object: Any = None
    type: Any = None
    verbose: _Verbose | None = msgspec.field(name="__verbose", default=None)
    """llama.cpp's, where it was asked which stop sequence ended the answer."""


_decode = msgspec.json.Decoder(_Answer).decode
_NEEDED = frozenset(
    {"choices", "delta", "message", "content", "arguments", "text", "data", "embedding", "results", "relevance_score"}
)
"""Without these an answer would be another one."""


def _events(data: bytes, calls: Calls) -> list[Event]:
    """What one object of an answer says."""
    try:
        answer: _Answer | None = _decode(data)
    except UNREADABLE:
        answer = lenient.read(data, _Answer, _NEEDED)
    if answer is None:
        return [complaint.read(data) if complaint.is_error(data) else unreadable()]
    events: list[Event] = []
    for choice in answer.choices or ():
        _choose(events, choice, calls)
        if choice.finish_reason and choice.finish_reason != "error":
            events.append(Done(choice.finish_reason, choice.index or 0, _stop(choice, answer)))
    events += _vectors(answer.data or ())
    events += _scores(answer.results or ())
    if failure := _failure(answer, data):
        return [*events, failure]
    if (answer.results or answer.data) and answer.usage and answer.usage.prompt_tokens is None:
        answer.usage.prompt_tokens = answer.usage.total_tokens  # nothing is generated
    if report := _report(answer.usage, answer.timings or _Timings()):
        events.append(report)
    return events


def _choose(events: list[Event], choice: _Choice, calls: Calls) -> None:
    """What one answer says."""
    index = choice.index or 0
    if len(choice.logprobs) > len("null") and (tokens := openai_logprobs.read(choice.logprobs)):
        events.append(Chances(tokens, index))
    if delta := choice.delta or choice.message:
        _add(events, delta, index, calls)
    if choice.text:
        events.append(Text(choice.text, index))


def _vectors(data: Sequence[_Vector]) -> Iterator[Event]:
    for place, vector in enumerate(data):
        if bytes(vector.embedding)[:1] == b"[":
            yield Vector(vector.embedding, place if vector.index is None else vector.index)
    if data:
        yield Done()


def _scores(results: Sequence[_Score]) -> Iterator[Event]:
    for each in results:
        score = each.score if each.relevance_score is None else each.relevance_score
        if score is not None:
            yield Score(score, each.index)
    if results:
        yield Done()


def _failure(answer: _Answer, data: bytes) -> Failure | None:
    """The error that it tells of. Beside a choice that goes on, none is meant."""
    ended = [choice for choice in answer.choices or () if choice.finish_reason == "error"]
    told = bool(answer.error) or answer.object == "error" or answer.type == "error"
    if (told and (ended or not answer.choices)) or (not answer.choices and complaint.is_error(data)):
        return complaint.read(data)
    return complaint.read(msgspec.json.encode({"error": ended[0].error})) if ended else None


def _stop(choice: _Choice, answer: _Answer) -> str:
    """The stop sequence that ended the answer, if it was one and the server tells."""
    if choice.finish_reason != "stop":
        return ""
    if answer.verbose is not None:
        return answer.verbose.stopping_word or ""
    return choice.stop_reason if isinstance(choice.stop_reason, str) else ""


def _add(events: list[Event], delta: _Delta, choice: int, calls: Calls) -> None:
    if thought := delta.reasoning_content or delta.reasoning:
        events.append(Reasoning(thought, choice))
    if isinstance(delta.content, list):
        events += _pieces(delta.content, choice)
    elif text := delta.content or delta.refusal:
        events.append(Text(text, choice))
    for place, call in enumerate(delta.tool_calls or ()):
        function = call.function or _Function()
        given = function.arguments
        arguments = given if isinstance(given, str) else msgspec.json.encode(given).decode() if given else ""
        index = place if call.index is None else call.index
        events.append(calls.piece(index, call.id or "", function.name or "", arguments, choice))


def _pieces(content: list[_Piece], choice: int) -> Iterator[Event]:
    for piece in content:
        thought = piece.thinking
        if isinstance(thought, list):
            thought = "".join(each.text or "" for each in thought)
        if thought:
            yield Reasoning(thought, choice)
        if piece.text:
            yield Text(piece.text, choice)


def _report(reported: _Usage | None, times: _Timings) -> Report | None:
    """What the worker reports; None when that is no count of tokens, which is then ours to make."""
    prompt_ms, completion_ms = _duration(times.prompt_ms), _duration(times.predicted_ms)
    if reported is not None and (used := _billed(reported)):
        return Report(used, prompt_ms, completion_ms)
    if not (_is_count(times.prompt_n) and _is_count(times.cache_n or 0) and _is_count(times.predicted_n or 0)):
        return None
    cached = times.cache_n or 0
    used = Usage(cached + (times.prompt_n or 0), times.predicted_n or 0, cached)
    return Report(used, prompt_ms, completion_ms)


def _billed(told: _Usage) -> Usage | None:
    """What is paid for; None when these are no counts. Of what is told besides, a wrong one is none."""
    if not (_is_count(told.prompt_tokens) and _is_count(told.completion_tokens or 0)):
        return None
    prompt = told.prompt_tokens_details or _Details()
    thoughts = told.completion_tokens_details.reasoning_tokens if told.completion_tokens_details else None
    return usage.Reported(
        told.prompt_tokens,
        told.completion_tokens,
        _count(told.total_tokens),
        usage.Details(
            _count(prompt.cached_tokens), _count(prompt.cache_write_tokens), _count(prompt.cache_creation_tokens)
        ),
        _count(told.cached_tokens),
        _count(told.prompt_cache_hit_tokens),
        _count(told.cache_creation_input_tokens),
        told.cost,
    ).billed(_count(thoughts) or 0)


def _count(tokens: int | None) -> int | None:
    return tokens if _is_count(tokens) else None


def _is_count(tokens: int | None) -> bool:
    return tokens is not None and 0 <= tokens <= usage.MOST_TOKENS


def _duration(ms: float | None) -> float:
    return ms if ms is not None and 0 < ms < MOST_MS else 0.0


class _Stream:
    """Server-sent events, up to the one that says that this is all."""

    def __init__(self) -> None:
        self._events = Events()
        calls = Calls()
        self._said_by: Callable[[bytes], list[Event]] = lambda event: _events(event, calls)
        self._alike = Alike(self._said_by)
        self._begun = False
        self._ended = False
        """It said that it is complete: servers end their connections in good order, too, when their engine dies."""
        self._over = False
        """It said that nothing follows."""

    def read(self, data: bytes) -> list[Event]:
        found = self._said(self._events.feed(data))
        return [*found, unreadable()] if self._events.overflowed and not self._over else found

    def end(self) -> list[Event]:
        found = self._said(self._events.finish())
        if self._begun and not self._ended:
            found.append(Failure("its answer broke off", code="bad_upstream"))
        return found

    def _said(self, events: list[bytes]) -> list[Event]:
        found: list[Event] = []
        again = self._alike.again
        for event in events:
            if self._over:
                break
            if (text := again(event)) is not None:
                found.append(text)
            else:
                found += self._read_new(event)
        self._begun = self._begun or bool(found)
        return found

    def _read_new(self, event: bytes) -> list[Event]:
        """What an event says that is like none before it."""
        word = event.strip()
        self._over = word == b"[DONE]"
        said = [] if word in _SAY_NOTHING else self._said_by(event)
        self._alike.learn(event, said)
        self._ended = self._ended or self._over or any(isinstance(each, Done) for each in said)
        return said


class _Whole(Gathered):
    """One JSON object."""

    def end(self) -> list[Event]:
        body = self.body().removeprefix(BOM)
        if not complaint.is_answer(body):
            return [complaint.read(body)]
        return _events(body, Calls())
