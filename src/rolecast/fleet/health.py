"""Whether a worker of ours answers its health check: until it has loaded, and from then on until it ends."""

import asyncio
import logging
from collections.abc import Callable

from rolecast.errors import LoadFailed, RolecastError
from rolecast.net.pool import Pool
from rolecast.net.probe import fetch
from rolecast.processes.running import Running
from rolecast.values import Endpoint

log = logging.getLogger("rolecast.fleet")

PULSE_S = 10.0
"""A loaded worker is asked this often, or four times in its limit."""
LEAST_S = 0.1
FIRST_S, SLOW_S, BRIEF_S = 0.01, 0.1, 2.0
"""A loading worker is asked this often, for so long closely: a small model is there in half a second, and somebody
waits for it."""
MISSES = 2
"""So many checks in a row must fail: the gateway itself may have been suspended during one."""
STOP_S = 2.0


async def is_ready(child: Running, pool: Pool, limit_s: float) -> bool:
    """Ask until the answer is 200; False when the worker ended. Raises LoadFailed, and ends it, after `limit_s`."""
    loop = asyncio.get_running_loop()
    ended = loop.create_task(child.wait())
    deadline = loop.time() + limit_s
    began = loop.time()
    path, said = pool.endpoint.health_path, "got no answer"
    try:
        while not ended.done():
            if loop.time() > deadline:
                await child.stop(STOP_S)
                at = "" if pool.endpoint.uds else pool.endpoint.address
                asked = f"GET {at}{path} {said}"
                raise LoadFailed(f"it was not ready within its load_timeout of {limit_s:g} s: {asked}.")
            try:
                status = (await fetch(pool, "GET", path, timeout_s=2.0)).status
                if status == 200:
                    return not ended.done()
                said = f"was answered with {status}"
            except RolecastError:
                pass
            await asyncio.wait([ended], timeout=FIRST_S if loop.time() - began < BRIEF_S else SLOW_S)
        return False
    finally:
        ended.cancel()


async def is_taken(endpoint: Endpoint) -> bool:
    """Whether somebody listens at that address now."""
    try:
        async with asyncio.timeout(BRIEF_S):
            _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def watch(child: Running, pool: Pool, limit: Callable[[], float]) -> str:
    """Ask a loaded worker until it ends; one that answers nothing for `limit()` seconds (0 = for ever) is ended.

    Gives what was wrong with it then, and an empty text for a worker that ended otherwise.
    """
    loop = asyncio.get_running_loop()
    ended = loop.create_task(child.wait())
    heard, misses = loop.time(), 0
    try:
        while True:
            pulse_s = max(LEAST_S, min(PULSE_S, limit() / 4)) if limit() else PULSE_S
            await asyncio.wait([ended], timeout=pulse_s)
            if ended.done():
                return ""
            try:
                await fetch(pool, "GET", pool.endpoint.health_path, timeout_s=pulse_s)
                heard, misses = loop.time(), 0
            except RolecastError:
                misses += 1
                limit_s = limit()  # 0 by now, perhaps
                silent = limit_s > 0 and misses >= MISSES and loop.time() - heard >= limit_s
                if silent and not ended.done():
                    log.warning("worker %d answers no health check; it is ended", child.pid)
                    await child.stop(0.0)
                    return f"its worker answered no health check for {limit_s:g} s (health_timeout)."
    finally:
        ended.cancel()
