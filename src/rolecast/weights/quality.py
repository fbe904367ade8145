"""How good a model may be that nobody measured: by how many parameters it has. Pure; reads no file."""

import math
import re

OFFSET, SLOPE = 0.02, 0.96
"""The line through published scores, see `guess`."""
_SIZE = re.compile(r"(?<![a-z0-9.])(?:(\d{1,2})x)?(\d{1,4}(?:\.\d{1,3})?)([bm])(?![a-z0-9])", re.IGNORECASE)


def guess(parameters: float) -> float:
    """The share of right answers to expect of a model with so many parameters, from 0 to 1.

    logit(share) = 0.02 + 0.96 log10(parameters / 10^9): least squares through the MMLU scores that the model cards of
    17 open models from 0.135 to 72.7 billion parameters give (SmolLM2, Qwen2.5, Llama 3, Gemma 3); off by 0.03 on
    average and 0.07 at most. A mixture of experts is rated too high, since all its experts are counted.
    """
    return 1 / (1 + math.exp(-(OFFSET + SLOPE * math.log10(max(parameters, 1e6) / 1e9))))


def size_in(text: str) -> float:
    """The parameters that a name such as `qwen2.5-7b` or a text such as `135M` tells; 0 = none."""
    found = _SIZE.search(text)
    if found is None:
        return 0.0
    experts, number, unit = found.groups()
    return float(number) * int(experts or 1) * (1e9 if unit in "bB" else 1e6)
