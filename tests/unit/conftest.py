"""Fixtures of the tests that ask a gateway in their own event loop, with a scripted worker behind it.

A module may have a `shared` pair of its own; `front` and `worker` are then that one's.
"""

from collections.abc import AsyncIterator, Iterator

import pytest
from gateway import Gate, ScriptedWorker, clean, pair


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    """One gateway and its worker for all tests of a module, which has to say `anyio_backend = on_uvloop`."""
    async with pair() as both:
        yield both


@pytest.fixture
def front(shared: tuple[Gate, ScriptedWorker], caplog: pytest.LogCaptureFixture) -> Iterator[Gate]:
    """The gateway; its worker starts each test anew."""
    with clean(shared[1], caplog):
        yield shared[0]


@pytest.fixture
def worker(shared: tuple[Gate, ScriptedWorker]) -> ScriptedWorker:
    """The worker behind `front`."""
    return shared[1]
