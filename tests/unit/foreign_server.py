"""A server of a program that knows nothing of Rolecast: OpenAI's dialect on a port or a socket, with some bad manners.

    python foreign_server.py [--port N | --uds PATH] [--health PATH] [--loading N] [--says NAME] [--die WORDS]
                             [--elsewhere] [--deaf FILE] [--chatty]

`--loading N` answers the first N health checks with 503, `--elsewhere` listens on another port than it was told,
`--deaf FILE` ends by nothing but SIGKILL or the file, `--chatty` prints what it is asked.
"""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

import uvicorn
from starlette.responses import Response

from rolecast.backends.fake import Options
from rolecast.backends.fake_answer import Script
from rolecast.backends.fake_worker import Worker


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--port", type=int)
    asked.add_argument("--uds")
    asked.add_argument("--host", default="127.0.0.1")
    asked.add_argument("--health", default="/health")
    asked.add_argument("--loading", type=int, default=0)
    asked.add_argument("--says", default="foreign")
    asked.add_argument("--die", default="")
    asked.add_argument("--elsewhere", action="store_true")
    asked.add_argument("--deaf", default="")
    asked.add_argument("--chatty", action="store_true")
    given = asked.parse_args()
    if given.die:
        sys.exit(given.die)
    if given.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("variables:", *sorted(os.environ), flush=True)
    worker = Worker(Options(id=given.says, socket="", script="", parallel=1), Script()).app
    loading = given.loading

    async def answer(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        nonlocal loading
        if scope["type"] == "http" and scope["path"] == given.health:
            loading -= 1
            await Response(status_code=503 if loading >= 0 else 200)(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == "/health":
            await Response("no such page", status_code=404)(scope, receive, send)
        else:
            await worker(scope, overheard(receive) if given.chatty else receive, send)

    port = 0 if given.elsewhere else given.port
    config = uvicorn.Config(answer, host=given.host, port=port or 0, uds=given.uds, lifespan="off", access_log=False)
    server = uvicorn.Server(config)
    if given.deaf:
        server.capture_signals = _no_signals  # type: ignore[method-assign]
        asyncio.run(_until_told(server, Path(given.deaf)))
    else:
        server.run()


def overheard(receive):  # type: ignore[no-untyped-def]
    async def listened():  # type: ignore[no-untyped-def]
        message = await receive()
        print("asked:", message.get("body", b"").decode(), flush=True)
        return message

    return listened


def _no_signals():  # type: ignore[no-untyped-def]
    from contextlib import nullcontext

    return nullcontext()


async def _until_told(server: uvicorn.Server, file: Path) -> None:
    serving = asyncio.create_task(server.serve())
    while not file.exists():
        await asyncio.sleep(0.02)
    server.should_exit = True
    await serving


if __name__ == "__main__":
    main()
