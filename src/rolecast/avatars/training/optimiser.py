"""AdamW over fp32 copies of weights that may be narrower: bf16 alone would round small steps away."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

BETAS = (0.9, 0.999)
EPSILON = 1e-8
AT_ONCE = 2**22
"""Weights that make their step together: so many gradients are held in fp32 at a time, 16 MB."""
AVERAGES = ("exp_avg", "exp_avg_sq")


class _Piece(NamedTuple):
    """A stretch of a parameter, or all of it."""

    name: str
    where: slice
    """Of the parameter, flat."""
    master: Tensor
    """A view."""


class Masters:
    """The trained parameters of a model, their fp32 masters and the moments of AdamW (Loshchilov and Hutter)."""

    def __init__(self, parameters: Iterable[tuple[str, Parameter]], *, decay: float, clip: float) -> None:
        self._narrow = dict(parameters)
        self._clip = clip
        # An fp32 parameter is its own master.
        self.master: dict[str, Tensor] = {
            name: each if each.dtype == torch.float32 else each.detach().float() for name, each in self._narrow.items()
        }
        self._averages = {name: [torch.zeros_like(each) for _ in AVERAGES] for name, each in self.master.items()}
        self._groups = [(group, self._adam(group, decay)) for group in _groups(self.master)]

    def _adam(self, group: list[_Piece], decay: float) -> torch.optim.AdamW:
        kinds = [
            {"params": some, "weight_decay": much}
            for deep, much in ((True, decay), (False, 0.0))
            if (some := [each.master for each in group if (self.master[each.name].dim() > 1) is deep])
        ]
        adam = torch.optim.AdamW(kinds, betas=BETAS, eps=EPSILON, fused=True)
        for piece in group:  # so that what is restored has a place
            found = zip(AVERAGES, self._averages[piece.name], strict=True)
            adam.state[piece.master] = {what: each.detach().view(-1)[piece.where] for what, each in found} | {
                "step": torch.zeros((), dtype=torch.float32, device=piece.master.device)
            }
        return adam

    def apply(self, rate: float) -> float:
        """A step at that rate with the gradients of the parameters, which are then forgotten; their norm. A norm that
        is no number: no step."""
        norms = [
            torch.linalg.vector_norm(grad, dtype=torch.float32)
            for group, _ in self._groups
            for piece in group
            if (grad := self._gradient(piece)) is not None
        ]
        norm = float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
        if math.isfinite(norm):
            shrink = min(1.0, self._clip / (norm + 1e-6)) if self._clip else 1.0
            for group, adam in self._groups:
                self._step(group, adam, rate, shrink)
        for narrow in self._narrow.values():
            narrow.grad = None
        return norm

    def _gradient(self, piece: _Piece) -> Tensor | None:
        grad = self._narrow[piece.name].grad
        return None if grad is None else grad.flatten()[piece.where]

    def _step(self, group: list[_Piece], adam: torch.optim.AdamW, rate: float, shrink: float) -> None:
        for piece in group:
            grad = self._gradient(piece)
            piece.master.grad = None if grad is None else grad.float().mul_(shrink)
        for kind in adam.param_groups:
            kind["lr"] = rate
        adam.step()
        for piece in group:
            if piece.master.grad is not None:
                piece.master.grad = None
                self._down(piece)

    def _down(self, piece: _Piece) -> None:
        narrow = self._narrow[piece.name]
        if self.master[piece.name] is not narrow:
            narrow.detach().view(-1)[piece.where].copy_(piece.master)

    def weights(self) -> dict[str, Tensor]:
        """The masters, on the CPU."""
        return {name: each.detach().cpu().contiguous() for name, each in self.master.items()}

    def moments(self) -> dict[str, Tensor]:
        """The state of AdamW as named tensors."""
        found = {}
        for name, averages in self._averages.items():
            for what, each in zip(AVERAGES, averages, strict=True):
                found[f"{what}.{name}"] = each.detach().cpu().contiguous()
        for piece, step in self._steps():
            found[f"step.{piece.name}"] = step.detach().cpu()
        return found

    def restore(self, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor]) -> None:
        """Both as they were. Raises KeyError or RuntimeError when they are of another model."""
        with torch.no_grad():
            for name, master in self.master.items():
                master.copy_(weights[name])
                for what, each in zip(AVERAGES, self._averages[name], strict=True):
                    each.copy_(moments[f"{what}.{name}"])
        for piece, step in self._steps():
            step.copy_(moments[f"step.{piece.name}"])
            self._down(piece)

    def _steps(self) -> Iterator[tuple[_Piece, Tensor]]:
        for group, adam in self._groups:
            for piece in group:
                yield piece, adam.state[piece.master]["step"]


def _groups(masters: Mapping[str, Tensor]) -> list[list[_Piece]]:
    """All of them, in groups of at most `AT_ONCE` weights: large ones in pieces, small ones together."""
    found: list[list[_Piece]] = []
    room = 0
    for name, master in masters.items():
        flat = master.detach().view(-1)
        for first in range(0, len(flat), AT_ONCE):
            where = slice(first, min(first + AT_ONCE, len(flat)))
            if where.stop - first > room:
                found.append([])
                room = AT_ONCE
            found[-1].append(_Piece(name, where, flat[where]))
            room -= where.stop - first
    return found
