"""Server-sent events, cut out of the bytes of a stream as they come. Knows framing and nothing of what is said."""

MAX_EVENT_BYTES = 8 * 1024 * 1024
"""An event beyond this is not waited for; pictures come in events of some megabytes."""
BOM = b"\xef\xbb\xbf"
"""What may stand before the first line."""
LINE_BYTES = 64
"""What it costs to keep a line, however short."""


class Events:
    """The data of each event. Lines end in LF, CRLF or CR; comments and other fields say nothing."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._data: list[bytes] = []
        self._held = 0
        """Bytes that `_data` takes."""
        self._size = 0
        """The same with what has come of the next line."""
        self._begun = False
        self.overflowed = False
        """More came without an end of event than any event holds; nothing is read any more."""

    def feed(self, data: bytes) -> list[bytes]:
        """The data of the events that these bytes complete."""
        if self._begun and not self._size and (found := _whole(data)):
            return found
        return self._fed(data)

    def _fed(self, data: bytes) -> list[bytes]:
        """The same, whatever these bytes hold."""
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
        if not self._begun:
            self._begun, data = True, data.removeprefix(BOM)
        lines = data.split(b"\n")
        self._rest = [lines.pop()]
        found = []
        for line in lines:
            if not line:
                if self._data:
                    found.append(b"\n".join(self._data))
                    self._data, self._held = [], 0
            elif line.startswith(b"data:"):
                self._hold(line[6:] if line[5:6] == b" " else line[5:])
            elif line.startswith(b"error:"):  # llama-server's own
                self._hold(b'{"error":%b}' % line[6:].strip())
        self._size = len(self._rest[0]) + self._held
        return found

    def _hold(self, data: bytes) -> None:
        self._data.append(data)
        self._held += len(data) + LINE_BYTES

    def finish(self) -> list[bytes]:
        """The data of an event whose end did not come."""
        return self.feed(b"\n\n") if self._size else []


def _whole(data: bytes) -> list[bytes]:
    """The data of whole events of one line each, as most reads hold; nothing when it is anything else."""
    if len(data) > MAX_EVENT_BYTES or not data.startswith(b"data: ") or not data.endswith(b"\n\n") or b"\r" in data:
        return []
    found = data[6:-2].split(b"\n\ndata: ")
    return found if data.count(b"\n") == 2 * len(found) else []
