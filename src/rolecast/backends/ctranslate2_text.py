"""Texts as a model for single sentences needs them: lines, the sentences in each, and what stands around. Pure."""

import re
from collections.abc import Iterator

_OPENING = re.compile(r"\s*(?:(?:#{1,6}|[-*+>|]|\d{1,3}[.)])\s+)*")
_STOP = re.compile(r"(?<=[.!?…])[\"'”’)\]]{0,3}\s+(?=[^\sa-z])|(?<=[。！？])\s*(?=\S)")  # noqa: RUF001  # other stops
_SHORT = re.compile(
    r"(?:^|[\s(\[])(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|Sr|Jr|St|No|vs|etc|e\.g|i\.e|z\.B|d\.h|bzw|ca|approx|Fig)\.$"
)
TURNS, LONGEST_TURN = 4, 12
"""So many tokens that come so often are a loop."""
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


def loops(tokens: list[str], source: list[str]) -> bool:
    """Whether a translation goes round in circles at its end, as its source does not."""
    return _turns(tokens) >= TURNS > _turns(source)


def _turns(tokens: list[str]) -> int:
    """How often the last few tokens are there one time behind the other, of the length at which they are most often.

    A single token counts from twice as many times: `ha ha ha ha` is a text.
    """
    most = 0
    for size in range(1, min(LONGEST_TURN, len(tokens) // 2) + 1):
        for over in range(min(size, len(tokens))):  # the last turn may be cut
            end = len(tokens) - over
            last, count = tokens[end - size : end], 1
            while count <= TURNS * 2 and tokens[end - size * (count + 1) : end - size * count] == last:
                count += 1
            most = max(most, count if size > 1 else count // 2)
    return most
