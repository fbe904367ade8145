"""A gateway as a process in the foreground: it runs until a signal, and tells others where it listens."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from rolecast import statefile
from rolecast.app import Gateway, serving
from rolecast.config import located
from rolecast.config.schema import Config
from rolecast.errors import ConfigError
from rolecast.processes import supervisor
from rolecast.reload import Reloads
from rolecast.statefile import Address
from rolecast.telemetry import heap
from rolecast.telemetry.logs import configure_logging

log = logging.getLogger("rolecast")


class Running(msgspec.Struct, frozen=True):
    """What runs where; handed to `on_ready`."""

    listeners: list[Address]
    models: list[tuple[str, str]]
    keyed: bool = False
    """Whether requests need a key."""


def run(config: Config, *, config_path: Path | None = None, on_ready: Callable[[Running], None] | None = None) -> int:
    """Run until SIGTERM or SIGINT; the exit code. Raises ConfigError for a port that is taken.

    A second signal cuts off the requests that are still running.
    """
    import uvloop

    try:
        uvloop.run(_serve(config, config_path, on_ready))
    except ConfigError as error:
        raise ConfigError(located(error.problems, config_path), source=error.source) from error
    return 0


async def _serve(config: Config, config_path: Path | None, on_ready: Callable[[Running], None] | None) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()

    def end() -> None:
        if stop.is_set():
            hurry.set()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    hears_hup = not _on_terminal()  # there it means that the terminal is gone
    if hears_hup:
        loop.add_signal_handler(signal.SIGHUP, lambda: None)  # what runs up reads its file anyway
    gateway = Gateway(config, config_path)
    configure_logging(config.log.level, config.log.format, gateway.telemetry.logs)
    async with serving(gateway, hurry):
        if hears_hup:
            loop.add_signal_handler(signal.SIGHUP, Reloads(gateway.reloader).begin)
        _announce(gateway, config_path)
        gateway.doors.changed = partial(_announce_again, gateway, config_path)
        heap.settle()
        if on_ready is not None:
            models = [(i, gateway.health.state(i)) for i in gateway.telemetry.models]
            on_ready(Running(gateway.doors.addresses, models, keyed=len(gateway.keyring) > 0))
        alive = asyncio.create_task(supervisor.keep_alive())
        supervisor.tell("ready")
        await stop.wait()
        supervisor.tell("stopping")
        log.info("stopping: %d requests are running", len(gateway.dispatch.active))
    alive.cancel()
    statefile.remove()


def _on_terminal() -> bool:
    try:
        return sys.stdin.isatty()
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


def _announce(gateway: Gateway, config_path: Path | None) -> None:
    statefile.write(gateway.doors.addresses, config_path, gateway.telemetry.started_at)


def _announce_again(gateway: Gateway, config_path: Path | None) -> None:
    """Other commands must find the gateway where it listens now; if they cannot be told, it runs all the same."""
    try:
        _announce(gateway, config_path)
    except ConfigError as error:
        log.warning("other commands do not learn where the gateway listens now: %s", error.message)
