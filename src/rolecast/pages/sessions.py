"""`/sessions`: conversations that are kept here, for the key that began them: begin, list, read, export, clear, delete.

What was said in them is shown to that key alone, and is written nowhere else.
"""

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal
from urllib.parse import unquote

import msgspec
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from rolecast.books.sessions import Counts, Head, Turn
from rolecast.dialects.operation import Query, told
from rolecast.errors import UNREADABLE, BadRequest, Invalid, NotFound
from rolecast.pages import asked
from rolecast.server.asgi import json_response
from rolecast.turn.sessions import LONGEST, Sessions

TAG = "Sessions"
EXAMPLE = '{"session_id":"holiday"}'
USUAL, MOST = 100, 1000
"""So many turns are shown at once."""
SYSTEM_CHARS = 100_000


class _AnyText(PathConvertor):
    """Ids have line breaks if their clients want to."""

    regex = r"[\s\S]*"


register_url_convertor("text", _AnyText())


class Wanted(msgspec.Struct):
    """A session that is to begin."""

    session_id: Annotated[str, msgspec.Meta(max_length=LONGEST)] = ""
    """Any text; without one it is made up."""
    persona: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """The persona that speaks in it."""
    system: Annotated[str, msgspec.Meta(max_length=SYSTEM_CHARS)] = ""
    """Its own system prompt, in front of those of its requests."""


class Made(msgspec.Struct, frozen=True):
    """A session that has begun."""

    session_id: str


class Listed(msgspec.Struct, frozen=True):
    """The sessions of a key, the one that was used last first."""

    active_sessions: int
    sessions: list[str]
    last_used: dict[str, float]
    """In seconds since 1970."""


class Shown(msgspec.Struct, frozen=True):
    """A session."""

    session_id: str
    began_at: float
    last_used: float
    persona: str
    system: str
    turns: int
    """So many are kept."""
    tokens: int
    """Of all of them."""
    bytes: int
    summary: str
    """What was said in the turns up to number `summarized`, where they no longer fit."""
    summarized: int
    history: list[Turn]
    """Turns behind number `after`, oldest first."""


