"""How tokens are drawn where a request does not say it: settings of models and variants, and what a request gets."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import msgspec
from msgspec.structs import asdict

from rolecast.config.units import Real, Section, Share, Whole
from rolecast.values import Defaults, Sampling

SAMPLING: Mapping[str, str] = {
    "num_predict": "max_tokens",
    "repeat_penalty": "repetition_penalty",
    **{name: name for name in ("temperature", "top_p", "top_k", "min_p", "seed", "stop")},
    **{name: name for name in ("presence_penalty", "frequency_penalty")},
}
"""Parameters that most engines know, and what they are in words of no dialect."""
ENGINE: Mapping[str, str] = {"num_keep": "n_keep"} | {
    name: name for name in ("typical_p", "repeat_last_n", "mirostat", "mirostat_tau", "mirostat_eta")
}
"""Parameters that only llama.cpp knows, by its names for them."""


class SamplingSettings(Section, frozen=True):
    """How tokens are drawn where a request does not say it, by the names of Ollama's Modelfiles."""

    told: ClassVar[Mapping[str, str]] = {
        "max_tokens": "here it is called 'num_predict'",
        "repetition_penalty": "here it is called 'repeat_penalty'",
        "num_ctx": "it is `context` of the model itself",
    }

    temperature: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    """How freely tokens are drawn; 0 = always the likeliest."""
    top_p: Share | None = None
    """Tokens are drawn from the likeliest that have this probability together."""
    top_k: Whole | None = None
    """Tokens are drawn from so many of the likeliest; 0 = of all."""
    min_p: Share | None = None
    """Tokens are left out that have less than this part of the probability of the likeliest."""
    typical_p: Share | None = None
    """Share of typical tokens that are drawn from; llama.cpp only, as are the next two and those of mirostat."""
    num_keep: Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)] | None = None
    """Tokens of the prompt that stay when the context is full; -1 = all."""
    repeat_last_n: Annotated[int, msgspec.Meta(ge=-1, le=2**20)] | None = None
    """Tokens that the penalty of repetition looks back on; -1 = the whole context."""
    mirostat: Annotated[int, msgspec.Meta(ge=0, le=2)] | None = None
    """Which mirostat sampling; 0 = none."""
    mirostat_tau: Real | None = None
    """Its target of surprise."""
    mirostat_eta: Real | None = None
    """Its rate of learning."""
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    """Start of the random numbers."""
    num_predict: Whole | None = None
    """Longest answer in tokens; below 1 = as long as it gets."""
    stop: str | list[str] | None = None
    """Texts that end the answer."""
    repeat_penalty: Annotated[float, msgspec.Meta(ge=0.01, le=100)] | None = None
    """Penalty of repetition; 1 = none."""
    presence_penalty: Real | None = None
    """Penalty of what was said at all."""
    frequency_penalty: Real | None = None
    """Penalty of what was said often."""


class Parameters(SamplingSettings, frozen=True):
    """Settings of a variant: as a model's, and those of Modelfiles that an engine takes at its start."""

    num_ctx: Whole | None = None
    """Without effect, as are those below: the engine is the model's, and its own settings hold (`context`)."""
    num_batch: Whole | None = None
    """Without effect."""
    num_gpu: Whole | None = None
    """Without effect."""
    main_gpu: Whole | None = None
    """Without effect."""
    num_thread: Whole | None = None
    """Without effect."""
    use_mmap: bool | None = None
    """Without effect."""


def drawn(settings: SamplingSettings) -> Defaults:
    """What these settings put into a request."""
    said = {key: value for key, value in asdict(settings).items() if value is not None}
    if isinstance(said.get("stop"), str):
        said["stop"] = [said["stop"]]
    stop = tuple(filter(None, said.pop("stop", ())))
    if said.get("num_predict", 1) < 1:  # without end, which is what it is without a word
        del said["num_predict"]
    return Defaults(
        sampling=Sampling(stop=stop, **{SAMPLING[key]: value for key, value in said.items() if key in SAMPLING}),
        extra={ENGINE[key]: value for key, value in said.items() if key in ENGINE},
    )
