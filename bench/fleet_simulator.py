"""One machine on virtual time: carries out what a policy decides, and lets it do nothing that a real one could not.

The same trace and policy give the same result, always. It checks at every step that the memory of all models, also of
those that come or go, stays within the budget, that nobody is stopped who answers, that no model is started twice and
none gives more answers at once than it has slots. What it leaves out: answers and loads do not slow each other down.
"""

import heapq
from dataclasses import dataclass, field
from enum import Enum

from fleet_policy import NEVER, Action, Load, Policy, Refuse, Request, Start, Unload
from fleet_workload import Client, ModelSpec, Trace

PATIENCE = 10_000
"""So often in a row a policy may want to be asked again without doing anything."""


class Broken(AssertionError):
    """A policy did what no machine allows, or what it must never do."""


class State(Enum):
    COLD = "cold"
    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"


@dataclass(slots=True)
class Held:
    """A model on the machine."""

    spec: ModelSpec
    state: State = State.COLD
    active: int = 0
    since_s: float = 0.0
    answered: int = 0
    """Requests that were started since its last load."""


@dataclass(slots=True)
class Result:
    """What came of a trace under a policy."""

    requests: list[Request] = field(default_factory=list)
    loads: int = 0
    idle_loads: int = 0
    """Loads of a model that left again without having answered anybody."""
    busy_s: float = 0.0
    """Time in which anything was answered."""
    end_s: float = 0.0
    peak_bytes: int = 0
    spans: list[tuple[str, str, float, float]] = field(default_factory=list)
    """For a picture: model, what it did, from when, until when."""


_ARRIVES, _LOADED, _UNLOADED, _FINISHED = range(4)


