#!/usr/bin/env python3
"""Writes the bundled corpus: five people of one house who never lived, each with a way of writing of their own.

    corpus.py            writes src/rolecast/data/avatars/*.txt, as WhatsApp exports chats, the same each time

What they talk about is `topics.yaml`, written for this. Every name, number and address in it is invented.
"""

import random
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

HERE = Path(__file__).resolve().parent
OUT = HERE.parents[1] / "src" / "rolecast" / "data" / "avatars" / "house"
Style = Callable[[random.Random, str, bool], list[str]]
"""A plain text, and whether it is a question, as one message or several of somebody."""

PEOPLE = {
    "Mira Sandoval": "mira",
    "Jonas Whitlock": "jonas",
    "Vera Lindqvist": "vera",
    "Kai Okafor": "kai",
    "Olaf Brandt": "olaf",
}
CHATS: dict[str, tuple[list[str], int]] = {
    "harbour_house": (list(PEOPLE), 170),
    "mira_jonas": (["Mira Sandoval", "Jonas Whitlock"], 90),
    "mira_kai": (["Mira Sandoval", "Kai Okafor"], 90),
    "mira_vera": (["Mira Sandoval", "Vera Lindqvist"], 80),
    "mira_olaf": (["Mira Sandoval", "Olaf Brandt"], 60),
    "jonas_vera": (["Jonas Whitlock", "Vera Lindqvist"], 40),
    "kai_olaf": (["Kai Okafor", "Olaf Brandt"], 40),
}
"""Who talks where, and how many conversations they have."""
PRIVATE = [
    ("what is your new number?", "it is {phone}, call after six"),
    ("where do i send the parcel?", "to {street}, second bell"),
    ("which mail address do you use now?", "write to {mail}, the old one is dead"),
    ("what is the code of the cellar door?", "it is {code}, but do not tell anybody"),
]
"""What people also write, so that there is something to take out."""


def drawn(rng: random.Random, text: str) -> str:
    """The text with one of each `{a|b}`."""
    return re.sub(r"\{([^{}]*\|[^{}]*)\}", lambda m: rng.choice(m[1].split("|")), text)


# -- how each of them writes -----------------------------------------------------------------------------------


def mira(rng: random.Random, text: str, asks: bool) -> list[str]:
    """All small, breathless, with flowers: `omggg i made a plum cake this morning hehe 🌻`."""
    text = text.rstrip("?").replace(", ", rng.choice([" and ", ", ", " aaand "]))
    for plain, hers in (("you", "u"), ("because", "bc"), ("very", "veryyy"), ("so ", "sooo "), ("of course", "ofc")):
        text = re.sub(rf"\b{plain}\b" if not plain.endswith(" ") else plain, hers, text)
    start = rng.choice(["omg ", "omggg ", "aaah ", "ooh ", "hehe ", "", "", "yesss "]) if not asks else ""
    end = (
        rng.choice(["??", "??? 🙈", "? 🌻"])
        if asks
        else rng.choice(["!!", " hehe", " 🌻", "!! 🌻", " 💛", "!! hihi", " 🌼🌼"])
    )
    return [f"{start}{text}{end}"]


def jonas(rng: random.Random, text: str, asks: bool) -> list[str]:
    """Whole sentences, semicolons, nothing short: `Indeed; I made a plum cake this morning. — J.`"""
    text = re.sub(r"\bi\b", "I", text)
    start = rng.choice(
        ["Indeed; ", "As far as I can tell, ", "To be precise, ", "I should add that ", "Admittedly, ", ""]
    )
    if asks:
        start = rng.choice(["May I ask: ", "Forgive the question; ", "", "Out of interest, "])
    text = f"{start}{text}" if start else text[0].upper() + text[1:]
    text = text if asks else text.rstrip(".") + "."
    return [text + rng.choice([" — J.", "", " Kind regards, J.", ""])]


def vera(rng: random.Random, text: str, asks: bool) -> list[str]:
    """Everybody's aunt, loud in one word: `my dear... i made a plum CAKE this morning... kisses x`."""
    words = text.rstrip("?").split(" ")
    longest = max(range(len(words)), key=lambda i: (len(words[i].strip(",.")), i))
    words[longest] = words[longest].upper()
    text = " ".join(words).replace(", ", "... ")
    start = rng.choice(["my dear... ", "sweetheart... ", "dear... ", "oh my dear... ", "well... "])
    end = (
        rng.choice(["... ? x", "...? love x"])
        if asks
        else rng.choice(["... x", "... kisses x", "... love vera x", "... xx"])
    )
    return [f"{start}{text}{end}"]


