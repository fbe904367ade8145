"""What settings are made of: durations, sizes, numbers within bounds, and the base of all sections."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNITS_B = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3}
_UNITS_B |= {"kib": 1024, "mib": 1024**2, "gib": 1024**3}

MOST_BYTES = 2**63
"""Sizes are below it, so that every list of them can be written down."""

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Whole = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Real = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Seconds(float):
    """A duration: a number of seconds, or text such as `500ms`, `90s`, `10m`, `2h`."""

    @classmethod
    def parse(cls, value: Any) -> "Seconds":
        if isinstance(value, int | float) and not isinstance(value, bool):
            number, unit = _float(value), "s"
        else:
            m = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*", str(value))
            if not m:
                raise ValueError(f"Expected a duration such as 30s, 10m or 2h, got {value!r}")
            number, unit = float(m[1]), m[2]
        seconds = number * _UNITS_S[unit]
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"Expected a duration of zero or more, got {value!r}")
        return cls(seconds)


class Bytes(int):
    """A size: a number of bytes, or text such as `64KiB`, `32MiB`, `4GB`."""

    @classmethod
    def parse(cls, value: Any) -> "Bytes":
        m = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]?i?b?)\s*", str(value).lower())
        if isinstance(value, bool) or not m or m[2] not in _UNITS_B:
            raise ValueError(f"Expected a size such as 64KiB, 32MiB or 4GB, got {value!r}")
        size = float(m[1]) * _UNITS_B[m[2]]
        if size >= MOST_BYTES:
            raise ValueError(f"Expected a size that there can be, got {value!r}")
        return cls(size)


def _float(value: int | float) -> float:
    """The nearest float there is, infinity included."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all sections: an unknown key is an error."""

    told: ClassVar[Mapping[str, str]] = {}
    """What to say of keys that others have for the same."""
