"""Makes `src/rolecast/data/prices.csv` of the package genai-prices: `make prices`. Dollars per million tokens.

Only models of text that somebody can ask today, at their standard price: no batches, no fine-tuning. Of a price in
tiers the lowest is taken, which holds for prompts of usual length. What is asked by another name (a date, `-latest`)
stands beside the name, with `*` for any end.
"""

import csv
import sys
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent.parent / "src/rolecast/data/prices.csv"
PROVIDERS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "google": "gemini",
    "x-ai": "xai",
    "openrouter": "openrouter",
    "together": "together",
    "groq": "groq",
    "mistral": "mistral",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "cerebras": "cerebras",
    "perplexity": "perplexity",
    "cohere": "cohere",
    "moonshotai": "moonshot",
}
"""By the names of that package, and ours."""
ONLY = {"google": ("gemini-", "gemma-")}
"""Others resell there what has its own address."""
NEVER = (
    "ft:",
    ".ft-",
    ":batch",
    "realtime",
    "-live",
    "transcribe",
    "whisper",
    "-tts",
    "ocr",
    "image",
    "audio",
    "robotics",
)
"""What is no text, or nothing that is asked at once."""
STEP = Decimal("0.000001")
COLUMNS = ("provider", "model", "also", "context", "input", "cached", "written", "output")


def main() -> int:
    from genai_prices.data import providers

    now = datetime.now(UTC)
    rows = [
        row
        for provider in providers
        if provider.id in PROVIDERS
        for model in provider.models
        if (row := _row(provider.id, model, now)) is not None
    ]
    rows.sort()
    with FILE.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# Dollars per million tokens on {now:%Y-%m-%d}, by genai-prices {version('genai-prices')}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS, *rows])
    print(f"{FILE}: {len(rows)} models of {len(PROVIDERS)} providers")
    return 0


def _row(provider: str, model: Any, now: datetime) -> tuple[str, ...] | None:
    if model.deprecated or any(word in model.id for word in NEVER):
        return None
    if not model.id.startswith(ONLY.get(provider, ("",))):
        return None
    prices = model.get_prices(now)
    given, output = _plain(prices.input_mtok), _plain(getattr(prices, "output_mtok", None))
    if given is None or (output is None and "embed" not in model.id):
        return None
    cached, written = (_plain(getattr(prices, name, None)) for name in ("cache_read_mtok", "cache_write_mtok"))
    also = sorted(
        name for name in _names(model.match) if name != model.id and not any(word in name for word in (" ", *NEVER))
    )
    context = str(model.context_window or "")
    told = [_said(given), _said(cached), _said(written), _said(output or Decimal(0))]
    return (PROVIDERS[provider], model.id, " ".join(also), context, *told)


def _plain(price: Any) -> Decimal | None:
    """The price, of tiers the first."""
    return None if price is None else Decimal(getattr(price, "base", price))


def _said(price: Decimal | None) -> str:
    """As it stands in the list: a picodollar per token is the smallest step."""
    return "" if price is None else f"{price.quantize(STEP).normalize():f}"


def _names(match: Any) -> set[str]:
    """The names that match: whole ones, and beginnings with `*` behind; other rules are left out."""
    found: set[str] = set()
    for rule in getattr(match, "or_", None) or [match]:
        if equal := getattr(rule, "equals", None):
            found.add(equal)
        elif start := getattr(rule, "starts_with", None):
            found.add(f"{start}*")
    return found


if __name__ == "__main__":
    sys.exit(main())
