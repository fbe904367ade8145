"""An answer of a page that lasts, such as a stream of events: it ends when who asked may not ask any more.

What a request is let in with holds for that moment; a listener would keep it for ever, with a key that was revoked.
"""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Message, Receive, Send

from rolecast.errors import RolecastError


class Lasting:
    """Stands between a page and its client. `check` raises RolecastError when that may hear no more; `refuse` says so
    before anything was sent. While nothing is to be told nothing is checked."""

    def __init__(
        self,
        receive: Receive,
        send: Send,
        check: Callable[[], object],
        refuse: Callable[[RolecastError], Awaitable[None]],
    ) -> None:
        self._receive = receive
        self._send = send
        self._check = check
        self._refuse = refuse
        self._over = asyncio.Event()

    async def send(self, message: Message) -> None:
        """The next piece, or in its place the end."""
        if self._over.is_set():
            return
        begins = message["type"] == "http.response.start"
        if begins or message.get("more_body"):
            try:
                self._check()
            except RolecastError as error:
                self._over.set()
                if begins:
                    await self._refuse(error)
                else:
                    await self._send({"type": "http.response.body", "body": b"", "more_body": False})
                return
        await self._send(message)

    async def receive(self) -> Message:
        """What the client says, or that it is gone: so a page learns that nobody hears it any more."""
        coming = asyncio.ensure_future(self._receive())
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait((coming, over), return_when=asyncio.FIRST_COMPLETED)
            return coming.result() if coming.done() else {"type": "http.disconnect"}
        finally:
            coming.cancel()
            over.cancel()
