"""Configuration: the structs, the reader, the cross-checks, the name table and the presets."""

from rolecast.config import names, presets
from rolecast.config.advice import warnings
from rolecast.config.json_schema import json_schema
from rolecast.config.load import find, load, located, notes, read
from rolecast.config.schema import Config

__all__ = ["Config", "find", "json_schema", "load", "located", "names", "notes", "presets", "read", "warnings"]
