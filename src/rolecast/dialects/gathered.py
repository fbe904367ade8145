"""A plain answer of a worker, gathered until it is whole. Bounded; knows nothing of what is said."""

from rolecast.values import Event, Failure

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A plain answer beyond this is none."""


class Gathered:
    """The bytes of one answer so far; a reader reads them at its end."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def read(self, data: bytes) -> list[Event]:
        """Nothing is said before the end; a Failure for more than any answer has."""
        self._parts.append(data)
        self._size += len(data)
        return [unreadable()] if self._size > MAX_ANSWER_BYTES else []

    def body(self) -> bytes:
        """All of it."""
        return b"".join(self._parts)


def unreadable() -> Failure:
    """What came cannot be the answer."""
    return Failure("its answer cannot be read", code="bad_upstream")
