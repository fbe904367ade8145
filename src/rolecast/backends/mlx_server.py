"""What of mlx-lm's server is other here: where it listens, what a request may open, and how answers end.

Imported by a worker alone, since it imports the engine. Its classes stand on those of `mlx_lm.server`; the command
line is read, and the model is run, by that. What differs:

- It listens on a socket that its owner alone can open, and only once the model is loaded.
- A request names no model, adapter or draft model, and no image of the network: each would be opened.
- A client that leaves is noticed at the next token, also before the first and while the tokens are no text.
- A prompt beyond the context is refused, and an answer ends where the context does.
- Streams are chunked, so that one which breaks off is no whole answer.
- When the thread that computes dies, the process ends, for somebody to start another.
"""

import dataclasses
import functools
import json
import os
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from mlx_lm import server

from rolecast.backends.mlx import TOO_LONG, Options
from rolecast.backends.mlx_stops import Stops
from rolecast.weights import folder

UNSAID = {
    "stream": False,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 0.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "logprobs": False,
    "top_logprobs": -1,
    "xtc_probability": 0.0,
    "xtc_threshold": 0.1,
}
"""What a field means that is `null`, which clients write for: as you like."""
TEMPLATE_IS_OURS = ("chat_template", "tokenize", "add_generation_prompt", "continue_final_message", "return_dict",
                    "return_tensors", "tools", "padding", "truncation", "max_length")  # fmt: skip
"""Arguments of the function that writes a chat, which are not the template's."""
WAITING = 128


class Provider(server.ModelProvider):  # type: ignore[misc]
    """The one model, whatever a request calls it."""

    def __init__(self, args: Any) -> None:
        super().__init__(args)
        self.settled = threading.Event()
        """It is loaded."""
        self.words = 0
        """Tokens that it knows."""

    def load_default(self) -> None:
        """Load it, and tell."""
        try:
            super().load_default()
        except BaseException as error:
            sys.stderr.write(f"cannot load {self.cli_args.model}: {type(error).__name__}: {error}\n")
            sys.stderr.flush()
            os._exit(1)
        said = folder.settings(Path(self.cli_args.model) / folder.CONFIG)
        text = said.get("text_config")
        words = (text if isinstance(text, dict) else said).get("vocab_size")
        self.words = words if isinstance(words, int) else self.tokenizer.vocab_size
        self.settled.set()

    def load(self, model_path: str, adapter_path: str | None = None, draft_model_path: str | None = None) -> Any:
        """No other model takes its place."""
        return super().load("default_model", None, "default_model")


_served = threading.local()
"""The connection that a thread answers on, and what is computed for it."""


class Generator(server.ResponseGenerator):  # type: ignore[misc]
    """Computes. `context` is in tokens, 0 = no limit is known."""

    context = 0

    def _tokenize(self, tokenizer: Any, request: Any, args: Any) -> Any:
        found = super()._tokenize(tokenizer, request, args)
        if self.context:
            asked, room = len(found[0]), self.context - len(found[0])
            if room < 1:
                raise ValueError(f"The prompt of {asked} tokens {TOO_LONG} of {self.context} tokens.")
            args.max_tokens = min(args.max_tokens, room)
        if not found[0]:
            raise ValueError("The prompt must hold at least one token")
        return found

    def generate(self, request: Any, generation_args: Any, progress_callback: Any = None) -> Any:
        """The same with the stop sequences found in the text."""
        stops = Stops(generation_args.stop_words)
        plain = dataclasses.replace(generation_args, stop_words=[])
        context, answers = super().generate(request, plain, progress_callback=progress_callback)
        _served.context = context
        return context, _until(stops, context, answers)


