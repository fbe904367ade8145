"""Servers of ours stop working for a client that closes its connection, as an engine does."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


def until_client_leaves(app: ASGIApp) -> ASGIApp:
    """Wraps an app so that its work is cancelled when the client closes the connection, as an engine's is."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        messages: list[Message] = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        leaving = asyncio.ensure_future(receive())
        answered = False

        async def replay() -> Message:
            return messages.pop(0) if messages else await asyncio.shield(leaving)

        async def note(message: Message) -> None:
            nonlocal answered
            answered = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        work = asyncio.ensure_future(app(scope, replay, note))
        await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not answered:
            work.cancel()
        leaving.cancel()
        await asyncio.wait({work, leaving})
        if not work.cancelled() and (error := work.exception()):
            raise error

    return wrapped
