"""How long a Neo4j takes to be filled and read, and how much memory that takes here.

    python bench/avatar_graph.py [--messages 100000]

Starts the server of the tests, or uses that of NEO4J_URI, whose database must be empty and is left empty. Each way of
keeping conversations is read in a process of its own, so that its memory is its own. Extraction alone is measured, too.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "unit"))

import msgspec
from bolt_server import BoltServer, bolt_server, given

from rolecast.avatars.conversation import Chat, Item, Message, Person, Wanted
from rolecast.avatars.extraction import extract, wanted_of
from rolecast.avatars.graph.connection import Connection
from rolecast.avatars.settings import Extraction
from rolecast.avatars.sources.neo4j import Neo4jGraph

PEOPLE, CHATS = 8, 20


class Quiet:
    def progress(self, done: int, total: int) -> None:
        pass

    def skipped(self, where: str, why: str) -> None:
        print(where, why)


def messages(count: int) -> Iterator[Message]:
    """The same in each run: answers within minutes, pauses of hours."""
    chance = random.Random(17)
    at = 1_600_000_000.0
    for n in range(count):
        at += chance.lognormvariate(3, 1.2) if chance.random() < 0.95 else chance.lognormvariate(10, 0.6)
        text = " ".join(chance.choice(("so", "what", "do", "you", "think", "of", "that")) for _ in range(12))
        reply = f"m{n - 5}" if n % 11 == 10 else ""
        yield Message(f"m{n:07}", f"c{n * CHATS // count}", f"p{chance.randrange(PEOPLE)}", text, at, reply)


def items(count: int) -> Iterator[Item]:
    yield from (Person(f"p{n}", f"Person {n}") for n in range(PEOPLE))
    yield from (Chat(f"c{n}", f"Chat {n}", group=True) for n in range(CHATS))
    yield from messages(count)


class Made:
    """Conversations that are made up as they are asked for."""

    def __init__(self, count: int) -> None:
        self._count = count

    async def find(self, name: str) -> Person:
        return Person("p1", "Person 1")

    async def people(self, wanted: Wanted) -> list[Person]:
        return [Person(f"p{n}", f"Person {n}") for n in range(PEOPLE)]

    async def messages(self, wanted: Wanted) -> AsyncIterator[Message]:
        for each in messages(self._count):
            yield each


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def fill(server: BoltServer, count: int) -> None:
    async with Neo4jGraph(server.uri, server.user, server.password, server.database) as graph:
        for what in ("filled", "again"):
            began = time.perf_counter()
            put = await graph.bring(items(count), Quiet())
            print(f"{what:>10}: {time.perf_counter() - began:7.1f} s, {put.new} new, {peak():.0f} MB here at most")


async def follow(server: BoltServer) -> None:
    """The same messages as a chain for each chat."""
    ask = Connection(server.uri, server.user, server.password, server.database)
    people = await ask.rows("MATCH (p:Person) RETURN p.id")
    for (person,) in people:
        await ask.write(
            "MATCH (p:Person {id: $person})-[s:SENT]->(m:Message) "
            "SET m.speaker = p.name, m.message = m.body, m.timestamp = m.date DELETE s",
            person=person,
        )
    for n in range(CHATS):
        rows = await ask.rows(
            "MATCH (m:Message)-[:SENT_TO]->(c:GroupChat {id: $chat}) RETURN m.id ORDER BY m.id", chat=f"c{n}"
        )
        ids = [row[0] for row in rows]
        pairs = [list(each) for each in pairwise(ids)]
        for start in range(0, len(pairs), 2000):
            await ask.write(
                "UNWIND $pairs AS p MATCH (a:Message {id: p[0]}) MATCH (b:Message {id: p[1]}) "
                "CREATE (a)-[:FOLLOWS]->(b)",
                pairs=pairs[start : start + 2000],
            )
    await ask.close()


async def read(server: BoltServer, most: int) -> None:
    chosen = Extraction(most=most)
    with tempfile.TemporaryDirectory() as folder:
        async with Neo4jGraph(server.uri, server.user, server.password, server.database) as graph:
            kept, idle, began, busy = await graph.kept(), peak(), time.perf_counter(), time.process_time()
            found = await extract(graph, wanted_of("Person 1", chosen), chosen, Path(folder) / "e.jsonl", Quiet())
    print(
        f"{kept:>10}: {time.perf_counter() - began:7.1f} s ({time.process_time() - busy:.1f} s of them work here), "
        f"{found.messages} messages, {found.examples} examples, "
        f"{peak():.0f} MB at most ({idle:.0f} before)"
    )


async def made(count: int) -> None:
    chosen, idle, began = Extraction(most=0), peak(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = await extract(Made(count), wanted_of("x", chosen), chosen, Path(folder) / "e.jsonl", Quiet())  # type: ignore[arg-type]
    print(
        f"extraction: {time.perf_counter() - began:7.1f} s, {found.messages} messages, {found.examples} examples, "
        f"{peak():.0f} MB at most ({idle:.0f} before)"
    )


def apart(what: str, server: BoltServer, *more: int) -> None:
    """In a process of its own."""
    environment = {**os.environ, "BENCH_SERVER": json.dumps(msgspec.to_builtins(server))}
    command = [sys.executable, __file__, "--part", what, *(str(each) for each in more)]
    subprocess.run(command, env=environment, check=True)


def part(what: str, numbers: list[int]) -> None:
    server = msgspec.convert(json.loads(os.environ["BENCH_SERVER"]), BoltServer)
    asyncio.run({"fill": fill, "read": read}[what](server, *numbers) if what != "made" else made(*numbers))


def main(count: int, server: BoltServer) -> None:
    apart("made", server, count)
    apart("fill", server, count)
    apart("read", server, 0)
    apart("read", server, 10_000)
    asyncio.run(follow(server))
    apart("read", server, 0)
    apart("read", server, 10_000)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--messages", type=int, default=100_000)
    options.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.part:
        part(chosen.part[0], [int(each) for each in chosen.part[1:]])
    elif named := given():
        ask = Connection(named.uri, named.user, named.password, named.database)
        if asyncio.run(ask.rows("MATCH (n) RETURN count(n)"))[0][0]:
            sys.exit("The database of NEO4J_URI is not empty.")
        main(chosen.messages, named)
    else:
        with bolt_server() as started:
            main(chosen.messages, started)
