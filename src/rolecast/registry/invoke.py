"""Gives an agent work and brings what it answers, whichever way it is reached.

An agent with an address is asked there, if the configuration lists it: no redirect is followed, no key of ours is sent,
answer and time are bounded, and what leaves this machine is seen off as a request to a model is. One without
(`internal://agents/NAME`) is a role to be played: a model that it prefers, or one that can do what it can, is told who
it is. What this gateway registered is asked in process.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal, Protocol, cast
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from rolecast.backends import remote
from rolecast.config import names
from rolecast.config.current import Current
from rolecast.config.schema import Model
from rolecast.errors import UNREADABLE, RolecastError
from rolecast.net import probe
from rolecast.net.pool import Pool
from rolecast.privacy.restoring import Restorer
from rolecast.registry.adopted import may_be_asked
from rolecast.registry.agents import Registered, agent_name, has_address
from rolecast.turn import departure, keeping
from rolecast.turn.ask import WORDS, Asker, request_of
from rolecast.turn.departure import Cleared, Departure, Parcel
from rolecast.turn.gate import LOCAL
from rolecast.turn.plans import Plans
from rolecast.values import Caller, Chat, Done, Endpoint, Event, Message, Report, Sampling, Text

Transport = Literal["rpc", "file", "mcp", "rest"]
MOST_BYTES = 1024 * 1024
"""Of what an agent elsewhere answers."""
MOST_CHARS = 256 * 1024
"""Of what a model answers: an engine that knows no limit may go on for ever."""
TEXT_FIELDS = ("prompt", "message", "query", "input", "task", "text")
"""Where a payload has the words that a model is asked with."""
ROLES = ("system", "user", "assistant")


class Failed(Exception):
    """Nothing came of it; the message says why, for people."""


class Desk(Protocol):
    """What dispatch has that is needed here."""

    plans: Plans
    departure: Departure | None


class Tools(Protocol):
    """Calls a tool of an MCP server."""

    async def __call__(self, server: str, tool: str, arguments: bytes, timeout_s: float) -> str:
        """What the tool answers. Raises RolecastError where there is no such tool, or it fails."""
        ...


class Outcome(msgspec.Struct, frozen=True):
    """What became of it."""

    status: Literal["success", "error", "timeout"]
    result: Any = None
    error: str | None = None


class Invoker:
    """Reaches agents."""

    def __init__(self, current: Current, asker: Asker, tools: Tools, desk: Desk) -> None:
        self._current = current
        self._asker = asker
        self._tools = tools
        self._desk = desk

    async def invoke(
        self, agent: Registered, payload: Mapping[str, Any], transport: Transport, timeout_s: float, caller: Caller
    ) -> Outcome:
        """Give it this work. Raises nothing: what fails is told."""
        try:
            async with asyncio.timeout(timeout_s):
                return Outcome("success", await self._reached(agent, payload, transport, timeout_s, caller))
        except TimeoutError:
            return Outcome("timeout", error=f"Agent invocation timed out after {timeout_s:g}s")
        except Failed as error:
            return Outcome("error", error=str(error))
        except RolecastError as error:
            return Outcome("error", error=error.message)

    async def _reached(
        self, agent: Registered, payload: Mapping[str, Any], transport: Transport, timeout_s: float, caller: Caller
    ) -> Any:
        if agent.is_ours:
            return await self._asked(agent, payload, caller, self._own_name(agent))
        if transport == "file":
            raise Failed("The transport `file` is not offered: nothing is written for others. Use `rpc` or `rest`.")
        if transport == "mcp":
            return await self._called(agent, payload, timeout_s, caller)
        if has_address(agent):
            return await self._posted(agent, payload, timeout_s, caller)
        if transport == "rest":
            raise Failed(f"Agent {agent_name(agent)} has no address ({agent.url or 'none'}); use `rpc`.")
        return await self._asked(agent, payload, caller, self._player(agent), _who(agent))

    # -- in process -----------------------------------------------------------------------------------------

    def _own_name(self, agent: Registered) -> str:
        words = (agent.labels.get("model", ""), agent_name(agent), agent.name, *agent.caps)
        return self._known(words) or "auto"

    def _player(self, agent: Registered) -> str:
        """Who plays an agent without an address: a model it prefers, else one that says it can do the same."""
        preferred = agent.labels.get("models_primary", "").split(",")
        if found := self._known([agent.labels.get("model", ""), *map(str.strip, preferred)]):
            return found
        models = self._current.config.models
        for cap in agent.caps:
            for model_id, model in models.items():
                if model.enabled and cap in model.capabilities:
                    return model_id
        return "auto"

    def _known(self, words: Sequence[str]) -> str:
        """The first of these that is a name a request may ask for."""
        return next((word for word in words if word and names.find(self._current.names, word) is not None), "")

    async def _asked(
        self, agent: Registered, payload: Mapping[str, Any], caller: Caller, model: str, who: str = ""
    ) -> dict[str, Any]:
        first = (Message("system", who),) if who else ()
        chat = Chat(model, (*first, *_messages(payload)), sampling=_sampling(payload))
        text, reason, usage = "", "", None
        answer = cast("AsyncGenerator[Event, None]", self._asker.ask(chat, replace(caller, port_model="")))
        async with aclosing(answer) as events:
            async for event in events:
                if isinstance(event, Text):
                    text += event.text
                elif isinstance(event, Done):
                    reason = event.reason
                elif isinstance(event, Report):
                    usage = event.usage
                if len(text) > MOST_CHARS:
                    raise Failed(f"The answer is longer than {MOST_CHARS:,} characters.")
        counts = {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens} if usage else None
        return {"message": text, "model": model, "finish_reason": reason or None, "usage": counts}

    # -- elsewhere ------------------------------------------------------------------------------------------

    async def _posted(self, agent: Registered, payload: Mapping[str, Any], timeout_s: float, caller: Caller) -> Any:
        url = agent.url
        if not may_be_asked(url, self._current.config.registry.backends):
            raise Failed(
                f"Its address {_shown(url)} is not listed in `registry.backends`, so it is not asked. Whoever runs "
                "this gateway can list it there."
            )
        parts = urlsplit(url)
        via = f"via: 1.1 {remote.NAME}\r\n".encode()
        pool = Pool(
            Endpoint(
                host=parts.hostname or "",
                port=parts.port or remote.DEFAULT_PORTS[parts.scheme],
                tls=parts.scheme == "https",
                headers=via,
            )
        )
        path = f"{parts.path.rstrip('/')}/invoke"
        model = Model(backend="openai", url=f"{parts.scheme}://{parts.netloc}")
        body = msgspec.json.encode(payload)
        parcel = Parcel("agent", agent_name(agent), "agent", pool.endpoint.authority, path, body, key=caller.key)
        cleared = await self._seen_off(parcel, caller, model) if pool.leaves else Cleared(body)
        asked = msgspec.Raw(cleared.body)
        try:
            answer = await probe.fetch(
                pool, "POST", path, asked, timeout_s=timeout_s, limit=MOST_BYTES, seen_off=pool.leaves
            )
        finally:
            pool.close()
        if 300 <= answer.status < 400:
            raise Failed(f"It answered with a redirect (status {answer.status}), which is not followed.")
        if answer.status >= 400:
            raise Failed(f"It answered with status {answer.status}.")
        try:
            said = answer.body.decode()
            return msgspec.json.decode(Restorer(cleared.values, escaped=True).whole(said) if cleared.values else said)
        except UNREADABLE:
            raise Failed("What it answered is no JSON.") from None

    async def _seen_off(self, parcel: Parcel, caller: Caller, model: Model | None) -> Cleared:
        """What may leave in place of it: its words are held to what those of a request are. Raises StaysHere."""
        request = request_of(Chat("auto", (Message("user", parcel.body.decode()),)))
        if keeping.says_so(parcel.body):
            request.needs |= {LOCAL}
        self._desk.plans.keep_here(request, caller, WORDS)
        return await departure.see_off(self._desk.departure, request.needs, caller, model, parcel)

    async def _called(self, agent: Registered, payload: Mapping[str, Any], timeout_s: float, caller: Caller) -> Any:
        server = agent.labels.get("mcp_server") or agent_name(agent)
        configured = self._current.config.mcp.servers.get(server)
        if configured is None or not configured.enabled:
            raise Failed(f"There is no MCP server {server[:100]!r} in the configuration (mcp.servers).")
        tool, arguments = payload.get("tool"), payload.get("arguments", {})
        if not isinstance(tool, str) or not isinstance(arguments, dict):
            raise Failed('For `mcp` the payload must be such as {"tool":"NAME","arguments":{}}.')
        sent = msgspec.json.encode(arguments)
        if (parcel := departure.for_tool(server, configured.url, sent)) is not None:
            await self._seen_off(replace(parcel, key=caller.key), caller, None)
        text = await self._tools(server, tool, sent, timeout_s)
        return {"message": text, "tool": tool, "server": server}


def _who(agent: Registered) -> str:
    """What a model that plays an agent is told of it."""
    can = ", ".join(agent.caps[:50])
    role = agent.labels.get("agent_role", "")
    lines = [f"You are the agent {agent.name}."]
    if role:
        lines.append(f"Your role: {role}.")
    if can:
        lines.append(f"You can do: {can}.")
    lines.append("Answer what you are asked, in your role, without preamble.")
    return " ".join(" ".join(line.split()) for line in lines)[:4000]


def _messages(payload: Mapping[str, Any]) -> tuple[Message, ...]:
    """A payload as a chat: its messages, or its words, or all of it as it is. Raises Failed."""
    given = payload.get("messages")
    if isinstance(given, list) and given:
        read = [
            Message(each["role"], each["content"])
            for each in given
            if isinstance(each, dict) and each.get("role") in ROLES and isinstance(each.get("content"), str)
        ]
        if len(read) != len(given):
            raise Failed("`payload.messages` must be objects with a `role` (system, user, assistant) and a text.")
        return tuple(read)
    words = [value for field in TEXT_FIELDS if isinstance(value := payload.get(field), str) and value.strip()]
    text = "\n".join(words) if words else msgspec.json.encode(payload).decode()
    return (Message("user", text),)


def _sampling(payload: Mapping[str, Any]) -> Sampling:
    most, temperature = payload.get("max_tokens"), payload.get("temperature")
    return Sampling(
        max_tokens=most if isinstance(most, int) and not isinstance(most, bool) and 0 < most < 2**31 else None,
        temperature=float(temperature)
        if isinstance(temperature, int | float) and not isinstance(temperature, bool) and 0 <= temperature <= 2
        else None,
    )


def _shown(url: str) -> str:
    """An address without what may be secret in it."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"[:200]
    except ValueError:
        return "(which is none)"
