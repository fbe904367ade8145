"""The process that parses: HTTP on the unix socket that is its argument, one thread for each connection.

`POST /parse` with `{"code", "language"}` answers a `Found`. It writes nothing of what it reads anywhere.
"""

import resource
import sys
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingUnixStreamServer
from typing import Any

import msgspec

from rolecast.processes.lifeline import end_with_gateway
from rolecast.syntax.parsers import parse

MEMORY = 1024**3
"""Bytes that it may map; then it falls over, and is started again."""


class Asked(msgspec.Struct):
    code: str
    language: str


_decode = msgspec.json.Decoder(Asked).decode


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(b"{}")

    def do_POST(self) -> None:
        asked = _decode(self.rfile.read(int(self.headers["content-length"])))
        self._answer(msgspec.json.encode(parse(asked.code, asked.language)))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is http.server's
        """Requests are not logged."""


class _Server(ThreadingUnixStreamServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks off, or a parser that ran out of memory: its text is in no log."""
        print(f"a request failed: {type(sys.exception()).__name__}", file=sys.stderr)  # noqa: T201


def main() -> None:
    """Serve until the gateway ends."""
    end_with_gateway()
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with _Server(sys.argv[1], _Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
