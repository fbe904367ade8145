"""What plays may use besides the model of their request: the configuration, and helpers that live with the gateway."""

from rolecast.config import paths
from rolecast.config.current import Current
from rolecast.tasks.code.check import CodeCheck
from rolecast.tasks.code.keystrokes import Keystrokes
from rolecast.tasks.maths.check import Checker


class Backstage:
    """Made once, by `app`. A helper that a play needs is a field here, and starts nothing before its first use."""

    def __init__(self, current: Current) -> None:
        self.current = current
        self.code_check = CodeCheck()
        self.keystrokes = Keystrokes()
        self.maths = Checker(paths.helper_log("proofs"))

    async def close(self) -> None:
        """End the helpers that run."""
        await self.code_check.close()
        await self.maths.close()
