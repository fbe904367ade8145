"""Workers that are copies of a zygote: they are as if each had been started, and none outlives its gateway."""

import asyncio
import errno
import gc
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import psutil
import pytest

from rolecast.config.edit import edit_to
from rolecast.config.memory import Memory
from rolecast.config.schema import Config
from rolecast.errors import LoadFailed
from rolecast.processes import brood, process
from rolecast.processes.forks import LOG, MOST, TRIES, Forks
from rolecast.processes.running import Running
from rolecast.values import Endpoint, Launch

DEADLINE_S = 15
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="a zygote is for Linux"),
]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


WORKER = """
    import os, socket, subprocess, sys, threading, time
    from rolecast.processes.lifeline import end_with_gateway

    if os.environ.get("BROKEN"):
        raise ImportError("something is missing")
    if os.environ.get("THREADED"):
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()

    def import_all():
        pass

    def may_be_copied():
        return not os.environ.get("UNFIT")

    def main():
        end_with_gateway()
        word, *rest = sys.argv[1:]
        if word == "who":
            print(os.getpid(), os.getppid(), os.getsid(0), *rest, flush=True)
        elif word == "environment":
            print(sorted(os.environ.items()))
        elif word == "files":
            print(len(os.listdir("/proc/self/fd")))
        elif word == "exit":
            sys.exit(int(rest[0]))
        elif word == "raise":
            raise ValueError("of its own")
        elif word == "signal":
            os.kill(os.getpid(), int(rest[0]))
        elif word == "listen":
            socket.socket(socket.AF_UNIX).bind(rest[0])
        elif word == "children":
            print(subprocess.Popen(["sleep", "1000"]).pid, flush=True)
        elif word == "much":
            print("y" * 3_999_999)
        if word in ("who", "children"):
            threading.Event().wait()

    if __name__ == "__main__":
        main()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "likeness.py").write_text(textwrap.dedent(WORKER))
    return tmp_path


def launch(folder: Path, *words: str, uds: str = "", forkable: bool = True, **env: str) -> Launch:
    places = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return Launch(
        argv=(sys.executable, "-P", "-m", "likeness", *words),
        endpoint=Endpoint(uds=uds),
        env=(("PYTHONPATH", places), *env.items()),
        own_watch=True,
        forkable=forkable,
    )


@asynccontextmanager
async def forks_of(folder: Path, way: str = "auto") -> AsyncIterator[Forks]:
    before = set(psutil.Process().children(recursive=True))
    forks = Forks(way, folder / "logs")
    try:
        yield forks
    finally:
        await forks.close()
        await until(lambda: set(psutil.Process().children(recursive=True)) <= before)


async def start(forks: Forks, launch: Launch) -> Running:
    return await forks(launch, name="org/m:1", log=Path(launch.env[0][1].partition(os.pathsep)[0]) / "m.log")


async def line(child: Running) -> str:
    async with asyncio.timeout(DEADLINE_S):
        async for text in child.follow(100):
            return text
    raise AssertionError("ended without a word")


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# As if it had been started


async def test_a_worker_is_a_copy_of_the_zygote_with_a_session_of_its_own(folder):
    async with forks_of(folder) as forks:
        child = await start(forks, launch(folder, "who", "a b", "ü"))
        pid, parent, session, *words = (await line(child)).split()
        assert [int(parent)] == forks.pids
        assert int(pid) == int(session) == child.pid
        assert words == ["a", "b", "ü"]
        assert psutil.Process(child.pid).name() == "org/m:1"
        assert child.rss_bytes() > 0
        again = await start(forks, launch(folder, "who"))
        assert (await line(again)).split()[1] == parent
        await child.stop(DEADLINE_S)
        await again.stop(DEADLINE_S)
        assert (child.returncode, again.returncode) == (-signal.SIGTERM, -signal.SIGTERM)


async def test_a_copy_has_no_files_but_its_own_three(folder):
    async with forks_of(folder) as forks:
        child = await start(forks, launch(folder, "files"))
        assert await child.wait() == 0
        assert child.tail(1) == ["4"]  # and the folder that it counts them in


async def test_a_copy_sees_the_environment_that_a_new_process_sees(folder, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    async with forks_of(folder) as forks:
        said = []
        for forkable in (True, False):
            child = await start(forks, launch(folder, "environment", forkable=forkable, OMP_NUM_THREADS="1"))
            assert await child.wait() == 0
            said.append(child.tail(1)[0])
        assert said[0] == said[1]
        assert "sk-secret" not in said[0]


@pytest.mark.parametrize(
    ("words", "code"), [("exit 7", 7), ("exit 0", 0), ("signal 11", -11), ("signal 9", -9), ("raise", 1)]
)
async def test_how_a_copy_ended_is_told(folder, words, code):
    async with forks_of(folder) as forks:
        child = await start(forks, launch(folder, *words.split()))
        assert await child.wait() == code
        assert child.returncode == code
        assert child.rss_bytes() == 0
        if words == "raise":
            assert child.tail(1) == ["ValueError: of its own"]


async def test_all_output_of_a_copy_is_in_its_log(folder):
    async with forks_of(folder) as forks:
        child = await start(forks, launch(folder, "much"))
        assert await child.wait() == 0
        assert (folder / "m.log").stat().st_size == 4_000_000


async def test_the_socket_of_an_ended_copy_is_removed(folder):
    path = folder / "w.sock"
    async with forks_of(folder) as forks:
        child = await start(forks, launch(folder, "listen", str(path), uds=str(path)))
        await child.wait()
        assert not path.exists()


async def test_what_a_copy_has_started_ends_with_it(folder):
    async with forks_of(folder) as forks:
        child = await start(forks, launch(folder, "children"))
        left = int(await line(child))
        os.kill(child.pid, signal.SIGKILL)
        assert await child.wait() == -signal.SIGKILL
        await until(lambda: not runs(left))


async def test_no_file_of_a_copy_stays_open_in_the_gateway_or_in_the_zygote(folder):
    async with forks_of(folder) as forks:
        await (await start(forks, launch(folder, "exit", "0"))).wait()
        counts = []
        for _ in range(2):
            for _ in range(3):
                await (await start(forks, launch(folder, "exit", "0"))).wait()
            counts.append([files(pid) for pid in ("self", forks.pids[0])])
        assert counts[0] == counts[1]


# Where there is none


async def ways(forks: Forks, *launches: Launch) -> list[str]:
    """For each of these workers how it came to be."""
    found = []
    for each in launches:
        child = await start(forks, each)
        parent = int((await line(child)).split()[1])
        found.append("new" if parent == os.getpid() else "copy" if parent in forks.pids else "?")
        await child.stop(DEADLINE_S)
    return found


@pytest.mark.parametrize("variable", ["UNFIT", "THREADED", "BROKEN"])
async def test_what_must_not_or_cannot_be_copied_is_started_as_it_was(folder, variable, caplog):
    async with forks_of(folder) as forks:
        plain = launch(folder, "who", **{variable: "1"})
        if variable == "BROKEN":  # nor can it be started
            child = await start(forks, plain)
            assert await child.wait() == 1
            assert child.tail(1) == ["ImportError: something is missing"]
            assert "something is missing" in (folder / "logs" / LOG).read_text()
        else:
            assert await ways(forks, plain, plain) == ["new", "new"]
            assert "not safe here" in caplog.text or not caplog.records
        await until(lambda: not forks.pids)


async def test_whoever_wants_it_has_copies_also_where_the_module_warns(folder):
    async with forks_of(folder, "on") as forks:
        assert await ways(forks, launch(folder, "who", UNFIT="1")) == ["copy"]
        assert await ways(forks, launch(folder, "who", THREADED="1")) == ["new"]


async def test_a_zygote_that_ends_at_once_is_not_tried_for_ever(folder, monkeypatch):
    begun = []
    monkeypatch.setattr(brood.Brood, "start", counted(brood.Brood.start, begun))
    async with forks_of(folder) as forks, kept_ready(forks, launch(folder, "exit", "0", BROKEN="1")):
        await until(lambda: len(begun) == TRIES and not forks.pids)
        await (await start(forks, launch(folder, "exit", "0", BROKEN="1"))).wait()
        assert len(begun) == TRIES


def counted(method: Callable[..., Awaitable[None]], calls: list[object]) -> Callable[..., Awaitable[None]]:
    async def call(self: object) -> None:
        calls.append(self)
        await method(self)

    return call


async def test_words_that_are_too_long_for_a_message_reach_a_new_process(folder):
    async with forks_of(folder) as forks:
        word = "x" * (brood.MESSAGE_BYTES + 1)
        assert await ways(forks, launch(folder, "who", word)) == ["new"]


async def test_each_environment_has_a_zygote_of_its_own_and_there_are_few(folder):
    async with forks_of(folder) as forks:
        found = [await ways(forks, launch(folder, "who", SPIN=str(i))) for i in range(MOST + 1)]
        assert found == [["copy"]] * MOST + [["new"]]
        assert len(forks.pids) == MOST


async def test_no_zygote_is_there_where_none_is_wanted(folder):
    async with forks_of(folder, "off") as forks, kept_ready(forks, launch(folder, "who")):
        assert await ways(forks, launch(folder, "who")) == ["new"]
        assert forks.pids == []
    async with forks_of(folder) as forks, kept_ready(forks, launch(folder, "who", forkable=False)):
        assert await ways(forks, launch(folder, "who", forkable=False)) == ["new"]
        assert forks.pids == []


# Ready, and following an edit


@asynccontextmanager
async def kept_ready(forks: Forks, *launches: Launch) -> AsyncIterator[list[Launch]]:
    """The block may change what may come."""
    may_come = list(launches)

    async def all_of_them() -> list[Launch]:
        return may_come

    task = asyncio.create_task(forks.keep_ready(all_of_them))
    try:
        yield may_come
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_zygote_is_there_before_the_first_worker_and_again_after_its_death(folder):
    async with forks_of(folder) as forks, kept_ready(forks, launch(folder, "who")):
        await until(lambda: forks.pids)
        first = forks.pids
        await ways(forks, launch(folder, "who"))
        os.kill(first[0], signal.SIGKILL)
        await until(lambda: forks.pids and forks.pids != first)
        assert await ways(forks, launch(folder, "who")) == ["copy"]


async def test_a_copy_can_be_ended_as_soon_as_it_is_there(folder):
    """Nobody reads a line of it before: it may not have run yet."""
    async with forks_of(folder) as forks, kept_ready(forks, launch(folder, "who")):
        await until(lambda: forks.pids)
        for _ in range(20):
            child = await start(forks, launch(folder, "who"))
            assert os.getpgid(child.pid) == child.pid
            await child.stop(DEADLINE_S)
            assert child.returncode == -signal.SIGTERM


async def test_a_zygote_that_nobody_needs_any_more_ends_and_its_workers_go_on(folder):
    async with forks_of(folder) as forks, kept_ready(forks, launch(folder, "who")) as may_come:
        child = await start(forks, launch(folder, "who"))
        (zygote,) = forks.pids
        may_come.clear()
        (await forks.prepare(edit_to(Config(), {}))).commit()
        await until(lambda: not forks._broods)
        assert runs(zygote)
        assert child.returncode is None
        await child.stop(DEADLINE_S)
        assert child.returncode == -signal.SIGTERM
        await until(lambda: not runs(zygote))


async def test_the_setting_is_followed_while_the_gateway_runs(folder):
    async with forks_of(folder) as forks, kept_ready(forks, launch(folder, "who")):
        assert await ways(forks, launch(folder, "who")) == ["copy"]
        (await forks.prepare(edit_to(Config(memory=Memory(zygote="off")), {}))).commit()
        assert await ways(forks, launch(folder, "who")) == ["new"]
        (await forks.prepare(edit_to(Config(memory=Memory(zygote="auto")), {}))).commit()
        assert await ways(forks, launch(folder, "who")) == ["copy"]


# Deaths


async def test_the_death_of_the_zygote_ends_no_work_and_the_next_start_has_another(folder):
    async with forks_of(folder) as forks:
        children = [await start(forks, launch(folder, "who")) for _ in range(2)]
        for child in children:
            await line(child)
        (zygote,) = forks.pids
        os.kill(zygote, signal.SIGKILL)
        found = await ways(forks, launch(folder, "who"), launch(folder, "who"))  # the first may still ask the dead one
        assert (found[0] in ("new", "copy"), found[1]) == (True, "copy")
        assert [child.returncode for child in children] == [None, None]
        await children[0].stop(DEADLINE_S)
        os.kill(children[1].pid, signal.SIGKILL)
        assert await children[1].wait() == -signal.SIGKILL
        assert not any(runs(child.pid) for child in children)


async def test_a_zygote_that_hangs_is_ended_and_the_worker_starts_without_it(folder, monkeypatch):
    monkeypatch.setattr(brood, "COPY_S", 0.05)
    async with forks_of(folder) as forks:
        assert await ways(forks, launch(folder, "who")) == ["copy"]
        (zygote,) = forks.pids
        os.kill(zygote, signal.SIGSTOP)
        assert await ways(forks, launch(folder, "who")) == ["new"]
        await until(lambda: not runs(zygote))
        monkeypatch.setattr(brood, "COPY_S", 2.0)
        assert await ways(forks, launch(folder, "who")) == ["copy"]


async def test_a_worker_does_not_wait_for_a_zygote_that_is_slow_to_start(folder, monkeypatch):
    monkeypatch.setattr(brood, "READY_S", 0.0)
    async with forks_of(folder) as forks:
        assert await ways(forks, launch(folder, "who")) == ["new"]
        await asyncio.wait({one_of(forks)._ready}, timeout=DEADLINE_S)
        assert await ways(forks, launch(folder, "who")) == ["copy"]


async def test_a_zygote_that_never_gets_ready_is_ended(folder, monkeypatch):
    monkeypatch.setattr(brood, "READY_S", 0.0)
    monkeypatch.setattr(brood, "START_S", 0.0)
    async with forks_of(folder) as forks:
        assert await ways(forks, launch(folder, "who")) == ["new"]
        await until(lambda: not forks.pids and not forks._tasks)


async def test_without_files_for_its_pipes_a_worker_is_started_as_it_was_and_none_is_lost(folder, monkeypatch):
    pipe, made = os.pipe, []

    def one_is_left() -> tuple[int, int]:
        if made:
            raise OSError(errno.EMFILE, "Too many open files")
        made.append(pipe())
        return made[0]

    async with forks_of(folder) as forks:
        await ways(forks, launch(folder, "who"))
        before = files()
        with monkeypatch.context() as patched:
            patched.setattr(os, "pipe", one_is_left)
            child = await one_of(forks).copy(launch(folder, "who"), (), name="m", log=folder / "m.log")
        assert child is None
        assert files() == before


def files(pid: int | str = "self") -> int:
    """How many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def one_of(forks: Forks) -> brood.Brood:
    return next(iter(forks._broods.values()))


