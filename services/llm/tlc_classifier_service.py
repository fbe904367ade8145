"""TLC, the domain classifier, as the service on port 8052: `uvicorn services.llm.tlc_classifier_service:app`."""

from services.llm.common.base_llm_service import services

app = services.app(8052)
