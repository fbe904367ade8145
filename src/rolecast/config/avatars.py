"""The section `avatars`: personal models that were trained here."""

from typing import Annotated

import msgspec

from rolecast.config.units import Section


class Avatars(Section, frozen=True):
    """Personal models, trained from a person's conversations; `rolecast avatar` makes them."""

    enabled: bool = True
    """Whether released avatars answer as `avatar/NAME`."""
    base: str = "smollm2-135m"
    """The model that avatars are trained over, unless told otherwise: one of `models`, one of the preset `default`, or
    a path of a GGUF file."""
    context: Annotated[int, msgspec.Meta(ge=256)] = 2048
    """Tokens of one conversation with an avatar."""
    parallel: Annotated[int, msgspec.Meta(ge=1, le=256)] = 4
    """Conversations of all avatars of one base that are answered at the same time."""
    keep: Annotated[int, msgspec.Meta(ge=1)] = 3
    """Versions of an avatar that stay at hand, for the way back."""
