"""Releases avatars, and says which version of one answers: shares, the way back, the end.

Nothing here knows a gateway. What it writes, a running gateway sees within a second (`joined.Avatars.watch`).
"""

import contextlib
import hashlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
from msgspec.structs import replace

from rolecast.avatars import example
from rolecast.avatars.evaluation import wordless
from rolecast.avatars.example import Example
from rolecast.avatars.places import Place
from rolecast.avatars.serving import card, forgotten
from rolecast.avatars.serving.card import Card, Lineage, Version
from rolecast.config import paths
from rolecast.errors import UNREADABLE, Conflict, Invalid, NotFound
from rolecast.weights import gguf

KEEP = 3
TAUGHT = ("train.jsonl", "valid.jsonl")
"""The files of a dataset that a model has seen: it learns from the first, and is chosen by the second."""
JUDGED = "test.jsonl"
"""The file of a dataset that it is only judged by; its report may show what is said there."""
REPORTS = ("report.json", "report.html")
_CHUNK = 1 << 20


class Files(msgspec.Struct, frozen=True):
    """What is released."""

    gguf: Path
    """The adapter, or the model."""
    base: Path | None = None
    """Of an adapter: the GGUF that it goes with; it stays where it is."""
    base_name: str = ""
    extra: tuple[Path, ...] = ()
    """More that is kept with the version: the history of the training, plots."""


class GateSaysNo(Conflict):
    """The evaluation failed, and nobody insisted."""

    code = "gate_failed"


def release(
    place: Place,
    evaluation: Path,
    files: Files,
    *,
    title: str = "",
    person: str = "",
    force: bool = False,
    share: float = 0.0,
    keep: int = KEEP,
    since: float = 0.0,
) -> Version:
    """Make a version of these files, and let it answer: all conversations, or with `share` that part of them.

    `evaluation` is the folder with report.json (`passed`, `reasons`), `since` the time at which the conversations were
    read. Raises GateSaysNo when it did not pass and `force` is not set, Invalid for files that are none, and Conflict
    when nothing can be written, or when somebody of the dataset was forgotten meanwhile; then all is as before.
    """
    passed, reasons, numbers = _judged(evaluation)
    if not (passed or force):
        why = " ".join(reasons[:5]) or "There is no verdict of an evaluation."
        raise GateSaysNo(
            f"{place.name} is not released. {why} `rolecast avatar report {place.name}` tells all of it; train again, "
            "or release it by force."
        )
    form = _form(files)
    lineage, speaker = _taught(place.dataset)
    with card.changing(place):
        # Within the lock: who forgets notes it first and then waits for it, so that one of both sees the other.
        if forgotten.among(place.folder.parent, lineage.people if lineage else None, since):
            raise Conflict(
                f"{place.name} is not released: somebody whose messages it has learnt from was forgotten meanwhile. "
                f"Make it again, without them: `rolecast avatar full --fresh --name {place.name}`."
            )
        _sweep(place)
        known = _card(place, title or speaker or place.name, person)
        number = max([0, *card.numbers(place), known.current, known.canary, *known.before, *known.withdrawn]) + 1
        found = Version(
            number=number,
            at=time.time(),
            form=form,
            file=f"{form}.gguf",
            sha256="",
            bytes=files.gguf.stat().st_size,
            speaks_as=speaker or known.title,
            base=_from(place.folder.parent, files.base) if files.base is not None else "",
            base_name=files.base_name,
            passed=passed,
            forced=not passed,
            reasons=reasons,
            numbers=numbers,
        )
        found = _put(place, found, files, evaluation, lineage)
        if share > 0 and known.current:
            known = replace(known, canary=number, share=_share(share))
        else:
            known = _now(known, number)
        card.write(place.card, known)
        _prune(place, known, keep)
    return found


def answering(place: Place, evaluation: Path, files: Files) -> Version | None:
    """The version that answers everything, if it is of these very files and this verdict; None otherwise."""
    try:
        known = card.card(place)
        found = card.version(place, known.current)
    except (NotFound, Conflict):
        return None
    base = _from(place.folder.parent, files.base) if files.base is not None else ""
    if known.canary or known.current not in usable(place, known):
        return None
    if (found.base, found.passed, found.bytes) != (base, _judged(evaluation)[0], files.gguf.stat().st_size):
        return None
    with files.gguf.open("rb") as file:
        return found if hashlib.file_digest(file, "sha256").hexdigest() == found.sha256 else None


