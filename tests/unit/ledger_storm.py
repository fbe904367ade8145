"""Clients that ask for all kinds of things and leave when they please, and books that must add up to the unit.

What a request takes follows from its number, which its client sends as its own id: so the workers report it, every row
of the ledger can be judged, and no client has to remember what it was told. Half-way the gateway is killed.
"""

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any, NamedTuple

from gateway import Client, Peer, Received, ScriptedWorker, chunk, event, message
from live_gateway import LiveGateway

CONFIG = """\
server: {port: 0, listeners: []}
models:
  cloud: {backend: openai, url: URL, price: {input: 15, output: 60, cached: 7.5}}
  dear: {backend: openai, url: URL, price: {input: 300, output: 1500}}
  here: {backend: openai, url: URL}
  vectors: {backend: openai, url: URL, capabilities: [embeddings], price: {input: 2}}
roles: {standard: [cloud, here]}
log: {level: warning}
"""
RATES = {
    "cloud": (150_000, 600_000, 75_000),
    "dear": (3_000_000, 15_000_000, 3_000_000),
    "vectors": (20_000, 0, 20_000),
}
"""Picodollars per token of a prompt, of an answer, and of a prompt that was kept."""
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ASKED = ("cloud", "dear", "here", "standard", "vectors")


class Taken(NamedTuple):
    """What a request takes."""

    prompt: int
    completion: int
    cached: int

    def cost(self, model: str) -> int:
        """In picodollars, as that model's server bills it."""
        if model not in RATES:
            return 0
        whole, answer, kept = RATES[model]
        return (self.prompt - self.cached) * whole + self.completion * answer + self.cached * kept


def taken(number: int, model: str) -> Taken:
    """By the number of the request."""
    mixed = random.Random(number)  # no secret
    prompt = mixed.randrange(1, 5000)
    if model == "vectors":
        return Taken(prompt, 0, 0)
    return Taken(prompt, mixed.randrange(1, 900), mixed.randrange(prompt) if number % 3 == 0 else 0)


def fails(number: int, model: str) -> bool:
    """Whether the server of that model has an error for it."""
    return model in ("cloud", "dear") and number % 11 == 0


