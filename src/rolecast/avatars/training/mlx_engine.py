"""MLX as an engine: Apple's GPU, or a CPU for tests. Trained weights are fp32; what is computed may be bf16.

Agrees with `torch_engine` in logits, optimiser and files, so that one goes on where the other ended. `MLX_DEVICE`
(`gpu` or `cpu`) names the device; without it MLX takes the best.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rolecast.avatars.export.llama import Shape
from rolecast.avatars.export.tensors import read_json
from rolecast.avatars.settings import TrainingSettings
from rolecast.avatars.training import folders
from rolecast.avatars.training.engine import Batch, Engine, NoMemory, Precision, Start, alpha
from rolecast.errors import Invalid

if TYPE_CHECKING:
    import mlx.core as mx

DEVICE = "MLX_DEVICE"
STATE = "optimizer.safetensors"
BETAS, EPSILON = (0.9, 0.999), 1e-8
_ADAPTED = (
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
)
_DEVIATION = 0.02
"""Of weights at the beginning."""


class MlxEngine:
    """See `engine.Engine`."""

    name = "mlx"
    compiled = False
    at_once = 0

    def __init__(self, model: Any, start: Start, exact: Precision, device: str, settings: TrainingSettings) -> None:
        import mlx.core as mx

        self._model = model
        self._start = start
        self._rank = settings.rank
        self._decay, self._clip = settings.weight_decay, settings.clip
        self._checkpointing = settings.checkpointing
        self.precision: Precision = exact
        self._type = mx.bfloat16 if exact == "bf16" else mx.float32
        self.device = device
        self.parameters = sum(each.size for _, each in _flat(model.parameters()))
        trained = _flat(model.trainable_parameters())
        self.trained = sum(each.size for _, each in trained)
        self._masters: dict[str, mx.array] = {name: each.astype(mx.float32) for name, each in trained}
        self._first = {name: mx.zeros_like(each) for name, each in self._masters.items()}
        self._second = {name: mx.zeros_like(each) for name, each in self._masters.items()}
        self._steps = 0
        self._waiting: dict[str, mx.array] = {}

    def logits(self, tokens: "mx.array") -> "mx.array":
        """(rows, length, vocabulary), each given the tokens before and at its place."""
        self._narrow(self._masters)
        return self._head(self._trunk(tokens))

    def _narrow(self, masters: "dict[str, mx.array]") -> None:
        """Give the model its trained weights, as narrow as is computed in."""
        from mlx.utils import tree_unflatten

        self._model.update(tree_unflatten([(name, each.astype(self._type)) for name, each in masters.items()]))

    def _trunk(self, tokens: "mx.array") -> "mx.array":
        import mlx.core as mx
        from mlx import nn

        if not self._checkpointing:
            return self._model.model(tokens)  # type: ignore[no-any-return]
        inner = self._model.model
        hidden = inner.embed_tokens(tokens)
        places = mx.arange(tokens.shape[1])
        mask = places[:, None] >= places[None]
        for layer in inner.layers:
            hidden = nn.utils.checkpoint(layer)(hidden, mask)
        done: mx.array = inner.norm(hidden)
        return done

    def _head(self, hidden: "mx.array") -> "mx.array":
        head = self._model.model.embed_tokens.as_linear if self._model.args.tie_word_embeddings else self._model.lm_head
        return head(hidden)  # type: ignore[no-any-return]

    def _sum(self, masters: "dict[str, mx.array]", batch: Batch) -> "mx.array":
        """The sum of the losses of what is learnt, in fp32; the head sees nothing else."""
        import mlx.core as mx
        from mlx import nn

        self._narrow(masters)
        tokens = mx.array(batch.tokens)
        places = mx.array(np.flatnonzero(batch.learnt[:, 1:]))  # the place before a token says it
        hidden = self._trunk(tokens[:, :-1])
        seen = hidden.reshape(-1, hidden.shape[-1])[places]
        target = tokens[:, 1:].reshape(-1)[places]
        return nn.losses.cross_entropy(self._head(seen).astype(mx.float32), target, reduction="sum")

    def gradient(self, batch: Batch, count: int) -> float:
        import mlx.core as mx

        def work() -> float:
            total, found = mx.value_and_grad(self._sum)(self._masters, batch)
            for name, each in found.items():
                share = each / count
                self._waiting[name] = share if name not in self._waiting else self._waiting[name] + share
            mx.eval(total, self._waiting)
            return _number(total)

        return _guarded(work)

    def apply(self, rate: float) -> float:
        """AdamW with the names of Loshchilov and Hutter's paper; decay of matrices alone."""
        import mlx.core as mx

        waiting, self._waiting = self._waiting, {}
        norm = _number(mx.sqrt(sum((mx.square(each).sum() for each in waiting.values()), mx.array(0.0))))
        if not np.isfinite(norm):
            return norm
        shrink = min(1.0, self._clip / (norm + 1e-6)) if self._clip else 1.0
        self._steps += 1
        first_left, second_left = 1 - BETAS[0] ** self._steps, 1 - BETAS[1] ** self._steps

        def work() -> float:
            for name, each in waiting.items():
                slope = each * shrink
                m = self._first[name] = BETAS[0] * self._first[name] + (1 - BETAS[0]) * slope
                v = self._second[name] = BETAS[1] * self._second[name] + (1 - BETAS[1]) * mx.square(slope)
                old = self._masters[name]
                kept = old * (1 - rate * self._decay) if old.ndim > 1 else old
                self._masters[name] = kept - (rate / first_left) * m / (mx.sqrt(v) / second_left**0.5 + EPSILON)
            mx.eval(self._masters, self._first, self._second)
            return norm

        return _guarded(work)

    def loss(self, batch: Batch) -> float:
        return _guarded(lambda: _number(self._sum(self._masters, batch)))

    def save(self, folder: Path) -> None:
        import mlx.core as mx

        file = folders.described(self._start, self._rank, folder)
        # peft has both matrices of a LoRA the other way round
        named = {theirs(name): _turned(name, each) for name, each in self._masters.items()}
        mx.save_safetensors(str(file), named, metadata={"format": "pt"})

    def save_state(self, folder: Path) -> Mapping[str, str]:
        import mlx.core as mx

        moments = {f"exp_avg.{name}": each for name, each in self._first.items()}
        moments |= {f"exp_avg_sq.{name}": each for name, each in self._second.items()}
        mx.save_safetensors(str(folder / STATE), moments)
        return {"steps": str(self._steps)}

    def restore(self, folder: Path, words: Mapping[str, str]) -> None:
        try:
            weights = _load(folders.weights(self._start, folder))
            moments = _load(folder / STATE)
            masters = {name: _turned(name, weights[theirs(name)]) for name in self._masters}
            first = {name: moments[f"exp_avg.{name}"] for name in masters}
            second = {name: moments[f"exp_avg_sq.{name}"] for name in masters}
            for name, each in self._masters.items():
                for other in (masters, first, second):
                    if other[name].shape != each.shape:
                        raise ValueError(f"{name} has another shape")
            self._steps = int(words["steps"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise Invalid(f"{folder} is no checkpoint of this model: {str(error)[:200]}") from error
        self._masters, self._first, self._second, self._waiting = masters, first, second, {}

    def memory(self) -> int:
        import mlx.core as mx
        import psutil

        if self.device == "cpu":
            return int(psutil.Process().memory_info().rss)
        return int(mx.get_active_memory())


def engine(start: Start, settings: TrainingSettings) -> Engine:
    """MLX with that model. Raises Invalid when it cannot be loaded, or MLX is not here."""
    try:
        import mlx.core as mx
        from mlx_lm.models import llama
    except ImportError as error:
        raise Invalid("The engine mlx needs mlx-lm: pip install 'rolecast[mlx]'.", param="engine") from error
    where = _device()
    exact: Precision = ("bf16" if where == "gpu" else "fp32") if settings.precision == "auto" else settings.precision
    mx.random.seed(settings.seed)
    shape = Shape.of_config(read_json(start.folder / folders.CONFIG))
    model = llama.Model(_arguments(llama.ModelArgs, shape))
    sanitize: Any = model.sanitize
    weights = start.folder / folders.MODEL
    kind = mx.bfloat16 if exact == "bf16" and start.method == "lora" else mx.float32
    if weights.exists():
        try:
            found = {name: each.astype(kind) for name, each in _load(weights).items()}
            model.load_weights(list(sanitize(found).items()))
        except (ValueError, RuntimeError) as error:
            raise Invalid(f"{start.folder} holds no model to train: {str(error)[:300]}") from error
    elif start.method == "lora":
        raise Invalid(f"{start.folder} has no {folders.MODEL} to train an adapter over.", param="base")
    else:
        _begin(model)
    if start.method == "lora":
        _adapt(model, settings.rank)
    model.train()
    mx.eval(model.parameters())
    return MlxEngine(model, start, exact, where, settings)


def _device() -> str:
    import mlx.core as mx

    wanted = os.environ.get(DEVICE, "").strip().lower()
    if wanted not in ("", "gpu", "cpu"):
        raise Invalid(f"{DEVICE} is {wanted[:20]!r}; use gpu or cpu.")
    if wanted:
        device = mx.Device(mx.gpu if wanted == "gpu" else mx.cpu)
        if not mx.is_available(device):
            raise Invalid(f"{DEVICE} is gpu, and MLX finds none here; use cpu, or leave it out.")
        mx.set_default_device(device)
    return "gpu" if mx.default_device() == mx.Device(mx.gpu) else "cpu"


def _arguments(kind: Callable[..., Any], shape: Shape) -> Any:
    """MLX's arguments, each said: what transformers 5 keeps in `rope_parameters`, MLX would take from elsewhere."""
    return kind(
        model_type="llama",
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        intermediate_size=shape.hidden,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_width,
        rms_norm_eps=shape.epsilon,
        vocab_size=shape.vocabulary,
        max_position_embeddings=shape.context,
        rope_theta=shape.theta,
        rope_scaling=None,
        tie_word_embeddings=shape.tied,
    )


def _begin(model: Any) -> None:
    import mlx.core as mx
    from mlx.utils import tree_unflatten

    first = [
        (name, mx.random.normal(each.shape) * _DEVIATION if each.ndim > 1 else mx.ones(each.shape))
        for name, each in _flat(model.parameters())
    ]
    model.update(tree_unflatten(first))


def _adapt(model: Any, rank: int) -> None:
    """Freeze the model and put a LoRA on each linear layer of its decoder."""
    from mlx_lm.tuner.lora import LoRALinear

    model.freeze()
    for layer in model.model.layers:
        for path in _ADAPTED:
            part, name = path.split(".")
            linear = getattr(layer[part], name)
            setattr(layer[part], name, LoRALinear.from_base(linear, r=rank, dropout=0.0, scale=alpha(rank) / rank))


def theirs(name: str) -> str:
    """peft's name of a LoRA's matrix; the others are called as in transformers."""
    if name.endswith((".lora_a", ".lora_b")):
        return folders.peft_name(name[: -len(".lora_a")], name[-1].upper())
    return name


def _turned(name: str, each: "mx.array") -> "mx.array":
    import mlx.core as mx

    return mx.contiguous(each.T) if name.endswith((".lora_a", ".lora_b")) else each


def _load(path: Path) -> "dict[str, mx.array]":
    import mlx.core as mx

    found: Any = mx.load(str(path), format="safetensors")
    return dict(found)


def _flat(tree: Any) -> "list[tuple[str, mx.array]]":
    from mlx.utils import tree_flatten

    found: Any = tree_flatten(tree)
    return list(found)


def _number(one: Any) -> float:
    return float(one.item())


def _guarded(work: Callable[[], float]) -> float:
    """Its result. Raises NoMemory when MLX had not enough."""
    try:
        return work()
    except MemoryError as error:
        raise NoMemory(str(error)[:300]) from error
    except RuntimeError as error:
        if "alloc" in str(error).lower() or "memory" in str(error).lower():
            raise NoMemory(str(error)[:300]) from error
        raise
