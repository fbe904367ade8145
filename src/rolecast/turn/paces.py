"""How fast models were lately, and how long answers are: moving averages of what requests took. In memory only.

Fed by every request that is over, and once, at the start, by the ledger's newest rows. Knows no request's content.
"""

from collections.abc import Collection, Iterable

from rolecast.books.pace import Past
from rolecast.routing.price import ANSWER_TOKENS
from rolecast.values import Usage

LATELY = 0.2
"""Part of an average that the newest value has: ten requests make nine tenths of it."""
SELDOM = 0.05
"""The same for lengths, which differ more from answer to answer."""
LEAST_TOKENS = 8
"""A shorter answer, or a shorter prompt, tells nothing of a speed."""
LEAST_S = 0.001
"""A time that short is a clock's, not a model's."""


class Pace:
    """One model's averages; 0 = not seen yet."""

    __slots__ = ("load_s", "prompt_tokens_per_s", "request_s", "tokens_per_s")

    def __init__(self) -> None:
        self.tokens_per_s = 0.0
        self.prompt_tokens_per_s = 0.0
        self.request_s = 0.0
        """From its slot to the end of its answer."""
        self.load_s = 0.0


class Paces:
    """The averages of all models, by who answered: a stand-in's are its own."""

    def __init__(self) -> None:
        self._paces: dict[str, Pace] = {}
        self.lengths = dict(ANSWER_TOKENS)
        """Tokens of an answer by category; `routing.price` reads it."""

    def of(self, answerer_id: str) -> Pace:
        """The averages of that model."""
        found = self._paces.get(answerer_id)
        if found is None:
            found = self._paces[answerer_id] = Pace()
        return found

    def lately(self, answerer_id: str) -> tuple[float, float]:
        """Seconds that a request to that model, and a load of it, took; 0 = not seen yet."""
        pace = self._paces.get(answerer_id)
        return (pace.request_s, pace.load_s) if pace is not None else (0.0, 0.0)

    def keep(self, models: Collection[str]) -> None:
        """Only these are there from now on."""
        for answerer_id in [i for i in self._paces if i not in models]:
            del self._paces[answerer_id]

    def loaded(self, answerer_id: str, took_s: float) -> None:
        """It has loaded just now."""
        pace = self.of(answerer_id)
        pace.load_s = took_s if not pace.load_s else (pace.load_s + took_s) / 2

    def answered(
        self, answerer_id: str, usage: Usage, first_s: float, total_s: float, stream: bool, task: str = ""
    ) -> None:
        """One complete answer. Times are from its slot, without the wait for it, to its first and last byte.

        Of a stream the first byte comes when the prompt is read; of a whole answer when all is written, so that it
        tells the speed of writing only by what is known of that of reading.
        """
        pace, written = self.of(answerer_id), usage.completion_tokens
        if total_s < LEAST_S:
            return
        pace.request_s = _mixed(pace.request_s, total_s)
        read = usage.prompt_tokens - usage.cached_tokens
        reading_s = first_s if stream else read / pace.prompt_tokens_per_s if pace.prompt_tokens_per_s else 0.0
        if stream and read >= LEAST_TOKENS and first_s >= LEAST_S:
            pace.prompt_tokens_per_s = _mixed(pace.prompt_tokens_per_s, read / first_s)
        writing_s = total_s - reading_s
        if written >= LEAST_TOKENS and writing_s >= LEAST_S:
            pace.tokens_per_s = _mixed(pace.tokens_per_s, written / writing_s)
        if task and written:
            known = self.lengths.get(task, written)
            self.lengths[task] = known + SELDOM * (written - known)

    def recall(self, past: Iterable[Past]) -> None:
        """What the ledger says of requests before this start, the oldest first."""
        for row in past:
            waited_s = row.queue_s + row.load_s
            usage = Usage(row.prompt_tokens, row.completion_tokens, row.cached_tokens)
            if row.load_s >= LEAST_S:
                self.loaded(row.worker, row.load_s)
            self.answered(row.worker, usage, max(0.0, row.first_s - waited_s), row.total_s - waited_s, row.stream)


def _mixed(before: float, value: float) -> float:
    return value if not before else before + LATELY * (value - before)
