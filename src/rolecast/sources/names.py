"""Which of many GGUF files is meant, by what their headers say and by the customs of their names.

Does not touch the disk or the network: names go in, and a way to ask for a header where there is a file.
"""

import re
from collections.abc import Callable, Iterable

from rolecast.config.source import Source, is_converted, is_folder, is_safe, parse
from rolecast.weights import is_side_file, splits
from rolecast.weights.gguf import Header

__all__ = [
    "PREFERRED",
    "Ask",
    "Files",
    "Source",
    "candidates",
    "choose",
    "incomplete",
    "is_converted",
    "is_folder",
    "is_of_folder",
    "is_safe",
    "parse",
    "splits",
]

PREFERRED = ("q4_k_m", "q8_0")
"""Quantizations taken when a repository offers several and the source names none: best value first."""
Ask = Callable[[str], Header | None]
"""The header of the file of that name; None when there is none to be had, as in a list of names."""

Files = tuple[str, ...]
"""One model: its files in order."""

_DRAFT = re.compile(r"(?:^|[-._/])(?:drafts?|drafter|speculator|mtp|eagle\d*|dflash)(?:[-._/]|$)", re.IGNORECASE)


def _nothing(_: str) -> None:
    return None


def is_of_folder(name: str) -> str:
    """The name of the file that stands for a whole folder, if this is one; '' for a file that is a model by itself."""
    return name.rpartition("/")[2] if is_converted(name) or is_folder(name) else ""


def candidates(names: Iterable[str]) -> list[Files]:
    """The models among file names: each is its files in order; a split with a part missing is left out."""
    present = {name for name in names if name.lower().endswith(".gguf")}
    sets = {parts for name in present if present.issuperset(parts := splits(name))}
    return sorted(sets)


def incomplete(names: Iterable[str], wanted: str = "") -> str:
    """The first part that a split model among these names lacks, as `part 2 of 3 (NAME)`; '' = none does."""
    present = {name for name in names if name.lower().endswith(".gguf")}
    for name in sorted(present):
        every = splits(name)
        if wanted and not any(f"/{part}".endswith(f"/{wanted}") for part in every):
            continue
        for number, part in enumerate(every, 1):
            if part not in present:
                return f"part {number} of {len(every)} ({part.rpartition('/')[2]})"
    return ""


def choose(names: Iterable[str], wanted: str = "", header: Ask = _nothing) -> Files:
    """The files of the one model meant, in order; () when there is none or several fit equally.

    `wanted` is a whole path or its last components: what is named is taken, whatever it is. Without it the
    order is Q4_K_M, Q8_0, the only one. Projectors, adapters and the like are then no models, and a draft
    model is none beside the model that it helps.
    """
    if kind := is_of_folder(wanted):
        marks = sorted(name for name in names if is_of_folder(name) == kind and f"/{name}".endswith(f"/{wanted}"))
        return (wanted,) if wanted in marks else _only([(name,) for name in marks])
    sets = candidates(names)
    if wanted:
        exact = [s for s in sets if wanted in s]
        return _only(exact or [s for s in sets if any(part.endswith("/" + wanted) for part in s)])
    models = _without_drafts([s for s in sets if not is_side_file(s[0], header(s[0]))], header)
    for quantization in PREFERRED:
        mark = re.compile(rf"(?:^|[-._/]){quantization}(?:[-._/]|$)", re.IGNORECASE)
        named = [s for s in models if mark.search(s[0])]
        if fitting := named or [s for s in models if _is_of(header(s[0]), quantization)]:
            return _only(fitting)
    return _only(models)


def _is_of(header: Header | None, quantization: str) -> bool:
    return header is not None and header.quantization.lower() == quantization


def _without_drafts(models: list[Files], header: Ask) -> list[Files]:
    """All but the small models that only help another one: named so, or much smaller and in a folder below it."""
    rest = [m for m in models if not _DRAFT.search(m[0])] or models
    top = min((m[0].count("/") for m in rest), default=0)
    largest = max((_weight(header(m[0])) for m in rest if m[0].count("/") == top), default=0)
    return [m for m in rest if m[0].count("/") == top or not 0 < _weight(header(m[0])) < largest / 2]


def _weight(header: Header | None) -> int:
    """How large a model is, of whatever quantization: layers times width squared; 0 = not known."""
    return header.block_count * header.embedding_length**2 if header else 0


def _only(sets: list[Files]) -> Files:
    return sets[0] if len(sets) == 1 else ()
