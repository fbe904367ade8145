"""Measures what is known of a prompt without a model: its language, whether it holds code, how many tokens it has.

Prints figures on the hand-written prompts; tokens are compared with real tokenizers where `tokenizers` and the weights
of a model are given: `facts.py FILE.gguf`. Changes nothing.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from rolecast.dialects import dialect
from rolecast.dialects.openai import read_chat
from rolecast.routing import code, language, tokens
from rolecast.turn.look import look, look_closely
from rolecast.values import Caller

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def rows() -> list[dict[str, str]]:
    return [json.loads(x) for path in sorted((HERE / "prompts").glob("*.jsonl")) for x in path.read_text().splitlines()]


def languages(prompts: Iterable[dict[str, str]]) -> None:
    right, none, of = Counter[str](), Counter[str](), Counter[str]()
    for row in prompts:
        found, lang = language.of_text(row["text"]), row["lang"]
        of[lang] += 1
        right[lang] += found == lang
        none[lang] += found == ""
    print("Languages: prompts, right, not told, wrong")
    for lang, number in of.most_common():
        wrong = number - right[lang] - none[lang]
        print(f"  {lang} {number:5d} {right[lang] / number:6.1%} {none[lang] / number:6.1%} {wrong / number:6.1%}")


def held_code(prompts: Iterable[dict[str, str]]) -> None:
    seen, of = Counter[str](), Counter[str]()
    for row in prompts:
        of[row.get("category", "other")] += 1
        seen[row.get("category", "other")] += code.holds_code(row["text"])
    print("Prompts that hold code, by category")
    for category in sorted(of):
        print(f"  {category:24s} {seen[category]:4d} of {of[category]}")


def lengths(prompts: Iterable[dict[str, str]], count: Callable[[str], int]) -> None:
    texts = [row["text"] for row in prompts] + [path.read_text() for path in (ROOT / "docs").glob("*.md")]
    ratios = sorted(
        tokens.of_texts([text], language.of_text(text)) / real for text in texts if (real := count(text)) >= 8
    )
    error = sum(abs(ratio - 1) for ratio in ratios) / len(ratios)
    low, middle, high = (ratios[int(len(ratios) * share)] for share in (0.05, 0.5, 0.95))
    print(f"Estimated tokens by real ones: median {middle:.2f}, 90 % {low:.2f} to {high:.2f}, mean error {error:.0%}")


def tokenizer(weights: str) -> Callable[[str], int]:
    """Counts as a byte-level BPE model does whose digits stand alone, by the vocabulary in its weights."""
    import gguf
    from tokenizers import Tokenizer, models, pre_tokenizers

    reader = gguf.GGUFReader(weights)
    words, merges = (
        [bytes(field.parts[i]).decode() for i in field.data]
        for field in (reader.fields["tokenizer.ggml.tokens"], reader.fields["tokenizer.ggml.merges"])
    )
    pairs = [(a, b) for a, b in (merge.split(" ") for merge in merges)]
    made = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, pairs))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return lambda text: len(made.encode(text).ids)


def costs() -> None:
    prose = (ROOT / "docs" / "design.md").read_text() * 10
    read, spoken, caller = read_chat(100_000), dialect("openai"), Caller()
    print("Time to look at a chat, of CPU, the least of many rounds")
    for size, messages in ((100, 1), (2_000, 1), (2_000, 7), (20_000, 21), (200_000, 1), (200_000, 101)):
        each = size // messages
        said = [{"role": "user", "content": prose[i * each : (i + 1) * each]} for i in range(messages)]
        body = json.dumps({"model": "auto", "messages": said}).encode()
        request = read(body)
        found = []
        for _ in range(60):
            begun = time.thread_time_ns()
            for _ in range(10):
                request.chat = request.hints = None
                look_closely(look(request, "auto"), request, caller, spoken)
            found.append((time.thread_time_ns() - begun) / 10_000)
        print(f"  {size:7d} characters in {messages:3d} messages: {min(found):7.1f} us")


if __name__ == "__main__":
    everything = rows()
    languages(everything)
    held_code(everything)
    if len(sys.argv) > 1:
        lengths(everything, tokenizer(sys.argv[1]))
    costs()
