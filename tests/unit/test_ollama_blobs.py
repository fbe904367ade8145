"""Files of weights that clients bring: streamed to the disk, checked, and there whole or not at all."""

import asyncio
import hashlib
import os
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import CHAT, Answer, Gate, chat, config, on_uvloop, request, running_gateway, until
from hf_server import gguf_file, text

from rolecast.config.schema import Limits, Listener, Model
from rolecast.sources import store

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop
TENSOR = text("w") + struct.pack("<IQIQ", 1, 256, 0, 0)
TEMPLATE = ("tokenizer.chat_template", 8, text("{{ messages }}"))
WEIGHTS = gguf_file(TEMPLATE, tensors=TENSOR, count=1, data=bytes(1024))
MIB = 1024**2


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@asynccontextmanager
async def door(folder: Path, **limits: Any) -> AsyncIterator[Gate]:
    asked = msgspec.convert({key: int(value) for key, value in limits.items()}, Limits, dec_hook=lambda k, v: k(v))
    listeners = [Listener(port=0, name="one", model="f")]
    async with running_gateway(config({"f": Model(backend="fake")}, limits=asked, listeners=listeners), folder) as gate:
        yield gate


async def bring(gate: Gate, data: bytes, name: str = "", listener: str = "front door") -> Answer:
    return await gate.ask(request(data, path=f"/api/blobs/{name or digest(data)}"), listener)


async def is_here(gate: Gate, name: str) -> int:
    return (await gate.ask(request(None, path=f"/api/blobs/{name}", method="HEAD"), method="HEAD")).status


async def post(gate: Gate, path: str, method: str = "POST", **body: Any) -> Answer:
    return await gate.ask(request(body, path=path, method=method), method=method)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "models" / "uploads").glob("*"))


async def test_a_file_is_kept_by_its_hash_and_looked_for_by_it(tmp_path: Path) -> None:
    async with door(tmp_path) as gate:
        assert await is_here(gate, digest(WEIGHTS)) == 404
        assert (await bring(gate, WEIGHTS)).status == 201
        assert await is_here(gate, digest(WEIGHTS)) == 200
        assert (await bring(gate, WEIGHTS)).status == 200
        assert files(tmp_path) == [f"{digest(WEIGHTS).replace(':', '-')}.gguf"]


async def test_a_file_may_be_larger_than_any_other_body(tmp_path: Path) -> None:
    data = os.urandom(3 * MIB)
    async with door(tmp_path, body=MIB, upload=4 * MIB) as gate:
        assert (await bring(gate, data)).status == 201
        pieces = b"".join(b"%x\r\n%b\r\n" % (MIB, data[i : i + MIB]) for i in range(0, 3 * MIB, MIB))
        other = os.urandom(MIB) + data[MIB:]
        head = f"POST /api/blobs/{digest(other)} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunked = b"%x\r\n%b\r\n" % (MIB, other[:MIB]) + pieces[pieces.index(data[MIB : MIB + 64]) - 8 :]
        assert (await gate.ask(head.encode() + chunked + b"0\r\n\r\n")).status == 201
        for path in ("/api/create", "/api/show", "/v1/chat/completions", "/admin/jobs"):
            assert (await gate.ask(request(data, path=path))).status == 413
        assert (await bring(gate, data, listener="one")).status == 413
        assert (await bring(gate, data * 2)).status == 413
        assert len(files(tmp_path)) == 2


async def test_what_is_not_what_it_says_leaves_nothing(tmp_path: Path) -> None:
    async with door(tmp_path, upload=MIB) as gate:
        wrong = await bring(gate, b"other", digest(WEIGHTS))
        assert (wrong.status, "was said" in wrong.json["error"]) == (400, True)
        assert (await bring(gate, b"x" * (MIB + 1))).status == 413
        for name in ("sha256:0", "md5:x", "sha256:" + "G" * 64, "..%2f..%2fx", "sha256:" + "A" * 64):
            assert (await bring(gate, b"x", name)).status in (400, 404)
            assert await is_here(gate, name) in (400, 404)
        assert files(tmp_path) == []
    async with door(tmp_path, upload=0) as gate:
        assert (await bring(gate, b"x")).status == 413


async def test_who_leaves_before_the_end_leaves_nothing(tmp_path: Path) -> None:
    async with door(tmp_path) as gate:
        async with gate.client() as client:
            head = f"POST /api/blobs/{digest(WEIGHTS)} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n"
            await client.send(head.encode() + b"x" * (2 * MIB))
            await until(lambda: any(name.endswith(".part") for name in files(tmp_path)))
            client.abort()
        await until(lambda: files(tmp_path) == [])


