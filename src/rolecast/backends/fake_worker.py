"""The process of a fake model: llama.cpp's OpenAI wire over what `fake_answer` says, with scripted faults.

Takes its `Options` as a JSON argument. Only the script causes faults, never a request. Times and ids are
constants, so equal requests get equal bytes.
"""

import asyncio
import base64
import os
import re
import resource
import signal
import struct
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from rolecast.backends import fake_answer
from rolecast.backends.fake import Options
from rolecast.backends.fake_answer import Answer, Reply, Request, Script
from rolecast.backends.leaving import until_client_leaves
from rolecast.backends.serving import serve
from rolecast.processes.lifeline import end_with_gateway

CREATED = 1_700_000_000
MS_PER_TOKEN = 1.0


class Worker:
    """The HTTP face of one fake model."""

    def __init__(self, options: Options, script: Script) -> None:
        self._options = options
        self._script = script
        self._active = 0
        self._asleep = False
        routes = [
            Route("/is_sleeping", self.is_sleeping),
            Route("/sleep", self.sleep, methods=["POST"]),
            Route("/wake_up", self.wake_up, methods=["POST"]),
            Route("/health", self.health),
            Route("/slots", self.slots),
            Route("/v1/models", self.models),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/chat/completions/input_tokens", self.count, methods=["POST"]),
            Route("/v1/completions", self.complete, methods=["POST"]),
            Route("/v1/embeddings", self.embed, methods=["POST"]),
            Route("/v1/rerank", self.rank, methods=["POST"]),
        ]
        self.app = until_client_leaves(self._counted(Starlette(routes=routes)))

    def _counted(self, app: ASGIApp) -> ASGIApp:
        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            works = scope.get("method") == "POST" and scope["path"].startswith("/v1")
            if works and self._asleep:
                await _error(500, "asked while it sleeps")(scope, receive, send)
                return
            self._active += works
            try:
                await app(scope, receive, send)
            finally:
                self._active -= works

        return counted

    async def is_sleeping(self, _: HttpRequest) -> Response:
        return _json({"is_sleeping": self._asleep})

    async def sleep(self, _: HttpRequest) -> Response:
        """As vLLM's; its memory is not worth giving back."""
        if self._script.sleep == "refuses":
            return _error(404, "Not Found")
        self._asleep = True
        return Response()

    async def wake_up(self, _: HttpRequest) -> Response:
        if self._script.sleep == "hangs":
            await asyncio.Event().wait()
        if self._script.sleep == "dies":
            _crash()
        self._asleep = False
        return Response()

    async def health(self, _: HttpRequest) -> Response:
        return _json({"status": "ok"})

    async def slots(self, _: HttpRequest) -> Response:
        return _json([{"id": i, "is_processing": i < self._active} for i in range(self._options.parallel)])

    async def models(self, _: HttpRequest) -> Response:
        card = {"id": self._options.id, "object": "model", "created": CREATED, "owned_by": "fake"}
        return _json({"object": "list", "data": [card]})

    async def chat(self, http: HttpRequest) -> Response:
        request = await _decode(http)
        if isinstance(request, Response):
            return request
        if not request.messages:
            return _error(400, "'messages' must be a list of at least one message")
        reply = self._script.find(fake_answer.last_text(request))
        answers = [fake_answer.answer_chat(request, reply)] * (request.n or 1)
        return await self._respond(request, reply, answers, chat_wire(self._options.id))

    async def count(self, http: HttpRequest) -> Response:
        request = await _decode(http)
        if isinstance(request, Response):
            return request
        return _json({"input_tokens": fake_answer.words(request), "object": "response.input_tokens"})

    async def complete(self, http: HttpRequest) -> Response:
        request = await _decode(http)
        if isinstance(request, Response):
            return request
        prompts = [request.prompt] if isinstance(request.prompt, str) else request.prompt
        reply = self._script.find(prompts[-1] if prompts else "")
        answers = [
            fake_answer.answer_prompt(prompt, request, reply) for prompt in prompts for _ in range(request.n or 1)
        ]
        return await self._respond(request, reply, answers, text_wire(self._options.id))

    async def embed(self, http: HttpRequest) -> Response:
        request = await _decode(http)
        if isinstance(request, Response):
            return request
        texts = fake_answer.texts_to_embed(request)
        reply = self._script.find(texts[-1] if texts else "")
        if fault := await _fault(reply, stream=False):
            return fault
        data = []
        for index, text in enumerate(texts):
            vector: Any = fake_answer.embed(text)
            if request.encoding_format == "base64":
                vector = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
            data.append({"object": "embedding", "index": index, "embedding": vector})
        tokens = sum(len(text.split()) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return _json({"object": "list", "model": self._options.id, "data": data, "usage": usage})

    async def rank(self, http: HttpRequest) -> Response:
        request = await _decode(http)
        if isinstance(request, Response):
            return request
        reply = self._script.find(request.query)
        if fault := await _fault(reply, stream=False):
            return fault
        scores = [fake_answer.score(request.query, text) for text in request.documents]
        results = [{"index": i, "relevance_score": score} for i, score in enumerate(scores)]
        tokens = sum(len(f"{request.query} {text}".split()) for text in request.documents)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return _json({"object": "list", "model": self._options.id, "results": results, "usage": usage})

    async def _respond(self, request: Request, reply: Reply, answers: Sequence[Answer], wire: "Wire") -> Response:
        if fault := await _fault(reply, stream=bool(request.stream)):
            return fault
        if request.stream:
            with_usage = bool(request.stream_options and request.stream_options.include_usage)
            events = _stream(answers, reply, wire, with_usage=with_usage)
            return StreamingResponse(events, media_type="text/event-stream")
        for count in range(1, sum(len(answer.tokens) for answer in answers) + 1):
            await _token_done(count, reply)
        choices = [wire.choice(index, answer) for index, answer in enumerate(answers)]
        return _json(wire.head | {"choices": choices, "usage": _usage(answers), "timings": _timings(answers)})


class Wire(msgspec.Struct, frozen=True):
    """How chat and plain completions differ: object names and the shape of a choice and of its pieces."""

    head: dict[str, Any]
    chunk_head: dict[str, Any]
    choice: Callable[[int, Answer], dict[str, Any]]
    opening: Callable[[Answer], list[dict[str, Any]]]
    piece: Callable[[Answer, str], dict[str, Any]]
    closing: dict[str, Any]


def chat_wire(model: str) -> Wire:
    """The shapes of `/v1/chat/completions`."""
    head = {"id": "chatcmpl-fake", "object": "chat.completion", "created": CREATED, "model": model}

    def call(answer: Answer, arguments: str) -> dict[str, Any]:
        function = {"name": answer.tool.name if answer.tool else "", "arguments": arguments}
        return {"id": "call_fake", "type": "function", "function": function}

    def choice(index: int, answer: Answer) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": answer.text}
        if answer.tool:
            message |= {"content": None, "tool_calls": [call(answer, answer.text)]}
        return {"index": index, "message": message, "finish_reason": answer.finish}

    def opening(answer: Answer) -> list[dict[str, Any]]:
        role = {"delta": {"role": "assistant", "content": None}}
        if not answer.tool:
            return [role]
        return [role, {"delta": {"tool_calls": [{"index": 0, **call(answer, "")}]}}]

    def piece(answer: Answer, token: str) -> dict[str, Any]:
        if answer.tool:
            return {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": token}}]}}
        return {"delta": {"content": token}}

    return Wire(head, head | {"object": "chat.completion.chunk"}, choice, opening, piece, {"delta": {}})


def text_wire(model: str) -> Wire:
    """The shapes of `/v1/completions`."""
    head = {"id": "cmpl-fake", "object": "text_completion", "created": CREATED, "model": model}

    def choice(index: int, answer: Answer) -> dict[str, Any]:
        return {"index": index, "text": answer.text, "logprobs": None, "finish_reason": answer.finish}

    def piece(_: Answer, token: str) -> dict[str, Any]:
        return {"text": token, "logprobs": None}

    return Wire(head, head, choice, lambda _: [], piece, {"text": "", "logprobs": None})


async def _stream(answers: Sequence[Answer], reply: Reply, wire: Wire, *, with_usage: bool) -> AsyncIterator[bytes]:
    def chunk(index: int, shape: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return wire.chunk_head | {"choices": [{"index": index, **shape, "finish_reason": finish}]}

    for index, answer in enumerate(answers):
        for shape in wire.opening(answer):
            yield _event(chunk(index, shape))
    count = 0
    for at in range(max((len(a.tokens) for a in answers), default=0)):
        for index, answer in enumerate(answers):
            if at < len(answer.tokens):
                yield _event(chunk(index, wire.piece(answer, answer.tokens[at])))
                count += 1
                await _token_done(count, reply)
    timings = {"timings": _timings(answers)}
    for index, answer in enumerate(answers):
        last = index == len(answers) - 1 and not with_usage
        yield _event(chunk(index, wire.closing, answer.finish) | (timings if last else {}))
    if with_usage:
        yield _event(wire.chunk_head | {"choices": [], "usage": _usage(answers)} | timings)
    yield b"data: [DONE]\n\n"


async def _decode(http: HttpRequest) -> Request | Response:
    try:
        return msgspec.json.decode(await http.body(), type=Request)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        return _error(400, str(e))


async def _fault(reply: Reply, *, stream: bool) -> Response | None:
    """Waits, hangs or dies as the script says; the response that stands in for an answer, if any."""
    await asyncio.sleep(reply.delay)
    if reply.hang:
        await asyncio.Event().wait()
    if reply.die_after == 0:
        _crash()
    if reply.raw is not None:
        kind = "text/event-stream" if stream else "application/json"
        return Response(reply.raw.encode(), reply.status, media_type=kind)
    if reply.error is not None:
        return _json({"error": reply.error}, reply.status if reply.status != 200 else 500)
    return _error(reply.status, "scripted failure") if reply.status != 200 else None


async def _token_done(count: int, reply: Reply) -> None:
    await asyncio.sleep(reply.token_delay)  # also lets the server send what was yielded
    if count == reply.die_after:
        _crash()


def _crash() -> None:
    """End as an engine with a fault of its own does, without a core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.kill(os.getpid(), signal.SIGSEGV)


def _usage(answers: Sequence[Answer]) -> dict[str, Any]:
    prompt = answers[0].prompt_tokens if answers else 0
    completion = sum(len(answer.tokens) for answer in answers)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def _timings(answers: Sequence[Answer]) -> dict[str, Any]:
    usage = _usage(answers)
    timings: dict[str, Any] = {"cache_n": 0}
    for name, count in (("prompt", usage["prompt_tokens"]), ("predicted", usage["completion_tokens"])):
        timings |= {
            f"{name}_n": count,
            f"{name}_ms": count * MS_PER_TOKEN,
            f"{name}_per_token_ms": MS_PER_TOKEN,
            f"{name}_per_second": 1000 / MS_PER_TOKEN,
        }
    return timings


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _error(status: int, message: str) -> Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return _json({"error": {"code": status, "message": message, "type": kind}}, status)


def read_script(path: str) -> Script:
    """The script in a YAML file. Raises ValueError naming the file and what is wrong with it."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        data = YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
        script = msgspec.convert(data or {}, Script)
        for reply in script.replies:
            re.compile(reply.match)
    except (OSError, UnicodeDecodeError, YAMLError, msgspec.ValidationError, re.error) as e:
        raise ValueError(f"cannot load the script {path}: {e}") from e
    return script


def main() -> None:
    end_with_gateway()
    options = msgspec.json.decode(sys.argv[1], type=Options)
    try:
        script = read_script(options.script) if options.script else Script()
    except ValueError as e:
        sys.exit(str(e))
    serve(Worker(options, script).app, options.socket)


if __name__ == "__main__":
    main()
