"""Text of tokens as they come: a piece is given as soon as it is whole characters, and no sooner."""

import codecs
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@cache
def byte_of() -> dict[str, int]:
    """The byte that each character of a byte-level token stands for (GPT-2's table): what can be printed is itself,
    the others follow from U+0100 on."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printed)]
    return {chr(byte): byte for byte in printed} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


def raw(token: str) -> bytes:
    """The bytes of a token. One that was added by its text stands for that."""
    table = byte_of()
    try:
        return bytes(table[character] for character in token)
    except KeyError:
        return token.encode()


class Pieces:
    """Joins the tokens of one reply. Special tokens say nothing."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self._tokenizer = tokenizer
        self._silent = {number for number, each in tokenizer.get_added_tokens_decoder().items() if each.special}
        # what can never become a character shows as U+FFFD, as in `Tokenizer.decode`
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, token: int) -> str:
        """What the text goes on with; '' while a character is not whole."""
        if token in self._silent:
            return ""
        return self._decoder.decode(raw(self._tokenizer.id_to_token(token) or ""))

    def end(self) -> str:
        """What is left when no token follows."""
        return self._decoder.decode(b"", final=True)


def until(pieces: Iterable[str], stops: Iterable[str]) -> Iterator[str]:
    """The pieces before the first of those words, which may lie across pieces; empty ones stop nothing."""
    words = [word for word in stops if word]
    held = ""
    for piece in pieces:
        held += piece
        found = [at for word in words if (at := held.find(word)) >= 0]
        if found:
            if held[: min(found)]:
                yield held[: min(found)]
            return
        keep = max((_begun(held, word) for word in words), default=0)
        if ready := held[: len(held) - keep]:
            yield ready
            held = held[len(held) - keep :]
    if held:
        yield held


def _begun(text: str, word: str) -> int:
    """So many characters at the end of the text may be the beginning of that word."""
    longest = min(len(text), len(word) - 1)
    return next((size for size in range(longest, 0, -1) if word.startswith(text[-size:])), 0)
