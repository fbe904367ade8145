"""One whole answer on OpenAI's wire, joined of the events of a stream, as llama.cpp itself would have given it.

Also which answers can be joined: a stream of llama.cpp leaves out some of what its whole answers hold. Holds the texts
and not the events they came in. Knows the wire and no connection.
"""

from typing import Any

import msgspec

from rolecast.dialects import usage
from rolecast.dialects.gathered import MAX_ANSWER_BYTES
from rolecast.dialects.request import Request, read_fields
from rolecast.dialects.sse import Events
from rolecast.errors import UNREADABLE
from rolecast.values import Chat, Completion, Words

READ_BYTES = 64 * 1024
"""So many bytes of events are kept before they are read: an event is a token and takes about two hundred."""
_NOTHING = (b"", b"null")
_TOTALS = frozenset({"usage", "timings"})
_OF_EVENTS = frozenset({"choices", "prompt_progress"})
"""Fields that have another meaning in a whole answer, or none."""
_OBJECTS = {"chat.completion.chunk": "chat.completion"}
_PATHS = frozenset({b"/chat/completions", b"/completions"})
_LOSSY = frozenset({"stop", "logprobs", "n_probs", "verbose"})
"""Fields with which a stream tells less: text that may begin a stop sequence is lost where the answer is cut, and of
tokens that come together only one has its probability."""
_SUSPECTS = (*(f'"{name}"'.encode() for name in sorted(_LOSSY)), b'"assistant"')
_MISSHAPEN = (*UNREADABLE, AttributeError, TypeError, RecursionError)
"""What comes of an event that is no object, or one of another shape."""
_decode = msgspec.json.Decoder().decode


class _Role(msgspec.Struct):
    role: Any = None


class _Asked(msgspec.Struct):
    stop: Any = None
    logprobs: Any = None
    n_probs: Any = None
    verbose: Any = None
    messages: list[_Role] | None = None


_decode_asked = msgspec.json.Decoder(_Asked).decode


def is_joinable(request: Request) -> bool:
    """Whether nothing is lost when a stream is asked for in place of the whole answer to this body."""
    if request.path not in _PATHS:
        return False
    body = request.body
    if not any(suspect in body for suspect in _SUSPECTS):
        return True
    try:
        asked = _decode_asked(body)
    except UNREADABLE:
        return False
    # A whole answer begins with the words of the assistant that it goes on from; a stream does not.
    goes_on = bool(asked.messages and asked.messages[-1].role == "assistant")
    return not (asked.stop or asked.logprobs or asked.n_probs or asked.verbose or goes_on)


def as_stream(body: bytes) -> bytes:
    """This body with the wish for a stream, and for its totals."""
    if b'"stream' not in body:
        return body.rstrip()[:-1] + b',"stream":true,"stream_options":{"include_usage":true}}'
    fields = read_fields(body)
    fields["stream"], fields["stream_options"] = msgspec.Raw(b"true"), msgspec.Raw(b'{"include_usage":true}')
    return msgspec.json.encode(fields)


def streamed(words: Words) -> Words:
    """The same asked for as a stream, if that loses nothing; clients of other dialects want no words repeated."""
    if not isinstance(words, Chat | Completion) or words.sampling.stop or any(words.extra.get(name) for name in _LOSSY):
        return words
    return msgspec.structs.replace(words, stream=True)


class _Choice:
    """One answer of several."""

    def __init__(self) -> None:
        self.beside: dict[str, Any] = {}
        """What is told once, such as the reason of its end."""
        self.texts: list[str] = []
        """Of a completion."""
        self.is_chat = False
        self._said: dict[str, list[str]] = {}
        """Pieces of each field of the message."""
        self._more: dict[str, Any] = {}
        self._calls: dict[int, dict[str, Any]] = {}

    def add(self, choice: dict[str, Any]) -> None:
        """What this event adds."""
        for name, value in choice.items():
            if name == "delta":
                self.is_chat = True
                if value:
                    self._add(value)
            elif name == "text":
                self.texts.append(value or "")
            elif value is not None or name not in self.beside:
                self.beside[name] = value

    def _add(self, delta: dict[str, Any]) -> None:
        for name, value in delta.items():
            if name == "tool_calls":
                for place, call in enumerate(value or ()):
                    _grow(self._calls.setdefault(call.get("index", place), {}), call)
            elif isinstance(value, str) and name != "role":
                self._said.setdefault(name, []).append(value)
            elif value is not None:
                self._more[name] = value

    def whole(self, index: int) -> dict[str, Any]:
        """All of it."""
        beside = {**self.beside, "index": index}
        if not self.is_chat:
            return {"text": "".join(self.texts), **beside}
        said = {name: "".join(pieces) for name, pieces in self._said.items()}
        message: dict[str, Any] = {"role": "assistant", **self._more, "content": "", **said}
        if self._calls:
            message["tool_calls"] = [_joined(self._calls[place]) for place in sorted(self._calls)]
        return {**beside, "message": message}