async def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with door(tmp_path) as gate:
        monkeypatch.setattr(store, "ROOM", 1e12)
        full = await bring(gate, WEIGHTS)
        assert (full.status, "storage.models" in full.json["error"]) == (507, True)
        assert files(tmp_path) == []


async def test_what_a_killed_gateway_left_is_swept_away(tmp_path: Path) -> None:
    async with door(tmp_path) as gate:
        await bring(gate, b"x")
        old, new = (tmp_path / "models" / "uploads" / name for name in ("a.part", "b.part"))
        for part in (old, new):
            part.write_bytes(b"x")
        os.utime(old, (time.time() - 7200,) * 2)
        await bring(gate, b"y")
        assert [old.exists(), new.exists()] == [False, True]


async def test_a_model_is_made_of_a_file_and_goes_with_its_last_variant(tmp_path: Path) -> None:
    name = f"weights-{hashlib.sha256(WEIGHTS).hexdigest()[:16]}"
    async with door(tmp_path) as gate:
        await bring(gate, WEIGHTS)
        created = {"files": {"mine.gguf": digest(WEIGHTS)}, "stream": False}
        assert (await post(gate, "/api/create", model="mine", system="S", **created)).json == {"status": "success"}
        assert (await post(gate, "/api/create", model="other", **{"from": "mine"}, stream=False)).status == 200
        shown = (await post(gate, "/api/show", model="mine")).json
        assert (shown["system"], shown["details"]["parent_model"]) == ("S", name)
        assert shown["template"] == "{{ messages }}"
        same = {**created, "template": "{{ messages }}"}
        assert (await post(gate, "/api/create", model="third", **same)).status == 200
        assert (await post(gate, "/api/create", model="third", **{**created, "template": "{{ .X }}"})).status == 400
    async with door(tmp_path) as gate:
        listed = {
            entry["name"] for entry in (await gate.ask(request(None, path="/api/tags", method="GET"))).json["models"]
        }
        assert {"mine:latest", "other:latest", f"{name}:latest"} <= listed
        for model in ("mine", "third"):
            assert (await post(gate, "/api/delete", "DELETE", model=model)).status == 200
            assert len(files(tmp_path)) == 1
        assert (await post(gate, "/api/create", model="other", **{"from": "f"}, stream=False)).status == 200
        assert files(tmp_path) == []
        assert (await post(gate, "/api/show", model=name)).status == 404


async def test_weights_that_went_are_told(tmp_path: Path) -> None:
    async with door(tmp_path) as gate:
        await bring(gate, WEIGHTS)
        await post(gate, "/api/create", model="mine", files={"m": digest(WEIGHTS)}, stream=False)
    (tmp_path / "models" / "uploads" / files(tmp_path)[0]).unlink()
    async with door(tmp_path) as gate:
        gone = await gate.ask(request(chat(model="mine"), path=CHAT))
        assert (gone.status, "make it again" in gone.error["message"]) == (404, True)
        await bring(gate, WEIGHTS)
        assert (await post(gate, "/api/create", model="mine", files={"m": digest(WEIGHTS)}, stream=False)).status == 200


@pytest.mark.parametrize(
    "data", [b"no model", b"GGUF", b"GGUF" + bytes(100), gguf_file(("general.type", 8, text("mmproj")))]
)
async def test_a_file_that_is_no_model_makes_none(tmp_path: Path, data: bytes) -> None:
    async with door(tmp_path) as gate:
        assert (await bring(gate, data)).status == 201
        refused = await post(gate, "/api/create", model="mine", files={"m.gguf": digest(data)})
        assert (refused.status, "no model" in refused.json["error"]) == (400, True), refused.json


async def test_only_who_has_the_key_brings_files(tmp_path: Path) -> None:
    async with running_gateway(config({"f": Model(backend="fake")}, keys=["k"]), tmp_path) as gate:
        path = f"/api/blobs/{digest(WEIGHTS)}"
        assert (await gate.ask(request(WEIGHTS, path=path))).status == 401
        head = "Authorization: Bearer k\r\n"
        foreign = f"{head}Origin: https://evil.example\r\n"
        assert (await gate.ask(request(WEIGHTS, path=path, head=foreign))).status == 403
        assert files(tmp_path) == []
        assert (await gate.ask(request(WEIGHTS, path=path, head=head))).status == 201


async def test_two_who_bring_the_same_both_succeed(tmp_path: Path) -> None:
    data = os.urandom(MIB)
    async with door(tmp_path) as gate:
        answers = await asyncio.gather(*(bring(gate, data) for _ in range(8)))
        assert {answer.status for answer in answers} <= {200, 201}
        assert len(files(tmp_path)) == 1