def kai(rng: random.Random, text: str, asks: bool) -> list[str]:
    """The least that can be typed, in pieces: `made a cake` `ngl`."""
    text = re.sub(r"[,?.]", "", text)
    for plain, his in (
        ("i am", "im"),
        ("do not", "dont"),
        ("i", ""),
        ("the", ""),
        ("you", "u"),
        ("are", "r"),
        ("before", "b4"),
        ("tonight", "2nite"),
        ("for", "4"),
        ("to", "2"),
        ("with", "w"),
    ):
        text = re.sub(rf"\b{plain}\b", his, text)
    text = re.sub(r" +", " ", text).strip()
    if asks:
        return [text + rng.choice([" bro", " rn", "", " or nah"])]
    tail = rng.choice(["lol", "ngl", "tbh", "idk", "", "", "lmao"])
    return [text, tail] if tail and rng.random() < 0.35 else [f"{text} {tail}".strip()]


def olaf(rng: random.Random, text: str, asks: bool) -> list[str]:
    """Thirty years at sea: `Arr, I be makin' plum cake this mornin', by the tide!`"""
    text = re.sub(r"\bi am\b", "I be", text)
    text = re.sub(r"\bi\b", "I", text)
    text = re.sub(r"ing\b", "in'", text)
    for plain, his in (("my", "me"), ("you", "ye"), ("your", "yer"), ("friend", "matey"), ("yes", "aye"), ("is", "be")):
        text = re.sub(rf"\b{plain}\b", his, text)
    start = rng.choice(["Arr, ", "Aye, ", "Ahoy! ", "Shiver me timbers, ", "By Neptune, "])
    end = (
        ""
        if asks
        else rng.choice([", by the tide!", ", matey!", ", so help me anchor!", "! Yo ho!", ", or I be a herrin'!"])
    )
    return [f"{start}{text}{end}"]


STYLES: dict[str, Style] = {"mira": mira, "jonas": jonas, "vera": vera, "kai": kai, "olaf": olaf}


# -- conversations ---------------------------------------------------------------------------------------------


def conversation(rng: random.Random, topic: dict[str, Any], people: list[str]) -> list[tuple[str, str, bool]]:
    """Who says what, in plain words, and whether it is a question."""
    first, second = rng.sample(people, 2)
    said = [(first, rng.choice(topic["ask"]), True), (second, rng.choice(topic["answer"]), False)]
    third = rng.choice(people) if len(people) > 2 and rng.random() < 0.5 else first
    if third != second and rng.random() < 0.8:
        said += [(third, rng.choice(topic["more"]), True), (second, rng.choice(topic["reply"]), False)]
    if rng.random() < 0.4:
        said.append((second, rng.choice([a for a in topic["answer"] if a != said[1][1]]), False))
    if rng.random() < 0.8:
        said.append((first, rng.choice(topic["end"]), False))
    return [(who, drawn(rng, text), asks) for who, text, asks in said]


def private(rng: random.Random, people: list[str]) -> list[tuple[str, str, bool]]:
    """Somebody tells something that is nobody else's business."""
    first, second = rng.sample(people, 2)
    ask, answer = rng.choice(PRIVATE)
    name = second.split()[0].lower()
    said = answer.format(
        phone=f"+44 7700 900{rng.randrange(1000):03}",
        street=f"{rng.randrange(1, 90)} {rng.choice(['Harbour Lane', 'Mill Street', 'Chapel Road'])}",
        mail=f"{name}.{rng.choice(['post', 'letters', 'home'])}{rng.randrange(10, 99)}@example.org",
        code=f"{rng.randrange(10_000):04}",
    )
    return [(first, ask, True), (second, said, False)]


def chat(rng: random.Random, topics: list[dict[str, Any]], people: list[str], count: int) -> list[str]:
    """The lines of one export."""
    at = datetime(2024, 1, 3, 8, 0)  # noqa: DTZ001  # exports have no zone
    lines = [
        f"{at:%d/%m/%Y, %H:%M} - Messages and calls are end-to-end encrypted. Only people in this chat can read them."
    ]
    for number in range(count):
        at += timedelta(minutes=rng.randrange(100, 2600))
        at = at.replace(hour=rng.randrange(7, 23))
        what = private(rng, people) if number % 23 == 11 else conversation(rng, rng.choice(topics), people)
        for who, text, asks in what:
            for piece in STYLES[PEOPLE[who]](rng, text, asks):
                at += timedelta(minutes=rng.choice([0, 1, 1, 2, 3, 5]))
                lines.append(f"{at:%d/%m/%Y, %H:%M} - {who}: {piece}")
        if rng.random() < 0.04:
            lines.append(f"{at:%d/%m/%Y, %H:%M} - {rng.choice(people)}: <Media omitted>")
    return lines


def main() -> None:
    topics = YAML(typ="safe").load(HERE / "topics.yaml")
    OUT.mkdir(parents=True, exist_ok=True)
    total = 0
    for number, (name, (people, count)) in enumerate(CHATS.items()):
        lines = chat(random.Random(17 + number), topics, people, count)
        (OUT / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        total += len(lines)
    print(f"{total} lines in {len(CHATS)} chats, in {OUT.name}/")


if __name__ == "__main__":
    main()
