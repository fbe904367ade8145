"""What a variant puts into a body of OpenAI's wire. All that the body says itself stays, byte for byte."""

from typing import Any

import msgspec

from rolecast.dialects.defaults import LEADING
from rolecast.values import Defaults, Kind

SPELLINGS = {
    "max_tokens": ("max_tokens", "max_completion_tokens", "n_predict"),
    "repetition_penalty": ("repetition_penalty", "repeat_penalty"),
}
"""All names under which a request may say a setting that has several."""


class _Role(msgspec.Struct):
    role: str


_roles = msgspec.json.Decoder(list[_Role]).decode
_raw = msgspec.json.Decoder(list[msgspec.Raw]).decode


def fill(fields: dict[str, Any], kind: Kind, defaults: Defaults) -> None:
    """Put what these fields of a body do not say. Embeddings get nothing."""
    if kind == "embeddings":
        return
    settings = {**msgspec.structs.asdict(defaults.sampling), **defaults.extra}
    for name, value in settings.items():
        spellings = SPELLINGS.get(name, (name,))
        if value not in (None, ()) and not any(said(fields, each) for each in spellings):
            fields[name] = value
    if kind == "chat" and (defaults.system or defaults.messages):
        fields["messages"] = _begun(bytes(fields["messages"]), defaults)


def said(fields: dict[str, Any], name: str) -> bool:
    """Whether the body says it: null says nothing."""
    return name in fields and bytes(fields[name]) != b"null"


def _begun(written: bytes, defaults: Defaults) -> list[Any]:
    messages, roles = _raw(written), _roles(written)
    led = next((i for i, message in enumerate(roles) if message.role not in LEADING), len(roles))
    given = [message("system", defaults.system)] if defaults.system and not led else messages[:led]
    return [*given, *(message(each.role, str(each.content)) for each in defaults.messages), *messages[led:]]


def message(role: str, content: str) -> dict[str, str]:
    """A message of text."""
    return {"role": role, "content": content}
