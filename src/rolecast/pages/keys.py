"""`/admin/keys`: keys are listed, made, changed and revoked. Secrets are in one answer and in no other.

Who may use a page is decided before (`server/scopes.py`). Here it is decided what holders of keys of the table may not
do even as admins: to their own key nothing but revoke it, and make keys that may do more than their own.
"""

import asyncio
from functools import partial

import msgspec
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.access.keyring import Keyring
from rolecast.access.keys import Key, Shown, shown
from rolecast.access.wanted import EXAMPLE, NEW, KeyWanted, edited, wanted_of
from rolecast.dialects.operation import told
from rolecast.errors import Conflict, Forbidden
from rolecast.pages import asked
from rolecast.server.asgi import json_response

TAG = "Keys"
BODY = {"name": "laptop", "scopes": ["use"], "models": ["standard"], "requests_per_minute": 60, "budget": "5/month"}
CHANGE = {"requests_per_minute": 120, "budget": None}


class Made(msgspec.Struct, frozen=True):
    """A new key."""

    key: Shown
    secret: str
    """What its holder sends. It is in this answer and in no other."""


class Listed(msgspec.Struct, frozen=True):
    """All keys of the database; those of `server.keys` are in the file."""

    keys: list[Shown]


class KeyPages:
    """The pages."""

    def __init__(self, keyring: Keyring) -> None:
        self._ring = keyring

    def routes(self) -> list[Route]:
        return [
            Route("/admin/keys", self.list, methods=["GET"]),
            Route("/admin/keys", self.create, methods=["POST"]),
            Route("/admin/keys/{id:path}", self.show, methods=["GET"]),
            Route("/admin/keys/{id:path}", self.change, methods=["POST"]),
            Route("/admin/keys/{id:path}", self.revoke, methods=["DELETE"]),
        ]

    @told("All keys", TAG, answer=Listed, errors=(503,))
    async def list(self, request: Request) -> Response:
        """Those that open something and those that do no more, the oldest first; no secrets."""
        found, now = await self._ring.table.all(), self._ring.now()
        return await asyncio.to_thread(lambda: json_response(Listed([shown(key, now) for key in found])))

    @told("One key", TAG, answer=Shown, errors=(404, 409, 503))
    async def show(self, request: Request) -> Response:
        """By its id, or by its name."""
        return json_response(shown(await self._found(request), self._ring.now()))

    @told("Make a key", TAG, body=KeyWanted, example=BODY, answer=Made, statuses=(201,), errors=(409, 415, 422, 503))
    async def create(self, request: Request) -> Response:
        """201 with its secret, which is told this once. From the first key on every request needs one."""
        own = self._own(request)
        if own is not None and own.bounded:
            raise Forbidden(
                "This key may not make others: they could do more than itself, since it has a list of models, limits, "
                "a budget or the scope local-only. Use one without.",
                code="own_key",
            )
        wanted = await self._wanted(request)
        key = edited(NEW, wanted, self._ring.now())
        if not (len(self._ring) or request.app.state.lane.guard.keyed or "admin" in key.scopes):
            raise Conflict(
                "The first key must have the scope `admin`: from then on every request needs a key, and with another "
                "one nobody could make more.",
                param="scopes",
                code="first_key",
            )
        made = await self._ring.create(_within(key, own, wanted))
        return json_response(Made(shown(made.key, self._ring.now()), made.secret), 201)

    @told("Change a key", TAG, body=KeyWanted, example=CHANGE, answer=Shown, errors=(404, 409, 415, 422, 503))
    async def change(self, request: Request) -> Response:
        """What is not said stays as it is. It holds at once here, and within two seconds on other gateways."""
        wanted = await self._wanted(request)
        key, own = await self._found(request), self._own(request)
        if own is not None and (own.id == key.id or own.bounded):
            raise Forbidden(
                "A key cannot change itself, and one with a list of models, limits, a budget or the scope local-only "
                "cannot change others. Use another one with the scope admin.",
                code="own_key",
            )
        edit = partial(_changed, wanted=wanted, own=own, now=self._ring.now())
        return json_response(shown(await self._ring.change(key.id, edit), self._ring.now()))

    @told("Revoke a key", TAG, answer=Shown, errors=(404, 409, 503))
    async def revoke(self, request: Request) -> Response:
        """It opens nothing any more: at once here, and within two seconds on other gateways. With `?forget=true`
        nothing is left of it."""
        key = await self._found(request)
        forget = asked.flag(request.query_params.get("forget", "false"))
        gone = await (self._ring.forget(key.id) if forget else self._ring.revoke(key.id))
        return json_response(shown(gone, self._ring.now()))

    async def _found(self, request: Request) -> Key:
        return await self._ring.table.get(request.path_params["id"])

    def _own(self, request: Request) -> Key | None:
        """The key of the table that asks; None = one of the configuration, or none is needed."""
        rights = asked.rights(request)
        return None if rights is None else self._ring.current(rights).key

    async def _wanted(self, request: Request) -> KeyWanted:
        asked.require_json(request, EXAMPLE)
        return wanted_of(await request.body())


def _changed(key: Key, wanted: KeyWanted, own: Key | None, now: float) -> Key:
    return _within(edited(key, wanted, now), own, wanted)


def _within(key: Key, own: Key | None, wanted: KeyWanted) -> Key:
    """The key, which lives no longer than the one that makes or changes it. Raises Forbidden."""
    if own is None or own.expires is None or (key.expires is not None and key.expires <= own.expires):
        return key
    if wanted.expires is UNSET and not key.id:
        return msgspec.structs.replace(key, expires=own.expires)
    raise Forbidden("A key cannot be made to live longer than the one that asks for it.", code="own_key")
