"""Ollama's `/api/generate`: a prompt in place of messages.

With the model's template it is a chat of one message, and `context` brings the messages before it. `raw` is a text to
go on with as it stands, `suffix` a gap to fill. A template of the client's own is refused: the model has one.
"""

from collections.abc import Mapping

import msgspec

from rolecast.config.schema import Limits
from rolecast.dialects import Read, Writer, ollama_context
from rolecast.dialects.ollama import Body, Ollama, chat_of, needs_of, picture
from rolecast.dialects.ollama_body import decoded, seconds, without_answer
from rolecast.dialects.ollama_generate_writer import writer
from rolecast.dialects.request import NOTHING, Request
from rolecast.errors import BadRequest
from rolecast.values import Completion, Message, Part


class Prompt(Body):
    """A prompt, and what belongs to it."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    images: list[str] | None = None
    raw: bool | None = None


_decode = msgspec.json.Decoder(Prompt).decode
_FORMED = ("system", "context", "images", "session_id")
"""What only a prompt with the model's template can have."""


class OllamaGenerate(Ollama):
    """Prompts in Ollama's own words."""

    def paths(self, limits: Limits) -> Mapping[str, Read]:
        """Ollama has one spelling."""
        most = int(limits.messages)
        return {"/api/generate": lambda body: asked(body, decoded(body, _decode), most)}

    def writer(self, request: Request, model: str) -> Writer:
        """Writes lines, or one whole object."""
        return writer(request, model)


def asked(body: bytes, fields: Prompt, most: int) -> Request:
    """What a body with these fields asks for. Raises BadRequest for what cannot be done."""
    stay_s = seconds(fields.keep_alive)
    if fields.template:
        text = "`template` cannot be set by a request: the model has its own, and `raw` takes a prompt without one"
        raise BadRequest(f"{text}.", param="template")
    if fields.messages or fields.tools:
        name = "messages" if fields.messages else "tools"
        raise BadRequest(f"`{name}` belong to /api/chat; here the `prompt` is asked.", param=name)
    if not fields.prompt and not fields.suffix and not fields.images:
        return without_answer(body, fields.model, stay_s)
    if fields.raw or fields.suffix:
        return _completion(body, fields, stay_s)
    chat = chat_of(fields)
    messages = ollama_context.unpack(fields.context or ())
    if fields.system:
        messages = [Message("system", fields.system), *(m for m in messages if m.role != "system")]
    messages.append(_message(fields))
    if len(messages) > most:
        raise BadRequest(f"`context` holds {len(messages)} messages; {most} are allowed.", param="context")
    chat = msgspec.structs.replace(chat, messages=tuple(messages))
    needs = needs_of(fields, images=bool(fields.images))
    session = fields.session_id or ""
    return Request(
        "chat", b"", chat.model, chat.stream, body, needs, family="", chat=chat, stay_s=stay_s, session=session
    )


def _message(fields: Prompt) -> Message:
    if not fields.images:
        return Message("user", fields.prompt or "")
    pictures = (picture(image, f"images[{i}]") for i, image in enumerate(fields.images))
    return Message("user", (Part("text", text=fields.prompt or ""), *pictures))


def _completion(body: bytes, fields: Prompt, stay_s: float | None) -> Request:
    """A text to go on with, or a gap to fill."""
    way = "raw" if fields.raw else "suffix"
    if fields.raw and fields.suffix:
        raise BadRequest(
            "`raw` and `suffix` exclude each other: a raw prompt has its marks of a gap itself.", param=way
        )
    for name in _FORMED:
        if getattr(fields, name):
            raise BadRequest(f"`{name}` does nothing with `{way}`: leave one of them out.", param=name)
    if fields.think:
        raise BadRequest(f"`think` does nothing with `{way}`: leave one of them out.", param="think")
    chat = chat_of(fields)
    plain = Completion(
        model=chat.model,
        prompt=fields.prompt or "",
        stream=chat.stream,
        suffix=fields.suffix or "",
        answer_schema=chat.answer_schema,
        sampling=chat.sampling,
        extra=chat.extra,
    )
    needs = frozenset({"insert"}) if plain.suffix else NOTHING
    return Request("completion", b"", chat.model, chat.stream, body, needs, family="", plain=plain, stay_s=stay_s)
