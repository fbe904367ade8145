"""A server with one thread: while it answers somebody, nobody else is answered, and no health check either.

`lone_server.py PORT FOLDER`. A request whose text starts with `write` gets a word every tenth of a second, one that
starts with `read` is computed for before its first byte; each for as many seconds as it says. One that
starts with `die` ends the process, and what it started in a session of its own stays. While the folder has a file
`unwell`, health checks are answered with 503.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[2])


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass

    def head(self, status: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.end_headers()

    def event(self, delta: dict[str, str], reason: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        body = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        self.wfile.write(f"data: {json.dumps(body)}\n\n".encode())

    def do_GET(self) -> None:
        unwell = (FOLDER / "unwell").exists()
        self.head(503 if unwell else 200, "application/json")
        self.wfile.write(b"{}")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        what, _, seconds = asked["messages"][-1]["content"].partition(" ")
        if what == "die":
            child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
            (FOLDER / "left").write_text(str(child.pid))
            os._exit(1)
        until = time.monotonic() + float(seconds or 0)
        while what == "read" and time.monotonic() < until:
            hashlib.sha256(bytes(1 << 20))
        self.head(200, "text/event-stream")
        while what == "write" and time.monotonic() < until:
            self.event({"content": "word "})
            time.sleep(0.1)
        self.event({"content": f"pid {os.getpid()}"}, "stop")
        self.wfile.write(b"data: [DONE]\n\n")


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
