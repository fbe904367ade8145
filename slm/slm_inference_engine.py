"""`from slm.slm_inference_engine import SLMInferenceEngine, InferenceConfig, BatchInferenceEngine`, as documented."""

from rolecast.avatars.documented.engine import BatchInferenceEngine, InferenceConfig, SLMInferenceEngine

__all__ = ["BatchInferenceEngine", "InferenceConfig", "SLMInferenceEngine"]