def _has_left() -> bool:
    """Whether whom this thread answers has closed the connection."""
    connection: socket.socket | None = getattr(_served, "connection", None)
    if connection is None:
        return False
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _until(stops: Stops, context: Any, answers: Iterator[Any]) -> Iterator[Any]:
    for each in answers:
        if _has_left():
            context.stop()
            raise BrokenPipeError("the client has left")
        said, over = stops.cut(each.text)
        if over:
            yield dataclasses.replace(each, text=said, finish_reason=None)
            context.stop()
            return
        if each.finish_reason is None:
            yield dataclasses.replace(each, text=said)
            continue
        # What is said with the last token of a stop is dropped by the server; as any other token's it is not.
        reason = None if each.finish_reason == "stop" else each.finish_reason
        yield dataclasses.replace(each, text=said + stops.rest(), finish_reason=reason)


class _Chunked:
    """A body of unknown length, in chunks."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def write(self, data: bytes) -> int:
        self._raw.write(b"%x\r\n%b\r\n" % (len(data), data))
        return len(data)

    def flush(self) -> None:
        self._raw.flush()

    def end(self) -> None:
        self._raw.write(b"0\r\n\r\n")
        self._raw.flush()


class Handler(server.APIHandler):  # type: ignore[misc]
    """One connection."""

    protocol_version = "HTTP/1.1"
    options: Options
    wfile: Any
    temperature: Any
    max_tokens: Any
    stream_options: Any
    chat_template_kwargs: Any
    top_k: Any

    def do_POST(self) -> None:  # noqa: N802  # its name there
        """One request; the connection is kept when its answer is complete."""
        raw, self._chunks = self.wfile, False
        _served.connection, _served.context = self.connection, None
        try:
            super().do_POST()
            if isinstance(self.wfile, _Chunked):
                self.wfile.end()
        except BaseException:
            self.close_connection = True
            raise
        finally:
            self.wfile = raw
            if _served.context is not None:  # that server stops it only once it has begun to answer
                _served.context.stop()

    def do_GET(self) -> None:  # noqa: N802  # its name there
        """Health, and the model."""
        if self.path == "/health":
            healthy = self.response_generator.is_healthy
            self._say(200 if healthy else 503, {"status": "ok" if healthy else "unavailable"})
        elif self.path == "/v1/models":
            card = {"id": self.options.id, "object": "model", "created": self.created, "owned_by": "mlx"}
            self._say(200, {"object": "list", "data": [card]})
        else:
            self._say(404, {"error": "Not Found"})

    def _say(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def validate_model_parameters(self) -> None:
        """Also puts in what a request leaves to us, and takes out what it may not say. Raises ValueError."""
        for name, usual in UNSAID.items():
            if getattr(self, name) is None:
                setattr(self, name, usual)
        defaults = self.response_generator.cli_args
        self.temperature = defaults.temp if self.temperature is None else self.temperature
        self.max_tokens = defaults.max_tokens if self.max_tokens is None else self.max_tokens
        self.requested_model, self.requested_draft_model, self.adapter = self.options.id, "default_model", None
        self.num_draft_tokens = defaults.num_draft_tokens
        self.repetition_context_size = self.presence_context_size = self.frequency_context_size = 20
        for name in ("xtc_probability", "xtc_threshold"):
            setattr(self, name, float(getattr(self, name)))
        wish = self.stream_options if isinstance(self.stream_options, dict) else {}
        self.stream_options = {"include_usage": bool(wish.get("include_usage"))}
        kwargs = self.chat_template_kwargs if isinstance(self.chat_template_kwargs, dict) else {}
        self.chat_template_kwargs = {name: kwargs[name] for name in kwargs if name not in TEMPLATE_IS_OURS}
        super().validate_model_parameters()
        self._bound()

    def _bound(self) -> None:
        """What the engine takes without looking, and dies of."""
        words = self.response_generator.model_provider.words
        if self.top_k >= words:
            self.top_k = 0
        if any(not 0 <= token < words for token in self.logit_bias or ()):
            raise ValueError("logit_bias must be of tokens that the model has")
        stop = self.body.get("stop") or []
        stop = [stop] if isinstance(stop, str) else stop
        if not (isinstance(stop, list) and all(isinstance(each, str) for each in stop)):
            raise ValueError("stop must be of type str or list of str")
        for name in ("temperature", "repetition_penalty", "presence_penalty", "frequency_penalty"):
            if not abs(getattr(self, name)) < 1e6:
                raise ValueError(f"{name} must be at most 1000000")

    def handle_chat_completions(self) -> Any:
        """A chat. Raises ValueError for what would be fetched."""
        messages = self.body.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(each, dict) for each in messages):
            raise ValueError("messages must be a list of objects, and hold at least one")
        for message in messages:
            content = message.get("content")
            for part in content if isinstance(content, list) else ():
                if not isinstance(part, dict):
                    raise ValueError("content must be a text or a list of objects")
                if any(not str(url).startswith("data:") for url in _urls(part)):
                    raise ValueError("image_url must hold the picture itself, as data:image/...;base64")
        return super().handle_chat_completions()

    def handle_text_completions(self) -> Any:
        """A text to go on with. Raises ValueError for anything else."""
        if not isinstance(self.body.get("prompt"), str):
            raise ValueError("prompt must be of type str")
        return super().handle_text_completions()

    def _set_completion_headers(self, status_code: int = 200) -> None:
        # That server calls every request that cannot be begun 404: an adapter or model may not be there.
        super()._set_completion_headers(400 if status_code == 404 else status_code)
        if status_code != 200:
            self.send_header("Connection", "close")
            self.close_connection = True

    def _set_stream_headers(self, status_code: int = 200) -> None:
        super()._set_stream_headers(status_code)
        self.send_header("Transfer-Encoding", "chunked")
        self._chunks = True

    def end_headers(self) -> None:
        """A stream begins."""
        super().end_headers()
        if getattr(self, "_chunks", False):
            self._chunks = False
            self.wfile = _Chunked(self.wfile)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
        """Nothing: a line for each request tells nobody anything."""


def _urls(part: dict[str, Any]) -> Iterator[Any]:
    """What a part of a message may have fetched."""
    for name in ("image_url", "image"):
        given = part.get(name)
        if given is not None:
            yield given.get("url") if isinstance(given, dict) else given


class Listener(ThreadingHTTPServer):
    """On a unix socket."""

    address_family = socket.AF_UNIX
    request_queue_size = WAITING
    daemon_threads = True

    def server_bind(self) -> None:
        """Without asking for names of hosts."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", 0

    def get_request(self) -> tuple[Any, Any]:
        """A peer of such a socket has no address."""
        connection, _ = super().get_request()
        return connection, ("local", 0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients leave; what else fails ends its connection, which is seen there."""


def serve(options: Options) -> None:
    """Run that server's program with the parts above, until the process is asked to end."""

    def run(host: str, port: int, model_provider: Any, **_: Any) -> None:
        _run(options, model_provider)

    server.ModelProvider = Provider
    server.run = run
    server.main()


def _run(options: Options, provider: Provider) -> None:
    made: Callable[..., Generator] = functools.partial(Generator, provider)
    Generator.context = options.context
    generator = made(server.LRUPromptCache(provider.cli_args.prompt_cache_size))
    provider.settled.wait()
    Handler.options = options
    fingerprint = server.get_system_fingerprint()
    handler = functools.partial(Handler, generator, system_fingerprint=fingerprint)
    with Listener(options.socket, handler) as listener:  # a path, on such a socket
        threading.Thread(target=listener.serve_forever, name="listener", daemon=True).start()
        sys.stdout.write(f"serving {options.id}\n")
        sys.stdout.flush()
        generator.join()  # it computes until the process ends; when it ends by itself, nobody answers any more
    sys.stderr.write("the engine stopped computing\n")
    sys.stderr.flush()
    os._exit(1)
