"""A server somewhere else that speaks Anthropic's Messages: Anthropic's own, or another gateway.

An OpenAI remote in everything but its words, its headers and what it can be asked.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from rolecast.backends import SLOTS_ELSEWHERE
from rolecast.backends.remote import OpenAIRemote, is_base_of
from rolecast.config.about import COMMAND, RUN_HERE, WEIGHTS, About, Remark, no_copies, no_media
from rolecast.config.schema import Model
from rolecast.dialects.request import read_fields
from rolecast.values import Endpoint, Listen

URL = "https://api.anthropic.com/v1"
VERSION = b"anthropic-version: 2023-06-01\r\n"
COUNTED = ("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config")
"""Fields that a count may have."""


def _problems(model: Model) -> Iterator[Remark]:
    yield from is_base_of(model)
    yield from no_media(model)


def _doubts(model: Model) -> Iterator[Remark]:
    if not (model.url or model.key):
        yield "key", "is missing: Anthropic's own server answers nobody without one; write env:ANTHROPIC_API_KEY"
    yield from no_copies(model)


class AnthropicRemote(OpenAIRemote):
    """`backend: anthropic`."""

    about = About(
        slots=SLOTS_ELSEWHERE,
        unused=(*WEIGHTS, *RUN_HERE, *COMMAND, "script", "stream_usage", "markup"),
        problems=_problems,
        doubts=_doubts,
    )
    speaks = "anthropic"
    credential = "x-api-key: {}"
    usage: Literal["inject", "always"] = "always"
    several = False

    def plan(self, model_id: str, model: Model, weights: Path | None, listen: Listen) -> Endpoint:
        """Where the server is. Raises ConfigError for a bad URL or a key that is not there."""
        whole = msgspec.structs.replace(model, url=model.url or URL)
        endpoint = super().plan(model_id, whole, weights, listen)
        return msgspec.structs.replace(endpoint, headers=VERSION + endpoint.headers)  # the credential is the last word

    def tells_apart(self, model: Model) -> bool:
        """Anthropic's wire has blocks for both."""
        return True

    def counting(self, body: bytes) -> tuple[bytes, bytes] | None:
        """The same message without what only its answer needs."""
        fields = {name: value for name, value in read_fields(body).items() if name in COUNTED}
        return b"/messages/count_tokens", msgspec.json.encode(fields)
