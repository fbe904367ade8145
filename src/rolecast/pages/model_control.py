"""What is done to models while they run: load, unload, pin, let go, renew; and how each fares.

The id is in the path, with its `/` and `:`, encoded or not. Spellings of llama-swap and of llama.cpp's router lead to
the same. Decides nothing: the fleet does.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.config.current import Current
from rolecast.config.names import find
from rolecast.config.units import Seconds
from rolecast.dialects.operation import TEXT, Query, told
from rolecast.errors import BadRequest, Conflict, RolecastError
from rolecast.fleet import Fleet, State, wall_time
from rolecast.pages import asked
from rolecast.pages.health import Health
from rolecast.pages.replicas import Replica, replicas
from rolecast.server.asgi import json_response

TAG = "Models at run time"
BASE = "/v1/admin/models"
ERRORS = (404, 409, 415, 502, 503, 504)
LONGEST_S = 3600.0
"""No answer waits for longer."""
SWAP_STATES = {
    State.LOADING: "starting",
    State.READY: "ready",
    State.ASLEEP: "asleep",
    State.DRAINING: "stopping",
    State.STOPPING: "stopping",
}
"""llama-swap's words for states of a model that is in memory."""
HERE = (State.READY, State.LOADING, State.ASLEEP)
WAIT = Query("wait", says="`true` (until it is done), `false`, or at most so long, such as `30s`")
FORCE = Query("force", Literal["true", "false"], "cuts off the requests that run on it, which else end first")


class ModelState(msgspec.Struct):
    """How a model fares. Times in seconds since 1970; `worker` is who really answers, a stand-in where there is one."""

    id: str
    worker: str
    state: str
    since: float | None
    """When it was loaded, or began to load; null in other states."""
    pinned: bool
    """Whether it stays in memory: as its settings say, or as somebody said since."""
    idle_timeout_s: float | None
    """It leaves after so long without a request; null = it stays."""
    wants_memory: bool
    """Whether it waits for memory to be loaded into."""
    memory_bytes: int
    """Resident memory of its worker with all it started."""
    leases: int
    """Requests that it answers now."""
    slots: int
    waiting: int
    """Requests in line for it."""
    last_used_at: float | None
    restarts: int
    error: str | None
    """Why it failed last, until it is loaded again."""
    replicas: list[Replica] = []
    """Its copies one by one, where it may have several; all else here is of all of them together."""


class ModelStates(msgspec.Struct):
    models: list[ModelState]


class Loaded(msgspec.Struct):
    """One model in memory, in llama-swap's words."""

    model: str
    name: str
    state: str
    ttl: int
    """Seconds without a request after which it leaves; 0 = it stays."""


class LoadedModels(msgspec.Struct):
    running: list[Loaded]


class Said(msgspec.Struct):
    msg: str


class Done(msgspec.Struct):
    success: bool


class _Named(msgspec.Struct):
    model: str


Work = Coroutine[Any, Any, None]


