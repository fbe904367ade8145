"""Turns what was trained into GGUF, and a base of GGUF into what can be trained."""
