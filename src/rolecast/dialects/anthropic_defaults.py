"""What a variant puts into a body of Anthropic's wire. All that the body says itself stays, byte for byte."""

from typing import Any

import msgspec

from rolecast.dialects.openai_defaults import message, said
from rolecast.values import Defaults

SETTINGS = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "stop_sequences": "stop"}
"""The settings that this wire has, and what they are in words of no dialect."""


class _Role(msgspec.Struct):
    role: str


_roles = msgspec.json.Decoder(list[_Role]).decode
_raw = msgspec.json.Decoder(list[msgspec.Raw]).decode


def fill(fields: dict[str, Any], defaults: Defaults) -> None:
    """Put what these fields of a body do not say. How long the answer may be, each of them says."""
    for theirs, name in SETTINGS.items():
        value = getattr(defaults.sampling, name)
        if value not in (None, ()) and not said(fields, theirs):
            fields[theirs] = value
    written = bytes(fields["messages"])
    leads = said(fields, "system") and bytes(fields["system"]).strip() not in (b'""', b"[]")
    if not leads and _roles(written)[0].role != "system":
        first = [str(each.content) for each in defaults.messages if each.role == "system"]
        if system := "\n\n".join(filter(None, [defaults.system, *first])):
            fields["system"] = system
    others = [message(each.role, str(each.content)) for each in defaults.messages if each.role != "system"]
    if others:
        fields["messages"] = [*others, *_raw(written)]
