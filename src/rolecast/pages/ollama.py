"""Ollama's lists: which models there are, what each is, what is loaded, and which version of the API this is.

Knows the shapes; what the models are, `config`, `weights` and the fleet know. Weights are brought and deleted by
`ollama_weights`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from rolecast.config import variants
from rolecast.config.current import Current
from rolecast.config.names import LATEST, RESERVED, Name, find, untagged
from rolecast.config.schema import Config
from rolecast.dialects.ollama_body import MOST_S
from rolecast.dialects.ollama_writer import moment
from rolecast.dialects.operation import told
from rolecast.errors import UNREADABLE, BadRequest, ModelNotFound
from rolecast.fleet import Fleet, State, leaves_in
from rolecast.fleet.copies import Whole
from rolecast.pages import asked
from rolecast.pages.asked import Reach, whole
from rolecast.pages.ollama_model import Description, describe, known_by, shown
from rolecast.routing.abilities import Abilities
from rolecast.server.asgi import json_response
from rolecast.weights import Finder

VERSION = "0.12.6"
"""Of Ollama's API as it is spoken here: clients refuse versions that lack what they need."""
RUNNING = "Ollama is running"
"""What clients read at the root to know the server."""
B = TypeVar("B", bound="Named")
ROOT = "Clients of Ollama's get the text `Ollama is running`."
"""What the reference says of the root."""
BODY = {"model": "auto"}
FOR_GOOD = "2318-01-01T00:00:00Z"
"""When a model leaves that stays."""


class Named(msgspec.Struct):
    """A body that names a model."""

    model: str = ""
    name: str = ""
    """The older field."""


async def body_of(request: Request, kind: type[B]) -> B:
    """The body, whatever type it claims to have: plain tools say none. Raises BadRequest."""
    try:
        fields = msgspec.json.decode(await request.body() or b"{}", type=kind)
    except UNREADABLE as exc:
        raise BadRequest(f'The body must be JSON such as {{"model":"NAME"}}: {exc}.', code="bad_json") from None
    fields.model = fields.model or fields.name
    if not fields.model:
        raise BadRequest("`model` is missing: the name of a model.", param="model")
    return fields