class ModelPages:
    """Models at run time."""

    def __init__(self, current: Current, fleet: Fleet, health: Health) -> None:
        self._current = current
        self._fleet = fleet
        self._health = health
        self._behind: set[asyncio.Task[None]] = set()
        """What goes on after its answer."""

    def routes(self) -> list[Route]:
        actions: Mapping[str, Callable[[Request], Awaitable[Response]]] = {
            "load": self.load,
            "unload": self.unload,
            "pin": self.pin,
            "unpin": self.unpin,
            "reload": self.renew,
        }
        return [
            Route(BASE, self.models, methods=["GET"]),
            *(Route(f"{BASE}/{{model:path}}/{name}", does, methods=["POST"]) for name, does in actions.items()),
            Route(f"{BASE}/{{model:path}}", self.one, methods=["GET"]),
            Route("/running", self.running, methods=["GET"]),
            Route("/unload", self.unload_all, methods=["POST"]),
            Route("/api/models/unload", self.unload_all, methods=["POST"]),
            Route("/api/models/unload/{model:path}", self.unload_one, methods=["POST"]),
            Route("/models/load", self.router_load, methods=["POST"]),
            Route("/models/unload", self.router_unload, methods=["POST"]),
        ]

    # -- ours ---------------------------------------------------------------------------------------------

    @told("How all models fare", TAG, answer=ModelStates)
    async def models(self, request: Request) -> Response:
        resident = await self._fleet.stations.resident()
        models = self._current.config.models.items()
        return json_response(ModelStates([self._state(i, resident) for i, m in models if m.enabled]))

    @told("How a model fares", TAG, answer=ModelState, errors=(404,))
    async def one(self, request: Request) -> Response:
        return await self._told(request)

    @told("Load a model", TAG, answer=ModelState, query=(WAIT,), statuses=(200, 202), errors=ERRORS)
    async def load(self, request: Request) -> Response:
        """Two who load one model wait for the same load; 202 = it goes on after the answer."""
        model_id, wait_s = self._asked(request), _wait(request)
        return await self._told(request, await self._within(wait_s, self._fleet.load(model_id)))

    @told("Take a model out of memory", TAG, answer=ModelState, query=(WAIT, FORCE), statuses=(200, 202), errors=ERRORS)
    async def unload(self, request: Request) -> Response:
        """Requests that run on it end first, and it takes no other; `force` cuts them off. 202 = that goes on."""
        model_id, wait_s = self._here(request, "unloaded"), _wait(request)
        gently = not asked.flag(request.query_params.get("force", "false"))
        return await self._told(request, await self._within(wait_s, self._fleet.unload(model_id, gently=gently)))

    @told("Keep a model in memory", TAG, answer=ModelState, query=(WAIT,), statuses=(200, 202), errors=ERRORS)
    async def pin(self, request: Request) -> Response:
        """Load it and keep it, until somebody lets it go, its setting `pinned` changes, or the gateway ends.

        One that cannot be loaded is as it was before.
        """
        model_id, wait_s = self._here(request, "pinned"), _wait(request)
        before = self._fleet.worker(model_id).pinned
        self._fleet.pin(model_id, True)
        try:
            done = await self._within(wait_s, self._fleet.load(model_id))
        except RolecastError:
            self._fleet.pin(model_id, before)
            raise
        return await self._told(request, done)

    @told("Let a pinned model go", TAG, answer=ModelState, errors=ERRORS)
    async def unpin(self, request: Request) -> Response:
        """From now on it leaves when it is idle, like any other."""
        self._fleet.pin(self._here(request, "let go"), False)
        return await self._told(request)

    @told("Give a model a fresh worker", TAG, answer=ModelState, query=(WAIT,), statuses=(200, 202), errors=ERRORS)
    async def renew(self, request: Request) -> Response:
        """The worker that runs takes no new request and ends those it has; then the next one starts."""
        model_id, wait_s = self._here(request, "reloaded"), _wait(request)
        return await self._told(request, await self._within(wait_s, self._fleet.renew(model_id)))

    # -- spellings of others ------------------------------------------------------------------------------

    @told("Models in memory, as llama-swap tells", TAG, answer=LoadedModels)
    async def running(self, request: Request) -> Response:
        listed = [
            Loaded(w.model_id, w.model_id, SWAP_STATES[w.state], int(w.idle_timeout_s) if w.idles else 0)
            for w in self._fleet.models()
            if w.state in SWAP_STATES and w.model_id in self._current.config.models
        ]
        return json_response(LoadedModels(listed))

    @told("Take all models out of memory, as with llama-swap", TAG, answer=Said, errors=(415,))
    async def unload_all(self, request: Request) -> Response:
        """Requests that run end first. Pinned models leave, too, and come back with the next request."""
        asked.refuse_forms(request)
        here = [w.model_id for w in self._fleet.models() if w.state in HERE]
        await asyncio.gather(*(self._fleet.unload(model_id, gently=True) for model_id in here))
        return json_response(Said("ok"))

    @told("Take a model out of memory, as with llama-swap", TAG, answer=str, media=TEXT, errors=ERRORS)
    async def unload_one(self, request: Request) -> Response:
        await self._fleet.unload(self._here(request, "unloaded"), gently=True)
        return Response("OK", media_type=TEXT)

    @told("Begin to load a model, as with llama.cpp's router", TAG, body=_Named, answer=Done, errors=ERRORS)
    async def router_load(self, request: Request) -> Response:
        self._fleet.preload(await self._in_body(request))
        return json_response(Done(True))

    @told("Take a model out of memory, as with llama.cpp's router", TAG, body=_Named, answer=Done, errors=ERRORS)
    async def router_unload(self, request: Request) -> Response:
        await self._fleet.unload(await self._in_body(request), gently=True)
        return json_response(Done(True))

    # -- inside -------------------------------------------------------------------------------------------

    def _asked(self, request: Request) -> str:
        """The model that the path means. Raises ModelNotFound, and UnsupportedMedia for a form."""
        if request.method == "POST":
            asked.refuse_forms(request)
        return asked.answerer(self._current, request.path_params["model"])

    async def _in_body(self, request: Request) -> str:
        return asked.answerer(self._current, (await asked.body(request, _Named, '{"model":"NAME"}')).model)

    def _here(self, request: Request, done: str) -> str:
        """The same, if it runs on this machine. Raises Conflict."""
        model_id = self._asked(request)
        if self._fleet.worker(model_id).state is State.REMOTE:
            raise Conflict(
                f"{model_id} runs on a server elsewhere, so it cannot be {done} here.", code="runs_elsewhere"
            )
        return model_id

    async def _within(self, wait_s: float, work: Work) -> bool:
        """Whether it is done within the time that the client waits; it goes on in any case. Raises what ends it."""
        task = asyncio.create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._ended)
        await asyncio.wait({task}, timeout=wait_s)  # also without: then it has begun, and what cannot be says so
        if not task.done():
            return False
        task.result()
        return True

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._behind.discard(task)
        if not task.cancelled():
            task.exception()  # the state of the model tells it, and whoever waited has heard it

    async def _told(self, request: Request, done: bool = True) -> Response:
        name = request.path_params["model"]
        self._asked(request)  # it may have left meanwhile
        found = find(self._current.names, name)
        assert found is not None
        resident = await self._fleet.stations.resident()
        return json_response(self._state(found.models[0], resident), 200 if done else 202)

    def _state(self, model_id: str, resident: Mapping[str, int]) -> ModelState:
        answerer_id = self._current.answerer_of(model_id)
        w = self._fleet.worker(answerer_id)
        began = {State.LOADING: w.started_at, State.READY: w.loaded_at, State.DRAINING: w.loaded_at}.get(w.state, 0.0)
        here = self._fleet.stations.child(answerer_id) is not None
        return ModelState(
            id=model_id,
            worker=answerer_id,
            state=self._health.state(model_id),
            since=wall_time(began),
            pinned=w.pinned,
            idle_timeout_s=w.idle_timeout_s if w.idles and math.isfinite(w.idle_timeout_s) else None,
            wants_memory=self._fleet.wants_memory(answerer_id),
            memory_bytes=self._fleet.stations.memory(answerer_id, resident) if here else 0,
            leases=w.active,
            slots=w.parallel,
            waiting=len(w.waiting),
            last_used_at=wall_time(w.last_used),
            restarts=w.restarts,
            error=w.error or None,
            replicas=replicas(self._fleet, answerer_id, resident),
        )


def _wait(request: Request) -> float:
    """Seconds that a client waits for what it asked; 0 = not at all. Raises BadRequest."""
    text = request.query_params.get("wait", "true")
    if text in ("true", "false"):
        return LONGEST_S if text == "true" else 0.0
    try:
        return min(LONGEST_S, Seconds.parse(float(text) if text.replace(".", "", 1).isdecimal() else text))
    except ValueError:
        problem = f"`wait` is `true`, `false` or a duration such as 30s, not {text[:50]!r}."
        raise BadRequest(problem, param="wait", code="invalid_value") from None
