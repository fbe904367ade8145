"""Prose of any length, made by a rule: chapters with headings, people, places, dates and speech; the same every time.

Nobody wrote it, so it may be used for anything.
"""

import random
from collections.abc import Iterator

PAGE = 500
"""Words of a page."""
PEOPLE = (
    "Ada Brandt", "Tomas Ferrer", "Miriam Okafor", "Jonas Lindqvist", "Clara Voss", "Henry Adeyemi", "Rosa Kaminski",
    "Elias Moreau",
)  # fmt: skip
PLACES = (
    "Hollow Bay", "the mill at Arden", "Fern Street", "the northern quarry", "Saltmarsh", "the old station", "Graven",
    "the upper lock",
)  # fmt: skip
THINGS = (
    "ledger", "lantern", "map", "bridge", "clock", "letter", "boat", "barrel", "survey", "ferry", "well", "archive",
)  # fmt: skip
DEEDS = (
    "repaired", "measured", "described", "sold", "hid", "painted", "carried", "lost", "copied", "guarded", "counted",
    "weighed",
)  # fmt: skip
REASONS = (
    "because the winter had been long", "although nobody had asked for it", "while the council was still in session",
    "before the tide turned", "as the contract of the guild required", "in spite of the rising price of grain",
    "so that the children would remember it", "when the last of the lamps had gone out",
)  # fmt: skip
VIEWS = (
    "It was not the first time that the town had changed its mind",
    "The accounts of that year do not agree on what followed",
    "Most of the neighbours thought it a foolish thing to do",
    "There is a drawing of it in the archive, with notes in the margin",
    "What it cost was never written down in full",
    "Some said that it had always been so, and that it would remain so",
)
SAYINGS = (
    "We shall count every barrel before the tide comes in",
    "Nobody builds a bridge for the sake of one cart",
    "The ledger does not lie, but its keeper might",
    "If the well runs dry we must ask the people of Graven",
)
MONTHS = ["January", "March", "April", "June", "July", "September", "October", "December"]


def book(words: int, seed: int = 1, *, headings: bool = True) -> str:
    """At least so many words, in chapters of some three pages."""
    dice = random.Random(seed)
    found: list[str] = []
    total, chapter, until = 0, 0, 0
    for paragraph in _paragraphs(dice):
        if total >= until:
            chapter += 1
            until += 3 * PAGE
            if headings:
                found.append(f"Chapter {chapter}: {dice.choice(PLACES).title()}")
        found.append(paragraph)
        total += len(paragraph.split())
        if total >= words:
            return "\n\n".join(found) + "\n"
    raise AssertionError


def _paragraphs(dice: random.Random) -> Iterator[str]:
    while True:
        yield " ".join(_sentence(dice) for _ in range(dice.randrange(4, 9)))


def _sentence(dice: random.Random) -> str:
    who, other = dice.sample(PEOPLE, 2)
    where, thing, deed = dice.choice(PLACES), dice.choice(THINGS), dice.choice(DEEDS)
    kind = dice.randrange(6)
    if kind == 0:
        return f'"{dice.choice(SAYINGS)}," said {who} to {other} at {where}.'
    if kind == 1:
        when = f"{dice.randrange(1, 29)} {dice.choice(MONTHS)} {dice.randrange(1820, 1890)}"
        return f"On {when} {who} {deed} the {thing} near {where}, {dice.choice(REASONS)}."
    if kind == 2:
        return f"{dice.choice(VIEWS)}, and {other} wrote to {who} about the {thing}."
    if kind == 3:
        number = dice.randrange(3, 900)
        return f"Of the {number} who lived around {where}, {who} alone knew who had {deed} the {thing}."
    if kind == 4:
        return f"{who} {deed} the {thing}; {other} did not."
    return f"At {where} the {thing} was {deed} once more, {dice.choice(REASONS)}, and {who} left with {other}."
