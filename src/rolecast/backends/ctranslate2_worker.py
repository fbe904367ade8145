"""The process of a translation model: OpenAI's chat wire over CTranslate2.

Takes its `Options` as a JSON argument. The last message of a chat is the text; `translation` says from which language
into which, by NLLB's codes. A source sentence is the token of its language, its pieces and `</s>`; a translation begins
with the token of its language (NLLB's paper, section 6.1.1: the source is prefixed with its own language).
Sentences are translated in small batches, so that a client that leaves stops the work soon.
"""

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from rolecast.backends.ctranslate2 import Options
from rolecast.backends.ctranslate2_text import loops, runs, sentences
from rolecast.backends.leaving import until_client_leaves
from rolecast.backends.serving import serve
from rolecast.processes.lifeline import end_with_gateway
from rolecast.weights import converted

NICENESS = 5
BEAM = 4
BATCH = 8
"""Sentences at once: what is done before a cancelled request is noticed."""
LONGEST = 400
"""Tokens of one run; the models were trained on sentences, and hold 1024."""
USUAL = 4096
"""Tokens of an answer whose request sets no limit."""
SAID, MORE, MOST = 2, 48, 500
"""A translation has at most so many tokens for each of its source, and so many besides, and never more: that is a loop,
and a model has no positions for it."""
FIRM, NGRAM = 1.2, 3
"""For a sentence whose translation was a loop: penalty of repetition, and tokens in a row that do not come twice."""
END = "</s>"
SILENT = frozenset({END, "<s>", "<pad>", "<unk>", "<mask>"})
_CODE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")


class Pair(msgspec.Struct):
    source: str
    target: str


class Part(msgspec.Struct):
    text: str = ""


class Message(msgspec.Struct):
    role: str = ""
    content: str | list[Part] | None = None


class Wish(msgspec.Struct):
    include_usage: bool | None = None


class Body(msgspec.Struct):
    messages: list[Message] = []
    translation: Pair | None = None
    stream: bool | None = None
    stream_options: Wish | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    repetition_penalty: Annotated[float, msgspec.Meta(gt=0, le=10)] | None = None


class Spent(msgspec.Struct):
    """What an answer took so far."""

    prompt: int = 0
    completion: int = 0
    started: float = msgspec.field(default_factory=time.perf_counter)
    finish: str = "stop"

    def usage(self) -> dict[str, Any]:
        total = self.prompt + self.completion
        return {"prompt_tokens": self.prompt, "completion_tokens": self.completion, "total_tokens": total}

    def timings(self) -> dict[str, Any]:
        took = 1000 * (time.perf_counter() - self.started)
        return {"cache_n": 0, "prompt_n": self.prompt, "predicted_n": self.completion, "predicted_ms": round(took, 3)}


class BadBodyError(Exception):
    """A request that cannot be answered; its text quotes nothing of it."""


class Translator:
    """One model, loaded."""

    def __init__(self, options: Options) -> None:
        import ctranslate2
        import sentencepiece

        folder = Path(options.folder)
        self.codes = converted.codes(folder)
        if not self.codes:
            raise ValueError(
                "its vocabulary has no languages of NLLB, such as eng_Latn; only such models translate here"
            )
        device = "cuda" if options.gpu and ctranslate2.get_cuda_device_count() else "cpu"
        offered = ctranslate2.get_supported_compute_types(device)
        compute = options.compute if options.compute in offered else "int8" if "int8" in offered else "default"
        self._model = ctranslate2.Translator(
            str(folder),
            device=device,
            compute_type=compute,
            inter_threads=1,
            intra_threads=options.threads,
            max_queued_batches=-1,
        )
        self._pieces = sentencepiece.SentencePieceProcessor(model_file=str(converted.tokenizer(folder)))
        self.told = f"{device}, {self._model.compute_type}"

    def tokens(self, text: str) -> list[str]:
        """A sentence in pieces."""
        found: list[str] = self._pieces.encode(text, out_type=str)
        return found

    def translate(self, batch: Sequence[list[str]], pair: Pair, most: int, penalty: float) -> list[list[str]]:
        """The pieces of each translation, without marks. One that goes round in circles is made once more. Blocks."""
        found = self._translate(batch, pair, most, repetition_penalty=penalty)
        circling = [number for number, said in enumerate(found) if loops(said, batch[number])]
        if circling:
            again = [batch[number] for number in circling]
            penalty = max(penalty, FIRM)
            better = self._translate(again, pair, most, repetition_penalty=penalty, no_repeat_ngram_size=NGRAM)
            for number, said in zip(circling, better, strict=True):
                found[number] = said
        return found

    def _translate(self, batch: Sequence[list[str]], pair: Pair, most: int, **more: Any) -> list[list[str]]:
        longest = max(map(len, batch))
        results = self._model.translate_batch(
            [[pair.source, *pieces, END] for pieces in batch],
            target_prefix=[[pair.target]] * len(batch),
            beam_size=BEAM,
            max_decoding_length=max(1, min(SAID * longest + MORE, MOST, most)) + 1,  # the language is the first
            **more,
        )
        return [result.hypotheses[0][1:] for result in results]

    def text(self, pieces: list[str]) -> str:
        """The words of pieces."""
        found: str = self._pieces.decode([piece for piece in pieces if piece not in SILENT and piece not in self.codes])
        return found


