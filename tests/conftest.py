"""Fixtures for all tests: the user's files are never touched."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data, configuration and keys of the person who runs the tests stay out of them."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("ROLECAST_HOME", str(home / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    for name in ("ROLECAST_CONFIG", "ROLECAST_API_KEY", "ROLECAST_URL", "LLM_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
