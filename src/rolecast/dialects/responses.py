"""OpenAI's Responses: bodies read into words of no dialect, and their place in a conversation that is kept.

What OpenAI's servers would run, background work and stored prompts are not here and refused. Settings are
`responses_body`'s, answers `responses_writer`'s.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import msgspec

from rolecast.config.schema import Limits
from rolecast.dialects import Read, Writer, hints, responses_body, responses_items, responses_writer
from rolecast.dialects.operation import Reference
from rolecast.dialects.request import NOTHING, TOOLS, Request
from rolecast.dialects.responses_items import Item
from rolecast.dialects.thread import Kept
from rolecast.errors import UNREADABLE, BadRequest, RolecastError
from rolecast.values import Chat

_ITEM = re.compile(r"(?:msg|rs|fc|ctc|in)_([0-9a-f]{32})_\d{1,6}\Z")
RawItem = dict[str, msgspec.Raw]
"""An item in the bytes it was written in: what is kept is what was sent."""
_decode_items = msgspec.json.Decoder(list[RawItem]).decode


class _Output(msgspec.Struct):
    output: list[RawItem]


class Responses:
    """OpenAI's second way to ask, on every model."""

    def paths(self, limits: Limits) -> Mapping[str, Read]:
        """With and without `/v1`."""
        most = int(limits.messages)
        return {path: lambda body: _read(body, most) for path in ("/v1/responses", "/responses")}

    def chat(self, request: Request) -> Chat:
        """The conversation in words of no dialect."""
        assert request.chat is not None
        return request.chat

    def writer(self, request: Request, model: str) -> Writer:
        """Writes events, or one whole object."""
        assert isinstance(request.thread, ResponsesThread)
        return responses_writer.writer(request.thread.answer, model, stream=request.stream)

    def error(self, error: RolecastError, *, started: bool = False) -> bytes:
        """The error object; in a stream whose writer is not known, as an event without a number."""
        return responses_writer.error_event(error, None) if started else error.body()

    def reference(self) -> Reference:
        """What its paths take and give."""
        from rolecast.dialects import responses_reference

        return responses_reference.REFERENCE


class ResponsesThread:
    """One request's place in a conversation."""

    def __init__(self, body: responses_body.Body, items: bytes, most: int) -> None:
        self.follows = body.previous_response_id or ""
        self._body = body
        self._most = most
        self._items: list[Item] = responses_items.read(items)
        self._raw = _raw(items)
        self._check_number(len(self._items))
        self.refers = frozenset(_owner(item) for item in self._items if item.kind == "item_reference")
        self.answer = responses_writer.Answer(uuid4().hex, responses_body.told(body))
        self._keep = body.store is not False

    @property
    def brings_tools(self) -> bool:
        """Whether tools are among the items."""
        return any(item.tools for item in self._items)

    def join(self, before: Sequence[Kept], referred: Mapping[str, Kept]) -> Chat:
        """The whole conversation. Raises BadRequest."""
        if referred:
            self._resolve(referred)
        earlier = [item for each in before for item in _items_of(each)]
        items = [*earlier, *self._items]
        self._check_number(len(items))
        offers = responses_body.offered(self._body, items, len(earlier))
        self.answer.offered = {each.function.name: each for each in offers}
        return responses_body.chat(self._body, items, len(earlier), offers)

    def kept(self) -> Kept | None:
        """The answer, once it is complete."""
        answer = self.answer
        if not self._keep or not answer.written:
            return None
        both = zip(self._raw, self._items, strict=True)
        asked = [_listed(raw, item, f"in_{answer.hex}_{i}") for i, (raw, item) in enumerate(both)]
        return Kept(answer.id, self.follows, msgspec.json.encode(asked), answer.written)

    def _check_number(self, items: int) -> None:
        if items > self._most:
            raise BadRequest(f"The conversation holds {items} items; {self._most} are allowed.", param="input")

    def _resolve(self, referred: Mapping[str, Kept]) -> None:
        """Put what was kept in the place of references to it. Raises BadRequest."""
        known = {msgspec.json.decode(each["id"]): each for kept in referred.values() for each in _raw_items(kept)}
        for number, item in enumerate(self._items):
            if item.kind == "item_reference":
                if item.id not in known:
                    raise _no_item(f"input[{number}]")
                self._raw[number] = known[item.id]
        self._items = responses_items.read(msgspec.json.encode(self._raw))


def _raw(items: bytes) -> list[RawItem]:
    try:
        return _decode_items(items)
    except UNREADABLE:  # what is in no field that is read
        raise BadRequest("`input` is not valid JSON.", param="input", code="bad_json") from None


def _listed(raw: RawItem, item: Item, name: str) -> RawItem:
    """An item as lists of them have it: with an id and a type, a text as a part."""
    told: dict[str, Any] = {"id": item.id or name, "type": item.kind}
    if item.kind == "message" and isinstance(item.content, str):
        kind = "output_text" if item.role == "assistant" else "input_text"
        told |= {"status": "completed", "content": [{"type": kind, "text": item.content}]}
    return raw | {field: msgspec.Raw(msgspec.json.encode(value)) for field, value in told.items()}


def _raw_items(kept: Kept) -> list[RawItem]:
    return [*_decode_items(kept.asked), *msgspec.json.decode(kept.answer, type=_Output).output]


def _items_of(kept: Kept) -> list[Item]:
    return responses_items.read(msgspec.json.encode(_raw_items(kept)))


def _owner(item: Item) -> str:
    """The id of the answer that an item was kept with. Raises BadRequest."""
    match = _ITEM.match(item.id or "")
    if match is None:
        raise _no_item("input")
    return f"resp_{match[1]}"


def _no_item(place: str) -> BadRequest:
    text = f"`{place}`: an `item_reference` names no item that is kept here by its `id`; send the item itself."
    return BadRequest(text, param=place, code="item_not_found")


def _read(body: bytes, most: int) -> Request:
    fields, body = responses_body.read(body)
    responses_body.refuse(fields)
    thread = ResponsesThread(fields, responses_body.items(fields), most)
    tools = TOOLS if fields.tools or thread.brings_tools else NOTHING
    request = Request("chat", b"", fields.model or "", fields.stream is True, body, family="", thread=thread)
    request.prefers, request.session = tools, fields.session_id or ""
    choice = fields.tool_choice
    if choice == "required" or not isinstance(choice, str | None):
        request.needs = tools
    request.hints = hints.of_metadata(fields.metadata)
    if not thread.follows and not thread.refers:
        request.take(thread.join((), {}))
    return request
