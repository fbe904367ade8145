#!/usr/bin/env python3
"""Writes the corpora by which the scrub of avatars is measured, into tests/unit/private/. The same each time.

planted.jsonl: 500 things of a known form (mail, phones, cards, accounts, keys, addresses of machines and of people) in
messages of a chat. innocent.jsonl: 1,000 messages without any. names.jsonl: mentions of participants, with slips of
the keyboard and accents, and traps. hard.jsonl: hard.txt as it was written by hand, before there was any pattern.
All of it is invented: numbers are of ranges kept for that, or have no owner.
"""

import json
import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OUT = HERE.parents[1] / "tests" / "unit" / "private"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
ALNUM = LETTERS + LETTERS.upper() + "0123456789"


def some(rng: random.Random, alphabet: str, count: int) -> str:
    return "".join(rng.choice(alphabet) for _ in range(count))


def luhn(digits: str) -> str:
    """The digits with their check digit (ISO/IEC 7812-1)."""
    total = 0
    for at, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if at % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return digits + str(-total % 10)


def iban(country: str, account: str) -> str:
    """The account with its check digits (ISO 13616)."""
    number = "".join(str(int(each, 36)) for each in f"{account}{country}00")
    return f"{country}{98 - int(number) % 97:02}{account}"


def grouped(text: str, size: int, by: str) -> str:
    return by.join(text[i : i + size] for i in range(0, len(text), size))


# -- what is planted -------------------------------------------------------------------------------------------

FIRST = ["anna", "bo", "carlos", "dina", "emre", "fatima", "georg", "hana", "ivo", "june", "kofi", "lena", "marek"]
LAST = ["novak", "silva", "hughes", "berg", "okeke", "tanaka", "rossi", "larsen", "moreau", "keller", "doyle", "ahmed"]
HOSTS = [
    "example.com",
    "mail.example.org",
    "posten.example.net",
    "uni-nord.example.edu",
    "firma.example.de",
    "ex.co.uk",
]


def email(rng: random.Random) -> str:
    a, b = rng.choice(FIRST), rng.choice(LAST)
    local = rng.choice([f"{a}.{b}", f"{a}_{b}{rng.randrange(99)}", f"{a[0]}{b}", f"{a}+list", f"{b}-{a}", a.upper()])
    return f"{local}@{rng.choice(HOSTS)}"


def phone(rng: random.Random) -> str:
    n = f"{rng.randrange(1000):03}"
    return rng.choice(
        [
            f"+44 7700 900{n}",
            f"07700 900{n}",
            f"07700900{n}",
            f"020 7946 0{n}",
            f"(0)20 7946 0{n}"[3:],
            f"(212) 555-0{n[:1]}{n[1:]}"[:14],
            f"+1 415 555 01{n[:2]}",
            f"415-555-01{n[:2]}",
            f"+1 (650) 555-01{n[:2]}",
            f"0151 2345{n}7",
            f"+49 151 2345{n}8",
            f"030 {rng.randrange(20, 99)}123{n}",
            f"06 12 34 {n[:2]} {rng.randrange(10, 99)}",
            f"+33 6 12 34 {n[:2]} {rng.randrange(10, 99)}",
            f"0049-171-234{n}6",
        ]
    )


def card(rng: random.Random) -> str:
    start, size = rng.choice([("4", 16), ("51", 16), ("55", 16), ("37", 15), ("6011", 16), ("2221", 16)])
    number = luhn(start + some(rng, "0123456789", size - len(start) - 1))
    if size == 15:
        return rng.choice(
            [number, f"{number[:4]} {number[4:10]} {number[10:]}", f"{number[:4]}-{number[4:10]}-{number[10:]}"]
        )
    return rng.choice([number, grouped(number, 4, " "), grouped(number, 4, "-"), grouped(number, 4, ".")])


def account(rng: random.Random) -> str:
    country, size, letters = rng.choice(
        [("DE", 18, 0), ("FR", 23, 0), ("GB", 14, 4), ("NL", 10, 4), ("ES", 20, 0), ("CH", 17, 0)]
    )
    made = iban(country, some(rng, LETTERS.upper(), letters) + some(rng, "0123456789", size))
    return rng.choice([made, grouped(made, 4, " "), made.lower()])


