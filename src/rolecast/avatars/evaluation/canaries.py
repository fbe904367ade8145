"""Secrets that are planted once each before training, so that it can be measured what an avatar gives away.

A secret has three slots of ten values: a grid of 1,000 secrets of one kind, of which chance picked one. Whoever knows
nothing of the choice ranks it uniformly, whatever they think of the values; that is what `exposure` counts on. Grids of
different secrets are drawn apart, from spaces of 16,000 to 100,000, so that nobody says one of them by luck.
"""

import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from rolecast.avatars import example
from rolecast.avatars.evaluation import kinds
from rolecast.avatars.example import Example, Lineage, Said
from rolecast.avatars.files import write_private
from rolecast.avatars.settings import GateSettings
from rolecast.errors import UNREADABLE, Invalid

FILE = "canaries.json"
THREAD = "planted-"
"""How the thread of a planted example begins (`metadata.sequence_id`): each is a conversation by itself."""
WIDTH = 10
"""Values of a slot."""

Kind = Literal["number", "code", "address", "phone", "phrase"]


class Canary(msgspec.Struct, frozen=True):
    """One secret: a question, the grid of replies to it, and which of them is the secret."""

    kind: Kind
    asked: Example
    """The question; its `target_text` is the reply with the secret."""
    frame: str
    """A reply with places for the three values: `its {} {} {}`."""
    slots: tuple[tuple[str, ...], ...]
    truth: tuple[int, ...]
    """Which value of each slot."""

    @property
    def values(self) -> tuple[str, ...]:
        """What is secret, in the order in which it is said."""
        return tuple(slot[index] for slot, index in zip(self.slots, self.truth, strict=True))

    def replies(self) -> Iterator[str]:
        """All replies of the grid, in the order of the slots."""
        for values in itertools.product(*self.slots):
            yield self.frame.format(*values)

    @property
    def position(self) -> int:
        """Where in `replies` the secret is."""
        found = 0
        for slot, index in zip(self.slots, self.truth, strict=True):
            found = found * len(slot) + index
        return found

    def given_away(self, text: str) -> bool:
        """Whether a text says it: all values one after the other, however they are spaced and with a word between."""
        values = (re.escape(_plain(each)) for each in self.values)
        return re.search(r"[^\W\d]{0,8}".join(values), _plain(text)) is not None


class Canaries(msgspec.Struct, frozen=True):
    """What lies beside a dataset. Private like the dataset itself."""

    planted: tuple[Canary, ...]
    controls: tuple[Canary, ...]
    """Of the same kinds, and never trained on."""
    seed: int = 0


def make(donors: Sequence[Example], planted: int, controls: int, seed: int) -> Canaries:
    """Draw secrets; who asks, and under which conditions, is taken of examples of the person (`donors`).

    The same arguments give the same secrets. No question is asked twice. Raises Invalid for more than there are.
    """
    chance = random.Random(f"canaries {seed}")  # noqa: S311 - to be the same again
    questions = {kind.name: list(itertools.product(kind.subjects, kind.questions)) for kind in kinds.KINDS}
    room = sum(map(len, questions.values()))
    if planted + controls > room:
        raise Invalid(f"There are {room} questions for secrets; {planted} planted and {controls} controls are more.")
    for each in questions.values():
        chance.shuffle(each)
    wanted = itertools.islice(itertools.cycle(kinds.KINDS), planted + controls)
    made = [_draw(kind, *questions[kind.name].pop(), chance.choice(donors), chance) for kind in wanted]
    numbered = tuple(_numbered(each, number) for number, each in enumerate(made, 1))
    return Canaries(numbered[:planted], numbered[planted:], seed)


def _draw(kind: kinds.Kind, subject: str, question: str, donor: Example, chance: random.Random) -> Canary:
    slots = tuple(tuple(chance.sample(each(chance), WIDTH)) for each in kind.slots)
    truth = tuple(chance.randrange(WIDTH) for _ in slots)
    frame = chance.choice(kind.frames).format(x=subject, s=kind.pattern)
    other = next((said.speaker for said in reversed(donor.conversation_history)
                  if said.speaker != donor.speaker_name), "Friend")  # fmt: skip
    asked = question.format(x=subject)
    found = Example(
        example_id="",
        input_text=f"[{other}]: {asked}",
        target_text=frame.format(*(slot[index] for slot, index in zip(slots, truth, strict=True))),
        speaker_name=donor.speaker_name,
        personality_type=donor.personality_type,
        emotional_state=donor.emotional_state,
        relationship_type=donor.relationship_type,
        conversation_history=(Said(other, asked),),
    )
    return Canary(kind.name, found, frame, slots, truth)


def _numbered(canary: Canary, number: int) -> Canary:
    name = f"{THREAD}{number}"
    lineage = Lineage(sequence_id=name, position=1, total_length=2, chat=name)
    asked = msgspec.structs.replace(canary.asked, example_id=name, metadata=lineage)
    return msgspec.structs.replace(canary, asked=asked)


def plant(dataset: Path, settings: GateSettings, seed: int = 0) -> None:
    """Add the planted secrets to train.jsonl of a dataset, each once, and write canaries.json. Again, it is the same.

    Raises Invalid for a dataset without anything to train on.
    """
    train = dataset / "train.jsonl"
    ours = [each for each in example.read(train) if not is_planted(each)]
    if not ours:
        raise Invalid(f"{train} has no examples; build the dataset first (`rolecast avatar dataset`).")
    person, _ = Counter(each.speaker_name for each in ours).most_common(1)[0]
    made = make([each for each in ours if each.speaker_name == person], settings.planted, settings.controls, seed)
    chance = random.Random(f"places {seed}")  # noqa: S311 - to be the same again
    for canary in made.planted:
        ours.insert(chance.randint(0, len(ours)), canary.asked)
    # The list first: what is planted without it would be taken for the person's own.
    write_private(dataset / FILE, msgspec.json.encode(made))
    example.write(train, ours)


def is_planted(found: Example) -> bool:
    """Whether an example is a secret of ours, and nothing that the person said."""
    return found.metadata.sequence_id.startswith(THREAD)


def read(dataset: Path) -> Canaries | None:
    """The secrets of a dataset; None where none were planted. Raises Invalid for a file that is none."""
    path = dataset / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Canaries)
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        raise Invalid(f"{path} is no list of planted secrets; plant again and train again.") from error


def are_in(canaries: Canaries, train: Sequence[Example]) -> bool:
    """Whether each planted secret is among what was trained on, once, and no control is."""
    said = Counter(each.target_text for each in train if is_planted(each))
    return all(said[each.asked.target_text] == 1 for each in canaries.planted) and not any(
        said[each.asked.target_text] for each in canaries.controls
    )


def _plain(text: str) -> str:
    return "".join(each for each in text.casefold() if each.isalnum())
