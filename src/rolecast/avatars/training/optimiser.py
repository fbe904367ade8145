"""AdamW over fp32 copies of weights that may be narrower: bf16 alone would round small steps away."""

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
        matrices = [each for each in self.master.values() if each.dim() > 1]
        others = [each for each in self.master.values() if each.dim() <= 1]
        groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
        self._adam = torch.optim.AdamW(
            [each for each in groups if each["params"]], betas=BETAS, eps=EPSILON, fused=True
        )
        self._zeros()

    def _zeros(self) -> None:
        """The moments, before the first step: what is restored has a place then."""
        for group in self._adam.param_groups:
            for each in group["params"]:
                self._adam.state[each] = {
                    "step": torch.zeros((), dtype=torch.float32, device=each.device),
                    "exp_avg": torch.zeros_like(each),
                    "exp_avg_sq": torch.zeros_like(each),
                }

    def apply(self, rate: float) -> float:
        """A step at that rate with the gradients of the parameters, which are then forgotten; their norm. A norm that
        is no number: no step."""
        for name, narrow in self._narrow.items():
            master = self.master[name]
            if narrow.grad is not None and master is not narrow:
                master.grad, narrow.grad = narrow.grad.float(), None
        norm = float(torch.nn.utils.clip_grad_norm_(self.master.values(), self._clip or float("inf")))
        if norm == norm and norm != float("inf"):
            for group in self._adam.param_groups:
                group["lr"] = rate
            self._adam.step()
            self._down()
        self._adam.zero_grad(set_to_none=True)
        return norm

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
            for what, value in self._adam.state[master].items():
                found[f"{what}.{name}"] = value.detach().cpu().contiguous()
        return found

    def restore(self, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor]) -> None:
        """Both as they were. Raises KeyError or RuntimeError when they are of another model."""
        with torch.no_grad():
            for name, master in self.master.items():
                master.copy_(weights[name])
                for what, value in self._adam.state[master].items():
                    value.copy_(moments[f"{what}.{name}"])
        self._down()
