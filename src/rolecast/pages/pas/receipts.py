"""The receipts of a run, in the words of PAS's cost tracker: from the ledger, and as lines of a file if wanted."""

import asyncio
import hashlib
import logging
import os
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec

from rolecast.books import charges
from rolecast.books.charges import RunReceipt
from rolecast.books.ledger import Ledger
from rolecast.books.store import Query, Store
from rolecast.money import dollars, receipt
from rolecast.pages.pas.told import exact_line, time_text
from rolecast.registry.directory import PREFIX
from rolecast.registry.providers import Providers

log = logging.getLogger("rolecast.registry")

Status = Literal["success", "error", "timeout", "fallback"]
DEFAULT_RUN = "default"
"""The run of who names none."""
TIMED_OUT = 504
CALLED = Query(
    "SELECT n.id, n.client_id FROM charges c JOIN notes n ON n.id = c.id"
    " WHERE c.run = :run AND n.client_id IS NOT NULL AND (CAST(:every_key AS INTEGER) = 1 OR EXISTS"
    " (SELECT 1 FROM requests q JOIN routes r ON r.id = q.route WHERE q.id = c.id AND r.key = :key))"
    " ORDER BY c.id LIMIT :most"
)
"""What clients call their requests."""
_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\Z")


class ReceiptLine(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One request. `cost_usd` has six decimals, halves up; `metadata` has the exact amount, in picodollars."""

    request_id: str
    run_id: str
    agent: str
    timestamp: str
    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    latency_ms: float
    status: Status
    error_message: str | None = None
    fallback_from: str | None = None
    metadata: dict[str, Any]


class RunReceipts(msgspec.Struct):
    """All of a run, oldest first; the total is exact."""

    run_id: str
    receipts: list[ReceiptLine]
    count: int
    total_cost_usd: Decimal


def line(row: RunReceipt, providers: Providers, client_id: str = "") -> ReceiptLine:
    """The receipt of a ledger row; the model of a provider is told by the name that it registered."""
    registered = providers.get(plain_name(row.model)) if row.model.startswith(PREFIX) else None
    fell = plain_name(row.fallback)
    return ReceiptLine(
        request_id=client_id or row.id,
        run_id=row.run,
        agent=row.agent,
        timestamp=time_text(row.at),
        provider=row.provider,
        model=registered.model if registered is not None else plain_name(row.model),
        input_tokens=row.prompt_tokens,
        output_tokens=row.completion_tokens,
        cost_usd=receipt(row.cost),
        latency_ms=row.total_us / 1000,
        status=status_of(row.outcome, row.status, fell),
        error_message=row.error or None,
        fallback_from=fell or None,
        metadata={"id": row.id, "cost_picodollars": row.cost, "cached_tokens": row.cached_tokens},
    )


def status_of(outcome: str, status: int, fell: str) -> Status:
    """The outcome in PAS's words."""
    if outcome == "ok":
        return "fallback" if fell else "success"
    return "timeout" if status == TIMED_OUT else "error"


def plain_name(model_id: str) -> str:
    """What a model is called there: a registered provider by its own name."""
    return model_id.removeprefix(PREFIX)


async def of_run(store: Store, ledger: Ledger, providers: Providers, run: str, key: str | None) -> RunReceipts:
    """All receipts of a run that this key may see, those of a moment ago too. Raises StoreError."""
    await ledger.settled()
    rows = await charges.receipts(store, run, key=key)
    called = await store.read(CALLED, run=run, every_key=int(key is None), key=key or "", most=charges.MOST)
    names = {int(number): str(name) for number, name in called}
    lines = [line(row, providers, names.get(row.number, "")) for row in rows]
    return RunReceipts(run, lines, len(lines), dollars(sum(row.cost for row in rows)))


class ReceiptFiles:
    """Keeps the receipts of each run as a file of JSON lines in a folder; its failures end no request."""

    def __init__(self) -> None:
        self._writing = asyncio.Lock()
        self._told = ""

    async def keep(self, folder: str, receipts: Sequence[ReceiptLine]) -> None:
        """Append these, where a folder is wanted."""
        if not folder:
            return
        async with self._writing:
            trouble = await asyncio.to_thread(_append, folder, receipts)
        if trouble and trouble != self._told:
            log.warning("registry.receipts: receipts are in the ledger, but not in files: %s", trouble)
        self._told = trouble


def file_of(run: str) -> str:
    """The name of the file of a run: its own, or a digest where that could lead anywhere or is none."""
    if _SAFE.match(run):
        return f"{run}.jsonl"
    return f"run-{hashlib.blake2b(run.encode(), digest_size=12).hexdigest()}.jsonl"


def _append(name: str, receipts: Sequence[ReceiptLine]) -> str:
    """Why it could not be; '' = it is written."""
    folder = Path(name).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for each in receipts:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            with os.fdopen(os.open(folder / file_of(each.run_id), flags, 0o600), "wb") as file:
                file.write(exact_line(each))
    except OSError as error:
        return error.strerror or "it cannot be written"
    return ""
