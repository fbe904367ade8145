"""The first answer of a cascade: held back until it is judged, then it goes out as it comes, or is given up.

Its worker is asked for the probabilities of its tokens. Who did not ask for them does not see them.
"""

from typing import Any

import msgspec
from msgspec.structs import replace

from rolecast.decision import Trial
from rolecast.dialects import Family
from rolecast.dialects.request import Request, read_fields
from rolecast.routing.cascade import confidence
from rolecast.turn.conversion import Conversion
from rolecast.turn.exchange import Exchange, clock
from rolecast.turn.plan import Plan, with_usage
from rolecast.values import Chances, Chat, Event, Failure, Reasoning, Report, Text, Token, ToolCallDelta

TRUE = msgspec.Raw(b"true")
MAY_MEAN_OUR_WISH = frozenset({400, 415, 422, 500, 501})
"""Statuses with which a server may refuse to tell probabilities."""
MOST_HELD = 4 * 1024 * 1024
"""Characters that are held back, each event counted as some: more must be judged by what there is of it."""
EVENT_CHARS = 100


def asked(plan: Plan, request: Request, chat: Chat) -> tuple[bytes, bytes]:
    """Path and body for a worker of OpenAI's wire: with probabilities, and as a stream where that loses nothing.

    A stream can be ended once it is judged. Raises BadRequest for what cannot be said to it.
    """
    if request.family == plan.family:
        path, fields = request.path, dict[str, Any](read_fields(plan.body(request)))
    else:
        path, body = plan.written(request, chat)
        fields = dict(read_fields(body))
    if not keeps(chat):
        fields |= {"logprobs": TRUE, "top_logprobs": msgspec.Raw(b"1")}  # some tell twenty where no number is said
    # What may begin a stop sequence is lost where a stream is cut, and who goes on from words repeats them when whole.
    goes_on = bool(chat.messages) and chat.messages[-1].role == "assistant"
    if request.stream or not (chat.sampling.stop or keeps(chat) or goes_on):
        fields["stream"] = TRUE
        if plan.injects:
            fields["stream_options"] = with_usage(fields.get("stream_options"))
    return path, msgspec.json.encode(fields)


def keeps(chat: Chat) -> bool:
    """Whether the client asked for the probabilities itself."""
    said = chat.extra.get("logprobs")
    return bytes(said) not in (b"null", b"false", b"0") if isinstance(said, msgspec.Raw) else bool(said)


def _of(tokens: list[Token], text: str) -> list[float]:
    """The logarithms of those of these tokens that make this text: the last of them."""
    found: list[float] = []
    length = 0
    for token in reversed(tokens):
        if length >= len(text):
            break
        length += len(token.text)
        if token.logprob is not None:
            found.append(token.logprob)
    return found[::-1]


def _size(event: Event) -> int:
    """About how much it takes to hold it."""
    if isinstance(event, Chances):
        return EVENT_CHARS * len(event.tokens) + sum(len(token.text) for token in event.tokens)
    text = event.text if isinstance(event, Text | Reasoning) else ""
    return EVENT_CHARS + len(event.arguments if isinstance(event, ToolCallDelta) else text)


class Judging(Conversion):
    """Reads the first answer, holds it until it is judged, and then hands it on or gives it up."""

    def __init__(self, exchange: Exchange, family: Family, trial: Trial, *, keeps: bool) -> None:
        super().__init__(exchange, family)
        self._trial = trial
        self._keeps = keeps
        self._judged = False
        self._events: list[Event] = []
        """Held back."""
        self._logprobs: list[float] = []
        self._pending: list[Token] = []
        """Tokens whose text did not come yet: they may be of a thought, or of its marks, which do not count."""
        self._said = False
        """Something of the answer came."""
        self._size = 0
        """Characters held back."""

    def on_end(self) -> None:
        if self._reader is None and not self.closed:  # an error status
            self._refused()
        else:
            super().on_end()

    def _take(self, events: list[Event]) -> None:
        if self._judged:
            super()._take(self._shown(events))
            return
        self._events += events
        for event in events:
            if isinstance(event, Failure):
                self._give_up("failed")
                return
            self._weigh(event)
            self._size += _size(event)
        if len(self._logprobs) >= self._trial.tokens:
            self._judge()
        elif self._said and not self._logprobs:
            self._release(f"{self._trial.first} answers, its confidence is unknown")
        elif self._size > MOST_HELD:  # thoughts or blanks without end
            self._complete()

    def _complete(self) -> None:
        """No more of it is awaited: a short answer is judged whole."""
        if self._judged or self.closed:
            return
        if not self._said:
            self._give_up("said nothing")
        else:
            self._judge()

    def _weigh(self, event: Event) -> None:
        if isinstance(event, Chances):
            self._pending += event.tokens
        elif isinstance(event, Text | ToolCallDelta):
            self._said = self._said or isinstance(event, ToolCallDelta) or bool(event.text.strip())
            self._logprobs += _of(self._pending, event.text if isinstance(event, Text) else "")
            self._pending = []
        elif isinstance(event, Reasoning):
            self._pending = []
        elif isinstance(event, Report):
            self._reported = event.usage
        if isinstance(event, Text | Reasoning):
            self.events += 1
            self.exchange.first = self.exchange.first or clock()

    def _judge(self) -> None:
        trial = self._trial
        if confidence(self._logprobs[: trial.tokens]) < trial.least:
            self._give_up("was unsure")
        else:
            self._release(f"{trial.first} was sure")

    def _release(self, reason: str) -> None:
        """What was held goes out."""
        exchange = self.exchange
        plan, _, _ = exchange.called()
        exchange.plan = plan.told(plan.asked, replace(plan.choice, source="cascade", reason=reason))
        self._judged = True
        self._reported, self.events, exchange.first = None, 0, clock()  # they are counted as they go
        events, self._events = self._events, []
        super()._take(self._shown(events))

    def _shown(self, events: list[Event]) -> list[Event]:
        return events if self._keeps else [event for event in events if not isinstance(event, Chances)]

    def _give_up(self, why: str) -> None:
        """Stop it, which frees its worker, and have the next one asked."""
        used = self.produced()
        self._events = []
        if self.connection is not None:
            self.connection.abort()
        self.exchange.dispatch.escalate(self.exchange, used, f"{self._trial.first} {why}")

    def _refused(self) -> None:
        """It answered with an error: perhaps it was our wish that a server elsewhere refused."""
        exchange = self.exchange
        plan, _, _ = exchange.called()
        if self.status in MAY_MEAN_OUR_WISH and not plan.backend.spawns:
            reason = f"{self._trial.first} answers, its confidence is unknown"
            exchange.plan = plan.told(plan.asked, replace(plan.choice, source="cascade", reason=reason))
            exchange.first = 0.0
            exchange.dispatch.ask_plainly(exchange)
        else:
            self._give_up("failed")
