"""The gateway of PAS (its 6120): requests to whoever does them best, with receipts, windows and budgets.

Chooses by the policy of the provider router and asks through the turn, so that all is leased, retried and accounted as
any request is; all numbers are the ledger's.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast import __version__
from rolecast.access.budgets import Budgets
from rolecast.books import usage
from rolecast.books.charges import WINDOW_S, Window
from rolecast.books.ledger import Ledger
from rolecast.books.store import Store
from rolecast.config.current import Current
from rolecast.decision import Choice
from rolecast.dialects import dialect
from rolecast.dialects.openai import read_chat
from rolecast.dialects.operation import LINES, Query, told
from rolecast.dialects.request import Request as Asked
from rolecast.errors import BadRequest, BudgetSpent, Invalid, NotFound, WorkerDown
from rolecast.money import pico, receipt
from rolecast.pages import asked
from rolecast.pages.pas import gateway_shapes as shapes
from rolecast.pages.pas import receipts as receipts_of
from rolecast.pages.pas.providers import port_of, wish_of
from rolecast.pages.pas.receipts import DEFAULT_RUN, ReceiptFiles, ReceiptLine, plain_name, status_of
from rolecast.pages.pas.told import amount, exact_line, exact_response, now_text, plain, read, time_text
from rolecast.registry.chain import Chain, chain_of
from rolecast.registry.directory import PREFIX, Directory
from rolecast.registry.offers import Offers
from rolecast.registry.policy import MOST_ALTERNATIVES, Selection, Wish, choose
from rolecast.server.asgi import json_response
from rolecast.server.lane import Lane, by_name
from rolecast.turn.collected import Collected, Collector
from rolecast.values import Caller

TAG = "Gateway"
EXAMPLE = (
    '{"request_id":"1","agent":"NAME","requirements":{"model":"MODEL"},"payload":{"messages":'
    '[{"role":"user","content":"Hello"}]}}'
)
NULL = msgspec.Raw(b"null")
T = TypeVar("T")
_body = msgspec.json.Decoder(shapes.GatewayBody)


class GatewayPages:
    """Its pages."""

    def __init__(
        self,
        current: Current,
        directory: Directory,
        offers: Offers,
        collector: Collector,
        ledger: Ledger,
        store: Store,
        budgets: Budgets,
        tell: Callable[[str, Mapping[str, Any]], object],
    ) -> None:
        self._current = current
        self._directory = directory
        self._offers = offers
        self._collector = collector
        self._ledger = ledger
        self._store = store
        self._budgets = budgets
        self._tell = tell
        self._files = ReceiptFiles()
        self._openai = dialect("openai")

    def routes(self) -> list[Route]:
        return [
            Route("/", self.root, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/route", self.route, methods=["POST"]),
            Route("/metrics", self.metrics, methods=["GET"]),
            Route("/receipts/{run_id:path}", self.receipts, methods=["GET"]),
            Route("/budget", self.set_budget, methods=["POST"]),
            Route("/budget/{run_id:path}", self.budget, methods=["GET"]),
        ]

    # -- asking -------------------------------------------------------------------------------------------

    @told(
        "Ask whoever does it best",
        TAG,
        body=shapes.GatewayBody,
        answer=shapes.GatewayAnswer,
        errors=(404, 422, 429, 502, 503, 504),
    )
    async def route(self, request: Request) -> Response:
        """The provider is chosen as `POST /select` of the provider router does. One whose address `registry.backends`
        does not list is passed over; one that fails is followed by the next, and at last by a model of this gateway.
        404 when nobody matches, 429 when what matches costs more than is left, and when all have failed their error,
        with `status` error. Without a `payload` nobody is asked, and `response` is null."""
        said = await read(request, _body, EXAMPLE)
        caller = _caller(request, said)
        spending = said.budget or shapes.Spending()
        wish = wish_of(
            said.requirements,
            said.optimization,
            spending.max_cost_usd,
            spending.max_latency_ms,
            caller.local_only or (caller.rights is not None and caller.rights.local_only),
        )
        await self._offers.ready()
        selection, wish = self._selected(wish, caller.run)
        config = self._current.config
        default = self._current.names.get(config.routing.default)
        usual = default.models if default is not None else ()
        chain = chain_of(selection, self._offers.own(), wish, usual, config.retries.attempts)
        asks = self._request(said, chain, selection)
        if not chain.models:
            why = "; ".join(f"{each.name}: {each.why_not}" for each in chain.skipped[:5])
            text = f"Nobody who matches can be asked ({why}), and no model of this gateway can answer in their place."
            raise WorkerDown(text, code="no_provider")
        fell = PREFIX + chain.skipped[0].name if chain.skipped else ""
        begin = None if said.payload is not None else self._collector.only_book
        asking = self._collector.ask(asks, caller, self._openai, ("POST", "/route"), fell, begin)
        found = await _unless_gone(request, asking)
        await self._files.keep(config.registry.receipts, [_line(said, caller, found)])
        if found.fell and found.plan is not None and found.error is None:
            names = {"from": plain_name(found.fell), "to": plain_name(found.plan.model_id)}
            self._tell("gateway_fallback", {"request_id": said.request_id, "run_id": caller.run, **names})
        return await self._answer(said, caller, selection, chain, found)

    def _selected(self, wish: Wish, run: str) -> tuple[Selection, Wish]:
        """Who is chosen, and within which bounds. Raises NotFound, and BudgetSpent where what matches costs more."""
        standing = self._budgets.of("run", run)
        spent = standing is not None and not standing.can_proceed
        if spent:
            wish = msgspec.structs.replace(wish, max_cost=0)
        try:
            return choose(self._offers.for_wish(wish), wish), wish
        except NotFound as error:
            if error.code != "no_provider_in_budget":
                raise
            text = f"The budget of the run {run[:100]!r} is spent, and nothing that matches is free."
            raise BudgetSpent(text if spent else error.message, param="budget") from None

    def _request(self, said: shapes.GatewayBody, chain: Chain, selection: Selection) -> Asked:
        """The chat that is asked, settled on these models. Raises Invalid."""
        model = said.requirements.model
        if said.payload is None:
            made = Asked("chat", b"/chat/completions", model, False, b"{}")
        else:
            fields = {**said.payload, "model": model, "stream": False}
            fields.pop("stream_options", None)
            made = read_chat(int(self._current.config.server.limits.messages))(msgspec.json.encode(fields))
        if chain.models:
            skipped = chain.skipped
            why = f"{skipped[0].name}: {skipped[0].why_not}" if skipped else selection.reason
            made.settled = Choice(
                chain.models[0],
                source="fallback" if skipped else "explicit",
                reason=why,
                alternatives=chain.models[1:],
            )
        return made

    async def _answer(
        self, said: shapes.GatewayBody, caller: Caller, selection: Selection, chain: Chain, found: Collected
    ) -> Response:
        plan, error = found.plan, found.error
        provider = plan.provider if plan is not None else selection.first.provider
        model = _told_model(found) if plan is not None else selection.first.model
        others = [each.name for each in (selection.first, *selection.others) if each.name not in (provider, model)]
        answer = shapes.GatewayAnswer(
            request_id=said.request_id,
            run_id=caller.run,
            status="success" if error is None else "error",
            provider=provider,
            model=model,
            response=msgspec.Raw(found.body) if error is None and found.body else NULL,
            cost=await self._cost(found),
            alternatives=others[:MOST_ALTERNATIVES],
            timestamp=now_text(),
            reason=selection.reason,
            fallback_from=plain_name(found.fell) or None,
            skipped=[shapes.Skipped(each.name, each.why_not) for each in chain.skipped[:10]],
        )
        if error is not None:
            answer.error = msgspec.json.decode(error.body())["error"]
            answer.detail = error.message
        response = exact_response(answer, 200 if error is None else error.status)
        if error is not None and error.retry_after_s is not None:
            response.headers["retry-after"] = str(error.retry_after_s)
        return response

    async def _cost(self, found: Collected) -> shapes.Cost:
        took, avoided = found.usage, None
        if found.plan is not None and found.plan.provider == usage.LOCAL and found.error is None:
            compared = await asyncio.to_thread(usage.compared, self._current.config)
            rates = compared.rates
            avoided = None if rates is None else receipt(rates.cost(took.prompt_tokens, took.completion_tokens))
        return shapes.Cost(
            took.prompt_tokens, took.completion_tokens, receipt(found.cost), found.total_us / 1000, avoided
        )

    # -- the books ----------------------------------------------------------------------------------------

    @told(
        "What was answered lately",
        TAG,
        answer=shapes.Metrics,
        query=(Query("window", Window, "up to now; hour without"),),
        errors=(400, 503),
    )
    async def metrics(self, request: Request) -> Response:
        """Of the last minute, hour or day, right to the unit, whichever port was asked. A key that may not do
        everything is told of its own requests alone."""
        said = request.query_params.get("window", "hour")
        name = next((each for each in WINDOW_S if each == said), None)
        if name is None:
            raise BadRequest(f"`window` is one of {', '.join(WINDOW_S)}, not {said[:50]!r}.", param="window")
        await self._ledger.settled()
        now = time.time()
        span = usage.Window(now - WINDOW_S[name], now + 1)  # what ends in this very moment is in it
        compared = await asyncio.to_thread(usage.compared, self._current.config)
        facts = await usage.facts(self._store, span, compared, asked.own(request))
        return exact_response(
            shapes.Metrics(
                window=name,
                total_cost_usd=plain(facts.total_cost_usd),
                total_requests=facts.total_requests,
                total_tokens=facts.total_tokens,
                cost_per_request=plain(facts.cost_per_request),
                requests_per_provider=facts.requests_per_provider,
                cost_per_provider={who: plain(cost) for who, cost in facts.cost_per_provider.items()},
                local_tokens=facts.local_tokens,
                avoided_usd=None if facts.avoided_usd is None else plain(facts.avoided_usd),
                latency_ms=facts.latency_ms,
                latency_histogram=facts.histogram,
                fallbacks_to_cloud=facts.fallbacks_to_cloud,
                energy_joules=facts.energy_joules,
            )
        )

    @told(
        "The receipts of a run",
        TAG,
        answer=receipts_of.RunReceipts,
        lines=receipts_of.ReceiptLine,
        errors=(503,),
    )
    async def receipts(self, request: Request) -> Response:
        """Every request of the run, whichever port it came to: the header `x-rolecast-run` names it there. `default`
        has those of the gateway that name none. With `.jsonl` behind the run, or `accept: application/x-ndjson`, a
        receipt is a line."""
        run = request.path_params["run_id"]
        in_lines = LINES in request.headers.get("accept", "")
        if run.endswith(".jsonl"):
            run, in_lines = run.removesuffix(".jsonl"), True
        found = await receipts_of.of_run(self._store, self._ledger, self._directory.known, run, asked.own(request))
        if in_lines:
            return Response(b"".join(map(exact_line, found.receipts)), media_type=LINES)
        found.total_cost_usd = plain(found.total_cost_usd)
        return exact_response(found)

    @told(
        "Set the budget of a run",
        TAG,
        answer=shapes.BudgetSet,
        query=(Query("run_id"), Query("budget_usd", Decimal, "above 0")),
        errors=(400, 503),
    )
    async def set_budget(self, request: Request) -> Response:
        """What its requests may cost in all. What was spent before counts; models that are free go on answering."""
        asked.refuse_forms(request)
        run = _run(request.query_params.get("run_id", ""))
        text = request.query_params.get("budget_usd", "")
        try:
            value = amount(Decimal(text), "budget_usd")
        except (ArithmeticError, ValueError, Invalid):
            value = Decimal(0)
        if pico(value) <= 0:
            raise BadRequest("`budget_usd` must be an amount of dollars above 0, such as 0.50.", param="budget_usd")
        await self._budgets.set("run", run, pico(value))
        return exact_response(shapes.BudgetSet(run, plain(value), "Budget set successfully"))

    @told("The budget of a run", TAG, answer=shapes.BudgetTold)
    async def budget(self, request: Request) -> Response:
        """How much of it is spent."""
        run = request.path_params["run_id"]
        standing = self._budgets.of("run", run)
        if standing is None:
            return json_response(shapes.BudgetTold(run, False, message="No budget set for this run"))
        return exact_response(
            shapes.BudgetTold(
                run,
                True,
                plain(standing.amount_usd),
                plain(standing.spent_usd),
                plain(standing.remaining_usd),
                float(standing.percent),
                standing.level,
                standing.can_proceed,
            )
        )

    # -- itself -------------------------------------------------------------------------------------------

    @told("Whether it is there", TAG, answer=shapes.GatewayHealth)
    async def health(self, request: Request) -> Response:
        """It is, if it answers; `dependencies` tell of what it needs, each `ok` or what is wrong."""
        await self._offers.ready()
        well = any(each.well for each in self._offers.own())
        dependencies = {
            "provider_router": "ok",
            "cost_tracker": self._ledger.trouble or "ok",
            "models": "ok" if well else "no model here can answer just now",
        }
        return json_response(shapes.GatewayHealth("ok", "gateway", port_of(request), now_text(), dependencies))

    @told("What this port is", TAG, answer=dict[str, Any])
    async def root(self, request: Request) -> Response:
        """Its name, its version and its paths."""
        return json_response(
            {
                "service": "gateway",
                "version": __version__,
                "port": port_of(request),
                "status": "running",
                "endpoints": _PATHS,
                "docs": "/docs",
            }
        )


_PATHS = (
    "POST /route",
    "GET /metrics",
    "GET /receipts/{run_id}",
    "POST /budget",
    "GET /budget/{run_id}",
    "GET /health",
)


def _caller(request: Request, said: shapes.GatewayBody) -> Caller:
    """Who asks, for which run. Raises what the guard raises."""
    lane: Lane = request.app.state.lane
    caller = lane.caller(by_name(request.scope["headers"]))
    run = said.run_id or caller.run or DEFAULT_RUN
    return msgspec.structs.replace(
        caller, run=run, agent=said.agent, client_id=said.request_id, port_model="", session="", tools=""
    )


def _run(run: str) -> str:
    """Raises BadRequest for what can be the name of none."""
    if not run or len(run) > 200 or not run.isprintable():
        raise BadRequest("`run_id` must be the name of a run: up to 200 characters on one line.", param="run_id")
    return run


def _told_model(found: Collected) -> str:
    """By the name that its server has for it, as far as it registered; else by ours."""
    assert found.plan is not None
    plan = found.plan
    return plan.model.remote_model if plan.model_id.startswith(PREFIX) else plan.model_id


def _line(said: shapes.GatewayBody, caller: Caller, found: Collected) -> ReceiptLine:
    """The receipt of what has just ended, for a file."""
    plan, error = found.plan, found.error
    fell = plain_name(found.fell) if plan is None or found.fell != plan.model_id else ""
    return ReceiptLine(
        request_id=said.request_id,
        run_id=caller.run,
        agent=said.agent,
        timestamp=time_text(time.time()),
        provider=plan.provider if plan is not None else "",
        model=_told_model(found) if plan is not None else "",
        input_tokens=found.usage.prompt_tokens,
        output_tokens=found.usage.completion_tokens,
        cost_usd=receipt(found.cost),
        latency_ms=found.total_us / 1000,
        status=status_of("ok" if error is None else "error", 200 if error is None else error.status, fell),
        error_message=None if error is None else error.code,
        fallback_from=fell or None,
        metadata={
            "id": f"req_{found.number:016x}",
            "cost_picodollars": found.cost,
            "cached_tokens": found.usage.cached_tokens,
        },
    )


async def _unless_gone(request: Request, asking: Awaitable[T]) -> T:
    """What comes of it. A client that goes away meanwhile ends it, which frees what it holds.

    Raises ClientDisconnect.
    """
    work = asyncio.ensure_future(asking)
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return work.result()
    finally:
        for task in (work, leaving):
            task.cancel()
        await asyncio.gather(work, leaving, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
