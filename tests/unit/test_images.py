"""Images: what reaches the image server, what its answers become, and how each of its failures is told."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import (
    Gate,
    Received,
    ScriptedWorker,
    config,
    on_uvloop,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
)

from rolecast import backends
from rolecast.config.check import check
from rolecast.config.schema import IMAGES_MODEL, Config, Images, Model, Routing, Seconds
from rolecast.tasks.images import _read

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
CODED = base64.b64encode(PNG).decode()
URL = f"data:image/png;base64,{CODED}"


class Diffusiond:
    """An image server on a real socket, which answers with what a test says."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.status, self.kind, self.body = 200, "application/json", b"{}"
        self.silent = False
        self.port = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(line[15:]) for line in head.splitlines() if line.lower().startswith("content-length:"))
        self.requests.append((head.split("\r\n")[0], json.loads(await reader.readexactly(length))))
        if not self.silent:
            lines = f"HTTP/1.1 {self.status} X\r\ncontent-type: {self.kind}\r\ncontent-length: {len(self.body)}\r\n\r\n"
            writer.write(lines.encode() + self.body)
            await writer.drain()
        await reader.read()
        writer.close()

    async def __aenter__(self) -> "Diffusiond":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    def says(self, value: Any) -> None:
        self.body = json.dumps(value).encode()


@pytest.fixture(scope="module")
async def both() -> AsyncIterator[tuple[Gate, Diffusiond, ScriptedWorker]]:
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker, Diffusiond() as server:
            made = config({"m": remote(worker.url)})
            images = Images(url=f"http://127.0.0.1:{server.port}", timeout=Seconds(0.5))
            made = msgspec.structs.replace(made, images=images, routing=Routing(default="m"))
            async with running_gateway(made, Path(folder)) as gate:
                yield gate, server, worker


@pytest.fixture
def gate(both: tuple[Gate, Diffusiond, ScriptedWorker]) -> Gate:
    return both[0]


@pytest.fixture
def server(both: tuple[Gate, Diffusiond, ScriptedWorker]) -> Diffusiond:
    both[1].__init__()  # type: ignore[misc]  # as new, on the same port
    both[1].says({"images": [CODED]})
    both[2].reset()
    return both[1]


def asked(**body: Any) -> bytes:
    return request({"prompt": "a red cat", "category": "image_generation"} | body, path="/conductor/generate")


async def test_the_prompt_and_every_option_reach_the_server(gate: Gate, server: Diffusiond) -> None:
    options = {"width": 256, "steps": 20, "sampler": "euler", "negative_prompt": "blur", "deep": {"a": [1]}, "seed": 7}
    answer = await gate.ask(asked(extra_params=options, guidance_scale=7.5))
    assert answer.status == 200, answer.body
    line, body = server.requests[0]
    assert line == "POST /generate HTTP/1.1"
    assert body == {"prompt": "a red cat", "guidance_scale": 7.5, **options}
    said = answer.json
    assert (said["category"], said["model"]) == ("image_generation", IMAGES_MODEL)
    assert (said["response"], said["metadata"]["images"]) == (URL, [URL])
    row = (await gate.rows())[-1]
    assert (row.model, row.status, row.outcome) == (IMAGES_MODEL, 200, "ok")


async def test_a_size_is_said_in_the_words_of_both(gate: Gate, server: Diffusiond) -> None:
    await gate.ask(asked(size="320x200"))
    body = server.requests[0][1]
    assert (body["width"], body["height"], body["size"]) == (320, 200, "320x200")


async def test_no_address_of_a_request_is_ever_asked(gate: Gate, server: Diffusiond) -> None:
    other = "http://127.0.0.1:1/generate"
    answer = await gate.ask(asked(url=other, diffusiond_url=other, images={"url": other}))
    assert answer.status == 200
    assert len(server.requests) == 1


async def test_a_stream_ends_with_the_images(gate: Gate, server: Diffusiond) -> None:
    body = {"prompt": "a cat", "category": "image_generation", "stream": True}
    answer = await gate.ask(request(body, path="/generate/stream"))
    events = [json.loads(line[6:]) for line in answer.body.decode().splitlines() if line]
    assert events[0]["chunk"] == URL
    assert events[-1] == {"done": True, "metadata": {"images": [URL]}}


async def test_an_image_as_it_is_becomes_a_data_url(gate: Gate, server: Diffusiond) -> None:
    server.kind, server.body = "image/png; charset=binary", PNG
    assert (await gate.ask(asked())).json["metadata"]["images"] == [URL]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"images": [CODED, CODED]}, [URL, URL]),
        ({"image": CODED}, [URL]),
        ({"data": [{"b64_json": CODED}, {"url": "https://x.org/1.png"}]}, [URL, "https://x.org/1.png"]),
        ({"output": "https://x.org/1.png"}, ["https://x.org/1.png"]),
        ({"url": "/outputs/1.png", "status": "ok"}, ["/outputs/1.png"]),
        ({"image_path": "out/1.png"}, ["out/1.png"]),
        ([URL], [URL]),
        ({"images": [], "image": CODED}, [URL]),
        ({"images": [None, 3, [[]]]}, []),
        ({}, []),
        (None, []),
        ({"data": {"data": {"data": {}}}}, []),
    ],
)
def test_images_are_found_under_the_names_that_servers_use(value: Any, found: list[str]) -> None:
    assert list(_read(json.dumps(value).encode(), "application/json")) == found


