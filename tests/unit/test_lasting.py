"""Who listens to the gateway does so as long as its key lets it, to events and to logs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from gateway import Client, Gate, config, on_uvloop, request, running_gateway, until
from msgspec.structs import replace

from rolecast.access.keys import Key
from rolecast.access.wanted import NEW
from rolecast.config.schema import Model

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop
STREAMS = ["/v1/events", "/admin/logs?follow=true"]
Deed = Callable[[Gate, Key], Awaitable[object]]


@asynccontextmanager
async def gateway(folder: Path) -> AsyncIterator[Gate]:
    async with running_gateway(config({"m": Model(backend="fake")}), folder) as gate:
        yield gate


async def revoked(gate: Gate, key: Key) -> None:
    await gate.gateway.keyring.revoke(key.id)


async def forgotten(gate: Gate, key: Key) -> None:
    await gate.gateway.keyring.forget(key.id)


async def demoted(gate: Gate, key: Key) -> None:
    await gate.gateway.keyring.change(key.id, lambda before: replace(before, scopes=("use",)))


async def expired(gate: Gate, key: Key) -> None:
    await gate.gateway.keyring.change(key.id, lambda before: replace(before, expires=1.0))


async def say(gate: Gate, what: str) -> None:
    """Something happens that listeners hear of: an event, and a line of the log."""
    gate.gateway.events.tell(what, {})
    gate.gateway.telemetry.logs.emit(logging.makeLogRecord({"msg": what}))
    await asyncio.sleep(0.05)


async def listen(client: Client, path: str, secret: str) -> None:
    await client.send(request(path=path, method="GET", head=f"Authorization: Bearer {secret}\r\n" if secret else ""))
    assert (await client.head())[0] == 200


@pytest.mark.parametrize("deed", [revoked, forgotten, demoted, expired])
@pytest.mark.parametrize("path", STREAMS)
async def test_a_key_that_opens_it_no_more_hears_nothing_more(tmp_path: Path, path: str, deed: Deed) -> None:
    async with gateway(tmp_path) as gate:
        admin = (await gate.gateway.keyring.create(replace(NEW, scopes=("admin",)))).secret
        made = await gate.gateway.keyring.create(replace(NEW, scopes=("admin",)))
        async with gate.client() as lost, gate.client() as kept:
            await listen(lost, path, made.secret)
            await listen(kept, path, admin)
            await say(gate, "before")
            await deed(gate, made.key)
            for _ in range(3):
                await say(gate, "secret")
            pieces = b"".join([piece async for piece in lost.chunks()])
            assert b"before" in pieces
            assert b"secret" not in pieces
            if path == STREAMS[0]:
                heard = b""
                async for piece in kept.chunks():
                    heard += piece
                    if heard.count(b"secret") == 3:
                        break
                await until(lambda: gate.gateway.events.listeners == 1)


async def test_who_came_before_there_were_keys_needs_one_as_well(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate, gate.client() as client:
        await listen(client, "/v1/events", "")
        await say(gate, "before")
        admin: Any = await gate.gateway.keyring.create(replace(NEW, scopes=("admin",)))
        gate.gateway.events.tell("secret", {})
        async with asyncio.timeout(10):
            pieces = b"".join([piece async for piece in client.chunks()])
        assert b"before" in pieces
        assert b"secret" not in pieces
        await until(lambda: gate.gateway.events.listeners == 0)
        assert admin.secret
