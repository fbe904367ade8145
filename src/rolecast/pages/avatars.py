"""`/v1/avatars`: what avatars there are and how they were judged; making, releasing, going back, forgetting.

An avatar speaks like somebody, and its report tells what it was made of: all of it is an admin's (`server/scopes.py`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import structs
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.avatars.forget import forget
from rolecast.avatars.order import STEPS, AvatarOrder, Step
from rolecast.avatars.places import PREFIX, Place, slug
from rolecast.avatars.serving import card, versions
from rolecast.avatars.serving.card import Card, Version
from rolecast.avatars.serving.forgetting import Forgotten
from rolecast.avatars.serving.joined import Avatars, Here
from rolecast.avatars.serving.making import KIND, Making
from rolecast.avatars.settings import AvatarSettings, Short
from rolecast.books.store import Store
from rolecast.dialects.operation import Query, told
from rolecast.errors import Conflict, Invalid, NotFound
from rolecast.jobs.job import ACTIVE, Job
from rolecast.jobs.owner import Jobs
from rolecast.pages import asked
from rolecast.server.asgi import json_response
from rolecast.telemetry.events import Tell

TAG = "Avatars"
ORDER = {"person": "Mira Sand", "steps": list(STEPS)}
EXAMPLE = '{"person":"Mira Sand"}'
OF_ONE = (404, 409, 415, 422)
MOST_REPORT_BYTES = 16 * 1024**2
SEALED = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
"""A report is shown and does nothing: no script of it runs, and nothing is fetched."""


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """Make an avatar of a person."""

    person: Short
    """Whose replies are learnt, by name or id."""
    name: Short = ""
    """What the avatar is called; '' = after the person."""
    steps: list[Step] = msgspec.field(default_factory=lambda: list(STEPS))
    """What is done, in this order; the rest was done before."""
    settings: AvatarSettings = AvatarSettings()
    force: bool = False
    """Released although the gate says no."""


class Which(msgspec.Struct, forbid_unknown_fields=True):
    """A version of an avatar."""

    version: int = 0
    """0 = the obvious one: of a release the one that answers a share, of a way back the one before."""


class Shared(msgspec.Struct, forbid_unknown_fields=True):
    """How many conversations another version answers."""

    share: float
    """From 0 to 1; 0 = none any more."""
    version: int = 0
    """0 = the newest."""


class Forget(msgspec.Struct, forbid_unknown_fields=True):
    """Whom avatars shall forget."""

    person: Short
    """The id among the conversations, or the name of an avatar's person."""
    names: Annotated[list[Short], msgspec.Meta(max_length=1000)] = []
    """More ids of the same person, from other sources."""
    erase: bool = True
    """Whether weights and working files are deleted, too."""
    keep_messages: bool = False
    """Whether what they said stays among the conversations, so that the next training learns of it again."""


class Shown(msgspec.Struct, frozen=True):
    """One avatar."""

    name: str
    model: str
    """What requests ask for."""
    title: str
    current: int
    """The version that answers; 0 = none does."""
    canary: int
    share: float
    versions: list[Version]
    """Those at hand, oldest first."""
    withdrawn: list[int]
    job: Job | None = None
    """What is being made, or was made last."""
    judged: bool | None = None
    """What the gate said of what was trained last, released or not; null = it was not asked."""


class Listed(msgspec.Struct, frozen=True):
    """All of them."""

    avatars: list[Shown]


class Gone(Forgotten, frozen=True):
    """What was done, in the conversations too."""

    messages: int = 0
    """So many of theirs are deleted."""


class Withdrawn(msgspec.Struct, frozen=True):
    """What was taken back."""

    name: str
    status: Literal["withdrawn"] = "withdrawn"


VERSION = Query("version", int, "the one that answers unless given; 0 = what was judged last, released or not")