class Worker:
    """The HTTP face of one translation model."""

    def __init__(self, options: Options, translator: Translator) -> None:
        self._options = options
        self._translator = translator
        routes = [
            Route("/health", self.health),
            Route("/v1/models", self.models),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/chat/completions/input_tokens", self.count, methods=["POST"]),
            Route("/v1/completions", self.other, methods=["POST"]),
        ]
        self.app = until_client_leaves(Starlette(routes=routes))

    async def health(self, _: HttpRequest) -> Response:
        return _json({"status": "ok"})

    async def models(self, _: HttpRequest) -> Response:
        card = {"id": self._options.id, "object": "model", "created": 0, "owned_by": "ctranslate2"}
        return _json({"object": "list", "data": [card]})

    async def other(self, _: HttpRequest) -> Response:
        return _error("This model only translates chats; ask it through POST /translate.")

    async def count(self, http: HttpRequest) -> Response:
        try:
            text = _text_of(await _body(http))
        except BadBodyError as error:
            return _error(str(error))
        tokens = await asyncio.to_thread(self._count, text)
        return _json({"input_tokens": tokens, "object": "response.input_tokens"})

    def _count(self, text: str) -> int:
        return sum(len(self._translator.tokens(piece)) + 2 for piece, is_one in sentences(text) if is_one)

    async def chat(self, http: HttpRequest) -> Response:
        try:
            body = await _body(http)
            text, pair = _text_of(body), self._pair(body)
        except BadBodyError as error:
            return _error(str(error))
        spent = Spent()
        pieces = self._translated(text, pair, body, spent)
        head = {"id": "chatcmpl-translation", "created": int(time.time()), "model": self._options.id}
        if body.stream:
            wants = bool(body.stream_options and body.stream_options.include_usage)
            return StreamingResponse(_stream(pieces, head, spent, wants_usage=wants), media_type="text/event-stream")
        content = "".join([piece async for piece in pieces])
        message = {"role": "assistant", "content": content}
        choices = [{"index": 0, "message": message, "finish_reason": spent.finish}]
        head |= {"object": "chat.completion"}
        return _json(head | {"choices": choices, "usage": spent.usage(), "timings": spent.timings()})

    def _pair(self, body: Body) -> Pair:
        pair = body.translation
        if pair is None:
            how = 'send translation: {"source": "eng_Latn", "target": "spa_Latn"}, or ask through POST /translate'
            raise BadBodyError(f"This model only translates, and must be told the languages: {how}.")
        for code in (pair.source, pair.target):
            if code not in self._translator.codes:
                shown = code if _CODE.fullmatch(code) else "what `translation` names"
                known = len(self._translator.codes)
                raise BadBodyError(f"This model does not know the language {shown}; it knows {known} others.")
        return pair

    async def _translated(self, text: str, pair: Pair, body: Body, spent: Spent) -> AsyncIterator[str]:
        """The translation, piece by piece, in order."""
        limit = next((n for n in (body.max_tokens, body.max_completion_tokens) if n), USUAL)
        penalty = body.repetition_penalty or 1.0
        for batch in _batches(sentences(text)):
            work = [runs(self._translator.tokens(piece), LONGEST) for piece, is_one in batch if is_one]
            left = limit - spent.completion
            if left <= 0:
                spent.finish = "length"
                return
            flat = [run for each in work for run in each if run]
            spent.prompt += sum(len(run) + 2 for run in flat)
            found_all: list[list[str]] = []
            for start in range(0, len(flat), BATCH):  # a sentence without end is many runs
                some = flat[start : start + BATCH]
                found_all += await asyncio.to_thread(self._translator.translate, some, pair, left, penalty)
            done = iter(found_all)
            said = iter([[next(done) for run in each if run] for each in work])
            for piece, is_one in batch:
                if not is_one:
                    yield piece
                    continue
                if spent.completion >= limit:
                    spent.finish = "length"
                    return
                found = next(said)
                count = sum(map(len, found))
                spent.completion += count
                if any(len(run) >= left for run in found):
                    spent.finish = "length"
                yield " ".join(filter(None, map(self._translator.text, found)))


def _batches(pieces: Iterator[tuple[str, bool]]) -> Iterator[list[tuple[str, bool]]]:
    """The pieces in lists of so many sentences."""
    batch: list[tuple[str, bool]] = []
    count = 0
    for piece in pieces:
        batch.append(piece)
        count += piece[1]
        if count == BATCH:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


async def _body(http: HttpRequest) -> Body:
    try:
        return msgspec.json.decode(await http.body(), type=Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadBodyError("The body is no chat with texts.") from None


def _text_of(body: Body) -> str:
    if not body.messages:
        raise BadBodyError("There is no message to translate.")
    content = body.messages[-1].content
    return "".join(part.text for part in content) if isinstance(content, list) else content or ""


async def _stream(
    pieces: AsyncIterator[str], head: dict[str, Any], spent: Spent, *, wants_usage: bool
) -> AsyncIterator[bytes]:
    head = head | {"object": "chat.completion.chunk"}

    def event(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield _event(event({"role": "assistant", "content": ""}))
    async for piece in pieces:
        yield _event(event({"content": piece}))
    yield _event(event({}, spent.finish) | ({} if wants_usage else {"timings": spent.timings()}))
    if wants_usage:
        yield _event(head | {"choices": [], "usage": spent.usage(), "timings": spent.timings()})
    yield b"data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _error(message: str) -> Response:
    return _json({"error": {"code": 400, "message": message, "type": "invalid_request_error"}}, 400)


def main() -> None:
    end_with_gateway()
    options = msgspec.json.decode(sys.argv[1], type=Options)
    os.nice(NICENESS)
    try:
        translator = Translator(options)
    except (RuntimeError, ValueError, OSError) as error:
        sys.exit(f"cannot load {options.folder}: {error}")
    print(f"serving {options.id} ({translator.told})", flush=True)  # noqa: T201 - the worker's log
    serve(Worker(options, translator).app, options.socket)


if __name__ == "__main__":
    main()