class SessionPages:
    """All that is below `/sessions`."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def routes(self) -> list[Route]:
        return [
            Route("/sessions", self.all, methods=["GET"]),
            Route("/sessions", self.create, methods=["POST"]),
            Route("/sessions/{id:text}/export", self.export, methods=["GET"]),
            Route("/sessions/{id:text}/clear", self.clear, methods=["POST"]),
            Route("/sessions/{id:text}", self.show, methods=["GET"]),
            Route("/sessions/{id:text}", self.forget, methods=["DELETE"]),
        ]

    @told("The sessions of this key", TAG, answer=Listed)
    async def all(self, request: Request) -> Response:
        """The sessions of this key, the one that was used last first."""
        used = list(self._sessions.of(asked.key(request)).items())[::-1]
        times = {session: round(at, 3) for session, at in used}
        return json_response(Listed(len(used), list(times), times))

    @told(
        "Begin a session",
        TAG,
        body=Wanted,
        example={"session_id": "holiday", "system": "You plan journeys."},
        answer=Made,
        statuses=(201,),
        errors=(409, 415, 422, 503),
    )
    async def create(self, request: Request) -> Response:
        """Begin a session, which requests then name: in `session_id` of their body or the header `x-session-id`."""
        asked.require_json(request, EXAMPLE)
        try:
            wanted = msgspec.json.decode(await request.body() or b"{}", type=Wanted)
        except msgspec.ValidationError as exc:
            raise Invalid(f"{exc}. Send such as {EXAMPLE}.") from None
        except UNREADABLE as exc:
            raise BadRequest(f"The body must be JSON such as {EXAMPLE}: {exc}.", code="bad_json") from None
        name = await self._sessions.create(asked.key(request), wanted.session_id, wanted.persona, wanted.system)
        return json_response(Made(name), 201)

    @told(
        "A session, with what was said in it",
        TAG,
        answer=Shown,
        query=(Query("after", asked.Number, "show the turns behind this number"), Query("limit", asked.Number)),
        errors=(404, 503),
    )
    async def show(self, request: Request) -> Response:
        """What is kept of a session, and some of its turns, oldest first."""
        key, names = asked.key(request), _names(request, "")
        name, head, counts = await self._found(key, names)
        after = asked.number(request.query_params.get("after", "0"))
        most = min(asked.number(request.query_params.get("limit", str(USUAL))), MOST)
        turns = await self._sessions.turns(key, name, after, most)
        shown = Shown(
            name,
            round(head.began, 3),
            round(head.used, 3),
            head.persona,
            head.system,
            counts.turns,
            counts.tokens,
            counts.bytes,
            head.summary,
            head.summarized if head.summary else 0,
            turns,
        )
        return json_response(shown)

    @told(
        "A whole session as a file",
        TAG,
        media="application/json",
        query=(Query("format", Literal["json", "markdown", "jsonl"], "`jsonl` = one message of OpenAI's a line"),),
        errors=(404, 503),
    )
    async def export(self, request: Request) -> Response:
        """All that is kept of a session, as JSON, as Markdown for people, or as messages that any chat takes."""
        if not _raw(request).endswith("/export"):
            return await self.show(request)  # the id itself ends so
        form = request.query_params.get("format", "json")
        if form not in FORMS:
            raise BadRequest(f"`format` must be one of {', '.join(FORMS)}.", param="format", code="invalid_value")
        key = asked.key(request)
        name, head, _ = await self._found(key, _names(request, "/export"))
        media, write = FORMS[form]
        return StreamingResponse(write(self._sessions, key, name, head), media_type=media)

    @told(
        "Delete what was said in a session",
        TAG,
        answer=dict[str, Any],
        query=(Query("after", asked.Number, "only the turns behind this number, to ask again from there"),),
        errors=(404, 415, 503),
    )
    async def clear(self, request: Request) -> Response:
        """Delete the turns of a session, or its last ones; its persona and its system prompt stay."""
        asked.refuse_forms(request)
        key = asked.key(request)
        name = await self._first(key, _names(request, "/clear"))
        after = asked.number(request.query_params.get("after", "0"))
        await self._sessions.clear(key, name, after)
        what = f"What was said in session {name} behind turn {after}" if after else f"What was said in session {name}"
        return json_response({"message": f"{what} is deleted."})

    @told("Delete a session", TAG, answer=dict[str, Any], errors=(404, 415, 503))
    async def forget(self, request: Request) -> Response:
        """Delete a session of this key with all that was said in it."""
        asked.refuse_forms(request)
        key, names = asked.key(request), _names(request, "")
        for name in names:
            if await self._sessions.forget(key, name):
                return json_response({"message": f"Session {name} is forgotten."})
        raise _absent(names[-1])

    async def _found(self, key: str, names: list[str]) -> tuple[str, Head, Counts]:
        """The session of that name. Raises NotFound."""
        for name in names:
            if (found := await self._sessions.look(key, name)) is not None:
                return name, *found
        raise _absent(names[-1])

    async def _first(self, key: str, names: list[str]) -> str:
        return (await self._found(key, names))[0]


def _absent(name: str) -> NotFound:
    text = f"There is no session {name[:100]!r}; GET /sessions and `rolecast sessions` list those that there are."
    return NotFound(text, code="session_not_found")


def _raw(request: Request) -> str:
    """The path as it was sent: an id may have slashes that mean nothing in paths."""
    return str(request.scope["raw_path"].decode("latin-1"))


def _names(request: Request, ending: str) -> list[str]:
    """The id that a path names, as it was sent and as the server reads paths."""
    raw = unquote(_raw(request).partition("/sessions/")[2].removesuffix(ending))
    return list(dict.fromkeys([raw, request.path_params["id"]]))


# -- exports -------------------------------------------------------------------------------------------------


async def _turns(sessions: Sessions, key: str, name: str) -> AsyncIterator[Turn]:
    after = 0
    while found := await sessions.turns(key, name, after, USUAL):
        for turn in found:
            yield turn
        after = found[-1].number


async def _as_json(sessions: Sessions, key: str, name: str, head: Head) -> AsyncIterator[bytes]:
    fields = {"session_id": name, "began_at": head.began, "persona": head.persona, "system": head.system}
    fields |= {"summary": head.summary, "summarized": head.summarized if head.summary else 0}
    yield msgspec.json.encode(fields)[:-1] + b',"turns":['
    comma = b""
    async for turn in _turns(sessions, key, name):
        yield comma + msgspec.json.encode(turn)
        comma = b","
    yield b"]}\n"


async def _as_markdown(sessions: Sessions, key: str, name: str, head: Head) -> AsyncIterator[bytes]:
    yield f"# Session {' '.join(name.split())}\n".encode("utf-8", "replace")
    if head.system:
        yield f"\n## System\n\n{head.system}\n".encode("utf-8", "replace")
    async for turn in _turns(sessions, key, name):
        at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(turn.at))
        told = f"\n## User ({at})\n\n{turn.asked}\n\n## Assistant ({turn.model})\n\n{turn.answer}\n"
        yield told.encode("utf-8", "replace")


async def _as_lines(sessions: Sessions, key: str, name: str, head: Head) -> AsyncIterator[bytes]:
    if head.system:
        yield _line("system", head.system)
    async for turn in _turns(sessions, key, name):
        yield _line("user", turn.asked) + _line("assistant", turn.answer)


def _line(role: str, content: str) -> bytes:
    return msgspec.json.encode({"role": role, "content": content}) + b"\n"


FORMS = {
    "json": ("application/json", _as_json),
    "markdown": ("text/markdown; charset=utf-8", _as_markdown),
    "jsonl": ("application/jsonl", _as_lines),
}
"""By the word of the query: media type, and who writes it."""
