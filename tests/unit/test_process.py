"""Worker processes: what they see, what is kept of their output, and that none outlives its gateway."""

import asyncio
import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rolecast.errors import LoadFailed
from rolecast.processes import folder as runtime
from rolecast.processes import output, process
from rolecast.values import Endpoint, Launch

DEADLINE_S = 15


def launch(*argv: str, own_watch: bool = True, uds: str = "", **env: str) -> Launch:
    return Launch(argv=argv, endpoint=Endpoint(uds=uds), env=tuple(env.items()), own_watch=own_watch)


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", textwrap.dedent(code))


async def line(child: process.Child, wanted: str = "") -> str:
    async with asyncio.timeout(DEADLINE_S):
        async for text in child.follow(100):
            if wanted in text:
                return text
    raise AssertionError(f"ended without printing {wanted!r}")


def assert_all_gone(*pids: int) -> None:
    """Polls: a process nobody waited for yet, a zombie, counts as gone."""
    deadline = time.monotonic() + DEADLINE_S
    left = set(pids)
    while left and time.monotonic() < deadline:
        left = {pid for pid in left if runs(pid)}
        os.sched_yield()
    assert not left


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "worker.log"


# Environment


def test_secrets_of_the_gateway_do_not_reach_children():
    ours = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "CUDA_VISIBLE_DEVICES": "0",
        "GGML_API_KEY": "s1",
        "OPENAI_API_KEY": "s2",
        "HF_TOKEN": "s3",
        "ROLECAST_SERVER_KEYS": "s4",
        "AWS_SECRET_ACCESS_KEY": "s5",
        "LLAMA_API_KEY": "s6",
    }
    seen = process.environment(ours, [])
    assert seen["PATH"] == "/bin"
    assert seen["LC_ALL"] == "C"
    assert seen["CUDA_VISIBLE_DEVICES"] == "0"
    assert not {"s1", "s2", "s3", "s4", "s5", "s6"} & set(seen.values())


