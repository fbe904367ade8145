"""What a port with `surface: pas` refuses besides: values that the PAS services themselves never took.

Judges the body once more, on these ports alone; the rest is what every chat request goes through.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from rolecast.dialects import Entry, Read
from rolecast.dialects.openai_chat import explain
from rolecast.dialects.request import Request
from rolecast.errors import Invalid

ROLES = ("system", "user", "assistant")
Tokens = Annotated[int, msgspec.Meta(ge=1)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]


class _Message(msgspec.Struct):
    role: str


class _Chat(msgspec.Struct):
    messages: list[_Message]
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None


_decode = msgspec.json.Decoder(_Chat).decode


def strict(hot: Mapping[bytes, Entry], context: int) -> dict[bytes, Entry]:
    """The same paths, their chats judged as PAS does; an answer may take `context` tokens (0 = any number)."""
    return {
        path: msgspec.structs.replace(entry, read=_strict(entry.read, context))
        if path.endswith(b"/chat/completions")
        else entry
        for path, entry in hot.items()
    }


def _strict(read: Read, context: int) -> Read:
    def chat(body: bytes) -> Request:
        request = read(body)
        try:
            fields = _decode(request.body)
        except msgspec.ValidationError as exc:
            where, text = explain(exc)
            raise Invalid(f"`{where}`: {text}.", param=where) from None
        for i, message in enumerate(fields.messages):
            if message.role not in ROLES:
                place = f"messages[{i}].role"
                raise Invalid(f"`{place}` must be one of {', '.join(ROLES)} on this port.", param=place)
        for name in ("max_tokens", "max_completion_tokens"):
            if context and (getattr(fields, name) or 0) > context:
                raise Invalid(f"`{name}` is more than the context of this model, {context} tokens.", param=name)
        return request

    return chat
