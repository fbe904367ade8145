"""How each dialect asks for a stream of text, and how the pieces of its answer are told apart and counted.

Knows the wire of clients and of the fake model servers as far as a benchmark needs it, and nothing of load or clocks.
"""

import json
from dataclasses import dataclass

SYSTEM = "You are a helpful assistant."
QUESTION = "What is the capital of France? "
FLAT = ("/conductor/generate/stream",)
"""Paths of prompts that have no `options`."""


@dataclass(frozen=True)
class Way:
    """One dialect's stream. `mark` stands once in each event with a piece of the text, `end` in
    its last event."""

    title: str
    path: str
    mark: bytes
    end: bytes
    prompts: bool = False
    """The text is a `prompt`, not a conversation."""
    surface: str = ""
    """The surface of the port that has its path; '' = the front door has it."""
    worker: str = "openai"
    """What the model's server speaks."""
    heard: bool = False
    """The model may leave thoughts and calls in its text, which are looked for."""

    def body(self, model: str, events: int, *, stream: bool = True, pad: int = 0) -> bytes:
        """A request for an answer of so many events."""
        question = QUESTION + "x" * pad
        fields: dict[str, object] = {"model": model}
        if self.prompts:
            fields |= {"prompt": question}
            fields |= {"max_tokens": events} if self.path in FLAT else {"options": {"num_predict": events}}
        elif self.path == "/api/chat":
            fields |= {"messages": [{"role": "user", "content": question}], "options": {"num_predict": events}}
        elif self.path == "/v1/responses":
            fields |= {"input": question, "instructions": SYSTEM, "max_output_tokens": events, "store": False}
        else:
            said = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
            fields |= {"max_tokens": events, "messages": said}
            if self.path == "/v1/messages":
                fields |= {"system": SYSTEM, "messages": said[1:]}
            elif stream:
                fields["stream_options"] = {"include_usage": True}
        if stream or self.path.startswith("/api/"):
            fields["stream"] = stream
        return json.dumps(fields).encode()


_PIECE = b'"delta":{"content":'
_DONE = b"data: [DONE]\n\n"
PASSED = "openai"
"""The stream that goes on as it comes; the others are measured against it."""
WAYS = {
    PASSED: Way("OpenAI, passed on", "/v1/chat/completions", _PIECE, _DONE),
    "openai-heard": Way("OpenAI, heard for marks", "/v1/chat/completions", _PIECE, _DONE, heard=True),
    "ollama": Way("Ollama, chat", "/api/chat", b'"done":false', b'"done":true'),
    "ollama-heard": Way("Ollama, chat, heard for marks", "/api/chat", b'"done":false', b'"done":true', heard=True),
    "ollama-generate": Way("Ollama, generate", "/api/generate", b'"done":false', b'"done":true', prompts=True),
    "anthropic": Way("Anthropic", "/v1/messages", b"\ndata: " + b'{"type":"content_block_delta"', b"message_stop"),
    "responses": Way("Responses", "/v1/responses", b"event: response.output_text.delta", b"event: response.incomplete"),
    "pas": Way("PAS, generate", "/generate", b'"done":false', b'"done":true', prompts=True, surface="pas"),
    "conductor": Way("Conductor", "/conductor/generate/stream", b'{"chunk":', b'"done":true', prompts=True),
    "openai-anthropic": Way(
        "OpenAI, of an Anthropic server", "/v1/chat/completions", b'"content":', _DONE, worker="anthropic"
    ),
}

# -- what the fake servers say -----------------------------------------------------------------------------------

EVENT = (
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":" word%02d"}}],'
    b'"created":1760000000,"id":"chatcmpl-fake0123456789abcdef","model":"fake",'
    b'"system_fingerprint":"b0-fake","object":"chat.completion.chunk"}\n\n'
)
LAST = (
    b'data: {"choices":[{"finish_reason":"length","index":0,"delta":{}}],"created":1760000000,'
    b'"id":"chatcmpl-fake0123456789abcdef","model":"fake","object":"chat.completion.chunk",'
    b'"usage":{"completion_tokens":%d,"prompt_tokens":31,"total_tokens":%d}}\n\n'
)
MESSAGE_START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_fake0123456789abcdef",'
    b'"type":"message","role":"assistant","model":"fake","content":[],"stop_reason":null,"stop_sequence":null,'
    b'"usage":{"input_tokens":31,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n'
)
MESSAGE_DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":" word%02d"}}\n\n'
)
MESSAGE_STOP = (
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null},'
    b'"usage":{"output_tokens":%d}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)


def said(worker: str, events: int, *, told: int = 0) -> tuple[bytes, list[bytes], bytes]:
    """What a server of that family streams: before the pieces, the pieces, and after them, where it tells how many."""
    told = told or events
    if worker == "anthropic":
        return MESSAGE_START, [MESSAGE_DELTA % (i % 100) for i in range(events)], MESSAGE_STOP % told
    return b"", [EVENT % (i % 100) for i in range(events)], LAST % (told, told + 31) + _DONE