@pytest.mark.parametrize("body", [b"", b"not json", b"[" * 5000, b"\xff"])
async def test_an_answer_without_an_image_is_502(gate: Gate, server: Diffusiond, body: bytes) -> None:
    server.body = body
    answer = await gate.ask(asked())
    assert answer.status == 502
    assert "without an image" in answer.error["message"]


@pytest.mark.parametrize(
    ("status", "told"), [(400, 400), (422, 400), (401, 502), (404, 502), (500, 502), (503, 502), (504, 504), (302, 502)]
)
async def test_what_fails_there_is_told_without_its_words(
    gate: Gate, server: Diffusiond, status: int, told: int
) -> None:
    server.status = status
    server.says({"detail": "the prompt 'a red cat' is bad"})
    answer = await gate.ask(asked())
    assert answer.status == told
    assert str(status) in answer.error["message"]
    assert "red cat" not in answer.body.decode()


async def test_a_silent_server_is_504_within_the_time_of_the_setting(gate: Gate, server: Diffusiond) -> None:
    server.silent = True
    async with asyncio.timeout(5):
        answer = await gate.ask(asked())
    assert answer.status == 504
    assert "0.5 s" in answer.error["message"]


async def test_a_prompt_that_says_nothing_and_options_without_end_are_refused(gate: Gate, server: Diffusiond) -> None:
    assert (await gate.ask(asked(prompt=" "))).status == 400
    assert (await gate.ask(asked(extra_params={"junk": "x" * 100_000}))).status == 400
    assert server.requests == []


async def test_categories_list_it_once_somebody_makes_images(gate: Gate, server: Diffusiond) -> None:
    answer = await gate.ask(request(path="/categories", method="GET"), method="GET")
    assert "image_generation" in answer.json["categories"]


async def test_a_server_that_is_gone_is_502_and_says_what_to_do() -> None:
    with short_folder() as folder:
        async with Diffusiond() as gone:
            port = gone.port
        made = config({"m": Model(backend="fake")})
        made = msgspec.structs.replace(made, images=Images(url=f"http://127.0.0.1:{port}"))
        async with running_gateway(made, Path(folder)) as gate:
            answer = await gate.ask(asked())
    assert answer.status == 502
    assert "start it" in answer.error["message"]


async def test_without_a_server_the_error_says_what_to_configure() -> None:
    with short_folder() as folder:
        async with running_gateway(config({"m": Model(backend="fake")}), Path(folder)) as gate:
            answer = await gate.ask(asked())
    assert answer.status == 400
    assert "images.url" in answer.error["message"]


async def test_a_model_with_openais_api_is_asked_in_its_words() -> None:
    async with ScriptedWorker().listening() as worker:
        worker.usual = reply(json.dumps({"data": [{"b64_json": CODED}]}).encode())
        painter = remote(worker.url, capabilities=["images"], remote_model="sd-xl")
        made = config({"m": Model(backend="fake"), "painter": painter})
        made = msgspec.structs.replace(made, roles={**made.roles, "image_generation": ["painter"]})
        with short_folder() as folder:
            async with running_gateway(made, Path(folder)) as gate:
                answer = await gate.ask(asked(width=64, height=32, n=2))
    received: Received = worker.requests[0]
    assert received.line == "POST /v1/images/generations HTTP/1.1"
    assert received.json == {"prompt": "a red cat", "model": "sd-xl", "size": "64x32", "n": 2}
    assert (answer.json["response"], answer.json["model"]) == (URL, "painter")


async def test_a_language_model_in_the_role_answers_in_words_and_claims_no_image() -> None:
    with short_folder() as folder:
        made = config({"m": Model(backend="fake")})
        made = msgspec.structs.replace(made, roles={**made.roles, "image_generation": ["m"]})
        async with running_gateway(made, Path(folder)) as gate:
            answer = await gate.ask(asked())
    assert answer.status == 200
    assert answer.json["metadata"]["images"] == []
    assert answer.json["response"]


def test_the_section_makes_a_model_and_a_role_unless_there_are_some() -> None:
    made = Config(images=Images(url="http://h:1"))
    assert made.models[IMAGES_MODEL].capabilities == ["images"]
    assert made.roles["image_generation"] == [IMAGES_MODEL]
    own = Config(images=Images(url="http://h:1"), models={"p": Model()}, roles={"image_generation": ["p"]})
    assert own.roles["image_generation"] == ["p"]
    assert Config().models == {}


@pytest.mark.parametrize("url", ["ftp://x", "h:1", "http://u:p@h", "http://h?x=1", "http://h h"])
def test_a_bad_address_is_told_where_it_was_written(url: str) -> None:
    found = check(Config(images=Images(url=url)), backends.table())
    assert [trail for trail, _ in found if trail[0] in ("images", "models")] == [("images", "url")]
    good = check(Config(images=Images(url="http://h:1")), backends.table())
    assert not [trail for trail, _ in good if trail[0] in ("images", "models")]


def test_a_time_that_is_none_is_told_there_too() -> None:
    found = check(Config(images=Images(url="http://h:1", timeout=Seconds(0))), backends.table())
    assert ("images", "timeout") in [trail for trail, _ in found]
