"""Python programs that start in 0.03 s: forked from a process that has imported what they need.

The packages that servers of tests are written with take a second or two to import, and some tests start one or two
each. `command` gives the words that start such a program. What is started is a small client of the forking process: it
hands over its streams, words, environment and folder, waits, and ends with the program's status; when it is killed, so
is the program. The forking process ends with the tests.

quick_python.py SOCKET MODULE...      the forking process; it ends with its standard input
"""

import atexit
import contextlib
import functools
import marshal
import os
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

CLIENT = """
import _socket, array, marshal, os, sys
told = marshal.dumps((sys.argv[2:], dict(os.environb), os.getcwd()))
link = _socket.socket(_socket.AF_UNIX)
link.connect(sys.argv[1])
link.sendmsg([len(told).to_bytes(4, 'big')], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array('i', [0, 1, 2]))])
link.sendall(told)
for stream in (0, 1, 2):
    os.close(stream)
status = link.recv(1)
os._exit(status[0] if status else 1)
"""


def command(program: Path, *words: str, needs: tuple[str, ...]) -> list[str]:
    """What starts that program with these words, once `needs` (modules) are imported."""
    if not hasattr(os, "pidfd_open"):  # not on Linux
        return [sys.executable, str(program), *words]
    return [sys.executable, "-I", "-S", "-c", CLIENT, _forking(needs), str(program), *words]


def tool_server(*words: str) -> list[str]:
    """The command of `tool_server.py`, a server of MCP."""
    needs = ("mcp.server.lowlevel", "mcp.server.stdio")
    return command(Path(__file__).with_name("tool_server.py"), *words, needs=needs)


@functools.cache
def _forking(modules: tuple[str, ...]) -> str:
    folder = tempfile.TemporaryDirectory(prefix="rc")
    address = f"{folder.name}/s"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    child = subprocess.Popen(
        [sys.executable, __file__, str(listener.fileno()), *modules],
        stdin=subprocess.PIPE,
        pass_fds=[listener.fileno()],
        start_new_session=True,
    )
    listener.close()

    @atexit.register
    def end() -> None:
        assert child.stdin is not None
        child.stdin.close()
        child.wait()
        folder.cleanup()

    return address


def _serve(listener: socket.socket) -> None:
    found = selectors.DefaultSelector()
    found.register(listener, selectors.EVENT_READ, None)
    found.register(0, selectors.EVENT_READ, None)
    running: dict[int, int] = {}  # by the client's socket
    while True:
        for key, _ in found.select():
            if key.fileobj == 0:  # nothing is ever written there
                for pid in running.values():
                    os.kill(pid, signal.SIGKILL)
                return
            if key.fileobj is listener:
                link, _ = listener.accept()
                pid = _started(link, listener)
                if pid is None:
                    link.close()
                    continue
                ended = os.pidfd_open(pid)
                running[link.fileno()] = pid
                found.register(link, selectors.EVENT_READ, ended)
                found.register(ended, selectors.EVENT_READ, link)
            elif isinstance(key.fileobj, socket.socket):  # the client was killed; the rest follows when the other ends
                found.unregister(key.fileobj)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(running[key.fd], signal.SIGKILL)
            else:
                link = key.data
                _, status = os.waitpid(running.pop(link.fileno()), 0)
                found.unregister(key.fd)
                os.close(key.fd)
                with contextlib.suppress(KeyError):
                    found.unregister(link)
                with contextlib.suppress(OSError):
                    link.send(bytes([os.waitstatus_to_exitcode(status) & 255]))
                link.close()


def _started(link: socket.socket, listener: socket.socket) -> int | None:
    head, streams, _, _ = socket.recv_fds(link, 4, 3)
    if len(streams) < 3:
        return None
    (length,) = struct.unpack(">I", head)
    told = b""
    while len(told) < length and (piece := link.recv(length - len(told))):
        told += piece
    pid = os.fork()
    if pid:
        for stream in streams:
            os.close(stream)
        return pid
    try:
        os.setsid()
        for place, stream in enumerate(streams):
            os.dup2(stream, place)
            os.close(stream)
        link.close()
        listener.close()
        words, environment, folder = marshal.loads(told)
        os.chdir(folder)
        os.environ.clear()
        os.environb.update(environment)
        sys.argv[:] = words
        sys.path.insert(0, str(Path(words[0]).parent))
        runpy.run_path(words[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
    number, *modules = sys.argv[1:]
    for module in modules:
        __import__(module)
    _serve(socket.socket(fileno=int(number)))


if __name__ == "__main__":
    main()
