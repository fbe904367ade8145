"""One server of MCP: connected when it is wanted, its list of tools kept fresh, connected again when it was lost."""

import asyncio
import contextlib
import math
from collections.abc import Sequence
from typing import Any

import anyio
import httpx2
import mcp_types as types
import msgspec
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from rolecast import __version__
from rolecast.tools.address import TERMINATED, Address
from rolecast.tools.allowing import MOST_NAME, description, parameters, refusal
from rolecast.tools.program import Program, ProgramError
from rolecast.tools.results import text_of
from rolecast.tools.wire import Offered, Result, Server, ToldServer, ToldTool

MOST_TOOLS = 2000
"""Of a server so many tools are read."""
MOST_PAGES = 100
FIRST_REST_S, LONGEST_REST_S = 1.0, 60.0
"""Between two tries to connect, twice as long after each that failed."""
STEADY_S = 60.0
"""A server that was there for so long is connected again at once."""
LIST_EVERY_S = 1.0
"""A server that changes its list more often is asked for it so often."""
LIST_AGE_S = 60.0
"""Versions of the protocol that tell of no changes are asked again after so long."""
ERROR_CHARS = 500
NONE = "The tool's server gave an answer that is none."


class Connection:
    """A server, and the connection to it when there is one."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._settled = asyncio.Event()
        self._changed = False
        self._ended = ""
        self._error = server.fault
        self._rest_s = 0.0
        self._not_before = 0.0
        self._about = ""
        self._protocol = ""
        self._told: tuple[ToldTool, ...] = ()
        self._offered: dict[str, Offered] = {}

    # -- what it has ----------------------------------------------------------------------------------------

    async def offered(self) -> Sequence[Offered]:
        """The tools that may be called; none where it cannot be reached."""
        return tuple(self._offered.values()) if await self._ready() is not None else ()

    @property
    def missing(self) -> str:
        """Why there are no tools of it, or ''."""
        if self._client is not None:
            return "" if self._offered else "none of its tools is allowed"
        return self._error or "it is not connected"

    def told(self) -> ToldServer:
        """How it is, for people."""
        state = (
            "ready" if self._client is not None else "starting" if self._runs else "failed" if self._error else "idle"
        )
        return ToldServer(
            self.server.name,
            "program" if self.server.command else "address",
            state,
            "" if self._client is not None else self._error,
            self._about,
            self._protocol,
            self._told,
        )

    async def look(self) -> ToldServer:
        """The same, after a try to connect."""
        await self._ready()
        return self.told()

    # -- calls ----------------------------------------------------------------------------------------------

    async def call(self, tool: str, arguments: dict[str, Any], timeout_s: float, most: int) -> Result:
        """Run a tool. Whoever is cancelled meanwhile tells the server so."""
        for _ in range(2):
            client = await self._ready()
            if client is None:
                return Result(f"The tool's server cannot be reached: {self._error}.", True, "lost")
            if tool not in self._offered:
                said = f"There is no tool {tool[:MOST_NAME]!r} any more, or it may not be called."
                return Result(said, True, "refused")
            request = types.CallToolRequest(params=types.CallToolRequestParams(name=tool, arguments=arguments))
            try:
                # Not `call_tool`: it checks answers by the server's own schema, which may name addresses to fetch.
                found = await client.session.send_request(request, types.CallToolResult, timeout_s)
                why = "tool" if found.is_error else ""
                return Result(text_of(found.content, found.structured_content, most), bool(why), why)
            except MCPError as error:
                if self._ended != TERMINATED:
                    return self._failed(error, client, timeout_s)
                await self._wait_for_end()  # its server knows the session no more, so nothing was run
            except ValidationError:
                return Result(NONE, True, "tool")
            except (anyio.ClosedResourceError, anyio.BrokenResourceError, RuntimeError):
                return Result("The tool's server went away.", True, "lost")
        return Result("The tool's server ends each session at once.", True, "lost")

    def _failed(self, error: MCPError, client: Client, timeout_s: float) -> Result:
        if error.code == types.REQUEST_TIMEOUT:
            return Result(f"The tool did not answer within {timeout_s:g} s.", True, "timeout")
        if error.code == types.CONNECTION_CLOSED or self._client is not client:
            return Result("The tool's server went away while it worked.", True, "lost")
        said = NONE if error.code == types.PARSE_ERROR else f"The tool failed: {self._clean(error.message)}"
        return Result(said, True, "tool")

    # -- its life -------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=10)

    @property
    def _runs(self) -> bool:
        return self._task is not None and not self._task.done()

    async def _ready(self) -> Client | None:
        """The connection, made now if it is not there; None where that fails, or failed just now."""
        if self._client is not None and self._ended:
            await self._wait_for_end()
        if self._client is None and not self._runs:
            if self.server.fault or asyncio.get_running_loop().time() < self._not_before:
                return None
            self._settled.clear()
            self._task = asyncio.create_task(self._live())
        if self._client is None:
            await self._settled.wait()
        return self._client

    async def _wait_for_end(self) -> None:
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=10)

    async def _live(self) -> None:
        """One connection from its beginning to its end."""
        loop = asyncio.get_running_loop()
        began, self._ended = loop.time(), ""
        try:
            await self._connected("legacy")
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                raise
            self._error = self._why(error)
        finally:
            self._client = None
            if self._ended and self._ended != TERMINATED:
                self._error = self._error or self._ended
            steady = loop.time() - began > STEADY_S or self._ended == TERMINATED
            self._rest_s = 0.0 if steady else min(max(2 * self._rest_s, FIRST_REST_S), LONGEST_REST_S)
            self._not_before = loop.time() + self._rest_s
            self._settled.set()

    async def _connected(self, mode: str) -> None:
        transport = self._transport()
        with anyio.fail_after(self.server.start_s) as scope:
            try:
                client = Client(transport, mode=mode, message_handler=self._heard, cache=None, client_info=_us())
                async with client:
                    await self._list(client)
                    scope.deadline = math.inf
                    self._client, self._error, self._rest_s = client, "", 0.0
                    self._protocol = client.protocol_version
                    info = client.server_info
                    self._about = f"{info.name} {info.version}".strip()[:200] if info is not None else ""
                    self._settled.set()
                    await self._watch(client)
                    return
            except Exception as error:
                said = _innermost(error)
                refused = isinstance(said, MCPError) and said.code != types.CONNECTION_CLOSED
                if mode != "legacy" or self._client is not None or self._ended or not refused:
                    raise
            finally:
                if isinstance(transport, Program) and self._ended and self._client is None:
                    words = self._clean(transport.last_words)
                    self._ended += f" and said: {words}" if words else ""
        await self._connected("auto")  # a server that knows only newer versions

    def _transport(self) -> Any:
        server = self.server
        return (
            Program(server.command, server.env, self._lose)
            if server.command
            else Address(server.url, server.headers, self._lose)
        )

    def _lose(self, why: str) -> None:
        self._ended = self._ended or why
        self._news.set()

    async def _watch(self, client: Client) -> None:
        """Keep the list fresh until the connection is lost."""
        loop = asyncio.get_running_loop()
        age_s = LIST_AGE_S if client.protocol_version in MODERN_PROTOCOL_VERSIONS else None
        while not self._ended:
            listed = loop.time()
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(age_s):
                    await self._news.wait()
            if self._ended:
                return
            await asyncio.sleep(max(0.0, listed + LIST_EVERY_S - loop.time()))
            self._changed = False
            with contextlib.suppress(MCPError, ValidationError):
                await self._list(client)

    async def _heard(self, message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._changed = True
            self._news.set()

    async def _list(self, client: Client) -> None:
        """Read its list, page by page. Raises MCPError, and ValidationError for what is none."""
        found: list[types.Tool] = []
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            params = types.PaginatedRequestParams(cursor=cursor)
            page = await client.session.send_request(
                types.ListToolsRequest(params=params), types.ListToolsResult, self.server.start_s
            )
            found += page.tools
            if not page.next_cursor or page.next_cursor == cursor or len(found) >= MOST_TOOLS:
                break
            cursor = page.next_cursor
        told: list[ToldTool] = []
        offered: dict[str, Offered] = {}
        for tool in found[:MOST_TOOLS]:
            destroys = bool(tool.annotations is not None and tool.annotations.destructive_hint)
            destroys = destroys and not (tool.annotations is not None and tool.annotations.read_only_hint)
            why = refusal(tool.name, self.server.allow, destroys=destroys)
            schema = msgspec.Raw(b"{}")
            if not why and (len(tool.name) > MOST_NAME or not tool.name.isprintable()):
                why = "its name is too long, or no text"
            if not why:
                schema, why = parameters(tool.input_schema)
            title = (tool.title or "")[:MOST_NAME]
            told.append(ToldTool(tool.name[:MOST_NAME], not why, title, why, destroys))
            if not why:
                said = description(tool.title or "", tool.description or "")
                offered[tool.name] = Offered(self.server.name, tool.name, said, schema)
        self._told, self._offered = tuple(told), offered

    # -- errors ---------------------------------------------------------------------------------------------

    def _why(self, error: BaseException) -> str:
        """Why it could not be connected, for people; without what is secret."""
        error = _innermost(error)
        if self._ended:
            return self._ended
        if isinstance(error, TimeoutError):
            return f"it was not there within {self.server.start_s:g} s"
        if isinstance(error, ValidationError) or (isinstance(error, MCPError) and error.code == types.PARSE_ERROR):
            return "what it says is no MCP"
        if isinstance(error, httpx2.HTTPStatusError):
            return f"its address answers {error.response.status_code}"
        if isinstance(error, httpx2.ConnectError):
            return "nobody answers at its address"
        if isinstance(error, httpx2.TransportError) and not str(error):
            return "what it says is no MCP: it broke the connection off"
        if isinstance(error, ProgramError | MCPError | OSError | httpx2.HTTPError):
            return self._clean(str(error)) or type(error).__name__
        return type(error).__name__

    def _clean(self, text: str) -> str:
        """One line without secrets."""
        for _, value in (*self.server.env, *self.server.headers):
            for word in (value, value.partition(" ")[2]):
                if len(word) > 3:
                    text = text.replace(word, "***")
        return " ".join(text.split())[:ERROR_CHARS]


def _innermost(error: BaseException) -> BaseException:
    """The error itself, out of the groups that task groups put it into."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _us() -> types.Implementation:
    return types.Implementation(name="rolecast", version=__version__)
