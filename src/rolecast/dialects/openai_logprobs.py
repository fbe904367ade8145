"""How likely each token of an answer was, in both shapes of OpenAI's API: that of chats, and that of completions.

Servers of this field answer completions in either, and leave out what they like: what cannot be read is left out here.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from rolecast.errors import UNREADABLE
from rolecast.values import Token


class _Token(msgspec.Struct):
    token: str = ""
    logprob: float | None = None
    bytes: list[int] | None = None
    top_logprobs: "list[_Token] | None" = None


class _Logprobs(msgspec.Struct):
    content: list[_Token] | None = None
    """Of a chat."""
    tokens: list[str] | None = None
    """Of a completion, with the two below."""
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


_decode = msgspec.json.Decoder(_Logprobs | None).decode


def read(raw: msgspec.Raw) -> tuple[Token, ...]:
    """The tokens in either shape; none where they cannot be read."""
    try:
        said = _decode(raw)
    except UNREADABLE:
        return ()
    if said is None:
        return ()
    if said.content is not None:
        return tuple(_token(each) for each in said.content)
    likely, others = said.token_logprobs or [], said.top_logprobs or []
    found = []
    for i, text in enumerate(said.tokens or ()):
        top = others[i] if i < len(others) else None
        tops = tuple(Token(name, number) for name, number in (top or {}).items())
        found.append(Token(text, likely[i] if i < len(likely) else None, top=tops))
    return tuple(found)


def _token(said: _Token) -> Token:
    data = bytes(said.bytes) if said.bytes and all(0 <= each < 256 for each in said.bytes) else None
    return Token(said.token, said.logprob, data, tuple(_token(each) for each in said.top_logprobs or ()))


def of_chat(tokens: Sequence[Token]) -> dict[str, Any]:
    """As the answer of a chat has them."""
    return {"content": [_entry(each) | {"top_logprobs": [_entry(top) for top in each.top]} for each in tokens]}


def _entry(token: Token) -> dict[str, Any]:
    data = token.text.encode() if token.data is None else token.data
    return {"token": token.text, "logprob": token.logprob, "bytes": list(data)}


def of_completion(tokens: Sequence[Token], offset: int, most: int) -> dict[str, Any]:
    """As the answer of a completion has them.

    `offset` is where the first token begins, in characters of the text; `most` is how many others are told of each.
    """
    offsets = []
    for each in tokens:
        offsets.append(offset)
        offset += len(each.text)
    return {
        "tokens": [each.text for each in tokens],
        "token_logprobs": [each.logprob for each in tokens],
        "top_logprobs": [{top.text: top.logprob for top in each.top[:most]} for each in tokens] if most else None,
        "text_offset": offsets,
    }
