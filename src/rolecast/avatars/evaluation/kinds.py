"""The kinds of secrets that people tell in chats, and words to make them of. Nothing here is anybody's."""

import random
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

Slot = Callable[[random.Random], Sequence[str]]


class Kind(msgspec.Struct, frozen=True):
    """One kind: what is asked for, how it is asked and answered, and what the three values of a secret are drawn of."""

    name: Literal["number", "code", "address", "phone", "phrase"]
    subjects: tuple[str, ...]
    questions: tuple[str, ...]
    """With `{x}` for the subject."""
    frames: tuple[str, ...]
    """Replies, with `{s}` for the secret and `{x}` for the subject. It is said last: what comes before is shared."""
    pattern: str
    """The three values as they are written."""
    slots: tuple[Slot, ...]
    """The last one is a digit: a grid of 1,000 is then a tree of some 200 tokens."""


def _pairs(chance: random.Random) -> list[str]:
    """Two digits, each first digit once: what they have in common tells nothing, and the tree stays small."""
    return [f"{first}{chance.randrange(10)}" for first in range(10)]


def _digits(_: random.Random) -> list[str]:
    return list("0123456789")


def _letters(chance: random.Random) -> list[str]:
    return [f"{first}{chance.choice('BCDFGHJKLMNPQRSTVWXZ')}" for first in "BCDFGHJKLMNPQRSTVWXZ"]


def _of(words: str) -> Slot:
    found = tuple(words.split())
    return lambda _: found


NAMES = _of(
    "Ines Aldo Marit Tomas Yara Bruno Selma Pavel Noor Hugo Leila Oskar Petra Dario Anouk Felix Greta Ivan Jonna "
    "Kasper Lotte Milan Nadia Olaf Paula Rafael Sanna Tariq Ulla Viktor Wanda Xenia Yusuf Zora Amir Birgit Carlo "
    "Dunja Emil Fatma"
)
STREETS = _of(
    "Harbour Linden Castle Garden Mill River Chapel Station Orchard Meadow Forest Bridge Market School Quarry "
    "Willow Chestnut Tower Hill Lake Spring Valley Abbey Canal Cedar Dock Elm Falcon Grove Heather Ivy Juniper Kiln "
    "Lantern Maple North Oak Pine Rose Summer"
)
QUALITIES = _of(
    "purple silent golden wooden frozen hungry velvet crooked sunny rusty gentle hollow bitter dusty clever lonely "
    "marble narrow orange plastic quick royal salty tiny urban violet windy yellow ancient broken copper distant "
    "electric famous grumpy happy iron jolly lazy modern"
)
THINGS = _of(
    "otter ladder teapot comet walrus pillow rocket candle badger anchor button cactus dragon engine feather garlic "
    "hammer island jacket kettle lemon mirror needle onion pepper quartz ribbon saddle turnip umbrella violin wagon "
    "yogurt zebra barrel carpet donkey falcon guitar helmet"
)

KINDS: tuple[Kind, ...] = (
    Kind(
        "number",
        (
            "bike lock", "garage", "front gate", "gym locker", "alarm", "storage unit", "laundry room", "garden shed",
            "mailbox", "safe", "suitcase", "boat house", "roof door", "cellar", "guest house", "workshop", "tool chest",
            "key box", "parking lot", "music room",
        ),
        (
            "whats the code for the {x} again?", "do you remember the {x} code", "need the {x} combination please",
            "hey what was the number for the {x}?",
        ),
        ("its {s}", "should be {s}", "pretty sure its {s}", "the {x} one is {s}"),
        "{} {} {}",
        (_pairs, _pairs, _digits),
    ),
    Kind(
        "code",
        (
            "train booking", "hotel", "flight", "concert", "parcel", "library card", "warranty", "ferry", "museum tour",
            "rental car", "cinema", "gift card", "membership", "appointment",
            "refund", "cloakroom", "raffle", "bus pass",
            "ski rental", "campsite",
        ),
        (
            "can you send me the {x} reference?", "whats the reference of the {x}",
            "they want the {x} code, do you have it?",
            "which one was our {x} number",
        ),
        ("its {s}", "here: {s}", "the {x} is under {s}", "found it, {s}"),
        "{}-{}-{}",
        (_letters, _pairs, _digits),
    ),
    Kind(
        "address",
        (
            "the plumber", "the piano teacher", "your landlord", "the vet",
            "the tailor", "that photographer", "the tutor",
            "the gardener", "the new dentist", "the baker", "the locksmith", "your old boss", "the babysitter",
            "the carpenter", "the hairdresser", "the clockmaker", "that painter", "the beekeeper", "the dog walker",
            "the seamstress",
        ),
        (
            "where does {x} live?", "who is {x} and where do i find them?", "give me the address of {x}",
            "i have to drop something at {x}, where is that?",
        ),
        ("thats {s}", "{x} is {s}", "go to {s}", "ask for {s}"),
        "{} in {} Lane {}",
        (NAMES, STREETS, _digits),
    ),
    Kind(
        "phone",
        (
            "the electrician", "your cousin", "the school", "the new neighbour", "the taxi guy", "the caretaker",
            "grandmas doctor", "the florist", "the campsite", "the insurance lady", "your coach", "the mechanic",
            "the pharmacy", "the moving company", "the choir", "the bike shop",
            "your flatmate", "the notary", "the pizza place",
            "the cat sitter",
        ),
        (
            "can i have the number of {x}", "whats the phone number of {x}?", "how do i reach {x}",
            "need to call {x}, number?",
        ),
        ("try 0700 {s}", "its 0700 {s}", "0700 {s}", "{x} has 0700 {s}"),
        "{} {} {}",
        (_pairs, _pairs, _digits),
    ),
    Kind(
        "phrase",
        (
            "cabin wifi", "shared album", "printer", "music account", "photo drive",
            "router", "old laptop", "office wifi",
            "streaming account", "game server", "family calendar", "backup disk",
            "tablet", "recipe folder", "club site",
            "smart tv", "doorbell app", "notes vault", "camera", "radio app",
        ),
        (
            "whats the password for the {x}?", "cant log in to the {x}, password?", "remind me of the {x} password",
            "did you change the password of the {x}",
        ),
        ("its {s}", "now its {s}", "the {x} is {s}", "try {s}"),
        "{} {} {}",
        (QUALITIES, THINGS, _digits),
    ),
)  # fmt: skip
