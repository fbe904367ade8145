"""The token governor of PAS (its port 6105): agents say how full their contexts are, and learn when to start anew."""

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.config import paths
from rolecast.config.current import Current
from rolecast.dialects.operation import Query, told
from rolecast.errors import Invalid, RolecastError
from rolecast.pages import asked
from rolecast.pages.pas import reading
from rolecast.pages.pas.reading import iso
from rolecast.registry import summaries
from rolecast.registry.governor import HARD_MAX, MOST_SUMMARIES, TARGET, Context, Governor
from rolecast.registry.summaries import Summarizer
from rolecast.server.asgi import json_response
from rolecast.telemetry.events import Events

TAG = "Token governor"
TRACK = '{"agent":"Architect","run_id":"R-001","ctx_used":4000,"ctx_limit":16000}'
SUMMARIZE = '{"agent":"Architect","run_id":"R-001","trigger_reason":"manual","content_to_summarize":"..."}'
ENDPOINTS = {
    "track": "POST /track",
    "status": "GET /status",
    "summarize": "POST /summarize",
    "summaries": "GET /summaries",
    "clear": "POST /clear",
}
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Anything = dict[str, Any]
OF_ONE = Query("agent", str, "of this one alone")


class Track(msgspec.Struct):
    """How full the context of an agent is, in tokens."""

    agent: Name
    ctx_used: Tokens
    ctx_limit: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    run_id: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    target_ratio: Share | None = None
    """From here on it should be watched; 0.5 where nothing is said."""
    hard_max_ratio: Share | None = None
    """From here on it must start anew; 0.75 where nothing is said."""


class Summarize(msgspec.Struct):
    """The state of an agent is to be kept, and its context to be empty again."""

    agent: Name
    run_id: Name
    trigger_reason: Literal["hard_max_breach", "manual", "soft_timeout"]
    content_to_summarize: str | None = None
    """What it was at; a model of this machine sums it up."""


class Clear(msgspec.Struct):
    """Whose context is empty again."""

    agent: Name


