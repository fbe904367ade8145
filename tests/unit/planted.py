"""Sentences with private things planted in them, and sentences that only look so. Seeded: always the same ones."""

import random
import string
from collections.abc import Iterator
from typing import NamedTuple

NAMES = ("Zoë Ångström", "Anna Müller", "Katarzyna Nowak", "Priya Raghunathan", "Declan O'Connor", "Bartholomew")
FRAMES = (
    "Please send it to {} before noon.",
    "{} is what I noted.",
    "He wrote: {}",
    "Reach me ({}) tomorrow, or not at all.",
    "| contact | {} |",
    '{{"value": "{}"}}',
    "Meine Daten: {}, danke!",
    "log line user={} status=200",
)
HARMLESS = (
    "The meeting is on 2024-01-15 at 10:30, room 4.",
    "Version 10.0.19045.3803 was released, build 20240115.",
    "ISBN 978-3-16-148410-0 costs 24.99 EUR.",
    "git commit 9fceb02d0ae598e95dc970b74767f19372d61af8 fixed it",
    "uuid 123e4567-e89b-12d3-a456-426614174000",
    "The password is required and the token is optional.",
    "api_key = os.environ['API_KEY']  # read it from the environment",
    "max_tokens: 4096, temperature: 0.7",
    "def token(self): return self.token",
    "Pi is 3.14159265358979323846 and e is 2.718281828459045",
    "Order 4111111111111112 was shipped.",
    "1732637743123 is a time in milliseconds",
    "Population: 8,336,817 in 2022; 8 804 190 in 2020.",
    "@decorator and user@host are no addresses",
    "Will you mark the page in May? A rose is a rose.",
    "It was a grand hotel; the waiter brought water and a poster.",
    "He scored 12-10, 11-9, 3-11, 11-7 in the final.",
    "https://example.org/a/b?page=2#part",
    "npm install left-pad@1.3.0",
    "x = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233]",
    "The resistor has 4700 ohm, the capacitor 100 nF.",
    "DE is a country, DE12 a road.",
    "picodollars are 0.000000000001 USD",
    "tokens = used.reasoning_tokens2; token: tuple[Token, ...] = re.compile(r'x')",
    "postgresql://USER:PASSWORD@HOST/db",
    "secret: the best sauce has butter in it",
)


class Planted(NamedTuple):
    """A text, and what is private in it; '' = nothing."""

    text: str
    kind: str
    value: str


def _mail(rng: random.Random) -> str:
    user = "".join(rng.choices(string.ascii_lowercase, k=5)) + rng.choice(("", ".x", "+tag", "_1", "99"))
    return f"{user}@{rng.choice(('example.com', 'mail.example.co.uk', 'uni-köln.de', 'x.io', 'sub.example.museum'))}"


def _phone(rng: random.Random) -> str:
    def digits(count: int) -> str:
        return "".join(rng.choices("23456789", k=count))

    return rng.choice(
        (
            f"+49 {digits(3)} {digits(7)}",
            f"+1-{digits(3)}-{digits(3)}-{digits(4)}",
            f"+44 20 {digits(4)} {digits(4)}",
            f"({digits(3)}) {digits(3)}-{digits(4)}",
            f"0{digits(3)} {digits(7)}",
            f"0{digits(2)}/{digits(7)}",
            f"0049 {digits(3)} {digits(6)}",
            f"+{digits(11)}",
        )
    )


def _card(rng: random.Random) -> str:
    head, size = rng.choice((("4", 16), ("52", 16), ("37", 15), ("6011", 16)))
    digits = head + "".join(rng.choices(string.digits, k=size - len(head) - 1))
    total = sum(
        int(d) * (1 + i % 2 == 0 or 1) if i % 2 else (int(d) * 2 - 9 * (int(d) > 4))
        for i, d in enumerate(reversed(digits))
    )
    digits += str(-total % 10)
    gap = rng.choice(("", " ", "-"))
    return gap.join(digits[i : i + 4] for i in range(0, len(digits), 4))


def _iban(rng: random.Random) -> str:
    country, size = rng.choice((("DE", 22), ("FR", 27), ("GB", 22), ("NL", 18)))
    inner = "".join(rng.choices(string.digits, k=size - 4))
    if country in ("GB", "NL"):
        inner = "ABNA" + inner[4:]
    number = int("".join(str(int(c, 36)) for c in f"{inner}{country}00"))
    whole = f"{country}{98 - number % 97:02d}{inner}"
    return whole if rng.random() < 0.5 else " ".join(whole[i : i + 4] for i in range(0, size, 4))


def _key(rng: random.Random) -> str:
    def some(count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
        return "".join(rng.choices(alphabet, k=count)) + "7"

    return rng.choice(
        (
            f"sk-proj-{some(40)}",
            f"sk-ant-api03-{some(60)}",
            f"ghp_{some(36)}",
            f"AKIA{some(15, string.ascii_uppercase)}",
            f"AIza{some(35)}",
            f"xoxb-{some(11, string.digits)}-{some(24)}",
            f"eyJ{some(20)}.{some(40)}.{some(43)}",
            f"hf_{some(34)}",
        )
    )


MAKERS = {"emails": _mail, "phones": _phone, "cards": _card, "ibans": _iban, "keys": _key}


def structured(seed: int, count: int) -> Iterator[Planted]:
    """Items with one of the kinds that have a form."""
    rng = random.Random(seed)
    for number in range(count):
        kind = (*MAKERS,)[number % len(MAKERS)]
        value = MAKERS[kind](rng)
        yield Planted(rng.choice(FRAMES).format(value), kind, value)


def named(seed: int, count: int) -> Iterator[Planted]:
    """Items with a name of the list, as people write it: without accents, possessive, with a slip."""
    rng = random.Random(seed)
    for _ in range(count):
        name = rng.choice(NAMES)
        how = rng.randrange(6)
        plain = name.replace("ë", "e").replace("Å", "A").replace("ö", "o").replace("ü", rng.choice(("u", "ue")))
        value = (name, plain, name.upper(), name.lower(), name.split()[-1], _slipped(name, rng))[how]
        ending = rng.choice(("", "", "'s")) if how < 2 else ""
        yield Planted(rng.choice(FRAMES).format(value + ending), "names", value)


def _slipped(name: str, rng: random.Random) -> str:
    place = rng.randrange(2, len(name.split()[0]) - 1) if len(name.split()[0]) > 4 else len(name) - 2
    return name[:place] + name[place + 1] + name[place] + name[place + 2 :]


def harmless(seed: int, count: int) -> Iterator[Planted]:
    """Items with nothing private in them."""
    rng = random.Random(seed)
    for _ in range(count):
        yield Planted(" ".join(rng.sample(HARMLESS, 2)), "", "")
