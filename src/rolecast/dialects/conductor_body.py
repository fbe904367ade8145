"""Conductor's requests: a prompt of a category, read into words of no dialect.

Options of a task may stand beside the prompt or in `extra_params`; what stands beside it counts. Here only those that
all tasks have are looked at; the others go to the task as they are (`Order`). Answers are `conductor_writer`'s.
"""

from typing import Annotated, Any

import msgspec

from rolecast.config import labels
from rolecast.config.categories import Categories
from rolecast.config.names import RESERVED, untagged
from rolecast.dialects import Read, hints, ollama_generate
from rolecast.dialects.ollama_body import decoded
from rolecast.dialects.openai_chat import explain
from rolecast.dialects.request import Order, Request, read_fields
from rolecast.errors import UNREADABLE, BadRequest, Invalid
from rolecast.values import Chat, Kind, Message, Sampling

SIGNS = frozenset({"category", "session_id", "extra_params", "language", "max_tokens", "temperature", "top_p"})
"""Fields that Ollama has nowhere, or not beside the prompt: who sends one of them is a client of Conductor."""
MISSING = "missing_prompt"
UNNAMED = "auto"
NULL = b"null"
MOST_NAMED = 30
"""So many categories are named in an error."""
TEXTS = ("text_to_summarize", "code_to_review", "context_text", "code", "texts", "text", "problem")
"""Options that hold what a task is to work on, so that no prompt is needed beside them."""
OLLAMAS = frozenset(
    ["system", "options", "images", "raw", "suffix", "template", "messages", "tools", "think", "keep_alive", "logprobs"]
)
"""Fields that only Ollama's prompts have, and that Conductor's clients call no option of a task."""
OPTIONS = frozenset({"suffix"})
"""Those that are options of a task, where a category is named."""
Tokens = Annotated[float, msgspec.Meta(ge=0, le=2**31 - 1)]
"""Clients with one kind of number write 40.0."""
Temperature = Annotated[float, msgspec.Meta(ge=0, le=100)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Word = Annotated[str, msgspec.Meta(max_length=512)]


class Prompted(Request):
    """A prompt, and what its answer says of it."""

    category: str = ""
    """As the body, its path, or the model that answers says."""
    open: bool = False
    """Nobody said it: what the text is found to be is told in its place."""
    union: bool = False
    """A whole answer also has the fields of Ollama's."""
    ollama: bool = False
    """It came in Ollama's words: a stream is Ollama's, and the model is called as it was asked for."""


class _Options(msgspec.Struct):
    max_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    repetition_penalty: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None


class _Nested(_Options):
    session_id: Word | None = None


class Body(_Options):
    prompt: str | None = None
    model: Word | None = None
    category: Word | None = None
    session_id: Word | None = None
    stream: bool | None = None
    language: Word | None = None
    extra_params: _Nested | None = None


BESIDE = (frozenset(Body.__struct_fields__) | OLLAMAS) - {"language"} - OPTIONS
"""Fields that are no options of a task."""
_decode = msgspec.json.Decoder(Body).decode
_decode_fields = msgspec.json.Decoder(dict[str, Any]).decode
_decode_ollama = msgspec.json.Decoder(ollama_generate.Prompt).decode


class Bodies:
    """Makes what reads the bodies of one port; `model` is the one that answers there, '' = what is asked for."""

    def __init__(self, categories: Categories, model: str, max_messages: int) -> None:
        self._categories = categories
        self._model = model
        self._most = max_messages

    def of(self, category: str = "", *, union: bool = False) -> Read:
        """Reads a prompt; `category` is that of the path, '' = the body may name one."""

        def read(body: bytes) -> Prompted:
            return self._prompted(body, _fields(body), category, union=union)

        return read

    def streamed(self, body: bytes) -> Prompted:
        """Reads a prompt whose answer must be wanted as a stream."""
        request = self._prompted(body, _fields(body), "")
        if not request.stream:
            raise BadRequest("`stream` must be true here; POST /generate answers in one object.", param="stream")
        return request

    def of_either(self, body: bytes) -> Prompted:
        """Reads a prompt in Conductor's words, in Ollama's, or in both, which Conductor's then win."""
        fields = read_fields(body)
        if not SIGNS & fields.keys() and _says(fields, "model"):
            request = self._of_ollama(body)
            category = self._categories.of_model(self._model or request.asked)
            return _prompted(request, category=category, open=self._is_open(request.asked), union=True, ollama=True)
        request = self._prompted(body, _fields(body), "", union=True)
        named = request.order is not None and request.order.task
        theirs = OLLAMAS - OPTIONS if named else OLLAMAS
        return self._mixed(request) if any(bytes(fields.get(name, NULL)) != NULL for name in theirs) else request

    def _prompted(self, body: bytes, fields: Body, category: str, *, union: bool = False) -> Prompted:
        options = _options(body)
        if not fields.prompt and not any(options.get(name) for name in TEXTS):
            text = "`prompt` is missing or empty: give the text to answer."
            raise Invalid(text, param="prompt", code=MISSING)
        prompt = fields.prompt or ""
        word = category or fields.category or ""
        asked, name, kind = self._chosen(fields.model or "", word)
        said = hints.in_body(body)
        if word not in RESERVED:
            said = msgspec.structs.replace(said, category=name)
        stream = fields.stream is True
        is_open = self._is_open(fields.model or "", word)
        is_task = is_open or word not in RESERVED  # who names a model alone wants that, and no prompt of ours
        chat = Chat(asked, (Message("user", prompt),), stream, sampling=_sampling(fields))
        return Prompted(
            kind,
            b"",
            asked,
            stream,
            body,
            family="",
            chat=chat,
            category=name,
            open=is_open,
            found="" if is_open or not is_task else name,
            session=fields.session_id or (fields.extra_params and fields.extra_params.session_id) or "",
            order=Order("" if is_open else name, prompt, options) if is_task else None,
            hints=said,
            union=union,
        )

    def _chosen(self, model: str, word: str) -> tuple[str, str, Kind]:
        """The name that is asked for, the category that the answer is of, and its kind. A model that is named wins."""
        if word in RESERVED:
            return model, self._categories.of_model(self._model or model), "chat"
        category = self._categories.find(word)
        if category is None:
            raise self._unknown(word)
        named = "" if untagged(model) in RESERVED else model
        return named or category.asked or category.name, category.name, category.kind

    def _is_open(self, model: str, word: str = "") -> bool:
        """Whether neither a model nor a category is named, so that the text decides."""
        return word in RESERVED and untagged(self._model or model) in RESERVED

    def _unknown(self, word: str) -> BadRequest:
        if labels.category(word) == labels.EXTERNAL:
            how = "set `images.url` to the address of an image server, or name a model with `capabilities: [images]`"
            text = f"Nobody makes images here: {how} in the role {labels.EXTERNAL}."
            return BadRequest(text, param="category", code="unknown_category")
        names = [category.name for category in self._categories][:MOST_NAMED]
        why = f"{word[:100]!r} is no category that is answered here"
        return BadRequest(f"{why}; there are {', '.join(names)}.", param="category", code="unknown_category")

    def _mixed(self, request: Prompted) -> Prompted:
        """The same request with what Ollama's fields add to it."""
        theirs = self._of_ollama(request.body, request)
        assert request.chat is not None
        given = msgspec.structs.asdict(request.chat.sampling)
        wishes = {name: value for name, value in given.items() if value not in (None, ())}
        for name in ("chat", "plain"):
            if (words := getattr(theirs, name)) is not None:
                sampling = msgspec.structs.replace(words.sampling, **wishes)
                setattr(theirs, name, msgspec.structs.replace(words, sampling=sampling))
        more = {"category": request.category, "open": request.open, "session": request.session, "hints": request.hints}
        order = None if theirs.chat is None else request.order  # a text to go on with is for no task
        return _prompted(theirs, **more, order=order, found=request.found, union=True)

    def _of_ollama(self, body: bytes, chosen: Request | None = None) -> Request:
        """What a body asks for in Ollama's words; of `chosen` the model and the wish for a stream."""
        try:
            fields = decoded(body, _decode_ollama, UNNAMED)
            fields.stream = fields.stream is True
            if chosen is not None:
                fields.model = chosen.asked or UNNAMED
            return ollama_generate.asked(body, fields, self._most)
        except BadRequest as error:
            if error.param is None:  # no JSON at all
                raise
            raise Invalid(error.message, param=error.param) from None


def _says(fields: dict[str, msgspec.Raw], name: str) -> bool:
    return bytes(fields.get(name, NULL)) not in (NULL, b'""')


def _prompted(request: Request, **more: Any) -> Prompted:
    values = {name: getattr(request, name) for name in Request.__struct_fields__}
    return Prompted(**{**values, **more})


def _fields(body: bytes) -> Body:
    try:
        body.decode()  # the decoder looks into no text that it hands on as it stands
        return _decode(body)
    except msgspec.ValidationError as exc:
        where, text = explain(exc)
        if not where:
            raise BadRequest(f"The body must be a JSON object: {text}.", code="bad_json") from None
        raise Invalid(f"`{where}`: {text}.", param=where) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRequest(f"The body is not valid JSON: {exc}.", code="bad_json") from None


def _options(body: bytes) -> dict[str, Any]:
    """What is asked besides, as plain values; null is the same as not said."""
    try:
        fields: dict[str, Any] = _decode_fields(body)
    except UNREADABLE as exc:  # such as a number that is larger than any
        raise BadRequest(f"The body cannot be read: {exc}.", code="bad_json") from None
    nested = fields.get("extra_params") or {}
    beside = {name: value for name, value in fields.items() if name != "extra_params"}
    return {name: value for name, value in (nested | beside).items() if name not in BESIDE and value is not None}


def _sampling(fields: Body) -> Sampling:
    """How tokens are drawn. 0 is a wish as any other."""
    nested = fields.extra_params or _Options()

    def wished(name: str) -> Any:
        beside = getattr(fields, name)
        return getattr(nested, name) if beside is None else beside

    most = wished("max_tokens")
    if most is not None and most != int(most):
        raise Invalid("`max_tokens` must be a whole number.", param="max_tokens")
    others = {name: wished(name) for name in _Options.__struct_fields__ if name != "max_tokens"}
    return Sampling(max_tokens=None if most is None else int(most), **others)
