"""A choice made concrete for a request.

Knows how a body must look for a worker and which header lines explain a choice. Sends nothing.
"""

import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from rolecast.backends import Backend
from rolecast.backends.reach import leaves
from rolecast.config.sampling import drawn
from rolecast.config.schema import Model
from rolecast.config.variants import Hidden
from rolecast.decision import Choice, Trial
from rolecast.dialects import UNREAD, Family, family
from rolecast.dialects.defaults import filled, over, unpenalized
from rolecast.dialects.request import Request, Upload, read_fields
from rolecast.dialects.speech import Heard, offer_of, thinks_not
from rolecast.errors import BadRequest
from rolecast.money import Rates, per_token
from rolecast.speech.marks import Marks
from rolecast.telemetry.metrics import ModelStats
from rolecast.values import Chat, Completion, Words

JSON = b"application/json"
_OURS = ("lora", "id_slot", "slot_id")
"""Fields by which a body would say whose adapter answers, and where. Of an avatar its name says that."""
_WISH = b'{"include_usage":true}'
_FORMS = ("response_format", "json_schema", "grammar")
"""Fields in which a request says what form its answer has."""


class Plan:
    """A choice made concrete: which worker, how its body must look, and the header lines that explain it.

    Made once per asked name and kind and kept; the names are the configuration's, so the table is bounded.
    """

    __slots__ = (
        "adapter",
        "answerer_id",
        "asked",
        "backend",
        "billed",
        "canary",
        "canary_plan",
        "choice",
        "controls",
        "conversation",
        "counts",
        "defaults",
        "edits",
        "family",
        "fits",
        "formed",
        "gathers",
        "head",
        "injects",
        "leaves",
        "logits",
        "marks",
        "markup",
        "model",
        "model_id",
        "name",
        "provider",
        "rates",
        "relays",
        "renames",
        "route",
        "routes",
        "said",
        "shares",
        "stats",
        "trial",
    )

    def __init__(
        self,
        asked: str,
        choice: Choice,
        model_id: str,
        answerer_id: str,
        model: Model,
        backend: Backend,
        stats: ModelStats,
    ) -> None:
        self.stats = stats
        self.asked = asked
        self.choice = choice
        self.conversation = ""
        """The conversation that it is a turn of, and that was left to us; '' = none."""
        self.shares: tuple[Plan, ...] = ()
        """The same choice for each of its equals, itself among them; empty without equals."""
        self.fits = sys.maxsize
        """A body of more bytes is looked at before this choice is used for it: not all of the models may hold it."""
        self.routes: dict[tuple[str, str], int] = {}
        self.model_id = model_id
        self.answerer_id = answerer_id
        self.model = model
        self.backend = backend
        self.family = backend.speaks
        """What the worker speaks: requests of that family pass as they are."""
        self.relays = self.family != UNREAD
        """An answer that passes as it is must be read besides."""
        self.defaults = over(choice.defaults, own := drawn(model.sampling))
        """What a request gets that says nothing itself; None = nothing."""
        self.formed = over(choice.defaults, unpenalized(own))
        """The same where the answer has a form to keep."""
        stops = self.defaults is not None and self.defaults.sampling.stop  # a stream loses what may begin one
        self.gathers = backend.stops_streams_only and not (self.relays or stops)
        """A stream is asked for also where the client wants a whole answer."""
        self.counts = backend.usage == "inject"
        """Tokens of a stream are counted here, in case that the worker does not report them."""
        self.injects = self.counts and model.stream_usage != "never"
        """Streams are asked for usage. Dispatch takes that back when the worker refuses it."""
        named = "remote_model" not in backend.about.unused
        self.name = (model.remote_model or answerer_id) if named else ""
        """What its server calls the model, whatever the client calls it; '' = it serves one and reads no name."""
        self.said: tuple[bytes, ...] = ()
        """What its engine says of who answers, and what is to stand there; empty = it stays."""
        if isinstance(model, Hidden):
            self.said = tuple(b'"model":%b' % msgspec.json.encode(each) for each in (answerer_id, asked))
        self.marks: tuple[str, ...] = ()
        """Tokens around a gap, for a worker that is not told of it otherwise."""
        self.markup = _markup(model, backend)
        """`read` or `opened`, where a model leaves thoughts and calls in its text; '' = answers stay as they are."""
        self.adapter = _adapter(choice, model)
        """The file of the adapter that answers, whatever the body says; '' = none of them does; None = the client says.
        """
        self.controls = Marks(choice.defaults.controls if choice.defaults is not None else ())
        """What no message may hold, since the engine would take it for the end of a turn and the beginning of another.
        """
        self.canary = choice.defaults.canary if choice.defaults is not None else None
        """Who answers a share of the conversations in its place."""
        self.canary_plan: Plan | None = None
        """How, once one has come."""
        self.logits = False
        """Its scores of a ranking are logits."""
        self.leaves = leaves(model)
        """Requests to it leave this machine."""
        self.rates = rates_of(model)
        """What its tokens cost; None = nothing, or nobody knows."""
        self.provider = provider_of(model, away=self.leaves)
        """Who sends the bill, for the books."""
        self.billed = self.leaves or self.rates is not None
        """Its requests have a row of what they cost, and who was asked."""
        self.trial: Trial | None = None
        """How its answer is judged, where it is the first of a cascade."""
        self.edits = bool(model.chat_template_kwargs) or self.defaults is not None or self.adapter is not None
        self.renames = backend.renames
        """Fields by the names that its server has for them; '' = it takes none such, `!x` = none beside x."""
        self.route = f"{choice.source}; {choice.reason}"
        version = choice.defaults.version if choice.defaults is not None else ""
        lines = [("model", model_id), ("avatar", version), ("role", choice.role), ("task", choice.task)]
        lines.append(("route", self.route))
        if choice.seen is not None:
            lines += [("tier", choice.tier), ("domain", choice.domain), ("confidence", f"{choice.confidence:.2f}")]
        if answerer_id != model_id:
            lines.append(("stand-in", answerer_id))
        self.head = b"".join(f"x-rolecast-{k}: {_header_text(v)}\r\n".encode() for k, v in lines if v)

    def told(self, asked: str, choice: Choice) -> "Plan":
        """The same plan with another explanation, for one answer."""
        plan = Plan(asked, choice, self.model_id, self.answerer_id, self.model, self.backend, self.stats)
        plan.marks, plan.logits, plan.injects = self.marks, self.logits, self.injects
        plan.name = self.name
        plan.renames, plan.edits = self.renames, plan.edits or self.edits
        return plan

    def body(self, request: Request) -> bytes:
        """The request's bytes as this worker must get them."""
        if request.edit or self.edits or (self.name and request.asked != self.name):
            fields: dict[str, Any] = read_fields(request.body)
            given = self.formed if any(name in fields and _holds(fields[name]) for name in _FORMS) else self.defaults
            if given is not None:
                self.speaks().fill(fields, request.kind, given)
            return self._judged(self._edited(fields, request), request)
        if request.edit_usage:
            return self._judged(request.body.rstrip()[:-1] + b',"stream_options":' + _WISH + b"}", request)
        return self._judged(request.body, request)

    def _judged(self, body: bytes, request: Request) -> bytes:
        """The body, unless it would harm the engine. Raises BadRequest."""
        if request.kind in ("chat", "completion"):
            self.backend.refuse(body)
        return body

    def forwarded(self, request: Request, upload: Upload) -> bytes:
        """The body with the name by which its server knows the model. Raises BadRequest where there is no such path."""
        if self.family != UNREAD:
            text = f"{self.model_id} takes no {request.kind}: its server has no such path that is known here."
            raise BadRequest(text, code="wrong_capability")
        if upload.content_type == JSON:
            return self.body(request)
        if not self.name or request.asked == self.name:
            return request.body
        return upload.renamed(request.body, self.name)

    def speaks(self) -> Family:
        """How a chat is written for the worker, and its answers are read."""
        return family(self.family)

    def listens(self, words: Words) -> Family:
        """The same for the answer to this request, with what the model writes into its text told apart."""
        if not self.markup or not isinstance(words, Chat):
            return self.speaks()
        own = words.extra.get("chat_template_kwargs")
        off = thinks_not(words.think, own, self.model.chat_template_kwargs)
        return Heard(self.speaks(), offer_of(words), opened=self.markup == "opened" and not off)

    def written(self, request: Request, words: Words) -> tuple[bytes, bytes]:
        """Path and body for a worker that speaks otherwise than the client. Raises BadRequest."""
        given = self.formed if isinstance(words, Chat | Completion) and words.answer_schema else self.defaults
        if given is not None:
            words = filled(words, given)
        if isinstance(words, Chat):
            words = self._fitted(words)
        elif isinstance(words, Completion) and words.suffix and self.marks:
            before, between, behind = self.marks
            prompt = f"{before}{words.prompt}{between}{words.suffix}{behind}"
            words = msgspec.structs.replace(words, prompt=prompt, suffix="")
        if self.name:
            words = msgspec.structs.replace(words, model=self.name)
        usage = request.edit_usage or request.wants_usage or not request.stream  # a stream for us to gather
        path, body = self.speaks().ask(words, usage=usage)
        if brought := self.backend.brings(self.model, request.stay_s):
            body = along(body, brought)
        written = msgspec.structs.replace(request, body=body, edit_usage=False, to_pass=None)
        names = (*self.renames, *_FORMS) if request.kind == "completion" else self.renames
        edits = self.edits or any(name.encode() in body for name in names)
        return path, self._judged(self._edited(read_fields(body), written) if edits else body, request)

    def _fitted(self, chat: Chat) -> Chat:
        """The chat as this model's engine and template take it."""
        if chat.tool_named and not self.backend.named_tools:
            named = tuple(tool for tool in chat.tools if tool.name == chat.tool_named)
            chat = msgspec.structs.replace(chat, tools=named, tool_choice="required", tool_named="")
        if chat.sampling.stop and self.backend.asks_stop:
            chat = msgspec.structs.replace(chat, extra={**self.backend.asks_stop, **chat.extra})
        if kwargs := self.model.chat_template_kwargs:
            given = chat.extra.get("chat_template_kwargs") or kwargs  # the client's own come first
            chat = msgspec.structs.replace(chat, extra={**chat.extra, "chat_template_kwargs": given})
        return chat

    def _edited(self, fields: dict[str, Any], request: Request) -> bytes:
        if request.to_pass is not None:
            fields.update(request.to_pass)
        if self.adapter is not None:
            self._guard(fields)
        self._respell(fields)
        if request.kind == "completion":
            self.backend.form(self.model, fields)
        if self.model.chat_template_kwargs and request.kind == "chat":
            fields.setdefault("chat_template_kwargs", self.model.chat_template_kwargs)
        if self.name:
            fields["model"] = msgspec.Raw(msgspec.json.encode(self.name))
        if request.edit_usage:
            fields["stream_options"] = with_usage(fields.get("stream_options"))
        if request.choice_in_words and not self.backend.named_tools:
            fields.update(request.choice_in_words)
        return msgspec.json.encode(fields)

    def _respell(self, fields: dict[str, Any]) -> None:
        """The same in its server's words."""
        for old, new in self.renames.items():
            if old in fields and (new[:1] != "!" or new[1:] in fields):
                value = fields.pop(old)
                if new and new[0] != "!":
                    fields.setdefault(new, value)

    def _guard(self, fields: dict[str, Any]) -> None:
        """Without what a body says of who answers, and what its messages say of turns."""
        for name in _OURS:
            fields.pop(name, None)
        if self.controls and "messages" in fields:
            fields["messages"] = self.controls.without_in(msgspec.json.decode(msgspec.json.encode(fields["messages"])))


