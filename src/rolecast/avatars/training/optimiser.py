"""AdamW over fp32 copies of weights that may be narrower: bf16 alone would round small steps away."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.adamw import adamw

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
    """A view, as are the moments."""
    averages: tuple[Tensor, ...]
    step: Tensor


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
        self._decay = decay
        self._groups = list(_groups(self.master, self._averages))

    def apply(self, rate: float) -> float:
        """A step at that rate with the gradients of the parameters, which are then forgotten; their norm. A norm that
        is no number: no step."""
        norms = [
            torch.linalg.vector_norm(grad, dtype=torch.float32)
            for group in self._groups
            for piece in group
            if (grad := self._gradient(piece)) is not None
        ]
        norm = float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
        if math.isfinite(norm):
            shrink = min(1.0, self._clip / (norm + 1e-6)) if self._clip else 1.0
            for group in self._groups:
                self._step(group, rate, shrink)
        for narrow in self._narrow.values():
            narrow.grad = None
        return norm

    def _gradient(self, piece: _Piece) -> Tensor | None:
        grad = self._narrow[piece.name].grad
        return None if grad is None else grad.flatten()[piece.where]

    @torch.no_grad()
    def _step(self, group: list[_Piece], rate: float, shrink: float) -> None:
        for deep in (True, False):
            some = [
                (piece, grad.float().mul_(shrink))
                for piece in group
                if (self.master[piece.name].dim() > 1) is deep and (grad := self._gradient(piece)) is not None
            ]
            if not some:
                continue
            adamw(
                [piece.master for piece, _ in some],
                [grad for _, grad in some],
                [piece.averages[0] for piece, _ in some],
                [piece.averages[1] for piece, _ in some],
                max_exp_avg_sqs=[],
                state_steps=[piece.step for piece, _ in some],
                fused=True,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=rate,
                weight_decay=self._decay if deep else 0.0,
                eps=EPSILON,
                maximize=False,
            )
            for piece, _ in some:
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
        for piece in self._pieces():
            found[f"step.{piece.name}"] = piece.step.detach().cpu()
        return found

    def restore(self, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor]) -> None:
        """Both as they were. Raises KeyError or RuntimeError when they are of another model."""
        with torch.no_grad():
            for name, master in self.master.items():
                master.copy_(weights[name])
                for what, each in zip(AVERAGES, self._averages[name], strict=True):
                    each.copy_(moments[f"{what}.{name}"])
        for piece in self._pieces():
            piece.step.copy_(moments[f"step.{piece.name}"])
            self._down(piece)

    def _pieces(self) -> Iterator[_Piece]:
        for group in self._groups:
            yield from group


def _groups(masters: Mapping[str, Tensor], averages: Mapping[str, list[Tensor]]) -> Iterator[list[_Piece]]:
    """All of them, in groups of at most `AT_ONCE` weights: large ones in pieces, small ones together."""
    group: list[_Piece] = []
    room = AT_ONCE
    for name, master in masters.items():
        flat, beside = master.detach().view(-1), [each.view(-1) for each in averages[name]]
        for first in range(0, len(flat), AT_ONCE):
            where = slice(first, min(first + AT_ONCE, len(flat)))
            if where.stop - first > room:
                yield group
                group, room = [], AT_ONCE
            step = torch.zeros((), dtype=torch.float32, device=master.device)
            group.append(_Piece(name, where, flat[where], tuple(each[where] for each in beside), step))
            room -= where.stop - first
    if group:
        yield group