async def work(peer: Peer, asked: Received) -> None:
    """The workers of all models."""
    body = asked.json
    model = body["model"]
    said = body["input"] if model == "vectors" else body["messages"][0]["content"]
    number = int(said.split()[0])
    if fails(number, model):
        await peer.send(message(b'{"error":{"message":"overloaded"}}', 500 if number % 2 else 429))
        return
    took = taken(number, model)
    usage: dict[str, Any] = {"prompt_tokens": took.prompt, "completion_tokens": took.completion}
    if took.cached:
        usage["prompt_tokens_details"] = {"cached_tokens": took.cached}
    if not body.get("stream"):
        kept = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
        answer = {"data": [{"index": 0, "embedding": [0.5]}]} if model == "vectors" else {"choices": [kept]}
        await peer.send(message(json.dumps(answer | {"usage": usage}).encode()))
        return
    pieces = [event({"choices": [{"index": 0, "delta": {"content": word}}]}) for word in ("a ", "b ", "c")]
    pieces.append(event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
    pieces.append(event({"choices": [], "usage": usage}) + b"data: [DONE]\n\n")
    await peer.send(SSE)
    for piece in pieces:
        if number % 4 == 0:
            await asyncio.sleep(0.001)
        await peer.send(chunk(piece))
    await peer.send(b"0\r\n\r\n")


class Judgement(NamedTuple):
    """What the books say, and what they should."""

    completed: int
    """Answers that their clients saw complete."""
    left: int
    """Clients that left before."""
    rows: int
    lost: list[str]
    """Ids of answers that were seen complete, and have no row."""
    wrong: list[str]
    """What is not as the workers reported it."""
    tokens: tuple[int, int]
    """Of the complete answers: as in the ledger, and as reported."""
    cost: tuple[int, int]
    seconds: float


class Storm:
    """So many requests of sixteen clients, and a kill in their middle."""

    def __init__(self, folder: Path, requests: int, clients: int = 16) -> None:
        self.folder = folder
        self.requests = requests
        self.clients = clients
        self.done: dict[str, tuple[int, str]] = {}
        """Number and model of each answer that was seen complete, by its id."""
        self.left = 0
        self._next = 0
        self._up = asyncio.Event()
        self._half = asyncio.Event()
        self._gateway: LiveGateway

    async def run(self) -> Judgement:
        """Let it pass; what the books say then."""
        async with ScriptedWorker().listening() as worker:
            worker.usual, worker.keep = work, False
            self._gateway = await asyncio.to_thread(LiveGateway, self.folder, CONFIG.replace("URL", worker.url))
            try:
                began = time.monotonic()
                await asyncio.to_thread(self._gateway.start)
                self._up.set()
                await asyncio.gather(self._kill(), *(self._ask_on(number) for number in range(self.clients)))
                seconds = time.monotonic() - began
                await asyncio.to_thread(self._gateway.stop)
            finally:
                if self._gateway.runs:
                    await asyncio.to_thread(self._gateway.stop)
        return self._judged(seconds)

    async def _kill(self) -> None:
        await self._half.wait()
        self._up.clear()
        await asyncio.to_thread(self._gateway.kill)
        await asyncio.to_thread(self._gateway.start)
        self._up.set()

    async def _ask_on(self, seed: int) -> None:
        """One client: several requests on each connection, until all are asked."""
        mood = random.Random(seed)  # no secret
        while self._next < self.requests:
            await self._up.wait()
            client: Client | None = None
            try:
                port = int(self._gateway.url.rsplit(":", 1)[1])
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                client = Client(reader, writer)
                while self._next < self.requests and await self._ask(client, mood):
                    pass
            except (OSError, asyncio.IncompleteReadError):  # it was killed
                await asyncio.sleep(0.01)
            finally:
                if client is not None:
                    client.abort()

    async def _ask(self, client: Client, mood: random.Random) -> bool:
        """One request; False when the client leaves in the middle of it."""
        self._next += 1
        number = self._next
        if number == self.requests // 2:
            self._half.set()
        model, streams = mood.choice(ASKED), mood.random() < 0.5
        text = f"{number} {'word ' * mood.randrange(20)}"
        if model == "vectors":
            path, body = "/v1/embeddings", {"model": model, "input": text}
        else:
            path = "/v1/chat/completions"
            body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": streams}
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: t-{number}\r\n"
        await client.send(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        leaves = mood.random()
        if leaves < 0.05:  # at once
            self.left += 1
            return False
        if leaves < 0.1:  # with the head, or some of the answer
            await client.head()
            self.left += 1
            return False
        answer = await client.answer()
        if answer.status == 200 and (not answer.chunked or b"[DONE]" in answer.body):
            self.done[answer.header("x-request-id") or ""] = (number, answer.header("x-rolecast-model") or "")
        return True

    def _judged(self, seconds: float) -> Judgement:
        columns = "id, client_id, model, outcome, prompt_tokens, completion_tokens, cached_tokens, cost, counted"
        rows = self._gateway.rows(columns)
        by_id = {row[0]: row[2:] for row in rows}
        wrong = [] if len(by_id) == len(rows) else ["a request has two rows"]
        for row_id, client_id, model, outcome, prompt, completion, cached, cost, counted in rows:
            number = int(client_id.removeprefix("t-"))
            took = taken(number, model)
            if outcome == "ok" and not counted and (prompt, completion, cached, cost) != (*took, took.cost(model)):
                wrong.append(f"{row_id} ({number}): {model} {prompt} {completion} {cached} {cost}, not {took}")
        lost = [row_id for row_id in self.done if row_id not in by_id]
        booked, cost, reported, billed = 0, 0, 0, 0
        for row_id, (number, model) in self.done.items():
            took = taken(number, model)
            reported, billed = reported + took.prompt + took.completion, billed + took.cost(model)
            if row_id in by_id:
                booked, cost = booked + by_id[row_id][2] + by_id[row_id][3], cost + by_id[row_id][5]
        return Judgement(len(self.done), self.left, len(rows), lost, wrong, (booked, reported), (cost, billed), seconds)
