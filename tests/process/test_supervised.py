"""A gateway under a service manager: it says when it is ready, alive, reading its file and stopping. HUP does that."""

import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_gateway import LiveGateway, until

CONFIG = """
server: {port: 0}
roles: {standard: [tiny]}
models:
  tiny: {backend: fake, pinned: true}
"""
MORE = "  other: {backend: fake}\n"


class Manager:
    """The end of a service manager; `said` is all first lines in order."""

    def __init__(self, folder: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / "notify"))
        self.socket.settimeout(0.01)
        self._said: list[str] = []

    @property
    def address(self) -> str:
        return str(self.socket.getsockname())

    @property
    def said(self) -> list[str]:
        try:
            while line := self.socket.recv(1000).decode().splitlines()[0]:
                self._said.append(line)
        except TimeoutError:
            pass
        return self._said

    def heard(self) -> list[str]:
        """What was said but for signs of life."""
        return [line for line in self.said if line != "WATCHDOG=1"]


@pytest.fixture
def manager() -> Iterator[Manager]:
    with tempfile.TemporaryDirectory(prefix="rc") as folder:
        made = Manager(Path(folder))
        yield made
        made.socket.close()


def test_a_service_manager_hears_of_each_step_and_that_the_loop_turns(tmp_path: Path, manager: Manager) -> None:
    with LiveGateway(tmp_path, CONFIG, NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="200000") as gateway:
        until(lambda: manager.heard() == ["READY=1"], "it is ready")
        assert gateway.get("/health").status == 200
        until(lambda: manager.said.count("WATCHDOG=1") > 3, "signs of life")
        gateway.send(signal.SIGSTOP)  # a gateway that hangs
        try:
            before = len(manager.said)
            with pytest.raises(AssertionError):
                until(lambda: len(manager.said) > before + 1, timeout_s=1)
        finally:
            gateway.send(signal.SIGCONT)
        gateway.config.write_text(CONFIG + MORE)
        gateway.send(signal.SIGHUP)
        until(lambda: manager.heard()[1:3] == ["RELOADING=1", "READY=1"], "it has read the file")
        assert gateway.chat("other", "hello").status == 200
        gateway.send(signal.SIGTERM)
        assert gateway.wait() == 0
        assert manager.heard()[3:] == ["STOPPING=1"]


def test_a_refused_edit_leaves_a_gateway_that_is_ready(tmp_path: Path, manager: Manager) -> None:
    with LiveGateway(tmp_path, CONFIG, NOTIFY_SOCKET=manager.address) as gateway:
        gateway.config.write_text("server: {prot: 1}\n")
        for _ in range(2):
            gateway.send(signal.SIGHUP)
        until(lambda: manager.heard()[-1:] == ["READY=1"] and len(manager.heard()) >= 3, "it goes on")
        assert gateway.chat("tiny", "hello").status == 200
        assert "prot" in gateway.log()
        assert "WATCHDOG=1" not in manager.said


def test_without_a_file_hup_ends_nothing(tmp_path: Path) -> None:
    with LiveGateway(tmp_path, CONFIG, "--stand-in", "fake", "--port", "0") as gateway:
        gateway.send(signal.SIGHUP)
        until(lambda: "was not read again" in gateway.log(), "it says why")
        assert gateway.get("/health").status == 200


def test_hup_says_also_that_nothing_has_changed(tmp_path: Path) -> None:
    with LiveGateway(tmp_path, CONFIG) as gateway:
        gateway.send(signal.SIGHUP)
        until(lambda: "nothing has changed" in gateway.log(), "it says so")
