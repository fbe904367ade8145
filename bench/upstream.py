#!/usr/bin/env python3
"""Fake OpenAI-compatible model server for measuring gateways.

    upstream.py --port 9001 --paced-port 9002 --interval-us 5000 [--unix /tmp/up.sock]
                [--ttft-us 0] [--events 128] [--keepalive-max 0]

POST (any path): a chat completion of 537 bytes with usage, or, when the body has "stream": true, an SSE
stream of "max_tokens" (default --events) chunks of ~215 bytes, a final chunk with usage, and [DONE]; to a path that
ends in /messages it streams as Anthropic's servers do.
--port and --unix answer at once; on --paced-port the first event (or the JSON answer) comes after
--ttft-us and the others --interval-us apart. GET /stats counts requests, streams, finished and aborted
streams, and events sent ("aborted" tells whether a gateway passes client disconnects on).
--keepalive-max N closes each connection after N requests, as llama-server does after 100.

Compiles upstream.c next to this file with cc and becomes that program (about 4 us of CPU a request);
without a compiler, or with --python, serves the same from asyncio (uvloop when installed; 5x the CPU).
"""

import argparse
import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import asking


def native(argv):
    """Replace this process by the compiled server, if there is a compiler."""
    source, cc = Path(__file__).with_suffix(".c"), shutil.which("cc") or shutil.which("gcc")
    if not cc or not source.exists():
        print("upstream: no C compiler, serving from Python (5x the CPU)", file=sys.stderr)
        return
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    binary = source.parent / ".env" / f"upstream-{digest}"
    if not binary.exists():
        binary.parent.mkdir(exist_ok=True)
        partial = f"{binary}.{os.getpid()}"
        subprocess.run([cc, "-O2", "-o", partial, str(source)], check=True)
        os.replace(partial, binary)
    os.execv(binary, [str(binary), *argv])


STATS = {"requests": 0, "streams": 0, "finished": 0, "aborted": 0, "events": 0}
TEXT = (
    "The capital of France is Paris. It lies on the Seine in the north of the country and has been the "
    "seat of government for most of the time since the tenth century."
)
ANSWER = json.dumps(
    {
        "choices": [{"finish_reason": "stop", "index": 0, "message": {"role": "assistant", "content": TEXT}}],
        "created": 1760000000,
        "model": "fake",
        "system_fingerprint": "b0-fake",
        "object": "chat.completion",
        "usage": {"completion_tokens": 34, "prompt_tokens": 31, "total_tokens": 65},
        "id": "chatcmpl-fake0123456789abcdef",
        "timings": {"prompt_n": 31, "prompt_ms": 12.5, "predicted_n": 34, "predicted_ms": 250.25},
    },
    separators=(",", ":"),
).encode()


def chunk(text):
    return b"%x\r\n%b\r\n" % (len(text), text)


class Connection(asyncio.Protocol):
    def __init__(self, args, paced):
        self.args, self.paced, self.buffer, self.task, self.served = args, paced, b"", None, 0

    def connection_made(self, transport):
        self.transport = transport
        self.room = asyncio.Event()
        self.room.set()

    def pause_writing(self):
        self.room.clear()

    def resume_writing(self):
        self.room.set()

    def connection_lost(self, exc):
        if self.task:
            self.task.cancel()
            STATS["aborted"] += 1

    def data_received(self, data):
        self.buffer += data
        self.serve()

    def serve(self):
        while self.task is None:
            head, sep, rest = self.buffer.partition(b"\r\n\r\n")
            if not sep:
                return
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")),
                0,
            )
            if len(rest) < length:
                return
            body, self.buffer = rest[:length], rest[length:]
            STATS["requests"] += 1
            self.served += 1
            self.close = (
                b"Connection: close\r\n" if self.args.keepalive_max and self.served >= self.args.keepalive_max else b""
            )
            if head.startswith(b"GET"):
                self.answer(json.dumps(STATS if b"/stats " in head[:12] else {"status": "ok"}).encode())
                continue
            fields = json.loads(body or b"{}")
            fields["worker"] = "anthropic" if b"/messages " in head.partition(b"\r\n")[0] else "openai"
            if fields.get("stream") or self.paced:
                self.task = asyncio.get_running_loop().create_task(self.later(fields))
            else:
                self.answer(ANSWER)

    def answer(self, body):
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nServer: fake\r\nContent-Type: application/json\r\n"
            b"%bContent-Length: %d\r\n\r\n%b" % (self.close, len(body), body)
        )
        if self.close:
            self.transport.close()

    async def later(self, fields):
        loop, write, n = (
            asyncio.get_running_loop(),
            self.transport.write,
            fields.get("max_tokens") or self.args.events,
        )
        due = loop.time() + self.args.ttft_us / 1e6
        if fields.get("stream"):
            STATS["streams"] += 1
            before, pieces, last = asking.said(fields["worker"], 100, told=n)
            pieces = [chunk(piece) for piece in pieces]
            write(
                b"HTTP/1.1 200 OK\r\nServer: fake\r\nContent-Type: text/event-stream\r\n"
                b"%bTransfer-Encoding: chunked\r\n\r\n" % self.close
            )
            if before:
                write(chunk(before))
            for i in range(n):
                if self.paced:
                    await asyncio.sleep(max(0, due - loop.time()))
                    due += self.args.interval_us / 1e6
                elif not self.room.is_set():
                    await self.room.wait()
                write(pieces[i % 100])
                STATS["events"] += 1
            if self.paced:
                await asyncio.sleep(max(0, due - loop.time()))
            write(chunk(last) + b"0\r\n\r\n")
            STATS["finished"] += 1
            if self.close:
                self.transport.close()
        else:
            await asyncio.sleep(max(0, due - loop.time()))
            self.answer(ANSWER)
        self.task = None
        self.serve()


async def serve(args):
    loop = asyncio.get_running_loop()
    for port, paced in ((args.port, False), (args.paced_port, True)):
        if port:
            await loop.create_server(lambda paced=paced: Connection(args, paced), "127.0.0.1", port, backlog=1024)
    if args.unix:
        Path(args.unix).unlink(missing_ok=True)
        await loop.create_unix_server(lambda: Connection(args, False), args.unix, backlog=1024)
    await asyncio.Event().wait()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("port", "paced-port", "interval-us", "ttft-us", "events", "keepalive-max"):
        p.add_argument("--" + name, type=int, default={"interval-us": 5000, "events": 128}.get(name, 0))
    p.add_argument("--unix")
    p.add_argument("--python", action="store_true", help="do not use upstream.c")
    args = p.parse_args()
    if not args.python:
        given = {"--" + k.replace("_", "-"): v for k, v in vars(args).items() if k != "python" and v}
        native([str(x) for pair in given.items() for x in pair])
    try:
        import uvloop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    except ImportError:
        runner = asyncio.Runner()
    with runner:
        runner.run(serve(args))


if __name__ == "__main__":
    main()