def key(rng: random.Random) -> str:
    return rng.choice(
        [
            lambda: "sk-" + some(rng, ALNUM, 48),
            lambda: "sk-proj-" + some(rng, ALNUM, 40),
            lambda: "ghp_" + some(rng, ALNUM, 36),
            lambda: "AKIA" + some(rng, LETTERS.upper() + "234567", 16),
            lambda: "xoxb-" + some(rng, "0123456789", 12) + "-" + some(rng, ALNUM, 24),
            lambda: "AIza" + some(rng, ALNUM, 35),
            lambda: "glpat-" + some(rng, ALNUM, 20),
            lambda: "hf_" + some(rng, ALNUM, 34),
            lambda: "npm_" + some(rng, ALNUM, 36),
            lambda: "eyJ" + some(rng, ALNUM, 17) + "." + some(rng, ALNUM, 40) + "." + some(rng, ALNUM, 43),
            lambda: "pypi-" + some(rng, ALNUM, 60),
        ]
    )()


def machine(rng: random.Random) -> str:
    return rng.choice(
        [
            f"{rng.randrange(1, 223)}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
            "2001:db8:" + ":".join(some(rng, "0123456789abcdef", 4) for _ in range(6)),
            f"fe80::{some(rng, '123456789abcdef', 4)}:{some(rng, '123456789abcdef', 4)}",
        ]
    )


STREETS = ["Harbour", "Mill", "Chapel", "Queens", "Orchard", "Station", "Park", "Victoria", "Bridge", "Meadow"]
STRASSEN = ["Garten", "Bahnhof", "Linden", "Schul", "Berg", "Kirch", "Wald", "Mühlen"]


RUES = ["des Lilas", "Victor Hugo", "de la Paix", "du Port"]


def home(rng: random.Random) -> str:
    n, street = rng.randrange(1, 180), rng.choice(STREETS)
    return rng.choice(
        [
            f"{n} {street} {rng.choice(['Street', 'Road', 'Lane', 'Avenue', 'St', 'Rd', 'Drive'])}",
            f"{n}{rng.choice('ab')} {street} {rng.choice(['Street', 'Close', 'Way'])}, Leeds LS{n % 20 + 1} 4QT",
            f"{rng.choice(STRASSEN)}straße {n}, {rng.randrange(10000, 99999)} Neustadt",
            f"{rng.choice(STRASSEN)}weg {n}",
            f"{n} rue {rng.choice(RUES)}, {rng.randrange(10000, 95999)} Lyon",
            f"{rng.randrange(100, 9999)} {street} Blvd Apt {n}, Springfield, IL {rng.randrange(60000, 62999)}",
        ]
    )


PLANTED: dict[str, tuple[int, Callable[[random.Random], str]]] = {
    "email": (105, email),
    "phone": (120, phone),
    "card": (80, card),
    "iban": (50, account),
    "key": (75, key),
    "ip": (20, machine),
    "address": (50, home),
}
AROUND = {
    "email": [
        "write to {} please",
        "{}",
        "my mail is {}, the old one is dead",
        "cc {} and me",
        "did {} answer?",
        "send it ({}) tonight",
    ],
    "phone": [
        "call me on {}",
        "{} is my new number",
        "ring {} after six",
        "his mobile: {}",
        "text {} when you are there",
        "{}, ask for the boss",
    ],
    "card": ["use my card {} for the tickets", "card number {}", "{} valid till next year", "they charged {} twice"],
    "iban": ["send the rent to {}", "iban {}", "my account is {} thanks", "{} (same bank as before)"],
    "key": [
        "the key is {}",
        "use {} for the demo",
        "token {} expires tomorrow",
        "i pasted {} into the chat, oops",
        "export KEY={}",
    ],
    "ip": ["the printer is on {}", "ping {} for me", "server {} is down again"],
    "address": [
        "we moved to {}",
        "send it to {}",
        "i live at {}",
        "the party is at {} from eight",
        "pick me up at {} please",
    ],
}


def planted() -> Iterator[dict[str, Any]]:
    rng = random.Random(500)
    for kind, (count, make) in PLANTED.items():
        for _ in range(count):
            before, after = rng.choice(AROUND[kind]).split("{}")
            said = make(rng)
            yield {"text": before + said + after, "spans": [[len(before), len(before) + len(said), kind]], "people": []}


def innocent() -> Iterator[dict[str, Any]]:
    rng = random.Random(1000)
    lines = [line for line in (OUT / "innocent.txt").read_text().splitlines() if not line.startswith("#")]
    chats = HERE.parents[1] / "src" / "rolecast" / "data" / "avatars" / "house"
    for path in sorted(chats.glob("*.txt")):
        for line in path.read_text().splitlines():
            text = line.partition(": ")[2]
            if text and not re.search(r"\d{3}|@|Lane|Street|Road|code", text):
                lines.append(text)
    rest = rng.sample(lines[100:], 1000 - 83)
    for text in [*lines[:83], *rest]:
        yield {"text": text, "spans": [], "people": []}


