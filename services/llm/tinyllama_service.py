"""TinyLlama 1.1B as the service on port 8051: `uvicorn services.llm.tinyllama_service:app --port 8051`."""

from services.llm.common.base_llm_service import services

app = services.app(8051)
