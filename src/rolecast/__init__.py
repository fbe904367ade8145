"""Rolecast: a cast of small language models behind one endpoint."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["AsyncLLMClient", "LLMClient", "__version__"]

if TYPE_CHECKING:
    from rolecast.client import AsyncLLMClient, LLMClient


def __getattr__(name: str) -> Any:
    """Load the Python client on first use, so that importing the package stays under 50 ms."""
    if name in ("LLMClient", "AsyncLLMClient"):
        from rolecast import client

        return getattr(client, name)
    raise AttributeError(f"module 'rolecast' has no attribute {name!r}")
