"""Conversations as lists of messages, and examples of them, in the words of Avatar SLM's repository."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec

from rolecast.avatars.conversation import Conversations, Message, Wanted
from rolecast.avatars.example import Example, Lineage, Said
from rolecast.avatars.extraction import shown
from rolecast.avatars.gaps import Gaps
from rolecast.avatars.settings import Extraction
from rolecast.avatars.threads import Threads, Turn
from rolecast.errors import Invalid

NEVER = -1.0
"""Seconds within which messages are joined: each is one turn."""


@dataclass
class ConversationNode:
    """One message."""

    node_id: str
    message: str
    speaker: str
    timestamp: datetime | None
    personality_type: str | None = None
    emotional_state: str | None = None
    relationship_type: str | None = None
    context_tags: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {**asdict(self), "timestamp": None if self.timestamp is None else self.timestamp.isoformat()}


@dataclass
class ConversationSequence:
    """Messages that belong together, in order."""

    sequence_id: str
    nodes: list[ConversationNode]
    topic: str | None = None
    participants: list[str] = field(default_factory=list)
    duration_minutes: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {**asdict(self), "nodes": [each.to_dict() for each in self.nodes]}


class TrainingExample(Example, frozen=True):
    """An example, as this package returns it."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        said: dict[str, Any] = msgspec.to_builtins(self)
        return said


async def sequences_of(
    conversations: Conversations, wanted: Wanted, settings: Extraction, *, least: int, most: int, limit: int | None
) -> list[ConversationSequence]:
    """Each message once; where a conversation branches, or is longer than `most`, the next one begins with the message
    before it, so that nothing loses what it answers.

    With a person, only those in which they say something. All of it is in memory. Raises Invalid for lengths that
    nothing has.
    """
    if least < 1 or most < max(least, 2):
        raise Invalid("A sequence has 2 messages or more, and its longest is no shorter than its shortest.")
    person = await conversations.find(wanted.person) if wanted.person else None
    if person is not None:
        wanted = msgspec.structs.replace(wanted, person=person.id)
    people = await conversations.people(wanted)
    names = shown(person or people[0], people) if people else {}
    found: list[ConversationSequence] = []
    chat: list[Message] = []
    async for message in conversations.messages(wanted):
        if chat and message.chat != chat[0].chat:
            found += _of_chat(chat, names, settings, most)
            chat = []
        if message.text.strip():
            chat.append(message)
    found += _of_chat(chat, names, settings, most)
    kept = [
        each for each in found if len(each.nodes) >= least and (person is None or names[person.id] in each.participants)
    ]
    return kept[:limit] if limit else kept


def _of_chat(
    chat: Sequence[Message], names: Mapping[str, str], settings: Extraction, most: int
) -> list[ConversationSequence]:
    gaps = Gaps()
    for one, other in pairwise(chat):
        if one.at is not None and other.at is not None:
            gaps.add(other.at - one.at)
    threads = Threads(gap=settings.gap or gaps.limit(), join=NEVER)
    by_id = {each.id: each for each in chat}
    turns = [turn for each in chat for turn in threads.add(each)]
    turns += threads.end()
    branches: list[list[Turn]] = []
    ends: dict[int, list[Turn]] = {}
    """The branch that each turn is the end of."""
    for turn in turns:
        branch = ends.pop(id(turn.before), None)
        if branch is None or len(branch) >= most:
            branch = [] if turn.before is None else [turn.before]
            branches.append(branch)
        branch.append(turn)
        ends[id(turn)] = branch
    numbers: Counter[str] = Counter()
    found: list[ConversationSequence] = []
    for branch in branches:
        thread = branch[-1].thread.id
        name = f"{thread}-{numbers[thread]}" if numbers[thread] else thread
        numbers[thread] += 1
        found.append(_sequence(name, [by_id[turn.ids[0]] for turn in branch], names, settings))
    return found


def _sequence(
    name: str, messages: Sequence[Message], names: Mapping[str, str], settings: Extraction
) -> ConversationSequence:
    times = [each.at for each in messages if each.at is not None]
    nodes = [_node(each, names, settings) for each in messages]
    return ConversationSequence(
        sequence_id=name,
        nodes=nodes,
        participants=list(dict.fromkeys(each.speaker for each in nodes)),
        duration_minutes=round((max(times) - min(times)) / 60, 2) if len(times) > 1 else None,
        metadata={"chat": messages[0].chat},
    )


def _node(message: Message, names: Mapping[str, str], settings: Extraction) -> ConversationNode:
    node = ConversationNode(
        node_id=message.id,
        message=message.text,
        speaker=names.get(message.person, message.person),
        timestamp=None if message.at is None else datetime.fromtimestamp(message.at, UTC),
        metadata={"person": message.person},
    )
    if settings.metadata:
        node.personality_type = message.personality or None
        node.emotional_state = message.emotion or None
        node.relationship_type = message.relationship or None
        node.context_tags = list(message.tags)
    return node


def examples_of(
    sequences: Iterable[ConversationSequence], window: int, tagged: bool, speaker: str | None
) -> list[TrainingExample]:
    """A message of somebody who answers somebody else, with at most `window` messages before it.

    The speaker is written before what they said in `input_text` where that is wanted, never in what is learnt.
    """
    return [
        _example(each, at, window, tagged)
        for each in sequences
        for at in range(1, len(each.nodes))
        if each.nodes[at - 1].speaker != each.nodes[at].speaker and speaker in (None, each.nodes[at].speaker)
    ]


def _example(sequence: ConversationSequence, at: int, window: int, tagged: bool) -> TrainingExample:
    node, before = sequence.nodes[at], sequence.nodes[max(0, at - max(window, 1)) : at]
    last = before[-1]
    return TrainingExample(
        example_id=f"{sequence.sequence_id}_{at}",
        input_text=f"[{last.speaker}]: {last.message}" if tagged else last.message,
        target_text=node.message,
        speaker_name=node.speaker,
        personality_type=node.personality_type or "",
        emotional_state=node.emotional_state or "",
        relationship_type=node.relationship_type or "",
        conversation_history=tuple(Said(each.speaker, each.message, each.emotional_state or "") for each in before),
        metadata=Lineage(
            sequence_id=sequence.sequence_id,
            position=at,
            total_length=len(sequence.nodes),
            chat=str(sequence.metadata.get("chat", "")),
            message_ids=tuple(each.node_id for each in (*before, node)),
            people=tuple(dict.fromkeys(str(each.metadata.get("person", each.speaker)) for each in (*before, node))),
            at=None if node.timestamp is None else node.timestamp.timestamp(),
        ),
    )
