"""`from slm.slm_trainer import SLMTrainer, TrainingConfig`, as documented."""

from rolecast.avatars.documented.trainer import SLMTrainer, TrainingConfig

__all__ = ["SLMTrainer", "TrainingConfig"]