async def test_closing_waits_for_no_zygote_that_hangs(folder, monkeypatch):
    monkeypatch.setattr(brood, "END_S", 0.05)
    async with forks_of(folder) as forks:
        await ways(forks, launch(folder, "who"))
        os.kill(forks.pids[0], signal.SIGSTOP)


GATEWAY = """
    import asyncio, sys
    from pathlib import Path
    from rolecast.processes.forks import Forks
    from rolecast.values import Endpoint, Launch

    async def main():
        folder = Path(sys.argv[1])
        forks = Forks("auto", folder)
        launch = Launch((sys.executable, "-P", "-m", "likeness", "who"), Endpoint(), own_watch=True, forkable=True)
        child = await forks(launch, name="m", log=folder / "m.log")
        print(*(await anext(child.follow(10))).split()[:2], flush=True)
        await asyncio.Event().wait()

    import uvloop
    uvloop.run(main())
"""


@pytest.mark.parametrize("before", ["nothing", "the zygote", "a stop"])
def test_no_copy_outlives_a_killed_gateway(folder, before):
    places = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    argv = [sys.executable, "-c", textwrap.dedent(GATEWAY), str(folder)]
    env = os.environ | {"PYTHONPATH": places}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=env) as gateway:
        assert gateway.stdout
        copy, zygote = map(int, gateway.stdout.readline().split())
        assert zygote != gateway.pid
        if before == "the zygote":
            os.kill(zygote, signal.SIGKILL)
        elif before == "a stop":  # no thread of either can do anything about it
            for pid in (copy, zygote):
                os.kill(pid, signal.SIGSTOP)
                while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
                    os.sched_yield()
        gateway.kill()
        deadline = time.monotonic() + DEADLINE_S
        while runs(copy) or runs(zygote):
            assert time.monotonic() < deadline
            os.sched_yield()


