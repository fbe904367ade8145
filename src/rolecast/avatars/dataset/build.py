"""From examples as they were said to what is learnt from: cleaned, scrubbed, without repetition, chosen, split.

Reads the file twice and keeps numbers of each example, not its text: memory grows by some hundred bytes an example.
"""

import contextlib
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from rolecast.avatars import example
from rolecast.avatars.conversation import Person
from rolecast.avatars.dataset import lineage
from rolecast.avatars.dataset import report as reports
from rolecast.avatars.dataset.alike import LEAST_WORDS, Alike, said, words
from rolecast.avatars.dataset.choice import Row, conversations, newest, split
from rolecast.avatars.dataset.clean import LINK
from rolecast.avatars.dataset.repeats import Repeats
from rolecast.avatars.dataset.report import DatasetReport, Left
from rolecast.avatars.dataset.review import Review
from rolecast.avatars.dataset.scrub import PLACEHOLDERS, Scrubber
from rolecast.avatars.example import Example, Lineage, Said
from rolecast.avatars.settings import DatasetSettings
from rolecast.errors import Invalid
from rolecast.jobs.job import Progress
from rolecast.privacy.names import WORD, plain

Report = Callable[[Progress], None]
REVIEW = "review.csv"
CANARIES = "canaries.json"
EVERY = 500
"""Examples between two words of progress."""
LEAST_SHORT = 3
"""So often a short reply may be there, however few examples there are."""
_BARE = re.compile(r"\[[a-z.]+\]|\W|_")


class _Kept(NamedTuple):
    """An example that is still there: where it lies, and what decides about it."""

    row: Row
    offset: int
    target: str
    """The id of the message."""
    short: int
    """The reply by its hash, where it is short; 0 = it is not."""


def build(
    extracted: Path, into: Path, people: Sequence[Person], settings: DatasetSettings, report: Report
) -> DatasetReport:
    """Write train, valid and test.jsonl, review.csv, lineage.json and, last of all, report.json.

    `people` = everybody of those conversations; who speaks and is not among them is added by the name shown. The same
    input, review and settings give the same files. A dataset that is there is replaced when the new one is whole, and
    secrets that were planted in it are gone with it. Raises Invalid for a file that cannot be read or
    written, or without replies.
    """
    scratch = into / "dataset.part"
    try:
        into.mkdir(mode=0o700, parents=True, exist_ok=True)
        into.chmod(0o700)
        with os.fdopen(os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b") as file:
            return _Build(extracted, into, people, settings, report, file).run()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise Invalid(f"The dataset cannot be written to {into} ({why}); make room, or name another folder.") from error
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)


