"""One row of the ledger, as it is read: the columns of the view `ledger`, in the order in which they are told."""

import msgspec


class Receipt(msgspec.Struct, frozen=True):
    """One ledger row as it is read: what a request asked, what answered, how long each phase took. Times in ms.

    What follows `client_id` is known of requests that named nobody; `rating` is what people gave, from 0 to 1.
    """

    id: str
    at: float
    listener: str
    kind: str
    asked: str
    model: str
    worker: str
    role: str
    route: str
    key: str
    stream: bool
    status: int
    outcome: str
    error: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    counted: bool
    attempts: int
    queue_ms: float
    load_ms: float
    first_ms: float
    total_ms: float
    client_id: str
    task: str
    tier: str
    domain: str
    difficulty: float | None
    confidence: float | None
    rating: float | None
    provider: str
    """Who sends the bill; `local` = nobody."""
    cost: int
    """In picodollars, 10^-12 dollars."""
    written_tokens: int
    run: str
    agent: str
    fallback: str
    """The model that was to answer first, where another one did."""
