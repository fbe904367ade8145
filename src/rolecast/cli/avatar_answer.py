"""One question to an avatar, to see it answer: through the gateway that runs, or one for this alone."""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from rolecast.config.schema import Config
from rolecast.errors import Invalid

TRIES, LOOK_S = 40, 0.25
"""A gateway that runs notices a release within a second, and a busy one a little later."""


async def answer(body: Mapping[str, Any], config: Config) -> str:
    """What the model answers through /v1/chat/completions: of the gateway here, else of one for this alone."""
    import httpx2

    from rolecast import statefile

    path = "/v1/chat/completions"
    state = statefile.running()
    if state is not None:
        key = os.environ.get("ROLECAST_API_KEY", "")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        async with httpx2.AsyncClient(base_url=state.url, headers=headers, timeout=300, trust_env=False) as client:
            for _ in range(TRIES):
                response = await client.post(path, json=body)
                if response.status_code != 404:
                    break
                await asyncio.sleep(LOOK_S)
            return _text(response)
    from rolecast.asgi.embedded import Embedded

    async with Embedded(config) as gateway:
        transport = httpx2.ASGITransport(app=gateway.app())
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=300) as client:
            return _text(await client.post(path, json=body))


def _text(response: Any) -> str:
    said = response.json()
    if response.status_code != 200:
        error = said.get("error") if isinstance(said, dict) else None
        raise Invalid(str(error.get("message") if isinstance(error, dict) else error or response.status_code))
    return str(said["choices"][0]["message"]["content"]).strip()