def hard() -> Iterator[dict[str, Any]]:
    for line in (OUT / "hard.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        text, spans = "", []
        for piece in re.split(r"(⟦[^⟧]*⟧)", line):
            if piece.startswith("⟦"):
                kind, said = piece[1:-1].split(":", 1)
                spans.append([len(text), len(text) + len(said), kind])
                text += said
            else:
                text += piece
        yield {"text": text, "spans": spans, "people": []}


# -- names -----------------------------------------------------------------------------------------------------

PEOPLE = [
    {"id": "p1", "name": "Zoë Ångström", "names": ["Zo"]},
    {"id": "p2", "name": "Mira Sandoval", "names": ["Miri", "mimi"]},
    {"id": "p3", "name": "Jonas Whitlock", "names": ["Joni"]},
    {"id": "p4", "name": "Agnieszka Wójcik", "names": ["Aga"]},
    {"id": "p5", "name": "Will Harper", "names": ["Billy"]},
    {"id": "p6", "name": "Rose Delacroix", "names": ["Rosie"]},
    {"id": "p7", "name": "François Lefèvre", "names": ["Franky"]},
    {"id": "p8", "name": "Krzysztof Nowak", "names": ["Krzysiek"]},
    {"id": "p9", "name": "田中さくら", "names": ["さくら"]},
    {"id": "p10", "name": "Søren Kjærgaard", "names": ["Sørensen"]},
    {"id": "p11", "name": "Ngozi Okafor", "names": ["Gozi"]},
    {"id": "p12", "name": "Mark O'Brien", "names": ["Obie"]},
]
SAID = [
    "did {} call you?",
    "i saw {} at the market",
    "{} is late again",
    "tell {} that dinner is ready",
    "{}'s bike is broken",
    "happy birthday {}!!",
    "me and {} went home",
    "hey {}, are you up?",
    "ask {} or her brother",
    "that was {}, not me",
    "({} says hi)",
    "thanks {} <3",
]
UNACCENTED = str.maketrans("ëÅöóçèøæłś", "eAooceoals")
TRAPS = [
    "will you come?",
    "she will",
    "the rose in the vase",
    "prices rose again",
    "mark it as done",
    "on your marks",
    "leave a mark",
    "bill me later",
    "a new harper of songs",
    "the novak of all trades is nobody",
    "zo zo zo, said the goose",
    "rosy cheeks",
    "willing and able",
    "agave syrup",
    "miracle",
    "mirage in the desert",
    "join us",
    "the frank answer",
    "so much sand",
    "a whit of sense",
    "roses are red",
    "i will, you will, we will",
    "market day",
    "markup and bold text",
    "will power",
    "at will",
    "a goodwill shop",
    "rose early this morning",
    "marker pens",
    "the will of my aunt",
    "zone two",
    "free willy",
]


def slip(rng: random.Random, name: str) -> str:
    """The name with one letter lost, doubled, wrong or swapped, not the first."""
    at = rng.randrange(1, len(name) - 1)
    return rng.choice(
        [
            name[:at] + name[at + 1 :],
            name[:at] + name[at] + name[at:],
            name[:at] + rng.choice(LETTERS) + name[at + 1 :],
            name[:at] + name[at + 1] + name[at] + name[at + 2 :],
        ]
    )


def names() -> Iterator[dict[str, Any]]:
    rng = random.Random(430)
    for number in range(430):
        person = PEOPLE[number % len(PEOPLE)]
        first = person["name"].split()[0]
        forms = [first, first, person["name"], *person["names"]]
        said = rng.choice(forms)
        if said[0].isascii() or "Å" in said or "ö" in said:
            if rng.random() < 0.2:
                said = said.translate(UNACCENTED)
            elif rng.random() < 0.2 and len(said) >= 6 and said.isascii():
                said = slip(rng, said)
            elif rng.random() < 0.25 and said not in ("Will", "Rose", "Mark"):
                said = said.lower()
            elif rng.random() < 0.1 and said not in ("Will", "Rose", "Mark"):
                said = said.upper()
        before, after = rng.choice(SAID).split("{}")
        yield {
            "text": before + said + after,
            "spans": [[len(before), len(before) + len(said), "name"]],
            "people": PEOPLE,
        }
    for text in TRAPS:
        yield {"text": text, "spans": [], "people": PEOPLE}


def main() -> None:
    for name, lines in (("planted", planted()), ("innocent", innocent()), ("hard", hard()), ("names", names())):
        rows = list(lines)
        with (OUT / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        print(f"{name}: {len(rows)} lines, {sum(len(row['spans']) for row in rows)} planted", file=sys.stderr)


if __name__ == "__main__":
    main()
