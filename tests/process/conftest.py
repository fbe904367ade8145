"""Real weights for the tests that need a real engine."""

from pathlib import Path

import pytest
import real_weights


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return real_weights.fetch(tmp_path_factory.getbasetemp() / "weights")
