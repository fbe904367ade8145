"""Trains a personal model with Avatar SLM's names and files: `slm.slm_trainer`."""

import importlib.util
import math
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from rolecast.avatars import example
from rolecast.avatars.documented import folder as folders
from rolecast.avatars.documented.said import log, once, quiet, shown, stoppable
from rolecast.avatars.documented.shape import SLMConfig
from rolecast.avatars.example import Example
from rolecast.avatars.files import write_private
from rolecast.avatars.settings import DatasetSettings, TrainingSettings
from rolecast.avatars.training.checkpoints import BEST, FINAL
from rolecast.config import paths
from rolecast.errors import UNREADABLE, Invalid
from rolecast.jobs.job import Report

if TYPE_CHECKING:
    from rolecast.avatars.training.train import Trained

DATASET = "dataset"
FOR_LORA = 600
"""Replies that a LoRA learns from unless told otherwise: more is slower, and hardly better over a small base."""
NO_TORCH = "Training needs PyTorch: pip install 'rolecast[avatars]'."


@dataclass
class TrainingConfig:
    """What is trained, on what, and how. The first nine fields are the documented ones, with their defaults."""

    model_name: str
    data_path: str | Path
    """The extracted file, or the folder of a dataset, which is then taken as it is."""
    output_dir: str | Path = "models"
    num_epochs: float = 10
    batch_size: int = 16
    learning_rate: float = 5e-5
    """For all weights of a model. A LoRA learns `lora_rate` times as fast."""
    warmup_steps: int = 100
    """At most half of all steps are."""
    max_sequence_length: int = 512
    use_mlx: bool = True
    """MLX on a Mac that has it; anywhere else PyTorch, which is said once."""
    gradient_accumulation_steps: int = 1
    use_mixed_precision: bool = True
    """bf16 where two seconds of measuring show that it is faster here."""
    gradient_checkpointing: bool = False
    method: Literal["lora", "scratch"] = "lora"
    """`lora` = a small adapter over a base that can talk already. `scratch` = the documented architecture from
    nothing, which needs far more than one person's messages to make sense."""
    base: str = ""
    """Of a LoRA: a model of the configuration, or a GGUF file; '' = `avatars.base`."""
    lora_rank: int = 16
    lora_rate: float = 20.0
    """1e-3 for the documented 5e-5: what suits an adapter is an order of magnitude above what suits all weights."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    scrub: bool = True
    """Whether what is private is taken out before anything is learnt; pseudonyms stand for names."""
    max_examples: int | None = None
    """The newest replies, spread over all chats; 0 = all. None = 600 for a LoRA, all for a model from nothing."""
    early_stopping_patience: int = 0
    """Checks of the held-out loss without a better one until it ends; 0 = it goes on to the end."""
    rehearsal: int = 150
    """Answers of the base itself that a LoRA learns besides, so that it forgets less of what the base can."""
    save_steps: int = 50
    keep_checkpoints: int = 2
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    seed: int = 0
    resume: bool = True
    """Whether a training of the same data and settings goes on from its newest checkpoint."""
    embedding_dim: int = 512
    hidden_dim: int = 2048
    num_heads: int = 8
    num_layers: int = 6
    vocab_size: int = 50_000

    @property
    def folder(self) -> Path:
        """`output_dir/model_name`. Raises Invalid for a name that leads elsewhere."""
        name = self.model_name
        if not name or name in (".", "..") or name != Path(name).name or "\0" in name or "\\" in name:
            raise Invalid(f"{name!r} is no name of a model; it becomes the name of one folder.", param="model_name")
        return Path(self.output_dir) / name

    def settings(self) -> TrainingSettings:
        """The same, as Rolecast's settings. Raises Invalid with the field that is wrong."""
        lora = self.method == "lora"
        said: dict[str, Any] = {
            "method": self.method,
            "engine": "auto" if self.use_mlx else "torch",
            "base": self.base,
            "epochs": self.num_epochs,
            "batch": self.batch_size,
            "learning_rate": self.learning_rate * (self.lora_rate if lora else 1),
            "schedule": self.schedule,
            "warmup_steps": self.warmup_steps,
            "accumulation": self.gradient_accumulation_steps,
            "sequence": self.max_sequence_length,
            "rank": self.lora_rank,
            "rehearsal": self.rehearsal,
            "precision": "auto" if self.use_mixed_precision else "fp32",
            "checkpointing": self.gradient_checkpointing,
            "weight_decay": self.weight_decay,
            "clip": self.max_grad_norm,
            "patience": self.early_stopping_patience,
            "save_every": self.save_steps,
            "keep": self.keep_checkpoints,
            "seed": self.seed,
            "vocabulary": self.vocab_size,
            "width": self.embedding_dim,
            "hidden": self.hidden_dim,
            "heads": self.num_heads,
            "layers": self.num_layers,
        }
        try:
            return msgspec.convert(said, TrainingSettings)
        except msgspec.ValidationError as error:
            raise Invalid(f"The training cannot be as it is told: {error}.") from error

    def dataset(self) -> DatasetSettings:
        """What becomes of the extracted file. Raises Invalid."""
        most = self.max_examples
        if most is None:
            most = FOR_LORA if self.method == "lora" else 0
        if most < 0:
            raise Invalid("`max_examples` is 0, for all, or more.", param="max_examples")
        return DatasetSettings(scrub=self.scrub, most=most, seed=self.seed)


