"""Server-sent events, cut out of the bytes of a stream as they come. Knows framing and nothing of what is said."""

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""An event beyond this is not waited for."""


class Events:
    """The data of each event. Lines end in LF, CRLF or CR; comments and other fields say nothing."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._data: list[bytes] = []
        self._size = 0
        """Bytes of the event that has begun."""
        self.overflowed = False
        """More came without an end of event than any event holds; nothing is read any more."""

    def feed(self, data: bytes) -> list[bytes]:
        """The data of the events that these bytes complete."""
        self._rest.append(data)
        self._size += len(data)
        if self._size > MAX_EVENT_BYTES:
            self.overflowed = True
            self._rest, self._data = [], []
        if self.overflowed or (b"\n" not in data and b"\r" not in data):
            return []
        data = b"".join(self._rest)
        if b"\r" in data:
            held = b"\r" if data.endswith(b"\r") else b""  # perhaps half of a CRLF
            data = data[: len(data) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n") + held
        lines = data.split(b"\n")
        self._rest = [lines.pop()]
        found = []
        for line in lines:
            if not line:
                if self._data:
                    found.append(b"\n".join(self._data))
                    self._data = []
            elif line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif line.startswith(b"error:"):  # llama-server's own
                self._data.append(b'{"error":%b}' % line[6:].strip())
        self._size = len(self._rest[0]) + sum(map(len, self._data))
        return found

    def finish(self) -> list[bytes]:
        """The data of an event whose end did not come."""
        return self.feed(b"\n\n") if self._size else []
