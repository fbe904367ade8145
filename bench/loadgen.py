#!/usr/bin/env python3
"""Closed-loop load generator for chat endpoints: OpenAI's, and with --dialect those of other APIs.

    loadgen.py http://127.0.0.1:8000/v1/chat/completions -c 16 -d 5
    loadgen.py URL -c 64 -d 5 --stream --events 128 --model fake-paced
    loadgen.py URL -c 1 -d 5 --pid 1234          # also CPU time and memory of that process tree

Every connection sends a request, reads the whole answer, and sends the next. Prints one JSON object: answers
finished per second, latency and time-to-first-byte percentiles in ms; with --stream also SSE events/s, TTFT
(first `data:` line) and the gap between reads. An answer is an error unless its status is 200 and, when
streamed, it holds at least --events + 1 events and ends with [DONE]; with --dialect, --events pieces of the text and
its own end. `lost` counts the pieces that such streams lack.

Standard library only; uses uvloop when it is installed (about twice the capacity). One process saturates
near 40,000 requests/s: `loadgen_cpu` close to 1 says that the generator was the limit.
"""

import argparse
import asyncio
import json
import os
import re
import time
from urllib.parse import urlsplit

import asking
import procfs

KEY = "sk-bench-0123456789abcdef0123456789abcdef"
"""The key every target is given; it opens nothing but a gateway of this benchmark."""
FRAME = re.compile(rb"\r\n[0-9a-f]+\r\n")  # a chunk boundary may fall anywhere, also inside [DONE]
CHUNKED, UNTIL_EOF, ENDED = -1, -2, -3

now = time.perf_counter


class Stats:
    def __init__(self):
        self.latency, self.first, self.gaps = [], [], []
        self.events = self.bytes = self.errors = self.reconnects = self.lost = 0
        self.error_samples = []

    def error(self, what):
        self.errors += 1
        if len(self.error_samples) < 3:
            self.error_samples.append(what[:200])


class Client(asyncio.Protocol):
    """One connection; `done` is set when the run is over and the last answer is in."""

    def __init__(self, run):
        self.run, self.transport, self.done = run, None, run.loop.create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.send()

    def send(self):
        self.head = b""  # bytes before the body until the header is complete
        self.left = None  # body bytes to come, or how the end is told
        self.tail = b""
        self.events = 0
        self.ended = False
        self.t_first = self.t_last = 0.0
        self.t0 = now()
        self.transport.write(self.run.request)

    def data_received(self, data):
        t = now()
        self.run.stats.bytes += len(data)
        if self.left is None:
            data = self.read_head(data, t)
            if data is None:
                return
        if self.run.stream:
            self.count_events(data, t)
        if self.left >= 0:
            self.left -= len(data)
            if self.left <= 0:
                self.finish(t)
        else:
            self.tail = (self.tail + data)[-64:]
            if self.left == CHUNKED and self.tail.endswith(b"\r\n0\r\n\r\n"):
                self.finish(t)

    def read_head(self, data, t):
        """What follows the header, or None when there is nothing to read yet."""
        data = self.head + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self.head = data
            return None
        head, data = data[:end].lower(), data[end + 4 :]
        self.status = head[9:12]
        self.close = b"connection: close" in head
        i = head.find(b"content-length:")
        if i >= 0:
            self.left = int(head[i + 15 :].split(b"\r\n", 1)[0])
        else:
            self.left = CHUNKED if b"transfer-encoding: chunked" in head else UNTIL_EOF
        if not self.run.stream:
            self.t_first = t
        self.tail = b"\r\n"
        return None if not data and self.left else data

    def count_events(self, data, t):
        mark, end = self.run.mark, self.run.end
        n = (self.tail[1 - len(mark) :] + data).count(mark)
        if end and end in self.tail[1 - len(end) :] + data:
            self.ended = True
        if not n:
            return
        run = self.run
        self.events += n
        if run.t_start <= t <= run.t_end:
            run.stats.events += n
        if not self.t_first:
            self.t_first = t
        else:
            run.stats.gaps.append(t - self.t_last)
        self.t_last = t

    def is_ended(self):
        """Whether the stream said that it is complete."""
        return self.ended if self.run.end else b"[DONE]" in FRAME.sub(b"", self.tail)

    def finish(self, t):
        run, stats = self.run, self.run.stats
        if self.status != b"200":
            stats.error(f"status {self.status!r}")
        elif run.stream and (self.events < run.least or not self.is_ended()):
            stats.lost += max(0, run.events - self.events)
            stats.error(f"{self.events} events, then {self.tail!r}")
        elif run.t_start <= t <= run.t_end:
            stats.latency.append(t - self.t0)
            stats.first.append((self.t_first or t) - self.t0)
        self.left = None
        if t >= run.t_end:
            self.transport.close()
        elif self.close:
            self.transport.close()
            run.reconnect(self)
        else:
            self.send()

    def connection_lost(self, exc):
        if self.left == UNTIL_EOF:
            self.close, self.left = False, ENDED
            self.finish(now())
        elif now() < self.run.t_end and not getattr(self, "close", False):
            self.run.stats.error(f"connection lost: {exc}")
            self.run.reconnect(self)
        if not self.done.done() and now() >= self.run.t_end:
            self.done.set_result(None)


