"""What one check of `doctor` saw."""

from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """What one check saw, and the command that mends it."""

    check: str
    level: Literal["ok", "warn", "fail"]
    message: str
    fix: str = ""
