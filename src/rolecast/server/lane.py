"""What a port needs to take requests in: the hot paths, the guard, the limits, and which port this is."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rolecast.backends.remote import NAME
from rolecast.config.routing import PREFERENCES
from rolecast.config.schema import Limits
from rolecast.config.units import Seconds
from rolecast.dialects import Entry
from rolecast.errors import BadRequest, LoopDetected
from rolecast.server.guard import Guard
from rolecast.turn.deadline import LONGEST_S
from rolecast.turn.dispatch import Dispatch
from rolecast.turn.exchange import Exchange, ExchangeIds, Sink
from rolecast.values import Caller, Rights

OWN_NAME = NAME.encode()
_TRACE = re.compile(rb"[\x21-\x7e]{1,200}\Z")
_VIA = re.compile(rb"[\x20-\x7e\t]{1,1000}\Z")
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,9})?\Z")
_TASK = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9 _./:-]{0,63}\Z")
_RUN = re.compile(rb"[\x20-\x7e]{1,128}\Z")
_TOOLS = re.compile(rb"[A-Za-z0-9_-]{1,64}(?:[ \t]*,[ \t]*[A-Za-z0-9_-]{1,64}){0,63}\Z")
MAX_GATEWAYS = 8
"""A request that so many gateways have passed on is refused: they may pass it on for ever."""
_TRACES = (b"x-trace-id", b"x-span-id", b"x-session-id", b"traceparent")


class KnownRequest(msgspec.Struct, frozen=True):
    """A request head that was parsed and let in before, but for its Content-Length: what came of it."""

    entry: Entry
    caller: Caller


class Lane:
    """One listener's view of the gateway."""

    def __init__(
        self,
        *,
        name: str,
        port_model: str,
        hot: Mapping[bytes, Entry],
        guard: Guard,
        limits: Limits,
        dispatch: Dispatch,
        new_id: ExchangeIds,
    ) -> None:
        self.name = name
        self.port_model = port_model
        self.hot = hot
        self.guard = guard
        self.limits = limits
        self.dispatch = dispatch
        self.new_id = new_id
        self.date = b""
        self.connections: set[Any] = set()
        """The open ones of the wire lane; the door puts its own set here."""

    def renew(self, name: str, port_model: str, hot: Mapping[bytes, Entry], guard: Guard, limits: Limits) -> None:
        """Judge by other settings from the next request on, also on connections that are open."""
        self.name, self.port_model, self.hot, self.guard, self.limits = name, port_model, hot, guard, limits
        self.forget()

    def forget(self) -> None:
        """Judge every head anew from the next request on: other keys open something than before."""
        for connection in self.connections:
            connection.memo = None

    def reopen(self, known: KnownRequest, sink: Sink) -> Exchange:
        """A new exchange for a head that was let in before. What judged it lives as long as the memory of it."""
        return Exchange(self.dispatch, sink, self.new_id.next(), known.caller, known.entry.dialect)

    def open(self, headers: Mapping[bytes, bytes], sink: Sink, entry: Entry) -> Exchange:
        """A new exchange for these (lower-case) headers. Raises what the guard raises."""
        return Exchange(self.dispatch, sink, self.new_id(), self._caller(headers), entry.dialect)

    def caller(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Who asks, for a page that treats what it gets as a request to a model. Raises what the guard raises."""
        return self._caller(headers)

    def beside(self, lines: Sequence[tuple[bytes, bytes]]) -> Caller:
        """Who asks, for a page that asks a model on their behalf: what they may, without their words to a chat."""
        found = self._caller(by_name(lines))
        return msgspec.structs.replace(
            found, client_id="", session="", prefer="", task="", tools="", trace_lines=b"", answer_lines=b""
        )

    def _caller(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Who asks. Raises what the guard raises."""
        host = headers.get(b"host")
        self.guard.check_host(host)
        answer_lines = self.guard.check_origin(headers.get(b"origin"), host) if b"origin" in headers else b""
        key, rights = self.guard.check_key(headers.get(b"authorization"), headers.get(b"x-api-key"))
        trace_lines, client_id = b"", ""
        via = headers.get(b"via")
        if via is not None:
            _check_way(via)
            if _VIA.match(via):
                trace_lines = b"via: %b\r\n" % via
        beta = headers.get(b"anthropic-beta")
        if beta is not None and _VIA.match(beta):  # its servers take some fields only with it
            trace_lines += b"anthropic-beta: %b\r\n" % beta
        for name in _TRACES:
            value = headers.get(name)
            if value is not None and _TRACE.match(value):
                line = b"%b: %b\r\n" % (name, value)
                trace_lines += line
                if name != b"traceparent":
                    answer_lines += line
                client_id = client_id or value.decode("ascii")
        return Caller(
            listener=self.name,
            key=key,
            port_model=self.port_model,
            client_id=_traced(headers, b"x-request-id") or client_id,
            session=_traced(headers, b"x-session-id"),
            priority=_priority(headers.get(b"x-rolecast-priority", b""), rights),
            prefer=_preference(headers.get(b"x-rolecast-prefer", b"")),
            task=_task(headers.get(b"x-rolecast-task", b"")),
            tools=_tools(headers.get(b"x-rolecast-tools", b"")),
            deadline_s=_deadline(headers),
            warm=_yes(headers, b"x-rolecast-warm") if b"x-rolecast-warm" in headers else None,
            trace_lines=trace_lines,
            answer_lines=answer_lines,
            run=_run(headers.get(b"x-rolecast-run", b"")),
            local_only=(
                (rights is not None and rights.local_only)
                or _yes(headers, b"x-rolecast-local-only")
                or self.dispatch.plans.config.egress.local_only
            ),
            rights=rights,
        )


def _yes(headers: Mapping[bytes, bytes], name: bytes) -> bool:
    """Whether a header says yes; raises BadRequest for a word that is neither yes nor no."""
    word = headers.get(name, b"false").strip().lower()
    if word not in (b"true", b"false", b"1", b"0"):
        said = name.decode()
        raise BadRequest(f"The header {said} must be true or false.", param=said, code="invalid_value")
    return word in (b"true", b"1")


def _traced(headers: Mapping[bytes, bytes], name: bytes) -> str:
    """The value of a header that may be kept; '' when it is not there or may not."""
    value = headers.get(name, b"")
    return value.decode("ascii") if _TRACE.match(value) else ""


_PRIORITIES = {b"high": 1, b"normal": 0, b"low": -1, b"1": 1, b"0": 0, b"-1": -1}


def _priority(value: bytes, rights: Rights | None) -> int:
    """The class of the request: what it says, else its key's. One for the background stays there. Raises BadRequest."""
    own = 0 if rights is None else rights.priority
    word = value.strip().lower()
    if not word:
        return own
    if word not in _PRIORITIES:
        text = "The header x-rolecast-priority must be high, normal or low."
        raise BadRequest(text, param="x-rolecast-priority", code="invalid_value")
    return min(_PRIORITIES[word], own) if own < 0 else _PRIORITIES[word]


def _preference(value: bytes) -> str:
    """Raises BadRequest for a word that is none."""
    word = value.strip().lower().decode("latin-1")
    if word and word not in PREFERENCES:
        text = f"The header x-rolecast-prefer must be one of {', '.join(PREFERENCES)}."
        raise BadRequest(text, param="x-rolecast-prefer", code="invalid_value")
    return word


def _task(value: bytes) -> str:
    """Raises BadRequest for what can be the name of no task."""
    word = value.strip()
    if word and not _TASK.match(word):
        text = "The header x-rolecast-task must be the name of a task: letters, digits and . _ / - : up to 64."
        raise BadRequest(text, param="x-rolecast-task", code="invalid_value")
    return word.decode("ascii")


def _run(value: bytes) -> str:
    """Raises BadRequest for what can be the name of no run."""
    word = value.strip()
    if word and not _RUN.match(word):
        text = "The header x-rolecast-run must be the name of a run: one line of printable ASCII, up to 128 characters."
        raise BadRequest(text, param="x-rolecast-run", code="invalid_value")
    return word.decode("ascii")


def _tools(value: bytes) -> str:
    """Raises BadRequest for what can name no servers."""
    said = value.strip()
    if said and not _TOOLS.match(said):
        text = "The header x-rolecast-tools must be on, off, or names of servers with commas between them."
        raise BadRequest(text, param="x-rolecast-tools", code="invalid_value")
    return said.decode("ascii")


def _deadline(headers: Mapping[bytes, bytes]) -> float:
    """Seconds; 0 = none is named. Raises BadRequest for what is none.

    What official clients say of themselves (`x-stainless-timeout`) is no wish: they leave by themselves.
    """
    own = headers.get(b"x-rolecast-deadline")
    said = headers.get(b"x-request-timeout", b"") if own is None else own
    if not said:
        return 0.0
    text = said.decode("latin-1").strip()
    with contextlib.suppress(ValueError):
        seconds = float(Seconds.parse(float(text) if _NUMBER.match(text) else text))
        if 0 < seconds <= LONGEST_S:
            return seconds
    if own is None:  # other systems have that header, too, and other words in it
        return 0.0
    text = "The header x-rolecast-deadline must be a number of seconds above 0, or a duration such as 500ms or 2m."
    raise BadRequest(text, param="x-rolecast-deadline", code="invalid_value")


def by_name(lines: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Header lines by (lower-case) name; of several the last, but the way that a request took is kept whole."""
    headers = dict(lines)
    if len(headers) != len(lines) and b"via" in headers:
        headers[b"via"] = b", ".join(value for name, value in lines if name == b"via")
    return headers


def _check_way(via: bytes) -> None:
    """Raises LoopDetected for a request that this gateway sent, or that too many of its kind have passed on."""
    if OWN_NAME in via:
        raise LoopDetected(
            "This request was sent by this very gateway: a model with `backend: openai` has a `url` that leads back "
            "here. Give that model the address of another server."
        )
    if via.count(b"rolecast-") >= MAX_GATEWAYS:
        raise LoopDetected(f"This request has passed {MAX_GATEWAYS} gateways, which probably call each other.")