class AvatarPages:
    """`/v1/avatars` and what is below it. `changed` applies what was changed."""

    def __init__(
        self,
        avatars: Avatars,
        making: Making,
        jobs: Jobs,
        changed: Callable[[], Awaitable[None]],
        tell: Tell,
        store: Store,
    ) -> None:
        self._avatars = avatars
        self._making = making
        self._jobs = jobs
        self._changed = changed
        self._tell = tell
        self._store = store

    def routes(self) -> list[Route]:
        one = "/v1/avatars/{name}"
        return [
            Route("/v1/avatars", self.list, methods=["GET"]),
            Route("/v1/avatars", self.make, methods=["POST"]),
            Route("/v1/avatars/forget", self.forget, methods=["POST"]),
            Route(one, self.show, methods=["GET"]),
            Route(one, self.withdraw, methods=["DELETE"]),
            Route(f"{one}/report", self.report, methods=["GET"]),
            Route(f"{one}/report.html", self.page, methods=["GET"]),
            Route(f"{one}/release", self.release, methods=["POST"]),
            Route(f"{one}/rollback", self.rollback, methods=["POST"]),
            Route(f"{one}/share", self.share, methods=["POST"]),
        ]

    @told("All avatars", TAG, answer=Listed)
    async def list(self, request: Request) -> Response:
        """Those that were released, and those that somebody began to make, with why it came to nothing."""
        jobs = self._newest()

        def shown() -> list[Shown]:
            found = [_shown(here, jobs.pop(here.place.name, None)) for here in self._avatars.released()]
            begun = {place.name for place in card.begun(self._avatars.folder)} - {each.name for each in found}
            return found + [
                _unreleased(self._avatars.place(name), jobs.get(name)) for name in sorted(begun | jobs.keys())
            ]

        return json_response(Listed(await asyncio.to_thread(shown)))

    @told("Make an avatar", TAG, body=Wanted, example=ORDER, answer=Job, statuses=(200, 202), errors=(409, 415, 422))
    async def make(self, request: Request) -> Response:
        """Starts a job, followed at /admin/jobs/{id}/events: 202 for a new one, 200 for one that does the same."""
        wanted = await asked.body(request, Wanted, EXAMPLE)
        name = wanted.name or slug(wanted.person)
        order = AvatarOrder(name, wanted.person, tuple(wanted.steps), wanted.settings, force=wanted.force)
        job = self._newest().get(name)
        if not wanted.person.strip() or not wanted.steps:
            raise Invalid("Say whose avatar is to be made, and at least one step.", param="person")
        if job is not None and job.state in ACTIVE and not await asyncio.to_thread(self._making.is_put, order):
            text = f"{name} is being made by another order just now ({job.id}); wait for it, or cancel it."
            raise Conflict(text, param="name")
        await asyncio.to_thread(self._making.put, order)
        job, is_new = self._jobs.start(KIND, name)
        if is_new:
            self._tell("avatar_ordered", {"avatar": name, "job": job.id, "steps": list(order.steps)})
        return json_response(job, 202 if is_new else 200)

    @told("One avatar", TAG, answer=Shown, errors=(404,))
    async def show(self, request: Request) -> Response:
        return json_response(await self._one(request))

    @told("How a version was judged", TAG, answer=Any, query=(VERSION,), errors=(404,))
    async def report(self, request: Request) -> Response:
        """What its evaluation found, as it was written."""
        return Response(await self._file(request, "report.json"), media_type="application/json")

    @told("How a version was judged, for people", TAG, answer=str, media="text/html", query=(VERSION,), errors=(404,))
    async def page(self, request: Request) -> Response:
        """The same as a page with plots."""
        data = await self._file(request, "report.html")
        return Response(data, media_type="text/html", headers={"content-security-policy": SEALED})

    @told("Let a version answer", TAG, body=Which, example={"version": 3}, answer=Shown, errors=OF_ONE)
    async def release(self, request: Request) -> Response:
        """All conversations from now on; the one before is kept for the way back."""
        wanted = await asked.body(request, Which, '{"version":3}')
        return await self._change(request, "avatar_released", versions.promote, wanted.version)

    @told("Go back to an earlier version", TAG, body=Which, example={}, answer=Shown, errors=OF_ONE)
    async def rollback(self, request: Request) -> Response:
        """Kept versions are loaded already: no worker is started for it."""
        wanted = await asked.body(request, Which, "{}")
        return await self._change(request, "avatar_rolled_back", versions.rollback, wanted.version)

    @told("Let a version answer a share", TAG, body=Shared, example={"share": 0.1}, answer=Shown, errors=OF_ONE)
    async def share(self, request: Request) -> Response:
        """A conversation stays with one version; `x-rolecast-avatar` says which answered."""
        wanted = await asked.body(request, Shared, '{"share":0.1}')
        return await self._change(request, "avatar_shared", versions.share, wanted.share, wanted.version)

    @told("Withdraw an avatar", TAG, answer=Withdrawn, errors=(404, 409))
    async def withdraw(self, request: Request) -> Response:
        """It answers no more, in any version. What it was stays to be read; to delete it, forget the person."""
        asked.refuse_forms(request)
        place = self._avatars.place(request.path_params["name"])
        await asyncio.to_thread(versions.withdraw, place)
        self._tell("avatar_withdrawn", {"avatar": place.name})
        await self._changed()
        return json_response(Withdrawn(place.name))

    @told("Forget a person", TAG, body=Forget, example={"person": "p17"}, answer=Gone, errors=OF_ONE)
    async def forget(self, request: Request) -> Response:
        """Deletes the person's messages, withdraws what was trained on them, lists what to train again, and shows who
        never saw them."""
        wanted = await asked.body(request, Forget, '{"person":"p17"}')
        if not wanted.person.strip():
            raise Invalid("Say whom to forget: an id among the conversations, or a name.", param="person")
        deleted, found = await forget(
            wanted.person,
            self._store,
            names=wanted.names,
            keep_messages=wanted.keep_messages,
            erase=wanted.erase,
            root=self._avatars.folder,
        )
        found = found or Forgotten(wanted.person, [], [], [], [])
        await self._changed()
        gone = sorted({each.avatar for each in found.withdrawn})
        self._tell("avatar_withdrawn", {"avatars": gone, "retrain": found.retrain})
        return json_response(Gone(**structs.asdict(found), messages=deleted))

    async def _change(self, request: Request, event: str, change: Callable[..., Card], *arguments: object) -> Response:
        place = self._avatars.place(request.path_params["name"])
        known = await asyncio.to_thread(change, place, *arguments)
        await self._changed()
        self._tell(
            event,
            {"avatar": place.name, "version": known.current, "canary": known.canary, "share": known.share},
        )
        return json_response(await self._one(request))

    async def _one(self, request: Request) -> Shown:
        place = self._avatars.place(request.path_params["name"])
        job = self._newest().get(place.name)

        def shown() -> Shown:
            try:
                return _shown(self._avatars.here(place.name), job)
            except NotFound:
                if job is None and not place.work.is_dir():
                    raise
                return _unreleased(place, job)

        return await asyncio.to_thread(shown)

    async def _file(self, request: Request, name: str) -> bytes:
        place = self._avatars.place(request.path_params["name"])
        said = request.query_params.get("version")

        def read() -> bytes:
            try:
                current = self._avatars.here(place.name).card.current
            except NotFound:
                if not place.work.is_dir():
                    raise
                current = 0
            number = current if said is None else asked.number(said)
            path = (place.version(number) if number else place.evaluation) / name
            if number == 0 and not path.is_file():
                raise NotFound(f"{place.name} was not judged yet; order the step `evaluate`.", param="version")
            if not path.is_file() or path.stat().st_size > MOST_REPORT_BYTES:
                raise NotFound(f"Version {number} of {place.name} has no {name}.", param="version")
            return path.read_bytes()

        return await asyncio.to_thread(read)

    def _newest(self) -> dict[str, Job]:
        return {job.subject: job for job in self._jobs.newest() if job.kind == KIND}


def _shown(here: Here, job: Job | None) -> Shown:
    known = here.card
    return Shown(
        known.name,
        PREFIX + known.name,
        known.title,
        known.current,
        known.canary,
        known.share,
        here.versions,
        list(known.withdrawn),
        job,
        card.judged(here.place),
    )


def _unreleased(place: Place, job: Job | None) -> Shown:
    return Shown(place.name, PREFIX + place.name, place.name, 0, 0, 0.0, [], [], job, card.judged(place))
