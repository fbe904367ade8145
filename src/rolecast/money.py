"""Money: whole picodollars inside, decimals outside, no binary fraction anywhere.

A price of 0.15 dollars per million tokens is 150,000 picodollars per token, so every price in use is a whole number,
sums are exact, and 64 bits hold nine million dollars.
"""

from decimal import ROUND_HALF_UP, Decimal

import msgspec

PICO = 10**12
"""Picodollars in a dollar."""
MOST = 2**63 - 1
"""Picodollars that a column holds: nine million dollars."""
RECEIPT = Decimal("0.000001")
"""Receipts are told in millionths of a dollar."""


class Rates(msgspec.Struct, frozen=True):
    """What a token costs, in picodollars, by what it is."""

    input: int
    """Of a prompt, as far as the server had not kept it."""
    output: int
    """Of an answer; what was thought is part of it."""
    cached: int
    """Of a prompt that the server had kept."""
    written: int
    """Of a prompt that the server keeps from now on."""

    @property
    def free(self) -> bool:
        """Whether nothing costs anything."""
        return not (self.input or self.output or self.cached or self.written)

    def cost(self, prompt: int, completion: int, cached: int = 0, written: int = 0, hour: int = 0) -> int:
        """Picodollars of so many tokens; `cached` and `written` are within `prompt`, `hour` within `written`.

        What is kept for an hour costs twice `input` where keeping costs anything (Anthropic).
        """
        plain = max(prompt - cached - written, 0)
        sum_of = plain * self.input + completion * self.output + cached * self.cached + written * self.written
        return sum_of + hour * (2 * self.input - self.written) if hour and self.written > self.input else sum_of


def exact(number: float | str | Decimal) -> Decimal:
    """The number as it was written: 0.1 is a tenth. Raises decimal.InvalidOperation for a text that is none."""
    return Decimal(repr(number)) if isinstance(number, float) else Decimal(number)


def pico(dollars: float | str | Decimal) -> int:
    """Dollars as picodollars; what is smaller than one is rounded, halves up."""
    return int((exact(dollars) * PICO).to_integral_value(ROUND_HALF_UP))


def dollars(amount: int) -> Decimal:
    """Picodollars as dollars, exactly."""
    return Decimal(amount) / PICO


def per_token(cents_per_million: float) -> int:
    """A price in cents per million tokens as picodollars per token: a cent per million is 10,000 of them."""
    return int((exact(cents_per_million) * 10_000).to_integral_value(ROUND_HALF_UP))


def told(amount: int) -> str:
    """Picodollars as dollars in digits, exactly: `0.0000375`."""
    text = f"{dollars(amount):.12f}".rstrip("0")
    return f"{text}0" if text.endswith(".") else text


def receipt(amount: int) -> Decimal:
    """Picodollars as dollars with six decimals, halves up."""
    return dollars(amount).quantize(RECEIPT, ROUND_HALF_UP)
