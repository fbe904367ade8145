"""A request as a dialect read it, and a choice made concrete for it.

Knows how a body must look for a worker and which header lines explain a choice. Sends nothing.
"""

from typing import Any
from urllib.parse import quote

import msgspec

from rolecast.backends import Backend
from rolecast.config.schema import Model
from rolecast.errors import UNREADABLE, BadRequest
from rolecast.telemetry import ModelStats
from rolecast.values import Choice, Facts, Kind

_WISH = b'{"include_usage":true}'


NOTHING: frozenset[str] = frozenset()


class Request(msgspec.Struct):
    """What a dialect read from a body: the few fields that routing needs, and the bytes."""

    kind: Kind
    path: bytes
    asked: str
    stream: bool
    body: bytes
    needs: frozenset[str] = NOTHING
    """What it cannot do without, in words of `capabilities`: images, a forced tool call ..."""
    prefers: frozenset[str] = NOTHING
    """What it would rather have."""
    wants_usage: bool = False
    choice_in_words: dict[str, msgspec.Raw] | None = None
    """`tool_choice` as a word, with the tools it means, for engines that take no object there."""
    edit: bool = False
    """The body holds fields that must be rewritten for the engine."""
    edit_usage: bool = False
    """Usage is asked of the worker and hidden from the client. Set by dispatch."""


def look(request: Request, asked: str) -> Facts:
    """What routing may know of a request; `asked` is the name it asks for, or that of its port."""
    return Facts(asked, request.kind, request.needs, request.prefers)


class Plan:
    """A choice made concrete: which worker, how its body must look, and the header lines that explain it.

    Made once per asked name and kind and kept; the names are the configuration's, so the table is bounded.
    """

    __slots__ = (
        "asked",
        "backend",
        "choice",
        "counts",
        "edits",
        "head",
        "injects",
        "model",
        "model_id",
        "route",
        "routes",
        "shares",
        "stats",
        "worker_id",
    )

    def __init__(
        self,
        asked: str,
        choice: Choice,
        model_id: str,
        worker_id: str,
        model: Model,
        backend: Backend,
        stats: ModelStats,
    ) -> None:
        self.stats = stats
        self.asked = asked
        self.choice = choice
        self.shares: tuple[Plan, ...] = ()
        """The same choice for each of its equals, itself among them; empty without equals."""
        self.routes: dict[tuple[str, str], int] = {}
        self.model_id = model_id
        self.worker_id = worker_id
        self.model = model
        self.backend = backend
        self.counts = backend.usage == "inject"
        """Tokens of a stream are counted here, in case that the worker does not report them."""
        self.injects = self.counts and model.stream_usage != "never"
        """Streams are asked for usage. Dispatch takes that back when the worker refuses it."""
        self.edits = bool(model.chat_template_kwargs or model.remote_model)
        self.route = f"{choice.source}; {choice.reason}"
        lines = [("model", model_id), ("role", choice.role), ("task", choice.task), ("route", self.route)]
        if worker_id != model_id:
            lines.append(("stand-in", worker_id))
        self.head = b"".join(f"x-rolecast-{k}: {_header_text(v)}\r\n".encode() for k, v in lines if v)

    def body(self, request: Request) -> bytes:
        """The request's bytes as this worker must get them."""
        if request.edit or self.edits:
            return self._edit(request)
        if request.edit_usage:
            return request.body.rstrip()[:-1] + b',"stream_options":' + _WISH + b"}"
        return request.body

    def _edit(self, request: Request) -> bytes:
        fields: dict[str, Any] = read_fields(request.body)
        for old, new in self.backend.renames.items():
            if old in fields:
                fields.setdefault(new, fields.pop(old))
        if self.model.chat_template_kwargs and request.kind == "chat":
            fields.setdefault("chat_template_kwargs", self.model.chat_template_kwargs)
        if self.model.remote_model:
            fields["model"] = self.model.remote_model
        if request.edit_usage:
            fields["stream_options"] = _with_usage(fields.get("stream_options"))
        if request.choice_in_words and not self.backend.named_tools:
            fields.update(request.choice_in_words)
        return msgspec.json.encode(fields)


def _with_usage(options: msgspec.Raw | None) -> msgspec.Raw:
    """The client's own options of a stream, and usage besides."""
    if options is None or not bytes(options).startswith(b"{"):
        return msgspec.Raw(_WISH)
    return msgspec.Raw(msgspec.json.encode({**read_fields(bytes(options)), "include_usage": True}))


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_fields(body: bytes) -> dict[str, msgspec.Raw]:
    """The fields of a JSON object, each in the bytes it was written in. Raises BadRequest."""
    try:
        return _decode_fields(body)
    except UNREADABLE as exc:
        raise BadRequest(f"The body is not a valid JSON object: {exc}.", code="bad_json") from None


def _header_text(text: str) -> str:
    """Printable ASCII for a header value; anything else is percent-encoded."""
    return quote(text, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
