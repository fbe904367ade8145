"""The record of what left: one chain for each gateway, in which every later change shows."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from databases import OpenStore, database, postgres
from gateway import ScriptedWorker, chat, config, on_uvloop, remote, request, running_gateway, short_folder
from hypothesis import given
from hypothesis import strategies as st
from live_gateway import LiveGateway
from msgspec.structs import replace
from typer.testing import CliRunner

from rolecast.books.store import Query, Store, StoreError, change
from rolecast.cli import app
from rolecast.config.egress import Egress
from rolecast.egress import chain
from rolecast.egress.chain import BEGINNING, Entry
from rolecast.egress.departure import secret
from rolecast.egress.ledger import EgressLedger, everything, heads, newest

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop
__all__ = ["database", "postgres"]  # fixtures

ONE = Entry("", 0, 1_000, "request", 7, "k", "cloud", "openai", "api.example:443", "/v1/chat/completions", 99, "{}")


@pytest.fixture
async def store(database: OpenStore) -> AsyncIterator[Store]:
    ready = database()
    await ready.open()
    yield ready
    await ready.close()


def chained(count: int, place: str = "a") -> list[Entry]:
    found, previous = [], BEGINNING
    for seq in range(1, count + 1):
        found.append(chain.sealed(replace(ONE, place=place, seq=seq, at_us=seq), previous))
        previous = found[-1].hash
    return found


async def test_entries_that_come_together_make_one_chain(store: Store) -> None:
    ledger = EgressLedger(store, "a")
    await asyncio.gather(*(ledger.write(replace(ONE, request=number)) for number in range(50)))
    await ledger.write(ONE)
    await ledger.close()
    entries = await everything(store)
    assert [each.seq for each in entries] == list(range(1, 52))
    assert chain.check(entries) == ([], 51)
    assert [each.seq for each in await newest(store, 1, since_us=1_000)] == [51]


async def test_several_gateways_share_a_database_each_with_its_own_chain(database: OpenStore) -> None:
    stores = [database(), database()]
    for each in stores:
        await each.open()
    ledgers = [EgressLedger(each, place) for each, place in zip(stores, "ab", strict=True)]
    await asyncio.gather(*(ledger.write(ONE) for _ in range(20) for ledger in ledgers))
    assert chain.check(await everything(stores[0])) == ([], 40)
    assert [(place, seq) for place, seq, _ in await heads(stores[1])] == [("a", 20), ("b", 20)]
    for each in stores:
        await each.close()


async def test_two_processes_of_one_place_do_not_break_its_chain(database: OpenStore) -> None:
    stores = [database(), database()]
    for each in stores:
        await each.open()
    ledgers = [EgressLedger(each, "a") for each in stores]
    await asyncio.gather(*(ledger.write(ONE) for _ in range(20) for ledger in ledgers))
    assert chain.check(await everything(stores[0])) == ([], 40)
    for each in stores:
        await each.close()


async def test_without_the_database_nothing_is_written_and_that_is_told(store: Store) -> None:
    ledger = EgressLedger(store, "a")
    await store.close()
    with pytest.raises(StoreError):
        await ledger.write(ONE)


@given(st.integers(2, 12), st.randoms(), st.sampled_from(["change", "remove", "swap", "insert"]))
def test_every_change_of_a_chain_shows(count: int, rng: Random, how: str) -> None:
    entries = chained(count)
    at = rng.randrange(count - 1)  # but for the newest end, which nobody can miss
    if how == "change":
        name = rng.choice([n for n in chain.FIELDS if n not in ("place", "seq", "previous")])
        value = getattr(entries[at], name)
        entries[at] = replace(entries[at], **{name: value + 1 if isinstance(value, int) else f"{value}0"})
    elif how == "remove":
        del entries[at]
    elif how == "swap":
        entries[at], entries[at + 1] = replace(entries[at + 1], seq=at + 1), replace(entries[at], seq=at + 2)
    else:
        entries.insert(at, replace(entries[at], bytes=1))
    faults, _ = chain.check(entries)
    assert next(fault.seq for fault in faults) <= at + 2


def test_a_changed_entry_that_was_hashed_anew_breaks_the_next() -> None:
    entries = chained(5)
    entries[2] = chain.sealed(replace(entries[2], bytes=1), entries[2].previous)
    assert [fault.seq for fault in chain.check(entries)[0]] == [4]


def test_a_cut_end_shows_by_what_was_noted_alone() -> None:
    entries = chained(5)
    noted = {"a": (5, entries[4].hash)}
    assert chain.check(entries, noted)[0] == []
    assert chain.check(entries[:3])[0] == []
    assert [fault.seq for fault in chain.check(entries[:3], noted)[0]] == [4]
    assert [fault.seq for fault in chain.check([], noted)[0]] == [1]


# -- the command ---------------------------------------------------------------------------------------------------


def run(folder: Path, *words: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["egress", *words, "--config", str(folder / "rolecast.yaml")])
    return found.exit_code, found.output


async def test_the_command_lists_and_verifies(tmp_path: Path) -> None:
    from rolecast.books.sqlite import SQLite

    (tmp_path / "rolecast.yaml").write_text(
        f"storage: {{url: 'sqlite:///{tmp_path}/x.db'}}\nmodels: {{m: {{backend: fake}}}}\nroles: {{standard: [m]}}\n"
    )
    store = SQLite(tmp_path / "x.db")
    await store.open()
    ledger = EgressLedger(store, "a")
    assert "There are no entries" in (await asyncio.to_thread(run, tmp_path, "verify"))[1]
    await ledger.write(ONE)
    assert "1 entry in 1 chain; none was changed" in (await asyncio.to_thread(run, tmp_path, "verify"))[1]
    for _ in range(2):
        await ledger.write(ONE)
    assert "3 entries in 1 chain; none was changed" in (await asyncio.to_thread(run, tmp_path, "verify"))[1]
    code, text = await asyncio.to_thread(run, tmp_path, "verify", "--json")
    told = json.loads(text)
    assert (code, told["entries"], told["faults"]) == (0, 3, [])
    head = told["heads"][0]["hash"]
    code, text = await asyncio.to_thread(run, tmp_path, "list", "--json")
    assert [each["seq"] for each in json.loads(text)["entries"]] == [3, 2, 1]
    assert "api.example" in (await asyncio.to_thread(run, tmp_path, "list"))[1]
    assert (await asyncio.to_thread(run, tmp_path, "verify", "--head", head))[0] == 0
    assert (await asyncio.to_thread(run, tmp_path, "verify", "--head", "xyz"))[0] == 2
    assert (await asyncio.to_thread(run, tmp_path, "list", "--since", "soon"))[0] == 2
    await change(store, Query("DELETE FROM egress WHERE seq = 3"))
    assert (await asyncio.to_thread(run, tmp_path, "verify"))[0] == 0
    code, text = await asyncio.to_thread(run, tmp_path, "verify", "--head", f"3:{head}")
    assert (code, "not there any more" in " ".join(text.split())) == (1, True)
    await change(store, Query("UPDATE egress SET bytes = 1 WHERE seq = 2"))
    code, text = await asyncio.to_thread(run, tmp_path, "verify")
    assert (code, "entry 2" in text) == (1, True)
    await store.close()


async def test_the_command_looks_into_the_database_of_the_gateway_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rolecast.books.sqlite import SQLite

    store = SQLite(tmp_path / "x.db")
    await store.open()
    await EgressLedger(store, "a").write(ONE)
    await store.close()
    config = f"""\
