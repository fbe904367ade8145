"""The memory of this process: tidied once at the start, and given back to the system after a load."""

import asyncio
import gc
from collections.abc import Callable

QUIET_S = 5.0


def settle() -> None:
    """What start-up made lives for ever: keep the collector away from it, and let it run less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


async def give_back(answered: Callable[[], int], running: Callable[[], int]) -> None:
    """When requests were answered and none has run for a while, return to the system what they had needed.

    glibc keeps it otherwise, a few megabytes after some hundred connections. Elsewhere this does nothing.
    """
    before = seen = 0
    while True:
        await asyncio.sleep(QUIET_S)
        last, seen = seen, answered()
        if seen == before or seen != last or running():
            continue
        before = seen
        if not _trim():
            return


def _trim() -> bool:
    """Return free memory to the system; False where there is no way to. Takes less than a millisecond."""
    import ctypes  # not before it is needed: it costs a quarter of a megabyte itself

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return False
    trim(ctypes.c_size_t(0))
    return True
