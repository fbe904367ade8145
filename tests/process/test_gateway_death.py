"""The gateway killed in the middle of its work: nothing stays behind, nothing is lost, a restart serves."""

import http.client
import json
import sqlite3
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from live_gateway import LiveGateway, is_refused, until

CONFIG = """
server: {port: PORT, listeners: [{port: 0, name: single, model: tiny, surface: llama-server}]}
models:
  tiny: {backend: fake, parallel: 4, pinned: true}
  slow: {backend: fake, script: SCRIPT}
roles: {standard: [tiny]}
"""
CONFIG_OF_SCRIPT = """
server: {port: 0}
models: {m: {backend: command, command: [SCRIPT, "{port}"]}}
roles: {standard: [m]}
"""
UNWRITTEN_S = 0.3
"""Rows are written every 50 ms; the rest is room for a busy machine."""


class Load:
    """Requests one after the other, until the gateway is gone."""

    def __init__(self, gateway: LiveGateway) -> None:
        self.answered: dict[str, float] = {}
        self._gateway = gateway
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", int(self._gateway.url.rsplit(":", 1)[1]), timeout=30)
        body = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "hello"}]})
        try:
            while True:
                connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
                response = connection.getresponse()
                response.read()
                assert response.status == 200
                self.answered[response.headers["x-request-id"]] = time.monotonic()
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()

    def join(self) -> dict[str, float]:
        """When each request was answered, by its id."""
        self._thread.join()
        return self.answered


def config(tmp_path: Path, port: int = 0) -> str:
    script = tmp_path / "script.yaml"
    script.write_text('replies: [{match: "", reply: "%s", token_delay: 0.05}]' % ("word " * 2000))
    return CONFIG.replace("SCRIPT", str(script)).replace("PORT", str(port))


def test_a_killed_gateway_leaves_no_process_and_no_port_and_loses_only_what_was_in_flight(tmp_path: Path) -> None:
    with LiveGateway(tmp_path, config(tmp_path)) as gateway:
        until(lambda: gateway.model("tiny")["state"] == "ready")
        sockets = Path(gateway.model("tiny")["endpoint"].removeprefix("unix:")).parent
        with gateway.stream("slow", "go on") as stream:
            assert stream.event()  # a worker in the middle of an answer
            everyone = gateway.processes()
            assert len(everyone) == 3
            load = Load(gateway)
            until(lambda: len(load.answered) >= 100, "100 answers")
            killed_at = time.monotonic()
            gateway.kill()
            answered = load.join()
        assert_gone(everyone)
        assert is_refused(gateway.url)
        assert is_refused(gateway.port("single"))

        ledger = sqlite3.connect(gateway.home / "rolecast.db")
        try:
            assert ledger.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        finally:
            ledger.close()
        written = {row[0] for row in gateway.rows("id")}
        assert {i for i, at in answered.items() if at < killed_at - UNWRITTEN_S} - written == set()

        port = int(gateway.url.rsplit(":", 1)[1])
        gateway.config.write_text(config(tmp_path, port))
        gateway.start()
        assert gateway.url.endswith(f":{port}")
        assert gateway.chat("tiny", "hello").status == 200
        until(lambda: len(gateway.rows("id")) > len(answered), "the new row joined the old ones")
        assert set(answered) <= {row[0] for row in gateway.rows("id")}  # the last ones were in the journal
        assert not sockets.exists()  # what the killed one left in the file system is swept


def test_workers_that_start_while_the_gateway_is_killed_do_not_stay(tmp_path: Path) -> None:
    with LiveGateway(tmp_path, config(tmp_path)) as gateway:
        everyone = until(lambda: (found := gateway.processes())[1:] and found, "a worker was started")
        gateway.kill()
        assert_gone(everyone)


def test_what_a_worker_of_a_killed_gateway_left_in_another_session_is_ended_by_the_next_one(tmp_path: Path) -> None:
    """Its own watchdog reaches its process group alone."""
    script = tmp_path / "start.sh"
    script.write_text(
        f"#!/bin/sh\nsetsid sleep 1000 &\necho $! > {tmp_path}/pid\n"
        f'exec {sys.executable} {Path(__file__).parents[1]}/unit/foreign_server.py --port "$1"\n'
    )
    script.chmod(0o755)
    start = CONFIG_OF_SCRIPT.replace("SCRIPT", str(script))
    with LiveGateway(tmp_path, start) as gateway:
        assert gateway.chat("m", "hello").status == 200
        left = psutil.Process(int((tmp_path / "pid").read_text()))
        gateway.kill()
        assert left.is_running()
        gateway.start()
        assert_gone([left])  # by this gateway, or by any other of this user that started meanwhile


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b""])
def test_a_ledger_that_is_no_database_is_refused_with_what_to_do_and_an_empty_one_is_filled(
    tmp_path: Path, content: bytes
) -> None:
    gateway = LiveGateway(tmp_path, config(tmp_path))
    gateway.home.mkdir(parents=True)
    (gateway.home / "rolecast.db").write_bytes(content)
    if content:
        with pytest.raises(AssertionError, match="the gateway ended while starting"):
            gateway.start()
        assert gateway.wait() == 1
        assert "cannot use" in gateway.log()
        assert "Traceback" not in gateway.log()
    else:
        with gateway:
            assert gateway.chat("tiny", "hello").status == 200