class _Build:
    """One run."""

    def __init__(
        self,
        extracted: Path,
        into: Path,
        people: Sequence[Person],
        settings: DatasetSettings,
        report: Report,
        scratch: BinaryIO,
    ) -> None:
        self._extracted, self._into, self._settings = extracted, into, settings
        self._tell = report
        self._scratch = scratch
        self._began = time.monotonic()
        self._left: Counter[str] = Counter()
        self._review = Review(into / REVIEW)
        self._total, self._name, self._people = self._look(people)
        self._avatar = next(
            (each.id for each in self._people if self._name in (each.name, each.id, *each.names)), self._name
        )
        self._scrubber = Scrubber(self._people, self._avatar, settings.seed, self._review, replaces=settings.scrub)
        named = (*self._scrubber.names.values(), *(name for each in self._people for name in (each.name, *each.names)))
        self._repeats = Repeats({plain(word[0]) for name in named for word in WORD.finditer(name)})
        self._mentioned: dict[int, tuple[str, ...]] = {}

    def run(self) -> DatasetReport:
        kept = self._read()
        kept = self._without_secrets(kept)
        kept = self._without_many(kept)
        chosen = {row.number for row in newest([each.row for each in kept], self._settings.most)}
        self._left["over"] += len(kept) - len(chosen)
        kept = [each for each in kept if each.row.number in chosen]
        if not kept:
            raise Invalid(
                f"No reply of {self._name} in {self._extracted} is left to learn from ({self._reasons()}); "
                "extract more conversations, or a longer time of them."
            )
        return self._write(kept)

    def _reasons(self) -> str:
        left = [f"{count} {reports.WORDS[reason]}" for reason, count in sorted(self._left.items()) if count]
        return "; ".join(left) or "it is empty"

    def _look(self, people: Sequence[Person]) -> tuple[int, str, list[Person]]:
        """How many examples there are, whose replies, and everybody in them."""
        replies: Counter[str] = Counter()
        speakers: dict[str, None] = {}
        total = 0
        for each in example.read(self._extracted):
            total += 1
            replies[each.speaker_name] += 1
            speakers.update((said.speaker, None) for said in each.conversation_history)
            if not total % EVERY:
                self._tell(Progress("reading", total, 0, "examples"))
        if not total:
            raise Invalid(f"{self._extracted} has no examples; extract conversations first.")
        name = max(replies, key=lambda each: (replies[each], each))
        known = {called for each in people for called in (each.id, each.name, *each.names)}
        more = [Person(each, each) for each in (name, *speakers) if each and each not in known]
        return total, name, [*people, *dict.fromkeys(more)]

    # -- one example after the other -----------------------------------------------------------------------------

    def _read(self) -> list[_Kept]:
        """Clean and scrub every example into the scratch file; those that are left."""
        alike = Alike(self._settings.similar, self._settings.seed)
        owners = _Owners()
        ids_of_examples: set[str] = set()
        exchanges: set[int] = set()
        kept: list[tuple[_Kept, int]] = []
        encode = msgspec.json.Encoder().encode
        for number, raw in enumerate(example.read(self._extracted)):
            if not number % EVERY:
                self._tell(Progress("cleaning", number, self._total, "examples"))
            if raw.speaker_name != self._name:
                self._left["others"] += 1
                continue
            found = self._made(raw, number)
            if found is None:
                continue
            reply = words(found.target_text)
            short = len(reply) < LEAST_WORDS
            exchange = hash((said(found.target_text), said(found.conversation_history[-1].message)))
            if exchange in exchanges:
                self._left["same"] += 1
                continue
            exchanges.add(exchange)
            if alike.was_said(reply):
                self._left["alike"] += 1
                continue
            if found.example_id in ids_of_examples:
                found = msgspec.structs.replace(found, example_id=f"{found.example_id}_{number}")
            ids_of_examples.add(found.example_id)
            self._repeats.count(self._repeats.read(found.target_text))
            offset = self._scratch.tell()
            self._scratch.write(encode(found) + b"\n")
            meta = found.metadata
            ids = meta.message_ids or (found.example_id,)
            group = owners.of(f"{meta.chat}\0{meta.sequence_id or found.example_id.rpartition('_')[0]}", ids)
            row = Row(number, meta.chat, "", meta.at or 0.0)
            kept.append((_Kept(row, offset, ids[-1], hash(said(found.target_text)) | 1 if short else 0), group))
        return [each._replace(row=each.row._replace(conversation=str(owners.root(group)))) for each, group in kept]

    def _made(self, raw: Example, number: int) -> Example | None:
        """The example as it is learnt from; None = nothing of it is."""
        reply = self._scrubber.scrub(raw.target_text)
        if not reply.text:
            self._left["nothing"] += 1
            return None
        ids = raw.metadata.message_ids
        fits = len(ids) == len(raw.conversation_history) + 1
        history: list[Said] = []
        history_ids: list[str] = []
        mentioned: dict[str, None] = {}
        answered = False
        for at in range(max(0, len(raw.conversation_history) - self._settings.context), len(raw.conversation_history)):
            each = raw.conversation_history[at]
            scrubbed = self._scrubber.answered(each.message)
            answered = bool(scrubbed.text) and each.speaker != self._name
            if scrubbed.text:
                mentioned.update(dict.fromkeys(scrubbed.people))
                history.append(
                    Said(self._scrubber.label(each.speaker), scrubbed.text, self._plain(each.emotional_state))
                )
                if fits:
                    history_ids.append(ids[at])
        if not answered:  # what is before that is not what they replied to
            self._left["unanswered"] += 1
            return None
        if not _BARE.sub("", reply.text) and any(word in reply.text for word in (LINK, *PLACEHOLDERS)):
            self._left["private"] += 1
            return None
        mentioned.update(dict.fromkeys(reply.people))
        self._mentioned[number] = tuple(mentioned)
        last = history[-1]
        return msgspec.structs.replace(
            raw,
            example_id=raw.example_id or f"{raw.metadata.sequence_id}_{number}",
            input_text=f"[{last.speaker}]: {last.message}",
            target_text=reply.text,
            personality_type=self._plain(raw.personality_type),
            emotional_state=self._plain(raw.emotional_state),
            relationship_type=self._plain(raw.relationship_type),
            conversation_history=tuple(history),
            metadata=msgspec.structs.replace(raw.metadata, message_ids=(*history_ids, ids[-1]))
            if fits
            else raw.metadata,
        )

    def _plain(self, text: str) -> str:
        return self._scrubber.scrub(text).text if text else ""

    # -- which stay ----------------------------------------------------------------------------------------------

    def _example(self, kept: _Kept) -> Example:
        self._scratch.seek(kept.offset)
        return msgspec.json.decode(self._scratch.readline(), type=Example)

    def _without_secrets(self, kept: list[_Kept]) -> list[_Kept]:
        """Those that repeat nothing that may be a secret."""
        read = self._repeats.read
        for number, each in enumerate(kept):
            if not number % EVERY:
                self._tell(Progress("looking for secrets", number, 2 * len(kept), "examples"))
            found = self._example(each)
            self._repeats.meet(read(found.target_text), read(found.conversation_history[-1].message))
        self._repeats.judge()
        left: list[_Kept] = []
        for number, each in enumerate(kept):
            if not number % EVERY:
                self._tell(Progress("looking for secrets", len(kept) + number, 2 * len(kept), "examples"))
            if self._repeats.allows(read(self._example(each).target_text)):
                left.append(each)
        self._left["repeated"] += len(kept) - len(left)
        return left

    def _without_many(self, kept: list[_Kept]) -> list[_Kept]:
        """Short replies up to their share of what is wanted, the newest of each."""
        most = max(LEAST_SHORT, round(self._settings.short * min(len(kept), self._settings.most or len(kept))))
        times: Counter[int] = Counter()
        left: list[_Kept] = []
        for each in reversed(kept):
            times[each.short] += 1
            if not each.short or times[each.short] <= most:
                left.append(each)
        self._left["short"] += len(kept) - len(left)
        return left[::-1]

    # -- what is written -----------------------------------------------------------------------------------------

    def _write(self, kept: list[_Kept]) -> DatasetReport:
        by_number = {each.row.number: each for each in kept}
        groups = conversations(each.row for each in kept)
        parts = split(groups, self._settings.valid, self._settings.test, self._settings.seed)
        before: dict[int, str] = {}
        """Where a conversation was cut: the message up to which a history may not go back."""
        for last, group in pairwise(groups):
            if last[-1].conversation == group[0].conversation:
                before.update((row.number, by_number[last[-1].number].target) for row in group)
        origins = lineage.Origins(self._avatar, {}, {}, {})
        (self._into / reports.FILE).unlink(missing_ok=True)
        counts: list[int] = []
        for name, numbers in zip(lineage.PARTS, parts, strict=True):
            rows = [row for number in numbers for row in groups[number]]
            made = self._parts(name, [by_number[row.number] for row in sorted(rows)], before, origins)
            counts.append(example.write(self._into / name, made))
        (self._into / CANARIES).unlink(missing_ok=True)  # those of the dataset before are not in this one
        self._review.write()
        lineage.write(self._into, origins)
        used = len({each.row.conversation for each in kept})
        told = DatasetReport(
            person=self._name,
            read=self._total,
            train=counts[0],
            valid=counts[1],
            test=counts[2],
            left=Left(**self._left),
            replaced=self._review.counts,
            people=len(self._scrubber.names) if self._settings.scrub else 0,
            chats=len({each.row.chat for each in kept}),
            conversations=used,
            scrubbed=self._settings.scrub,
            notes=reports.notes(sum(counts), used, scrubbed=self._settings.scrub, held_out=min(counts[1:])),
            seconds=round(time.monotonic() - self._began, 1),
        )
        reports.write(self._into, told)
        return told

    def _parts(
        self, name: str, kept: Iterable[_Kept], before: dict[int, str], origins: lineage.Origins
    ) -> Iterator[Example]:
        done = 0
        for each in kept:
            found = self._example(each)
            if (limit := before.get(each.row.number)) is not None:
                found = _after(found, limit)
            history = tuple(
                msgspec.structs.replace(said, message=self._repeats.masked(said.message))
                for said in found.conversation_history
            )
            if all(said.speaker == self._name for said in history):
                self._left["unanswered"] += 1
                continue
            last = history[-1]
            found = msgspec.structs.replace(
                found, conversation_history=history, input_text=f"[{last.speaker}]: {last.message}"
            )
            _trace(origins, found, self._mentioned.get(each.row.number, ()))
            if not done % EVERY:
                self._tell(Progress(f"writing {name}", done, 0, "examples"))
            done += 1
            yield found


