"""Answers on OpenAI's wire of which only what models write into their text is changed: all else stays as it came.

Thoughts go into `reasoning_content`, calls into `tool_calls`. Events and answers in which nothing is to be changed keep
their bytes, and most are not even parsed. Knows the wire and no connection.
"""

import re
from typing import Any

import msgspec

from rolecast.dialects.request import read_fields
from rolecast.dialects.speech import PLAIN_ENDS, new_call_id, thinks_not
from rolecast.dialects.sse import Events
from rolecast.errors import UNREADABLE, BadRequest
from rolecast.speech import NO_OFFER, Offer, Piece, Speech, part

MOST_HELD = 1024 * 1024
"""An event or an answer that is longer passes as it comes: reading it would hold up everybody."""
MOST_CHOICES = 128
_GAP = re.compile(rb"\r?\n\r?\n")
_GAPS = (b"\n\n", b"\r\n\r\n")
_TOTALS = ("usage", "timings")
"""Told once, at the end."""
_decode = msgspec.json.decode
_encode = msgspec.json.encode


def _is_suspect(data: bytes) -> bool:
    """Whether something in these bytes may be a mark or the beginning of code, perhaps as an escape of JSON."""
    if b"<" in data or b"`" in data:
        return True
    # Looking for one byte costs a tenth of looking for several.
    return b"\\" in data and (b"\\u003" in data or b"\\u0060" in data)


def heard(body: bytes, *, opened: bool, variables: Any) -> tuple[Offer, bool]:
    """What may be called in the answer to this body, and whether that begins within thoughts.

    `opened` = it does, unless thinking is off; `variables` are the model's own for its template.
    """
    if not opened and b'"tools"' not in body:
        return NO_OFFER, False
    try:
        raw = read_fields(body)
        names = ("tools", "tool_choice", "response_format", "reasoning_effort", "chat_template_kwargs")
        fields = {name: _decode(raw[name]) for name in names if name in raw}
    except (*UNREADABLE, BadRequest):  # the worker will refuse it
        return NO_OFFER, False
    effort = fields.get("reasoning_effort")
    off = thinks_not(False if effort == "none" else None, fields.get("chat_template_kwargs"), variables)
    return _offer(fields), opened and not off


def _offer(fields: dict[str, Any]) -> Offer:
    found: dict[str, bytes] = {}
    for tool in fields.get("tools") or ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(name := function.get("name"), str):
            found[name] = _encode(function.get("parameters") or {})
    if not found or fields.get("tool_choice") == "none":
        return NO_OFFER
    wanted = fields.get("response_format")
    return Offer(found, bare=not isinstance(wanted, dict) or wanted.get("type") in (None, "text"))


def stays(body: bytes, offer: Offer, *, opened: bool) -> bool:
    """Whether a whole answer is as it must be, as far as can be told without reading it."""
    return not (opened or offer.tools or _is_suspect(body))


class _Voice:
    """One answer of several."""

    def __init__(self, offer: Offer, *, opened: bool) -> None:
        self.speech = Speech(offer, opened=opened)
        self.calls = 0
        self.places: dict[int, int] = {}
        self.over = False

    def written(self, pieces: list[Piece]) -> list[dict[str, Any]]:
        """Pieces as deltas."""
        found: list[dict[str, Any]] = []
        for piece in pieces:
            if piece.kind == "text":
                found.append({"content": piece.text})
            elif piece.kind == "thought":
                found.append({"reasoning_content": piece.text})
            else:
                found.append({"tool_calls": [_call(piece.name, piece.text, self.calls)]})
                self.calls += 1
        return found

    def moved(self, calls: list[Any]) -> bool:
        """Give the worker's own calls their places among all; whether one has another than it said."""
        moved = False
        for call in calls:
            index = call.get("index") if isinstance(call, dict) else None
            if isinstance(index, int):
                if index not in self.places:
                    self.places[index] = self.calls
                    self.calls += 1
                moved = moved or self.places[index] != index
                call["index"] = self.places[index]
        return moved


