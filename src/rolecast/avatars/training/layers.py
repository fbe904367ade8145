"""Layers of a Llama that is trained on a processor, each one step of autograd that keeps little.

Gradients of weights are added where they belong, in the product that makes them: autograd makes a new one for each part
of a batch and adds it in a pass of its own; of an embedding it makes one of the whole vocabulary, 51 MB of zeros in
bf16 for 50,000 tokens, for a few hundred rows. What a cheap pass computes again (a norm, a gate) is not kept: that is
half of all that would be.
"""

from typing import Any

import torch
from torch import Tensor, nn

from rolecast.avatars.training.loss import gradient

_Grads = tuple[Tensor | None, ...]


class _Looked(torch.autograd.Function):
    """y = W[tokens]."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, tokens: Tensor) -> Tensor:
        ctx.weight = weight
        ctx.save_for_backward(tokens)
        return nn.functional.embedding(tokens, weight)

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> _Grads:
        (tokens,) = ctx.saved_tensors
        seen, which = torch.unique(tokens.flatten(), return_inverse=True)
        rows = above.new_zeros((len(seen), above.shape[-1]), dtype=torch.float32)
        rows.index_add_(0, which, above.reshape(-1, above.shape[-1]).float())
        gradient(ctx.weight).index_add_(0, seen, rows.to(above.dtype))
        return None, None


class _Linear(torch.autograd.Function):
    """y = x W^T."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.weight = weight
        ctx.save_for_backward(x)
        return x @ weight.t()

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> _Grads:
        (x,) = ctx.saved_tensors
        return _back(above, x, ctx.weight), None


class _Gated(torch.autograd.Function):
    """y = (silu(gate) * up) W^T; the product is made again on the way back."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, weight: Tensor) -> Tensor:
        ctx.weight = weight
        ctx.save_for_backward(gate, up)
        return nn.functional.silu(gate).mul_(up) @ weight.t()

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> _Grads:
        gate, up = ctx.saved_tensors
        open_ = nn.functional.silu(gate)
        of_product = _back(above, open_ * up, ctx.weight)
        of_gate = torch.ops.aten.silu_backward(of_product * up, gate)
        return of_gate, open_.mul_(of_product), None


class _Opened(torch.autograd.Function):
    """y = silu(gate) * up."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> _Grads:
        gate, up = ctx.saved_tensors
        return torch.ops.aten.silu_backward(above * up, gate), nn.functional.silu(gate).mul_(above)


class _Normed(torch.autograd.Function):
    """y = w x / sqrt(mean(x^2) + epsilon), in fp32 (Zhang and Sennrich)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = x.float()
        shrink = (wide.square().mean(-1, keepdim=True) + epsilon).rsqrt_()
        ctx.weight = weight
        ctx.save_for_backward(x, shrink)
        return (wide * shrink).mul_(weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> _Grads:
        x, shrink = ctx.saved_tensors
        unit, wide = x * shrink, above.float()
        if ctx.weight.requires_grad:
            gradient(ctx.weight).add_((wide * unit).flatten(0, -2).sum(0))
        wide = wide * ctx.weight
        along = (wide * unit).mean(-1, keepdim=True)
        return (wide - unit.mul_(along)).mul_(shrink).to(x.dtype), None, None


class _Turned(torch.autograd.Function):
    """Rotary positions (Su et al.): of each pair (a, b) from the two halves of a head, (a c - b s, b c + a s)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turn(above, cos, sin, -1), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor, way: int) -> Tensor:
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    turned = torch.empty_like(x)
    torch.mul(a, cos, out=turned[..., :half]).addcmul_(b, sin, value=-way)
    torch.mul(b, cos, out=turned[..., half:]).addcmul_(a, sin, value=way)
    return turned


def _back(above: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The gradient of x in x W^T; that of W is added to what it has."""
    wide = above.reshape(-1, above.shape[-1])
    gradient(weight).addmm_(wide.t(), x.reshape(-1, x.shape[-1]))
    return above @ weight


def look_up(weight: Tensor, tokens: Tensor) -> Tensor:
    """weight (vocabulary, width); tokens (...), int64. (..., width)."""
    found: Tensor = _Looked.apply(weight, tokens)  # type: ignore[no-untyped-call]
    return found


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x (..., inputs); weight (outputs, inputs). (..., outputs)."""
    found: Tensor = _Linear.apply(x, weight)  # type: ignore[no-untyped-call]
    return found


def gated(gate: Tensor, up: Tensor, weight: Tensor) -> Tensor:
    """gate, up (..., between); weight (outputs, between). (..., outputs)."""
    found: Tensor = _Gated.apply(gate, up, weight)  # type: ignore[no-untyped-call]
    return found


def opened(gate: Tensor, up: Tensor) -> Tensor:
    """gate, up (..., between). Their shape."""
    found: Tensor = _Opened.apply(gate, up)  # type: ignore[no-untyped-call]
    return found


def normed(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """x (..., width); weight (width). The shape and type of x."""
    found: Tensor = _Normed.apply(x, weight, epsilon)  # type: ignore[no-untyped-call]
    return found


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (batch, heads, length, width); cos, sin (length, width / 2). The shape of x."""
    found: Tensor = _Turned.apply(x, cos, sin)  # type: ignore[no-untyped-call]
    return found
