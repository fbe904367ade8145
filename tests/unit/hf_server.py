"""A small Hugging Face hub on loopback: file tree, resolve with a redirect to a second server, and faults.

The second server stands for the content network: it has another port, so it is another origin.
"""

import hashlib
import json
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from rolecast.sources import fetch


def gguf_file(*settings: tuple[str, int, bytes], tensors: bytes = b"", count: int = 0, data: bytes = b"") -> bytes:
    """A GGUF file of the given settings (key, type, encoded value), after the ones every model needs."""
    every = (
        ("general.architecture", 8, text("llama")),
        ("llama.block_count", 4, struct.pack("<I", 2)),
        *settings,
    )
    head = b"GGUF" + struct.pack("<IQQ", 3, count, len(every))
    head += b"".join(text(key) + struct.pack("<I", kind) + value for key, kind, value in every) + tensors
    return head + bytes(-len(head) % 32) + data


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def weights(kilobytes: int, fill: int = 1) -> bytes:
    """A GGUF with one f32 tensor of that size."""
    elements = kilobytes * 256
    tensor = text("w") + struct.pack("<IQIQ", 1, elements, 0, 0)
    return gguf_file(tensors=tensor, count=1, data=bytes([fill]) * (elements * 4))


@contextmanager
def reached(hub: "Hub", monkeypatch: pytest.MonkeyPatch, home: Path) -> "Iterator[Hub]":
    """While the block runs this hub is asked, at once again after a fault, and nothing of the user's is read."""
    monkeypatch.setattr(fetch, "BACKOFF_S", (0.0, 0.0, 0.0))
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(home / "hf-home"))
    monkeypatch.setenv("HOME", str(home))
    with closing(hub):
        yield hub


class Hub:
    """One repository, its files, the requests it saw, and the faults to play, each used up once."""

    def __init__(self, repo: str, files: dict[str, bytes]) -> None:
        self.repo, self.files = repo, files
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.statuses: list[int] = []  # answers of the hub, before it behaves
        self.blob_statuses: list[int] = []
        self.drops: list[int] = []  # bytes after which the content server cuts the line
        self.token = ""  # needed when set
        self.sizes: dict[str, int] = {}  # sizes the tree claims
        self.page = 1000
        self.corrupt = self.ignore_range = self.shift_range = self.gzip = self.plain = False
        self.etag = '"v1"'
        self.redirect = ""
        self.hold: threading.Event | None = None  # the content server sends half of a file, and the rest when it is set
        self.holding = threading.Event()
        self.next_page = ""  # host of the next page of the list, when it is another one
        self._servers = [_serve(self, _Front), _serve(self, _Content)]
        self.url, self.content = (f"http://127.0.0.1:{s.server_address[1]}" for s in self._servers)

    def close(self) -> None:
        if self.hold is not None:
            self.hold.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def blobs(self) -> list[dict[str, str]]:
        """Headers of the requests the content server saw."""
        return [headers for place, _, headers in self.seen if place == "content"]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    place = ""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def note(self) -> str:
        path = unquote(urlsplit(self.path).path)
        self.hub.seen.append((self.place, path, {k.lower(): v for k, v in self.headers.items()}))
        return path

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Front(_Handler):
    place = "hub"

    def do_GET(self) -> None:
        path, hub = self.note(), self.hub
        if hub.statuses:
            return self.reply(hub.statuses.pop(0))
        if hub.token and self.headers.get("authorization") != f"Bearer {hub.token}":
            return self.reply(401)
        if path.startswith(f"/api/models/{hub.repo}/tree/"):
            return self._tree()
        file = path.removeprefix(f"/{hub.repo}/resolve/").partition("/")[2]
        if file not in hub.files:
            return self.reply(404)
        where = hub.redirect or f"{hub.content}/{file}?signature=secret"
        digest = hashlib.sha256(hub.files[file]).hexdigest()
        return self.reply(302, Location=where, X_Linked_ETag=f'"{digest}"', X_Linked_Size=str(len(hub.files[file])))

    def _tree(self) -> None:
        hub = self.hub
        start = int(parse_qs(urlsplit(self.path).query).get("cursor", ["0"])[0])
        entries = [self._entry(name) for name in sorted(hub.files)]
        link = {}
        if start + hub.page < len(entries):
            address = f"{hub.next_page or hub.url}/api/models/{hub.repo}/tree/main?recursive=true"
            link = {"Link": f'<{address}&cursor={start + hub.page}>; rel="next"'}
        self.reply(200, json.dumps(entries[start : start + hub.page]).encode(), **link)

    def _entry(self, name: str) -> dict[str, Any]:
        body = self.hub.files[name]
        size = self.hub.sizes.get(name, len(body))
        lfs = {"oid": hashlib.sha256(body).hexdigest(), "size": size}
        return {"type": "file", "path": name, "size": size, "oid": "0" * 40} | ({} if self.hub.plain else {"lfs": lfs})


class _Content(_Handler):
    place = "content"

    def do_GET(self) -> None:
        path, hub = self.note(), self.hub
        if hub.blob_statuses:
            return self.reply(hub.blob_statuses.pop(0))
        body = hub.files[path.removeprefix("/")]
        if hub.corrupt:
            body = body[:-1] + bytes([body[-1] ^ 1])
        asked, start = self.headers.get("range", ""), 0
        if asked and not hub.ignore_range and self.headers.get("if-range", hub.etag) == hub.etag:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
        return self._send(body, start)

    def _send(self, body: bytes, start: int) -> None:
        hub, end = self.hub, len(body)
        self.send_response(206 if start else 200)
        if start:
            stated = start + 1 if hub.shift_range else start
            self.send_header("Content-Range", f"bytes {stated}-{end - 1}/{end}")
        if hub.gzip:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("ETag", hub.etag)
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        stop = start + hub.drops.pop(0) if hub.drops else end
        if hub.hold is not None:
            half = (start + stop) // 2
            self.wfile.write(body[start:half])
            self.wfile.flush()
            start = half
            hub.holding.set()
            hub.hold.wait(60)
        self.wfile.write(body[start:stop])
        self.close_connection = stop < end


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may hang up when it has seen enough
            super().handle_error(request, client_address)


def _serve(hub: Hub, kind: type[_Handler]) -> ThreadingHTTPServer:
    server = _Server(("127.0.0.1", 0), type(kind.__name__, (kind,), {"hub": hub}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server
