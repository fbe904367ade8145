"""`GET /tasks`: the kinds of work that this gateway knows, with their options and who answers."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.config.current import Current
from rolecast.dialects.operation import told
from rolecast.server.asgi import json_response
from rolecast.tasks.player import Player
from rolecast.tasks.table import ToldTask, find, listed

TAG = "Conductor"


class TaskList(msgspec.Struct, frozen=True):
    """All tasks: those that Rolecast brings, then the user's own."""

    tasks: list[ToldTask]


class TaskPages:
    """The list of tasks, and each of them."""

    def __init__(self, current: Current, player: Player) -> None:
        self._current = current
        self._player = player

    def routes(self) -> list[Route]:
        return [
            Route("/tasks", self.tasks, methods=["GET"]),
            Route("/tasks/{name:path}", self.task, methods=["GET"]),
        ]

    @told("The tasks, their options and who answers", TAG, answer=TaskList)
    async def tasks(self, request: Request) -> Response:
        """All tasks: those that Rolecast brings, then the user's own."""
        await self._player.tasks()  # reads the rows in a thread, if nobody has yet
        return json_response(TaskList(listed(self._current.config)))

    @told("One task", TAG, answer=ToldTask, errors=(404,))
    async def task(self, request: Request) -> Response:
        """The task of that name, in any spelling. Raises NotFound."""
        await self._player.tasks()
        return json_response(find(self._current.config, request.path_params["name"]))
