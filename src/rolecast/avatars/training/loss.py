"""Cross-entropy of the tokens that are learnt, without ever holding their logits whole.

With a vocabulary of 50,000 the logits of 2,048 tokens are 410 MB in fp32, softmax and gradient as much again. Here a
chunk of rows becomes logits, probabilities and gradients in place, while it is in the cache.
"""

from typing import Any

import torch
from torch import Tensor

CHUNK = 2**24
"""Logits at once, at most: 32 MB in bf16, which stay in a large cache from product to softmax to product."""


def _rows(tokens: int, vocabulary: int, most: int) -> int:
    """Tokens of a chunk: all chunks of about one size, so that none is too small for a fast product."""
    chunks = -(-tokens // max(1, most // vocabulary))
    return max(1, -(-tokens // max(1, chunks)))


class _Summed(torch.autograd.Function):
    """The sum of -log softmax(hidden W^T)[target]. Gradients are computed with the loss: (p - 1[target]) W and
    (p - 1[target])^T hidden; `backward` multiplies them by what comes from above."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, target: Tensor) -> Tensor:
        rows = _rows(hidden.shape[0], weight.shape[0], CHUNK)
        of_hidden = torch.empty_like(hidden)
        of_weight: Tensor | None = None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for first in range(0, hidden.shape[0], rows):
            some, aim = hidden[first : first + rows], target[first : first + rows]
            p = torch.softmax(some @ weight.t(), -1)
            places = torch.arange(aim.shape[0], device=p.device), aim
            at_aim = p[places]
            # A float of any width has room for e^-87; below it the logarithm has no number.
            total -= at_aim.float().clamp_min(torch.finfo(torch.float32).tiny).log().sum()
            p.index_put_(places, at_aim - 1)
            torch.mm(p, weight, out=of_hidden[first : first + rows])
            if ctx.needs_input_grad[1]:
                if of_weight is None:
                    of_weight = p.t() @ some
                else:
                    of_weight.addmm_(p.t(), some)
            del p
        ctx.save_for_backward(of_hidden, of_weight)
        return total

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, Tensor | None, None]:
        of_hidden, of_weight = ctx.saved_tensors
        # In place: both are ours alone and used once.
        return of_hidden.mul_(above), None if of_weight is None else of_weight.mul_(above), None


def summed(hidden: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """The sum of the losses in nats, fp32, with gradients.

    hidden (tokens, width); weight (vocabulary, width), of the same type; target (tokens), int64.
    """
    total: Tensor = _Summed.apply(hidden, weight, target)  # type: ignore[no-untyped-call]
    return total


def measured(hidden: Tensor, weight: Tensor, target: Tensor) -> float:
    """The same in fp32 accuracy, without gradients."""
    rows = _rows(hidden.shape[0], weight.shape[0], CHUNK // 2)
    total = 0.0
    for first in range(0, hidden.shape[0], rows):
        logits = (hidden[first : first + rows] @ weight.t()).detach().float()
        total += float(torch.nn.functional.cross_entropy(logits, target[first : first + rows], reduction="sum"))
    return total
