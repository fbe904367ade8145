"""How others decide, as far as it can be told in a few rules: the policies that Rolecast is compared with.

Each is at least as good as what it stands for: all of them know the size of every model, use the whole memory, wait
for those who are answered, and start no model twice. They differ in who is let past whom, and when somebody has to go.
"""

from collections import deque
from collections.abc import Iterable

from fleet_policy import NEVER, Action, Load, Request, Start, Unload
from fleet_workload import Trace


class Residence:
    """Which models are held, and who goes for whom: of those that are idle, the one that was used longest ago."""

    def __init__(self, trace: Trace, most: int | None = None) -> None:
        self.budget_bytes = trace.budget_bytes
        self.specs = {spec.model: spec for spec in trace.models}
        self.most = most or len(self.specs)
        """So many models at once."""
        self.ready: set[str] = set()
        self.loading: set[str] = set()
        self.leaving: set[str] = set()
        self.coming: list[str] = []
        """Models for which the room is being made."""
        self.used_s: dict[str, float] = {}

    def bring(self, model: str, busy: Iterable[str]) -> list[Action]:
        """Get a model that is not there, if those who would have to go are idle; else nothing happens."""
        if model in self.ready or model in self.loading or model in self.coming or model in self.leaving:
            return []
        idle = [m for m in self.ready if not self.specs[m].pinned and m not in set(busy)]
        idle.sort(key=lambda m: (self.used_s.get(m, 0.0), m))
        stay, victims = [*self.ready, *self.loading, *self.coming], []
        while not self._fits([*stay, model]):
            if not idle:
                return []
            victims.append(idle.pop(0))
            stay.remove(victims[-1])
        self.coming.append(model)
        self.ready -= set(victims)
        self.leaving |= set(victims)
        return [*(Unload(m) for m in victims), *self.settle()]

    def settle(self) -> list[Action]:
        """Load those for which there is room by now."""
        actions: list[Action] = []
        for model in list(self.coming):
            if self._fits([*self.ready, *self.loading, *self.leaving, model]):
                self.coming.remove(model)
                self.loading.add(model)
                actions.append(Load(model))
        return actions

    def _fits(self, models: list[str]) -> bool:
        return len(models) <= self.most and sum(self.specs[m].size_bytes for m in models) <= self.budget_bytes


class Peer:
    """What is common to them: lines, slots, and one look at everything after each event."""

    def __init__(self, trace: Trace, most: int | None = None) -> None:
        self.residence = Residence(trace, most)
        self.line: deque[Request] = deque()
        """Those who are not assigned to a model that runs."""
        self.inside: dict[str, deque[Request]] = {spec.model: deque() for spec in trace.models}
        """Those who wait for a slot of a model that runs: nobody takes them back."""
        self.active = dict.fromkeys(self.inside, 0)

    def arrive(self, request: Request, now: float) -> list[Action]:
        self.line.append(request)
        return self.look(now)

    def loaded(self, model: str, now: float) -> list[Action]:
        self.residence.loading.discard(model)
        self.residence.ready.add(model)
        self.residence.used_s[model] = now
        return self.look(now)

    def unloaded(self, model: str, now: float) -> list[Action]:
        self.residence.leaving.discard(model)
        return [*self.residence.settle(), *self.look(now)]

    def finished(self, request: Request, now: float) -> list[Action]:
        self.active[request.model] -= 1
        self.residence.used_s[request.model] = now
        return [*self.serve(request.model, now), *self.look(now)]

    def tick(self, now: float) -> list[Action]:
        return []

    def next_time(self) -> float:
        return NEVER

    def look(self, now: float) -> list[Action]:
        """Who can be let in now, and which model is to come."""
        raise NotImplementedError

    def free(self, model: str) -> bool:
        return model in self.residence.ready and self.active[model] < self.residence.specs[model].slots

    def serve(self, model: str, now: float) -> list[Action]:
        """Start those of its line who find a slot."""
        actions: list[Action] = []
        while self.inside[model] and self.free(model):
            actions.append(self.start(self.inside[model].popleft(), now))
        return actions

    def start(self, request: Request, now: float) -> Action:
        self.active[request.model] += 1
        self.residence.used_s[request.model] = now
        return Start(request)

    def busy(self) -> list[str]:
        return [m for m in self.active if self.active[m] or self.inside[m]]


class Fifo(Peer):
    """In the order of arrival, strictly: nobody starts before all who came earlier have started."""

    def look(self, now: float) -> list[Action]:
        actions: list[Action] = []
        while self.line and self.free(self.line[0].model):
            actions.append(self.start(self.line.popleft(), now))
        if self.line:
            actions += self.residence.bring(self.line[0].model, self.busy())
        return actions


class LruByCount(Peer):
    """Ollama: so many models at once, the one that was used longest ago goes. One line for all: while its first waits
    for a model, all behind it wait too, also those whose model is there. A model that runs has a line of its own."""

    def look(self, now: float) -> list[Action]:
        actions: list[Action] = []
        while self.line and self.line[0].model in self.residence.ready:
            request = self.line.popleft()
            self.inside[request.model].append(request)
            actions += self.serve(request.model, now)
        if self.line:
            actions += self.residence.bring(self.line[0].model, self.busy())
        return actions


class Overtaking(Peer):
    """llama-swap: whose model runs is let in at once, past all others; a model is replaced when it is idle. Nobody's
    wait counts, so whoever wants another model may wait for as long as others keep this one busy."""

    def look(self, now: float) -> list[Action]:
        actions: list[Action] = []
        for request in list(self.line):
            if request.model in self.residence.ready:
                self.line.remove(request)
                self.inside[request.model].append(request)
                actions += self.serve(request.model, now)
            else:
                actions += self.residence.bring(request.model, self.busy())
        return actions
