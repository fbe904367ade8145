"""The command `bench`: a small, bounded load against the running gateway, and what it measured.

Knows how to keep N requests in flight for S seconds. It is a quick look, not a comparison of servers. With
`--engine` it hands over to `bench_engine`.
"""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from rolecast.cli import complete, output
from rolecast.cli.options import Json, Key, Url

if TYPE_CHECKING:
    from rolecast.cli.engine_probe import Way
    from rolecast.client import AsyncLLMClient
    from rolecast.client.calls import ChatOptions

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
    name: Annotated[
        str,
        typer.Argument(metavar="[MODEL]", help="Model, role, alias or variant, as with --model.", show_default=False),
    ] = "",
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", min=1, max=MAX_CONCURRENCY, help="Requests in flight.")
    ] = 4,
    seconds: Annotated[
        float, typer.Option("--duration", "-d", min=0.1, max=MAX_SECONDS, help="How long, in seconds.")
    ] = 10,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Model, role, alias or variant.", autocompletion=complete.names)
    ] = "auto",
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.")] = 32,
    stream: Annotated[bool, typer.Option("--stream", help="Stream the answers and measure the first token.")] = False,
    engine: Annotated[
        bool,
        typer.Option(
            "--engine", help="Instead compare the engine as Rolecast sets it with llama.cpp as it comes; no gateway."
        ),
    ] = False,
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=20, help="With --engine: the best of so many.")] = 3,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="With --engine: the configuration file that has the model.", show_default=False),
    ] = None,
    against: Annotated[Literal["engine", "previous"], typer.Option("--against", hidden=True)] = "engine",
    as_json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Put a small load on the running gateway: requests/s, latency, first token, tokens/s."""
    model = name or model
    if engine:
        _compare_engines(config, model, against, rounds, as_json=as_json)
        return
    from rolecast import AsyncLLMClient
    from rolecast.cli.gateway import connect

    # Loads the model, and says what is wrong before the clock runs.
    with connect(url, key) as gateway, gateway.client() as client:
        client.chat_completion(question(0), model, max_tokens=1)
    if not as_json:
        kind = "streamed" if stream else "whole"
        output.say(
            f"[dim]{concurrency} requests in flight for {output.duration(seconds)}, {kind} answers of up to "
            f"{max_tokens} tokens, model {output.escape(model)}[/]",
            stderr=True,
        )
    requests = AsyncLLMClient(gateway.url, api_key=key, max_retries=0)
    load = Load(requests, model, max_tokens, stream=stream)
    began = time.perf_counter()
    samples = asyncio.run(load.run(concurrency, seconds))
    report = summarise(samples, model, concurrency, time.perf_counter() - began)
    if as_json:
        output.print_json(report)
    else:
        _print(report)
    if report.failed == report.requests:
        output.fail(f"No request succeeded: {report.errors[0] if report.errors else 'no time to finish one'}.")


def _compare_engines(config: Path | None, model: str, against: "Way", rounds: int, *, as_json: bool) -> None:
    from rolecast.cli import bench_engine, settings

    def step(text: str) -> None:
        if not as_json:
            output.say(f"[dim]{output.escape(text)}[/]", stderr=True)

    report = bench_engine.measure(settings.choose(config).config, model, against, rounds, step)
    if as_json:
        output.print_json(report)
    else:
        bench_engine.show(report)


class Load:
    """Workers that ask one question after the other until the time is over."""

    def __init__(self, client: "AsyncLLMClient", model: str, max_tokens: int, *, stream: bool) -> None:
        self._client, self._model, self._max_tokens, self._stream = client, model, max_tokens, stream
        self._number = 0

    async def run(self, concurrency: int, seconds: float) -> list[Sample]:
        """All samples; requests still running at the end are finished and counted."""
        samples: list[Sample] = []
        end = time.perf_counter() + seconds
        async with self._client, asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(self._work(end, samples))
        return samples

    async def _work(self, end: float, samples: list[Sample]) -> None:
        while time.perf_counter() < end:
            self._number += 1
            samples.append(await self._measure(question(self._number)))

    async def _measure(self, messages: list[dict[str, str]]) -> Sample:
        from rolecast.client import LLMClientError

        first = 0.0
        options: ChatOptions = {"max_tokens": self._max_tokens, "temperature": 0}
        began = time.perf_counter()
        try:
            if self._stream:
                answer = self._client.stream_chat(messages, self._model, **options)
                async for _ in answer:
                    first = first or time.perf_counter() - began
                result = answer.result
            else:
                result = await self._client.chat_completion(messages, self._model, **options)
        except LLMClientError as error:
            return Sample(time.perf_counter() - began, error=error.message)
        return Sample(time.perf_counter() - began, first, result.usage.completion_tokens)


def question(number: int) -> list[dict[str, str]]:
    """A conversation that differs from its first word on, so that no cached prefix flatters the figures."""
    return [{"role": "user", "content": f"{number}. Write one sentence about the number {number}."}]


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
    counts = [("requests", f"{report.requests - report.failed:,}")]
    counts += [("[red]failed[/]", f"{report.failed:,}")] if report.failed else []
    counts += [("requests/s", f"{report.requests_per_second:,.1f}"), ("tokens/s", f"{report.tokens_per_second:,.1f}")]
    totals = output.table(" ", "", right=("",))
    totals.show_header = False
    for name, figure in counts:
        totals.add_row(name, figure)
    output.show(totals)
    timed = (("latency", report.latency_ms), ("first token", report.first_token_ms))
    if any(figures for _, figures in timed):
        ranks = ("p50", "p95", "p99", "max")
        times = output.table("ms", *ranks, right=ranks)
        for name, figures in timed:
            if figures:
                times.add_row(name, *(f"{figures[rank]:,.0f}" for rank in ranks))
        output.say()
        output.show(times)
    for error in report.errors[:ERRORS_SHOWN]:
        output.warn(error)
