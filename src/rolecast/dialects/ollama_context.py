"""Ollama's `context`: a conversation as whole numbers, which the next request brings back.

Clients hand the numbers on unread, and with Ollama they are tokens of one model. Here they are the conversation
itself, so that any model goes on with it, nothing is kept between requests, and any gateway understands them.
Pictures are left out.
"""

import struct
from collections.abc import Sequence

import msgspec

from rolecast.errors import UNREADABLE, BadRequest
from rolecast.values import Message

MARK = 0x52434C
"""The first number."""
BYTES = 3
"""In each number, which therefore fits where clients keep tokens."""

_decode = msgspec.json.Decoder(list[tuple[str, str]]).decode


def pack(messages: Sequence[Message], answer: str) -> list[int]:
    """The conversation with the answer that ends it."""
    said = [(message.role, _text(message)) for message in messages]
    data = msgspec.json.encode([*said, ("assistant", answer)])
    data += b" " * (-len(data) % BYTES)
    words = bytearray(len(data) // BYTES * 4)
    for place in range(BYTES):  # each number in a word of four bytes, all at once: a conversation has thousands
        words[place + 1 :: 4] = data[place::BYTES]
    return [MARK, *struct.unpack(f">{len(words) // 4}I", words)]


def unpack(context: Sequence[int]) -> list[Message]:
    """The conversation in these numbers. Raises BadRequest for others."""
    if not context:
        return []
    try:
        if context[0] != MARK:
            raise ValueError
        said = _decode(b"".join(number.to_bytes(BYTES) for number in context[1:]))
    except (ValueError, OverflowError, *UNREADABLE):
        text = "`context` was not made here: send back what the last answer had, or leave it out"
        raise BadRequest(f"{text}.", param="context", code="invalid_value") from None
    return [Message(role, content) for role, content in said]


def _text(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(part.text for part in message.content)
