"""What a service manager is told of the gateway: it is up, it reads its configuration, it stops, it is alive.

systemd's protocol (sd_notify): lines to a datagram socket that the environment names. Without one nothing is sent.
"""

import asyncio
import os
import socket
import time
from typing import Literal

State = Literal["ready", "reloading", "stopping", "alive"]
LINES: dict[State, str] = {
    "ready": "READY=1\nSTATUS=answers requests",
    "reloading": "RELOADING=1\nMONOTONIC_USEC={now}",
    "stopping": "STOPPING=1\nSTATUS=lets requests finish",
    "alive": "WATCHDOG=1",
}


def tell(state: State) -> bool:
    """Tell the service manager, if there is one that listens; whether it was told. Never fails and never waits."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    place = "\0" + address[1:] if address.startswith("@") else address
    line = LINES[state].replace("{now}", str(time.monotonic_ns() // 1000))
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)) as sender:
            sender.setblocking(False)
            sender.sendto(line.encode(), place)
    except OSError:
        return False
    return True


def watched_s() -> float:
    """Seconds after which the service manager ends us unless it heard that we are alive; 0 = it does not."""
    pid, within = os.environ.get("WATCHDOG_PID", ""), os.environ.get("WATCHDOG_USEC", "")
    if not within.isdigit() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(within) / 1e6


async def keep_alive() -> None:
    """Say that the event loop turns, twice in the time that it has; returns at once where nobody wants to know."""
    within_s = watched_s()
    while within_s:
        tell("alive")
        await asyncio.sleep(within_s / 2)