async def lines(steps: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    """Each step as a line of JSON."""
    async for step in steps:
        yield msgspec.json.encode(step) + b"\n"


def tagged(name: str) -> str:
    """The name as Ollama lists it: with a tag."""
    return name if ":" in name.rpartition("/")[2] else name + LATEST


def named(current: Current, asked: str, port_model: str = "") -> Name:
    """What that name means, on a port of one model always that. Raises ModelNotFound."""
    if not port_model and untagged(asked) in RESERVED:
        asked = current.config.routing.default
    name = find(current.names, port_model or asked)
    if name is None or not _enabled(current, name):
        if why := variants.hindrance(current.config, asked):
            raise ModelNotFound(f"the variant {asked[:200]!r} cannot be used now: {why}", param="model")
        raise ModelNotFound(
            f"the model {asked[:200]!r} does not exist here; GET /api/tags lists what does", param="model"
        )
    return name


def _enabled(current: Current, name: Name) -> bool:
    return bool(name.models) and current.config.models[name.models[0]].enabled


class OllamaLists:
    """`/api/version`, `/api/tags`, `/api/show`, `/api/ps`."""

    def __init__(
        self, current: Current, abilities: Abilities, fleet: Fleet, finder: Finder, reach: Reach = whole
    ) -> None:
        self._current = current
        self._reach = reach
        self._abilities = abilities
        self._fleet = fleet
        self._find = finder
        self._began = time.time()

    def routes(self) -> list[Route]:
        return [
            Route("/api/version", self.version, methods=["GET"]),
            Route("/api/tags", self.tags, methods=["GET"]),
            Route("/api/show", self.show, methods=["POST"]),
            Route("/api/ps", self.loaded, methods=["GET"]),
        ]

    @told("The version of Ollama's API", "Ollama", answer="rolecast.pages.shapes:OllamaVersion")
    async def version(self, request: Request) -> Response:
        return json_response({"version": VERSION})

    @told("Names that can be asked now", "Ollama", answer="rolecast.pages.shapes:OllamaModels")
    async def tags(self, request: Request) -> Response:
        """Every name that can be asked now, `auto` among them: clients pull what they do not find here."""
        port_model, config = request.app.state.lane.port_model, self._current.config
        names = list(filter(None, map(self._reach(asked.rights(request)), self._names(port_model))))
        about = await self._about({name.models[0] for name in names})
        return json_response({"models": [_entry(config, name.name, about[name.models[0]], name) for name in names]})

    @told(
        "What is known of a model",
        "Ollama",
        body=Named,
        example=BODY,
        answer="rolecast.pages.shapes:OllamaShown",
        errors=(404,),
    )
    async def show(self, request: Request) -> Response:
        """All that is known of a model; of a role, what its first one is and what any of its models can do."""
        fields = await body_of(request, Named)
        config = self._current.config
        whole_name = named(self._current, fields.model, request.app.state.lane.port_model)
        if (name := self._reach(asked.rights(request))(whole_name)) is None:
            text = f"the model {fields.model[:200]!r} does not exist here; GET /api/tags lists what does"
            raise ModelNotFound(text, param="model")
        await asyncio.to_thread(self._abilities.learn, self._current.config.models.values())
        first, capabilities = name.models[0], self._capabilities(name)
        about = (await self._about({first}, template=True))[first]
        body = shown(config, name, about) | {
            "template": about.template,
            "details": about.details(name),
            "model_info": about.info,
            "capabilities": capabilities,
            "modified_at": moment(known_by(config, name, about)[1]),
        }
        return json_response(body)

    @told("What is in memory", "Ollama", answer="rolecast.pages.shapes:OllamaRunning")
    async def loaded(self, request: Request) -> Response:
        """What is in memory here; remotes are not."""
        port_model = request.app.state.lane.port_model
        reached = self._reach(asked.rights(request))
        resident = await self._fleet.stations.resident()
        ends = {
            worker.model_id: _end(worker)
            for worker in self._fleet.models()
            if worker.state is State.READY
            and (model_id := worker.model_id) in self._current.config.models
            and port_model in ("", model_id)
            and reached(Name(model_id, "model", (model_id,))) is not None
        }
        config, about = self._current.config, await self._about(ends)
        return json_response(
            {
                "models": [
                    _entry(config, model_id, about[model_id], None)
                    | {
                        "size": self._fleet.stations.memory(model_id, resident),
                        "size_vram": 0,
                        "context_length": about[model_id].context or 0,
                        "expires_at": end,
                    }
                    for model_id, end in ends.items()
                ]
            }
        )

    def _names(self, port_model: str) -> Iterator[Name]:
        current = self._current
        for name in current.names.values():
            usable = any(self._is_here(model_id) for model_id in name.models)
            if usable and port_model in ("", name.name):
                yield name
        default = current.names.get(current.config.routing.default)
        if default is not None and not port_model and any(map(self._is_here, default.models)):
            yield msgspec.structs.replace(default, name="auto")

    def _is_here(self, model_id: str) -> bool:
        if not self._current.config.models[model_id].enabled:
            return False
        return self._fleet.present(self._current.answerer_of(model_id))

    async def _about(self, models: Iterable[str], *, template: bool = False) -> dict[str, Description]:
        """What is known of the models that answer for these."""
        answerers = {model_id: self._current.answerer_of(model_id) for model_id in models}
        config = self._current.config  # the one of now, while the disk is read

        def read() -> dict[str, Description]:
            return {
                model_id: describe(answerer, config.models[answerer], self._find, self._began, template=template)
                for model_id, answerer in answerers.items()
            }

        return await asyncio.to_thread(read)

    def _capabilities(self, name: Name) -> list[str]:
        said = {word for model_id in name.models for word in self._abilities.words(model_id)}
        if any(self._abilities.can(model_id, "tools") for model_id in name.models):
            said.add("tools")
        return [theirs for theirs, ours in CAPABILITIES.items() if said & ours]


CAPABILITIES = {
    "completion": {"chat", "completion"},
    "embedding": {"embeddings"},
    "vision": {"vision"},
    "audio": {"audio"},
    "tools": {"tools"},
    "insert": {"insert"},
    "thinking": {"thinking"},
}
"""Ollama's words, and ours that mean them."""


def _end(worker: Whole) -> str:
    """When it leaves, if nobody asks it before."""
    seconds = leaves_in(worker)
    return FOR_GOOD if seconds is None or seconds > MOST_S else moment(time.time() + seconds)


def _entry(config: Config, name: str, about: Description, known: Name | None) -> dict[str, Any]:
    digest, modified_at = known_by(config, known, about)
    return {
        "name": tagged(name),
        "model": tagged(name),
        "modified_at": moment(modified_at),
        "size": about.size,
        "digest": digest,
        "details": about.details(known),
    }


def running() -> Response:
    """What such a client reads at the root."""
    return PlainTextResponse(RUNNING)


def is_for_ollama(request: Request) -> bool:
    """Whether a client of Ollama's asks, by how it calls itself."""
    return "ollama" in request.headers.get("user-agent", "").lower()
