"""`from slm.mlx_slm_model import SLMConfig, create_model`: the architecture of a model that is trained from nothing."""

from rolecast.avatars.documented.shape import SPECIAL_TOKENS, SLMConfig, create_model

__all__ = ["SPECIAL_TOKENS", "SLMConfig", "create_model"]
