"""The OpenAI dialect: what is read of bodies that go on as they are, and how answers and errors look.

Only fields that routing or safety need are typed; all others stay in the bytes and reach the worker as the
client wrote them. Numbers that have crashed engines elsewhere are range-checked before they go on.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated

import msgspec

from rolecast.config.schema import Limits
from rolecast.dialects import Read, Writer, openai_words, openai_writer
from rolecast.dialects.openai_body import Body, Int32, Text, read
from rolecast.dialects.openai_chat import Message, Tool, ToolChoice, in_words, needs_of_messages, needs_of_tools
from rolecast.dialects.operation import Reference
from rolecast.dialects.request import Request, Several, read_fields
from rolecast.errors import Invalid, RolecastError
from rolecast.values import Chat, Kind


class ChatBody(Body):
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | ToolChoice | None = None
    thinking_budget: Int32 | None = None
    session_id: Text | None = None
    logprobs: bool | int | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    # These ask for what hardly an engine has; it would leave them aside without a word.
    modalities: list[str] | None = None
    functions: list[msgspec.Raw] | None = None
    web_search_options: dict[str, msgspec.Raw] | None = None

    @property
    def rare_needs(self) -> frozenset[str]:
        """What few servers can do, in words of `capabilities`."""
        sounds = self.modalities is not None and "audio" in self.modalities
        asked = {"speaking": sounds, "functions": bool(self.functions), "search": self.web_search_options is not None}
        return frozenset(word for word, is_asked in asked.items() if is_asked)


class OpenAI:
    """Chat completions."""

    def paths(self, limits: Limits) -> Mapping[str, Read]:
        """With and without `/v1`."""
        return dict.fromkeys(("/v1/chat/completions", "/chat/completions"), read_chat(int(limits.messages)))

    def chat(self, request: Request) -> Chat:
        """A chat request in words of no dialect."""
        return openai_words.chat(request.body)

    def writer(self, request: Request, model: str) -> Writer:
        """Writes chunks, or one whole answer."""
        return openai_writer.writer(request, model)

    def error(self, error: RolecastError, *, started: bool = False) -> bytes:
        """The error object; in a stream as an event, with the end that clients wait for."""
        return b"data: %b\n\ndata: [DONE]\n\n" % error.body() if started else error.body()

    def reference(self) -> Reference:
        """What its paths take and give."""
        from rolecast.dialects import openai_reference

        return openai_reference.REFERENCE


def _no_messages(body: bytes) -> Request:
    raise Invalid("`messages` is missing: a list of objects with `role` and `content`.", param="messages")


def read_chat(max_messages: int, otherwise: Read = _no_messages) -> Read:
    """What reads the body of a chat; `otherwise` reads one without `messages`."""

    def read_one(body: bytes) -> Request:
        fields, body = read(body, _decode_chat)
        if fields.messages is None:
            return otherwise(body)
        if len(fields.messages) > max_messages:
            raise Invalid(
                f"`messages` holds {len(fields.messages)} entries; {max_messages} are allowed.",
                param="messages",
            )
        request = opened("chat", b"/chat/completions", fields, body)
        if fields.thinking_budget is not None:
            request.edit = True
        if fields.session_id is not None:
            request.session = fields.session_id
        request.needs, request.prefers = needs_of_messages(fields.messages)
        if fields.modalities is not None or fields.functions is not None or fields.web_search_options is not None:
            request.needs |= fields.rare_needs
        if fields.tools is not None or fields.tool_choice is not None:
            _take_tools(request, fields)
        if fields.n is not None and fields.n > 1:
            request.split = partial(_answers, fields.n, fields.seed)
        return request

    return read_one


def _answers(n: int, seed: int | None, request: Request) -> Several:
    """One request for each answer; with a seed they still differ."""
    fields = read_fields(request.body)
    del fields["n"]
    parts: list[Request] = []
    for k in range(n):
        if k and seed is not None:
            fields["seed"] = msgspec.Raw(str(seed + k).encode())
        body = msgspec.json.encode(fields) if seed is not None or not k else parts[0].body
        parts.append(msgspec.structs.replace(request, body=body, split=None))
    return Several(tuple(parts), n)


_decode_chat = msgspec.json.Decoder(ChatBody).decode


def opened(kind: Kind, path: bytes, fields: Body, body: bytes) -> Request:
    """The request of these fields."""
    options = fields.stream_options
    request = Request(kind, path, fields.model or "", fields.stream is True, body)
    if options is not msgspec.UNSET:
        request.wants_usage = options is not None and options.include_usage is True
        # A `stream_options` of the client's own is edited, not spliced, when usage has to be asked for.
        request.edit = not request.wants_usage
    if fields.repetition_penalty is not None:
        request.edit = True
    return request


def _take_tools(request: Request, fields: ChatBody) -> None:
    """What the tools of a chat mean for who may answer and for how it is asked."""
    needs, prefers = needs_of_tools(fields.tools, fields.tool_choice)
    request.needs |= needs
    request.prefers = (request.prefers | prefers) - request.needs
    if words := in_words(request.body, fields.tools, fields.tool_choice):
        request.choice_in_words, request.edit = words, True
