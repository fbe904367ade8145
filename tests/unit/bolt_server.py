"""A server that speaks Bolt, for tests of graphs: ArcadeDB from its wheel, which brings its own Java. Tests only.

It answers queries as Neo4j 5 does, but for a few things that no test relies on: stored times lose their zones, and
limits on time are not kept.
"""

import contextlib
import importlib.util
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from free_ports import free_port

START_S = 90
LOG = "server.log"
DATABASES = ("chats", "many", "alike")
GUARD = 'cat > /dev/null; kill -9 "$1" 2> /dev/null; rm -rf "$2"'
"""Waits for the end of its input, which comes when the test process ends, however that is; then it ends the server."""


class BoltServer(msgspec.Struct, frozen=True):
    """Where it is and who may ask."""

    uri: str
    user: str
    password: str
    database: str
    http: int = 0
    """A port of it that speaks HTTP; 0 = not known."""


@contextlib.contextmanager
def bolt_server() -> Iterator[BoltServer]:
    """A server on a free port of this machine, with a folder of its own, until the block ends."""
    spec = importlib.util.find_spec("arcadedb_embedded")  # not imported: that would start a JVM in this process
    assert spec is not None
    assert spec.origin is not None
    base = Path(spec.origin).parent
    folder = Path(tempfile.mkdtemp(prefix="rcbolt"))
    password = secrets.token_urlsafe(18)
    (folder / "password").touch(mode=0o600)
    (folder / "password").write_text(password)
    bolt, http = free_port(), free_port()
    settings = {
        "server.rootPath": folder,
        "server.databaseDirectory": folder / "databases",
        "server.rootPasswordPath": folder / "password",
        "server.plugins": "Bolt:com.arcadedb.bolt.BoltProtocolPlugin",
        "server.defaultDatabases": ";".join(f"{name}[root]" for name in DATABASES),
        "bolt.host": "127.0.0.1",
        "bolt.port": bolt,
        "server.httpIncomingHost": "127.0.0.1",
        "server.httpIncomingPort": http,
    }
    command = [
        str(base / "jre" / "bin" / "java"),
        *("-Xmx512m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true"),
        *("--add-modules=jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED"),
        *(f"-Darcadedb.{name}={value}" for name, value in settings.items()),
        *("-cp", str(base / "jars" / "*"), "com.arcadedb.server.ArcadeDBServer"),
    ]
    with guarded(command, folder) as server:
        found = BoltServer(f"bolt://127.0.0.1:{bolt}", "root", password, DATABASES[0], http)
        _wait(server, found, folder / LOG)
        yield found


@contextlib.contextmanager
def guarded(command: list[str], folder: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """A process that ends with the block, or with this process, however it ends; its folder goes with it."""
    with (folder / LOG).open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    guard = subprocess.Popen(
        ["/bin/sh", "-c", GUARD, "guard", str(server.pid), str(folder)], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield server
    finally:
        server.kill()  # nothing of it is kept
        server.wait()
        guard.kill()  # before it hears of the end: the number of the server may be another process's by then
        guard.wait()
        assert guard.stdin is not None
        guard.stdin.close()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(server: "subprocess.Popen[Any]", found: BoltServer, log: Path) -> None:
    import neo4j
    import neo4j.exceptions

    until = time.monotonic() + START_S
    while True:
        if server.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"The Bolt server did not start:\n{log.read_text()[-3000:]}")
        try:
            with neo4j.GraphDatabase.driver(found.uri, auth=(found.user, found.password)) as driver:
                for name in DATABASES:
                    with driver.session(database=name) as session:
                        session.run("RETURN 1").consume()
            return
        except (neo4j.exceptions.DriverError, neo4j.exceptions.Neo4jError, OSError):
            time.sleep(0.1)


def given() -> BoltServer | None:
    """The Neo4j of NEO4J_URI, where somebody named one for the tests: it must be empty, and its data is deleted."""
    if not (uri := os.environ.get("NEO4J_URI")):
        return None
    variables = os.environ.get
    return BoltServer(
        uri, variables("NEO4J_USERNAME", "neo4j"), variables("NEO4J_PASSWORD", ""), variables("NEO4J_DATABASE", "neo4j")
    )
