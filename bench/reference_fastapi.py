"""A model gateway the usual way: FastAPI in front, httpx behind. The yardstick for what Rolecast saves.

It does the same small job: check the key, read the model's name from the body, look it up, pass request and
answer on, streamed when asked. BENCH_MODELS maps names to base URLs (JSON); BENCH_KEY is the accepted key.
No metrics and no ledger, so what is compared here is in its favour.
"""

import json
import os
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import Response, StreamingResponse

MODELS = json.loads(os.environ["BENCH_MODELS"])
KEY = os.environ["BENCH_KEY"]
# The default of 100 connections would make the 101st stream wait; keeping more than 20 made httpx slower.
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20)


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with httpx.AsyncClient(limits=LIMITS, timeout=600) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/v1/chat/completions")
async def chat_completions(request: Request):
    if request.headers.get("authorization") != f"Bearer {KEY}":
        raise HTTPException(401, "Invalid API key")
    body = await request.json()
    base = MODELS.get(body.get("model"))
    if base is None:
        raise HTTPException(404, "Unknown model")
    client: httpx.AsyncClient = request.app.state.client
    url = f"{base}/chat/completions"
    if not body.get("stream"):
        answer = await client.post(url, json=body)
        return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))
    answer = await client.send(client.build_request("POST", url, json=body), stream=True)

    async def relay():
        try:
            async for chunk in answer.aiter_bytes():
                yield chunk
        finally:
            await answer.aclose()

    return StreamingResponse(relay(), answer.status_code, media_type=answer.headers.get("content-type"))
