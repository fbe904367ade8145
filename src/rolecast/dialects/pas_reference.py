"""What the reference says of the paths that a port with `surface: pas` has of its own, or judges more strictly."""

from typing import Any, Literal

import msgspec

from rolecast.dialects import ollama_reference, openai_reference
from rolecast.dialects.openai import ChatBody
from rolecast.dialects.operation import Reference
from rolecast.dialects.pas import Penalty, Temperature, Tokens
from rolecast.dialects.pas_generate import PromptOptions

TAG = "PAS"


class ChatMessage(msgspec.Struct):
    role: Literal["system", "user", "assistant"]
    content: str | list[dict[str, Any]] | None = None


class StrictChat(ChatBody):
    """OpenAI's chat, with what the PAS services never took left out."""

    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Temperature | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None


CHAT = msgspec.structs.replace(openai_reference.CHAT, body=StrictChat, fields={"messages": list[ChatMessage]})
_OLLAMA = msgspec.structs.replace(
    ollama_reference.PROMPT, more="One object unless `stream` is true. The model of the port answers.", needs=()
)
_PROMPT = msgspec.structs.replace(_OLLAMA, tag=TAG, body=PromptOptions, needs=("prompt",))
OLLAMA = Reference({"/api/generate": _OLLAMA}, ollama_reference.Error)
GENERATE = Reference({"/generate": _PROMPT}, openai_reference.Error)
