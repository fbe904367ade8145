"""Anthropic's Messages: requests, and errors as its clients read them.

A server of the same kind gets the body as it is. For others it becomes a chat in words of no dialect
(`anthropic_words`), and `anthropic_writer` writes the answer. Tokens are counted by a page: that is no chat.
"""

import re
from collections.abc import Mapping

import msgspec

from rolecast.config.schema import Limits
from rolecast.dialects import Read, Writer, anthropic_body, anthropic_words, anthropic_writer
from rolecast.dialects.anthropic_body import Body, Message
from rolecast.dialects.operation import Reference
from rolecast.dialects.request import Request
from rolecast.errors import BadRequest, RolecastError
from rolecast.values import Chat

TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""Anthropic's types of errors by status; of the others those below 500 are the request's fault, the rest the API's."""
TOO_LONG = "context_length_exceeded"
_TOKENS = re.compile(r"(\d{1,12}) tokens")
_ANY = 2**62


class Anthropic:
    """Messages, in both spellings that base URLs lead to."""

    id_header = b"request-id"
    ping = b'event: ping\ndata: {"type":"ping"}\n\n'

    def paths(self, limits: Limits) -> Mapping[str, Read]:
        """With and without `/v1`."""
        most = int(limits.messages)
        return dict.fromkeys(("/v1/messages", "/messages"), lambda body: _read(body, most))

    def chat(self, request: Request) -> Chat:
        """A chat request in words of no dialect."""
        return anthropic_words.chat(*anthropic_body.read(request.body, _ANY))

    def writer(self, request: Request, model: str) -> Writer:
        """Writes the events of a stream, or one whole message."""
        return anthropic_writer.writer(request, model)

    def error(self, error: RolecastError, *, started: bool = False) -> bytes:
        """The error object; in a stream as the event that ends it."""
        kind = TYPES.get(error.status, "invalid_request_error" if 400 <= error.status < 500 else "api_error")
        told = {"type": kind, "message": _message(error)}
        body = msgspec.json.encode({"type": "error", "error": told, "request_id": error.request_id or None})
        return b"event: error\ndata: %b\n\n" % body if started else body

    def reference(self) -> Reference:
        """What its paths take and give."""
        from rolecast.dialects import anthropic_reference

        return anthropic_reference.REFERENCE


def to_count(body: bytes, limits: Limits) -> Request:
    """A request for the number of its tokens. Raises BadRequest."""
    return _request(body, *anthropic_body.read(body, int(limits.messages)))


def _read(body: bytes, most: int) -> Request:
    fields, messages = anthropic_body.read(body, most)
    if fields.max_tokens is None:
        raise anthropic_body.wrong("max_tokens", "is missing: how many tokens the answer may have at most")
    return _request(body, fields, messages)


def _request(body: bytes, fields: Body, messages: list[Message]) -> Request:
    needs, prefers = anthropic_body.needs(fields, messages)
    stream = fields.stream is True
    passed = anthropic_body.to_pass(body)
    return Request(
        "chat",
        b"/messages",
        fields.model or "",
        stream,
        body,
        needs,
        prefers,
        edit=passed is not None,
        to_pass=passed,
        family="anthropic",
        session=fields.session_id or "",
    )


def _message(error: RolecastError) -> str:
    """What is said; of a prompt beyond the context in the words by which clients know that they must shorten it."""
    if not (isinstance(error, BadRequest) and error.code == TOO_LONG):
        return error.message
    numbers = sorted({int(number) for number in _TOKENS.findall(error.message)})
    if len(numbers) < 2:
        return f"prompt is too long: {error.message}"
    return f"prompt is too long: {numbers[-1]} tokens > {numbers[0]} maximum. {error.message}"
