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
    """Of scale * sum of -log softmax(hidden W^T)[target]. Gradients are computed with the loss: (p - 1[target]) W goes
    back, and (p - 1[target])^T hidden is added to what W has, where it lies."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, target: Tensor, scale: float) -> Tensor:
        rows = _rows(hidden.shape[0], weight.shape[0], CHUNK)
        of_hidden = torch.empty_like(hidden)
        of_weight = gradient(weight) if ctx.needs_input_grad[1] else None
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
            if of_weight is not None:
                of_weight.addmm_(p.t(), some, alpha=scale)
            del p
        ctx.save_for_backward(of_hidden.mul_(scale))
        return total.mul_(scale)

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None, None, None]:
        (of_hidden,) = ctx.saved_tensors
        return of_hidden.mul_(above), None, None, None  # in place: it is ours alone and used once


def gradient(weight: Tensor) -> Tensor:
    """What was added up for a weight so far, to add more to: zeros at first.

    Of a large weight that several parts of a batch or of a model have gradients for, autograd would make a new one for
    each and add it, which is three passes over all of it.
    """
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    return weight.grad


def summed(hidden: Tensor, weight: Tensor, target: Tensor, scale: float = 1.0) -> Tensor:
    """`scale` times the sum of the losses in nats, fp32, to go back from once, and from nothing made of it. What is due
    to the weight, if it is trained, is then in its `grad` already.

    hidden (tokens, width); weight (vocabulary, width), of the same type; target (tokens), int64.
    """
    total: Tensor = _Summed.apply(hidden, weight, target, scale)  # type: ignore[no-untyped-call]
    return total


def measured(hidden: Tensor, weight: Tensor, target: Tensor) -> float:
    """The same in fp32 accuracy, without gradients."""
    rows = _rows(hidden.shape[0], weight.shape[0], CHUNK // 2)
    total = 0.0
    for first in range(0, hidden.shape[0], rows):
        logits = (hidden[first : first + rows] @ weight.t()).detach().float()
        total += float(torch.nn.functional.cross_entropy(logits, target[first : first + rows], reduction="sum"))
    return total
