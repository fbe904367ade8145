"""Servers that speak Ollama's own API: chats, completions and embeddings written for them.

Their answers are read by `ollama_reader`. Ollama cuts a prompt that is too long without a word unless it is told not to
(`truncate`, `shift`), so it is told. What the wire has no word for is left out where it only shades an answer, and
refused where the answer would be another one.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from rolecast.config.sampling import ENGINE
from rolecast.dialects import Reader, ollama_reader
from rolecast.dialects.turns import settled
from rolecast.errors import UNREADABLE, BadRequest
from rolecast.values import Chat, Completion, Defaults, Embedding, Kind, Message, Part, Sampling, Tool, Words

OPTIONS = {
    "max_tokens": "num_predict",
    "repetition_penalty": "repeat_penalty",
    **{
        name: name
        for name in (
            *("temperature", "top_p", "top_k", "min_p", "seed", "stop"),
            *("presence_penalty", "frequency_penalty"),
        )
    },
}
"""How tokens are drawn, by Ollama's names."""
WHOLE = {"truncate": False, "shift": False}
"""A prompt that does not fit is an error, and an answer ends where the context does."""
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class OllamaWorker:
    """Ollama, and others with its API."""

    kinds: frozenset[Kind] = frozenset({"chat", "completion", "embeddings"})

    def ask(self, words: Words, *, usage: bool) -> tuple[bytes, bytes]:
        """A chat, a prompt as it stands, or texts to embed. Raises BadRequest for what cannot be said so."""
        if isinstance(words, Chat):
            return b"/api/chat", msgspec.json.encode(_chat(words))
        if isinstance(words, Completion):
            return b"/api/generate", msgspec.json.encode(_completion(words))
        assert isinstance(words, Embedding)
        if any(not isinstance(each, str) for each in words.inputs):
            raise BadRequest("This model's server takes texts, and no numbers of tokens.", param="input")
        return b"/api/embed", msgspec.json.encode({"model": words.model, "input": words.inputs, "truncate": False})

    def fill(self, fields: dict[str, Any], kind: Kind, defaults: Defaults) -> None:
        """Nothing: no body passes to it as it is, since what its clients write is read into words."""

    def reader(self, *, streaming: bool) -> Reader:
        """Reads lines of JSON, or one object."""
        return ollama_reader.reader(streaming=streaming)


def _chat(chat: Chat) -> dict[str, Any]:
    fields: dict[str, Any] = {"model": chat.model, "messages": _messages(settled(chat.messages)), "stream": chat.stream}
    if chat.tools and chat.tool_choice != "none":
        fields["tools"] = [_tool(each) for each in chat.tools]
    if chat.think is not None:
        fields["think"] = chat.think
    return fields | _common(chat)


def _completion(words: Completion) -> dict[str, Any]:
    if not isinstance(words.prompt, str):
        raise BadRequest("This model's server takes a text, and no numbers of tokens.", param="prompt")
    fields: dict[str, Any] = {"model": words.model, "prompt": words.prompt, "stream": words.stream}
    # Only its template knows how the model is told of a gap; any other text goes on as it stands.
    return fields | ({"suffix": words.suffix} if words.suffix else {"raw": True}) | _common(words)


def _common(words: Chat | Completion) -> dict[str, Any]:
    """What chats and completions have alike."""
    fields: dict[str, Any] = dict(WHOLE)
    if words.answer_schema is not None:
        fields["format"] = "json" if bytes(words.answer_schema).strip() == b"{}" else words.answer_schema
    if options := _options(words.sampling, words.extra):
        fields["options"] = options
    return fields


def _options(sampling: Sampling, extra: Mapping[str, Any]) -> dict[str, Any]:
    said = msgspec.structs.asdict(sampling)
    options = {theirs: said[ours] for ours, theirs in OPTIONS.items() if said[ours] not in (None, ())}
    return options | {theirs: extra[ours] for theirs, ours in ENGINE.items() if ours in extra}


def _tool(tool: Tool) -> dict[str, Any]:
    schema: Any = tool.parameters
    with suppress(*UNREADABLE):  # what is no schema at all is refused there
        schema = {"type": "object"} | _object(tool.parameters)
    function = {"name": tool.name, "description": tool.description, "parameters": schema}
    return {"type": "function", "function": function}


# -- messages ----------------------------------------------------------------------------------------------------


def _messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The messages. A result tells the name of the call that it belongs to, which is all that older servers read."""
    called: dict[str, str] = {}
    found = []
    for message in messages:
        called |= {call.id: call.name for call in message.tool_calls}
        fields = _message(message)
        if message.role == "tool":
            fields["tool_call_id"] = message.tool_call_id
            fields["tool_name"] = message.name or called.get(message.tool_call_id, "")
        found.append(fields)
    return found


def _message(message: Message) -> dict[str, Any]:
    text, images = _content(message.content)
    fields: dict[str, Any] = {"role": message.role, "content": text}
    if images:
        fields["images"] = images
    if message.reasoning:
        fields["thinking"] = message.reasoning
    if message.tool_calls:
        fields["tool_calls"] = [
            {"id": call.id, "function": {"name": call.name, "arguments": _arguments(call.arguments)}}
            for call in message.tool_calls
        ]
    return fields


def _content(content: str | tuple[Part, ...]) -> tuple[str, list[str]]:
    """The text, and the pictures in base64."""
    if isinstance(content, str):
        return content, []
    images = []
    for part in content:
        if part.kind == "text":
            continue
        head, comma, data = part.data.partition(";base64,")
        if part.kind != "image":
            raise BadRequest(f"This model takes no {part.kind}: its server has no word for it.", param="messages")
        if not comma or not head.startswith("data:"):
            text = "This model's server fetches no pictures: send data:image/...;base64 with the picture itself."
            raise BadRequest(text, param="messages")
        images.append(data)
    return "\n\n".join(part.text for part in content if part.kind == "text"), images


def _arguments(written: str) -> dict[str, msgspec.Raw]:
    try:
        return _object(written or "{}")
    except UNREADABLE:
        text = "The `arguments` of a call must be the text of a JSON object."
        raise BadRequest(text, param="messages", code="invalid_value") from None
