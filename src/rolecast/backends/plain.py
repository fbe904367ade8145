"""What a backend says of itself where it has nothing particular to say: the base of those that come with Rolecast, and
what one from elsewhere gets for the parts that it left out, because it was made before there was such a thing.

What each part means is told in `Backend`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # each start of a worker may import this
    from rolecast.backends.sleepers import Sleeper
    from rolecast.backends.slots import SlotFiles
    from rolecast.config.schema import Model
    from rolecast.errors import RolecastError
    from rolecast.footprint import Estimate
    from rolecast.values import Failure


class Plain:
    """A server that speaks OpenAI's API and is told nothing that others are not."""

    speaks: str = "openai"
    named_tools: bool = True
    several: bool = True
    translates: bool = False
    stops_streams_only: bool = False
    asks_stop: Mapping[str, Any] = {}

    def can(self, model: "Model", weights: Path | None, need: str) -> bool | None:
        """Nobody can tell: the words of the configuration are believed."""
        return None

    def counting(self, body: bytes) -> tuple[bytes, bytes] | None:
        """It has no such question."""
        return None

    def marks(self, model: "Model", weights: Path | None) -> tuple[str, ...]:
        """Its server is told what surrounds the gap, or fills none."""
        return ()

    def tells_apart(self, model: "Model") -> bool:
        """It does."""
        return True

    def logits(self, model: "Model", weights: Path | None) -> bool:
        """They are passed on as they come."""
        return False

    def refuse(self, body: bytes) -> None:
        """Nothing is known to harm it."""

    def form(self, model: "Model", fields: dict[str, Any]) -> None:
        """It reads `response_format`, or none."""

    def brings(self, model: "Model", stay_s: float | None) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def estimate(self, model: "Model", weights: Path | None) -> "Estimate | None":
        """What it takes is seen when it runs."""
        return None

    def engine(self, model: "Model") -> str:
        """It has none, or it is elsewhere."""
        return ""

    def slot_files(self, model: "Model", weights: Path | None) -> "SlotFiles | None":
        """It keeps none."""
        return None

    def sleeper(self, model: "Model") -> "Sleeper | None":
        """It knows no sleep."""
        return None

    def explain(self, status: int, said: "Failure") -> "RolecastError | None":
        """Its words may be passed on."""
        return None


PARTS = tuple(name for name in vars(Plain) if not name.startswith("_"))
"""All that may be left out."""
