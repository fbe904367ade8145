"""Causal attention of plain matrix products, in blocks of queries, for processors.

PyTorch's own is the slowest part of training on a CPU: its backward in bf16 takes two to four times as long as this.
A block of queries sees keys up to its own end alone, so that of the upper triangle only the diagonal blocks are
computed. Weights are computed again on the way back: what is kept grows with the length and not with its square.
Several heads that share a key are one product.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

BLOCK = 128
"""Queries at once; below that the products are too small."""


class _Attended(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.scale = scale
        k, v, found = _together(key), _together(value), torch.empty_like(query)
        for where in _blocks(query.shape[2]):
            p = _weights(_rows(query, where, key.shape[1]), k, where, scale)
            _put(found, where, torch.bmm(p, v[:, : where.stop]))
        return found

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value = ctx.saved_tensors
        shared, scale = key.shape[1], ctx.scale
        k, v, of_query = _together(key), _together(value), torch.empty_like(query)
        of_key, of_value = torch.zeros_like(k), torch.zeros_like(v)
        for where in _blocks(query.shape[2]):
            q, over = _rows(query, where, shared), _rows(above, where, shared)
            p = _weights(q, k, where, scale)
            of_p = torch.bmm(over, v[:, : where.stop].transpose(1, 2))
            of_value[:, : where.stop].baddbmm_(p.transpose(1, 2), over)
            of_scores = torch._softmax_backward_data(of_p, p, -1, p.dtype)  # noqa: SLF001 - it has no other name
            _put(of_query, where, _product(of_scores, k[:, : where.stop], scale))
            of_key[:, : where.stop].baddbmm_(of_scores.transpose(1, 2), q, alpha=scale)
        return of_query, of_key.view(key.shape), of_value.view(value.shape), None


def attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """softmax(scale * Q K^T + causal) V.

    query (batch, heads, length, width); key, value the same, or with fewer heads, each for several of the query's in a
    row; the same shape as query comes back.
    """
    found: Tensor = _Attended.apply(query, key, value, scale)  # type: ignore[no-untyped-call]
    return found


def _blocks(length: int) -> Iterator[slice]:
    for first in range(0, length, BLOCK):
        yield slice(first, min(first + BLOCK, length))


def _together(each: Tensor) -> Tensor:
    """(batch, heads, length, width) to (batch * heads, length, width)."""
    return each.flatten(0, 1).contiguous()


def _rows(each: Tensor, where: slice, shared: int) -> Tensor:
    """A block of it: (batch * shared heads, heads that share one * block, width)."""
    return each[:, :, where].reshape(each.shape[0] * shared, -1, each.shape[3])


def _put(into: Tensor, where: slice, rows: Tensor) -> None:
    """The way back of `_rows`."""
    block = into[:, :, where]
    block.copy_(rows.view(block.shape[0], -1, *block.shape[2:]))


def _product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    return torch.baddbmm(a.new_empty(()), a, b, beta=0, alpha=scale)


def _weights(q: Tensor, k: Tensor, where: slice, scale: float) -> Tensor:
    """Of a block of queries for the keys up to its end: (batch * shared heads, rows, keys)."""
    scores = _product(q, k[:, : where.stop].transpose(1, 2), scale)
    block = where.stop - where.start
    later = torch.full((block, block), float("-inf"), dtype=q.dtype, device=q.device).triu_(1)
    scores.view(len(scores), -1, block, where.stop)[..., where.start :].add_(later)
    return torch.softmax(scores, -1)
