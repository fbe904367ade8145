"""One worker of llama.cpp at a time, started as Rolecast would or as others would, and what it does then.

Knows the engine's HTTP and clocks. Does not know what is compared with what, nor how it is shown.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
import psutil

from rolecast.backends.llamacpp import WORKER, LlamaCpp
from rolecast.backends.llamacpp_defaults import OFFLINE
from rolecast.backends.llamacpp_options import GPU_UBATCH, Options
from rolecast.config.schema import Model
from rolecast.errors import LoadFailed
from rolecast.processes import process
from rolecast.values import Launch, Listen

Way = Literal["rolecast", "engine", "previous"]
"""How a worker is started: with Rolecast's defaults, the engine's own, or those of Rolecast 0.1.0."""
LOAD_S = 300.0
ANSWER_S = 120.0
HEALTH_S = 5.0
POLL_S = 0.01  # often enough to see a difference, too seldom to make one
CHAT = "/v1/chat/completions"
SYSTEM = "You are a careful assistant of a small library. You answer in one short sentence and never guess. " * 3

_ENGINE_ALONE = """
import sys, threading
from rolecast.processes.lifeline import end_with_gateway
import xllamacpp
end_with_gateway()
p = xllamacpp.CommonParams()
p.model.path, socket, context, parallel = sys.argv[1:]
p.hostnames, p.n_ctx, p.n_parallel = [socket], int(context) * int(parallel), int(parallel)
server = xllamacpp.Server(p)
threading.Event().wait()
"""
_PREVIOUS = f"""
import importlib.metadata, rolecast.backends.llamacpp, {WORKER} as worker
worker.main()
"""


def launch(way: Way, model: Model, weights: Path, address: Path) -> Launch:
    """How to start that model that way, listening on the unix socket `address`, which ends in .sock."""
    ours = LlamaCpp().plan("bench", model, weights, Listen(str(address)))
    if way == "rolecast":
        return ours
    if way == "engine":
        options = msgspec.json.decode(ours.argv[-1], type=Options)
        facts = (options.weights, options.socket, str(options.context), str(options.parallel))
        return msgspec.structs.replace(ours, argv=(sys.executable, "-P", "-c", _ENGINE_ALONE, *facts), env=OFFLINE)
    former = msgspec.structs.replace(
        msgspec.json.decode(ours.argv[-1], type=Options),
        ubatch=GPU_UBATCH,
        mmap=True,
        fit=True,
        prompt_cache_mib=256,
        checkpoints=32,
        slot_similarity=0.1,
        guess=False,
    )
    argv = (sys.executable, "-P", "-c", _PREVIOUS, msgspec.json.encode(former).decode())
    return msgspec.structs.replace(ours, argv=argv, env=OFFLINE)


class Engine:
    """A worker that runs while the block does."""

    def __init__(self, start: Launch, log: Path) -> None:
        assert start.endpoint is not None
        self._start, self._address, self._log = start, start.endpoint.uds, log

    def __enter__(self) -> Self:
        import httpx2

        self.began = time.perf_counter()
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                self._start.argv,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=process.environment(os.environ, self._start.env),
                start_new_session=True,
            )
        transport = httpx2.HTTPTransport(uds=self._address, limits=httpx2.Limits(max_keepalive_connections=0))
        self._http = httpx2.Client(transport=transport, base_url="http://worker", timeout=ANSWER_S)
        try:
            self._await_ready()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def pid(self) -> int:
        """Of the worker."""
        return self._child.pid

    def _end(self) -> None:
        self._http.close()
        self._child.kill()
        self._child.communicate()
        Path(self._address).unlink(missing_ok=True)

    def _await_ready(self) -> None:
        while time.perf_counter() < self.began + LOAD_S and self._child.poll() is None:
            if self._is_healthy():
                return
            time.sleep(POLL_S)
        lines = self._log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        raise LoadFailed(f"the engine did not start: {lines[-1]}.")

    def _is_healthy(self) -> bool:
        with socket.socket(socket.AF_UNIX) as trial:
            trial.settimeout(HEALTH_S)
            try:
                trial.connect(self._address)
                trial.sendall(b"GET /health HTTP/1.1\r\nhost: worker\r\nconnection: close\r\n\r\n")
                return trial.recv(64).startswith(b"HTTP/1.1 200 ")
            except OSError:  # it does not listen yet, or has ended meanwhile: why is in its log
                return False

    def first_token_s(self) -> float:
        """Seconds from the start of the process to the first token of its first answer."""
        next(self._tokens("Hello.", 2))
        return time.perf_counter() - self.began

    def tokens_s(self, prompt: str, tokens: int, at_most_s: float) -> float:
        """Tokens per second of one stream after its first token; cut off after `at_most_s` seconds."""
        stream = self._tokens(prompt, tokens)
        next(stream)
        began = now = time.perf_counter()
        made = 0
        for _ in stream:
            made, now = made + 1, time.perf_counter()
            if now > began + at_most_s:
                break
        stream.close()
        return made / (now - began) if made else 0.0

    def _tokens(self, prompt: str, count: int) -> Generator[None]:
        body = {"messages": [{"role": "user", "content": prompt}], "stream": True, **_plain(count)}
        with self._http.stream("POST", CHAT, json=body) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: {") and '"finish_reason":null' in line:
                    yield

    def answer(self, messages: list[dict[str, str]], count: int) -> dict[str, Any]:
        """A whole answer with the engine's `timings`."""
        answer = self._http.post(CHAT, json={"messages": messages, **_plain(count)})
        answer.raise_for_status()
        found: dict[str, Any] = json.loads(answer.content)
        return found

    def reread_share(self, conversations: int) -> float:
        """Of the prompts of the second turn, with conversations taking turns: the part that was read again."""
        talks = [_opening(number) for number in range(conversations)]
        for talk in talks:
            said = self.answer(talk, 8)["choices"][0]["message"]["content"]
            talk += [{"role": "assistant", "content": said}, {"role": "user", "content": "And what follows from that?"}]
        timings = [self.answer(talk, 2)["timings"] for talk in talks]
        read = sum(t["prompt_n"] for t in timings)
        return float(read / (read + sum(t["cache_n"] for t in timings)))

    def resident_bytes(self) -> int:
        """Resident memory after a prompt that fills a batch."""
        self.answer([{"role": "user", "content": "the of and to " * 130}], 2)
        return int(psutil.Process(self._child.pid).memory_info().rss)


def _plain(count: int) -> dict[str, Any]:
    return {"max_tokens": count, "temperature": 0, "seed": 1, "ignore_eos": True}


def _opening(number: int) -> list[dict[str, str]]:
    text = " ".join(f"Shelf {number}{i} holds {i * 7 + number} books about subject {i * number}." for i in range(10))
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"{text} What is on shelf {number}?"}]


@contextmanager
def busy_core(at_most_s: float) -> Iterator[None]:
    """Keeps one core busy while the block runs, and never longer than `at_most_s` seconds."""
    code = f"import time\nend = time.monotonic() + {at_most_s}\nprint(flush=True)\nwhile time.monotonic() < end: pass"
    with subprocess.Popen((sys.executable, "-c", code), stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            yield
        finally:
            child.kill()