def _call(name: str, arguments: str, index: int | None = None) -> dict[str, Any]:
    call = {"id": new_call_id(), "type": "function", "function": {"name": name, "arguments": arguments}}
    return call if index is None else {"index": index, **call}


class Editor:
    """Edits one answer, a stream or a whole."""

    def __init__(self, offer: Offer, *, opened: bool) -> None:
        self._offer = offer
        self._opened = opened
        self._voices: dict[int, _Voice] = {}
        self._carry = b""
        self._idle = False
        self._skipped = False
        """Some text passed unread since an event was read."""
        self._envelope: dict[str, Any] = {"object": "chat.completion.chunk"}

    # -- streams ----------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> bytes:
        """The events that these bytes complete."""
        if self._idle and not self._carry and data.endswith(_GAPS[0]) and not _is_suspect(data):
            self._skipped = True
            return data
        data, self._carry = self._carry + data, b""
        end = max((data.rfind(gap) + len(gap) for gap in _GAPS if gap in data), default=0)
        if not end:
            if len(data) > MOST_HELD:
                return data
            self._carry = data
            return b""
        events, self._carry = data[:end], data[end:]
        if self._idle and not _is_suspect(events):
            self._skipped = True
            return events
        found, at = [], 0
        for gap in _GAP.finditer(events):
            found.append(self._event(events[at : gap.end()]))
            at = gap.end()
        return b"".join([*found, events[at:]])

    def end(self) -> bytes:
        """What is held back, when nothing follows; an event of which the end did not come is complete, too."""
        last = b""
        if self._carry:
            whole = self._carry + b"\n\n"
            last, self._carry = self._event(whole).removesuffix(whole) or self._carry, b""
        return last + self.rest()

    def rest(self) -> bytes:
        """What is held back of the answer itself."""
        found: list[bytes] = []
        for index, voice in self._voices.items():
            if not voice.over:
                voice.over = True
                deltas = voice.written(voice.speech.end())
                found += [self._chunk({"index": index, "delta": each, "finish_reason": None}) for each in deltas]
                if voice.speech.called:
                    found.append(self._chunk({"index": index, "delta": {}, "finish_reason": "tool_calls"}))
        return b"".join(found)

    def _pass(self) -> None:
        """Tell of what was not looked at, before something is."""
        self._skipped = False
        for voice in self._voices.values():
            voice.speech.passed()

    def _event(self, raw: bytes) -> bytes:
        """One event, as it came or as it must be."""
        if self._idle and not _is_suspect(raw):
            self._skipped = True
            return raw
        if self._skipped:
            self._pass()
        data = b"\n".join(Events().feed(raw))
        if data.strip() == b"[DONE]":
            return self.rest() + raw
        try:
            value = _decode(data)
        except UNREADABLE:
            return raw
        choices = value.get("choices") if isinstance(value, dict) else None
        if not isinstance(choices, list) or not all(isinstance(each, dict) for each in choices) or value.get("error"):
            return raw
        edited = [self._edit(each) for each in choices]
        self._idle = all(voice.over or voice.speech.idle for voice in self._voices.values())
        if not self._voices or all(each is None for each in edited):
            return raw
        return self._chunks(value, choices, edited)

    def _edit(self, choice: dict[str, Any]) -> list[dict[str, Any]] | None:
        """The choices in place of one; None = it stays."""
        index, delta = choice.get("index") or 0, choice.get("delta")
        voice = self._voice(index)
        if voice is None or not isinstance(delta, dict):
            return None
        if delta.get("reasoning_content") or delta.get("reasoning"):
            voice.speech.told_apart()
        calls = delta.get("tool_calls")
        moved = isinstance(calls, list) and voice.moved(calls)
        text = delta.get("content")
        if text is not None and not isinstance(text, str):
            return None
        pieces, reason = voice.speech.feed(text) if text else [], choice.get("finish_reason")
        if reason is not None and not voice.over:
            voice.over = True
            pieces += voice.speech.end()
        renamed = voice.speech.called and reason in PLAIN_ENDS
        if not moved and not renamed and pieces == ([Piece("text", text)] if text else []):
            return None
        return _choices(choice, delta, voice.written(pieces), "tool_calls" if renamed else reason)

    def _voice(self, index: Any) -> _Voice | None:
        voice = self._voices.get(index) if isinstance(index, int) else None
        if voice is None and isinstance(index, int) and len(self._voices) < MOST_CHOICES:
            voice = self._voices[index] = _Voice(self._offer, opened=self._opened)
        return voice

    def _chunks(
        self, value: dict[str, Any], choices: list[dict[str, Any]], edited: list[list[dict[str, Any]] | None]
    ) -> bytes:
        self._envelope = {name: each for name, each in value.items() if name not in _TOTALS}
        totals = {name: value[name] for name in _TOTALS if value.get(name) is not None}
        told = [
            each
            for choice, those in zip(choices, edited, strict=True)
            for each in ([choice] if those is None else those)
        ]
        if not told:
            return self._chunk(None, totals) if totals else b""
        return b"".join([*map(self._chunk, told[:-1]), self._chunk(told[-1], totals)])

    def _chunk(self, choice: dict[str, Any] | None, totals: dict[str, Any] | None = None) -> bytes:
        choices = [] if choice is None else [choice]
        return b"data: %b\n\n" % _encode({**self._envelope, "choices": choices, **(totals or {})})

    # -- whole answers ----------------------------------------------------------------------------------------

    def whole(self, body: bytes) -> bytes:
        """A whole answer, as it came or as it must be."""
        if stays(body, self._offer, opened=self._opened) or len(body) > MOST_HELD:
            return body
        try:
            value = _decode(body)
        except UNREADABLE:
            return body
        choices = value.get("choices") if isinstance(value, dict) else None
        if not isinstance(choices, list) or value.get("error"):
            return body
        changed = [self._change(each) for each in choices]  # all of them
        return _encode(value) if any(changed) else body

    def _change(self, choice: Any) -> bool:
        """Part the text of one answer; whether that changed it."""
        message = choice.get("message") if isinstance(choice, dict) else None
        text = message.get("content") if isinstance(message, dict) else None
        if not isinstance(message, dict) or not isinstance(text, str):
            return False
        thought, calls = message.get("reasoning_content") or message.get("reasoning"), message.get("tool_calls")
        said = part(text, self._offer, opened=self._opened and not thought)
        if said.text == text:
            return False
        message["content"] = said.text if said.text or not said.calls else None
        if said.thoughts:
            message["reasoning_content"] = f"{thought}\n{said.thoughts}" if isinstance(thought, str) else said.thoughts
        if said.calls:
            made = [_call(name, arguments) for name, arguments in said.calls]
            message["tool_calls"] = [*(calls if isinstance(calls, list) else ()), *made]
            if (choice.get("finish_reason") or "") in PLAIN_ENDS:
                choice["finish_reason"] = "tool_calls"
        return True


def _choices(
    choice: dict[str, Any], delta: dict[str, Any], said: list[dict[str, Any]], reason: Any
) -> list[dict[str, Any]]:
    """A choice for each delta, and one for the end. What else the choice has is told once."""
    beside = {name: each for name, each in delta.items() if name != "content" and each is not None}
    deltas = [{**beside, **said[0]}, *said[1:]] if said and set(beside) <= {"role"} else [beside, *said]
    deltas = [each for each in deltas if each]
    found = [{**choice, "delta": each, "finish_reason": None} for each in deltas[:1]]
    found += [{"index": choice.get("index") or 0, "delta": each, "finish_reason": None} for each in deltas[1:]]
    if reason is not None:
        last = {"index": choice.get("index") or 0} if found else choice
        found.append({**last, "delta": {}, "finish_reason": reason})
    return found
