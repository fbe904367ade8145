"""Messages of a chat as turns, each with the turn before it. Pure, one message after the other.

Before a message is what it replies to, where the source says so; else what was said last, unless the pause was too
long. So the turns are trees, and what was said before a turn is its way to the root: what happens in another branch
meanwhile is not part of it.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator

from rolecast.avatars.conversation import Message

WINDOW = 4096
"""Messages of a chat that a later one can reply to; older ones are forgotten, so that memory does not grow."""
MESSAGES, LETTERS = 50, 8000
"""What one turn may have; more is another turn, and a single message is cut: no reply in a chat is longer."""


class Thread:
    """What belongs together because each turn of it has one before it."""

    __slots__ = ("id", "messages", "turns")

    def __init__(self, chat: str, first: str) -> None:
        self.id = hashlib.blake2b(f"{chat}\0{first}".encode("utf-8", "replace"), digest_size=8).hexdigest()
        """The same in each reading: made of the chat's id and the first message's."""
        self.turns = 0
        self.messages = 0


class Turn:
    """What somebody said in one go, in one message or several."""

    __slots__ = (
        "before",
        "began",
        "emotion",
        "ended",
        "ids",
        "letters",
        "person",
        "personality",
        "position",
        "relationship",
        "texts",
        "thread",
    )

    def __init__(self, message: Message, before: "Turn | None") -> None:
        self.person = message.person
        self.before = before
        self.thread: Thread = Thread(message.chat, message.id) if before is None else before.thread
        self.position = self.thread.turns
        self.thread.turns += 1
        self.texts: list[str] = []
        self.ids: list[str] = []
        self.letters = 0
        self.began = message.at
        self.ended = message.at
        self.personality = self.emotion = self.relationship = ""
        self.add(message)

    def add(self, message: Message) -> None:
        """One more message of it."""
        self.texts.append(message.text[:LETTERS])
        self.ids.append(message.id)
        self.letters += len(message.text)
        self.thread.messages += 1
        self.ended = message.at if message.at is not None else self.ended
        self.personality = self.personality or message.personality
        self.emotion = self.emotion or message.emotion
        self.relationship = self.relationship or message.relationship

    @property
    def text(self) -> str:
        return "\n".join(self.texts)

    def history(self, most: int) -> list["Turn"]:
        """The turns before it, oldest first."""
        found: list[Turn] = []
        turn = self.before
        while turn is not None and len(found) < most:
            found.append(turn)
            turn = turn.before
        return found[::-1]


class Threads:
    """Takes the messages of one chat in their order, and gives turns in theirs, each as soon as it is whole."""

    def __init__(self, *, gap: float, join: float) -> None:
        self.gap = gap
        """Seconds of silence that end a thread. It may change on the way."""
        self._join = join
        self._open: Turn | None = None
        self._window: OrderedDict[str, Turn] = OrderedDict()

    def add(self, message: Message) -> Iterator[Turn]:
        """The next message. One that was there already is nothing new."""
        if message.id in self._window:
            return
        answered = self._window.get(message.reply_to) if message.reply_to else None
        # Deleted, a picture, or too long ago: whatever was said last is not what it answers.
        gone = bool(message.reply_to) and answered is None
        last = self._open
        if last is not None and not gone and answered in (None, last) and self._goes_on(last, message):
            last.add(message)
            self._remember(message.id, last)
            return
        if last is not None:
            yield last
        before = answered or (last if last is not None and not gone and _pause(last, message) <= self.gap else None)
        self._open = Turn(message, before)
        self._remember(message.id, self._open)

    def end(self) -> Iterator[Turn]:
        """There is no more."""
        if self._open is not None:
            yield self._open
        self._open = None

    def _goes_on(self, turn: Turn, message: Message) -> bool:
        return (
            turn.person == message.person
            and _pause(turn, message) <= min(self._join, self.gap)
            and len(turn.ids) < MESSAGES
            and turn.letters + len(message.text) <= LETTERS
        )

    def _remember(self, message: str, turn: Turn) -> None:
        self._window[message] = turn
        if len(self._window) > WINDOW:
            _, oldest = self._window.popitem(last=False)
            if oldest is not turn:
                oldest.before = None  # else each turn would hold all before it in memory


def _pause(turn: Turn, message: Message) -> float:
    """Seconds; none where a source knows no times."""
    return 0.0 if turn.ended is None or message.at is None else max(0.0, message.at - turn.ended)