def rates_of(model: Model) -> Rates | None:
    """The configured prices, in whole numbers; None = there are none."""
    price = model.price
    if price is None:
        return None
    plain = per_token(price.input)
    cached = plain if price.cached is None else per_token(price.cached)
    written = plain if price.written is None else per_token(price.written)
    rates = Rates(plain, per_token(price.output), cached, written)
    return None if rates.free else rates


def provider_of(model: Model, *, away: bool) -> str:
    """By what the configuration calls it, else the kind of its server; `local` where requests stay on this machine."""
    return model.provider or (model.backend if away else "local")


def _adapter(choice: Choice, model: Model) -> str | None:
    if choice.defaults is not None and choice.defaults.adapter:
        return choice.defaults.adapter
    return "" if isinstance(model, Hidden) else None


def _markup(model: Model, backend: Backend) -> str:
    if "markup" in backend.about.unused or model.markup == "pass":
        return ""
    if model.markup == "auto":
        return "" if backend.tells_apart(model) else "read"
    return model.markup


def with_usage(options: msgspec.Raw | None) -> msgspec.Raw:
    """The client's own options of a stream, and usage besides."""
    if options is None or not bytes(options).startswith(b"{"):
        return msgspec.Raw(_WISH)
    return msgspec.Raw(msgspec.json.encode({**read_fields(bytes(options)), "include_usage": True}))


def _holds(form: msgspec.Raw) -> bool:
    """Whether a field of `_FORMS` says any."""
    written = bytes(form)
    return len(written) > 64 or written.translate(None, b" \t\r\n") not in (b"null", b'""', b'{"type":"text"}')


def along(body: bytes, brought: Mapping[str, Any]) -> bytes:
    """The body with these fields, where it does not have them; those of an object are put into the one it has."""
    fields: dict[str, Any] = read_fields(body)
    for name, value in brought.items():
        if isinstance(value, dict) and name in fields:
            fields[name] = value | read_fields(bytes(fields[name]))
        else:
            fields.setdefault(name, value)
    return msgspec.json.encode(fields)


def _header_text(text: str) -> str:
    """Printable ASCII for a header value; anything else is percent-encoded."""
    return quote(text, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
