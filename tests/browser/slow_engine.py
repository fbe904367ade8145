#!/usr/bin/env python3
"""A llama-server that takes its time: answers 503 while it loads, until a file named `loaded` lies beside its weights.

Takes the options of a llama-server that matter here: `--model FILE` and `--host SOCKET`. Holds some memory, as weights
would, and prints a line for each step.
"""

import http.server
import socketserver
import sys
from pathlib import Path

HELD_BYTES = 24 << 20


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    done: Path

    def do_GET(self) -> None:
        ready = self.done.exists()
        body = b'{"status":"ok"}' if ready else b'{"error":{"code":503,"message":"Loading model"}}'
        self.send_response(200 if ready else 503)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "gateway"

    def log_message(self, *said: object) -> None:
        pass


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def main() -> None:
    options = dict(zip(sys.argv[1:-1], sys.argv[2:], strict=True))
    Handler.done = Path(options["--model"]).with_name("loaded")
    held = bytearray(b"x") * HELD_BYTES
    print(f"slow engine: holding {len(held)} bytes", flush=True)
    with Server(options["--host"], Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
