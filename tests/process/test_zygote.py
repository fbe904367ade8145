"""A gateway whose workers are copies of a zygote: who dies, who goes on, and that nothing is left of any of them."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import tiny_gguf
from live_gateway import LiveGateway, until

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(sys.platform != "linux", reason="a zygote is for Linux"),
]
CONFIG = """
server: {port: 0}
models:
  a: {source: "file:FOLDER/a.gguf", context: 256, threads: 1}
  b: {source: "file:FOLDER/b.gguf", context: 256, threads: 1}
  other: {backend: fake}
roles: {standard: [a]}
"""
ZYGOTE = "rolecast-zygote"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[LiveGateway]:
    for name in ("a", "b"):
        tiny_gguf.write(tmp_path / f"{name}.gguf")
    with LiveGateway(tmp_path, CONFIG.replace("FOLDER", str(tmp_path))) as running:
        yield running


def zygotes(gateway: LiveGateway) -> list[psutil.Process]:
    found = []
    for each in psutil.Process(gateway.pid).children():
        try:
            found += [each] if each.name() == ZYGOTE else []
        except psutil.Error:
            pass
    return found


def worker(gateway: LiveGateway, model: str) -> psutil.Process:
    assert gateway.chat(model, "hello", max_tokens=2).status == 200
    return psutil.Process(gateway.model(model)["pid"])


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


def test_workers_are_copies_and_survive_their_zygote_which_comes_back(gateway: LiveGateway) -> None:
    (zygote,) = until(lambda: zygotes(gateway))
    first = worker(gateway, "a")
    assert (first.parent(), first.name()) == (zygote, "a")
    assert first.nice() > zygote.nice()
    assert "GOMP_SPINCOUNT" in zygote.environ()

    zygote.kill()
    other = until(lambda: [z for z in zygotes(gateway) if z.pid != zygote.pid])
    assert worker(gateway, "a") == first  # nobody noticed
    assert worker(gateway, "b").parent() in (*other, psutil.Process(gateway.pid))

    with gateway.stream("a", "go on", max_tokens=100_000, ignore_eos=True) as stream:
        assert stream.event()
        first.kill()  # an orphan's end is seen, too
        *_, error, done = stream.rest()
        assert '"code":"worker_lost"' in error
        assert done == "[DONE]"
    assert worker(gateway, "a") != first
    everyone = gateway.processes()
    gateway.send(signal.SIGTERM)
    assert gateway.wait() == 0
    assert_gone(everyone)


@pytest.mark.parametrize("orphaned", [False, True])
def test_a_killed_gateway_takes_its_zygote_and_the_copies_with_it(gateway: LiveGateway, orphaned: bool) -> None:
    until(lambda: zygotes(gateway))
    workers = [worker(gateway, "a"), worker(gateway, "b")]
    everyone = gateway.processes()
    if orphaned:
        zygotes(gateway)[0].kill()
    for each in workers:
        each.suspend()  # so that no thread of theirs can see to it
        until(lambda: each.status() == psutil.STATUS_STOPPED)  # noqa: B023
    gateway.kill()
    assert_gone([*everyone, *workers])
    gateway.start()
    assert worker(gateway, "a").is_running()


def test_no_zygote_is_there_for_models_that_need_none(gateway: LiveGateway) -> None:
    until(lambda: zygotes(gateway))
    gateway.config.write_text("server: {port: 0}\nmodels: {other: {backend: fake}}\nroles: {standard: [other]}\n")
    until(lambda: not zygotes(gateway), "the zygote left with the last model that needs it")
    assert gateway.chat("other", "hello").status == 200
