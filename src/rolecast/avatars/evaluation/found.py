"""What an evaluation found, as report.json has it. Apart from how it is measured, since the gateway reads it too."""

import msgspec

from rolecast.avatars.evaluation.figures import Figures, Talk
from rolecast.avatars.evaluation.verdict import Check
from rolecast.avatars.settings import GateSettings


class Evaluation(msgspec.Struct, frozen=True):
    """What is written to report.json."""

    person: str
    passed: bool
    reasons: tuple[str, ...]
    """Why it is not to be served, each with the next step; empty when it is."""
    checks: tuple[Check, ...]
    figures: Figures
    talks: tuple[Talk, ...] = ()
    settings: GateSettings = GateSettings()
    trained: str = ""
    """Digest of what was judged: weights, dataset and settings."""
    at: float = 0.0
    """Seconds since 1970."""
    seconds: float = 0.0
    """What measuring took, of this run alone where it went on."""
    withdrawn: str = ""
    """Why it answers nobody any more; '' = it may."""
