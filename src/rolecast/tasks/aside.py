"""Work on long texts, done in a thread, so that other requests go on meanwhile."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

LONG = 20_000
"""Characters; what is shorter takes less time than a thread would."""
T = TypeVar("T")


async def aside(length: int, work: Callable[..., T], *given: Any) -> T:
    """What `work` gives; in a thread where it is about so many characters or more than `LONG`."""
    return await asyncio.to_thread(work, *given) if length > LONG else work(*given)
