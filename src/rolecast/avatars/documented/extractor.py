"""Conversations of a Neo4j, or of Rolecast's own database, as files to train from: `slm.neo4j_data_extractor`."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from rolecast.avatars import places
from rolecast.avatars.conversation import Conversations, Wanted
from rolecast.avatars.documented.sequences import ConversationSequence, TrainingExample, examples_of, sequences_of
from rolecast.avatars.example import write
from rolecast.avatars.extraction import Extracted, extract, wanted_of
from rolecast.avatars.settings import Extraction
from rolecast.errors import Invalid

T = TypeVar("T")
DATABASE = "neo4j"
Report = Callable[[int], None]


def _variable(name: str, otherwise: str) -> Callable[[], str]:
    return lambda: os.environ.get(name) or otherwise


@dataclass
class ExtractionConfig:
    """Where conversations are, and what is wanted of them.

    An empty `neo4j_uri` means the conversations that Rolecast itself keeps. Dates in `date_range` are inclusive.
    """

    neo4j_uri: str = field(default_factory=_variable("NEO4J_URI", "bolt://localhost:7687"))
    neo4j_user: str = field(default_factory=_variable("NEO4J_USERNAME", "neo4j"))
    neo4j_password: str = field(default_factory=_variable("NEO4J_PASSWORD", ""), repr=False)
    output_dir: str | Path = "data/extracted"
    include_metadata: bool = True
    max_messages: int = 10_000
    date_range: Mapping[str, str] | None = None
    """`{"start": "2023-01-01", "end": "2024-12-31"}`; either may be missing."""
    neo4j_database: str = DATABASE

    def settings(self) -> Extraction:
        """The same, as Rolecast's settings. Raises Invalid for dates that are none, and a number that is below 0."""
        span = dict(self.date_range or {})
        if unknown := sorted(set(span) - {"start", "end"}):
            raise Invalid(
                f"`date_range` has `start` and `end`, not {', '.join(map(repr, unknown))}.", param="date_range"
            )
        if self.max_messages < 0:
            raise Invalid("`max_messages` is 0, for all, or more.", param="max_messages")
        return Extraction(
            since=str(span.get("start") or ""),
            until=str(span.get("end") or ""),
            most=self.max_messages,
            metadata=self.include_metadata,
            neo4j=self.neo4j_uri,
            database=self.neo4j_database,
        )


