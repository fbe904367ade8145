"""A request as a dialect read it: the few fields that routing and safety need, and the bytes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from rolecast.decision import Choice, Hints, Trial
from rolecast.dialects.thread import Thread
from rolecast.errors import UNREADABLE, BadRequest, BudgetSpent
from rolecast.values import Chat, Completion, Embedding, Kind, Message, Ranking

NOTHING: frozenset[str] = frozenset()
TOOLS = frozenset({"tools"})
MOST_BACK = 2**20
"""No penalty looks back further than so many tokens: more than any context holds."""


class Upload(msgspec.Struct, frozen=True):
    """A body that is forwarded unread: its content type, and in a form where the name of the model stands.

    The name is at `start` to `end`; where both are the same, a part with it may be put in there.
    """

    content_type: bytes
    start: int = 0
    end: int = 0

    def renamed(self, body: bytes, name: str) -> bytes:
        """The same form with another name of the model."""
        said = name.encode()
        if self.start == self.end:
            boundary = body[self.start : body.index(b"\r\n", self.start)]
            said = b'%b\r\ncontent-disposition: form-data; name="model"\r\n\r\n%b\r\n' % (boundary, said)
        return body[: self.start] + said + body[self.end :]


class Several(msgspec.Struct, frozen=True):
    """A request for several answers, cut into one for each, in the order of the answers."""

    parts: "tuple[Request, ...]"
    each: int
    """So many of them are for one prompt, which counts once."""


class Order(msgspec.Struct, frozen=True):
    """A task that is asked for by its name: how its prompt is written and its answer checked is the task's."""

    task: str
    """Its category; '' = the one that the prompt is found to be of."""
    prompt: str
    options: Mapping[str, Any]
    """What is asked besides, by the task's own words, as plain values; only the task knows what they mean."""


class Request(msgspec.Struct):
    """What a dialect read from a body: the few fields that routing needs, and the bytes."""

    kind: Kind
    path: bytes
    """Where a worker of the same family takes it, below its base."""
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
    to_pass: dict[str, msgspec.Raw] | None = None
    """Fields as they may pass to a server that understands the body, in place of the body's own."""
    edit: bool = False
    """The body holds fields that must be rewritten for the engine."""
    edit_usage: bool = False
    """Usage is asked of the worker and hidden from the client. Set by dispatch."""
    family: str = "openai"
    """The workers that understand the body as it is; '' = none does, and the chat is written anew for each."""
    chat: Chat | None = None
    """The same in words of no dialect, where it was read into them."""
    plain: Completion | Embedding | Ranking | None = None
    """The same of what is no chat."""
    only: Literal["", "load", "unload"] = ""
    """No answer is wanted, only that the model is loaded, or leaves when nobody uses it."""
    stay_s: float | None = None
    """So long the model stays loaded after this request, in place of its `idle_timeout`; infinity = for good."""
    split: "Callable[[Request], Several] | None" = None
    """Cuts it into requests for one answer, for a worker that gives no more; raises BadRequest. None = it is one."""
    upload: Upload | None = None
    """It is forwarded unread, and so is its answer."""
    found: str = ""
    """The category as which it is answered, as far as somebody decided. Set when it is routed."""
    thread: Thread | None = None
    """Its place in a conversation that is kept; without a `chat` it waits for what was kept before."""
    session: str = ""
    """The id of its session that the body has; '' = none."""
    entered: bool = False
    """It was let in, and counted, as a request of its key. Set by the gate."""
    broke: BudgetSpent | None = None
    """Why it may cost nothing, for whom it is refused; None = it may. Set by the check of budgets."""
    joined: bool = False
    """Its session was seen to: what was said before is in it, or it goes without. Set by who sees it through."""
    equipped: bool = False
    """Whether tools are offered was decided. Set by who offers them."""
    order: Order | None = None
    """The task that it is for; None = none, or its prompt is written already."""
    noted: Mapping[str, Any] = {}
    """What is known of its answer before it is made, for the metadata of it. Set where its task is read."""
    hints: Hints | None = None
    """What the body says of it besides its words, where somebody looked."""

    conversation: str = ""
    """The digest of the conversation that it is a turn of, where who answers it was left to us; '' = none."""
    settled: Choice | None = None
    """Who answers, where that was found out before: by a model that was asked, or for the request that this is part
    of. Set by dispatch."""
    trial: Trial | None = None
    """How an answer of who was settled on is judged, where that is the first of a cascade."""

    def take(self, chat: Chat) -> None:
        """The conversation is whole now."""
        self.chat = chat
        self.needs |= needs_of(chat.messages)
        self.prefers |= wishes_of(chat.messages)


_WORDS = {"image": "vision", "file": "files"}


def needs_of(messages: Sequence[Message]) -> frozenset[str]:
    """What a model must take for these messages, in words of `capabilities`."""
    kinds = {part.kind for each in messages if isinstance(each.content, tuple) for part in each.content}
    return frozenset(_WORDS.get(kind, kind) for kind in kinds - {"text"})


def wishes_of(messages: Sequence[Message]) -> frozenset[str]:
    """What a model should know for these messages: one that knows no tools hardly understands calls and results."""
    return TOOLS if any(each.tool_calls or each.role == "tool" for each in messages) else NOTHING


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_fields(body: bytes) -> dict[str, msgspec.Raw]:
    """The fields of a JSON object, each in the bytes it was written in. Raises BadRequest."""
    try:
        return _decode_fields(body)
    except UNREADABLE as exc:
        raise BadRequest(f"The body is not a valid JSON object: {exc}.", code="bad_json") from None
