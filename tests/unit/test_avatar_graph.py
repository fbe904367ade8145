"""Conversations in a graph, through the official driver, on a real server that speaks Bolt; or on that of NEO4J_URI."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import neo4j
import psutil
import pytest
from bolt_server import DATABASES, BoltServer, bolt_server, given
from free_ports import free_port
from slm.neo4j_data_extractor import ExtractionConfig, Neo4jDataExtractor

from rolecast import books
from rolecast.avatars import example
from rolecast.avatars.conversation import Chat, Item, Message, Person, Wanted
from rolecast.avatars.extraction import extract, wanted_of
from rolecast.avatars.graph import connection, put
from rolecast.avatars.graph.values import moment, tags, utc, words
from rolecast.avatars.kept import Kept
from rolecast.avatars.settings import Extraction
from rolecast.avatars.sources.neo4j import Neo4jGraph
from rolecast.config.load import load
from rolecast.errors import Invalid, PersonNotFound, SourceError

pytestmark = pytest.mark.anyio

HOSTILE = "O'Brien\"}) DETACH DELETE n // \\' {x: $rows} `; MATCH (n) DETACH DELETE n"


MADE = "INDEX message_n"


@pytest.fixture(scope="module")
def server() -> Iterator[BoltServer]:
    """One for all tests of this file. A named one is used only if nothing is in it: tests delete what is there."""
    if named := given():
        with neo4j.GraphDatabase.driver(named.uri, auth=(named.user, named.password)) as driver:
            [record] = driver.execute_query("MATCH (n) RETURN count(n)", database_=named.database).records
        if record[0]:
            pytest.fail("The database of NEO4J_URI is not empty; these tests would delete what is in it.")
        yield named
        for name in ("CONSTRAINT rolecast_person", "CONSTRAINT rolecast_message", "CONSTRAINT rolecast_chat", MADE):
            asyncio.run(cypher(named, f"DROP {name} IF EXISTS"))
    else:
        with bolt_server() as started:
            yield started


@pytest.fixture
async def graph(server: BoltServer) -> AsyncIterator[Neo4jGraph]:
    """Of an empty database."""
    await cypher(server, "MATCH (n) DETACH DELETE n")
    async with Neo4jGraph(server.uri, server.user, server.password, server.database) as found:
        yield found
    await cypher(server, "MATCH (n) DETACH DELETE n")


async def cypher(server: BoltServer, query: str, **parameters: Any) -> list[Any]:
    async with neo4j.AsyncGraphDatabase.driver(server.uri, auth=(server.user, server.password)) as driver:
        found = await driver.execute_query(query, parameters, database_=server.database)
        return [each.values() for each in found.records]


async def chain(server: BoltServer, rows: list[dict[str, Any]], edges: list[tuple[int, int]]) -> None:
    """Messages with a number `n`, and which follows which."""
    await cypher(server, f"CREATE {MADE} IF NOT EXISTS FOR (m:Message) ON (m.n)")
    await cypher(server, "UNWIND $rows AS r CREATE (m:Message) SET m = r", rows=rows)
    await cypher(
        server,
        "UNWIND $edges AS e MATCH (a:Message {n: e[0]}) MATCH (b:Message {n: e[1]}) CREATE (a)-[:FOLLOWS]->(b)",
        edges=[list(each) for each in edges],
    )


def line(number: int, speaker: str, at: Any = None, **more: Any) -> dict[str, Any]:
    return {"n": number, "message": f"text {number}", "speaker": speaker, "timestamp": at, **more}


async def texts(graph: Neo4jGraph, **wanted: Any) -> list[str]:
    return [each.text async for each in graph.messages(Wanted(**wanted))]


class Told:
    def __init__(self) -> None:
        self.heard: list[int] = []

    def progress(self, done: int, total: int) -> None:
        self.heard.append(done)

    def skipped(self, where: str, why: str) -> None:
        raise AssertionError(f"{where}: {why}")


# -- messages that follow each other --------------------------------------------------------------------------------


async def test_threads_of_speakers_are_read_in_order(graph: Neo4jGraph, server: BoltServer) -> None:
    """Written in disorder, so that only edges tell the order of those without times."""
    rows = [line(n, ["John Doe", "Ann", HOSTILE][n % 3]) for n in (5, 2, 0, 4, 1, 3)]
    rows += [line(n, "Ann", f"2024-01-01T10:0{n - 10}:00") for n in (12, 10, 11)]
    await chain(server, rows, [(n, n + 1) for n in range(5)] + [(10, 11), (11, 12)])
    assert await graph.kept() == "follows"
    assert await texts(graph, person="john doe") == [f"text {n}" for n in range(6)]
    found = [each async for each in graph.messages(Wanted("Ann"))]
    assert [each.text for each in found] == [f"text {n}" for n in (0, 1, 2, 3, 4, 5, 10, 11, 12)]
    assert [each.reply_to for each in found[1:6]] == [each.id for each in found[:5]]
    assert len({each.chat for each in found}) == 2
    assert found[6].at == datetime(2024, 1, 1, 10, tzinfo=UTC).timestamp()
    assert [each.name for each in await graph.people(Wanted("John Doe"))] == ["John Doe", "Ann", HOSTILE]
    assert [(each.person.name, each.messages) for each in await graph.speakers()] == [
        ("Ann", 5),
        ("John Doe", 2),
        (HOSTILE, 2),
    ]


async def test_cycles_branches_and_joins_end(graph: Neo4jGraph, server: BoltServer) -> None:
    rows = [line(n, "ab"[n % 2], 1_700_000_000 + n) for n in range(12)]
    cycle = [(0, 1), (1, 2), (2, 0), (2, 2)]
    diamond = [(3, 4), (3, 5), (4, 6), (5, 6)]
    behind = [(7, 8), (8, 7), (8, 9)]
    await chain(server, rows, [*cycle, *diamond, *behind, (9, 9)])
    found = [each async for each in graph.messages(Wanted())]
    assert [each.text for each in found] == [f"text {n}" for n in range(12)]
    before = {each.text: each.reply_to for each in found}
    by_id = {each.id: each.text for each in found}
    told = {text: by_id.get(reply, "") for text, reply in before.items()}
    assert [told[f"text {n}"] for n in range(12)] == [
        *("", "text 0", "text 1"),
        *("", "text 3", "text 3", "text 5"),
        *("", "text 7", "text 8"),
        *("", ""),
    ]


async def test_edges_that_lead_back_in_time_are_turned_around(graph: Neo4jGraph, server: BoltServer) -> None:
    rows = [line(n, "ab"[n % 2], f"2024-01-01T10:0{n}:00Z") for n in range(5)]
    await chain(server, rows, [(n + 1, n) for n in range(4)])
    found = [each async for each in graph.messages(Wanted())]
    assert [each.text for each in found] == [f"text {n}" for n in range(5)]
    assert found[1].reply_to == found[0].id


async def test_times_of_any_type_and_zone_are_compared(graph: Neo4jGraph, server: BoltServer) -> None:
    base = datetime(2024, 3, 31, 0, 30, tzinfo=UTC).timestamp()
    rows = [
        line(0, "a", "2024-03-31T01:30:00+01:00"),
        line(1, "b", utc(base + 60)),
        line(2, "a", "2024-03-31T00:32:00"),
        line(3, "b", base + 180),
        line(4, "a", (base + 240) * 1000),
        line(5, "b", "2024-03-31T02:35:00.123456789+02:00[Europe/Berlin]"),
        line(6, "a", "some day"),
        line(7, "b"),
    ]
    await chain(server, rows, [])
    assert await texts(graph) == [f"text {n}" for n in (6, 7, 0, 1, 2, 3, 4, 5)]
    assert await texts(graph, since=base + 60, until=base + 240) == ["text 1", "text 2", "text 3"]
    assert await texts(graph, most=2) == ["text 4", "text 5"]


async def test_ids_of_messages_are_used_where_each_has_one(graph: Neo4jGraph, server: BoltServer) -> None:
    await chain(server, [line(n, "ab"[n], id=f"own {n}") for n in range(2)], [(0, 1)])
    assert [(each.id, each.reply_to) async for each in graph.messages(Wanted())] == [("own 0", ""), ("own 1", "own 0")]
    await chain(server, [line(n, "ab"[n - 2], id="same") for n in (2, 3)], [])
    found = [each.id async for each in graph.messages(Wanted())]
    assert len(set(found)) == 4
    assert "same" not in found
    assert found == [each.id async for each in graph.messages(Wanted())]


async def test_what_a_speaker_is_and_feels_is_read(graph: Neo4jGraph, server: BoltServer) -> None:
    more = {"personality_type": "warm", "emotional_state": "happy", "relationship_type": "sister"}
    await chain(server, [line(0, "a", 5, context_tags=["home", "food"], **more), line(1, "b", 6)], [(0, 1)])
    [first, second] = [each async for each in graph.messages(Wanted())]
    assert (first.personality, first.emotion, first.relationship, first.tags) == (
        "warm",
        "happy",
        "sister",
        ("home", "food"),
    )
    assert (second.personality, second.tags) == ("", ())
    [speaker] = [each for each in await graph.speakers() if each.person.name == "a"]
    assert (speaker.personalities, speaker.emotions, speaker.first, speaker.last) == (("warm",), ("happy",), 5, 5)


# -- people who send messages to chats --------------------------------------------------------------------------------


def conversation(count: int, *, people: int = 3, chats: int = 4, odd: str = "\ud800\x00") -> Iterator[Item]:
    """The chats one after the other, a message a minute; every fifth message replies to the one three before."""
    for n in range(people):
        yield Person(f"p{n}", [HOSTILE, "John Doe", "Ann"][n] if n < 3 else f"P {n}", (f"+49 170 000{n}",))
    for n in range(chats):
        yield Chat(f"c{n}", f"Chat {n}", group=n % 2 == 0)
    each = count // chats
    for n in range(count):
        place = n % each
        yield Message(
            id=f"m{n}",
            chat=f"c{n // each}",
            person=f"p{n % people}",
            text=f"text {n} é 🙂 {odd}",
            at=1_700_000_000 + n * 60,
            reply_to=f"m{n - 3}" if place % 5 == 4 else "",
            emotion="happy" if n % 7 == 0 else "",
            tags=("a", "b") if n % 9 == 0 else (),
        )


def cleaned(message: Message) -> tuple[Any, ...]:
    return (
        message.id,
        message.chat,
        message.person,
        words(message.text),
        message.at,
        message.reply_to,
        message.emotion,
        message.tags,
    )


async def test_what_is_written_is_read_again_and_the_same_again_changes_nothing(
    graph: Neo4jGraph, server: BoltServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(put, "BATCH", 100)
    items = list(conversation(240))
    told = Told()
    first = await graph.bring(items, told)
    assert (first.people, first.chats, first.messages, first.new) == (3, 4, 240, 240)
    assert told.heard == [100, 200, 240]
    again = await graph.bring(items, Told())
    assert (again.messages, again.new) == (240, 0)
    assert await graph.kept() == "sent"
    counts = await cypher(server, "MATCH (n) OPTIONAL MATCH (n)-[r]->() RETURN count(DISTINCT n), count(r)")
    assert counts == [[247, 240 * 2 + 12 + 48]]
    written = [cleaned(each) for each in items if isinstance(each, Message)]
    assert [cleaned(each) async for each in graph.messages(Wanted())] == written
    assert [each async for each in graph.messages(Wanted("p1"))] == [each async for each in graph.messages(Wanted())]
    speakers = await graph.speakers()
    assert [(each.person.name, each.messages, each.chats) for each in speakers] == [
        ("Ann", 80, 4),
        ("John Doe", 80, 4),
        (HOSTILE, 80, 4),
    ]
    assert await graph.find("+49 170 0001") == Person("p1", "John Doe", ("+49 170 0001",))


async def test_a_graph_with_ids_that_are_not_unique_can_be_written_into(server: BoltServer) -> None:
    """Then there can be no constraint, and messages are called what the database calls them."""
    if server.http:
        server = msgspec.structs.replace(server, database=DATABASES[2])
    else:
        await cypher(server, "DROP CONSTRAINT rolecast_message IF EXISTS")
    await cypher(server, "CREATE (:Message {id: 'same'}), (:Message {id: 'same'})")
    async with Neo4jGraph(server.uri, server.user, server.password, server.database) as graph:
        assert (await graph.bring(conversation(12), Told())).new == 12
        found = [each async for each in graph.messages(Wanted())]
    assert [each.text for each in found] == [f"text {n} é 🙂 " for n in range(12)]
    assert not {each.id for each in found} & {f"m{n}" for n in range(12)}
    await cypher(server, "MATCH (n) DETACH DELETE n")


async def test_an_edited_text_is_changed_and_what_somebody_added_stays(graph: Neo4jGraph, server: BoltServer) -> None:
    await graph.bring([Message("m", "c", "p", "teh", 5)], Told())
    await cypher(server, "MATCH (m:Message) SET m.emotional_state = 'sad'")
    assert (await graph.bring([Message("m", "c", "p", "the", 5)], Told())).new == 0
    [one] = [each async for each in graph.messages(Wanted())]
    assert (one.text, one.emotion, one.chat, one.person) == ("the", "sad", "c", "p")


async def test_the_documented_graph_is_read_as_it_is(graph: Neo4jGraph, server: BoltServer) -> None:
    """Group chats with members, messages to people and to nobody; times of several types; ids that are numbers."""
    await cypher(
        server,
        """
        CREATE (me:Person {id: 1, name: 'Me', isMainUser: true}), (ann:Person {id: 2, name: 'Ann', phone: '+1 555'}),
               (bo:Person {id: 3, name: 'Bo'}), (cy:Person {id: 4, name: 'Cy'}), (g:GroupChat {id: 9, name: 'Trip'}),
               (h:GroupChat {id: 10, name: 'Other'}), (cy)-[:MEMBER_OF]->(g), (ann)-[:MEMBER_OF]->(g),
               (ann)-[:SENT]->(:Message {id: 1, body: 'one', date: datetime('2024-01-01T10:00:00Z')})-[:SENT_TO]->(g),
               (me)-[:SENT]->(two:Message {id: 2, body: 'two', date: '2024-01-01T11:01:00+01:00', isFromMe: true}),
               (two)-[:SENT_TO]->(g),
               (bo)-[:SENT]->(three:Message {id: 3, body: 'three', date: 1704103320})-[:SENT_TO]->(g),
               (two)-[:FOLLOWS]->(three),
               (bo)-[:SENT]->(:Message {id: 4, body: 'elsewhere', date: 1704103320})-[:SENT_TO]->(h),
               (ann)-[:SENT]->(:Message {id: 5, body: 'hi me', date: 1704103325})-[:SENT_TO]->(me),
               (me)-[:SENT]->(:Message {id: 6, body: 'hi ann', date: 1704103326})-[:SENT_TO]->(ann),
               (bo)-[:SENT]->(:Message {id: 7, body: 'hi me too', date: 1704103327})-[:SENT_TO]->(me),
               (ann)-[:SENT]->(:Message {id: 8, body: 'to whom', date: 1704103328}),
               (me)-[:SENT]->(:Message {id: 9, body: 'and this', date: 1704103329}),
               (ann)-[:SENT]->(:Message {id: 10, body: 'named', date: 1704103330, groupChat: 'Old'}),
               (me)-[:SENT]->(:Message {id: 11, body: 'as well', date: 1704103331, groupChat: 'Old'})
        """,
    )
    chats: dict[str, list[str]] = {}
    async for each in graph.messages(Wanted("ann")):
        chats.setdefault(each.chat, []).append(each.text)
    assert sorted(chats.values()) == [["hi me", "hi ann"], ["named", "as well"], ["one", "two", "three"], ["to whom"]]
    assert chats["9"] == ["one", "two", "three"]
    assert {each.name for each in await graph.people(Wanted("Ann"))} == {"Ann", "Me", "Bo", "Cy"}
    assert [each.reply_to async for each in graph.messages(Wanted("Cy"))] == []
    replies = {each.text: each.reply_to async for each in graph.messages(Wanted("Bo"))}
    assert replies["three"] == "2"
    assert "elsewhere" in replies
    assert "hi ann" not in replies


async def test_a_span_and_a_number_limit_what_is_read(graph: Neo4jGraph, server: BoltServer) -> None:
    await graph.bring(conversation(40), Told())
    every = await texts(graph)
    assert await texts(graph, most=7) == every[-7:]
    assert await texts(graph, since=1_700_000_000 + 60, until=1_700_000_000 + 180) == every[1:3]
    assert await texts(graph, person="Ann", since=1_800_000_000.0) == []


async def test_two_people_of_one_name_are_asked_about(graph: Neo4jGraph, server: BoltServer) -> None:
    people = [Person("p1", "Ann"), Person("p2", "Ann")]
    await graph.bring([*people, Message("1", "c", "p1", "a", 1), Message("2", "c", "p2", "b", 2)], Told())
    with pytest.raises(Invalid, match=r"several people: Ann \(p1\), Ann \(p2\)"):
        await texts(graph, person="Ann")
    assert await texts(graph, person="p2") == ["a", "b"]
    with pytest.raises(PersonNotFound, match="Nobody in the conversations is called"):
        await texts(graph, person=HOSTILE)


# -- ten thousand messages --------------------------------------------------------------------------------------------


async def test_ten_thousand_messages_are_extracted_from_either_graph(server: BoltServer, tmp_path: Path) -> None:
    """In a database of their own where there may be several, because deleting them takes long."""
    if server.http:
        server = msgspec.structs.replace(server, database=DATABASES[1])
    await cypher(server, "MATCH (n) DETACH DELETE n")
    count = 10_000
    rows = [line(n, "ab"[n % 2], 1_700_000_000 + n * 60, id=n) for n in range(count)]
    edges = [(n, n + 1) for n in range(count - 1) if n % 5000 != 4999]
    await chain(server, rows, edges)
    chosen = Extraction(most=0, context=4)
    async with Neo4jGraph(server.uri, server.user, server.password, server.database) as graph:
        found = await extract(graph, wanted_of("a", chosen), chosen, tmp_path / "a.jsonl", Told())
    assert (found.messages, found.chats, found.threads, found.examples) == (count, 2, 2, count // 2 - 2)
    examples = list(example.read(tmp_path / "a.jsonl"))
    assert [int(each.metadata.message_ids[-1]) for each in examples] == [n for n in range(0, count, 2) if n % 5000]
    assert all(
        [int(one) for one in each.metadata.message_ids]
        == list(range(int(each.metadata.message_ids[0]), int(each.metadata.message_ids[-1]) + 1))
        for each in examples
    )
    few = Extraction(most=1000, until="2023-11-20")
    async with Neo4jGraph(server.uri, server.user, server.password, server.database) as graph:
        part = await extract(graph, wanted_of("a", few, ZoneInfo("UTC")), few, tmp_path / "b.jsonl", Told())
    assert part.messages == 1000
    assert part.last == 1_700_524_760.0  # the last of that day, in UTC
    # The same messages as people who send them to chats: the two are told apart by what there is more of.
    await cypher(
        server, "CREATE (:Person {id: 'a', name: 'a'}), (:Person {id: 'b', name: 'b'}), (:GroupChat {id: 'g'})"
    )
    for start in range(0, count, 2000):
        await cypher(
            server,
            "UNWIND $ns AS n MATCH (m:Message {n: n}) SET m.body = m.message, m.date = m.timestamp WITH m "
            "MATCH (p:Person {id: m.speaker}) MATCH (g:GroupChat {id: 'g'}) "
            "CREATE (m)<-[:SENT]-(p) CREATE (m)-[:SENT_TO]->(g)",
            ns=list(range(start, start + 2000)),
        )
    async with Neo4jGraph(server.uri, server.user, server.password, server.database) as other:
        assert await other.kept() == "sent"
        found = await extract(other, wanted_of("a", chosen), chosen, tmp_path / "c.jsonl", Told())
    assert (found.messages, found.chats, found.examples) == (count, 1, count // 2 - 1)
    if not server.http:
        await cypher(server, "MATCH (n) DETACH DELETE n")
    again = [each.metadata.message_ids for each in example.read(tmp_path / "c.jsonl")]
    assert again[0] == ("0", "1", "2")


# -- what goes wrong --------------------------------------------------------------------------------------------------


async def test_what_keeps_a_graph_from_answering_is_told_with_what_to_do(graph: Neo4jGraph, server: BoltServer) -> None:
    closed = f"bolt://127.0.0.1:{free_port()}"

    async def told(uri: str, password: str = server.password, database: str = server.database) -> str:
        with pytest.raises(SourceError) as error:
            async with Neo4jGraph(uri, server.user, password, database) as other:
                await other.speakers()
        assert server.password not in error.value.message
        return error.value.message

    assert "cannot be reached. Start it" in await told(closed)
    assert "refuses" in await told(server.uri, "wrong")
    assert "has no database 'nobody'" in await told(server.uri, database="nobody")
    assert "has no conversations: neither" in await told(server.uri)
    assert "There is no host of that name" in await told("bolt://nobody.invalid")
    if server.http:
        assert "speaks HTTP on that port" in await told(f"bolt://127.0.0.1:{server.http}")
        assert "encrypt" in await told(server.uri.replace("bolt:", "bolt+s:"))


@pytest.mark.parametrize(
    "uri", ["", "http://localhost:7474", "localhost:7687", "bolt://", "bolt://u:p@h", "bolt://h:x"]
)
def test_what_is_no_address_is_told(uri: str) -> None:
    with pytest.raises(Invalid, match="It looks like bolt://localhost:7687"):
        Neo4jGraph(uri, "neo4j", "secret")


async def test_a_graph_that_never_answers_is_left(graph: Neo4jGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ANSWER_S", 0.0)
    with pytest.raises(SourceError, match="did not answer within"):
        await graph.speakers()


async def test_without_the_driver_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "neo4j", None)
    with pytest.raises(SourceError, match=r"pip install 'rolecast\[graph\]'"):
        await Neo4jGraph("bolt://localhost", "neo4j", "").speakers()


def test_values_of_a_graph_become_ours() -> None:
    assert moment("1704103320") == moment(1704103320) == moment(1704103320_000) == moment(1704103320_000_000)
    assert moment(neo4j.time.Date(2024, 1, 1)) == moment("2024-01-01") == datetime(2024, 1, 1, tzinfo=UTC).timestamp()
    assert moment(neo4j.time.DateTime(2024, 1, 1, 10, 0, 0, 5)) == moment("2024-01-01T10:00")
    strange = (True, "", "9999-12-31", "0001-01-01", float("nan"), float("inf"), 1e305, -1e300, [], None, 10**400, b"x")
    assert [moment(each) for each in strange] == [None] * len(strange)
    assert tags("a, b,,") == tags(["a", " b ", None, ""]) == ("a", "b")
    assert (words(5), words(None), words(True), words(["x"])) == ("5", "", "", "")
    assert utc(0).tzinfo is UTC


# -- the documented Python --------------------------------------------------------------------------------------------


async def test_the_documented_extractor_writes_the_documented_file(
    graph: Neo4jGraph, server: BoltServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Called in a running loop, as in a notebook."""
    await graph.bring(conversation(40), Told())
    monkeypatch.chdir(tmp_path)
    config = ExtractionConfig(
        neo4j_uri=server.uri,
        neo4j_user=server.user,
        neo4j_password=server.password,
        neo4j_database=server.database,
        date_range={"start": "2023-01-01", "end": "2024-12-31"},
    )
    assert server.password not in repr(config)
    whole = Neo4jDataExtractor(config)
    assert whole.get_extraction_stats()["total_messages"] == 40
    path = whole.extract_person_conversations("John Doe")
    assert path == "data/extracted/john_doe.jsonl"
    lines = [json.loads(each) for each in Path(path).read_text().splitlines()]
    assert {each["speaker_name"] for each in lines} == {"John Doe"}
    stats = whole.get_extraction_stats()
    assert stats["total_messages"] == 40
    assert stats["total_examples"] == len(lines)
    assert stats["date_range"]["start"] == "2023-11-14T22:13:20+00:00"
    whole.extract_person_conversations("John Doe", max_messages=10)
    assert whole.get_extraction_stats()["total_messages"] == 10