class Neo4jDataExtractor:
    """Extracts conversations; made of an ExtractionConfig, or of address, user, password and database.

    Nothing is connected before something is asked, and every call closes what it opened. It may be used in a notebook.
    All calls raise SourceError, with what to do, when there is no answer.
    """

    def __init__(
        self,
        config: ExtractionConfig | str | None = None,
        user: str = "neo4j",
        password: str = "",
        database: str = DATABASE,
        *,
        uri: str | None = None,
    ) -> None:
        address = config if isinstance(config, str) else uri
        if address is not None:
            config = ExtractionConfig(
                neo4j_uri=address, neo4j_user=user, neo4j_password=password, neo4j_database=database
            )
        elif not isinstance(config, ExtractionConfig):
            config = ExtractionConfig()
        self.config = config
        self.on_progress: Report | None = None
        """Hears how many messages were read so far."""
        self._last: Extracted | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is left open between calls."""

    # -- as documented ----------------------------------------------------------------------------------------------

    def extract_person_conversations(self, person_name: str, max_messages: int | None = None) -> str:
        """Write the person's replies with what was said before; the path, as `data/extracted/john_doe.jsonl`.

        Raises PersonNotFound, and Invalid when they answered nobody.
        """
        settings = self.config.settings()
        wanted = wanted_of(person_name, settings)
        if max_messages is not None:
            wanted = Wanted(wanted.person, wanted.since, wanted.until, max(max_messages, 0))
        path = Path(self.config.output_dir) / f"{places.slug(person_name)}.jsonl"

        async def work(conversations: Conversations) -> Extracted:
            return await extract(conversations, wanted, settings, path, _Told(self.on_progress))

        self._last = self._run(work)
        return str(path)

    def get_extraction_stats(self) -> dict[str, Any]:
        """Of the last extraction; before the first, of everything that is there.

        `total_messages`, `total_conversations` and `date_range`, in ISO 8601 and UTC; None where no message has a time.
        """
        if (last := self._last) is not None:
            span = {"start": _iso(last.first), "end": _iso(last.last)}
            return {
                "total_messages": last.messages,
                "total_conversations": last.threads,
                "date_range": span,
                "total_examples": last.examples,
                "person": last.person.name,
            }

        async def work(conversations: Conversations) -> dict[str, Any]:
            speakers = await conversations.speakers()
            firsts = [each.first for each in speakers if each.first is not None]
            lasts = [each.last for each in speakers if each.last is not None]
            return {
                "total_messages": sum(each.messages for each in speakers),
                "total_conversations": max((each.chats for each in speakers), default=0),
                "date_range": {"start": _iso(min(firsts, default=None)), "end": _iso(max(lasts, default=None))},
            }

        return self._run(work)

    # -- as in its repository ---------------------------------------------------------------------------------------

    def extract_conversation_sequences(
        self,
        speaker_filter: str | None = None,
        min_sequence_length: int = 2,
        max_sequence_length: int = 20,
        limit: int | None = None,
    ) -> Iterator[ConversationSequence]:
        """Conversations; longer ones are cut. With a speaker, only those where they say something."""
        yield from self._sequences(speaker_filter, min_sequence_length, max_sequence_length, limit)

    def create_training_examples(
        self,
        sequences: Iterable[ConversationSequence],
        context_window: int = 3,
        include_speaker_tags: bool = True,
        speaker: str | None = None,
    ) -> list[TrainingExample]:
        """A message that answers, with those before it; of everybody, or of one speaker."""
        return examples_of(sequences, context_window, include_speaker_tags, speaker)

    def get_speaker_statistics(self) -> dict[str, dict[str, Any]]:
        """By name, who said most first: `message_count`, `personality_types`, `emotional_states`."""

        async def work(conversations: Conversations) -> dict[str, dict[str, Any]]:
            found: dict[str, dict[str, Any]] = {}
            for each in await conversations.speakers():
                name = each.person.name if each.person.name not in found else f"{each.person.name} ({each.person.id})"
                found[name] = {
                    "message_count": each.messages,
                    "personality_types": list(each.personalities),
                    "emotional_states": list(each.emotions),
                }
            return found

        return self._run(work)

    def export_training_data(
        self, output_path: str | Path, speaker_filter: str | None = None, max_examples: int | None = None
    ) -> int:
        """Write examples, one a line, of everybody or of one speaker; how many."""
        speaker = None if speaker_filter is None else self._speaker(speaker_filter)
        sequences = self._sequences(speaker_filter, 2, 20, None)
        examples = self.create_training_examples(sequences, speaker=speaker)
        return write(Path(output_path), examples[:max_examples] if max_examples else examples)

    # -- how --------------------------------------------------------------------------------------------------------

    def _sequences(self, speaker: str | None, least: int, most: int, limit: int | None) -> list[ConversationSequence]:
        settings = self.config.settings()
        wanted = wanted_of(speaker or "", settings)

        async def work(conversations: Conversations) -> list[ConversationSequence]:
            return await sequences_of(conversations, wanted, settings, least=least, most=most, limit=limit)

        return self._run(work)

    def _speaker(self, name: str) -> str:
        async def work(conversations: Conversations) -> str:
            return (await conversations.find(name)).name

        return self._run(work)

    def _run(self, work: Callable[[Conversations], Coroutine[Any, Any, T]]) -> T:
        async def whole() -> T:
            async with _opened(self.config) as conversations:
                return await work(conversations)

        return _now(whole)


@contextlib.asynccontextmanager
async def _opened(config: ExtractionConfig) -> AsyncIterator[Conversations]:
    """Where the conversations are."""
    if config.neo4j_uri.strip():
        from rolecast.avatars.sources.neo4j import Neo4jGraph

        graph = Neo4jGraph(config.neo4j_uri, config.neo4j_user, config.neo4j_password, config.neo4j_database)
        try:
            yield graph
        finally:
            await graph.close()
        return

    from rolecast import books
    from rolecast.avatars.kept import Kept
    from rolecast.config.load import load

    store = books.store_of(load())
    await store.open()
    try:
        yield Kept(store)
    finally:
        await store.close()


def _now(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Do it and wait for it; in a thread of its own where a loop is running, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(asyncio.run(work()))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="extractor")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]


class _Told:
    def __init__(self, report: Report | None) -> None:
        self._report = report

    def progress(self, done: int, total: int) -> None:
        del total
        if self._report is not None:
            self._report(done)

    def skipped(self, where: str, why: str) -> None:
        """Nothing is skipped in a database."""


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
