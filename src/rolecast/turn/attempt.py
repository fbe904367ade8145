"""What carriers share that hold an answer, or write it anew: who still wants it, and how a lost worker is told."""

from rolecast.errors import RolecastError, WorkerDown
from rolecast.turn.exchange import Exchange


class Attempt:
    """One attempt of an exchange."""

    exchange: Exchange

    @property
    def closed(self) -> bool:
        """Nobody wants the answer any more."""
        carrier: object = self.exchange.carrier
        return self.exchange.closed or carrier is not self

    def on_lost(self, error: Exception) -> None:
        """The worker went away."""
        failure = error if isinstance(error, RolecastError) else WorkerDown(str(error))
        self.exchange.dispatch.lost(self.exchange, failure)
