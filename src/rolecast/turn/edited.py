"""The pass-through lane with an editor in it: for workers that leave thoughts and calls in the text.

What comes and goes is OpenAI's wire, as in `passage`; the editor takes the bytes first. A plain answer is edited
once it is complete.
"""

from rolecast.dialects.openai_editor import MOST_HELD, Editor, heard, stays
from rolecast.errors import RolecastError
from rolecast.net.connection import Headers, KnownAnswer
from rolecast.speech import NO_OFFER
from rolecast.turn.exchange import Exchange, clock
from rolecast.turn.passage import Passage


class Edited(Passage):
    """Takes the answer of one attempt, edits it and gives it to the client's sink."""

    _editor: Editor | None = None
    """None where the bytes are no answer that can be read."""
    _offer = NO_OFFER
    _opened = False
    _whole: "list[bytes]" = []  # noqa: RUF012  # replaced in on_head, never filled here
    _size = 0

    def __init__(self, exchange: Exchange, *, opened: bool) -> None:
        self.exchange = exchange
        request = exchange.request
        if opened or request.needs or request.prefers:  # type: ignore[union-attr]  # else it has no tools
            plan, request, _ = exchange.called()
            variables = plan.model.chat_template_kwargs
            self._offer, self._opened = heard(request.body, opened=opened, variables=variables)

    def on_head(self, status: int, headers: Headers) -> None:
        super().on_head(status, headers)
        self._length = None  # an edited answer has another one
        if self.status == 200 and not self._is_packed():
            self._editor = Editor(self._offer, opened=self._opened)
            self._whole = []

    def on_body(self, parts: list[bytes], last: bool) -> None:
        editor = self._editor
        if editor is None:
            super().on_body(parts, last)
            return
        now = self.last_activity = clock()
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if not self.streaming:
            self._collect(data)
            return
        self.chunks += len(parts) - 1
        if self.counts:
            Passage._count(self, data)  # noqa: SLF001  # its own does nothing: counted before it was edited
        data = editor.feed(data)
        if last:
            data += editor.end()
        if data or last:
            Passage.on_body(self, [data], last)
        elif not self.exchange.first:
            self.exchange.first = now

    def on_end(self) -> None:
        editor = self._editor
        if editor is not None and self.streaming:
            self._last += editor.end()
        elif editor is not None and self._whole:
            body, self._whole = b"".join(self._whole), []
            super().on_body([editor.whole(body)], last=True)
        super().on_end()

    def on_whole(self, head: KnownAnswer, body: bytes) -> None:
        if self.exchange.closed:
            return
        if stays(body, self._offer, opened=self._opened):
            Passage.on_whole(self, head, body)
        else:
            self._in_steps(head, body)

    def last_words(self, error: RolecastError) -> bytes | None:
        """What is held back, then the error."""
        last = super().last_words(error)
        return self._editor.rest() + last if self._editor is not None and last is not None else last

    def _count(self, data: bytes) -> None:
        """Counted before it was edited."""

    def _collect(self, data: bytes) -> None:
        """Hold a plain answer until it is complete; one beyond all measure passes as it comes."""
        self._whole.append(data)
        self._size += len(data)
        if self._size > MOST_HELD:
            self._editor = None
            whole, self._whole = self._whole, []
            super().on_body(whole, last=False)
