"""What a port with `surface: pas` has besides: `/generate`, and chats that refuse what the PAS services never took.

Judges the body of a chat once more, on these ports alone; the rest is what every chat request goes through. Prompts
are `pas_generate`'s.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from rolecast.config.schema import Limits
from rolecast.dialects import Entry, Read
from rolecast.dialects.openai_chat import explain
from rolecast.dialects.pas_generate import PasGenerate, PasOllama
from rolecast.dialects.request import Request
from rolecast.errors import Invalid

CHAT = "rolecast.dialects.pas_reference:CHAT"
"""What the reference says of chats here."""
ROLES = ("system", "user", "assistant")
Tokens = Annotated[int, msgspec.Meta(ge=1)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]


class _Message(msgspec.Struct):
    role: str


class _Chat(msgspec.Struct):
    messages: list[_Message]
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Temperature | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None


_decode = msgspec.json.Decoder(_Chat).decode


def on_port(hot: Mapping[bytes, Entry], limits: Limits, model: str, context: int) -> dict[bytes, Entry]:
    """The same paths with PAS's own, and chats judged as PAS does.

    `model` is what answers on this port, '' = what is asked for; an answer may take `context` tokens (0 = any number).
    """
    found = {
        path: msgspec.structs.replace(entry, read=_strict(entry.read, context), operation=CHAT)
        if path.endswith(b"/chat/completions")
        else entry
        for path, entry in hot.items()
    }
    for spoken in (PasGenerate(model, context), PasOllama(model)):
        for path, read in spoken.paths(limits).items():
            found[path.encode()] = Entry(path, read, spoken)
    return found


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
