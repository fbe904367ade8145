"""The gateway's own log file: emptied when it is full, under the hands of whoever writes to it."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.telemetry import logfile
from rolecast.telemetry.logfile import keep_bounded, trim

WRITER = """
import os, select, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
number = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    number += os.write(fd, b"%07d\\n" % number) // 8
print(number)
"""
"""Appends numbered lines of eight bytes, without a pause, until its stdin ends; then tells how many."""
GATEWAY = """
import asyncio, os, sys
from pathlib import Path
from rolecast.telemetry.logfile import keep_bounded

async def main(path):
    keeping = asyncio.create_task(keep_bounded(path, 0.001))
    os.write(2, (b"x" * 99 + b"\\n") * 110_000)
    while os.fstat(2).st_size:
        await asyncio.sleep(0.001)
    os.write(2, b"after\\n")
    keeping.cancel()

asyncio.run(main(Path(sys.argv[1])))
"""
IS_OURS = """
import sys
from pathlib import Path
from rolecast.telemetry.logfile import is_ours

print(is_ours(Path(sys.argv[1])))
"""
NO_ROOM = """
import resource, sys
from pathlib import Path
from rolecast.telemetry.logfile import trim

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
print(trim(Path(sys.argv[1]), 150_000))
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "gateway.log"


def older(log: Path) -> Path:
    return log.with_name("gateway.log.1")


def names(log: Path) -> list[str]:
    return sorted(path.name for path in log.parent.iterdir())


def run(code: str, log: Path, stderr: int | IO[bytes] = subprocess.PIPE) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([sys.executable, "-c", code, str(log)], stdout=subprocess.PIPE, stderr=stderr, check=True)


def test_a_file_within_its_limit_stays(log: Path) -> None:
    log.write_bytes(b"0123456789")
    assert not trim(log, 10)
    assert (names(log), log.read_bytes()) == (["gateway.log"], b"0123456789")


def test_a_full_file_is_copied_for_its_owner_alone_and_one_old_copy_is_kept(log: Path) -> None:
    for word in (b"first-line\n", b"second-line\n"):
        log.write_bytes(word)
        assert trim(log, 10)
    assert names(log) == ["gateway.log", "gateway.log.1"]
    assert (log.read_bytes(), older(log).read_bytes()) == (b"", b"second-line\n")
    assert older(log).stat().st_mode & 0o777 == 0o600


def test_of_a_file_that_grew_unwatched_the_newest_part_is_kept(log: Path) -> None:
    log.write_bytes(b"0123456789" * 5 + b"abcdefghij" * 2)
    assert trim(log, 10)
    assert older(log).read_bytes() == b"abcdefghij" * 2


def test_whoever_appends_goes_on_at_the_new_end(log: Path) -> None:
    with log.open("ab", buffering=0) as writer:
        writer.write(b"before the trim\n")
        assert trim(log, 10)
        writer.write(b"after the trim\n")
    assert (older(log).read_bytes(), log.read_bytes()) == (b"before the trim\n", b"after the trim\n")


def test_no_line_is_lost_that_a_process_writes_after_its_file_was_emptied(log: Path) -> None:
    argv = [sys.executable, "-c", WRITER, str(log)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        trims = 0
        while trims < 20:
            trims += trim(log, 20_000)
        told, _ = writer.communicate()
    lines = log.read_bytes().splitlines()
    assert lines == [b"%07d" % number for number in range(int(told) - len(lines), int(told))]
    copied = [int(line) for line in older(log).read_bytes().splitlines()]
    assert copied == list(range(copied[0], copied[-1] + 1))
    assert 0 < copied[0] <= copied[-1] < int(told) - len(lines)


def test_a_file_that_is_not_there_is_no_failure(log: Path) -> None:
    assert not trim(log)
    assert not trim(log / "below")
    assert names(log) == []


@pytest.mark.parametrize("taken", ["gateway.log.1/kept", "gateway.log.1.part/kept"])
def test_a_log_that_cannot_be_copied_is_kept(log: Path, taken: str) -> None:
    log.write_bytes(b"more than ten")
    (log.parent / taken).mkdir(parents=True)
    assert not trim(log, 10)
    assert log.read_bytes() == b"more than ten"
    assert names(log) == ["gateway.log", taken.partition("/")[0]]


def test_a_log_that_has_no_room_for_its_copy_is_kept_until_there_is_some(log: Path) -> None:
    log.write_bytes(b"x" * 200_000)
    older(log).write_bytes(b"the one before")
    assert run(NO_ROOM, log).stdout == b"False\n"
    assert (log.stat().st_size, older(log).read_bytes()) == (200_000, b"the one before")
    assert names(log) == ["gateway.log", "gateway.log.1"]
    assert trim(log, 150_000)
    assert older(log).stat().st_size == 200_000


def test_neither_a_link_nor_what_is_no_file_is_touched(log: Path) -> None:
    elsewhere = log.with_name("elsewhere")
    elsewhere.write_bytes(b"more than ten")
    log.symlink_to(elsewhere)
    assert not trim(log, 10)
    assert elsewhere.read_bytes() == b"more than ten"
    os.mkfifo(log.with_name("pipe"))
    assert not trim(log.with_name("pipe"), 10)
    assert names(log) == ["elsewhere", "gateway.log", "pipe"]


def test_a_copy_is_not_written_through_a_link(log: Path) -> None:
    log.write_bytes(b"more than ten")
    elsewhere = log.with_name("elsewhere")
    elsewhere.write_bytes(b"somebody's")
    older(log).symlink_to(elsewhere)
    log.with_name("gateway.log.1.part").symlink_to(elsewhere)
    assert trim(log, 10)
    assert (elsewhere.read_bytes(), older(log).read_bytes()) == (b"somebody's", b"more than ten")
    assert not older(log).is_symlink()


def test_while_somebody_trims_nobody_else_does(log: Path) -> None:
    log.write_bytes(b"more than ten")
    with log.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert not trim(log, 10)
    assert trim(log, 10)


# -- the running gateway ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "ours"), [("ab", b"True"), ("wb", b"False")])
def test_only_what_our_stderr_appends_to_is_ours(log: Path, mode: str, ours: bytes) -> None:
    with log.open(mode) as stderr:
        assert run(IS_OURS, log, stderr).stdout.strip() == ours
        log.rename(older(log))
        assert run(IS_OURS, log, stderr).stdout.strip() == b"False"
        log.symlink_to(older(log))
        assert run(IS_OURS, log, stderr).stdout.strip() == b"False"


def test_a_running_gateway_empties_its_own_log(log: Path) -> None:
    with log.open("ab") as stderr:
        run(GATEWAY, log, stderr)
    assert (log.read_bytes(), older(log).stat().st_size) == (b"after\n", 11_000_000)


@pytest.mark.anyio
async def test_a_gateway_in_a_terminal_leaves_the_file_alone(log: Path) -> None:
    log.write_bytes(b"x" * 11_000_000)
    await keep_bounded(log, 0)
    assert names(log) == ["gateway.log"]


@given(st.lists(st.text(alphabet="abcé", max_size=2000), max_size=50), st.integers(0, 60))
def test_the_tail_of_a_log_is_its_last_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], n: int
) -> None:
    path: Path = tmp_path_factory.mktemp("log") / "gateway.log"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    assert logfile.tail(path, n) == (lines[-n:] if n else [])
