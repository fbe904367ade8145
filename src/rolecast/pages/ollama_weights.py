"""Ollama's pulls and deletions of the weights of configured models, and clear words for what is not possible here.

Which models there are, and what they are called, is the user's configuration: nothing here changes it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from rolecast import sources, weights
from rolecast.config.current import Current
from rolecast.config.schema import Model
from rolecast.dialects.operation import LINES, told
from rolecast.errors import BadRequest, Conflict, ModelNotFound, SourceError
from rolecast.fleet import Fleet, State
from rolecast.jobs.job import Job
from rolecast.jobs.owner import Jobs
from rolecast.pages.jobs import with_breaths
from rolecast.pages.ollama import BODY, Named, body_of, lines, named
from rolecast.pages.ollama_model import digest
from rolecast.server.asgi import json_response
from rolecast.weights import Finder

NO_MANIFEST = "pull model manifest: file does not exist"
"""What clients know of a model that is nowhere."""
BEGINS: Mapping[str, str] = {"verifying": "verifying sha256 digest"}
"""Ollama's words for steps of a pull; all others are its pulling of a layer."""


class _Pull(Named):
    stream: bool | None = None


class OllamaWeights:
    """`/api/pull` and `/api/delete`; `/api/push` is refused."""

    def __init__(
        self,
        current: Current,
        fleet: Fleet,
        jobs: Jobs,
        finder: Finder,
        store: Path,
        changed: Callable[[], Awaitable[None]],
        forget: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._current = current
        self._fleet = fleet
        self._jobs = jobs
        self._find = finder
        self._store = store
        self._changed = changed
        """Lets the gateway look at what is in the store."""
        self._forget = forget
        """Deletes a variant; whether there was one of that name."""

    def routes(self) -> list[Route]:
        return [
            Route("/api/pull", self.pull, methods=["POST"]),
            Route("/api/delete", self.delete, methods=["DELETE"]),
            *(Route(f"/api/{name}", refused, methods=["POST"]) for name in REFUSED),
        ]

    # -- pulls ------------------------------------------------------------------------------------------------

    @told(
        "Bring the weights of a model",
        "Ollama",
        body=_Pull,
        example=BODY,
        answer="rolecast.pages.shapes:OllamaStep",
        streams=LINES,
        event="rolecast.pages.shapes:OllamaStep",
        errors=(404, 409, 502),
    )
    async def pull(self, request: Request) -> Response:
        """Bring the weights of a configured model, and tell how far that is. Who leaves ends nothing."""
        fields = await body_of(request, _Pull)
        try:
            name = named(self._current, fields.model)
        except ModelNotFound:
            text = f"{NO_MANIFEST}: {fields.model[:200]!r} is no model of the configuration, and only those are pulled"
            raise ModelNotFound(f"{text}; add it under `models:` in rolecast.yaml.", param="model") from None
        models = {model_id: self._current.config.models[model_id] for model_id in name.models}
        absent = [i for i, model in models.items() if not await asyncio.to_thread(self._is_here, model)]
        if not absent:
            steps = _success()
        elif len(name.models) > 1:
            raise BadRequest(f"{name.name} is a role of several models; pull {' or '.join(absent)}.", param="model")
        else:
            job, _ = self._jobs.start("pull", absent[0])
            steps = self._steps(job.id, digest(absent[0], models[absent[0]]))
        if fields.stream is not False:
            return StreamingResponse(lines(steps), media_type="application/x-ndjson")
        last = [step async for step in steps][-1]
        if "error" in last:
            raise SourceError(last["error"])
        return json_response(last)

    async def _steps(self, job_id: str, of: str) -> AsyncIterator[dict[str, Any]]:
        told: dict[str, Any] = {"status": "pulling manifest"}
        yield told
        async for job in with_breaths(self._jobs.follow(job_id)):
            told = told if job is None else _step(job, of)
            yield told
            if job is not None and job.state == "done":
                yield {"status": "success"}

    # -- deletions --------------------------------------------------------------------------------------------

    @told("Delete the weights of a model", "Ollama", body=Named, example=BODY, errors=(404, 409))
    async def delete(self, request: Request) -> Response:
        """Delete a variant that was made, or what was downloaded for a model; its configuration stays.

        Raises Conflict while it is needed.
        """
        fields = await body_of(request, Named)
        if await self._forget(fields.model):
            return Response(status_code=200)
        name = named(self._current, fields.model)
        if name.kind != "model":  # a name that is given up costs nothing there, and must cost no weights here
            raise BadRequest(
                f"{name.name} is {'an alias' if name.kind == 'alias' else 'a role'} of the configuration, which stays; "
                f"weights are deleted by the name of their model: {' or '.join(name.models)}.",
                param="model",
            )
        model_id, model = name.models[0], self._current.config.models[name.models[0]]
        if not model.source:
            raise BadRequest(f"{model_id} runs elsewhere, so there are no weights to delete.", param="model")
        if not await asyncio.to_thread(self._is_here, model):
            raise ModelNotFound(f"the weights of {model_id} are not here", param="model")
        source = sources.parse(model.source, model.sha256)
        if not await asyncio.to_thread(sources.is_ours, source, self._store):
            raise Conflict(
                f"the weights of {model_id} were not downloaded by Rolecast; delete them where they came from."
            )
        if why := self._needed(model_id, model):
            raise Conflict(why)
        await self._fleet.unload(model_id)
        try:
            await asyncio.to_thread(sources.remove, self._store, source)
        except SourceError as error:
            raise Conflict(error.message) from None
        await self._changed()
        return Response(status_code=200)

    def _needed(self, model_id: str, model: Model) -> str:
        """Why the weights cannot go now; '' when they can."""
        config, worker = self._current.config, self._fleet.known(model_id)
        if worker is None or model_id not in config.models:
            return f"{model_id} has just left the configuration."
        others = [i for i, m in config.models.items() if i != model_id and m.enabled and m.source == model.source]
        if others:
            return f"{', '.join(others)} needs the same weights; take it out of the configuration first."
        if model.pinned:
            return f"{model_id} is pinned in the configuration, so its weights stay; set `pinned: false` first."
        if replaced := [i for i, helper in self._current.stand_ins.items() if helper == model_id]:
            return f"{model_id} stands in for {', '.join(replaced)}; bring their weights first."
        if worker.active or worker.waiting or worker.state is State.LOADING:
            return f"{model_id} is in use; try again when its requests are done."
        return ""

    def _is_here(self, model: Model) -> bool:
        return not model.source or weights.found(self._find, model) is not None


async def _success() -> AsyncIterator[dict[str, Any]]:
    for status in ("pulling manifest", "verifying sha256 digest", "success"):
        yield {"status": status}


def _step(job: Job, of: str) -> dict[str, Any]:
    """A job as a line of a pull."""
    if job.is_over and job.state != "done":
        return {"error": job.error or f"the pull of {job.subject} was {job.state}"}
    if job.state == "queued":
        return {"status": "waiting for other pulls"}
    if job.state == "done":
        return {"status": "writing manifest"}
    progress = job.progress
    told: dict[str, Any] = {"status": BEGINS.get(progress.step, f"pulling {of[:12]}")}
    if progress.total and progress.step not in BEGINS:
        told |= {"digest": f"sha256:{of}", "total": progress.total, "completed": progress.done}
    return told


# -- what is not possible ---------------------------------------------------------------------------------------

REFUSED = {
    "push": "weights are not sent anywhere from here",
}
"""Why, and what to do, by path."""


@told("Not possible here", "Ollama", more="Models and their names are given in the configuration.", statuses=())
async def refused(request: Request) -> Response:
    """Raises BadRequest with what to do instead."""
    kind = request.url.path.split("/")[2]
    raise BadRequest(f"/api/{kind} is not possible here: {REFUSED[kind]}.", code="not_supported")
