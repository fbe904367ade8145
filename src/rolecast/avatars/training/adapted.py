"""A linear layer with an adapter as one step of autograd: y = x W^T + s (x A^T) B^T, W frozen (Hu et al., LoRA).

peft's own makes five passes over the wide output and its gradient (product, scaling, sum, and both ways back). Here the
narrow products are added to the wide ones while these are written.
"""

from typing import Any

import torch
from torch import Tensor


class _Adapted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        low = flat @ a.t()
        ctx.save_for_backward(flat, weight, a, b, low)
        ctx.scale = scale
        return (flat @ weight.t()).addmm_(low, b.t(), alpha=scale).view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, None, Tensor, Tensor, None]:
        flat, weight, a, b, low = ctx.saved_tensors
        wide = above.reshape(-1, above.shape[-1])
        back = (wide @ b).mul_(ctx.scale)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (wide @ weight).addmm_(back, a).view(*above.shape[:-1], weight.shape[1])
        return of_x, None, back.t() @ flat, (wide.t() @ low).mul_(ctx.scale), None


def linear(x: Tensor, weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """x (..., inputs); weight (outputs, inputs), without a gradient; a (rank, inputs); b (outputs, rank); all of one
    type. (..., outputs)."""
    found: Tensor = _Adapted.apply(x, weight, a, b, scale)  # type: ignore[no-untyped-call]
    return found
