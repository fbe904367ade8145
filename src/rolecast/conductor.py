"""Conductor's Python surface: a gateway inside the program that answers MCP as JSON text.

`async with ConductorServer() as server: await server.handle_mcp_request(text)`. Opens no port. Knows where Conductor
keeps its settings and what its variables mean; the gateway is `asgi.embedded`'s, and MCP is `rolecast.mcp`'s.
"""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from rolecast import backends
from rolecast.asgi.embedded import Embedded
from rolecast.config import load, presets, read
from rolecast.config.schema import Config
from rolecast.errors import ConfigError

if TYPE_CHECKING:
    from rolecast.mcp.api import Gateways
    from rolecast.mcp.dispatch import Dispatcher

__all__ = ["ConductorServer", "environment", "settings_file"]

PRESET = "conductor"
PLACES = (Path("conductor") / "SETTINGS.md", Path("SETTINGS.md"))
"""Where the settings are looked for, below the working directory."""


def settings_file(env: Mapping[str, str], *more: Path) -> Path | None:
    """The file that ROLECAST_CONFIG names, or the first of `PLACES` and of `more` that is there; None = the preset."""
    if named := env.get("ROLECAST_CONFIG"):
        return Path(named)
    return next((place for place in (*PLACES, *more) if place.is_file()), None)


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Conductor's variables as ours: CONDUCTOR_PORT, and DIFFUSIOND_URL or DIFFUSIOND_PORT of an image server.

    What ours say already stays. Raises ConfigError for a port that is none.
    """
    found: dict[str, str] = {}
    ports = {name: _port(env, name) for name in ("CONDUCTOR_PORT", "DIFFUSIOND_PORT") if env.get(name)}
    if "CONDUCTOR_PORT" in ports:
        found["ROLECAST_SERVER__PORT"] = ports["CONDUCTOR_PORT"]
    if "images" in Config.__struct_fields__:
        if env.get("DIFFUSIOND_URL"):
            found["ROLECAST_IMAGES__URL"] = env["DIFFUSIOND_URL"]
        elif "DIFFUSIOND_PORT" in ports:
            found["ROLECAST_IMAGES__URL"] = f"http://127.0.0.1:{ports['DIFFUSIOND_PORT']}"
    return {name: value for name, value in found.items() if not env.get(name)}


def _port(env: Mapping[str, str], name: str) -> str:
    text = env[name].strip()
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise ConfigError(
            [f"{name}: {text[:40]!r} is no port; write a number from 0 to 65535, or unset it"], source=name
        )
    return text


class ConductorServer:
    """A gateway in this process, for programs that speak MCP to it as texts.

    `config` is a file (SETTINGS.md or rolecast.yaml) or a configuration; without it the one that `settings_file` finds.
    With `skip_model_loading` nothing is loaded before it is asked for. Nothing is downloaded, and an edit of the file
    applies with the next start.
    """

    def __init__(self, config: Config | Path | str | None = None, skip_model_loading: bool = False) -> None:
        self._source = config
        self._skip = skip_model_loading
        self._turn = asyncio.Lock()
        self._gateway: Embedded | None = None
        self._gateways: Gateways | None = None
        self._dispatcher: Dispatcher | None = None

    async def initialize(self) -> None:
        """Start the gateway; a second call does nothing. Raises ConfigError with every problem of the settings."""
        async with self._turn:
            if self._dispatcher is not None:
                return
            from rolecast.mcp.api import Gateways
            from rolecast.mcp.dispatch import Dispatcher

            config = await asyncio.to_thread(self._configuration)
            gateway = Embedded(config)
            await gateway.enter()
            self._gateway, self._gateways = gateway, Gateways()
            self._dispatcher = Dispatcher(self._gateways.api(await self._base(gateway)))

    async def handle_mcp_request(self, text: str) -> str:
        """The answer to a JSON-RPC request or a batch; '' where none is due. Starts the gateway if nobody has."""
        if self._dispatcher is None:
            await self.initialize()
        assert self._dispatcher is not None
        answer: str = await self._dispatcher.handle(text)
        return answer

    async def serve_stdio(self) -> None:
        """Speak MCP on standard input and output until the client closes it."""
        from mcp.server.stdio import stdio_server

        from rolecast.mcp.api import Gateways
        from rolecast.mcp.identity import CONDUCTOR, ROLECAST
        from rolecast.mcp.server import make_server

        config = await asyncio.to_thread(self._configuration)
        gateways = Gateways()
        async with (gateway := Embedded(config)):
            api = gateways.api(await self._base(gateway))
            server = make_server(lambda _: api, CONDUCTOR if config.server.surface == "conductor" else ROLECAST)
            async with stdio_server() as (incoming, outgoing):
                await server.run(incoming, outgoing, server.create_initialization_options())
            await gateways.aclose()

    async def close(self) -> None:
        """Let running requests end, and stop the gateway with its workers."""
        async with self._turn:
            gateway, gateways = self._gateway, self._gateways
            self._gateway = self._gateways = self._dispatcher = None
            if gateways is not None:
                await gateways.aclose()
            if gateway is not None:
                await gateway.leave()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @staticmethod
    async def _base(gateway: Embedded) -> str:
        """The address of the front door for a client in this process."""
        return f"unix://{await gateway.socket(None)}"

    def _configuration(self) -> Config:
        config = self._source if isinstance(self._source, Config) else self._loaded()
        if self._skip:
            config = msgspec.structs.replace(config, memory=msgspec.structs.replace(config.memory, preload=False))
        # The socket is in a folder that nobody else can open, so no key is needed to come in.
        return msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, keys=[]))

    def _loaded(self) -> Config:
        env = {**os.environ, **environment(os.environ)}
        path = Path(self._source) if isinstance(self._source, str | Path) else settings_file(env)
        if path is None:
            return read(presets.text(PRESET), name=f"{PRESET}.yaml", env=env, backends=backends.table())
        return load(path, env=env, backends=backends.table())
