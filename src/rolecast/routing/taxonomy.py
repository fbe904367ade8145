"""The versioned taxonomies of TMD: names and codes of domains, tasks, methods and modifiers, and how they are packed.

They are data files, read when first needed. Every scheme says which of its domains each topic belongs to; the topics
are what all schemes have in common (`data/taxonomies/domains.json`). Knows no text and no model.
"""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:  # numpy comes with it
    import numpy as np
    from numpy.typing import NDArray

NAMES = ("seed", "v1", "v2", "pas_l0")
"""The schemes, by what requests call them."""
OTHER = "OTHER"
"""What a domain is called that no name of the scheme fits."""
INVALID = "0.0.0"
"""The text form of what has no code."""
WIDTH = 16
"""Numbers of a vector."""
SEED = 1337


class Bits(msgspec.Struct, frozen=True):
    """How many bits each code takes: domain, task, modifier from the highest down; the lowest of the 16 is spare."""

    domain: int
    task: int
    modifier: int


class Scheme(msgspec.Struct, frozen=True):
    """One taxonomy. A code is the place of a name in its list."""

    name: str
    version: str
    says: str
    domains: tuple[str, ...]
    tasks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    modifiers: tuple[str, ...] = ()
    bits: Bits | None = None
    """None = names alone."""
    topics: Mapping[str, tuple[str, ...]] = {}
    """Of the seed's domains: which topics each may be about; `*` = any but `Other`."""
    of_topic: Mapping[str, str] = {}
    """The domain of a topic, where it is not called the same. A topic without one has no home in this scheme."""
    of_task: Mapping[str, Any] = {}
    """v1: the tasks that each category may be. v2: the task of one of v1's, where it is not called the same."""
    modifier_of_task: Mapping[str, str] = {}
    modifier_of_domain: Mapping[str, str] = {}
    """Where the task says none."""
    modifier_else: str = ""
    sure: float = 0.5
    """A domain less probable than that is told as a fallback."""

    def home(self, topic: str) -> str:
        """The domain of a topic; OTHER where it has none."""
        return self.of_topic.get(topic) or (topic if topic in self.domains else OTHER)


class Code(msgspec.Struct, frozen=True):
    """The three numbers of a thing."""

    domain: int = 0
    task: int = 0
    modifier: int = 0


@cache
def scheme(name: str) -> Scheme:
    """The taxonomy of that name. Raises KeyError for a name that is none."""
    if name not in NAMES:
        raise KeyError(name)
    return msgspec.json.decode(_file(name), type=Scheme)


@cache
def examples(name: str) -> Mapping[str, tuple[str, ...]]:
    """Examples by label: of `domains` (the topics), `tasks`, `methods` or `v1_tasks`."""
    return msgspec.json.decode(_file(name), type=dict[str, tuple[str, ...]])


def _file(name: str) -> bytes:
    return resources.files("rolecast").joinpath("data", "taxonomies", f"{name}.json").read_bytes()


# -- codes ---------------------------------------------------------------------------------------------------


def pack(code: Code, bits: Bits) -> int:
    """The code in 16 bits: v1 `domain<<12 | task<<7 | modifier<<1`, v2 `domain<<10 | task<<6 | modifier<<1`.

    Raises ValueError for a number that its bits do not hold.
    """
    for name in ("domain", "task", "modifier"):
        if not 0 <= getattr(code, name) < 1 << getattr(bits, name):
            raise ValueError(f"the {name} {getattr(code, name)} is not below {1 << getattr(bits, name)}")
    return code.domain << bits.task + bits.modifier + 1 | code.task << bits.modifier + 1 | code.modifier << 1


def unpack(packed: int, bits: Bits) -> Code:
    """The code that is packed so. Raises ValueError for what is no number of 16 bits."""
    if not 0 <= packed < 1 << 16:
        raise ValueError(f"{packed} is no number of 16 bits")
    modifier, rest = packed >> 1 & (1 << bits.modifier) - 1, packed >> bits.modifier + 1
    return Code(rest >> bits.task, rest & (1 << bits.task) - 1, modifier)


def lane(packed: int) -> int:
    """The index of the lane: the packed code without its spare bit."""
    return packed >> 1


def text_form(code: "Code | Mapping[str, int] | None") -> str:
    """`domain.task.modifier`; `0.0.0` for nothing and for what lacks a number."""
    if isinstance(code, Code):
        return f"{code.domain}.{code.task}.{code.modifier}"
    if code is None or not all(isinstance(code.get(name), int) for name in ("domain", "task", "modifier")):
        return INVALID
    return f"{code['domain']}.{code['task']}.{code['modifier']}"


def vector(packed: int) -> "NDArray[np.float32]":
    """16 numbers of length 1 for a packed code; zeros for 0.

    Its 15 bits, the highest first, times a fixed matrix (16 x 15) of normal numbers from NumPy's `default_rng(1337)` as
    float32, divided by its length.
    """
    import numpy as np

    bits = np.array([packed >> 15 - i & 1 for i in range(WIDTH - 1)], np.float32)
    made = _matrix() @ bits
    length = np.linalg.norm(made)
    found: NDArray[np.float32] = made / length if length > 0 else made
    return found


@cache
def _matrix() -> "NDArray[np.float32]":
    import numpy as np

    return np.random.default_rng(SEED).standard_normal((WIDTH, WIDTH - 1)).astype(np.float32)
