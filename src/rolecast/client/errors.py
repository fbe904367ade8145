"""What a call of the Python client raises, and when trying again makes sense.

LLMClientError               any failure of a call
├── LLMTimeout               no answer in time, or status 408; retried
├── LLMConnectionError       refused, unreachable, or cut off half-way
├── LLMRateLimit             429; retried
├── LLMServerError           500 and above (retried), or an error object without a known type
├── LLMInvalidResponse       an answer that is no answer: not JSON, parts missing, a redirect
└── LLMBadRequest            any other 4xx, or a request that cannot be sent
    ├── LLMAuthError         401, 403
    └── LLMNotFound          404
"""

MAX_PAUSE_S = 60.0
"""Longest pause between two attempts when the server does not name one."""


class LLMClientError(Exception):
    """A call that failed; `status` is the HTTP status, None when there was no reply."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after_s = retry_after_s

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later: timeouts, 429, and 500 and above."""
        return self.status is not None and (self.status == 429 or self.status >= 500)


class LLMTimeout(LLMClientError):
    """No answer within the time limit."""

    @property
    def retryable(self) -> bool:
        return True


class LLMConnectionError(LLMClientError):
    """Nothing listens there, the way to it is broken, or the answer was cut off."""


class LLMRateLimit(LLMClientError):
    """The server is full or the key is over its limit; `retry_after_s` says when to come back."""


class LLMServerError(LLMClientError):
    """The server failed."""


class LLMInvalidResponse(LLMClientError):
    """The server answered, but not with what the call needs."""


class LLMBadRequest(LLMClientError):
    """The request is wrong; the same one will fail again."""


class LLMAuthError(LLMBadRequest):
    """The key is missing, wrong, or not allowed to do this."""


class LLMNotFound(LLMBadRequest):
    """No such model, role or path."""


def error_class(status: int) -> type[LLMClientError]:
    """The class that stands for an HTTP status of 300 or more."""
    known = {408: LLMTimeout, 429: LLMRateLimit, 401: LLMAuthError, 403: LLMAuthError, 404: LLMNotFound}
    if status in known:
        return known[status]
    if status >= 500:
        return LLMServerError
    return LLMBadRequest if status >= 400 else LLMInvalidResponse


def pause_s(failure: LLMClientError, attempt: int, max_retries: int, timeout_s: float | None) -> float | None:
    """Seconds to wait before trying again after attempt number `attempt` (from 0), or None to give up.

    The server's Retry-After is obeyed; when it is longer than a whole call may take, waiting is not worth it.
    """
    if attempt >= max_retries or not failure.retryable:
        return None
    asked = failure.retry_after_s
    if asked is None:
        return min(2.0 ** min(attempt, 10), MAX_PAUSE_S)
    return asked if timeout_s is None or asked <= timeout_s else None
