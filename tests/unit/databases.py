"""Databases for tests: SQLite files, and databases of a PostgreSQL server that the test session starts for itself.

No server of this machine is used. Without PostgreSQL's programs those tests are skipped; with `CI=true` they fail.
"""

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from rolecast.books.postgres import PostgreSQL
from rolecast.books.sqlite import SQLite
from rolecast.books.store import Query, Store

OpenStore = Callable[[], Store]
"""Another store on the same database, not opened yet."""

PILES = "CREATE TABLE piles (name TEXT PRIMARY KEY, size INTEGER NOT NULL, note TEXT, share REAL, raw BLOB);"
"""A table of the tests' own, beside those of the product."""
PUT = Query("INSERT INTO piles (name, size) VALUES (:name, :size)")
ADD = Query("UPDATE piles SET size = size + :more WHERE name = :name RETURNING size")
SIZE = Query("SELECT size FROM piles WHERE name = :name")
ALL = Query("SELECT name, size FROM piles ORDER BY name")

START_S = 60
GUARD = 'cat; kill -9 "$(head -n 1 "$0/data/postmaster.pid")" && rm -rf "$0"'
"""Waits for the end of its input, which comes when the tests are killed, too."""
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # the machine does not lose its power in a test
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "autovacuum": "off",
}


def sqlite(folder: Path) -> OpenStore:
    """A file of its own in that folder."""
    return lambda: SQLite(folder / "store.db")


class Server:
    """A PostgreSQL server on a unix socket in a folder of its own; `rolecast` may do all, `locked` needs a password."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="rcpg"))
        self._user = _other_user() if os.getuid() == 0 else None  # PostgreSQL refuses to run as root
        if self._user:
            shutil.chown(self.folder, self._user, self._user)
        self._data = self.folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        self._guard = subprocess.Popen(
            ["sh", "-c", GUARD, self.folder], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        init = ["-D", str(self._data), "-U", "rolecast", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        self._run("initdb", *init).wait(START_S)
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"local all locked scram-sha-256\n{rules.read_text()}")
        self.start()

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            where = ["-D", str(self._data), "-k", str(self.folder)]
            self._process = self._run("postgres", *where, *settings)
            while self._process.poll() is None:  # after a kill its memory may be in use for a moment
                if self._says_ready():
                    return
                time.sleep(0.01)
        raise AssertionError((self.folder / "log").read_text())

    def kill(self) -> None:
        """As by a machine that loses its power."""
        assert self._process is not None
        for each in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self._process.wait(START_S)

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """It is there and does nothing."""
        family = self._family()
        for each in family:
            each.suspend()
        try:
            yield
        finally:
            for each in family:
                each.resume()

    def _family(self) -> list[psutil.Process]:
        assert self._process is not None
        try:
            postmaster = psutil.Process(self._process.pid)
            return [postmaster, *postmaster.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def stop(self) -> None:
        """End it, and remove what it kept."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._guard.communicate()

    def url(self, database: str, user: str = "rolecast") -> str:
        return f"postgresql://{user}@/{database}?host={self.folder}"

    async def run(self, sql: str, database: str = "postgres") -> None:
        connection = await asyncpg.connect(self.url(database))
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    async def database(self) -> str:
        """The URL of a new and empty database."""
        self._made += 1
        await self.run(f"CREATE DATABASE t{self._made} TEMPLATE template0")
        return self.url(f"t{self._made}")

    def _run(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [self._programs / program, *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
                start_new_session=True,
            )

    def _says_ready(self) -> bool:
        with contextlib.suppress(OSError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return len(lines) > 7 and int(lines[0]) == self._process.pid and lines[7].strip() == "ready"
        return False


def programs() -> Path | None:
    """Where PostgreSQL's programs are: the newest of Debian's, else those on the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(re.sub(r"\D", "", str(p)) or 0))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


def _other_user() -> str:
    return "postgres" if any(user.pw_name == "postgres" for user in pwd.getpwall()) else "nobody"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """One server for all tests of this process."""
    there = programs()
    if there is None:
        missing = "PostgreSQL's initdb is not here; Debian has it in the package postgresql"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    server = Server(there)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """Each kind of database, empty."""
    if request.param == "sqlite":
        return sqlite(tmp_path)
    url = await request.getfixturevalue("postgres").database()
    return lambda: PostgreSQL(url)
