"""Packages that take seconds to import: a test process that runs no test of theirs never pays for them."""

import importlib
import importlib.util
from typing import Any

import pytest


class _Lazy:
    """Stands for a module; what is patched in it is patched in that."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "_name", name)

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        return vars(importlib.import_module(self._name))

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._name), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(importlib.import_module(self._name), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(importlib.import_module(self._name), name)


def lazy(name: str) -> Any:
    """That module, imported when something of it is first used."""
    return _Lazy(name)


def needs(*packages: str) -> None:
    """Skip the calling module where one of these is missing, without importing any."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed", allow_module_level=True)
