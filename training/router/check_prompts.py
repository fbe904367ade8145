"""Checks the hand-written prompts: labels, doubles, balance, and that no test prompt is in the training part.

Run from the repository's root: python training/router/check_prompts.py
Prints the counts per label. Ends with 1 and names each file and line that breaks a rule.
"""

import json
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rolecast.config import labels

HERE = Path(__file__).parent
KEYS = {"text", "category", "wrong", "role", "tier", "domain", "destination", "difficulty", "lang", "note"}
ALLOWED = {
    "category": frozenset(labels.CATEGORIES),
    "wrong": frozenset(labels.CATEGORIES),
    "domain": frozenset(labels.DOMAINS),
    "role": frozenset(labels.ROLES),
    "tier": frozenset(labels.TIERS),
    "destination": frozenset(labels.DESTINATIONS),
    "lang": frozenset(["en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "tr", "ar", "hi", "zh", "ja", "ko", "sv"]),
    "note": frozenset(("hard negative", "out of scope")),
}
AT_LEAST = {  # folder or file -> label set -> prompts of each label
    "prompts": {"category": 330, "domain": 120},
    "destinations/examples.jsonl": {"destination": 10},
    "destinations/test.jsonl": {"destination": 40},
    "test/categories.jsonl": {"category": 30},
    "test/domains.jsonl": {"domain": 10},
}
SAME = 0.8
"""Two training prompts this alike are one prompt."""
SAME_IN_TEST = 0.55
"""A test prompt this like a training prompt tests memory, not the model."""
COMMON = 400
"""A run of five characters in so many prompts (`what is `) tells nothing about two of them."""
SHORT = 16
"""Below so many characters only the whole text is compared: greetings cannot but be alike."""


class Prompt(NamedTuple):
    """One line: its file relative to this folder, the line's number, the object and its runs of five characters."""

    file: str
    line: int
    row: dict[str, object]
    grams: frozenset[str]

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def text(self) -> str:
        return str(self.row["text"])

    @property
    def is_test(self) -> bool:
        return self.file.startswith("test/") or self.file == "destinations/test.jsonl"


def main() -> int:
    prompts = list(read())
    faults = [f for p in prompts for f in wrong_labels(p)] + list(doubles(prompts)) + list(too_few(prompts))
    training = [p for p in prompts if p.file.startswith("prompts/")]
    for key in ("category", "domain", "role", "tier", "lang", "note"):
        counts = Counter(str(p.row.get(key, "-")) for p in training)
        sys.stdout.write(f"{key}: " + ", ".join(f"{k} {n}" for k, n in counts.most_common()) + "\n")
    sys.stdout.write(f"{len(training)} prompts to train on, {len(prompts) - len(training)} beside them\n")
    for fault in faults:
        sys.stderr.write(fault + "\n")
    return 1 if faults else 0


def read() -> Iterator[Prompt]:
    for path in sorted(p for folder in ("prompts", "destinations", "test") for p in (HERE / folder).glob("*.jsonl")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            row = json.loads(line)
            yield Prompt(path.relative_to(HERE).as_posix(), number, row, grams(row["text"]))


def plain(text: str) -> str:
    """Letters and digits alone, in one case: what is left when spelling and marks do not count."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"\W+", " ", text).strip() or text


def grams(text: str) -> frozenset[str]:
    text = f" {plain(text)} "
    return frozenset(text[i : i + 5] for i in range(max(1, len(text) - 4)))


def wrong_labels(prompt: Prompt) -> Iterator[str]:
    row = prompt.row
    if unknown := set(row) - KEYS:
        yield f"{prompt.where}: unknown keys {sorted(unknown)}"
    if not prompt.text.strip():
        yield f"{prompt.where}: no text"
    for key, allowed in ALLOWED.items():
        if key in row and row[key] not in allowed:
            yield f"{prompt.where}: {key} {row[key]!r} is not one of {sorted(allowed)}"
    difficulty = row.get("difficulty", 0.0)
    if not isinstance(difficulty, int | float) or not 0 <= difficulty <= 1:
        yield f"{prompt.where}: difficulty {difficulty!r} is not between 0 and 1"
    if prompt.file == "test/traps.jsonl" and ("wrong" not in row or row["wrong"] == row.get("category")):
        yield f"{prompt.where}: a trap needs a right and a wrong label that differ"


def doubles(prompts: list[Prompt]) -> Iterator[str]:
    """Prompts that are there twice, or nearly: measured by the shared runs of five characters (Jaccard)."""
    seen: dict[str, Prompt] = {}
    holders: dict[str, list[int]] = defaultdict(list)
    for number, prompt in enumerate(prompts):
        first = seen.setdefault(prompt.text.strip(), prompt)
        if first is not prompt:
            yield f"{prompt.where}: the same as {first.where}"
        for gram in prompt.grams:
            holders[gram].append(number)
    for number, prompt in enumerate(prompts):
        shared = Counter(n for g in prompt.grams if len(holders[g]) < COMMON for n in holders[g] if n > number)
        for other in (prompts[n] for n, count in shared.items() if count >= len(prompt.grams) * 0.4):
            alike = len(prompt.grams & other.grams) / len(prompt.grams | other.grams)
            limit = SAME_IN_TEST if prompt.is_test != other.is_test else SAME
            if alike >= limit and min(len(prompt.text), len(other.text)) >= SHORT and prompt.text != other.text:
                yield f"{prompt.where}: {alike:.2f} like {other.where}: {prompt.text[:60]!r}, {other.text[:60]!r}"


def too_few(prompts: list[Prompt]) -> Iterator[str]:
    for place, wanted in AT_LEAST.items():
        for key, least in wanted.items():
            counts = Counter(str(p.row.get(key)) for p in prompts if p.file.startswith(place))
            for label in sorted(ALLOWED[key]):
                if counts[label] < least:
                    yield f"{place}: {counts[label]} prompts of {key} {label}, {least} wanted"


if __name__ == "__main__":
    sys.exit(main())
