"""`/personas`: who may speak in tasks with a persona. Reads and writes text files of one folder."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.dialects.operation import told
from rolecast.errors import UNREADABLE, BadRequest
from rolecast.pages import asked
from rolecast.server.asgi import json_response
from rolecast.tasks.persona import Persona, Personas

TAG = "Personas"
EXAMPLE = '{"text":"You are a patient teacher of physics."}'


class Written(msgspec.Struct):
    """The text of a persona."""

    text: str


class Listed(msgspec.Struct, frozen=True):
    """All personas."""

    usual: str
    """The one that speaks where a request names none; empty = nobody in particular."""
    personas: list[Persona]


class PersonaPages:
    """All that is below `/personas`."""

    def __init__(self, personas: Personas) -> None:
        self._personas = personas

    def routes(self) -> list[Route]:
        return [
            Route("/personas", self.all, methods=["GET"]),
            Route("/personas/{name}", self.show, methods=["GET"]),
            Route("/personas/{name}", self.put, methods=["PUT"]),
            Route("/personas/{name}", self.delete, methods=["DELETE"]),
        ]

    @told("The personas", TAG, answer=Listed)
    async def all(self, request: Request) -> Response:
        """Who may speak, with what is wrong with a text where something is."""
        found = await self._personas.listed()
        return json_response(Listed(self._personas.usual, found))

    @told("A persona", TAG, answer=Persona, errors=(404,))
    async def show(self, request: Request) -> Response:
        """One persona with its text."""
        return json_response(await self._personas.get(request.path_params["name"]))

    @told(
        "Write a persona",
        TAG,
        body=Written,
        example={"text": "You are a patient teacher of physics."},
        answer=Persona,
        statuses=(200, 201),
        errors=(415, 422, 503),
    )
    async def put(self, request: Request) -> Response:
        """Write a persona into its file; the next request that names it gets this text."""
        asked.require_json(request, EXAMPLE)
        try:
            text = msgspec.json.decode(await request.body(), type=Written).text
        except UNREADABLE as exc:
            raise BadRequest(f"The body must be JSON such as {EXAMPLE}: {exc}.", code="bad_json") from None
        persona, is_new = await self._personas.put(request.path_params["name"], text)
        return json_response(persona, 201 if is_new else 200)

    @told("Delete a persona", TAG, answer=dict[str, Any], errors=(404, 415, 422, 503))
    async def delete(self, request: Request) -> Response:
        """Delete the file of a persona."""
        asked.refuse_forms(request)
        name = request.path_params["name"]
        await self._personas.delete(name)
        return json_response({"message": f"Persona {name} is deleted."})
