"""Circuit breakers: which servers are left alone for now, because they failed, and which may be tried again.

One circuit for each model that failed lately; a model without one is well. Pure: events and a clock in, seconds to
wait out. Knows neither requests nor servers. After Nygard, "Release It!" (2007): closed, open, half-open.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal

import msgspec

from rolecast.config.retries import Retries

Fault = Literal["failed", "busy", "refused"]
"""No answer or an error; too much to do; our key or account is not accepted."""
State = Literal["closed", "open", "half_open"]

WINDOW_S = 30.0
"""Answers and failures of so long are counted together."""
LEAST_SEEN, SHARE = 10, 0.5
"""Of so many requests within the window this part must have failed to open a circuit, if not so many in a row did."""
LONGEST_TOLD_S = 300.0
"""No server that asks to be left alone is left alone for longer, in case that it asks for nonsense."""
REFUSED_S = 600.0
"""A server that does not accept our key is asked again after so long: somebody may have paid the bill."""
PROBE_S = 60.0
"""A probe of which nothing is heard for so long is forgotten, and the next one goes."""
LOOK_S = 0.25
"""Who waits for a probe looks again after so long."""


class Rules(msgspec.Struct, frozen=True):
    """When a circuit opens, and for how long."""

    failures: int = 5
    """So many in a row open it."""
    first_s: float = 5.0
    """So long it is open at first; each time that its probe fails, twice as long."""
    longest_s: float = 300.0
    """And never for longer."""


def rules(settings: Retries) -> Rules:
    """As the configuration has them."""
    return Rules(settings.failures, float(settings.rest), float(settings.longest_rest))


class Circuit:
    """What is known of one model that failed lately."""

    __slots__ = ("answers", "failures", "openings", "probe_until", "row", "since", "until", "why")

    def __init__(self, now: float) -> None:
        self.row = 0
        """Failures since its last answer."""
        self.answers = self.failures = 0
        self.since = now
        """When the window began in which those two are counted."""
        self.openings = 0
        """How often it opened without having been well for a while."""
        self.until = 0.0
        """Until when it is open; 0 = it is closed."""
        self.probe_until = 0.0
        """A probe is under way, and until when it is waited for; 0 = none is."""
        self.why = ""

    @property
    def closed(self) -> bool:
        return not self.until


Tell = Callable[[str, Mapping[str, Any]], object]


def _nobody(event_type: str, data: Mapping[str, Any]) -> None:
    """Nobody wants to know."""


class Breaker:
    """The circuits of all models. `rules` is asked each time, since an edit may change them."""

    def __init__(self, clock: Callable[[], float], rules: Callable[[], Rules] = Rules) -> None:
        self._clock = clock
        self._rules = rules
        self.circuits: dict[str, Circuit] = {}
        """By model; empty when all are well."""
        self.tell: Tell = _nobody
        """Told of each circuit that opens or closes."""

    def admits(self, model: str) -> float:
        """0 = ask it now; else so many seconds until it may be asked, or until that is known.

        Of an open circuit whose time is over exactly one gets 0, which is its probe: tell what became of it.
        """
        wait_s = self.wait_of(model)
        if not wait_s and (circuit := self.circuits.get(model)) is not None and not circuit.closed:
            circuit.probe_until = self._clock() + PROBE_S
        return wait_s

    def wait_of(self, model: str) -> float:
        """The same, and nobody is a probe for having asked."""
        circuit = self.circuits.get(model) if self.circuits else None
        if circuit is None or circuit.closed:
            return 0.0
        now = self._clock()
        if now < circuit.until:
            return circuit.until - now
        return min(LOOK_S, circuit.probe_until - now) if now < circuit.probe_until else 0.0

    def state(self, model: str) -> State:
        """As a person calls it."""
        circuit = self.circuits.get(model)
        if circuit is None or circuit.closed:
            return "closed"
        return "open" if self._clock() < circuit.until else "half_open"

    def why(self, model: str) -> str:
        """What it failed with last; '' = nothing."""
        circuit = self.circuits.get(model)
        return circuit.why if circuit is not None else ""

    def open(self) -> Iterator[tuple[str, float, str]]:
        """Each model that is left alone now, for how many seconds still, and why."""
        for model, circuit in self.circuits.items():
            if not circuit.closed:
                yield model, max(0.0, circuit.until - self._clock()), circuit.why

    def failed(
        self, model: str, fault: Fault = "failed", told_s: float = 0.0, why: str = "", *, probe: bool = True
    ) -> None:
        """It gave no answer; `told_s` = its server asks to be left alone for so long.

        `probe` false = it was asked before its circuit opened, so this says nothing of the probe that is under way.
        """
        now, rules = self._clock(), self._rules()
        circuit = self._circuit(model, now)
        circuit.row += 1
        circuit.failures += 1
        circuit.why = why
        probed = probe and circuit.probe_until > 0
        if probe:
            circuit.probe_until = 0.0
        if fault == "refused":
            self._open(model, circuit, now + REFUSED_S)
        elif told_s > 0:
            self._open(model, circuit, now + min(told_s, LONGEST_TOLD_S))
        elif (probed and now >= circuit.until > 0) or (circuit.closed and self._is_enough(circuit, rules)):
            circuit.openings += 1
            wait_s = min(rules.first_s * 2.0 ** min(circuit.openings - 1, 32), rules.longest_s)
            self._open(model, circuit, now + wait_s)

    def answered(self, model: str) -> None:
        """Its server answered, if only that the request is wrong."""
        circuit = self.circuits.get(model)
        if circuit is None:
            return
        now = self._clock()
        if not circuit.closed and not circuit.probe_until:  # one that was asked before it opened tells nothing new
            return
        circuit = self._circuit(model, now)
        circuit.row = 0
        circuit.answers += 1
        if not circuit.closed:
            circuit.until = circuit.probe_until = 0.0
            circuit.answers, circuit.failures, circuit.since = 1, 0, now
            self.tell("breaker_closed", {"model": model})
        elif not (circuit.failures or circuit.openings):
            del self.circuits[model]

    def gave_up(self, model: str) -> None:
        """Nothing was learnt of the request that was its probe: the next one is another."""
        circuit = self.circuits.get(model)
        if circuit is not None:
            circuit.probe_until = 0.0

    def keep(self, models: Collection[str]) -> None:
        """Forget what is known of all others: they are gone, or somebody mended them."""
        for model in [model for model in self.circuits if model not in models]:
            del self.circuits[model]

    def _circuit(self, model: str, now: float) -> Circuit:
        """Its circuit, with its window begun anew where that is over."""
        circuit = self.circuits.get(model)
        if circuit is None:
            circuit = self.circuits[model] = Circuit(now)
        elif now - circuit.since >= WINDOW_S:
            if circuit.closed and not circuit.failures:  # it was well for all of it
                circuit.openings = 0
            circuit.answers = circuit.failures = 0
            circuit.since = now
        return circuit

    @staticmethod
    def _is_enough(circuit: Circuit, rules: Rules) -> bool:
        seen = circuit.answers + circuit.failures
        return circuit.row >= rules.failures or (seen >= LEAST_SEEN and circuit.failures >= SHARE * seen)

    def _open(self, model: str, circuit: Circuit, until: float) -> None:
        news = circuit.closed
        circuit.until = max(until, circuit.until)
        if news:
            wait_s = round(circuit.until - self._clock(), 3)
            self.tell("breaker_opened", {"model": model, "wait_s": wait_s, "why": circuit.why})
