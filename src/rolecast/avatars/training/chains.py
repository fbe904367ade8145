"""Replies of one conversation as one chat to learn from: what was said before them is read once, not once for each.

Examples have a window of history each, and windows overlap: eight messages before every second message are read four
times. Joined, each reply still has all that its window showed before it, at times more. Pure.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from rolecast.avatars.example import Example, Said


class Chain(msgspec.Struct, frozen=True):
    """Examples that follow each other. `said` ends before the last one's reply."""

    said: tuple[Said, ...]
    ends: tuple[int, ...]
    """Of each example: how much of `said` comes before its reply."""
    examples: tuple[Example, ...]


def chains(examples: Iterable[Example], most: int, room: int) -> list[Chain]:
    """All examples, each in one chain: neighbours of a conversation joined where one goes on with what another ended.

    `most` replies, and `room` characters with their history, at most in a chain.
    """
    found: list[Chain] = []
    by_thread: dict[str, list[Example]] = {}
    for each in examples:
        by_thread.setdefault(each.metadata.sequence_id or each.example_id, []).append(each)
    for thread in by_thread.values():
        found += _thread(sorted(thread, key=lambda each: each.metadata.position), most, room)
    return found


def _thread(examples: Sequence[Example], most: int, room: int) -> Iterator[Chain]:
    last: Chain | None = None
    for each in examples:
        joined = _joined(last, each) if last is not None and len(last.examples) < most else None
        if joined is not None and sum(len(one.message) for one in joined.said) <= room:
            last = joined
            continue
        if last is not None:
            yield last
        last = Chain(each.conversation_history, (len(each.conversation_history),), (each,))
    if last is not None:
        yield last


def _joined(chain: Chain, after: Example) -> Chain | None:
    """The chain with one more example, if that goes on where the chain ended and is spoken to alike."""
    before = chain.examples[-1]
    name, history = before.speaker_name, after.conversation_history
    if _whom(before) != _whom(after) or not history or not chain.said or chain.said[-1].speaker == name:
        return None
    reply = Said(name, before.target_text)
    said = [*chain.said, reply]
    overlap = _overlap(said, history)
    new = history[overlap:]
    # A reply is a turn of its own: somebody else speaks before and after it.
    if not overlap or not new or new[0].speaker == name or new[-1].speaker == name:
        return None
    others = {each.speaker for each in (*said, *new)} - {name}
    if len(others) > 1 and any(len(_others(each, name)) < 2 for each in (chain.said, history)):
        return None  # names are shown only where several speak
    whole = (*said, *new)
    return Chain(whole, (*chain.ends, len(whole)), (*chain.examples, after))


def _whom(each: Example) -> tuple[str, ...]:
    return each.speaker_name, each.personality_type, each.emotional_state, each.relationship_type


def _others(said: Iterable[Said], name: str) -> set[str]:
    return {each.speaker for each in said} - {name}


def _overlap(said: Sequence[Said], history: Sequence[Said]) -> int:
    """How much of the beginning of `history` is the end of `said`, all of it that can be."""
    for count in range(min(len(said), len(history)), 0, -1):
        if all(_same(a, b) for a, b in zip(said[-count:], history[:count], strict=True)):
            return count
    return 0


def _same(a: Said, b: Said) -> bool:
    return a.speaker == b.speaker and a.message == b.message
