"""The file that people read before training: what was replaced, and what of it is to stay.

keep,kind,found,replacement,times,before,after,id
no,phones,07700 900123,[phone],3,call me on 07700 900123,call me on [phone],5f0c...

`yes` under `keep` leaves that text as it is when the dataset is built again. A new line with only `found` (and, if
wanted, `replacement`) takes out what was missed. Both stay in the file.
"""

import contextlib
import csv
import os
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from rolecast.errors import Invalid

FIELDS = ("keep", "kind", "found", "replacement", "times", "before", "after", "id")
AROUND = 60
"""Characters of a message that are shown before and behind what was replaced."""
MOST_BYTES = 256 * 1024 * 1024
_FORMULA = ("=", "+", "-", "@", "\t", "'")
_YES = frozenset({"yes", "y", "true", "1", "x", "ja", "si", "sí", "oui", "keep"})
_MISSED = "[private]"


class _Row(NamedTuple):
    kind: str
    found: str
    replacement: str
    before: str
    after: str


class Review:
    """What a run replaces, and what people said of the run before."""

    def __init__(self, path: Path) -> None:
        """Reads the file of the run before, if there is one. Raises Invalid for one that is no such table."""
        self._path = path
        self._rows: dict[tuple[str, str], _Row] = {}
        self._times: dict[tuple[str, str], int] = {}
        self._kept: dict[str, dict[str, str]] = {}
        self._missed: dict[str, str] = {}
        for row in _read(path):
            if row["id"]:
                if row["keep"].strip().casefold() in _YES:
                    self._kept[row["id"]] = row
            elif (found := row["found"].strip()) and len(found) > 1:
                self._missed[found.casefold()] = row["replacement"].strip() or _MISSED
        longest = sorted(self._missed, key=len, reverse=True)
        either = "|".join(map(re.escape, longest))
        self._pattern = re.compile(rf"(?<!\w)(?:{either})(?!\w)", re.IGNORECASE) if longest else None

    @property
    def counts(self) -> dict[str, int]:
        """How often each kind was replaced, in messages that differ."""
        counts: dict[str, int] = {}
        for (kind, _), times in self._times.items():
            counts[kind] = counts.get(kind, 0) + times
        return dict(sorted(counts.items()))

    def keeps(self, kind: str, found: str) -> bool:
        """Whether somebody wants that text to stay."""
        return bool(self._kept) and _id(kind, found) in self._kept

    def wanted(self, text: str) -> Iterator[tuple[int, int, str, str]]:
        """Where something stands that somebody wants taken out: start, end, kind, replacement."""
        if self._pattern is not None:
            for found in self._pattern.finditer(text):
                if (word := self._missed.get(found[0].casefold())) is not None:
                    yield found.start(), found.end(), "own", word

    def note(self, kind: str, text: str, start: int, end: int, replacement: str) -> None:
        """That piece of a message is replaced."""
        key = kind, text[start:end]
        self._times[key] = self._times.get(key, 0) + 1
        if key not in self._rows:
            head, tail = text[max(0, start - AROUND) : start], text[end : end + AROUND]
            before = f"{head}{text[start:end]}{tail}"
            self._rows[key] = _Row(kind, text[start:end], replacement, before, f"{head}{replacement}{tail}")

    def write(self) -> None:
        """Write the file anew, for its owner alone; what people said in it stays."""
        part = self._path.with_name(self._path.name + ".part")
        try:
            with os.fdopen(
                os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8-sig", newline=""
            ) as file:
                table = csv.DictWriter(file, FIELDS)
                table.writeheader()
                table.writerows(_safe(row) for row in self._table())
            part.replace(self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise

    def _table(self) -> Iterator[dict[str, str]]:
        blank = dict.fromkeys(FIELDS, "")
        for found, replacement in sorted(self._missed.items()):
            yield {**blank, "found": found, "replacement": replacement}
        yield from (self._kept[each] for each in sorted(self._kept))
        for key in sorted(self._rows):
            row = self._rows[key]
            yield {**row._asdict(), "keep": "no", "times": str(self._times[key]), "id": _id(*key)}


def _id(kind: str, found: str) -> str:
    """Spreadsheets turn `0049` into a number and `1-2` into a date; this they leave alone: it begins with a letter."""
    return "r" + sha256(f"{kind}\0{found}".encode("utf-8", "surrogatepass")).hexdigest()[:15]


def _safe(row: dict[str, str]) -> dict[str, str]:
    """Spreadsheets compute what begins like a formula, also what a stranger sent; an apostrophe makes it a text."""
    return {name: f"'{value}" if value.startswith(_FORMULA) else value for name, value in row.items()}


def _read(path: Path) -> Iterator[dict[str, str]]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise Invalid(f"{path} is larger than a review can be; delete it to begin anew.")
        with path.open(encoding="utf-8-sig", newline="") as file:
            sample = file.read(4096)
            file.seek(0)
            first = sample.split("\n", 1)[0]
            table = csv.DictReader(file, delimiter=max(",;\t", key=first.count))
            if not {"keep", "kind", "found", "id"} <= set(table.fieldnames or ()):
                raise Invalid(f"{path} has no columns keep, kind, found, id; delete it to begin anew.")
            for row in table:
                said = {name: row.get(name) or "" for name in FIELDS}
                yield {name: value[1:] if value[:1] == "'" else value for name, value in said.items()}
    except FileNotFoundError:
        return
    except (OSError, UnicodeError, csv.Error) as error:
        raise Invalid(f"{path} cannot be read ({str(error)[:100]}); save it as CSV in UTF-8, or delete it.") from error
