"""How a worker of ours listens: an app on a unix socket that its owner alone can open."""

import os
import socket

import uvicorn
from starlette.types import ASGIApp


def serve(app: ASGIApp, path: str) -> None:
    """Serve on a new socket at this path until the process is asked to end."""
    os.umask(0o177)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run(sockets=[listener])