server: {{port: 0}}
storage: {{url: 'sqlite:///{tmp_path}/x.db'}}
models: {{m: {{backend: fake}}}}
roles: {{standard: [m]}}
"""
    with LiveGateway(tmp_path, config) as gateway:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        monkeypatch.setenv("ROLECAST_HOME", str(gateway.home))
        said = await asyncio.to_thread(CliRunner().invoke, app, ["egress"])
        assert "api.example" in said.output


WRITER = """
import asyncio, sys
from pathlib import Path
from rolecast.books.sqlite import SQLite
from rolecast.egress.ledger import EgressLedger
sys.path.insert(0, sys.argv[2])
from test_egress_ledger import ONE

async def main():
    store = SQLite(Path(sys.argv[1]))
    await store.open()
    ledger = EgressLedger(store, "a")
    while True:
        await asyncio.gather(*(ledger.write(ONE) for _ in range(7)))
        print("written", flush=True)

asyncio.run(main())
"""


async def test_a_chain_goes_on_whole_after_kill_9(tmp_path: Path) -> None:
    from rolecast.books.sqlite import SQLite

    path = tmp_path / "x.db"
    for _ in range(2):
        argv = [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parent)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            for _ in range(3):
                assert await asyncio.to_thread(child.stdout.readline) == b"written\n"
            os.kill(child.pid, signal.SIGKILL)
    store = SQLite(path)
    await store.open()
    faults, count = chain.check(await everything(store))
    assert faults == []
    assert count >= 42
    await store.close()


# -- the gateway ---------------------------------------------------------------------------------------------------


def test_the_secret_is_for_its_owner_alone_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "data" / "egress.key"
    first = secret(path)
    assert secret(path) == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["egress.key"]
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="does not hold a secret"):
        secret(path)


async def test_what_cannot_be_written_down_does_not_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(self: EgressLedger, entry: Entry) -> None:
        raise StoreError("the disk is full")

    with short_folder() as folder:
        async with ScriptedWorker().listening() as cloud, ScriptedWorker().listening(f"{folder}/w") as here:
            models = {"cloud": remote(cloud.url, cloud=True), "here": remote(here.url)}
            whole = replace(config(models), roles={"standard": ["cloud", "here"]})
            async with running_gateway(whole, Path(folder)) as gate:
                monkeypatch.setattr(EgressLedger, "write", fails)
                answer = await gate.ask(request(chat("hello", "cloud")))
                assert (answer.status, answer.error["code"]) == (503, "egress_unrecorded")
                answer = await gate.ask(request(chat("hello", "standard")))
                assert (answer.status, answer.header("x-rolecast-model")) == (200, "here")
                told = [each.event_type for each in gate.gateway.events.recent()]
                assert told.count("egress_refused") == 2
                page = await gate.ask(request(path="/admin/egress", method="GET"))
                assert page.json == {"entries": [], "heads": []}
            off = replace(whole, egress=Egress(ledger=False))
            async with running_gateway(off, Path(folder)) as gate:
                assert (await gate.ask(request(chat("hello", "cloud")))).status == 200
                page = await gate.ask(request(path="/admin/egress?since=x", method="GET"))
                assert page.status == 400


async def test_nothing_leaves_where_the_configuration_says_so() -> None:
    with short_folder() as folder:
        async with ScriptedWorker().listening() as cloud, ScriptedWorker().listening(f"{folder}/w") as here:
            models = {"cloud": remote(cloud.url, cloud=True), "here": remote(here.url)}
            roles = {"standard": ["cloud", "here"]}
            whole = replace(config(models), roles=roles, egress=Egress(local_only=True))
            async with running_gateway(whole, Path(folder)) as gate:
                answer = await gate.ask(request(chat("hello", "cloud")))
                assert (answer.status, answer.error["code"]) == (403, "local_only")
                answer = await gate.ask(request(chat("hello", "auto")))
                assert (answer.status, answer.header("x-rolecast-model")) == (200, "here")
                body = chat("hello", "cloud")
                counted = await gate.ask(request(body, path="/v1/messages/count_tokens"))
                assert counted.status >= 400
                assert not cloud.peers


async def test_a_list_of_names_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    from rolecast.egress.departure import _names
    from rolecast.errors import ConfigError

    names = tmp_path / "names"
    with pytest.raises(ConfigError, match="names_file"):
        _names(Egress(names_file=str(names)))
    names.write_text("# ours\nAnn Lee\n\nBo\n")
    assert _names(Egress(names=["Cy"], names_file=str(names))) == ("Cy", "Ann Lee", "Bo")
    names.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        _names(Egress(names_file=str(names)))
