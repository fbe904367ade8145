"""The journal of the ledger: what waits for the database survives the death of the gateway, once and whole."""

import asyncio
import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from databases import OpenStore, database, postgres
from gateway import chat, pair
from gateway import request as http
from hypothesis import given, settings
from hypothesis import strategies as st

from rolecast.books import journal
from rolecast.books.journal import CHARGES, HALF, HEAD, NOTES, REQUESTS, ROUTES, Journal, read, recover
from rolecast.books.ledger import Charge, Ledger
from rolecast.books.store import Query
from rolecast.config import paths
from rolecast.values import Usage

__all__ = ["database", "postgres"]  # fixtures

pytestmark = pytest.mark.anyio
ROW = (7, 1, 1.5, 3200, 10, 3, 0, 2500)


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    return "asyncio", {"use_uvloop": True}


def opened(folder: Path, store: str = "db") -> Journal:
    made = Journal()
    made.open(folder, store)
    assert made.trouble == ""
    return made


def found(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    (path,) = folder.glob("*.rows")
    return {table: list(rows) for table, rows in read(path.read_bytes()) if rows}


def record(ledger: Ledger, number: int, cost: int = 0, **values: Any) -> None:
    route = ledger.route("front door", "chat", "auto", "m", "m", "standard", "default; x", "k")
    if cost:
        ledger.charged(Charge(number, "openai", cost, key="k", run="r"))
    plain = {"status": 200, "outcome": "ok", "error": None, "stream": False, "usage": Usage(10, 3)}
    plain |= {"first_s": 0.001, "total_s": 0.002, "attempts": 1, "queue_us": 0, "load_us": 0, "client_id": ""}
    ledger.record(number, route, **{**plain, **values})


# -- the file ---------------------------------------------------------------------------------------------------


def test_what_is_added_is_in_the_file_at_once(tmp_path: Path) -> None:
    made = opened(tmp_path)
    made.add(((ROUTES, (1, "a", "b")),))
    note, charge = (7, None, "c", 0, 1, 0, 0), (7, "openai", 2**62, 0, "", "r", "", "")
    made.add(((REQUESTS, ROW), (NOTES, note), (CHARGES, charge)))
    assert found(tmp_path) == {
        "routes": [(1, "a", "b")],
        "requests": [ROW],
        "notes": [note],
        "charges": [charge],
    }
    assert (tmp_path.stat().st_mode & 0o77, next(tmp_path.glob("*.rows")).stat().st_mode & 0o77) in ((0, 0), (0o55, 0))
    made.close(kept=False)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_come_while_others_are_written_outlive_those(tmp_path: Path) -> None:
    made = opened(tmp_path)
    made.add(((REQUESTS, (1,)),))
    made.turn()
    made.add(((REQUESTS, (2,)),))
    made.turn()  # the first is still being written
    made.add(((REQUESTS, (3,)),))
    assert found(tmp_path)["requests"] == [(1,), (2,), (3,)]
    made.written()
    assert found(tmp_path)["requests"] == [(2,), (3,)]
    made.turn()
    made.add(((REQUESTS, (4,)),))
    made.written()
    assert found(tmp_path)["requests"] == [(4,)]
    made.clear()
    assert found(tmp_path) == {}
    made.close(kept=False)


def test_the_rows_of_usual_requests_are_kept_in_fewer_words_and_among_the_others(tmp_path: Path) -> None:
    made = opened(tmp_path)
    made.add_plain(*ROW)
    made.add(((REQUESTS, (8,)),))
    made.add_plain(2**63 - 1, 2**32 - 1, 1e9, 599 << 4, 10**12, 0, 0, 2**62)
    made.add_plain(2**70, *ROW[1:])  # no database keeps it
    made.turn()
    made.add_plain(9, *ROW[1:])
    assert [row[0] for row in found(tmp_path)["requests"]] == [7, 8, 2**63 - 1, 9]
    assert found(tmp_path)["requests"][0] == ROW
    made.written()
    assert [row[0] for row in found(tmp_path)["requests"]] == [9]
    for number in range(1, HALF // journal._PLAIN_SIZE + 1):
        made.add_plain(number, *ROW[1:])
    assert "full" in made.trouble
    kept = len(found(tmp_path)["requests"])
    assert kept == (HALF - 8) // journal._PLAIN_SIZE
    made.clear()
    made.add_plain(*ROW)
    assert found(tmp_path) == {"requests": [ROW]}  # what was there before is behind an end
    made.close(kept=False)


def test_a_kill_in_the_middle_of_a_usual_row_leaves_the_rows_before_it(tmp_path: Path) -> None:
    """It is blank first, then written from its beginning to its end."""
    made = opened(tmp_path)
    long = 0x0102030405060708  # no byte of it is blank
    made.add_plain(*ROW)
    made.add_plain(long, *ROW[1:])
    (path,) = tmp_path.glob("*.rows")
    whole, size = path.read_bytes(), journal._PLAIN_SIZE
    for written in range(size):
        torn = whole[: HEAD + size + written] + bytes(size - written) + whole[HEAD + 2 * size :]
        assert dict(read(torn))["requests"] == [ROW], written
    assert [row[0] for row in dict(read(whole))["requests"]] == [7, long]
    made.close(kept=False)


def test_a_full_journal_says_so_once_and_is_well_again_when_it_is_empty(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = opened(tmp_path)
    long = ((REQUESTS, ("x" * 100_000,)),)
    for _ in range(HALF // 100_000 + 3):
        made.add(long)
    assert "full" in made.trouble
    assert len(caplog.records) == 1
    assert len(found(tmp_path)["requests"]) == HALF // 100_100
    made.clear()
    made.add(((REQUESTS, (1,)),))
    assert (made.trouble, found(tmp_path)) == ("", {"requests": [(1,)]})
    made.close(kept=False)


@pytest.mark.parametrize("call", ["open", "posix_fallocate", "rename"])
def test_a_folder_that_cannot_be_used_leaves_the_ledger_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "rename":
        monkeypatch.setattr(Path, "rename", fails)
    else:
        monkeypatch.setattr(journal.os, call, fails)
    made = Journal()
    made.open(tmp_path, "db")
    made.add(((REQUESTS, ROW),))
    made.turn(), made.written(), made.clear()
    assert "No space left on device" in made.trouble
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    made.close(kept=True)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.data())
def test_a_torn_file_gives_the_rows_before_the_tear_and_no_others(sizes: list[int], data: st.DataObject) -> None:
    memory = bytearray(HEAD + 3000)  # what is not there of a file is torn off as well
    at, ends = HEAD, []
    for size in sizes:
        row = journal._encode([(REQUESTS, ("x" * size * 20,))])
        memory[at : at + 8 + len(row)] = journal._RECORD.pack(len(row), journal.adler32(row)) + row
        at += 8 + len(row)
        ends.append(at)
    tear = data.draw(st.integers(HEAD, at))
    garbage = data.draw(st.binary(max_size=40))
    memory[tear : tear + len(garbage)] = garbage
    rows = dict(read(bytes(memory)))["requests"]
    whole = [("x" * size * 20,) for size, end in zip(sizes, ends, strict=True) if end <= tear]
    assert rows[: len(whole)] == whole
    assert all(row in {("x" * size * 20,) for size in range(10)} for row in rows)
    cut = dict(read(bytes(memory[:tear])))["requests"]
    assert cut == whole


@given(st.binary(max_size=300))
def test_no_file_of_anybody_is_too_strange_to_be_read(data: bytes) -> None:
    read(data)
    read(b"\0" * HEAD + data)


# -- with a ledger ------------------------------------------------------------------------------------------------


async def test_what_a_dead_ledger_had_not_written_is_written_once_by_the_next(
    database: OpenStore, tmp_path: Path
) -> None:
    store, folder = database(), tmp_path / "journal"
    await store.open()
    dead = Ledger(store)
    await dead.open(folder)
    record(dead, 1, cost=5)
    await dead.close()  # this one is in the database already
    dead._held = 1  # nothing more is written
    record(dead, 1, cost=5)  # as if it had died before it was told
    record(dead, 2, cost=7, client_id="x")
    record(dead, 3)
    dead.journal.close(kept=True)
    for _ in range(2):
        following = Ledger(store)
        await following.open(folder)
        rows = await following.tail()
        assert [(row.id[-1], row.cost, row.run, row.client_id, row.model) for row in rows] == [
            ("3", 0, "", "", "m"),
            ("2", 7, "r", "x", "m"),
            ("1", 5, "r", "", "m"),
        ]
        following.leave()
    assert list(folder.iterdir()) == []
    await store.close()


async def test_a_batch_that_fails_stays_in_the_journal_until_it_is_written(database: OpenStore, tmp_path: Path) -> None:
    store = database()
    await store.open()
    ledger = Ledger(store)
    await ledger.open(tmp_path / "j")
    insert, broken = store.insert, True

    async def fails(batch: Any) -> None:
        if broken:
            raise OSError(errno.ENOSPC, "full")
        await insert(batch)

    store.insert = fails  # type: ignore[method-assign]
    record(ledger, 1, cost=5)
    ledger._flush()
    record(ledger, 2)
    while not ledger.trouble:
        await asyncio.sleep(0)
    record(ledger, 3)
    assert [row[0] for row in found(tmp_path / "j")["requests"]] == [1, 2, 3]
    broken = False
    ledger._flush()
    record(ledger, 4)
    while ledger.written < 3:
        await asyncio.sleep(0)
    assert 4 in [row[0] for row in found(tmp_path / "j")["requests"]]
    await ledger.close()
    assert found(tmp_path / "j") == {}
    ledger.leave()
    assert await charges_of(ledger) == [0, 0, 0, 5]
    await store.close()


async def charges_of(ledger: Ledger) -> list[int]:
    return [row.cost for row in await ledger.tail()]


async def test_the_journal_of_a_gateway_that_runs_or_of_another_database_is_left_alone(
    database: OpenStore, tmp_path: Path
) -> None:
    store = database()
    await store.open()
    folder = tmp_path / "j"
    runs, other = opened(folder, store.name), opened(folder, "another database")
    runs.add(((REQUESTS, ROW),))
    other.add(((REQUESTS, ROW),))
    other.close(kept=True)
    assert await recover(folder, store) == 0
    assert len(list(folder.iterdir())) == 2
    runs.close(kept=True)
    assert await recover(folder, store) == 1
    assert len(list(folder.iterdir())) == 1
    await store.close()


async def test_what_cannot_be_written_now_is_kept_for_the_next_start(database: OpenStore, tmp_path: Path) -> None:
    store = database()
    await store.open()
    left = opened(tmp_path, store.name)
    left.add(((REQUESTS, ROW),))
    left.close(kept=True)
    insert = store.insert

    async def fails(batch: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    store.insert = fails  # type: ignore[method-assign]
    assert await recover(tmp_path, store) == 0
    store.insert = insert  # type: ignore[method-assign]
    assert await recover(tmp_path, store) == 1
    await store.close()


@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "endless", "large", "unreadable", "of another version"])
async def test_what_is_no_journal_keeps_no_gateway_from_starting(
    database: OpenStore, tmp_path: Path, kind: str
) -> None:
    store = database()
    await store.open()
    left = opened(tmp_path, store.name)
    left.add(((REQUESTS, ROW),))
    left.close(kept=True)
    strange = tmp_path / f"0{journal.SUFFIX}"
    if kind == "pipe":
        os.mkfifo(strange)
    elif kind == "link":
        (tmp_path / "other").write_bytes(next(tmp_path.glob("*.rows")).read_bytes())
        strange.symlink_to(tmp_path / "other")
    elif kind == "folder":
        strange.mkdir()
    elif kind == "endless":
        strange.symlink_to("/dev/zero")
    elif kind == "large":
        with strange.open("wb") as file:
            file.truncate(2**40)
    elif kind == "unreadable":
        strange.write_bytes(journal._head(store.name) + os.urandom(1000))
    else:
        strange.write_bytes(b"rcj0" + os.urandom(1000))
    async with asyncio.timeout(20):
        assert await recover(tmp_path, store) == 1
        following = Ledger(store)
        await following.open(tmp_path)
        assert following.unprotected == ""
        following.leave()
    assert os.path.lexists(strange) == (kind != "unreadable")
    await store.close()


async def test_a_journal_that_cannot_be_removed_is_written_all_the_same(
    database: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = database()
    await store.open()
    left = opened(tmp_path, store.name)
    left.add(((REQUESTS, ROW),))
    left.close(kept=True)

    def fails(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "unlink", fails)
    await recover(tmp_path, store)
    assert "Read-only file system" in caplog.text
    assert [row[0] for row in await store.read(Query("SELECT id FROM requests"))] == [7]
    monkeypatch.undo()
    assert await recover(tmp_path, store) == 1
    assert [row[0] for row in await store.read(Query("SELECT id FROM requests"))] == [7]
    await store.close()


async def test_a_process_that_is_killed_leaves_what_it_added(tmp_path: Path) -> None:
    program = (
        "import sys, os, signal; from pathlib import Path; from rolecast.books.journal import Journal\n"
        "made = Journal(); made.open(Path(sys.argv[1]), 'db')\n"
        "for number in range(1000): made.add(((1, (number, 'x' * 50)),))\n"
        "print('done', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program, tmp_path], capture_output=True)
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, b"done\n")
    assert [row[0] for row in found(tmp_path)["requests"]] == list(range(1000))
    with next(tmp_path.glob("*.rows")).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody holds it


async def test_a_gateway_whose_folder_is_a_file_answers_and_is_degraded(tmp_path: Path) -> None:
    paths.make_private(paths.home())
    paths.journal().write_text("in the way")
    async with pair() as (gate, _):
        assert (await gate.ask(http(chat()))).status == 200
        health = (await gate.ask(http(path="/health", method="GET"), method="GET")).json
        assert "degraded" in str(health)
        assert any("killed" in line for line in gate.gateway.health.problems())
        assert len(await gate.rows()) == 1


async def test_a_gateway_that_ends_leaves_nothing(tmp_path: Path) -> None:
    async with pair() as (gate, _):
        assert (await gate.ask(http(chat()))).status == 200
        assert len(list(paths.journal().iterdir())) == 1
    assert list(paths.journal().iterdir()) == []
