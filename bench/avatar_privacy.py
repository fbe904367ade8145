#!/usr/bin/env python3
"""What of private things is found before an avatar is trained, and what harmless is taken for one, by corpora.

    avatar_privacy.py              one row per corpus and kind
    avatar_privacy.py --missed     and each line that was not found or touched wrongly

The corpora lie in tests/unit/private and were written apart from the patterns. A thing is found when no letter and no
digit of it stays. The bars: 97 % of what has a form at 1 % of harmless messages touched; 60 % of hard lines; 92 % of
mentions of people, and no common word.
"""

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

from rolecast.avatars.conversation import Person
from rolecast.avatars.dataset.free import private
from rolecast.avatars.dataset.mentions import Mentions

CORPORA = Path(__file__).parent.parent / "tests" / "unit" / "private"
BARS = {"planted": 0.97, "hard": 0.60, "names": 0.92}
MOST_WRONG = {"innocent": 0.01, "names": 0.0}


class Measured(NamedTuple):
    """Of one corpus: things by kind, those found, harmless lines, those touched, and the lines that went wrong."""

    all_of: Counter[str]
    found: Counter[str]
    harmless: int
    wrong: int
    missed: list[str]
    touched: list[str]
    rate: float


def measure(name: str) -> Measured:
    rows: list[dict[str, Any]] = [
        json.loads(line) for line in (CORPORA / f"{name}.jsonl").read_text("utf-8").splitlines()
    ]
    all_of, found = Counter[str](), Counter[str]()
    missed, touched = [], []
    harmless = 0
    finders: dict[str, Mentions] = {}
    began = time.process_time()
    for row in rows:
        text, people = row["text"], row.get("people") or []
        if people:
            key = json.dumps(people, sort_keys=True)
            if key not in finders:
                finders[key] = Mentions(Person(each["id"], each["name"], tuple(each["names"])) for each in people)
            spans = [(each.start, each.end, "names") for each in finders[key].find(text)]
        else:
            spans = [(each.start, each.end, each.kind) for each in private(text)]
        covered = {at for start, end, _ in spans for at in range(start, end)}
        said = ", ".join(f"{text[start:end]!r} {kind}" for start, end, kind in spans)
        meant: set[int] = set()
        for start, end, kind in row["spans"]:
            meant |= set(range(start, end))
            all_of[kind] += 1
            if all(at in covered for at in range(start, end) if text[at].isalnum()):
                found[kind] += 1
            else:
                missed.append(f"{kind}: {text!r} has {text[start:end]!r}, found {said or 'nothing'}")
        if not row["spans"]:
            harmless += 1
        if any(meant.isdisjoint(range(start, end)) for start, end, _ in spans) and (not row["spans"] or people):
            touched.append(f"{text!r}: {said}")
    return Measured(all_of, found, harmless, len(touched), missed, touched, len(rows) / (time.process_time() - began))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--missed", action="store_true")
    options = parser.parse_args()
    good = True
    for name in ("planted", "hard", "names", "innocent"):
        seen = measure(name)
        total, hits = seen.all_of.total(), seen.found.total()
        recall = hits / total if total else 1.0
        good &= recall >= BARS.get(name, 0) and seen.wrong <= MOST_WRONG.get(name, 1) * max(1, seen.harmless)
        print(
            f"{name}: {hits} of {total} found ({recall:.1%}), {seen.wrong} of {seen.harmless} harmless touched,",
            f"{seen.rate:.0f}/s",
        )
        for kind, count in sorted(seen.all_of.items()):
            print(f"    {kind:14} {seen.found[kind]:4} of {count}")
        if options.missed:
            for line in (*(f"  missed {each}" for each in seen.missed), *(f"  wrong  {each}" for each in seen.touched)):
                print(line)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
