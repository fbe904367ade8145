"""What one token and one conversation cost a model in memory, by the settings of its GGUF header.

Pure: the settings that were read go in, a `Layout` comes out. Follows llama.cpp's rules for layers that see a
window, share their cache or keep a state in place of one. An architecture that is not known here is counted as if
every layer kept everything, which is never too little. Knows no bytes: those depend on the types of the cache.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

MOST_LAYERS = 512
"""llama.cpp has room for no more."""
_MOST = {
    "context_length": 1 << 30,
    "embedding_length": 1 << 20,
    "feed_forward_length": 1 << 24,
    "vocab_size": 1 << 24,
    "attention.head_count": 1 << 14,
    "attention.head_count_kv": 1 << 14,
    "attention.key_length": 1 << 16,
    "attention.value_length": 1 << 16,
    "attention.key_length_swa": 1 << 16,
    "attention.value_length_swa": 1 << 16,
    "attention.key_length_mla": 1 << 16,
    "attention.value_length_mla": 1 << 16,
    "attention.sliding_window": 1 << 30,
    "attention.shared_kv_layers": MOST_LAYERS,
    "expert_count": 1 << 14,
    "expert_used_count": 1 << 14,
    "expert_feed_forward_length": 1 << 24,
    "full_attention_interval": MOST_LAYERS,
    "ssm.conv_kernel": 1 << 10,
    "ssm.group_count": 1 << 14,
    "ssm.inner_size": 1 << 20,
    "ssm.state_size": 1 << 16,
    "shortconv.l_cache": 1 << 10,
    "token_shift_count": 1 << 10,
    "wkv.head_size": 1 << 16,
    "kda.head_dim": 1 << 16,
}
"""Far more than any model has. What is above would keep an engine busy for minutes before it fails."""

_PERIODS = {
    "afmoe": 4,
    "cohere2": 4,
    "cohere2moe": 4,
    "exaone-moe": 4,
    "exaone4": 4,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "granite-swa": 4,
    "llama4": 4,
    "olmo2": 4,
    "plamo3": 8,
}
"""Each so-manieth layer sees everything, the others a window, unless the file has a pattern of its own."""
_FULL_FIRST = {"smallthinker": 4}
"""As above, but the first layer of each period is the one that sees everything."""
_WINDOW = {"llama4": 8192}
"""Tokens that the layers with a window see where the file does not say."""
ENCODERS = frozenset(
    {
        "bert",
        "jina-bert-v2",
        "jina-bert-v3",
        "modern-bert",
        "neo-bert",
        "nomic-bert",
        "nomic-bert-moe",
        "t5encoder",
    }
)
_NO_CACHE = ENCODERS | {"dream", "gemma-embedding", "llada", "llada-moe", "rnd1"}
"""They read a text as a whole and keep nothing."""
_ONLY_STATES = frozenset({"arwkv7", "mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7"})
_BOTH = frozenset({"falcon-h1"})
"""Every layer has a cache and a state."""
_INTERVALS = {"qwen35": 4, "qwen35moe": 4, "qwen3next": 4}
"""Each so-manieth layer has a cache, the others a state."""
_SHARED_FROM = {"gemma3n": 20}
"""Layers from there on use the cache of earlier ones."""


class Layout(msgspec.Struct, frozen=True):
    """How many numbers are kept, summed over the layers; `keys` and `values` for one token."""

    keys: int = 0
    """In layers that keep every token."""
    values: int = 0
    window_keys: int = 0
    """In layers that keep the tokens of a window; `window` is how many those are."""
    window_values: int = 0
    window: int = 0
    states: int = 0
    """Of one conversation, whatever its length, as 32-bit numbers: layers that keep a state and no tokens."""
    experts_used: int = 0
    """Experts that work on a token; 0 = it has none."""
    expert_length: int = 0
    """Inner width of one expert."""


class _Settings:
    """The settings of one architecture by the end of their name."""

    def __init__(self, found: Mapping[str, Any], architecture: str, layers: int) -> None:
        self._found, self._architecture, self._layers = found, architecture, layers

    def number(self, name: str, default: int = 0) -> int:
        """A whole number, or the largest of one per layer."""
        value = self._found.get(f"{self._architecture}.{name}", default)
        if isinstance(value, tuple):
            return max(value, default=default)
        return value if isinstance(value, int) else default

    def each(self, name: str, default: int = 0) -> tuple[int, ...]:
        """One number per layer; a shorter list goes on with nothing."""
        value = self._found.get(f"{self._architecture}.{name}", default)
        if isinstance(value, tuple):
            return (*value, *(0,) * self._layers)[: self._layers]
        return (value if isinstance(value, int) else default,) * self._layers

    def pattern(self, name: str) -> tuple[int, ...]:
        """A list of one per layer; empty when there is none."""
        value = self._found.get(f"{self._architecture}.{name}")
        return self.each(name) if isinstance(value, tuple) else ()


def check(found: Mapping[str, Any], architecture: str) -> None:
    """Raises ValueError for a number that no model can have, so that no engine tries."""
    for name, most in _MOST.items():
        value = found.get(f"{architecture}.{name}", 0)
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, int) and not 0 <= each <= most:
                raise ValueError(f"its {name} is {each}, and no model has more than {most}")


def layout(
    found: Mapping[str, Any], architecture: str, layers: int, *, keys: int, values: int, kv_heads: tuple[int, ...]
) -> Layout:
    """What that model keeps; `keys` and `values` are the numbers in one head's, `kv_heads` the heads of each layer."""
    settings = _Settings(found, architecture, layers)
    states = _states(settings, architecture, layers, kv_heads)
    cached = _cached(settings, architecture, layers, states)
    windowed = _windowed(settings, architecture, layers)
    if settings.number("attention.key_length_mla"):  # the values are part of the keys
        values = 0
    window_key = settings.number("attention.key_length_swa") or keys
    window_value = settings.number("attention.value_length_swa") or values
    full = sum(heads for heads, kept, narrow in zip(kv_heads, cached, windowed, strict=True) if kept and not narrow)
    seen = sum(heads for heads, kept, narrow in zip(kv_heads, cached, windowed, strict=True) if kept and narrow)
    return Layout(
        keys=full * keys,
        values=full * values,
        window_keys=seen * window_key,
        window_values=seen * window_value,
        window=_window(settings, architecture) if seen else 0,
        states=sum(states) * _state(settings),
        experts_used=settings.number("expert_used_count"),
        expert_length=settings.number("expert_feed_forward_length") or settings.number("feed_forward_length"),
    )


