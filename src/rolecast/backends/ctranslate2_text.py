"""Texts as a model for single sentences needs them: lines, the sentences in each, and what stands around. Pure."""

import re
from collections.abc import Iterator

_OPENING = re.compile(r"\s*(?:(?:#{1,6}|[-*+>|]|\d{1,3}[.)])\s+)*")
_STOP = re.compile(r"(?<=[.!?…])[\"'”’)\]]{0,3}\s+(?=[^\sa-z])|(?<=[。！？])\s*(?=\S)")  # noqa: RUF001  # other stops
_SHORT = re.compile(
    r"(?:^|[\s(\[])(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|Sr|Jr|St|No|vs|etc|e\.g|i\.e|z\.B|d\.h|bzw|ca|approx|Fig)\.$"
)
_LETTER = re.compile(r"[^\W\d_]")


def sentences(text: str) -> Iterator[tuple[str, bool]]:
    """The text in pieces, each with whether it is a sentence; joined they are the text."""
    for number, line in enumerate(text.split("\n")):
        if number:
            yield "\n", False
        found = _OPENING.match(line)
        start = found.end() if found else 0
        body = line[start:].rstrip()
        if line[:start]:
            yield line[:start], False
        yield from _of_line(body)
        if tail := line[start + len(body) :]:
            yield tail, False


def _of_line(line: str) -> Iterator[tuple[str, bool]]:
    start = 0
    for stop in _STOP.finditer(line):
        before = line[start : stop.end()].rstrip()
        if _SHORT.search(before[-12:]):
            continue
        gap = line[start + len(before) : stop.end()]
        yield before, bool(_LETTER.search(before))
        if gap:
            yield gap, False
        start = stop.end()
    if rest := line[start:]:
        yield rest, bool(_LETTER.search(rest))


def runs(tokens: list[str], most: int) -> list[list[str]]:
    """The tokens of a sentence in runs of at most so many, cut between words where there are any."""
    found = []
    while len(tokens) > most:
        cut = next((at for at in range(most, most // 2, -1) if tokens[at].startswith("\u2581")), most)
        found.append(tokens[:cut])
        tokens = tokens[cut:]
    return [*found, tokens]
