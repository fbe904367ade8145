"""What a process that makes an avatar is told, and the words in which it tells how far it is."""

import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import msgspec

from rolecast.avatars.settings import AvatarSettings

Step = Literal["extract", "dataset", "train", "evaluate", "release"]
STEPS: tuple[Step, ...] = ("extract", "dataset", "train", "evaluate", "release")
MODULE = "rolecast.avatars.worker"
ORDER = "ROLECAST_AVATAR"
"""The variable with the order: not on the command line, which every user of the machine can read."""
MEMORY: Mapping[str, str] = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""glibc keeps what training frees, in large pages: the next step takes it again (1.24 times the speed, measured)."""
OFFLINE: Mapping[str, str] = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Everything is here: nothing is fetched, nothing is told."""


class AvatarOrder(msgspec.Struct, frozen=True):
    """Make these steps of that avatar."""

    name: str
    """The avatar's, a slug."""
    person: str
    """Whose replies are learnt, by name or id."""
    steps: tuple[Step, ...] = STEPS
    settings: AvatarSettings = AvatarSettings()
    database: str = ""
    """`storage.url` of the gateway that asks, as it is written there; '' = the database in the data folder."""
    base: str = ""
    """The GGUF file that a LoRA is trained over."""
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0
    """Part of the conversations that a new version answers at first; 0 = all."""
    keep: Annotated[int, msgspec.Meta(ge=1)] = 3
    """Versions that stay."""
    force: bool = False
    """Whether it is released although the gate says no."""
    resume: bool = True
    """Whether a training that was broken off goes on."""


def environment(ours: Mapping[str, str] = os.environ) -> Iterator[tuple[str, str]]:
    """The variables of such a process besides its order."""
    for name, value in {**MEMORY, **OFFLINE}.items():
        if name not in ours:
            yield name, value
