"""The books after a storm of clients, a kill in its middle and a restart: right to the unit, and nothing is missing.

`bench/exact_ledger.py` is the same with ten thousand requests.
"""

from pathlib import Path

import pytest
from ledger_storm import Storm

pytestmark = pytest.mark.anyio


async def test_the_books_are_exact_after_a_storm_a_kill_and_a_restart(tmp_path: Path) -> None:
    found = await Storm(tmp_path, 2000).run()
    assert (found.lost, found.wrong) == ([], [])
    assert found.tokens[0] == found.tokens[1] > 0
    assert found.cost[0] == found.cost[1] > 0
    assert found.completed > 1200
    assert found.left > 100
    assert list((tmp_path / "data" / "journal").iterdir()) == []