def test_the_other_documented_constructor_and_calls_work(server: BoltServer, tmp_path: Path) -> None:
    async def fill() -> None:
        await cypher(server, "MATCH (n) DETACH DELETE n")
        rows = [line(n, ["John Doe", "Ann"][n % 2], n + 1, emotional_state="happy") for n in range(6)]
        await chain(server, rows, [(n, n + 1) for n in range(5)])

    asyncio.run(fill())
    with Neo4jDataExtractor(server.uri, server.user, server.password, server.database) as whole:
        assert whole.get_speaker_statistics() == {
            "Ann": {"message_count": 3, "personality_types": [], "emotional_states": ["happy"]},
            "John Doe": {"message_count": 3, "personality_types": [], "emotional_states": ["happy"]},
        }
        [sequence] = list(whole.extract_conversation_sequences(speaker_filter="John Doe", limit=5))
        assert [each.message for each in sequence.nodes] == [f"text {n}" for n in range(6)]
        assert (sequence.participants, sequence.duration_minutes) == (["John Doe", "Ann"], 0.08)
        assert json.loads(json.dumps(sequence.to_dict()))["nodes"][0]["speaker"] == "John Doe"
        examples = whole.create_training_examples([sequence], context_window=2)
        assert [len(each.conversation_history) for each in examples] == [1, 2, 2, 2, 2]
        assert whole.export_training_data(tmp_path / "all.jsonl") == 5
        assert whole.export_training_data(tmp_path / "one.jsonl", speaker_filter="john doe", max_examples=1) == 1
    assert [each.target_text for each in example.read(tmp_path / "one.jsonl")] == ["text 2"]


