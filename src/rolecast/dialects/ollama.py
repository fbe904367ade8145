"""Ollama's `/api/chat`: bodies read into words of no dialect, answers as lines of JSON.

Settings that an engine takes at its start (`num_ctx`, `num_gpu` ...) are the configuration's business and not looked
at; a prompt that does not fit is refused, never cut. Ollama's other paths to models are `ollama_generate`'s and
`ollama_embed`'s; those that ask no model are pages.
"""

import base64
import binascii
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from rolecast.config.sampling import ENGINE
from rolecast.config.schema import Limits
from rolecast.dialects import Read, Writer, ollama_writer
from rolecast.dialects.ollama_body import KeepAlive, decoded, seconds, without_answer
from rolecast.dialects.operation import Reference
from rolecast.dialects.request import MOST_BACK, NOTHING, TOOLS, Request, wishes_of
from rolecast.errors import UNREADABLE, BadRequest, ModelNotFound, RolecastError
from rolecast.values import Chat, Message, Part, Sampling, Tool, ToolCall

Whole = Annotated[float, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
"""A number that is meant to be whole: clients with one kind of number write 40.0. What is behind the point is cut."""
Real = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]


class _Function(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    arguments: dict[str, msgspec.Raw] | str | None = None


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    role: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[_Call] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None
    name: str | None = None


class _ToolFunction(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    description: str | None = None
    parameters: dict[str, msgspec.Raw] | None = None


class _Tool(msgspec.Struct):
    function: _ToolFunction
    type: str | None = None


class Options(msgspec.Struct):
    """By Ollama's names. What else there is concerns the start of an engine, or nobody."""

    num_predict: Whole | None = None
    num_keep: Whole | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Whole | None = None
    min_p: Real | None = None
    typical_p: Real | None = None
    repeat_last_n: Whole | None = None
    seed: int | float | None = None
    stop: str | list[str] | None = None
    presence_penalty: Real | None = None
    frequency_penalty: Real | None = None
    repeat_penalty: Real | None = None
    mirostat: Whole | None = None
    mirostat_tau: Real | None = None
    mirostat_eta: Real | None = None


class Body(msgspec.Struct):
    """A chat, or what another path has in common with one."""

    model: Annotated[str, msgspec.Meta(max_length=512)] = ""
    messages: list[_Message] = []
    stream: bool | None = None
    tools: list[_Tool] | None = None
    format: msgspec.Raw = msgspec.Raw(b"null")
    options: Options | None = None
    think: bool | str | None = None
    keep_alive: KeepAlive = None
    session_id: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    logprobs: bool | None = None


_decode = msgspec.json.Decoder(Body).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""How hard a model may be asked to think; each knows some of them."""
SEEDS = (-(2**63), 2**63 - 1)

SEES, THINKS = frozenset({"vision"}), frozenset({"thinking"})
_PICTURES = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp"), (b"BM", "bmp"))


class Ollama:
    """Chats in Ollama's own words."""

    def paths(self, limits: Limits) -> Mapping[str, Read]:
        """Ollama has one spelling."""
        most = int(limits.messages)
        return {"/api/chat": lambda body: _read(body, most)}

    def chat(self, request: Request) -> Chat:
        """A chat request in words of no dialect."""
        assert request.chat is not None
        return request.chat

    def writer(self, request: Request, model: str) -> Writer:
        """Writes lines, or one whole object."""
        return ollama_writer.writer(model, stream=request.stream)

    def error(self, error: RolecastError, *, started: bool = False) -> bytes:
        """Ollama's errors are a text; its clients look for `not found` before they pull a model."""
        told = f"model not found: {error.message}" if isinstance(error, ModelNotFound) else error.message
        return msgspec.json.encode({"error": told}) + b"\n" * started

    def reference(self) -> Reference:
        """What its paths take and give."""
        from rolecast.dialects import ollama_reference

        return ollama_reference.REFERENCE


def _read(body: bytes, most: int) -> Request:
    fields = decoded(body, _decode)
    stay_s = seconds(fields.keep_alive)
    if not fields.messages:
        return without_answer(body, fields.model, stay_s)
    if len(fields.messages) > most:
        raise BadRequest(f"`messages` holds {len(fields.messages)} entries; {most} are allowed.", param="messages")
    chat = chat_of(fields)
    needs = needs_of(fields, images=any(message.images for message in fields.messages))
    prefers = TOOLS if chat.tools else wishes_of(chat.messages)
    return Request(
        "chat",
        b"",
        chat.model,
        chat.stream,
        body,
        needs,
        prefers,
        family="",
        chat=chat,
        stay_s=stay_s,
        session=fields.session_id or "",
    )


def needs_of(fields: Body, *, images: bool) -> frozenset[str]:
    """What a model must be able to do for it."""
    thinks = fields.think is True or (isinstance(fields.think, str) and fields.think not in ("", "none"))
    return (SEES if images else NOTHING) | (THINKS if thinks else NOTHING)


def chat_of(fields: Body) -> Chat:
    """The chat in words of no dialect. Raises BadRequest for what cannot be said in them."""
    if fields.logprobs:
        raise BadRequest("`logprobs` are not given here; OpenAI's /v1/chat/completions has them.", param="logprobs")
    if isinstance(fields.think, str) and fields.think not in EFFORTS:
        allowed = ", ".join(f'"{effort}"' for effort in EFFORTS)
        raise BadRequest(f"`think` must be true, false or one of {allowed}.", param="think", code="invalid_value")
    options = fields.options or Options()
    most = _whole(options.num_predict) or 0
    return Chat(
        model=fields.model,
        messages=tuple(_messages(fields.messages)),
        stream=fields.stream is not False,
        tools=tuple(
            Tool(tool.function.name, tool.function.description or "", _raw(tool.function.parameters))
            for tool in fields.tools or ()
        ),
        answer_schema=_schema(fields.format),
        think=fields.think,
        sampling=Sampling(
            # Below 0 Ollama means: without end, which is what it is without a word.
            max_tokens=most if most > 0 else None,
            temperature=options.temperature,
            top_p=options.top_p,
            top_k=_whole(options.top_k),
            min_p=options.min_p,
            seed=_seed(options.seed),
            stop=tuple(filter(None, [options.stop] if isinstance(options.stop, str) else options.stop or ())),
            presence_penalty=options.presence_penalty,
            frequency_penalty=options.frequency_penalty,
            repetition_penalty=options.repeat_penalty,
        ),
        extra={theirs: value for ours, theirs in ENGINE.items() if (value := _engine(options, ours)) is not None},
    )


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _seed(number: float | None) -> int | None:
    if number is not None and not SEEDS[0] <= number <= SEEDS[1]:
        raise BadRequest(f"`options.seed` must lie in {SEEDS[0]} to {SEEDS[1]}.", param="options.seed")
    return _whole(number)


def _engine(options: Options, name: str) -> float | None:
    value: float | None = getattr(options, name)
    if name == "repeat_last_n" and value is not None:  # below 0 Ollama means: all
        return min(int(value), MOST_BACK) if value >= 0 else MOST_BACK
    return _whole(value) if name in ("num_keep", "mirostat") else value


def _raw(fields: dict[str, msgspec.Raw] | None) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(fields or {}))


class _OpenCalls:
    """Calls whose results have not come. Looks at each call once, however many there are of both."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._answered: set[int] = set()
        self._waiting: dict[tuple[str, str], deque[int]] = defaultdict(deque)

    def add(self, call: ToolCall) -> None:
        for key in (("id", call.id), ("name", call.name), ("any", "")):
            self._waiting[key].append(len(self._ids))
        self._ids.append(call.id)

    def answered_by(self, result: _Message) -> str:
        """The id of the call whose result this is, which is open no more."""
        if result.tool_call_id:
            self._take("id", result.tool_call_id)
            return result.tool_call_id
        return self._take("name", result.tool_name or result.name or "") or self._take("any", "") or "call_0"

    def _take(self, by: str, value: str) -> str:
        waiting = self._waiting.get((by, value))
        while waiting:
            number = waiting.popleft()
            if number not in self._answered:
                self._answered.add(number)
                return self._ids[number]
        return ""


def _messages(given: Sequence[_Message]) -> list[Message]:
    """The messages. Ollama's calls have no ids: results belong to the calls before them by name, else in order."""
    found: list[Message] = []
    open_calls = _OpenCalls()
    for i, message in enumerate(given):
        calls = tuple(
            ToolCall(
                call.id or f"call_{i}_{j}",
                call.function.name,
                _arguments(call.function.arguments, f"messages[{i}].tool_calls[{j}].function.arguments"),
            )
            for j, call in enumerate(message.tool_calls or ())
        )
        for call in calls:
            open_calls.add(call)
        answers = open_calls.answered_by(message) if message.role == "tool" else ""
        content: str | tuple[Part, ...] = message.content or ""
        if message.images:
            pictures = tuple(picture(image, f"messages[{i}].images[{j}]") for j, image in enumerate(message.images))
            content = (Part("text", text=message.content or ""), *pictures)
        found.append(Message(message.role, content, message.thinking or "", calls, answers, message.name or ""))
    return found


def _arguments(given: dict[str, msgspec.Raw] | str | None, place: str) -> str:
    """The arguments as OpenAI has them. Histories of its clients bring them as the text of an object already."""
    if not isinstance(given, str):
        return msgspec.json.encode(given or {}).decode()
    try:
        _decode_object(given.strip() or "{}")
    except UNREADABLE:
        raise BadRequest(f"`{place}` must be an object.", param=place, code="invalid_value") from None
    return given.strip() or "{}"


def picture(image: str, place: str) -> Part:
    """A picture in base64, in lines or not, as a URL that holds it."""
    data = image.partition(";base64,")[2] if image.startswith("data:") else image
    data = "".join(data.split())
    try:
        begin = base64.b64decode(data[:64], validate=True)
    except (binascii.Error, ValueError):
        begin = b""
    if not begin:
        raise BadRequest(f"`{place}` is not base64: send the bytes of the picture so.", param=place)
    kind = next((kind for magic, kind in _PICTURES if begin.startswith(magic)), "png")
    return Part("image", data=f"data:image/{kind};base64,{data}")


def _schema(given: msgspec.Raw) -> msgspec.Raw | None:
    """The schema that `format` asks for."""
    text = bytes(given).strip()
    if text in (b"null", b'""'):
        return None
    if text == b'"json"':
        return msgspec.Raw(b"{}")
    if not text.startswith(b"{"):
        raise BadRequest('`format` must be "json" or a JSON schema.', param="format", code="invalid_value")
    return given
