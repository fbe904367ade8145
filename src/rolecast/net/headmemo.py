"""What one HTTP head led to, reused when it comes again with nothing but another Content-Length.

Clients and workers repeat their heads to the byte on a kept-alive connection, except for the length. A parser
is deterministic, so its reading of an equal head can be used again; only the digits are read anew. The memo is
made from a head that the strict parser has accepted whole, and matches nothing else: any other byte, an odd
spelling of the length, or a message that did not come in one piece goes to the parser.
"""

MAX_HEAD_BYTES = 4096
MAX_DIGITS = 9
_SPELLINGS = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")


class HeadMemo:
    """One accepted head, split around the digits of its Content-Length, and `value`: what it led to."""

    __slots__ = ("_digits_at", "_prefix", "_suffix", "_suffix_len", "value")

    def __init__(self, prefix: bytes, suffix: bytes, value: object) -> None:
        self._prefix = prefix
        self._suffix = suffix
        self._digits_at = len(prefix)
        self._suffix_len = len(suffix)
        self.value = value

    def body(self, data: bytes) -> bytes | None:
        """The body, when `data` is exactly this head with its own length and a body of that length."""
        if not data.startswith(self._prefix):
            return None
        start = self._digits_at
        stop = data.find(b"\r", start, start + MAX_DIGITS + 1)
        digits = data[start:stop]
        if stop < 0 or not digits.isdigit() or not data.startswith(self._suffix, stop):
            return None
        body_at = stop + self._suffix_len
        return data[body_at:] if len(data) - body_at == int(digits) else None


def remember(data: bytes, length: bytes, value: object) -> HeadMemo | None:
    """A memo of the head at the start of `data`, whose Content-Length the parser read as `length`.

    None when the head is not wholly there, too large, or spells its length in an unusual way. Only a line of
    its own counts, so that `X-Content-Length` or a body is never taken for it.
    """
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
    for name in _SPELLINGS:
        at = data.find(name, 0, end) if end > 0 else -1
        if at >= 0:
            start = at + len(name)
            stop = start + len(length)
            if data[start:stop] == length and data[stop : stop + 2] == b"\r\n" and length.isdigit():
                return HeadMemo(data[:start], data[stop : end + 4], value)
    return None
