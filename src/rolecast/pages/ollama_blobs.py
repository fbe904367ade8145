"""Ollama's blobs: files of weights that a client brings before it makes a model of them."""

import asyncio
import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.config.current import Current
from rolecast.dialects.operation import BYTES, told
from rolecast.errors import BadRequest, SourceError, TooLarge
from rolecast.sources.uploads import Uploads, pieces

DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")


def sha256_of(digest: str) -> str:
    """The hash that a digest names. Raises BadRequest."""
    found = DIGEST.fullmatch(digest)
    if found is None:
        text = f"{digest[:80]!r} is no digest: write sha256: and 64 hexadecimal digits in lower case"
        raise BadRequest(f"{text}.", param="digest", code="invalid_value")
    return found[1]


class OllamaBlobs:
    """`/api/blobs/DIGEST`."""

    def __init__(self, current: Current, uploads: Uploads) -> None:
        self._current = current
        self._uploads = uploads

    def routes(self) -> list[Route]:
        return [
            Route("/api/blobs/{digest}", self.look, methods=["HEAD"]),
            Route("/api/blobs/{digest}", self.take, methods=["POST"]),
        ]

    @told("Whether a file is here", "Ollama", statuses=(200,), errors=(400, 404))
    async def look(self, request: Request) -> Response:
        """Whether it is here."""
        path = self._uploads.path(sha256_of(request.path_params["digest"]))
        return Response(status_code=200 if await asyncio.to_thread(path.is_file) else 404)

    @told(
        "Bring a file of weights",
        "Ollama",
        more="Streamed to the disk, and kept when it hashes to the digest.",
        body=bytes,
        takes=(BYTES,),
        statuses=(200, 201),
        errors=(507,),
    )
    async def take(self, request: Request) -> Response:
        """Keep the file, checked while it comes. One that is here already is not written again."""
        sha256 = sha256_of(request.path_params["digest"])
        most = int(self._current.config.server.limits.upload)
        if not most:
            raise TooLarge("No files are taken here (server.limits.upload is 0).")
        if await asyncio.to_thread(self._uploads.path(sha256).is_file):
            return Response(status_code=200)
        length = request.headers.get("content-length", "")
        try:
            await self._stream(request, sha256, most, int(length) if length.isdigit() else 0)
        except SourceError as error:
            raise SourceError(error.message, status=507) from None
        return Response(status_code=201)

    async def _stream(self, request: Request, sha256: str, most: int, length: int) -> None:
        upload = await asyncio.to_thread(self._uploads.begin, sha256, most, length)
        try:
            async for piece in pieces(request.stream()):
                await asyncio.to_thread(upload.write, piece)
            await asyncio.to_thread(upload.finish)
        finally:
            upload.close()