def test_an_empty_address_means_our_own_conversations(tmp_path: Path) -> None:
    """The same in our database and in a graph are the same examples."""

    async def fill() -> None:
        store = books.store_of(load())
        await store.open()
        await Kept(store).add(list(conversation(40, odd="")))
        await store.close()

    config = ExtractionConfig(neo4j_uri="", output_dir=tmp_path / "out")
    with pytest.raises(PersonNotFound, match="No conversations are here yet"):
        Neo4jDataExtractor(config).extract_person_conversations("John Doe")
    asyncio.run(fill())
    path = Path(Neo4jDataExtractor(config).extract_person_conversations("John Doe"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {each.speaker_name for each in example.read(path)} == {"John Doe"}
    assert Neo4jDataExtractor(config).get_speaker_statistics()["Ann"]["message_count"] == 13


async def test_our_own_database_and_a_graph_give_the_same_examples(
    graph: Neo4jGraph, server: BoltServer, tmp_path: Path
) -> None:
    store = books.store_of(load())
    await store.open()
    await Kept(store).add(list(conversation(60, odd="")))
    await graph.bring(conversation(60, odd=""), Told())
    chosen = Extraction(most=50, join=0)
    for name, conversations in (("own", Kept(store)), ("graph", graph)):
        await extract(conversations, wanted_of("John Doe", chosen), chosen, tmp_path / name, Told())
    await store.close()
    assert list(example.read(tmp_path / "own")) == list(example.read(tmp_path / "graph"))


def test_a_configuration_that_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    for wrong in ({"date_range": {"from": "2024-01-01"}}, {"max_messages": -1}, {"date_range": {"start": "soon"}}):
        config = ExtractionConfig(neo4j_uri="bolt://127.0.0.1:1", output_dir=tmp_path, **wrong)  # type: ignore[arg-type]
        with pytest.raises(Invalid):
            Neo4jDataExtractor(config).extract_person_conversations("x")


def test_the_configuration_reads_the_documented_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEO4J_URI", raising=False)
    assert ExtractionConfig().neo4j_uri == "bolt://localhost:7687"
    for name, value in (("URI", "bolt://h"), ("USERNAME", "u"), ("PASSWORD", "p")):
        monkeypatch.setenv(f"NEO4J_{name}", value)
    assert Neo4jDataExtractor().config == ExtractionConfig()
    named = Neo4jDataExtractor(uri="bolt://i", user="v", password="q", database="d").config
    assert (named.neo4j_uri, named.neo4j_user, named.neo4j_password, named.neo4j_database) == (
        "bolt://i",
        "v",
        "q",
        "d",
    )
    config = ExtractionConfig()
    assert (config.neo4j_uri, config.neo4j_user, config.neo4j_password) == ("bolt://h", "u", "p")


def test_the_server_of_the_tests_dies_with_them(tmp_path: Path) -> None:
    """The test process is killed; nobody is left who could end the server."""
    program = (
        "import bolt_server, pathlib, sys, time\n"
        "with bolt_server.guarded(['sleep', '600'], pathlib.Path(sys.argv[1])):\n"
        "    print('up', flush=True); time.sleep(600)"
    )
    folder = tmp_path / "server"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, cwd=Path(__file__).parent
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        started = psutil.Process(child.pid).children()
        child.kill()
    assert len(started) == 2
    _, alive = psutil.wait_procs(started, timeout=30)
    assert alive == []
