"""Whose fault an error answer of a remote is, and how the client learns of it.

A mistake in the request comes through as the remote tells it. All else, such as our key or address being refused
there, is no error of the client: it becomes one of the gateway that names the remote.
"""

import re

from msgspec.structs import replace

from rolecast.errors import BadRequest, Busy, LoadFailed, LoopDetected, RolecastError, TooLarge, UpstreamError
from rolecast.values import Failure

CLIENTS = {400: BadRequest, 413: TooLarge, 422: BadRequest}
"""Statuses that are about the request itself."""
_OURS = (
    *("invalid_api_key", "api_key_invalid", "authentication_error", "permission_error", "permission_denied"),
    *("model_not_found", "insufficient_quota", "billing_not_active", "account_deactivated"),
)
"""Codes and types that blame us, whatever the status."""
_OUR_KEY = re.compile(
    r"(?i)\bapi[ _-]?key (?:is )?(?:not valid|invalid|expired|not found|has been (?:disabled|revoked))"
    r"|\b(?:incorrect|invalid|wrong|expired) api[ _-]?key\b"
    r"|\b(?:credit )?balance is too low|insufficient (?:balance|credits?|funds|quota)\b"
)
"""The same in words alone, under the status of a mistake of the request: Gemini's and xAI's keys, Anthropic's bills."""
STRUCK = "***"
LEAST_SECRET = 3
"""Characters: nothing shorter is a key, or struck out."""
TOO_LONG = "context_length_exceeded"
"""The code that clients know for a request beyond the context; agents shorten their history when they see it."""
_TOO_LONG = re.compile(
    r"(?i)context.{0,24}\b(?:length|size|window|limit|overflow).*"
    r"|(?:input|prompt) is too (?:long|large)|maximum (?:prompt|model|input) length|too many tokens"
    r"|token count.{0,40}exceeds|`inputs` (?:tokens|must have less)|reduce the length of the (?:messages|prompt|input)"
    r"|exceed.{0,20}token limit|prompt exceeds|range of input length"
)
_UNABLE = {
    *(TOO_LONG, "exceed_context_size_error", "wrong_capability", "unsupported_parameter", "unsupported_value"),
    *("unknown_parameter", "unsupported_feature", "extra_forbidden"),
}
_NOT_HERE = re.compile(
    r"(?i)\b(?:not|n't|isn't|un) ?(?:be |currently )?(?:supported|available|allowed|permitted|enabled)\b"
    r"|\b(?:does|do) not (?:support|accept|allow|take)|\bdoesn't (?:support|accept|allow)|\bunsupported\b"
    r"|\b(?:unrecognized|unknown|unexpected) (?:request )?(?:argument|parameter|field|keyword)"
    r"|\bno endpoints found|\binvalid `?signature"
)
_RATE = re.compile(r"(?i)rate_limit|\btokens per (?:min|day)")
"""So Groq refuses a request of more tokens than it gives a minute, which others may."""
_EXCESS = re.compile(r"(?i)exceed|should be|maximum|longer|larger|greater|too |only|overflow|reduce|<=|less than|limit")


def on(status: int, said: Failure, where: str, location: str = "", credentials: bytes = b"") -> RolecastError:
    """The error for the client. `where` names the remote; what is in `credentials` is struck out of its words."""
    secret = credentials.decode("latin-1").strip().rpartition(" ")[2]
    if len(secret) > LEAST_SECRET:
        said, location = _without(secret, said), location.replace(secret, STRUCK)
    message = said.message
    ours = _blames_us(status, said)
    too_long = _is_too_long(said)
    if (status in CLIENTS or (status == 500 and too_long)) and not ours:
        kind = CLIENTS.get(status, BadRequest)
        error: RolecastError = kind(
            message or f"{where} refuses this request with status {status} and does not say why.",
            param=said.param,
            code=TOO_LONG if too_long else said.code or "worker_refused",
            status=status if status in CLIENTS else None,
        )
        error.type = said.type if said.type and status in CLIENTS else "invalid_request_error"
        error.retryable = status not in CLIENTS  # a server that calls it its own failure may be left for the next
        return error
    if status == 429 and not ours:
        error = Busy(
            message or f"{where} takes no more requests now.", param=said.param, code=said.code or "worker_refused"
        )
        error.type = said.type or "rate_limit_error"
        return error
    if status == 508:
        return LoopDetected(f"{where} leads back to this gateway; correct its `url`.")
    if 300 <= status < 400:
        to = f" to {location}" if location else ""
        return UpstreamError(f"{where} redirects{to} (status {status}), which is not followed; correct its `url`.")
    text = f"{where} answered with status {status}"
    if status == 200:
        text += " but gave no answer" if message else " but gave no answer; check its `url`"
    text = f"{text}: {message}" if message else f"{text}."
    return LoadFailed(text, code=said.code or "upstream_error") if status == 503 else UpstreamError(text)


def is_about_us(status: int, said: Failure) -> bool:
    """Whether it is our key or account there that is not accepted, so that asking again will not help soon."""
    if status in (401, 402):
        return True
    return status in (400, 403, 429) and said.code.lower() != "model_not_found" and _blames_us(status, said)


def is_unable(error: RolecastError, said: Failure) -> bool:
    """Whether it is this model that cannot do what is asked, so that another of the same role may.

    Takes a refusal rather for one than not: another model that is asked in vain costs a moment, for no server that
    refuses has answered anything.
    """
    if error.status not in CLIENTS:
        return False
    if error.status == 413 and _RATE.search(f"{said.code} {said.message}"):
        return True
    codes = {said.code.lower(), (error.code or "").lower()}
    return bool(codes & _UNABLE) or _NOT_HERE.search(said.message) is not None


def _blames_us(status: int, said: Failure) -> bool:
    if {said.code.lower(), said.type.lower()} & set(_OURS):
        return True
    return status in (400, 403, 429) and _OUR_KEY.search(said.message) is not None


def _is_too_long(said: Failure) -> bool:
    """Whether the request is longer than the model's context, in the words of the servers of this field."""
    if said.code == TOO_LONG or said.type == "exceed_context_size_error":
        return True
    return _TOO_LONG.search(said.message) is not None and _EXCESS.search(said.message) is not None


def _without(secret: str, said: Failure) -> Failure:
    """The same without our key, whole or cut off at the end: its code and type go into the books, too."""
    message = said.message.replace(secret, STRUCK)
    for size in range(min(len(secret) - 1, len(message) - 1), LEAST_SECRET, -1):
        if message.endswith("…") and message.endswith(secret[:size], 0, -1):
            message = message[: -size - 1] + STRUCK
            break
    return replace(
        said,
        message=message,
        code="" if secret in said.code else said.code,
        type="" if secret in said.type else said.type,
        param=said.param.replace(secret, STRUCK) if said.param else said.param,
    )
