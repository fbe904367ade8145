"""The gateway's side of tools: which servers a chat is offered, and the process that talks to them."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from rolecast.config import paths
from rolecast.config.current import Current
from rolecast.config.mcp import Mcp, ToolServer, offered_to
from rolecast.dialects.request import TOOLS, Request
from rolecast.errors import BadRequest, RolecastError, UpstreamTimeout, WorkerDown
from rolecast.net import probe
from rolecast.processes.helper import Helper
from rolecast.tools.conversation import Conversation, Limits
from rolecast.tools.settings import HEADER, named, setup_of
from rolecast.tools.wire import Call, Offer, Offered, Result, Setup, Told, ToldServer, Wanted
from rolecast.turn import departure, stage
from rolecast.turn.count import Counter
from rolecast.turn.exchange import Exchange
from rolecast.turn.plan import Plan

log = logging.getLogger("rolecast.tools")

MODULE = "rolecast.tools.child"
UNKNOWN = 409
SLACK_S = 5.0
"""So much later than the process itself we lose patience with it."""
LOST = Result("The process that talks to tools ended while it worked; the tool may have run.", True, "lost")
T = TypeVar("T")


class Toolbox:
    """Made once, by `app`. Starts nothing before a chat wants tools, unless the configuration says so."""

    def __init__(self, current: Current, counter: Counter, module: str = MODULE) -> None:
        self._current = current
        self._counter = counter
        self.helper = Helper("tools", module, paths.worker_logs().parent / "tools.log")
        self._made: tuple[Mcp, Setup] | None = None

    # -- which chats ----------------------------------------------------------------------------------------

    def asked(self, exchange: Exchange, request: Request) -> bool:
        """Whether this request asks for tools. Raises BadRequest where it cannot have them."""
        names = self._named(exchange, request)
        if not names:
            return False
        if request.split is not None:
            raise BadRequest("`n` must be 1 where the gateway runs tools.", param="n")
        request.prefers |= TOOLS
        return True

    def given(self, exchange: Exchange, request: Request, plan: Plan) -> bool:
        """Whether a request that says nothing of tools has some by whom it is for."""
        if request.split is not None or self._named(exchange, request) is not None:
            return False
        return bool(self._offered_to(plan))

    def _named(self, exchange: Exchange, request: Request) -> tuple[str, ...] | None:
        if request.kind != "chat" or request.equipped or exchange.part:
            return ()
        return named(self._mcp, exchange.caller.tools)

    def _offered_to(self, plan: Plan) -> tuple[str, ...]:
        return offered_to(self._mcp, plan.asked, plan.choice.role, plan.choice.model)

    @property
    def _mcp(self) -> Mcp:
        return self._current.config.mcp

    # -- one chat -------------------------------------------------------------------------------------------

    async def perform(self, exchange: Exchange, request: Request, plan: Plan, desk: stage.Desk) -> None:
        """Have a chat answered with tools, or begin it as any where there are none."""
        try:
            names = named(self._mcp, exchange.caller.tools) or self._offered_to(plan)
            request.equipped = True
            chat = request.chat or exchange.dialect.chat(request)
            incapable = desk.plans.can(plan.choice.model, "tools") is False
            desk.plans.keep_here(request, exchange.caller, exchange.dialect)
            if departure.stays(request.needs, desk.departure):  # what a program that was started here does is its own
                names = tuple(name for name in names if not self._is_elsewhere(name))
            offer = Offer(()) if incapable or chat.tool_choice == "none" else await self.offer(names)
            caller = exchange.caller
            exchange.caller = _telling(caller, f"offered={len(offer.tools)}")
            if not offer.tools:
                request.settled = plan.choice
                exchange.task = None
                if not exchange.closed:
                    desk.begin(exchange, request)
                return
            found = stage.begin(exchange, plan, desk, self._counter)
            mcp = self._mcp
            limits = Limits(int(mcp.rounds), float(mcp.calls_timeout), int(mcp.result_size))
            play = Conversation(found, chat, offer.tools, partial(self._called, found), limits)
            await found.run(self._played(play, exchange, caller))
        except RolecastError as error:
            exchange.fail(error)

    async def _called(self, stage: stage.Stage, tool: Offered, arguments: bytes, within_s: float, most: int) -> Result:
        """Run a tool for a chat; one that is elsewhere is seen off before."""
        parcel = departure.for_tool(tool.server, self._server(tool.server).url, arguments)
        if parcel is not None:
            try:
                await stage.see_off(parcel)
            except RolecastError as error:
                return Result(error.message, True, error.code or "refused")
        return await self.call(tool, arguments, within_s, most)

    def _is_elsewhere(self, name: str) -> bool:
        """Whether what is said to that server leaves this machine."""
        return departure.for_tool(name, self._server(name).url, b"") is not None

    async def _played(self, play: Conversation, exchange: Exchange, caller: Any) -> None:
        await play.play()
        if not exchange.sink.started:
            exchange.caller = _telling(caller, play.summary())

    # -- the process ----------------------------------------------------------------------------------------

    async def offer(self, names: Sequence[str]) -> Offer:
        """The tools of those servers; none where the process does not work."""
        slowest = max((float(self._server(name).start_timeout) for name in names), default=0.0)
        try:
            found = await self._ask("/offer", Offer, slowest + SLACK_S, lambda digest: Wanted(digest, tuple(names)))
        except (WorkerDown, UpstreamTimeout) as error:
            log.warning("no tools are offered: %s", error.code)
            return Offer(())
        for name, why in found.missing:
            log.info("the server of tools %s: %s", name, why)
        return found

    async def call(self, tool: Offered, arguments: bytes, within_s: float, most: int) -> Result:
        """Run a tool. Never fails: what goes wrong is a text for the model. Nothing is run twice."""
        timeout_s = min(float(self._server(tool.server).timeout), within_s)
        if timeout_s <= 0:
            return Result("There is no time left for tools.", True, "timeout")
        try:
            return await self._ask(
                "/call",
                Result,
                timeout_s + SLACK_S,
                lambda digest: Call(digest, tool.server, tool.tool, msgspec.Raw(arguments), timeout_s, most),
            )
        except UpstreamTimeout:
            return Result(f"The tool did not answer within {timeout_s:g} s.", True, "timeout")
        except RolecastError:
            await self.helper.has_ended()  # so that the next use starts it again
            return LOST

    async def look(self) -> list[ToldServer]:
        """All servers of the configuration, after a try to connect to each."""
        servers = self._mcp.servers
        names = tuple(name for name, each in servers.items() if each.enabled)
        found: dict[str, ToldServer] = {}
        if names:
            slowest = max(float(servers[name].start_timeout) for name in names)
            told = await self._ask("/look", Told, slowest + SLACK_S, lambda digest: Wanted(digest, names))
            found = {each.name: each for each in told.servers}
        return [found.get(name) or _idle(name, each) for name, each in servers.items()]

    async def wake(self) -> None:
        """Connect to those that the configuration wants connected with the gateway."""
        names = [name for name, each in self._mcp.servers.items() if each.enabled and each.start == "now"]
        if names:
            await self.offer(names)

    async def close(self) -> None:
        """End the process, and with it the programs that it started."""
        await self.helper.close()

    def _server(self, name: str) -> ToolServer:
        return self._mcp.servers.get(name) or ToolServer()  # an edit may have removed it

    async def _ask(self, path: str, kind: type[T], timeout_s: float, asks: Callable[[str], Any]) -> T:
        """Ask the process, which is told of the servers first where it knows others. Raises RolecastError."""
        setup = self._setup()
        self.helper.start_s, self.helper.idle_s = float(self._mcp.start_timeout), float(self._mcp.idle_timeout)
        question = asks(setup.digest)
        async with self.helper as pool:
            for _ in range(3):
                found = await probe.fetch(pool, "POST", path, question, timeout_s=timeout_s)
                if found.status != UNKNOWN:
                    break
                await probe.fetch(pool, "POST", "/setup", setup)
        if found.status != 200:
            raise WorkerDown("The process that talks to tools does not work; its log, logs/tools.log, may say why.")

        return msgspec.json.decode(found.body, type=kind)

    def _setup(self) -> Setup:
        mcp = self._mcp
        if self._made is None or self._made[0] is not mcp:
            self._made = mcp, setup_of(mcp)
        return self._made[1]


def _telling(caller: Any, summary: str) -> Any:
    return replace(caller, answer_lines=caller.answer_lines + f"{HEADER}: {summary}\r\n".encode("ascii", "replace"))


def _idle(name: str, server: ToolServer) -> ToldServer:
    kind = "program" if server.command else "address"
    return ToldServer(name, kind, "idle" if server.enabled else "disabled")


async def quietly(toolbox: Toolbox) -> None:
    """Connect early, where nobody waits for it."""
    try:
        await toolbox.wake()
    except (TimeoutError, RolecastError, msgspec.MsgspecError) as error:
        log.warning("the servers of tools are not connected yet: %s", type(error).__name__)