def share(place: Place, part: float, number: int = 0) -> Card:
    """Let a version answer that part of the conversations; 0 ends it. Without a number: the newest that may.

    Raises Invalid for a part that is none or a version that is not there.
    """
    with card.changing(place):
        known = card.card(place)
        if part == 0:
            known = replace(known, canary=0, share=0.0)
        else:
            number = number or max((n for n in usable(place, known) if n != known.current), default=0)
            if number == known.current or number not in usable(place, known):
                raise Invalid(f"{place.name} has no other version {number or ''}that could answer.", param="version")
            known = replace(known, canary=number, share=_share(part))
        card.write(place.card, known)
    return known


def promote(place: Place, number: int = 0) -> Card:
    """Let that version answer all conversations; without a number the one that answers a share."""
    with card.changing(place):
        known = card.card(place)
        number = number or known.canary
        if number not in usable(place, known):
            raise Invalid(f"{place.name} has no version {number or ''} that could answer.", param="version")
        known = _now(known, number)
        card.write(place.card, known)
    return known


def rollback(place: Place, number: int = 0) -> Card:
    """Go back: to the version before, or to that one. A version that answers a share does so no more.

    Raises Conflict where there is none to go back to.
    """
    with card.changing(place):
        known = card.card(place)
        there = usable(place, known)
        target = number or next((n for n in reversed(known.before) if n in there and n != known.current), 0)
        if target not in there or target == known.current:
            kept = ", ".join(map(str, there)) or "none"
            raise Conflict(
                f"{place.name} has no version {number or 'before this one'} to go back to; kept are: {kept}."
            )
        before = tuple(n for n in known.before if n != target)
        if number and known.current:
            before = (*before, known.current)
        known = replace(known, current=target, before=before, canary=0, share=0.0)
        card.write(place.card, known)
    return known


def withdraw(place: Place, gone: Sequence[int] | None = None, *, forgotten: bool = False) -> Card:
    """Let these versions never answer again; None = all. The newest of the others that answered before takes over.

    `forgotten` says that they learnt from somebody who is forgotten.
    """
    with card.changing(place):
        known = card.card(place)
        lost = {*(card.numbers(place) if gone is None else gone)}
        left = [n for n in usable(place, known) if n not in lost]
        current = known.current if known.current in left else max((n for n in known.before if n in left), default=0)
        canary = known.canary if known.canary in left and known.canary != current else 0
        known = replace(
            known,
            current=current,
            before=tuple(n for n in known.before if n in left and n != current),
            canary=canary,
            share=known.share if canary else 0.0,
            withdrawn=tuple(sorted({*known.withdrawn, *lost})),
            forgotten=tuple(sorted({*known.forgotten, *(lost if forgotten else ())})),
        )
        card.write(place.card, known)
        _sweep(place)
    return known


def erase(place: Place, withdrawn: Sequence[int]) -> None:
    """Delete the weights of withdrawn versions, and what people said in their reports.

    What they were, how they were judged, and whom they had learnt from, stays to be read. Raises Conflict.
    """
    with card.changing(place):
        for number in withdrawn:
            for path in place.version(number).glob("*.gguf"):
                path.unlink(missing_ok=True)
            wordless.make(place.version(number), card.FORGOTTEN)


def usable(place: Place, known: Card) -> list[int]:
    """The versions that may answer and whose files are there, oldest first."""
    found = []
    for number in card.numbers(place):
        if number not in known.withdrawn:
            with contextlib.suppress(Conflict, NotFound):
                if weights(place, card.version(place, number)).is_file():
                    found.append(number)
    return found


def weights(place: Place, found: Version) -> Path:
    """The GGUF of a version."""
    return place.version(found.number) / found.file


def _now(known: Card, number: int) -> Card:
    """The card with that version answering everything."""
    before = tuple(n for n in known.before if n not in (number, known.current))
    if known.current and known.current != number:
        before = (*before, known.current)
    return replace(known, current=number, before=before, canary=0, share=0.0)


def _share(part: float) -> float:
    if not 0 < part <= 1:
        raise Invalid(f"A share is a number from 0 to 1, not {part:g}.", param="share")
    return part


def _card(place: Place, title: str, person: str) -> Card:
    try:
        return card.card(place)
    except NotFound:
        return Card(place.name, title, person)


