"""Who of several equal models answers the next request: the least busy one, ties in turn.

Knows loads and recent failures; knows neither requests nor what a model is.
"""

from collections.abc import Callable, Sequence

REST_S = 5.0
"""A model that failed is left out this long while an equal is there: failing fast, it would look the least busy."""
LONGEST_REST_S = 300.0
"""No server that asks to be left alone is left alone for longer, in case that it asks for nonsense."""


class Spread:
    """Shares requests over equals. `load` gives the requests per slot of a model, infinite when it cannot serve."""

    def __init__(
        self,
        load: Callable[[str], float],
        clock: Callable[[], float],
        shut: Callable[[str], float] = lambda model: 0.0,
    ) -> None:
        self._load = load
        self._clock = clock
        self._shut = shut
        """For so many seconds a server elsewhere is left alone, whatever failed here; `routing.breaker` says so."""
        self._turn = 0
        self._resting: dict[str, float] = {}

    def pick(self, models: Sequence[str]) -> int:
        """The position of the one to ask."""
        self._turn += 1
        loads = [self._load(model) for model in models]
        able = self._rested(models)
        least = min(loads[i] for i in able)
        tied = [i for i in able if loads[i] == least]
        return tied[self._turn % len(tied)]

    def lead(self, models: tuple[str, ...], groups: Sequence[Sequence[str]]) -> tuple[str, ...]:
        """The same models, but of the equals that they begin with the least busy one in front."""
        group = next((each for each in groups if models and models[0] in each), ())
        peers = [model for model in models if model in group]
        if len(peers) < 2:
            return models
        first = peers[self.pick(peers)]
        return (first, *(model for model in models if model != first))

    def failed(self, model: str, rest_s: float = 0.0) -> None:
        """This one did not answer just now, and asks to be left alone for so long; 0 = it did not say."""
        until = self._clock() + min(max(rest_s, REST_S), LONGEST_REST_S)
        self._resting[model] = max(until, self._resting.get(model, 0.0))

    def rest_of(self, model: str) -> float:
        """For so many seconds it is still left alone; 0 = it did not fail just now."""
        own_s = self._resting.get(model, 0.0) - self._clock() if self._resting else 0.0
        return max(own_s, self._shut(model), 0.0)

    def _rested(self, models: Sequence[str]) -> Sequence[int]:
        """The positions of those that have not just failed; of all when all have."""
        now = self._clock()
        for model in [model for model, until in self._resting.items() if until <= now]:
            del self._resting[model]
        there = [i for i, model in enumerate(models) if not self._shut(model)] or range(len(models))
        return [i for i in there if models[i] not in self._resting] or there
