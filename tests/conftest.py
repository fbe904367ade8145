"""Fixtures for all tests: the user's files are never touched."""

import gc
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared_compiling import compile_part

REAL_ENGINE = (
    "tests/contract/",
    "tests/process/test_real_engine.py",
    "tests/process/test_real_routing.py",
    "tests/process/test_hardened.py",
)


LONG = ("test_tools.py", "test_maths.py", "test_mcp.py", "test_long_context.py")
"""Files that keep one test process busy for a minute or more: first, so that none of them is left alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONG)


def pytest_collection_finish() -> None:
    """The collector would look at ten thousand tests, and all that they import, again and again."""
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    told: dict[str, Any] | None = getattr(config, "workerinput", None)
    if told is not None:
        compile_part(config, int(told["workerid"].removeprefix("gw")), int(told["workercount"]))


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What failed once and passed then is a defect, too: of the test, or a race of ours."""
    passed = {report.nodeid for report in terminalreporter.getreports("passed")}
    for report in terminalreporter.getreports("rerun"):
        if report.nodeid in passed:
            terminalreporter.write_sep("=", f"failed once: {report.nodeid}", yellow=True)
            terminalreporter.write_line(report.longreprtext)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Names of folders that are not there yet: to make and to number one for each of many thousand tests is slow."""
    among = tmp_path_factory.mktemp("homes")
    return (among / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def _own_home(_homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Data, configuration and keys of the person who runs the tests stay out of them."""
    home = next(_homes)
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