def _window(settings: _Settings, architecture: str) -> int:
    return settings.number("attention.sliding_window") or _WINDOW.get(architecture, 0)


def _windowed(settings: _Settings, architecture: str, layers: int) -> tuple[bool, ...]:
    """Which layers see a window only."""
    if not _window(settings, architecture):
        return (False,) * layers
    if pattern := settings.pattern("attention.sliding_window_pattern"):
        return tuple(map(bool, pattern))
    if period := settings.number("attention.sliding_window_pattern") or _PERIODS.get(architecture, 0):
        return tuple(layer % period < period - 1 for layer in range(layers))
    if period := _FULL_FIRST.get(architecture, 0):
        return tuple(layer % period != 0 for layer in range(layers))
    return (False,) * layers


def _states(settings: _Settings, architecture: str, layers: int, kv_heads: tuple[int, ...]) -> tuple[bool, ...]:
    """Which layers keep a state."""
    if architecture in _ONLY_STATES or architecture in _BOTH:
        return (True,) * layers
    if not _state(settings):
        return (False,) * layers
    if pattern := settings.pattern("attention.recurrent_layers"):
        return tuple(map(bool, pattern))
    if every := settings.number("full_attention_interval") or _INTERVALS.get(architecture, 0):
        return tuple((layer + 1) % every != 0 for layer in range(layers))
    return tuple(heads == 0 for heads in kv_heads)


def _cached(settings: _Settings, architecture: str, layers: int, states: tuple[bool, ...]) -> tuple[bool, ...]:
    """Which layers have a cache of their own."""
    if architecture in _NO_CACHE or architecture in _ONLY_STATES:
        return (False,) * layers
    shared = settings.number("attention.shared_kv_layers")
    end = layers - shared if shared else _SHARED_FROM.get(architecture, layers)
    both = architecture in _BOTH
    return tuple(layer < end and (both or not states[layer]) for layer in range(layers))


def _state(settings: _Settings) -> int:
    """Numbers in the state of one layer, for one conversation."""
    width = settings.number("embedding_length")
    if head := settings.number("wkv.head_size"):
        return width * (settings.number("token_shift_count", 2) + head)
    if kept := settings.number("shortconv.l_cache"):
        return width * (kept - 1)
    kernel, state = max(0, settings.number("ssm.conv_kernel") - 1), settings.number("ssm.state_size")
    if head := settings.number("kda.head_dim"):
        return settings.number("attention.head_count") * head * (3 * kernel + head)
    inner = settings.number("ssm.inner_size")
    return kernel * (inner + 2 * settings.number("ssm.group_count") * state) + inner * state
