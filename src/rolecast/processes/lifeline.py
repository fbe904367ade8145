"""How our own workers end with the gateway that started them, however it dies. Knows nothing of models.

Two ties: Linux kills the process when its parent dies; everywhere a thread reads standard input, which the
gateway holds open, and ends the process when it closes. A copy of a zygote is no child of the gateway, and shall
outlive its parent: in place of the first tie Linux kills it when its standard input closes, also while it is stopped
or the engine lets no thread run. Started by hand, without a gateway, none applies.
"""

import ctypes
import os
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1
_tied: list[int] = []
"""The process that `end_with_input` has tied; nobody's copy has it by accident."""


def end_with_gateway() -> None:
    """Ties this process to the gateway named in ROLECAST_GATEWAY_PID; ends at once when that is gone."""
    gateway = os.environ.get("ROLECAST_GATEWAY_PID")
    if gateway is None:
        return
    if os.getpid() not in _tied:
        end_with_parent(int(gateway))
    threading.Thread(target=_read_to_the_end, name="lifeline", daemon=True).start()


def end_with_parent(parent: int) -> None:
    """The tie to a gateway that is our parent, without a thread; ends at once when that is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the tie was made
        os._exit(1)


def end_with_input() -> None:
    """The tie of a copy, without a thread: the system kills it when the gateway lets go of its standard input."""
    import fcntl
    import select

    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([0], [], [], 0)[0]:  # it let go before: nothing is ever written there
        os._exit(1)
    _tied[:] = [os.getpid()]


def _read_to_the_end() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)