class Run:
    def __init__(self, args):
        self.args, self.stream, self.events = args, args.stream, args.events
        self.stats, self.tasks = Stats(), set()
        url = urlsplit(args.url)
        self.host, self.port = url.hostname, url.port or 80
        way = asking.WAYS[args.dialect or asking.PASSED]
        self.mark, self.end, self.least = way.mark, way.end, args.events
        if not args.dialect:  # every `data:` counts, also those of the end, which is looked for there
            self.mark, self.end, self.least = b"data: ", b"", args.events + 1
        content = way.body(args.model, args.events, stream=args.stream, pad=args.pad)
        self.request = (
            f"POST {url.path or '/'} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {args.key}\r\nAccept: */*\r\nContent-Length: {len(content)}\r\n\r\n"
        ).encode() + content

    async def connect(self, client):
        await self.loop.create_connection(lambda: client, self.host, self.port)

    def reconnect(self, old):
        self.stats.reconnects += 1
        client = Client(self)
        client.done = old.done
        task = self.loop.create_task(self.connect(client))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def main(self):
        a = self.args
        self.loop = asyncio.get_running_loop()
        self.t_start = now() + a.warmup
        self.t_end = self.t_start + a.duration
        clients = [Client(self) for _ in range(a.connections)]
        await asyncio.gather(*(self.connect(c) for c in clients))
        await asyncio.sleep(max(0, self.t_start - now()))
        cpu, own = sum(map(procfs.cpu_s, a.pid)), time.process_time()
        await asyncio.sleep(max(0, self.t_end - now()))
        cpu, own = sum(map(procfs.cpu_s, a.pid)) - cpu, time.process_time() - own
        served = len(self.stats.latency), self.stats.events
        await asyncio.wait([c.done for c in clients], timeout=a.drain)
        for c in clients:
            if c.transport:
                c.transport.abort()
        return self.report(cpu, own, served)

    def report(self, cpu, own, served):
        s, a = self.stats, self.args
        out = {
            "connections": a.connections,
            "stream": a.stream,
            "seconds": a.duration,
            "requests": len(s.latency),
            "req_s": round(len(s.latency) / a.duration, 1),
            "errors": s.errors,
            "reconnects": s.reconnects,
            "latency_ms": percentiles(s.latency),
            "first_ms": percentiles(s.first),
            "loadgen_cpu": round(own / a.duration, 2),
        }
        if s.error_samples:
            out["error_samples"] = s.error_samples
        if a.stream:
            out |= {"events_s": round(s.events / a.duration), "lost": s.lost, "gap_ms": percentiles(s.gaps)}
        if a.pid:
            out["cpu"] = round(cpu / a.duration, 3)
            if served[0]:
                out["cpu_us_per_request"] = round(cpu * 1e6 / served[0], 1)
            if served[1]:
                out["cpu_us_per_event"] = round(cpu * 1e6 / served[1], 2)
        return out


def percentiles(values):
    if not values:
        return None
    v = sorted(values)
    return {
        name: round(v[min(len(v) - 1, int(q * len(v)))] * 1e3, 3)
        for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1))
    }


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("url")
    p.add_argument("-c", "--connections", type=int, default=1)
    p.add_argument("-d", "--duration", type=float, default=5)
    p.add_argument("--warmup", type=float, default=0.5)
    p.add_argument("--drain", type=float, default=3, help="seconds to wait for the last answers")
    p.add_argument("--model", default="fake-fast")
    p.add_argument("--key", default=os.environ.get("BENCH_KEY", KEY))
    p.add_argument("--stream", action="store_true")
    p.add_argument("--dialect", choices=asking.WAYS, help="whose stream, and count its pieces alone")
    p.add_argument("--events", type=int, default=128, help="content events per stream (sent as max_tokens)")
    p.add_argument("--pad", type=int, default=0, help="extra bytes in the user message")
    p.add_argument("--pid", type=int, action="append", default=[], help="process tree to measure; repeatable")
    args = p.parse_args()
    try:
        import uvloop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    except ImportError:
        runner = asyncio.Runner()
    with runner:
        print(json.dumps(runner.run(Run(args).main())))


if __name__ == "__main__":
    main()
