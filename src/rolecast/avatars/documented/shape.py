"""The shape of a model from nothing, in Avatar SLM's words: `slm.mlx_slm_model`."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rolecast.errors import Invalid

if TYPE_CHECKING:
    from rolecast.avatars.documented.trainer import TrainingConfig

SPEAKERS = {"<pad>": 0, "<unk>": 1, "<bos>": 2, "<eos>": 3, "<speaker1>": 4, "<speaker2>": 5}
SPECIAL_TOKENS = {**SPEAKERS, "<personality>": 6, "<emotion>": 7, "<relationship>": 8}


@dataclass(frozen=True)
class SLMConfig:
    """The documented architecture: multi-head attention, rotary positions, RMS norm, gated feed-forward, tied
    embeddings, 50.8 million parameters. A small corpus gives fewer words than `vocab_size`, and fewer parameters."""

    vocab_size: int = 50_000
    embedding_dim: int = 512
    hidden_dim: int = 2048
    num_heads: int = 8
    num_layers: int = 6
    max_sequence_length: int = 512

    @property
    def parameters(self) -> int:
        """With the whole vocabulary."""
        width = self.embedding_dim
        layer = 4 * width * width + 3 * width * self.hidden_dim + 2 * width
        return self.vocab_size * width + self.num_layers * layer + width

    def into(self, config: "TrainingConfig") -> "TrainingConfig":
        """A training of this shape, from nothing."""
        return replace(
            config,
            method="scratch",
            vocab_size=self.vocab_size,
            embedding_dim=self.embedding_dim,
            hidden_dim=self.hidden_dim,
            num_heads=self.num_heads,
            num_layers=self.num_layers,
            max_sequence_length=self.max_sequence_length,
        )


def create_model(config: SLMConfig | None = None, vocab_size: int | None = None) -> Any:
    """A model of that shape with random weights, for PyTorch: `model(input_ids=...)` gives `logits`.

    Raises Invalid for a shape that no model has.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    from rolecast.avatars.settings import TrainingSettings
    from rolecast.avatars.training import scratch

    config = config or SLMConfig()
    size = config.vocab_size if vocab_size is None else vocab_size
    if size < len(SPECIAL_TOKENS):
        raise Invalid(f"A vocabulary has {len(SPECIAL_TOKENS)} tokens at least.", param="vocab_size")
    settings = TrainingSettings(
        method="scratch",
        width=config.embedding_dim,
        hidden=config.hidden_dim,
        heads=config.num_heads,
        layers=config.num_layers,
        sequence=config.max_sequence_length,
    )
    scratch.check(settings)
    shape: dict[str, Any] = scratch.config(settings, size)
    model: Any = LlamaForCausalLM(LlamaConfig(**shape))
    return model.eval()
