"""AdamW over fp32 copies of weights that may be narrower: bf16 alone would round small steps away."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import Parameter

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Masters:
    """The trained parameters of a model, their fp32 masters and the moments of AdamW (Loshchilov and Hutter)."""

    def __init__(self, parameters: Iterable[tuple[str, Parameter]], *, decay: float, clip: float) -> None:
        self._narrow = dict(parameters)
        self._clip = clip
        # An fp32 parameter is its own master.
        self.master: dict[str, Tensor] = {
            name: each if each.dtype == torch.float32 else each.detach().float() for name, each in self._narrow.items()
        }
        # One optimiser for each: gradients in fp32 are then held of one parameter at a time.
        self._adams = {
            name: torch.optim.AdamW(
                [each], betas=BETAS, eps=EPSILON, weight_decay=decay if each.dim() > 1 else 0.0, fused=True
            )
            for name, each in self.master.items()
        }
        for name, each in self.master.items():  # the moments, so that what is restored has a place
            self._adams[name].state[each] = {
                "step": torch.zeros((), dtype=torch.float32, device=each.device),
                "exp_avg": torch.zeros_like(each),
                "exp_avg_sq": torch.zeros_like(each),
            }

    def apply(self, rate: float) -> float:
        """A step at that rate with the gradients of the parameters, which are then forgotten; their norm. A norm that
        is no number: no step."""
        grads = [each.grad for each in self._narrow.values() if each.grad is not None]
        norms = [torch.linalg.vector_norm(each, dtype=torch.float32) for each in grads]
        norm = float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
        del grads
        if math.isfinite(norm):
            shrink = min(1.0, self._clip / (norm + 1e-6)) if self._clip else 1.0
            for name, narrow in self._narrow.items():
                if narrow.grad is not None:
                    self._step(name, narrow, rate, shrink)
        for narrow in self._narrow.values():
            narrow.grad = None
        return norm

    def _step(self, name: str, narrow: Parameter, rate: float, shrink: float) -> None:
        master, adam = self.master[name], self._adams[name]
        assert narrow.grad is not None
        grad = narrow.grad if narrow.dtype == torch.float32 else narrow.grad.float()
        narrow.grad = None
        master.grad = grad.mul_(shrink)
        adam.param_groups[0]["lr"] = rate
        adam.step()
        master.grad = None
        if master is not narrow:
            with torch.no_grad():
                narrow.copy_(master)

    def _down(self) -> None:
        with torch.no_grad():
            for name, narrow in self._narrow.items():
                if self.master[name] is not narrow:
                    narrow.copy_(self.master[name])

    def weights(self) -> dict[str, Tensor]:
        """The masters, on the CPU."""
        return {name: each.detach().cpu().contiguous() for name, each in self.master.items()}

    def moments(self) -> dict[str, Tensor]:
        """The state of AdamW as named tensors."""
        found = {}
        for name, master in self.master.items():
            for what, value in self._adams[name].state[master].items():
                found[f"{what}.{name}"] = value.detach().cpu().contiguous()
        return found

    def restore(self, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor]) -> None:
        """Both as they were. Raises KeyError or RuntimeError when they are of another model."""
        with torch.no_grad():
            for name, master in self.master.items():
                master.copy_(weights[name])
                for what, value in self._adams[name].state[master].items():
                    value.copy_(moments[f"{what}.{name}"])
        self._down()
