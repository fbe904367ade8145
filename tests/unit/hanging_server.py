"""A server whose health check is answered by another thread than the one that generates, which can hang.

`hanging_server.py PORT FOLDER`. A file in the folder says how, and is taken away by the process that heeds it, so that
the next one is well: `hang` = every request from then on waits for ever; `spin` = the same, while it computes; `fail` =
every request fails. A request whose text starts with `slow` waits for ever in any case, one that starts with
`impossible` fails. All others are answered with one word, `pid PID`.
"""

import hashlib
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[2])
NEVER = threading.Event()
STUCK = threading.Event()
FAILS = threading.Event()


def heed() -> None:
    """Become stuck, if that is asked for."""
    for name in ("hang", "spin", "fail"):
        try:
            (FOLDER / name).rename(FOLDER / f"{name}-{os.getpid()}")
        except FileNotFoundError:
            continue
        (FAILS if name == "fail" else STUCK).set()
        if name == "spin":
            threading.Thread(target=compute, daemon=True).start()


def compute() -> None:
    """Keep a processor busy, and leave the interpreter to those who answer."""
    block = bytes(1 << 22)
    while True:
        hashlib.sha256(block)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, body: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.answer({"status": "ok"})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        heed()
        if STUCK.is_set() or asked["messages"][-1]["content"].startswith("slow"):
            NEVER.wait()
        if FAILS.is_set() or asked["messages"][-1]["content"].startswith("impossible"):
            self.answer({"error": {"message": "CUDA error: an illegal memory access was encountered"}}, 500)
            return
        message = {"role": "assistant", "content": f"pid {os.getpid()}"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        self.answer(
            {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
        )


if __name__ == "__main__":
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