def _grow(call: dict[str, Any], piece: dict[str, Any]) -> None:
    """Add a piece of a call: its arguments grow, all else is told once."""
    for name, value in piece.items():
        if isinstance(value, dict):
            _grow(call.setdefault(name, {}), value)
        elif name == "arguments":
            call.setdefault(name, []).append(value or "")
        elif name != "index" and value is not None:
            call[name] = value


def _joined(call: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _joined(value) if isinstance(value, dict) else "".join(value) if isinstance(value, list) else value
        for name, value in call.items()
    }


class Joined:
    """The whole answer that the events of one stream make."""

    def __init__(self) -> None:
        self._events = Events()
        self._unread: list[bytes] = []
        self._size = 0
        """Bytes in `_unread`."""
        self._held = 0
        """Bytes of all events that were read."""
        self._pieces = 0
        self._choices: dict[int, _Choice] = {}
        self._fields: dict[str, Any] = {}
        self._ended = 0
        """The choice that ended last: what follows are its totals."""
        self._totals_of: int | None = None
        self._over = False
        self.error = b""
        """What the stream said in place of the rest of its answer."""

    def feed(self, data: bytes) -> None:
        """Some more of the stream."""
        self._unread.append(data)
        self._size += len(data)
        if self._size > READ_BYTES:
            self._read()

    @property
    def pieces(self) -> int:
        """How many pieces of the answer came so far; about one per token."""
        return self._pieces + usage.pieces(b"".join(self._unread))

    def whole(self) -> bytes | None:
        """The answer, when the stream is at its end; None for one that broke off, or told of an error."""
        self._read()
        for event in self._events.finish():
            self._take(event)
        said_all = self._over or all(choice.beside.get("finish_reason") for choice in self._choices.values())
        if self.error or not self._choices or not said_all:
            return None
        try:
            return self._written()
        except _MISSHAPEN:
            self._fail()
            return None

    def _written(self) -> bytes:
        choices = [self._choices[index].whole(index) for index in sorted(self._choices)]
        kind = self._fields.get("object")
        return msgspec.json.encode({"choices": choices, **self._fields, "object": _OBJECTS.get(str(kind), kind)})

    def _read(self) -> None:
        data = b"".join(self._unread)
        self._unread, self._size = [], 0
        self._pieces += usage.pieces(data)
        self._held += len(data)
        for event in self._events.feed(data):
            self._take(event)
        if self._events.overflowed or self._held > MAX_ANSWER_BYTES:
            self._fail()

    def _take(self, event: bytes) -> None:
        if self._over or self.error or event.strip() in _NOTHING:
            return
        if event.strip() == b"[DONE]":
            self._over = True
            return
        try:
            value = _decode(event)
            if value.get("error"):
                self.error = event
            else:
                self._add(value)
        except _MISSHAPEN:
            self._fail()

    def _add(self, value: dict[str, Any]) -> None:
        for choice in value.get("choices") or ():
            index = choice.get("index") or 0
            if index not in self._choices:
                self._choices[index] = _Choice()
            self._choices[index].add(choice)
            self._ended = index
        # With several answers each has totals of its own, and a whole answer tells those of the first.
        is_first = self._totals_of is None or self._ended <= self._totals_of
        for name, field in value.items():
            if field is None or name in _OF_EVENTS:
                continue
            if name in _TOTALS:
                if not is_first:
                    continue
                self._totals_of = self._ended
            self._fields[name] = field

    def _fail(self) -> None:
        self.error = self.error or b'{"error":{"message":"its answer cannot be read","code":"bad_upstream"}}'