def test_whether_a_child_may_use_the_network_is_for_its_launch_to_say():
    assert not {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"} & set(process.environment({}, []))


def test_cards_have_the_numbers_of_their_driver_unless_the_user_wants_others():
    assert process.environment({}, [])["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert process.environment({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, [])["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"


def test_the_launch_adds_to_and_wins_over_the_environment():
    seen = process.environment({"PATH": "/bin"}, [("PATH", "/opt"), ("WANTED", "yes")])
    assert (seen["PATH"], seen["WANTED"]) == ("/opt", "yes")


@pytest.mark.anyio
async def test_a_real_child_sees_only_the_allowed_environment(log, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    code = "import os; print(sorted(os.environ)); print(os.environ['EXTRA'])"
    child = await process.spawn(launch(*python(code), EXTRA="given"), name="m", log=log)
    assert await child.wait() == 0
    names, extra = child.tail(2)
    assert "OPENAI_API_KEY" not in names
    assert extra == "given"


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform != "linux", reason="others have no such score")
async def test_a_worker_goes_first_when_the_machine_has_no_memory_left(log):
    child = await process.spawn(launch(*python("import time; time.sleep(60)")), name="m", log=log)
    score = int(Path(f"/proc/{child.pid}/oom_score_adj").read_text())
    await child.stop(0)
    assert score > int(Path("/proc/self/oom_score_adj").read_text())


# Output


@pytest.mark.anyio
async def test_both_outputs_are_kept_in_memory_and_in_a_private_file(log):
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr)"
    child = await process.spawn(launch(*python(code)), name="m", log=log)
    assert await child.wait() == 0
    assert child.tail(10) == ["out", "err"]
    assert log.read_text() == "out\nerr\n"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@pytest.mark.anyio
async def test_output_is_appended_to_the_log_of_an_earlier_start(log):
    for word in ("one", "two"):
        await (await process.spawn(launch("echo", word), name="m", log=log)).wait()
    assert log.read_text() == "one\ntwo\n"


@pytest.mark.anyio
async def test_a_flood_of_output_is_bounded_in_lines_and_their_length(log):
    code = """
        for i in range(5000): print(i)
        print('x' * 1_000_000)
        print('last', end='')
    """
    child = await process.spawn(launch(*python(code)), name="m", log=log)
    assert await child.wait() == 0
    lines = child.tail(10_000)
    assert len(lines) == output.KEPT_LINES
    assert lines[-1] == "last"
    assert lines[-2] == "x" * output.LINE_BYTES
    assert child.tail(0) == []


@pytest.mark.anyio
async def test_more_output_than_the_backlog_holds_is_all_written(log):
    child = await process.spawn(launch(*python("print('y' * 3_999_999)")), name="m", log=log)
    assert await child.wait() == 0
    assert log.stat().st_size == 4_000_000


def test_a_full_log_is_moved_aside_and_one_old_one_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(output, "FILE_BYTES", 10)
    file = output.LogFile(tmp_path / "w.log")
    for word in (b"first--\n", b"second-\n", b"third--\n"):
        file.write(word)
    file.close()
    assert (tmp_path / "w.log").read_bytes() == b"third--\n"
    assert (tmp_path / "w.log.1").read_bytes() == b"second-\n"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_log_that_is_a_link_is_not_written_through(tmp_path):
    (tmp_path / "w.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        output.LogFile(tmp_path / "w.log")


@pytest.mark.anyio
async def test_a_full_disk_costs_lines_of_the_file_and_not_the_worker(log):
    class Full(output.LogFile):
        full = True

        def write(self, data: bytes) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            super().write(data)

    kept = output.Output(file := Full(log))
    kept.feed(b"one\n")
    await kept.written()
    kept.feed(b"two\n")
    await kept.written()
    file.full = False
    kept.feed(b"three\n")
    kept.end()
    await kept.written()
    assert kept.tail(5) == [
        "one",
        "the log file cannot be written: No space left on device; lines are kept in memory only",
        "two",
        "three",
    ]
    assert log.read_text() == "[lines are missing here: No space left on device]\nthree\n"


@pytest.mark.anyio
async def test_a_worker_starts_without_a_log_file_when_the_disk_has_no_room_for_one(log, monkeypatch):
    def no_room(path: Path) -> output.LogFile:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(process, "LogFile", no_room)
    child = await process.spawn(launch("echo", "hello"), name="m", log=log)
    assert await child.wait() == 0
    assert child.tail(1) == ["hello"]


@pytest.mark.anyio
async def test_followers_get_the_last_lines_then_the_new_ones_and_end_with_the_worker(log):
    code = "print('a'); print('b'); input(); print('c')"
    child = await process.spawn(launch(*python(code)), name="m", log=log)
    await line(child, "b")
    stream = child.follow(1)
    assert await anext(stream) == "b"
    child.kill()
    assert [text async for text in stream] == []
    await child.wait()


@pytest.mark.anyio
async def test_a_follower_that_does_not_read_loses_the_oldest_lines(log):
    kept = output.Output(output.LogFile(log))
    kept.feed(b"0\n")
    stream = kept.follow(1)
    assert await anext(stream) == "0"
    kept.feed(b"".join(b"%d\n" % i for i in range(1, 3001)))
    kept.end()
    lines = [text async for text in stream]
    assert (len(lines), lines[-1]) == (output.KEPT_LINES, "3000")
    await kept.written()


# Ending


@pytest.mark.anyio
@pytest.mark.parametrize("own_watch", [True, False])
@pytest.mark.parametrize(("code", "expected"), [("exit 7", 7), ("kill -SEGV $$", -11), ("kill -KILL $$", -9)])
async def test_the_exit_code_or_signal_is_told(log, own_watch, code, expected):
    child = await process.spawn(launch("sh", "-c", code, own_watch=own_watch), name="m", log=log)
    assert await child.wait() == expected
    assert child.returncode == expected
    assert child.rss_bytes() == 0


@pytest.mark.anyio
async def test_a_command_that_does_not_exist_is_a_load_failure(log):
    with pytest.raises(LoadFailed, match="cannot start 'm': /no/such/engine"):
        await process.spawn(launch("/no/such/engine"), name="m", log=log)


@pytest.mark.anyio
async def test_under_the_watchdog_a_missing_command_says_so_and_ends(log):
    child = await process.spawn(launch("/no/such/engine", own_watch=False), name="m", log=log)
    assert await child.wait() == 127
    assert child.tail(1) == ["cannot run /no/such/engine: No such file or directory"]


@pytest.mark.anyio
async def test_a_log_that_cannot_be_written_is_a_load_failure(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LoadFailed, match="log"):
        await process.spawn(launch("true"), name="m", log=tmp_path / "file" / "w.log")


@pytest.mark.anyio
@pytest.mark.parametrize("own_watch", [True, False])
async def test_stop_asks_first_and_the_child_may_clean_up(log, own_watch):
    code = "trap 'echo cleaned; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    child = await process.spawn(launch("sh", "-c", code, own_watch=own_watch), name="m", log=log)
    await line(child, "ready")
    await child.stop(DEADLINE_S)
    assert child.returncode == 3
    assert child.tail(1) == ["cleaned"]


@pytest.mark.anyio
@pytest.mark.parametrize("own_watch", [True, False])
async def test_stop_kills_a_deaf_child_with_all_it_started(log, own_watch):
    code = "trap '' TERM; sleep 1000 & echo $!; sh -c 'trap \"\" TERM; echo $$; sleep 1001 & wait; wait'"
    child = await process.spawn(launch("sh", "-c", code, own_watch=own_watch), name="m", log=log)
    async with asyncio.timeout(DEADLINE_S):
        stream = child.follow(10)
        pids = [int(await anext(stream)), int(await anext(stream))]
    await child.stop(0.05)
    assert child.returncode == -signal.SIGKILL
    assert_all_gone(child.pid, *pids)


@pytest.mark.anyio
async def test_stop_reaches_a_grandchild_that_left_the_session(log):
    code = """
        import subprocess, sys
        print(subprocess.Popen(['sleep', '1000'], start_new_session=True).pid, flush=True)
        sys.stdin.read()
    """
    child = await process.spawn(launch(*python(code)), name="m", log=log)
    pid = int(await line(child))
    await child.stop(0.0)
    assert_all_gone(child.pid, pid)


@pytest.mark.anyio
async def test_a_grandchild_that_keeps_the_pipe_open_does_not_hold_up_the_end(log):
    code = """
        import subprocess
        print(subprocess.Popen(['sleep', '1000'], start_new_session=True).pid, flush=True)
    """
    child = await process.spawn(launch(*python(code)), name="m", log=log)
    async with asyncio.timeout(DEADLINE_S):
        assert await child.wait() == 0
    os.kill(int(child.tail(1)[0]), signal.SIGKILL)


@pytest.mark.anyio
@pytest.mark.parametrize(("stop", "stays"), [((), False), (("true",), True)])
async def test_what_a_foreign_command_left_in_another_session_ends_with_it_unless_it_has_its_own_way(log, stop, stays):
    code = """
        import subprocess, sys
        quiet = {"start_new_session": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        print(subprocess.Popen(['sleep', '1000'], **quiet).pid, flush=True)
    """
    child = await process.spawn(Launch(argv=python(code), endpoint=Endpoint(), stop=stop), name="m", log=log)
    async with asyncio.timeout(DEADLINE_S):
        assert await child.wait() == 0
    pid = int(child.tail(1)[0])
    assert runs(pid) == stays
    if stays:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.anyio
async def test_stopping_an_ended_child_does_nothing(log):
    child = await process.spawn(launch("true"), name="m", log=log)
    await child.wait()
    await child.stop(1.0)
    child.kill()
    assert child.returncode == 0


@pytest.mark.anyio
async def test_kill_ends_the_tree_at_once(log):
    child = await process.spawn(launch("sh", "-c", "sleep 1000 & echo $!; wait"), name="m", log=log)
    pid = int(await line(child))
    assert child.rss_bytes() > 0
    child.kill()
    assert await child.wait() == -signal.SIGKILL
    assert_all_gone(child.pid, pid)


@pytest.mark.anyio
async def test_the_socket_of_an_ended_child_is_removed(log, tmp_path):
    path = tmp_path / "w.sock"
    code = f"import socket; socket.socket(socket.AF_UNIX).bind({str(path)!r})"
    child = await process.spawn(launch(*python(code), uds=str(path)), name="m", log=log)
    await child.wait()
    assert not path.exists()


GATEWAY = """
    import asyncio, sys
    from pathlib import Path
    from rolecast.processes import process
    from rolecast.values import Endpoint, Launch

    async def main():
        argv, watch = tuple(sys.argv[5:]), sys.argv[3]
        parting_s = 2.0 if watch.startswith("patient") else 0.0
        told = sys.argv[4]
        stop = ("sh", "-c", f"echo stop >> {told}; kill -9 $0", "{pid}") if watch == "patient-stop" else ()
        if watch.endswith("hang"):
            kill = "kill -9 $0;" * (watch == "end-hang")
            stop = ("sh", "-c", f"sleep 1000 & echo $$ $! > {told}; {kill} wait", "{pid}")
            parting_s = 2.0
        launch = Launch(argv=argv, endpoint=Endpoint(), own_watch=watch == "own", parting_s=parting_s, stop=stop)
        child = await process.spawn(launch, name="m", log=Path(sys.argv[1]))
        lines = child.follow(10)
        print(child.pid, await anext(lines), flush=True)
        if watch == "stop-hang":
            await child.stop(60)
        await asyncio.Event().wait()

    if sys.argv[2] == "uvloop":
        import uvloop
        uvloop.run(main())
    else:
        asyncio.run(main())
"""
OWN_WATCH_WORKER = """
    import os, threading
    from rolecast.processes.lifeline import end_with_gateway
    end_with_gateway()
    print(os.getpid(), flush=True)
    threading.Event().wait()
"""


def start_gateway(
    log: Path, loop: str, watch: str, *argv: str, file: Path | str = ""
) -> tuple[subprocess.Popen[str], list[int]]:
    command = [*python(GATEWAY), str(log), loop, watch, str(file), *argv]
    gateway = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert gateway.stdout
    return gateway, [int(word) for word in gateway.stdout.readline().split()]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("watch", "argv"),
    [
        ("own", python(OWN_WATCH_WORKER)),
        ("watchdog", ("sh", "-c", "sleep 1000 & echo $$ $!; wait")),
        ("watchdog", ("sh", "-c", "trap '' TERM HUP INT; sh -c 'sleep 1000 & echo $$ $!; wait'; wait")),
    ],
)
def test_no_process_outlives_a_killed_gateway(log, loop, watch, argv):
    gateway, pids = start_gateway(log, loop, watch, *argv)
    with gateway:
        assert all(runs(pid) for pid in pids)
        gateway.kill()
        assert_all_gone(*pids)


@pytest.mark.parametrize(
    ("watch", "told"),
    [("patient", "signal"), ("patient-stop", "stop"), ("watchdog", "")],
)
def test_a_command_may_end_something_else_before_it_ends_with_a_killed_gateway(log, tmp_path, watch, told):
    file = tmp_path / "told"
    trap = f"trap 'echo signal >> {file}; exit' TERM" if watch != "patient-stop" else "trap '' TERM"
    gateway, pids = start_gateway(
        log, "asyncio", watch, "sh", "-c", f"{trap}; echo $$; while :; do sleep 0.05; done", file=file
    )
    with gateway:
        gateway.kill()
        assert_all_gone(*pids)
    assert (file.read_text().split() if file.exists() else []) == ([told] if told else [])


@pytest.mark.parametrize("watch", ["hang", "end-hang", "stop-hang"])
def test_a_command_that_ends_another_and_hangs_does_not_outlive_a_killed_gateway(log, tmp_path, watch):
    file = tmp_path / "told"
    gateway, pids = start_gateway(log, "asyncio", watch, "sh", "-c", "trap '' TERM; echo $$; sleep 1000", file=file)
    with gateway:
        if watch == "stop-hang":
            first = wait_for_words(file)
            file.unlink()
            pids += first
        gateway.kill()
        assert_all_gone(*pids, *wait_for_words(file))


def wait_for_words(file: Path) -> list[int]:
    """The numbers in a file, once they are there."""
    deadline = time.monotonic() + DEADLINE_S
    while not (file.exists() and file.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        os.sched_yield()
    return [int(word) for word in file.read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="needs the parent-death signal")
def test_a_command_dies_with_a_killed_watchdog(log):
    gateway, (watchdog, shell, left) = start_gateway(
        log, "asyncio", "watchdog", "sh", "-c", "sleep 1000 & echo $$ $!; wait"
    )
    with gateway:
        os.kill(watchdog, signal.SIGKILL)
        assert_all_gone(watchdog, shell)
        os.kill(left, signal.SIGKILL)
        gateway.kill()


def test_a_worker_whose_gateway_is_already_gone_ends_at_once():
    env = process.environment(os.environ, [("ROLECAST_GATEWAY_PID", "1" if os.getpid() != 1 else "2")])
    done = subprocess.run(python(OWN_WATCH_WORKER), env=env, stdin=subprocess.PIPE, timeout=DEADLINE_S)
    assert done.returncode == 1


def test_a_worker_started_by_hand_needs_no_gateway():
    code = "from rolecast.processes.lifeline import end_with_gateway; end_with_gateway(); print('runs')"
    env = process.environment(os.environ, [])
    del env["ROLECAST_GATEWAY_PID"]
    done = subprocess.run(python(code), env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.stdout == "runs\n"


# Runtime folder


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A base folder that is short enough, as tmp_path is not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


def test_the_folder_of_sockets_is_private_and_new(base):
    first, second = runtime.runtime_dir(), runtime.runtime_dir()
    assert first != second
    assert first.parent == base
    assert stat.S_IMODE(first.stat().st_mode) == 0o700


def test_a_base_that_is_too_long_or_missing_is_passed_over(tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    for base in (deep, tmp_path / "missing"):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))
        folder = runtime.runtime_dir()
        assert folder.parent not in (deep, base)
        runtime.remove_runtime_dir(folder)
    assert list(deep.iterdir()) == []


def test_socket_paths_are_short_and_differ_by_model_and_generation(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    folder = runtime.runtime_dir()
    paths = {
        runtime.socket_path(folder, model, generation)
        for model in ("org/model:1", "org/model:2", "m" * 500, "модель")
        for generation in (1, 99_999_999)
    }
    assert len(paths) == 8
    assert all(path.parent == folder and path.suffix == ".sock" for path in paths)
    assert max(len(os.fsencode(path)) for path in paths) <= runtime.SOCKET_PATH_BYTES
    runtime.remove_runtime_dir(folder)


def test_folders_of_dead_gateways_are_swept_and_others_stay(base):
    gone = subprocess.Popen(["true"])
    gone.wait()
    dead = base / f"rolecast-{gone.pid}-abcd"
    dead.mkdir(0o700)
    (dead / "w.sock").touch()
    alive = runtime.runtime_dir()
    reused = base / f"rolecast-{os.getpid()}-old"
    reused.mkdir()
    os.utime(reused, (1, 1))
    target = base / "target"
    target.mkdir()
    link = base / f"rolecast-{gone.pid}-link"
    link.symlink_to(target)
    other = base / "rolecast-notes"
    other.mkdir()
    removed = runtime.sweep_runtime_dirs()
    assert {dead, reused} <= set(removed)
    assert not {alive, link, other} & set(removed)
    assert not dead.exists()
    assert alive.exists()
    assert target.exists()


def test_log_names_are_readable_safe_and_different():
    ids = ["smollm2-135m", "org/model:4b", "org_model_4b", "../../etc/passwd", ".hidden", "m" * 300]
    names = [runtime.file_name(i) for i in ids]
    assert names[0] == "smollm2-135m"
    assert names[1].startswith("org_model_4b-")
    assert len(set(names)) == len(ids)
    assert all("/" not in n and not n.startswith(".") and len(n) < 100 for n in names)