def _after(found: Example, limit: str) -> Example:
    """The example without what was said up to that message, by its id."""
    ids = found.metadata.message_ids
    if limit not in ids or len(ids) != len(found.conversation_history) + 1:
        return found
    at = ids.index(limit) + 1
    return msgspec.structs.replace(
        found,
        conversation_history=found.conversation_history[at:],
        metadata=msgspec.structs.replace(found.metadata, message_ids=ids[at:]),
    )


def _trace(origins: lineage.Origins, found: Example, mentioned: Iterable[str]) -> None:
    meta: Lineage = found.metadata
    origins.examples[found.example_id] = meta.message_ids
    for person in meta.people:
        origins.wrote.setdefault(person, []).append(found.example_id)
    for person in mentioned:
        origins.mentioned.setdefault(person, []).append(found.example_id)


class _Owners:
    """Conversations by number. Two that share a message are one: held-out replies must not be learnt from a history."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._parents: list[int] = []
        self._by_message: dict[int, int] = {}

    def of(self, conversation: str, messages: Iterable[str]) -> int:
        number = self._numbers.get(conversation)
        if number is None:
            number = self._numbers[conversation] = len(self._parents)
            self._parents.append(number)
        for message in messages:
            other = self.root(self._by_message.setdefault(hash(message), number))
            if other != (mine := self.root(number)):
                self._parents[max(other, mine)] = min(other, mine)
        return number

    def root(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number