class SLMTrainer:
    """Trains one model; made of a TrainingConfig, or of a model, its tokenizer and a TrainingConfig.

    A model is a causal Llama of transformers, over which a LoRA is trained, or an SLMConfig: the shape of one that
    begins at nothing and learns its own vocabulary, so that `tokenizer` is not needed.
    """

    def __init__(self, model: Any, tokenizer: Any = None, config: TrainingConfig | None = None) -> None:
        if isinstance(model, TrainingConfig) and config is None:
            model, config = None, model
        if not isinstance(config, TrainingConfig):
            raise Invalid("A trainer is made of a TrainingConfig, or of a model, its tokenizer and a TrainingConfig.")
        self.config = config
        self.model = model
        self.tokenizer = tokenizer
        self._trained: Trained | None = None

    # -- as documented ----------------------------------------------------------------------------------------------

    def train(self) -> str:
        """Make a dataset of the file, train on it, and tell the folder: `models/john_avatar`.

        Shows how far it is on stderr. Ctrl-C ends it at a checkpoint and raises KeyboardInterrupt; the same call goes
        on from there. Raises Invalid with what to do: for data that is none, and when the memory does not suffice.
        """
        into = self.config.folder
        with shown(self.config.model_name) as report, stoppable() as stop:
            trained = self._train(into, report, stop)
        self._trained = trained
        if trained.stopped:
            raise KeyboardInterrupt(f"{into} has a checkpoint; the same call goes on from there.")
        return str(into)

    def get_final_metrics(self) -> dict[str, Any]:
        """`loss` (held out, or else of the last steps; in nats per token) and what else came of the training, also of
        one that ended earlier. Raises Invalid when there was none."""
        said = self._result()
        loss, last = said.get("loss_best"), said.get("loss_train")
        loss = last if loss is None else loss
        return {
            "loss": loss,
            "train_loss": last,
            "val_loss": said.get("loss_best"),
            "initial_val_loss": said.get("loss_before"),
            "perplexity": math.exp(min(float(loss), 700.0)) if isinstance(loss, float | int) else None,
            "steps": said.get("steps"),
            "tokens": said.get("tokens"),
            "tokens_per_second": said.get("tokens_per_s"),
            "training_time": said.get("seconds"),
            "peak_memory_bytes": said.get("peak_bytes"),
            "training_examples": said.get("examples"),
            "parameters": said.get("parameters"),
            "device": said.get("device"),
            "precision": said.get("precision"),
            "stopped_early": said.get("early"),
        }

    def export_gguf(self, form: Literal["f32", "f16", "q8_0"] = "q8_0") -> str:
        """Write the best model as one GGUF in its folder, for an InferenceConfig or any llama.cpp; the file.

        It answers several times as fast as the folder does on a CPU, and several prompts at a time. A LoRA is merged
        into its base. Compared with PyTorch before it is kept; raises Invalid when it would answer otherwise.
        """
        from rolecast.avatars.export.gguf import export

        best = self.config.folder / BEST
        if not best.is_dir():
            raise Invalid("There is no model to export yet; train first.")
        into = self.config.folder / f"{self.config.model_name}-{form}.gguf"
        with shown(self.config.model_name) as report, quiet():
            base = folders.base_of(best)
            return str(export(best, into, form, base, name=self.config.model_name, report=report))

    # -- as in its repository ---------------------------------------------------------------------------------------

    def prepare_dataset(self, data_path: str | Path | None = None) -> tuple[list[Example], list[Example]]:
        """The examples to learn from and those that are held out; `train` learns the same."""
        if data_path is not None:
            self.config.data_path = data_path
        with shown(self.config.model_name) as report:
            into = self._dataset(self.config.folder, report)
        valid = into / "valid.jsonl"
        return list(example.read(into / "train.jsonl")), list(example.read(valid)) if valid.is_file() else []

    def save_checkpoint(self, path: str | Path | None = None) -> str:
        """Copy the best model to another folder, from which it can be loaded; without one, say where it lies."""
        best = self.config.folder / BEST
        if not best.is_dir():
            raise Invalid("There is no model to save yet; train first.")
        if path is None:
            return str(best)
        into = Path(path)
        if into.exists():
            raise Invalid(f"{into} is there already; name another folder.", param="path")
        shutil.copytree(best, into / BEST)
        for name in (folders.CARD, f"{folders.OWN_BASE}/hf"):
            if (each := self.config.folder / name).is_dir():
                shutil.copytree(each, into / name)
            elif each.is_file():
                shutil.copy2(each, into / name)
        return str(into)

    # -- how --------------------------------------------------------------------------------------------------------

    def _train(self, into: Path, report: Report, stop: Any) -> "Trained":
        if importlib.util.find_spec("torch") is None and not _mlx():
            raise Invalid(NO_TORCH)
        if self.config.use_mlx and not _mlx():
            once("MLX trains on a Mac that has it; here PyTorch does.")
        from rolecast.avatars.training.train import train

        _device()
        settings = self.settings()
        data = self._dataset(into, report)
        base = self.base(settings, report)
        trained = train(data, into, settings, base, report, stop, resume=self.config.resume)
        if trained.note:
            log.warning(trained.note)
        if not trained.stopped:
            _write_card(into, trained, self.config, data)
        return trained

    def settings(self) -> TrainingSettings:
        """How it is trained, in Rolecast's words. Raises Invalid."""
        if isinstance(self.model, SLMConfig):
            self.config = self.model.into(self.config)
        return self.config.settings()

    def _dataset(self, into: Path, report: Report) -> Path:
        """The folder of examples, made of the extracted file: the same file and settings give the same one."""
        from rolecast.avatars.dataset.build import build

        data = Path(self.config.data_path)
        if data.is_dir():
            return data
        if not data.is_file():
            raise Invalid(f"{data} is not there; extract conversations first.", param="data_path")
        paths.make_private(into)
        found = build(data, into / DATASET, (), self.config.dataset(), report)
        for note in found.notes:
            log.warning(note)
        return into / DATASET

    def base(self, settings: TrainingSettings, report: Report) -> Path | None:
        """The folder that a LoRA is trained over, made if it is not there; None for a model from nothing."""
        if settings.method == "scratch":
            return None
        if self.model is None:
            return folders.base(settings.base, report).hf
        hf = self.config.folder / folders.OWN_BASE / "hf"
        if not hasattr(self.model, "save_pretrained") or not hasattr(self.tokenizer, "save_pretrained"):
            raise Invalid("`model` and `tokenizer` are a causal model of transformers and its tokenizer.")
        paths.make_private(hf)
        self.model.save_pretrained(hf, safe_serialization=True)
        self.tokenizer.save_pretrained(hf)
        return hf

    def _result(self) -> dict[str, Any]:
        path = self.config.folder / "training.json"
        try:
            return dict(msgspec.json.decode(path.read_bytes(), type=dict[str, Any]))
        except (OSError, *UNREADABLE) as error:
            raise Invalid(f"{self.config.model_name} is not trained yet; call train() first.") from error


def _write_card(into: Path, trained: "Trained", config: TrainingConfig, data: Path) -> None:
    first = next(example.read(data / "train.jsonl"))
    about = folders.Card(
        framework="mlx" if trained.engine == "mlx" else "pytorch",
        person_name=first.speaker_name,
        training_examples=trained.examples,
        max_length=config.max_sequence_length,
        method=trained.method,
        base=config.base,
    )
    write_private(into / folders.CARD, msgspec.json.format(msgspec.json.encode(about), indent=1))


def _mlx() -> bool:
    """Whether `auto` trains with MLX."""
    return sys.platform == "darwin" and importlib.util.find_spec("mlx_lm") is not None


def _device() -> None:
    """MLX_DEVICE=cpu keeps MLX off the GPU."""
    if _mlx() and os.environ.get("MLX_DEVICE", "").lower() == "cpu":
        core = importlib.import_module("mlx.core")
        core.set_default_device(core.cpu)


__all__ = ["BEST", "FINAL", "SLMTrainer", "TrainingConfig"]
