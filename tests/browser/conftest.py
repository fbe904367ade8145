"""One gateway for all tests of the page, one browser for each module, a fresh profile for each test.

The browser is closed with its module, because as long as it runs no other test in this process could have an event
loop of its own.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import demo
import pytest
from live_gateway import LiveGateway

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    if demo.chromium() is None:
        pytest.skip("no Chromium here: install it (Debian: apt-get install chromium), or name one in CHROMIUM")
    with demo.gateway(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture(scope="module")
def browser(gateway: LiveGateway) -> Iterator["Browser"]:
    from playwright.sync_api import expect

    expect.set_options(timeout=30_000)  # only bounds how long a failure takes to show
    executable = demo.chromium()
    assert executable
    with demo.browser(executable) as running:
        yield running


@pytest.fixture
def page(browser: "Browser", gateway: LiveGateway) -> Iterator["Page"]:
    """The status page, open; nothing may go wrong in it, and it may load nothing from elsewhere."""
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    shown = context.new_page()
    wrong: list[str] = []
    shown.on("pageerror", lambda error: wrong.append(str(error)))
    shown.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
    shown.on("request", lambda asked: wrong.append(asked.url) if not _is_own(asked.url, gateway) else None)
    shown.goto(f"{gateway.url}/ui")
    yield shown
    context.close()
    assert wrong == []


def _is_own(url: str, gateway: LiveGateway) -> bool:
    return url.startswith((f"{gateway.url}/", "blob:"))
