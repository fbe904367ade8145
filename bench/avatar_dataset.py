#!/usr/bin/env python3
"""How long a dataset takes and how much memory it needs, on conversations that are made up here.

    avatar_dataset.py                       100,000 replies in 200 chats, all of them kept
    avatar_dataset.py --replies 10000

The bar: 100,000 replies in under 60 s; memory that grows by less than 4 kB a reply.
"""

import argparse
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

from rolecast.avatars import example
from rolecast.avatars.conversation import Person
from rolecast.avatars.dataset.build import build
from rolecast.avatars.dataset.words import FREQUENT
from rolecast.avatars.example import Example, Lineage, Said
from rolecast.avatars.settings import DatasetSettings
from rolecast.jobs.job import Progress
from rolecast.privacy.names import common

FRIENDS = [
    Person(f"p{i}", name)
    for i, name in enumerate(
        "Zoë Ångström,Jonas Weber,Priya Natarajan,Tomasz Wójcik,Will Hopper,Rose Okafor,Luis Ibarra,Hanako Sato".split(
            ","
        )
    )
]
MIRA = Person("mira", "Mira Holt")
SPICE = (
    "call me on 07700 900{0:03d}",
    "my pin is {0:04d}",
    "im at {0} maple street",
    "ask {1}",
    "{1} said so",
    "at 18:30",
    "ok",
    "lol",
    "yes",
    "mail {1}{0}@example.org",
)


def conversations(replies: int, seed: int) -> Iterator[Example]:
    pick = random.Random(seed)
    words = sorted(word for word in common() if word.isalpha() and len(word) < 9)[::2]
    small = sorted(FREQUENT)
    usual = [pick.choice(words) for _ in range(400)]

    def text() -> str:
        if pick.random() < 0.15:
            return pick.choice(SPICE).format(pick.randrange(999), pick.choice(FRIENDS).name.split()[0])
        size = 3 + int(pick.expovariate(0.15))
        kinds = pick.choices((small, usual, words), (4, 3, 3), k=min(size, 40))
        return " ".join(pick.choice(each) for each in kinds)

    done = message = 0
    while done < replies:
        friend, chat, thread = pick.choice(FRIENDS), f"c{done % 200}", f"t{done}"
        history: list[tuple[str, Said]] = []
        for position in range(pick.randint(4, 40)):
            message += 1
            mine = position % 2 == 1
            said = Said(MIRA.name if mine else friend.name, text())
            if mine:
                before = history[-8:]
                yield Example(
                    f"{thread}_{position}",
                    f"[{friend.name}]: {before[-1][1].message}",
                    said.message,
                    MIRA.name,
                    conversation_history=tuple(each for _, each in before),
                    metadata=Lineage(
                        thread,
                        position,
                        40,
                        chat,
                        (*(i for i, _ in before), f"m{message}"),
                        ("mira", friend.id),
                        float(message),
                    ),
                )
                done += 1
                if done == replies:
                    return
            history.append((f"m{message}", said))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replies", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rc") as folder:
        path = Path(folder) / "extracted.jsonl"
        example.write(path, conversations(options.replies, 1))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        steps: dict[str, float] = {}
        began = last = time.perf_counter()

        def tell(progress: Progress) -> None:
            nonlocal last
            now = time.perf_counter()
            steps[progress.step] = steps.get(progress.step, 0) + now - last
            last = now

        worked = time.process_time()
        found = build(path, Path(folder) / "dataset", [*FRIENDS, MIRA], DatasetSettings(most=0), tell)
        seconds, worked = time.perf_counter() - began, time.process_time() - worked
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{found.read} replies in {seconds:.1f} s ({worked:.1f} s of CPU), memory grown by {grown:.0f} MB")
    print(f"  train {found.train}, valid {found.valid}, test {found.test} of {found.conversations} conversations")
    print(f"  left: {found.left}")
    print(f"  replaced: {found.replaced}")
    print("  " + ", ".join(f"{step} {spent:.1f} s" for step, spent in steps.items()))
    return int(seconds * 100_000 / options.replies > 60)


if __name__ == "__main__":
    sys.exit(main())
