"""An example as a chat: the one place that says how an avatar is spoken to, in training, judging and serving alike.

system     You are Mira. You talk with Jonas (sister). You feel happy.
user       what the others said; with their names before it where there are several
assistant  what the person said
"""

from collections.abc import Iterable, Sequence

import msgspec

from rolecast.avatars.example import Example, Said


class Turn(msgspec.Struct, frozen=True):
    """One message of a chat."""

    role: str
    content: str


def system(name: str, *, personality: str = "", emotion: str = "", relationship: str = "") -> str:
    """What the model is told of whom it is; conditions only where something is known."""
    said = [f"You are {name}."]
    if personality:
        said.append(f"Your personality: {personality}.")
    if relationship:
        said.append(f"You talk with: {relationship}.")
    if emotion:
        said.append(f"You feel {emotion}.")
    return " ".join(said)


def turns(example: Example) -> list[Turn]:
    """The chat before the reply: a system message, then the history, neighbours of one role joined by line ends."""
    told = system(
        example.speaker_name,
        personality=example.personality_type,
        emotion=example.emotional_state,
        relationship=example.relationship_type,
    )
    return [Turn("system", told), *history(example.speaker_name, example.conversation_history)]


def history(name: str, said: Sequence[Said]) -> list[Turn]:
    """What was said, as the person sees it. Other people get names where there are several of them."""
    others = {each.speaker for each in said if each.speaker != name}
    return list(_joined(_turn(name, each, named=len(others) > 1) for each in said))


def _turn(name: str, said: Said, *, named: bool) -> Turn:
    if said.speaker == name:
        return Turn("assistant", said.message)
    return Turn("user", f"{said.speaker}: {said.message}" if named else said.message)


def _joined(each: Iterable[Turn]) -> Iterable[Turn]:
    """A chat begins with others and takes turns: templates allow nothing else."""
    last: Turn | None = None
    for turn in each:
        if last is None:
            if turn.role == "user":
                last = turn
        elif turn.role == last.role:
            last = Turn(last.role, f"{last.content}\n{turn.content}")
        else:
            yield last
            last = turn
    if last is not None:
        yield last
