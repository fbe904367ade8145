"""What all bodies of Ollama's paths have in common: how they fail, how long the model stays, and wanting no answer."""

import re
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from rolecast.dialects.openai_chat import explain
from rolecast.dialects.request import Request
from rolecast.errors import BadRequest

KeepAlive = float | str | None
"""Seconds, or a duration as Go writes it."""
_UNITS = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNIT = "|".join(_UNITS)
_NUMBER = r"\d{1,15}(?:\.\d{0,15})?"
_DURATION = re.compile(rf"([+-]?)((?:{_NUMBER}(?:{_UNIT}))+|{_NUMBER})", re.ASCII)
MOST_S = 100 * 365 * 86_400.0
"""Longer is for good: clocks do not count so far."""
_PIECE = re.compile(r"([\d.]+)([^\d.]*)")


class Named(Protocol):
    """A body that names a model."""

    model: str


B = TypeVar("B", bound=Named)


def decoded(body: bytes, decode: Callable[[bytes], B], model: str = "") -> B:
    """The fields of a body; without a `model` to fall back on it must name one. Raises BadRequest."""
    try:
        body.decode()  # the decoder looks into no text that it hands on as it stands
        fields = decode(body)
    except msgspec.ValidationError as exc:
        where, text = explain(exc)
        if not where:
            raise BadRequest(f"The body must be a JSON object: {text}.", code="bad_json") from None
        raise BadRequest(f"`{where}`: {text}.", param=where, code="invalid_value") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRequest(f"The body is not valid JSON: {exc}.", code="bad_json") from None
    fields.model = fields.model or model
    if not fields.model:
        raise BadRequest("`model` is missing: the name of a model, or 'auto'.", param="model")
    return fields


def seconds(keep_alive: KeepAlive) -> float | None:
    """How long the model shall stay after the request; below 0 is for good. Raises BadRequest."""
    if keep_alive is None or keep_alive == "":
        return None
    if isinstance(keep_alive, str):
        found = _DURATION.fullmatch(keep_alive.strip())
        if found is None:
            text = '`keep_alive` must be seconds, or a duration such as "5m" or "1h30m"; below 0 is for good'
            raise BadRequest(f"{text}.", param="keep_alive", code="invalid_value")
        length = sum(float(number) * _UNITS.get(unit, 1.0) for number, unit in _PIECE.findall(found[2]))
        keep_alive = -length if found[1] == "-" else length
    return keep_alive if 0 <= keep_alive <= MOST_S else float("inf")


def without_answer(body: bytes, model: str, stay_s: float | None) -> Request:
    """A request with nothing to answer: the model is loaded, or leaves when it shall stay for no time."""
    return Request("chat", b"", model, False, body, family="", only="unload" if stay_s == 0 else "load", stay_s=stay_s)
