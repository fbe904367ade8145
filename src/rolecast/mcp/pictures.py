"""Pictures of an answer: content of their own for the client, and no text that a model would have to read."""

import re
from typing import Any

from rolecast.mcp.calls import Outcome

_INLINE = re.compile(r"data:(image/[\w.+-]+);base64,([A-Za-z0-9+/=]+)\Z")


def pictured(outcome: Outcome) -> tuple[Outcome, list[dict[str, Any]]]:
    """The answer without the bytes of its pictures, and these as content; addresses stay where they are."""
    metadata = outcome.data.get("metadata")
    images = metadata.get("images") if isinstance(metadata, dict) else None
    if not isinstance(images, list):
        return outcome, []
    content: list[dict[str, Any]] = []
    told: list[str] = []
    for image in filter(None, map(str, images)):
        if (found := _INLINE.match(image)) is None:
            told.append(image)
        else:
            content.append({"type": "image", "data": found[2], "mimeType": found[1]})
            told.append(f"picture {len(content)}, {found[1]}")
    if not content:
        return outcome, []
    text = "\n".join(told)
    assert isinstance(metadata, dict)
    return Outcome(text, {**outcome.data, "response": text, "metadata": {**metadata, "images": told}}), content
