"""The exception tree. Each class knows its HTTP status, its OpenAI type and code, and whether a retry can help.

RolecastError                 500
├── Internal                  500  a mistake of ours
├── BadRequest                400  not JSON, bad framing, wrong kind of model
│   └── Invalid               422  well-formed JSON with a wrong value (`param` names the field)
├── Unauthorized              401
├── Forbidden                 403
│   ├── ScopeMissing          403  the key may do less than that
│   ├── ModelNotAllowed       403  the key has a list of models, and none of it would do
│   └── StaysHere             403  it may not leave this machine, and nobody here can answer it
├── NotFound                  404
│   ├── ModelNotFound         404
│   └── PersonNotFound        404  nobody of that name in the conversations
├── MethodNotAllowed          405
├── RequestTimeout            408  the client sent too slowly
├── Conflict                  409
├── TooLarge                  413
├── UnsupportedMedia          415
├── HeadersTooLarge           431
├── Busy                      429  queue full; carries retry_after
├── RateLimited               429  this key has asked for more than it may just now; carries retry_after
├── BudgetSpent               429  there is no money left for it
├── NotOffered                501  no model here does this kind of work
├── WorkerDown                503  retryable
│   ├── LoadFailed            503  the model could not be started
│   └── ShuttingDown          503  the gateway, or this port of it, closes
├── UpstreamError             502  a worker or remote failed; not the client's doing
├── UpstreamTimeout           504
├── DeadlineExceeded          504  not within the time that the client named
├── LoopDetected              508  the request came from this gateway
├── Cancelled                 499  the client went away (in the ledger alone), or somebody cancelled its request
├── ConfigError               -    a list of problems, each with path and line
└── SourceError               -    weights could not be found or fetched
    └── ExportError           422  a chat export that is none, or that cannot be read
"""

from collections.abc import Sequence

import msgspec

UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""What msgspec raises for bytes of a stranger that are not the JSON they should be: text that is no UTF-8, and
nesting without end, have errors of their own."""


def counted(number: int, what: str) -> str:
    """`1 problem`, `2 problems`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


class RolecastError(Exception):
    """A failure with an HTTP face: message says what was asked, what is allowed and what to do next."""

    status: int = 500
    type: str = "server_error"
    code: str | None = None
    retryable: bool = False
    challenge: bytes = b""
    """The header line that says how to prove who one is."""
    request_id: str = ""
    """The request that it ended, once one has."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status

    @property
    def head(self) -> bytes:
        """Header lines that belong to it, whatever is spoken; each ends in CRLF."""
        seconds = self.retry_after_s
        retry = b"" if seconds is None else b"retry-after: %d\r\n" % seconds
        return retry + self.challenge

    @property
    def retry_after_s(self) -> int | None:
        """What the header `Retry-After` says, in whole seconds; None when it is not sent."""
        return None if self.retry_after is None else max(1, round(self.retry_after))

    def body(self) -> bytes:
        """Compact JSON, the one error shape of every HTTP surface."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return msgspec.json.encode({"error": error, "detail": self.message})


class Internal(RolecastError):
    """A mistake of ours: the client learns only where to look."""

    code = "internal"

    def __init__(self) -> None:
        super().__init__("Something went wrong inside the gateway; its log has the details.")


class BadRequest(RolecastError):
    status, type, code = 400, "invalid_request_error", "bad_request"


class Invalid(BadRequest):
    status, code = 422, "invalid_value"


class Unauthorized(RolecastError):
    status, type, code = 401, "authentication_error", "invalid_api_key"
    challenge = b"www-authenticate: Bearer\r\n"


class Forbidden(RolecastError):
    status, type, code = 403, "permission_error", "forbidden"


class ScopeMissing(Forbidden):
    code = "scope_missing"


class ModelNotAllowed(Forbidden):
    code = "model_not_allowed"


class StaysHere(Forbidden):
    code = "local_only"


class NotFound(RolecastError):
    status, type, code = 404, "invalid_request_error", "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class PersonNotFound(NotFound):
    code = "person_not_found"


class MethodNotAllowed(RolecastError):
    """Another method would do: `allow` is the value of the header that says which (RFC 9110, 15.5.6)."""

    status, type, code = 405, "invalid_request_error", "method_not_allowed"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class RequestTimeout(RolecastError):
    status, type, code = 408, "invalid_request_error", "request_timeout"


class Conflict(RolecastError):
    status, type, code = 409, "invalid_request_error", "conflict"


class TooLarge(RolecastError):
    status, type, code = 413, "invalid_request_error", "request_too_large"


class UnsupportedMedia(RolecastError):
    status, type, code = 415, "invalid_request_error", "unsupported_media_type"


class HeadersTooLarge(RolecastError):
    status, type, code = 431, "invalid_request_error", "headers_too_large"


class Busy(RolecastError):
    status, type, code, retryable = 429, "rate_limit_error", "busy", True


class RateLimited(RolecastError):
    status, type, code = 429, "rate_limit_error", "rate_limited"


class BudgetSpent(RolecastError):
    status, type, code = 429, "insufficient_quota", "budget_spent"


class NotOffered(RolecastError):
    status, type, code = 501, "invalid_request_error", "not_offered"


class WorkerDown(RolecastError):
    status, type, code, retryable = 503, "server_error", "worker_down", True


class LoadFailed(WorkerDown):
    code = "load_failed"


class ShuttingDown(WorkerDown):
    code = "shutting_down"

    def __init__(self, message: str = "The gateway is shutting down.") -> None:
        super().__init__(message, retry_after=1.0)


class UpstreamError(RolecastError):
    status, type, code, retryable = 502, "server_error", "upstream_error", True


class LoopDetected(RolecastError):
    status, type, code, retryable = 508, "server_error", "loop_detected", True


class UpstreamTimeout(RolecastError):
    status, type, code = 504, "server_error", "upstream_timeout"


class DeadlineExceeded(RolecastError):
    status, type, code = 504, "server_error", "deadline_exceeded"


class Cancelled(RolecastError):
    status, type, code = 499, "cancelled", "cancelled"


class ConfigError(RolecastError):
    """Everything that is wrong with a configuration, each problem as `place: what, what to do`."""

    code = "bad_config"

    def __init__(self, problems: Sequence[str], *, source: str = "configuration") -> None:
        self.problems = tuple(problems)
        self.source = source
        lines = "\n".join(f"  {p}" for p in self.problems)
        super().__init__(f"{source} has {counted(len(self.problems), 'problem')}:\n{lines}")


class SourceError(RolecastError):
    """Weights could not be found, fetched or verified; the message ends with what to do."""

    status, code = 502, "source_error"


class ExportError(SourceError):
    """A file or folder is no export of conversations, or cannot be read; the message ends with what to do."""

    status, type, code = 422, "invalid_request_error", "export_unreadable"
