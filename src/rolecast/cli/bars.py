"""Bars in a terminal, of two parts each; plain ASCII where it takes nothing else. Knows no unit."""

from collections.abc import Sequence

import msgspec

EIGHTHS = "▏▎▍▌▋▊▉█"
LEAST_BAR = 8
"""Columns that a bar may always have."""
LONGEST_LABEL = 32


class Bar(msgspec.Struct, frozen=True):
    """One line: a value, and what of it is drawn otherwise."""

    label: str
    value: int
    other: int = 0
    """The part of `value` behind the first."""
    text: str = ""
    """The value in words."""


def drawn(bars: Sequence[Bar], width: int, *, unicode: bool) -> list[str]:
    """One line of at most `width` columns for each; the longest bar takes all the room that labels and texts leave.

    What is more than nothing is seen, however little it is.
    """
    labels = [_short(bar.label, unicode=unicode) for bar in bars]
    named, said = max(map(len, labels), default=0), max((len(bar.text) for bar in bars), default=0)
    room = max(width - named - said - 2, LEAST_BAR)
    most = max((bar.value for bar in bars), default=0)
    return [
        f"{label:<{named}} {_bar(bar, most, room, unicode=unicode):<{room}} {bar.text:>{said}}".rstrip()
        for label, bar in zip(labels, bars, strict=True)
    ]


def _bar(bar: Bar, most: int, room: int, *, unicode: bool) -> str:
    """The first part solid, the other one light."""
    if not bar.value:
        return ""
    solid, light = ("█", "░") if unicode else ("#", "=")
    eighths = max(bar.value * room * 8 // most, 1)  # whole numbers: no value is too large
    whole = max(eighths // 8, 1)
    if bar.other:
        behind = min(max(bar.other * whole // bar.value, 1), whole)
        before = whole - behind if bar.other < bar.value else 0
        if bar.other < bar.value and not before:
            return solid + light if room > 1 else light
        return solid * before + light * behind
    if not unicode:
        return solid * whole
    rest = eighths % 8
    return solid * (eighths // 8) + (EIGHTHS[rest - 1] if rest else "")


def _short(label: str, *, unicode: bool) -> str:
    if len(label) <= LONGEST_LABEL:
        return label
    return label[: LONGEST_LABEL - 1] + "…" if unicode else label[: LONGEST_LABEL - 3] + "..."