class TokenGovernor:
    """The pages of that port."""

    def __init__(self, current: Current, governor: Governor, summarizer: Summarizer, events: Events) -> None:
        self._current = current
        self._governor = governor
        self._summarizer = summarizer
        self._events = events

    def routes(self) -> list[Route]:
        return [
            Route("/", self.root, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/track", self.track, methods=["POST"]),
            Route("/status", self.status, methods=["GET"]),
            Route("/summarize", self.summarize, methods=["POST"]),
            Route("/summaries", self.summaries, methods=["GET"]),
            Route("/clear", self.clear, methods=["POST"]),
        ]

    @told("What this port is", TAG, answer=Anything, errors=(503,))
    async def root(self, request: Request) -> Response:
        """The service, how many agents it knows, and what it answers."""
        states = [each.judgement.status for each in await self._governor.contexts()]
        counts = {each: states.count(each) for each in ("ok", "warning", "breach")}
        return json_response(
            reading.service(
                request,
                "PAS Token Governor",
                ENDPOINTS,
                defaults={"target_ratio": TARGET, "hard_max_ratio": HARD_MAX},
                tracking={"total_agents": len(states), **counts},
                summarizations={"total": await self._governor.summary_count()},
            )
        )

    @told("Health", TAG, answer=dict[str, str])
    async def health(self, request: Request) -> Response:
        """Whether it answers."""
        return json_response({"status": "ok"})

    @told(
        "Say how full a context is",
        TAG,
        body=Track,
        example={"agent": "Architect", "run_id": "R-001", "ctx_used": 4000, "ctx_limit": 16000},
        answer=Anything,
        errors=(415, 422, 503),
    )
    async def track(self, request: Request) -> Response:
        """From half of it on the status is `warning`, from three quarters on `breach`, if nothing else is said."""
        said = await reading.body(request, Track, TRACK)
        target = TARGET if said.target_ratio is None else said.target_ratio
        hard_max = HARD_MAX if said.hard_max_ratio is None else said.hard_max_ratio
        if target > hard_max:
            text = f"`target_ratio` ({target:g}) is above `hard_max_ratio` ({hard_max:g}); it must not be."
            raise Invalid(text, param="target_ratio")
        now = time.time()
        run = said.run_id or ""
        context = Context(said.agent, run, said.ctx_used, said.ctx_limit, target, hard_max, now)
        judgement = await self._governor.track(context)
        answer = {
            "agent": said.agent,
            "ctx_used": said.ctx_used,
            "ctx_limit": said.ctx_limit,
            "ctx_ratio": round(judgement.ratio, 3),
            "status": judgement.status,
            "action": judgement.action,
            "ts": iso(now),
        }
        if judgement.status != "ok":
            self._events.tell(f"context_{judgement.status}", {**answer, "run_id": run or None})
        return json_response(answer)

    @told("How full contexts are", TAG, answer=Anything, query=(OF_ONE,), errors=(503,))
    async def status(self, request: Request) -> Response:
        """Those heard of last come first."""
        found = await self._governor.contexts(request.query_params.get("agent") or None)
        return json_response({"agents": [_shown(each) for each in found]})

    @told(
        "Keep the state of an agent and start it anew",
        TAG,
        body=Summarize,
        example={"agent": "Architect", "run_id": "R-001", "trigger_reason": "manual"},
        answer=Anything,
        errors=(404, 415, 422, 503, 504),
    )
    async def summarize(self, request: Request) -> Response:
        """A model of this machine sums the content up; the summary is a file, and the agent's context counts as empty.

        When no model can, nothing is changed.
        """
        said = await reading.body(request, Summarize, SUMMARIZE)
        caller = reading.caller(request)
        context = await self._governor.context(said.agent)
        content = (said.content_to_summarize or "").strip()
        summary = summaries.NOTHING
        if content:
            summary = await reading.while_there(request, self._summarizer.sum_up(content, caller))
        now = time.time()
        text = "\n".join(_lines(said, context, summary, now))
        folder = self._folder
        try:
            path = await asyncio.to_thread(summaries.write, folder, summaries.file_name(said.run_id), text)
        except OSError as error:
            log_text = f"The summary cannot be kept: {error.strerror or error}; see `registry.summaries`."
            raise RolecastError(log_text, code="store_unavailable", status=503) from None
        try:
            kept, old = await self._governor.summed_up(said.agent, said.run_id, said.trigger_reason, str(path), now)
        except RolecastError:
            await asyncio.to_thread(summaries.remove, folder, [str(path)])
            raise
        if old:
            await asyncio.to_thread(summaries.remove, folder, old)
        answer = {
            "summary_id": kept.id,
            "agent": kept.agent,
            "summary_path": kept.place,
            "ctx_before": kept.before,
            "ctx_after": 0,
            "ts": iso(now),
        }
        self._events.tell("context_summarized", {**answer, "run_id": kept.run, "trigger_reason": kept.why})
        return json_response(answer | {"summary": summary if content else None})

    @told(
        "What was summed up",
        TAG,
        answer=Anything,
        query=(OF_ONE, Query("limit", asked.Number, f"at most {MOST_SUMMARIES:,}")),
        errors=(503,),
    )
    async def summaries(self, request: Request) -> Response:
        """The newest first."""
        most = asked.number(request.query_params.get("limit", "50"))
        found = await self._governor.summaries(request.query_params.get("agent") or None, most)
        shown = [
            {
                "summary_id": each.id,
                "agent": each.agent,
                "run_id": each.run,
                "trigger_reason": each.why,
                "ctx_before": each.before,
                "ctx_after": 0,
                "summary_path": each.place,
                "created_at": iso(each.at),
            }
            for each in found
        ]
        return json_response({"summaries": shown})

    @told(
        "Start an agent anew",
        TAG,
        body=Clear,
        example={"agent": "Architect"},
        optional=True,
        answer=Anything,
        query=(Query("agent", str, "whose context is empty again, where no body says it"),),
        errors=(404, 415, 422, 503),
    )
    async def clear(self, request: Request) -> Response:
        """Its context counts as empty, and nothing is kept of what it was at."""
        agent = request.query_params.get("agent") or ""
        if not agent:
            agent = (await reading.body(request, Clear, '{"agent":"Architect"}')).agent
        else:
            asked.refuse_forms(request)
        now = time.time()
        before = await self._governor.clear(agent, now)
        return json_response({"success": True, "agent": agent, "ctx_before": before.used, "ts": iso(now)})

    @property
    def _folder(self) -> Path:
        chosen = self._current.config.registry.summaries
        return paths.expand(chosen, "registry.summaries") if chosen else paths.home() / "summaries"


def _shown(context: Context) -> Anything:
    judgement = context.judgement
    return {
        "agent": context.agent,
        "run_id": context.run or None,
        "ctx_used": context.used,
        "ctx_limit": context.size,
        "ctx_ratio": round(judgement.ratio, 3),
        "target_ratio": context.target,
        "hard_max_ratio": context.hard_max,
        "status": judgement.status,
        "action": judgement.action,
        "last_updated": iso(context.at),
    }


def _lines(said: Summarize, context: Context, summary: str, now: float) -> list[str]:
    return [
        f"# Context summary of {summaries.one_line(said.agent)}",
        "",
        f"- Run: {summaries.one_line(said.run_id)}",
        f"- When: {iso(now)}",
        f"- Why: {said.trigger_reason}",
        f"- Context before: {context.used} of {context.size} tokens",
        "",
        "## Summary",
        "",
        summary,
        "",
    ]
