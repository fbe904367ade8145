"""Workers that answer no health check while they are busy, and some that say themselves that they are not well."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_gateway import LiveGateway, Stream, has_ended, until, words

SERVER = Path(__file__).parent.parent / "unit" / "lone_server.py"
CONFIG = """
server: {port: 0}
roles: {standard: [lone]}
models:
  lone: {backend: command, parallel: 1, health_timeout: 1500ms, command: [PYTHON, SERVER, '{port}', FOLDER]}
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    folder = tmp_path_factory.mktemp("busy")
    config = CONFIG.replace("PYTHON", sys.executable).replace("SERVER", str(SERVER)).replace("FOLDER", str(folder))
    with LiveGateway(folder, config) as running:
        yield running


def answer(gateway: LiveGateway, text: str) -> str:
    body = {"model": "lone", "stream": True, "messages": [{"role": "user", "content": text}]}
    with Stream(gateway.url, "/v1/chat/completions", body) as stream:
        events = stream.rest()
    assert events[-1] == "[DONE]", events
    return words(events)


def test_a_worker_that_answers_nobody_else_while_it_writes_or_reads_is_left_in_peace(gateway: LiveGateway) -> None:
    pid = answer(gateway, "hello")
    assert answer(gateway, "write 5").endswith(pid)
    assert answer(gateway, "read 5") == pid
    assert gateway.model("lone")["restarts"] == 0


def test_a_worker_that_says_for_so_long_that_it_is_not_well_is_replaced(gateway: LiveGateway) -> None:
    pid = answer(gateway, "hello").removeprefix("pid ")
    unwell = gateway.folder / "unwell"
    unwell.touch()
    until(lambda: has_ended(int(pid)), "it is ended")
    unwell.unlink()
    assert answer(gateway, "hello") != f"pid {pid}"
    assert "said that it is not well (503) for 1.5 s (health_timeout)" in gateway.log()


def test_what_a_worker_that_dies_started_in_another_session_is_ended_with_it(gateway: LiveGateway) -> None:
    assert gateway.chat("lone", "die").status == 503
    left = int((gateway.folder / "left").read_text())
    until(lambda: has_ended(left), "nothing of it is left")
