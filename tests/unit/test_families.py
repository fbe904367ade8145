"""A worker that speaks like none that is known here, brought by another package: every client can talk to it."""

import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from gateway import Gate, ScriptedWorker, chat, config, raw, reply, request, running_gateway, short_folder

from rolecast import backends, dialects
from rolecast.config.schema import Model
from rolecast.dialects import family
from rolecast.errors import ConfigError

MODULE = '''
"""A server that is sent a line of text and answers with lines, the last one a count."""
from rolecast.backends.remote import OpenAIRemote
from rolecast.values import Done, Failure, Report, Text, Usage


class Parrot(OpenAIRemote):
    speaks, usage = "lines", "always"


class Lost(OpenAIRemote):
    speaks, usage = "klingon", "always"


class Lines:
    def ask(self, chat, *, usage):
        return b"/chat/completions", f"{chat.messages[-1].content}|{chat.sampling.temperature}".encode()

    def reader(self, *, streaming):
        return Reader()


class Reader:
    def __init__(self):
        self.rest = b""

    def read(self, data):
        *lines, self.rest = (self.rest + data).split(b"\\n")
        return [event for line in lines for event in said(line.decode())]

    def end(self):
        return []


def said(line):
    if line.startswith("END "):
        return [Done("length"), Report(Usage(1, int(line[4:])))]
    return [Failure("no such word") if line == "FAIL" else Text(line)]
'''
pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package that registers a backend and the family that its servers speak."""
    folder = tmp_path / "site" / "parrots-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: parrots\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        "[rolecast.backends]\nparrot = parrots:Parrot\n[rolecast.families]\nlines = parrots:Lines\n"
    )
    (tmp_path / "site" / "parrots.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "parrots", raising=False)
    for known in (dialects.family, dialects._plugins):
        known.cache_clear()
    yield
    for known in (dialects.family, dialects._plugins):
        known.cache_clear()


@asynccontextmanager
async def parrot() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    with short_folder() as folder:
        async with ScriptedWorker().listening() as worker:
            models = {"m": Model(backend="parrot", url=worker.url, capabilities=["chat", "completion"])}
            async with running_gateway(config(models), Path(folder)) as gate:
                yield gate, worker


def lines(*said: str) -> Any:
    return reply("".join(f"{line}\n" for line in said).encode(), kind=b"text/plain")


@pytest.mark.parametrize("streams", [True, False])
async def test_every_client_is_answered_in_its_own_dialect(streams: bool) -> None:
    async with parrot() as (gate, worker):
        worker.usual = lines("Hello ", "you", "END 2")
        body = chat("hi", "m", stream=streams, temperature=0.5, stream_options={"include_usage": True})
        answer = await gate.ask(request(body))
        assert answer.status == 200, answer
        if streams:
            events = [json.loads(e[6:]) for e in answer.body.decode().strip().split("\n\n") if e != "data: [DONE]"]
            text = "".join(e["choices"][0]["delta"].get("content", "") for e in events if e["choices"])
            assert answer.body.endswith(b"data: [DONE]\n\n")
            finish = [e["choices"][0]["finish_reason"] for e in events if e["choices"]][-1]
            used = events[-1]["usage"]
        else:
            (choice,) = answer.json["choices"]
            text, finish, used = choice["message"]["content"], choice["finish_reason"], answer.json["usage"]
        assert (text, finish, used["completion_tokens"]) == ("Hello you", "length", 2)
        assert (worker.requests[0].line.split()[1], worker.requests[0].body) == ("/v1/chat/completions", b"hi|0.5")
        other = await gate.ask(request({**chat("hi", "m"), "stream": streams}, path="/api/chat"))
        last = json.loads(other.body.splitlines()[-1])
        assert (last["done_reason"], last["eval_count"]) == ("length", 2)
        assert [row.completion_tokens for row in await gate.rows()] == [2, 2]


async def test_its_errors_are_errors_in_every_dialect() -> None:
    async with parrot() as (gate, worker):
        worker.usual = lines("FAIL")
        told = await gate.ask(request(chat("hi", "m")))
        assert told.status == 502
        assert "no such word" in told.error["message"]
        worker.usual = raw(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\none\n\r\n", close=True)
        cut = await gate.ask(request(chat("hi", "m", stream=True)))
        assert json.loads(cut.body.decode().split("\n\n")[-3][6:])["error"]["code"] == "worker_lost"
        assert cut.body.endswith(b"data: [DONE]\n\n")


async def test_what_it_cannot_be_asked_is_refused_before_it_is_asked() -> None:
    async with parrot() as (gate, worker):
        answer = await gate.ask(request({"model": "m", "prompt": "x"}, path="/v1/completions"))
        assert (answer.status, answer.error["code"]) == (400, "wrong_capability")
        several = await gate.ask(request(chat("hi", "m", n=2)))
        assert (several.status, several.error["param"]) == (400, "n")
        assert not worker.requests
        assert gate.gateway.fleet.worker("m").active == 0


def test_a_family_that_nobody_knows_is_named() -> None:
    with pytest.raises(ConfigError, match="'klingon' is spoken by nobody here"):
        family("klingon")


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (
            lambda: dialects.dialect("silent"),
            "rolecast.dialects: 'silent' (parrots:Lines) lacks paths, chat, writer, error",
        ),
        (lambda: dialects.dialect("absent"), "'absent' (parrots:Nobody) cannot be loaded: AttributeError"),
        (lambda: family("half"), "rolecast.families: 'half' (parrots:Reader) lacks ask, reader"),
        (lambda: backends.get("lost"), "(parrots:Lost) cannot be asked: 'klingon' is spoken by nobody here; known are"),
    ],
)
def test_what_another_package_brings_is_looked_at_before_anybody_needs_it(
    tmp_path: Path, ask: Callable[[], Any], told: str
) -> None:
    with (tmp_path / "site" / "parrots-1.0.dist-info" / "entry_points.txt").open("a") as more:
        more.write("half = parrots:Reader\n[rolecast.dialects]\nsilent = parrots:Lines\nabsent = parrots:Nobody\n")
        more.write("[rolecast.backends]\nlost = parrots:Lost\n")
    dialects._plugins.cache_clear()
    with pytest.raises(ConfigError) as refused:
        ask()
    assert told in refused.value.problems[0]
