"""Fixtures for all tests: the user's files are never touched."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

REAL_ENGINE = (
    "tests/contract/",
    "tests/process/test_real_engine.py",
    "tests/process/test_real_routing.py",
    "tests/process/test_hardened.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With several test processes each file stays in one, as do all that share the real engine or a browser."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            if path.startswith("tests/browser/"):
                return "the browser"
            return "the real engine" if path.startswith(REAL_ENGINE) else path

    return ByFile(config, log)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data, configuration and keys of the person who runs the tests stay out of them."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("ROLECAST_HOME", str(home / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    for name in ("ROLECAST_CONFIG", "ROLECAST_API_KEY", "ROLECAST_URL", "LLM_BASE_URL", "AGENT_LLM_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _own_levels() -> Iterator[None]:
    """A gateway in a test sets the levels of its process; the next test begins with none."""
    loggers = [logging.getLogger(name) for name in ("", "rolecast", "uvicorn.access", "uvicorn.error")]
    levels = [each.level for each in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