def _judged(evaluation: Path) -> tuple[bool, tuple[str, ...], dict[str, float]]:
    """The verdict. A report that is not there or cannot be read is none, and none is no."""
    try:
        said: Any = msgspec.json.decode((evaluation / "report.json").read_bytes())
    except (OSError, *UNREADABLE):
        return False, ("it was not evaluated",), {}
    if not isinstance(said, dict):
        return False, ("its report is none",), {}
    reasons = said.get("reasons")
    numbers = said.get("numbers")
    return (
        said.get("passed") is True,
        tuple(str(each) for each in reasons) if isinstance(reasons, list) else (),
        {str(k): float(v) for k, v in numbers.items() if isinstance(v, int | float)}
        if isinstance(numbers, dict)
        else {},
    )


def _form(files: Files) -> card.Form:
    """Raises Invalid for a file that is no GGUF, or one that cannot be served."""
    header = gguf.known(files.gguf)
    if header is None:
        raise Invalid(f"{files.gguf} is no usable GGUF, so it cannot be released.", param="gguf")
    if header.kind == "adapter":
        base = gguf.known(files.base) if files.base is not None else None
        if base is None or not base.generates:
            raise Invalid(f"{files.gguf} is an adapter and needs its base, a GGUF that writes text.", param="base")
        return "adapter"
    if not header.generates:
        raise Invalid(f"{files.gguf} is no model that writes text.", param="gguf")
    return "model"


def _taught(dataset: Path) -> tuple[Lineage | None, str]:
    """Whose messages are in a dataset, and as whom the model speaks; None where there is no dataset to read."""
    people: Counter[str] = Counter()
    messages: set[str] = set()
    count, speaker = 0, ""
    for name in TAUGHT:
        for each in _read(dataset / name):
            if not each.metadata.message_ids:
                continue  # it was made for the training: a planted secret, an answer of the base
            count += 1
            speaker = speaker or each.speaker_name
            people.update(set(each.metadata.people))
            messages.update(each.metadata.message_ids)
    if not count:
        return None, speaker
    judges = {one for each in _read(dataset / JUDGED) for one in each.metadata.people}
    return Lineage(dict(sorted(people.items())), count, tuple(sorted(messages)), tuple(sorted(judges))), speaker


def _read(path: Path) -> Iterator[Example]:
    """The examples of a file; none where it is not there."""
    if path.is_file():
        yield from example.read(path)


def _from(folder: Path, path: Path) -> str:
    """That path from the folder of avatars on, where it lies below it: so the folder can be moved."""
    found = path.absolute()
    return str(found.relative_to(folder.absolute())) if found.is_relative_to(folder.absolute()) else str(found)


def _put(place: Place, found: Version, files: Files, evaluation: Path, lineage: Lineage | None) -> Version:
    """Write the version's folder, whole or not at all."""
    target = place.version(found.number)
    part = paths.make_private(target.parent) / f".{found.number}.{uuid4().hex}.part"
    try:
        part.mkdir(mode=0o700)
        found = replace(found, sha256=_copy(files.gguf, part / found.file))
        for path in (*(evaluation / name for name in REPORTS), *files.extra):
            if path.is_file():
                _copy(path, part / path.name)
        if lineage is not None:
            card.write(part / "lineage.json", lineage)
        card.write(part / "version.json", found)
        part.rename(target)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        text = f"{target.parent} cannot be written ({error.strerror}); free some space, or mend its rights."
        raise Conflict(text) from error
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return found


def _sweep(place: Place) -> None:
    """Delete what releases left that were ended midway. Within the lock: there is none that still goes on."""
    for part in (place.folder / "versions").glob(".*.part"):
        shutil.rmtree(part, ignore_errors=True)


def _copy(source: Path, target: Path) -> str:
    """Copy a file for its owner alone; its hash."""
    digest = hashlib.sha256()
    with (
        source.open("rb") as reading,
        os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as to,
    ):
        while chunk := reading.read(_CHUNK):
            digest.update(chunk)
            to.write(chunk)
        to.flush()
        os.fsync(to.fileno())
    return digest.hexdigest()


def _prune(place: Place, known: Card, keep: int) -> None:
    """Delete the weights of what is neither needed nor among the newest; what it was stays to be read."""
    there = usable(place, known)
    needed = {known.current, known.canary, *there[-max(1, keep) :]}
    if len([n for n in there if n in needed]) < 2 and known.before:
        needed.add(known.before[-1])
    for number in there:
        if number not in needed:
            for path in place.version(number).glob("*.gguf"):
                path.unlink(missing_ok=True)


def verdicts(place: Place) -> Mapping[int, Version]:
    """All versions that can be read, by number."""
    found = {}
    for number in card.numbers(place):
        with contextlib.suppress(Conflict, NotFound):
            found[number] = card.version(place, number)
    return found
