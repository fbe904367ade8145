"""Sees requests for tasks through: writes the prompt of each, or gives its play."""

import asyncio
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from rolecast.config import labels
from rolecast.config.current import Current
from rolecast.config.tasks import Task
from rolecast.dialects.request import Request
from rolecast.errors import Invalid, RolecastError
from rolecast.tasks import play_of
from rolecast.tasks.backstage import Backstage
from rolecast.tasks.ending import answered, end
from rolecast.tasks.job import Job, job_of
from rolecast.tasks.persona import Personas
from rolecast.tasks.table import built_in, merged
from rolecast.turn import stage
from rolecast.turn.count import Counter
from rolecast.turn.exchange import Exchange
from rolecast.turn.plan import Plan
from rolecast.turn.session_turn import is_whole
from rolecast.turn.sessions import Sessions, told

MOST, LONGEST = 50, 100
"""So many ignored options are told, and so many characters of each."""


class Player:
    """Knows the tasks of the configuration that applies."""

    def __init__(
        self, current: Current, counter: Counter, backstage: Backstage, sessions: Sessions, personas: Personas
    ) -> None:
        self._current = current
        self._counter = counter
        self._backstage = backstage
        self._sessions = sessions
        self._personas = personas
        self._made: tuple[Mapping[str, Task], Mapping[str, Task]] | None = None

    async def tasks(self) -> Mapping[str, Task]:
        """All tasks, by category."""
        own = self._current.config.tasks
        if self._made is None or self._made[0] is not own:
            await asyncio.to_thread(built_in)
            self._made = own, merged(own)
        return self._made[1]

    async def play(self, exchange: Exchange, request: Request, plan: Plan, desk: stage.Desk) -> None:
        """Write the prompt of a request that is for a task and begin it as any, or give its play on a stage."""
        try:
            job = await self.job(request)
            if job is not None:
                job = await self._spoken(exchange, request, plan, job)
            if request.order is not None and not request.order.task:
                # Its text has decided, and is looked at no more.
                request.settled, request.trial = plan.choice, plan.trial
            request.order = None
            if job is not None and job.ignored:
                request.noted = {"ignored_options": [word[:LONGEST] for word in job.ignored[:MOST]]}
            if job is None:
                _begin(exchange, request, desk)
            elif not job.task.play and not job.task.ends:
                request.chat = job.written()
                request.body = msgspec.json.encode(request.chat.messages)  # for our own count of tokens
                _begin(exchange, request, desk)
            else:
                found = stage.begin(exchange, plan, desk, self._counter)
                await found.run(_performed(found, job, self._backstage))
        except RolecastError as error:
            exchange.fail(error)

    async def job(self, request: Request) -> Job | None:
        """What a request asks of its task; None for a category that has no task. Raises Invalid."""
        order, chat = request.order, request.chat
        assert order is not None
        assert chat is not None
        name = order.task or request.found or labels.GENERAL
        task = (await self.tasks()).get(name)
        if task is None:
            return None
        persona = order.options.get("persona", "") if task.persona else ""
        if not isinstance(persona, str):
            raise Invalid("`persona` must be the name of a persona.", param="persona")
        if task.persona:
            order = replace(order, options={k: v for k, v in order.options.items() if k != "persona"})
        return replace(job_of(order, name, task, chat), persona=persona)

    async def _spoken(self, exchange: Exchange, request: Request, plan: Plan, job: Job) -> Job:
        """The same with the text of the persona that the job names, and with what was said before in its session.

        Raises RolecastError.
        """
        request.joined = True  # whoever begins it later need not look
        name, task = request.session or exchange.caller.session, job.task
        joined = head = None
        if name and task.history and not exchange.part:
            joined, head = await self._sessions.join(exchange, name, job.prompt or job.user())
        persona = await self._personas.of(job.persona or (head.persona if head else "")) if task.persona else ""
        job = replace(job, persona=_lines(persona, head.system if head else ""))
        if joined is None or head is None or is_whole(job.chat):  # a conversation of its own stands as it is
            return job
        fitted = await self._sessions.fit(exchange, joined, head, job.written(), plan)
        return replace(job, persona=_lines(job.persona, told(fitted)), before=fitted.messages())


def _lines(*texts: str) -> str:
    return "\n\n".join(filter(None, texts))


async def _performed(found: stage.Stage, job: Job, backstage: Backstage) -> None:
    """The task's play, and what its user wants below every answer."""
    text = ""
    if job.task.play:
        await play_of(job.task.play)(found, job, backstage)
    else:
        text = await answered(found, job)
    end(found, job.task.ends, text)


def _begin(exchange: Exchange, request: Request, desk: stage.Desk) -> None:
    exchange.task = None
    if not exchange.closed:
        desk.begin(exchange, request)
