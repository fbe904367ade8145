"""The command `bench`: a small, bounded load against the running gateway, and what it measured.

Knows how to keep N requests in flight for S seconds. It is a quick look, not a comparison of servers.
"""

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from rolecast.cli import output
from rolecast.cli.options import Json, Key, Url

if TYPE_CHECKING:
    import httpx2

MAX_CONCURRENCY = 256
MAX_SECONDS = 600
ERRORS_SHOWN = 3


class Sample(msgspec.Struct, frozen=True):
    """One request. Times in seconds; `first_s` is 0 when the answer came in one piece."""

    total_s: float
    first_s: float = 0.0
    completion_tokens: int = 0
    error: str = ""


class Report(msgspec.Struct, frozen=True):
    """What the load measured. Latencies in ms of successful requests, rates over the whole run."""

    model: str
    concurrency: int
    seconds: float
    requests: int
    failed: int
    requests_per_second: float
    tokens_per_second: float
    latency_ms: dict[str, float]
    first_token_ms: dict[str, float]
    errors: list[str] = []


def bench(
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", min=1, max=MAX_CONCURRENCY, help="Requests in flight.")
    ] = 4,
    seconds: Annotated[
        float, typer.Option("--duration", "-d", min=0.1, max=MAX_SECONDS, help="How long, in seconds.")
    ] = 10,
    model: Annotated[str, typer.Option("--model", "-m", help="Model, role or alias.")] = "auto",
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.")] = 32,
    stream: Annotated[
        bool, typer.Option("--stream", help="Stream the answers and measure the first token.")
    ] = False,
    as_json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Put a small load on the running gateway: requests/s, latency, first token, tokens/s."""
    from rolecast.cli.gateway import connect

    gateway = connect(url, key)
    gateway.completion(_body(model, 1, 0))  # loads the model, and says what is wrong before the clock runs
    if not as_json:
        kind = "streamed" if stream else "whole"
        output.say(
            f"[dim]{concurrency} requests in flight for {output.duration(seconds)}, {kind} answers of up to "
            f"{max_tokens} tokens, model {output.escape(model)}[/]",
            stderr=True,
        )
    load = Load(gateway.url, key, model, max_tokens, stream=stream)
    began = time.perf_counter()
    samples = asyncio.run(load.run(concurrency, seconds))
    report = summarise(samples, model, concurrency, time.perf_counter() - began)
    if as_json:
        output.print_json(report)
    else:
        _print(report)
    if report.failed == report.requests:
        output.fail(
            f"No request succeeded: {report.errors[0] if report.errors else 'no time to finish one'}."
        )


class Load:
    """Workers that ask one question after the other until the time is over."""

    def __init__(self, url: str, key: str, model: str, max_tokens: int, *, stream: bool) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._model, self._max_tokens, self._stream = model, max_tokens, stream
        self._number = 0

    async def run(self, concurrency: int, seconds: float) -> list[Sample]:
        """All samples; requests still running at the end are finished and counted."""
        import httpx2

        limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        samples: list[Sample] = []
        async with httpx2.AsyncClient(
            headers=self._headers, timeout=120, limits=limits, trust_env=False
        ) as http:
            end = time.perf_counter() + seconds
            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(self._work(http, end, samples))
        return samples

    async def _work(self, http: "httpx2.AsyncClient", end: float, samples: list[Sample]) -> None:
        import httpx2

        while time.perf_counter() < end:
            self._number += 1
            body = _body(self._model, self._max_tokens, self._number)
            began = time.perf_counter()
            try:
                ask = self._ask_streamed if self._stream else self._ask_whole
                samples.append(await ask(http, body, began))
            except (httpx2.HTTPError, msgspec.DecodeError) as error:
                samples.append(Sample(time.perf_counter() - began, error=str(error) or type(error).__name__))

    async def _ask_whole(self, http: "httpx2.AsyncClient", body: dict[str, Any], began: float) -> Sample:
        response = await http.post(self._url, json=body)
        total = time.perf_counter() - began
        if response.is_error:
            return Sample(total, error=_sentence(response.status_code, response.content))
        return Sample(total, completion_tokens=_tokens(msgspec.json.decode(response.content)))

    async def _ask_streamed(self, http: "httpx2.AsyncClient", body: dict[str, Any], began: float) -> Sample:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        first = tokens = 0.0
        async with http.stream("POST", self._url, json=body) as response:
            if response.is_error:
                content = await response.aread()
                return Sample(time.perf_counter() - began, error=_sentence(response.status_code, content))
            async for line in response.aiter_lines():
                if not line.startswith("data:") or line.endswith("[DONE]"):
                    continue
                first = first or time.perf_counter() - began
                if '"usage"' in line:
                    tokens = _tokens(msgspec.json.decode(line[5:])) or tokens
        return Sample(time.perf_counter() - began, first, int(tokens))


def _body(model: str, max_tokens: int, number: int) -> dict[str, Any]:
    # Each question differs from its first word on, so that no cached prefix flatters the figures.
    question = f"{number}. Write one sentence about the number {number}."
    return {
        "model": model,
        "max_tokens": max_tokens,
        "temperature": 0,
        "messages": [{"role": "user", "content": question}],
    }


def _tokens(answer: dict[str, Any]) -> int:
    return int((answer.get("usage") or {}).get("completion_tokens") or 0)


def _sentence(status: int, content: bytes) -> str:
    try:
        message = msgspec.json.decode(content)["error"]["message"]
    except (msgspec.DecodeError, KeyError, TypeError):
        message = "no explanation"
    return f"{status}: {message}"


def summarise(samples: list[Sample], model: str, concurrency: int, seconds: float) -> Report:
    """The figures of a run; percentiles are of the successful requests."""
    good = [s for s in samples if not s.error]
    return Report(
        model=model,
        concurrency=concurrency,
        seconds=round(seconds, 3),
        requests=len(samples),
        failed=len(samples) - len(good),
        requests_per_second=round(len(good) / seconds, 2),
        tokens_per_second=round(sum(s.completion_tokens for s in good) / seconds, 2),
        latency_ms=percentiles([s.total_s for s in good]),
        first_token_ms=percentiles([s.first_s for s in good if s.first_s]),
        errors=sorted({s.error for s in samples if s.error}),
    )


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p95, p99 and max in ms, by nearest rank; empty without values."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    # Nearest rank: the smallest value that at least p percent of all values do not exceed.
    ranks = {f"p{p}": ordered[-(-p * len(ordered) // 100) - 1] for p in (50, 95, 99)}
    return {name: round(value * 1000, 1) for name, value in {**ranks, "max": ordered[-1]}.items()}


def _print(report: Report) -> None:
    rows = output.table("", "", "p50", "p95", "p99", "max", right=("", "p50", "p95", "p99", "max"))
    rows.add_row("requests", f"{report.requests - report.failed:,}")
    if report.failed:
        rows.add_row("[red]failed[/]", f"{report.failed:,}")
    rows.add_row("requests/s", f"{report.requests_per_second:,.1f}")
    rows.add_row("tokens/s", f"{report.tokens_per_second:,.1f}")
    for name, figures in (("latency", report.latency_ms), ("first token", report.first_token_ms)):
        if figures:
            rows.add_row(name, "", *(f"{figures[p]:,.0f} ms" for p in ("p50", "p95", "p99", "max")))
    output.console().print(rows)
    for error in report.errors[:ERRORS_SHOWN]:
        output.warn(error)
