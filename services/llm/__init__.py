"""The local LLM services of PAS as ASGI apps."""
