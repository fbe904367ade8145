"""Causal attention of plain matrix products, in blocks of queries, for processors.

PyTorch's own is the slowest part of training on a CPU: its backward in bf16 takes two to four times as long as this.
A block of queries sees keys up to its own end alone, so that of the upper triangle only the diagonal blocks are
computed.
"""

import torch
from torch import Tensor

BLOCK = 128
"""Queries at once; below that the products are too small."""


def attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """softmax(scale * Q K^T + causal) V.

    query (batch, heads, length, width); key, value the same, or with fewer heads, each for several of the query's in a
    row; the same shape as query comes back.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (each.repeat_interleave(groups, 1) for each in (key, value))
    batch, heads, length, width = query.shape
    q, k, v = (each.reshape(batch * heads, length, width) for each in (query, key, value))
    across = k.transpose(1, 2)
    blocks = []
    for first in range(0, length, BLOCK):
        end = min(first + BLOCK, length)
        hidden = torch.full((end - first, end), float("-inf"), dtype=q.dtype, device=q.device).triu_(first + 1)
        scores = torch.baddbmm(hidden, q[:, first:end], across[:, :, :end], alpha=scale)
        blocks.append(torch.bmm(torch.softmax(scores, -1), v[:, :end]))
    joined = blocks[0] if len(blocks) == 1 else torch.cat(blocks, 1)
    return joined.view(batch, heads, length, width)
