"""Llama 3.1 8B as the service on port 8050: `uvicorn services.llm.llama31_8b_service:app --port 8050`."""

from services.llm.common.base_llm_service import services

app = services.app(8050)
