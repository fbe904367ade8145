"""Starts a program that ends with the process that started it: run as `python -I -S tied.py PROGRAM ARGUMENT...`.

On Linux the tie is a signal that the kernel sends; elsewhere it is standard input, whose end tells a server of MCP that
nobody is there any more.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606  # what the configuration says, and no shell
