"""A log line for each request to a model, for who reads logs and no ledger: names, times and counts, never content."""

import logging

from rolecast.values import Usage

log = logging.getLogger("rolecast.requests")

MOST_CHARS = 128
"""So many characters of what a client chose: its id, its path."""


class RequestLog:
    """Writes the lines. Whoever has a request asks `wanted` first: what is not wanted must cost nothing."""

    def __init__(self) -> None:
        self.wanted = False

    def answered(
        self,
        request_id: str,
        listener: str,
        kind: str,
        model: str,
        worker: str,
        role: str,
        task: str,
        stream: bool,
        status: int,
        outcome: str,
        error: str,
        usage: Usage,
        queue_ms: float,
        load_ms: float,
        first_ms: float,
        total_ms: float,
        attempts: int,
        key: str,
        client_id: str,
    ) -> None:
        """One request that came as far as a model. `error` is a code, times in ms, `first_ms` 0 = no byte came."""
        fields = {
            "request_id": request_id,
            "listener": listener,
            "kind": kind,
            "model": model,
            "worker": worker if worker != model else "",
            "role": role,
            "task": task,
            "stream": stream,
            "status": status,
            "outcome": outcome,
            "error": error,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cached_tokens": usage.cached_tokens,
            "queue_ms": round(queue_ms, 1),
            "load_ms": round(load_ms, 1),
            "first_ms": round(first_ms, 1),
            "total_ms": round(total_ms, 1),
            "attempts": attempts,
            "key": key,
            "client_id": client_id[:MOST_CHARS],
        }
        what = f"{task} by {model}" if task else model
        text = f"{request_id} {kind} {what}: {outcome}{f' {error}' if error else ''} {status}"
        counts = f"{usage.prompt_tokens}+{usage.completion_tokens} tokens"
        self._write(outcome, f"{text}, {total_ms:.0f} ms, {counts}", fields)

    def refused(self, status: int, error: str, listener: str, method: str, path: str) -> None:
        """One request that was answered before it came to a model."""
        shown = _shown(path)
        fields = {"listener": listener, "method": _shown(method), "path": shown, "status": status, "error": error}
        self._write("refused", f"{_shown(method)} {shown}: refused {error} {status}", {**fields, "outcome": "refused"})

    def _write(self, outcome: str, text: str, fields: dict[str, object]) -> None:
        level = logging.WARNING if outcome in ("error", "refused") else logging.INFO
        log.log(level, "%s", text, extra={"fields": {name: value for name, value in fields.items() if value != ""}})


def _shown(word: str) -> str:
    """Printable and short, whatever a client sent."""
    return "".join(c if c.isprintable() else "\ufffd" for c in word[:MOST_CHARS])
