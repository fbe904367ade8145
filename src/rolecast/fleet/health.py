"""Whether a worker of ours answers its health check: until it has loaded, and from then on until it ends."""

import asyncio
import logging
from collections.abc import Callable

from rolecast.errors import LoadFailed, RolecastError
from rolecast.fleet.worker import Worker
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
FAULT = 500
"""A server that answers its health check with this status, or one above, says that it is not well."""
LOOK_S = 1.0
"""So long is watched whether a silent worker computes."""
IDLE_SHARE = 0.02
"""One that computes less than this part of the time does nothing: its server's own timers may tick."""
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


async def computes(child: Running) -> bool | None:
    """Whether it computes at this moment, whatever comes of it; None when that cannot be told."""
    before = await asyncio.to_thread(child.cpu_s)
    await asyncio.sleep(LOOK_S)
    after = await asyncio.to_thread(child.cpu_s)
    return None if before is None or after is None else after - before > IDLE_SHARE * LOOK_S


async def watch(
    child: Running, pool: Pool, worker: Worker, limit: Callable[[], float], on_pulse: Callable[[], None]
) -> str:
    """Ask a loaded worker until it ends; one that is not well for `limit()` seconds (0 = for ever) is ended.

    It is well when it answers, or gives somebody a byte: many servers answer nobody else while they compute. So one
    that computes for a request is left to `turn.silence`, which goes by the `timeout`. `on_pulse` is called with
    every answer. Gives what was wrong with it then, and an empty text for a worker that ended otherwise.
    """
    loop = asyncio.get_running_loop()
    ended = loop.create_task(child.wait())
    well, misses, heard = loop.time(), 0, worker.heard
    try:
        while True:
            pulse_s = max(LEAST_S, min(PULSE_S, limit() / 4)) if limit() else PULSE_S
            await asyncio.wait([ended], timeout=pulse_s)
            if ended.done():
                return ""
            status = await _asked(pool, pulse_s)
            if status:
                on_pulse()
            if 0 < status < FAULT or worker.heard > heard:
                well, misses, heard = loop.time(), 0, worker.heard
                continue
            misses += 1
            limit_s = limit()  # 0 by now, perhaps
            if not limit_s or misses < MISSES or loop.time() - well < limit_s:
                continue
            if (worker.active and await computes(child) is not False) or ended.done():
                continue
            said = f"said that it is not well ({status})" if status else "answered no health check"
            log.warning("worker %d %s; it is ended", child.pid, said)
            await child.stop(0.0)
            return f"its worker {said} for {limit_s:g} s (health_timeout)."
    finally:
        ended.cancel()


async def _asked(pool: Pool, timeout_s: float) -> int:
    """The status of its answer; 0 = it gives none."""
    try:
        return (await fetch(pool, "GET", pool.endpoint.health_path, timeout_s=timeout_s)).status
    except RolecastError:
        return 0
