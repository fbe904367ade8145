"""Sound and pictures: forwarded as they are to a server that can, whatever they are made of."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest
from gateway import (
    SSE_HEAD,
    Gate,
    Held,
    ScriptedWorker,
    chunk,
    config,
    message,
    pair,
    raw,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    until,
)
from hypothesis import given
from hypothesis import strategies as st

from rolecast.config.schema import Limits, Model
from rolecast.dialects import entries
from rolecast.errors import RolecastError

pytestmark = pytest.mark.anyio
FILE = bytes(range(256)) * 40 + b"\r\n--not the boundary\r\n"
KINDS = ["transcription", "speech", "images"]
HEARD = b'{"text":"hello","usage":{"type":"tokens","input_tokens":14,"output_tokens":3}}'


@pytest.fixture
async def both() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    async with pair(model={"capabilities": KINDS, "remote_model": "theirs", "key": "secret"}) as (gate, worker):
        worker.usual = reply(HEARD)
        yield gate, worker


def form(*fields: tuple[str, bytes], boundary: bytes = b"----x'y", file: bytes = FILE) -> bytes:
    parts = [b'Content-Disposition: form-data; name="%b"\r\n\r\n%b' % (name.encode(), value) for name, value in fields]
    parts.append(
        b'Content-Disposition: form-data; name="file"; filename="model.wav"\r\nContent-Type: audio/wav\r\n\r\n' + file
    )
    return b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--%b--\r\n" % boundary


def upload(body: bytes, path: str = "/v1/audio/transcriptions", head: str = "") -> bytes:
    lines = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n{head}"
    return lines.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("path", ["audio/transcriptions", "audio/translations", "images/edits", "images/variations"])
async def test_a_form_goes_on_as_it_is_but_for_the_name(both: tuple[Gate, ScriptedWorker], path: str) -> None:
    gate, worker = both
    rest = ("language", b"en"), ("prompt", b'form-data; name="model"')
    for prefix in ("/v1/", "/"):
        head = "Authorization: Bearer mine\r\nCookie: a=b\r\nX-Trace-Id: t1\r\n"
        answer = await gate.ask(upload(form(rest[0], ("model", b"m"), rest[1]), prefix + path, head))
        assert (answer.status, answer.body) == (200, HEARD)
        assert answer.header("x-rolecast-model") == "m"
        got = worker.requests[-1]
        assert got.line == f"POST /v1/{path} HTTP/1.1"
        assert got.body == form(rest[0], ("model", b"theirs"), rest[1])
        assert got.header("content-type") == ['multipart/form-data; boundary="----x\'y"']
        assert (got.header("authorization"), got.header("cookie")) == (["Bearer secret"], [])
        assert got.header("x-trace-id") == ["t1"]
    row = (await gate.rows())[-1]
    assert (row.outcome, row.prompt_tokens, row.completion_tokens) == ("ok", 14, 3)


async def test_a_form_without_a_model_gets_one(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    assert (await gate.ask(upload(form()))).status == 200
    body = worker.requests[0].body
    assert body.startswith(
        b"------x'y\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\ntheirs\r\n------x'y\r\n"
    )
    assert body.endswith(form())


@pytest.mark.parametrize("path", ["audio/speech", "images/generations", "images/edits"])
async def test_json_goes_on_with_the_name_of_the_server(both: tuple[Gate, ScriptedWorker], path: str) -> None:
    gate, worker = both
    body = {"model": "m", "input": "hi", "voice": "alloy", "speed": 1.5}
    assert (await gate.ask(request(body, path=f"/v1/{path}"))).status == 200
    assert worker.requests[0].json == {**body, "model": "theirs"}


async def test_sound_arrives_as_it_comes(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    began, head = b"\xff\xfb\x00{", SSE_HEAD.replace(b"text/event-stream", b"audio/mpeg")

    class Speaking(Held):
        async def __call__(self, peer: Any, received: Any) -> None:
            await peer.send(head + chunk(began))
            await self.let_go.wait()
            await peer.send(chunk(b"more") + b"0\r\n\r\n")

    speaking = Speaking()
    worker.script.append(speaking)
    async with gate.client() as client:
        await client.send(request({"model": "m", "input": "hi", "voice": "x"}, path="/v1/audio/speech"))
        status, headers = await client.head()
        assert (status, dict(headers)["content-type"]) == (200, "audio/mpeg")
        pieces = client.chunks()
        assert await anext(pieces) == began
        speaking.let_go.set()
        assert b"".join([piece async for piece in pieces]) == b"more"
    worker.script.append(reply(b"\x00" * 3_000_000, kind=b"audio/wav"))
    answer = await gate.ask(request({"model": "m", "input": "hi"}, path="/v1/audio/speech"))
    assert (answer.body, answer.header("content-length")) == (b"\x00" * 3_000_000, "3000000")


async def test_sound_that_breaks_off_is_cut_and_who_leaves_ends_it(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    cut = message(b"\x00" * 100, kind=b"audio/wav")[:-50]
    worker.script.append(raw(cut, close=True))
    async with gate.client() as client:
        await client.send(request({"model": "m", "input": "hi"}, path="/v1/audio/speech"))
        await client.head()
        assert len(await client.rest()) < 100
    held = Held(b"data: x\n\n")
    worker.script.append(held)
    async with gate.client() as client:
        await client.send(request({"model": "m", "input": "hi"}, path="/v1/audio/speech"))
        await client.head()
        client.abort()
    assert held.peer is not None
    await held.peer.gone.wait()
    await until(lambda: not gate.gateway.dispatch.active)
    assert [row.outcome for row in await gate.rows()] == ["error", "cancelled"]


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        (reply(b'{"error":{"message":"no such voice"}}', 400), 400, "no such voice"),
        (reply(b'{"error":{"message":"no such voice","type":"invalid_request_error"}}'), 400, "no such voice"),
        (reply(b"", kind=b"audio/wav"), 502, "answered with status 200"),
        (reply(b"<html><title>Not Found</title>", 404), 502, "404"),
    ],
)
async def test_errors_are_told_as_ours(both: tuple[Gate, ScriptedWorker], answer: Any, status: int, says: str) -> None:
    gate, worker = both
    worker.usual = answer
    got = await gate.ask(request({"model": "m", "input": "hi"}, path="/v1/audio/speech"))
    assert (got.status, says in got.error["message"]) == (status, True)


async def test_another_model_of_the_role_takes_over() -> None:
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            worker.usual = reply(HEARD)
            models = {
                "gone": remote("http://127.0.0.1:9/v1", capabilities=["transcription"]),
                "there": remote(worker.url, capabilities=["transcription"]),
            }
            roles: dict[str, Any] = {"standard": ["gone"], "transcription": ["gone", "there"]}
            made = msgspec.structs.replace(config(models), roles=roles)
            async with running_gateway(made, Path(folder)) as gate:
                answer = await gate.ask(upload(form()))
                assert (answer.status, answer.header("x-rolecast-model")) == (200, "there")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"[]",
        b'{"model":"m"}',
        b"model=m",
        b"--x\r\n",
        b"--x\r\n\r\n",
        b"--x--\r\n",
        form(("model", b"m"))[:-8],
        form(("model", b"m"), ("model", b"m")),
        form(("model", b"m" * 513)),
        form(("model", b"\xff")),
        form(*[("a", b"b")] * 1001),
        form(("model", b"m")).replace(b"\r\n", b"\n"),
    ],
)
async def test_what_is_no_form_is_refused(both: tuple[Gate, ScriptedWorker], body: bytes) -> None:
    gate, worker = both
    answer = await gate.ask(upload(body))
    assert answer.status in (400, 422)
    assert not worker.requests


@pytest.mark.parametrize("path", ["audio/speech", "images/generations"])
@pytest.mark.parametrize("body", [b"", b"x", b"[]", b'{"model":3}', form(("model", b"m"))])
async def test_what_is_no_json_is_refused(both: tuple[Gate, ScriptedWorker], path: str, body: bytes) -> None:
    gate, worker = both
    assert (await gate.ask(request(body, path=f"/v1/{path}"))).status in (400, 422)
    assert not worker.requests


async def test_without_such_a_model_the_answer_says_how_to_configure_one() -> None:
    async with pair() as (gate, worker):
        for path, kind in (("audio/speech", "speech"), ("images/generations", "images")):
            answer = await gate.ask(request({"model": "tts-1", "input": "x"}, path=f"/v1/{path}"))
            assert (answer.status, answer.error["code"]) == (501, "not_offered")
            assert f"capabilities: [{kind}]" in answer.error["message"]
        assert (await gate.ask(upload(form(("model", b"whisper-1"))))).status == 501
        assert not worker.requests


async def test_only_models_that_can_are_asked(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, _ = both
    assert (await gate.ask(request({"model": "nope"}, path="/v1/audio/speech"))).status == 404
    assert (await gate.ask(request({"model": "m", "messages": [{"role": "user", "content": "x"}]}))).status == 400
    async with pair(limits=Limits(body=10000), model={"capabilities": KINDS}) as (small, _):  # type: ignore[arg-type]
        assert (await small.ask(upload(form(("model", b"m"))))).status == 413


def test_an_engine_that_knows_no_sound_is_not_configured_for_it() -> None:
    from rolecast.backends import table
    from rolecast.config.check import check

    for backend in ("llamacpp", "anthropic"):
        model = Model(backend=backend, source="file:x.gguf", capabilities=["speech"])
        told = [text for trail, text in check(config({"a": model}), table()) if trail[-1:] == ("capabilities",)]
        assert "does no speech" in told[0]


@given(st.binary(max_size=300), st.sampled_from([b"", b"--x\r\n", form(("model", b"m"))[:70]]))
def test_any_bytes_are_read_or_refused(body: bytes, start: bytes) -> None:
    entry = entries(Limits())[b"/v1/audio/transcriptions"]
    try:
        read = entry.read(start + body)
    except RolecastError:
        return
    assert read.upload is not None
    renamed = read.upload.renamed(read.body, "other")
    assert entry.read(renamed).asked == "other"


async def test_openais_client_reads_the_answers(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    url = f"http://127.0.0.1:{gate.port()}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as client:
        heard = await client.audio.transcriptions.create(model="m", file=("a.wav", FILE))
        assert heard.text == "hello"
        assert FILE in worker.requests[0].body
        worker.script.append(reply(b"\x01\x02", kind=b"audio/mpeg"))
        spoken = await client.audio.speech.create(model="m", voice="alloy", input="hi")
        assert spoken.content == b"\x01\x02"
        worker.script.append(reply(json.dumps({"created": 1, "data": [{"b64_json": "QUJD"}]}).encode()))
        painted = await client.images.generate(model="m", prompt="a cat")
        assert painted.data is not None
        assert painted.data[0].b64_json == "QUJD"