async def test_a_copy_whose_end_nobody_could_tell_is_ended_and_the_zygote_goes_on(folder, monkeypatch):
    async with forks_of(folder) as forks:
        await ways(forks, launch(folder, "who"))
        (zygote,) = forks.pids
        really, told = socket.recv_fds, []

        def short(*arguments):
            said, given, flags, address = really(*arguments)
            if b"copy" in said:
                told.append(msgspec.json.decode(said)["copy"])
                for each in given:
                    os.close(each)
                given = []
            return said, given, flags, address

        with monkeypatch.context() as patched:
            patched.setattr(socket, "recv_fds", short)
            place = folder / "m.sock"
            place.touch()  # what it had bound already
            child = await one_of(forks).copy(
                launch(folder, "who", uds=str(place)), ("who",), name="m", log=folder / "m.log"
            )
        assert child is None
        assert not place.exists(), "the one that is started instead takes it"
        await until(lambda: not runs(told[0]))
        assert forks.pids == [zygote]
        assert await ways(forks, launch(folder, "who")) == ["copy"]


async def test_a_program_that_does_not_start_leaves_no_file_open(folder):
    async def counted() -> int:
        with pytest.raises(LoadFailed, match="does not run"):
            await process.spawn(
                Launch((str(folder / "none"),), Endpoint(), own_watch=True), name="m", log=folder / "m.log"
            )
        gc.collect()  # of the pipes that were made for it
        return files()

    first = await counted()
    assert max([await counted() for _ in range(10)]) <= first + 4  # some pipes of the last one are still closed
