"""A process that has a worker's module imported, and becomes workers by copying itself: `python -P -m ... MODULE WAY`.

Importing is most of what a small model's start costs; a copy has it behind it. The gateway holds the other end of
standard input, a socket: it asks for a copy with three files as its standard input, output and error, and is told how
each copy ended. With the gateway, or when the gateway lets go of the socket, the zygote ends; its copies are tied to
the gateway by themselves, so the death of a zygote ends no work.

MODULE has `main()`; `import_all()`, for what it would import late; and `may_be_copied()`, asked in a first copy: what
a GPU's driver was told does not survive a copy. WAY `any` asks not. A process with several threads is never copied.
Standard library only, and one thread. Knows nothing of models.
"""

import ctypes
import errno
import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from rolecast.processes import lifeline

PR_SET_NAME = 15
NAME = "rolecast-zygote"
ANY = "any"
MESSAGE_BYTES = 1 << 16
FILES = 3
"""Standard input, output and error."""


class Zygote:
    """The process itself."""

    def __init__(self, module: ModuleType, control: socket.socket) -> None:
        self._module = module
        self._control = control
        self._waking, self._woken = socket.socketpair()
        for each in (self._waking, self._woken):
            each.setblocking(False)
        self._copies: set[int] = set()

    def run(self) -> NoReturn:
        """Make copies until the gateway is gone."""
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._tell({"ready": os.getpid()})
        events = select.poll()
        events.register(self._control, select.POLLIN)
        events.register(self._waking, select.POLLIN)
        while True:
            ready = {fd for fd, _ in events.poll()}
            if self._waking.fileno() in ready:
                self._waking.recv(MESSAGE_BYTES)
                self._report_ends()
            if self._control.fileno() in ready:
                self._heed()

    def _heed(self) -> None:
        """One request of the gateway: `{"name": NAME, "words": WORDS}` with the files of the copy."""
        try:
            said, files, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, FILES)
        except OSError:
            said, files = b"", []
        if not said:
            os._exit(0)
        try:
            self._copy(json.loads(said), files)
        except OSError as error:
            self._tell({"failed": error.strerror or str(error)})
        finally:
            for each in files:
                os.close(each)

    def _copy(self, asked: dict[str, Any], files: Sequence[int]) -> None:
        if len(files) != FILES:  # there was no room for all of them
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        leads, led = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            os.close(leads)
            os.close(led)
            raise
        if pid == 0:
            os.close(leads)
            self._become(asked["name"], asked["words"], files, led)
        self._copies.add(pid)
        os.close(led)
        os.read(leads, 1)  # until it has a group of its own: who is told of it may signal that at once
        os.close(leads)
        watch = os.pidfd_open(pid)  # before it can be waited for: it is that process and no later one
        try:
            self._tell({"copy": pid}, watch)
        finally:
            os.close(watch)

    def _report_ends(self) -> None:
        for pid in list(self._copies):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._copies.discard(pid)
                self._tell({"ended": pid, "code": os.waitstatus_to_exitcode(status)})

    def _tell(self, message: dict[str, Any], *files: int) -> None:
        try:
            socket.send_fds(self._control, [json.dumps(message).encode()], files)
        except OSError:  # nobody is there to be told
            os._exit(0)

    def _become(self, name: str, words: Sequence[str], files: Sequence[int], led: int) -> NoReturn:
        """In the copy: leave behind what is the zygote's, and be the worker from here on. `led` is closed when it leads
        its own group."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            os.close(led)
            self._control.detach()  # its number is 0, which is given away now
            for number, file in enumerate(files):
                os.dup2(file, number)
                os.close(file)
            self._waking.close()
            self._woken.close()
            lifeline.end_with_input()
            call(name)
            sys.argv[:] = [str(self._module.__file__), *words]
            self._module.main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            sys.stdout.flush()
            os._exit(code)


def call(name: str) -> None:
    """What the process is called in lists of processes: the first 15 bytes of the name."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode())


def is_fit(module: ModuleType, way: str) -> bool:
    """Whether copies of this process are sound, and can be watched when it is gone."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return len(list(Path("/proc/self/task").iterdir())) == 1 and (way == ANY or _may_be_copied(module))


def _may_be_copied(module: ModuleType) -> bool:
    """What the module looks at for that, it looks at in a copy."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if module.may_be_copied() else 1)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def main() -> None:
    # An event loop may leave more ends of our files open in us; in a copy they would hide our death from the gateway.
    os.closerange(FILES, os.sysconf("SC_OPEN_MAX"))
    lifeline.end_with_parent(int(os.environ["ROLECAST_GATEWAY_PID"]))
    call(NAME)
    control = socket.socket(fileno=0)
    module = import_module(sys.argv[1])
    module.import_all()
    if not is_fit(module, sys.argv[2]):
        control.send(json.dumps({"unfit": sys.argv[1]}).encode())
        os._exit(0)
    gc.collect()
    gc.freeze()  # or the collector of each copy would write into the pages that all share
    Zygote(module, control).run()


if __name__ == "__main__":
    main()
