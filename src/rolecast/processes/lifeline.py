"""How our own workers end with the gateway that started them, however it dies. Knows nothing of models.

Two ties: Linux kills the process when its parent dies; everywhere a thread reads standard input, which the
gateway holds open, and ends the process when it closes. Started by hand, without a gateway, neither applies.
"""

import ctypes
import os
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1


def end_with_gateway() -> None:
    """Ties this process to the gateway named in ROLECAST_GATEWAY_PID; ends at once when that is gone."""
    gateway = os.environ.get("ROLECAST_GATEWAY_PID")
    if gateway is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(gateway):  # it died before the tie was made
        os._exit(1)
    threading.Thread(target=_end_with_input, name="lifeline", daemon=True).start()


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)