class Simulator:
    """One run of one trace under one policy."""

    def __init__(self, trace: Trace, policy: Policy) -> None:
        if fault := trace.fault():
            raise ValueError(f"{trace.name}: {fault}")
        self.budget_bytes = trace.budget_bytes
        self.held = {spec.model: Held(spec) for spec in trace.models}
        self.policy = policy
        self.result = Result()
        self.now = 0.0
        self._used_bytes = 0
        self._running = 0
        self._events: list[tuple[float, int, int, Request | str]] = []
        self._order = 0
        self._waiting: list[Request] = []
        self._next: dict[int, tuple[Client, int]] = {}
        """By the number of a request: whose turn it is, and which."""
        for arrival in trace.arrivals:
            self._ask(arrival.model, arrival.service_s, arrival.at_s, arrival.key, arrival.priority)
        for client in trace.clients:
            self._turn(client, 0, client.at_s)

    def run(self) -> Result:
        """Replay until nothing happens any more. Requests that were never started keep an endless wait."""
        idle = 0
        while True:
            at, tick = self._events[0][0] if self._events else NEVER, self.policy.next_time()
            if at == tick == NEVER:
                break
            if at <= tick:
                self._advance(at)
                self._perform(self._happen())
                idle = 0
                continue
            if not self._events and self._all_done():
                break
            self._advance(max(tick, self.now))
            actions = self.policy.tick(self.now)
            idle = 0 if actions else idle + 1
            if idle > PATIENCE:
                raise Broken(f"the policy wants to be asked again at {tick:g} and does nothing")
            self._perform(actions)
        self.result.end_s = max((r.ended_s for r in self.result.requests if r.ended_s < NEVER), default=0.0)
        self._close()
        return self.result

    # -- what happens -----------------------------------------------------------------------------------------

    def _happen(self) -> list[Action]:
        _, _, kind, subject = heapq.heappop(self._events)
        if isinstance(subject, str):
            held = self.held[subject]
            if kind == _LOADED:
                self._become(held, State.READY)
                return self.policy.loaded(subject, self.now)
            self._become(held, State.COLD)
            self._used_bytes -= held.spec.size_bytes
            return self.policy.unloaded(subject, self.now)
        if kind == _ARRIVES:
            self._waiting.append(subject)
            return self.policy.arrive(subject, self.now)
        self.held[subject.model].active -= 1
        self._running -= 1
        subject.ended_s = self.now
        self._answer_reached(subject)
        return self.policy.finished(subject, self.now)

    def _ask(self, model: str, service_s: float, at_s: float, key: str, priority: int) -> Request:
        request = Request(len(self.result.requests), model, service_s, at_s, key, priority)
        self.result.requests.append(request)
        self._push(at_s, _ARRIVES, request)
        return request

    def _turn(self, client: Client, which: int, at_s: float) -> None:
        turn = client.turns[which]
        request = self._ask(turn.model, turn.service_s, at_s, client.key, client.priority)
        self._next[request.number] = (client, which)

    def _answer_reached(self, request: Request) -> None:
        """Whoever made it asks again, after some thought."""
        client, which = self._next.pop(request.number, (None, 0))
        if client and which + 1 < len(client.turns):
            self._turn(client, which + 1, self.now + client.turns[which].then_s)

    # -- what is decided --------------------------------------------------------------------------------------

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Load(model=model):
                    self._load(self.held[model])
                case Unload(model=model):
                    self._unload(self.held[model])
                case Start(request=request):
                    self._start(request)
                case Refuse(request=request):
                    self._open(request)
                    request.refused = True
                    self._answer_reached(request)

    def _load(self, held: Held) -> None:
        if held.state is not State.COLD:
            raise Broken(f"{held.spec.model} is {held.state.value} and is to be loaded, at {self.now:g}")
        self._used_bytes += held.spec.size_bytes
        if self._used_bytes > self.budget_bytes:
            raise Broken(f"{self._used_bytes} bytes of {self.budget_bytes} with {held.spec.model}, at {self.now:g}")
        self.result.peak_bytes = max(self.result.peak_bytes, self._used_bytes)
        self.result.loads += 1
        held.answered = 0
        self._become(held, State.LOADING)
        self._push(self.now + held.spec.load_s, _LOADED, held.spec.model)

    def _unload(self, held: Held) -> None:
        deserted = held.state is State.LOADING and not self._is_waited_for(held.spec.model)
        if not (held.state is State.READY or deserted) or held.active or held.spec.pinned:
            what = "pinned" if held.spec.pinned else f"{held.state.value} with {held.active} requests"
            raise Broken(f"{held.spec.model} is {what} and is to be unloaded, at {self.now:g}")
        if deserted:
            self._events = [each for each in self._events if each[2:] != (_LOADED, held.spec.model)]
            heapq.heapify(self._events)
        self.result.idle_loads += not held.answered
        self._become(held, State.UNLOADING)
        self._push(self.now + held.spec.unload_s, _UNLOADED, held.spec.model)

    def _is_waited_for(self, model: str) -> bool:
        """Whether the policy was told of a request for it that waits still."""
        self._waiting = [each for each in self._waiting if each.started_s == NEVER and not each.refused]
        return any(each.model == model for each in self._waiting)

    def _start(self, request: Request) -> None:
        self._open(request)
        held = self.held[request.model]
        if held.state is not State.READY or held.active >= held.spec.slots:
            raise Broken(f"{request.model} is {held.state.value} with {held.active} requests and gets one more")
        held.active += 1
        held.answered += 1
        self._running += 1
        request.started_s = self.now
        self._push(self.now + request.service_s, _FINISHED, request)

    def _open(self, request: Request) -> None:
        if request.started_s < NEVER or request.refused:
            raise Broken(f"request {request.number} is answered twice")
        if request.arrived_s > self.now:
            raise Broken(f"request {request.number} is answered before it came")

    # -- time -------------------------------------------------------------------------------------------------

    def _advance(self, to_s: float) -> None:
        if self._running:
            self.result.busy_s += to_s - self.now
        self.now = to_s

    def _push(self, at_s: float, kind: int, subject: Request | str) -> None:
        self._order += 1
        heapq.heappush(self._events, (at_s, self._order, kind, subject))

    def _become(self, held: Held, state: State) -> None:
        if held.state is not State.COLD and self.now > held.since_s:
            self.result.spans.append((held.spec.model, held.state.value, held.since_s, self.now))
        held.state, held.since_s = state, self.now

    def _close(self) -> None:
        for held in self.held.values():
            self._become(held, held.state)

    def _all_done(self) -> bool:
        return all(r.refused or r.ended_s < NEVER for r in self.result.requests)


def replay(trace: Trace, policy: Policy) -> Result:
    """What comes of a trace under a policy. Raises Broken."""
    return Simulator(trace, policy).run()
