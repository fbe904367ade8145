"""A plain Llama that is trained: its parameters are named as transformers names them, and it keeps no cache.

transformers' own has no place for what makes training quick here: layers of few steps, the last one at the learnt
places alone, adapters in one product. And its import takes 160 MB and some seconds.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rolecast.avatars.export.llama import Shape
from rolecast.avatars.training.steps import Steps

DEVIATION = 0.02
"""Of weights at the beginning."""


class Linear(nn.Module):
    """y = x W^T; with an adapter y = x W^T + s (x A^T) B^T, W frozen (Hu et al., LoRA)."""

    def __init__(self, inputs: int, outputs: int, steps: Steps) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.lora_A: nn.Parameter | None = None
        self.lora_B: nn.Parameter | None = None
        self._scale = 0.0
        self._steps = steps

    def adapt(self, rank: int, alpha: int) -> None:
        """Train an adapter from here on; it changes nothing yet. A is uniform within 1 / sqrt(inputs), as peft's."""
        weight = self.weight.requires_grad_(False)
        first = torch.empty(rank, weight.shape[1], device=weight.device).uniform_(-1, 1).div_(weight.shape[1] ** 0.5)
        self.lora_A = nn.Parameter(first.to(weight.dtype))
        self.lora_B = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        self._scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        if self.lora_A is None or self.lora_B is None:
            return self._steps.linear(x, self.weight)
        return self._steps.adapted(x, self.weight, self.lora_A, self.lora_B, self._scale)


class Norm(nn.Module):
    """Root mean square."""

    def __init__(self, shape: Shape, steps: Steps) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape.width))
        self._epsilon, self._normed = shape.epsilon, steps.normed

    def forward(self, x: Tensor) -> Tensor:
        return self._normed(x, self.weight, self._epsilon)


class Attention(nn.Module):
    """Causal, with rotary positions, up to before its last product."""

    def __init__(self, shape: Shape, steps: Steps) -> None:
        super().__init__()
        self._width, self._steps = shape.head_width, steps
        inner, shared = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
        self.q_proj = Linear(shape.width, inner, steps)
        self.k_proj = Linear(shape.width, shared, steps)
        self.v_proj = Linear(shape.width, shared, steps)
        self.o_proj = Linear(inner, shape.width, steps)

    def forward(self, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """hidden (batch, length, width); cos, sin (length, width of a head / 2). (batch, length, heads * its width)."""
        query, key, value = (
            each(hidden).unflatten(-1, (-1, self._width)).transpose(1, 2)
            for each in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = self._steps.turned(query, cos, sin), self._steps.turned(key, cos, sin)
        return self._steps.attention(query, key, value, self._width**-0.5).transpose(1, 2).flatten(2)


class Mlp(nn.Module):
    """Gated."""

    def __init__(self, shape: Shape, steps: Steps) -> None:
        super().__init__()
        self._steps = steps
        self.gate_proj = Linear(shape.width, shape.hidden, steps)
        self.up_proj = Linear(shape.width, shape.hidden, steps)
        self.down_proj = Linear(shape.hidden, shape.width, steps)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_proj(x), self.up_proj(x)
        if self.down_proj.lora_A is None:
            return self._steps.gated(gate, up, self.down_proj.weight)
        found: Tensor = self.down_proj(self._steps.opened(gate, up))
        return found


class Layer(nn.Module):
    """A layer."""

    def __init__(self, shape: Shape, steps: Steps) -> None:
        super().__init__()
        self.input_layernorm = Norm(shape, steps)
        self.self_attn = Attention(shape, steps)
        self.post_attention_layernorm = Norm(shape, steps)
        self.mlp = Mlp(shape, steps)

    def forward(self, hidden: Tensor, cos: Tensor, sin: Tensor, places: Tensor | None = None) -> Tensor:
        """hidden (batch, length, width) to the same; with `places`, which count through all rows, to (places, width):
        beyond its keys and values it is then computed for those alone."""
        found = self.self_attn(self.input_layernorm(hidden), cos, sin)
        if places is not None:
            found, hidden = (each.flatten(0, 1).index_select(0, places) for each in (found, hidden))
        hidden = hidden + self.self_attn.o_proj(found)
        after: Tensor = hidden + self.mlp(self.post_attention_layernorm(hidden))
        return after


class Trunk(nn.Module):
    """All but the head."""

    def __init__(self, shape: Shape, steps: Steps) -> None:
        super().__init__()
        self._steps = steps
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape, steps) for _ in range(shape.layers))
        self.norm = Norm(shape, steps)

    def embedded(self, tokens: Tensor) -> Tensor:
        """(batch, length) to (batch, length, width)."""
        weight = self.embed_tokens.weight
        return self._steps.look_up(weight, tokens) if weight.requires_grad else nn.functional.embedding(tokens, weight)


class Llama(nn.Module):
    """Without weights until it has been given some."""

    def __init__(self, shape: Shape, steps: Steps) -> None:
        super().__init__()
        self.shape = shape
        self.recomputes = False
        """Whether activations of a layer are computed again on the way back, instead of being kept."""
        self.model = Trunk(shape, steps)
        self.lm_head = None if shape.tied else nn.Linear(shape.width, shape.vocabulary, bias=False)

    @property
    def head(self) -> Tensor:
        """(vocabulary, width): the embedding itself when both are one."""
        return self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def begin(self) -> None:
        """Weights N(0, 0.02), norms 1."""
        for each in self.parameters():
            if each.dim() > 1:
                each.data.copy_(torch.randn(each.shape, device=each.device).mul_(DEVIATION))
            else:
                each.data.fill_(1.0)

    def adapt(self, rank: int, alpha: int) -> None:
        """Freeze it, and train an adapter on each product of its layers."""
        self.requires_grad_(False)
        for module in self.model.layers.modules():
            if isinstance(module, Linear):
                module.adapt(rank, alpha)

    def seen(self, tokens: Tensor, places: Tensor) -> Tensor:
        """What the head sees of some places, which count through all rows: tokens (batch, length) to (places, width).
        Causal, so that padding after a token changes nothing of it."""
        hidden = self.model.embedded(tokens)
        cos, sin = self._turns(tokens.shape[1], hidden)
        *before, last = self.model.layers
        for layer in before:
            hidden = self._run(layer, hidden, cos, sin)
        norm: Tensor = self.model.norm(self._run(last, hidden, cos, sin, places))
        return norm

    def _run(self, layer: nn.Module, *given: Any) -> Tensor:
        found: Tensor = checkpoint(layer, *given, use_reentrant=False) if self.recomputes else layer(*given)
        return found

    def _turns(self, length: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines of rotary positions (Su et al.): place / theta^(2 i / width of a head)."""
        width = self.shape.head_width
        # In fp32 as everywhere: a narrower one has no place for positions beyond 256.
        slow = self.shape.theta ** (torch.arange(0, width, 2, device=like.device, dtype=torch.float32) / width)
        angles = torch.outer(torch.arange(length, device=like.device, dtype=torch.float32), 1.0 / slow)
        return angles.cos().to(like.dtype), angles.sin().to(like.dtype)
