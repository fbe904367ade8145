"""Whatever happens in whatever order: the machine between clients, engines and editors that do as they like.

Copies, sleep, deaths at any time, edits, memory that comes and goes, clients that leave in the instant they are served.
Here a driver carries out what the machine wants, on virtual time, as `Fleet` does it, and after each event looks:

- what is started or woken fits into the budget, and nothing is started, ended or woken that is not as it should be;
- every request stands in one line, has slots, or was told; nobody stands there longer than until its deadline;
- nobody waits while a copy that serves has a free slot;
- the alarm is not set to now again and again;
- in the end, when nothing fails any more, everybody is served, and no slot is taken.
"""

import heapq
import random
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolecast.config.replicas import model_of, spread
from rolecast.config.schema import Model, Seconds
from rolecast.fleet.effects import Effect, Forget, Grant, Kill, Lull, Refuse, Spawn, Wake
from rolecast.fleet.machine import Machine
from rolecast.fleet.station import SERVING
from rolecast.fleet.worker import State, Worker
from rolecast.footprint import Footprint
from rolecast.values import Endpoint

HERE = Endpoint(uds="/run/w.sock")
NEVER = float("inf")
NAMES = ("a", "b", "c")
QUEUE = 6
LARGEST = 12
AT_ONCE = 10
"""So many traces an example."""
RINGS = 5
"""So often may the alarm ring in one instant in which nothing else happens."""
ALIVE = (State.LOADING, State.READY, State.DRAINING, State.ASLEEP, State.STOPPING)


class Lease(msgspec.Struct, eq=False):
    ticket: int
    worker: Worker
    generation: int
    slots: int


class World:
    """All that is not the machine. Events happen at their time, those of one instant in the order of their making."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self.calm = False
        """Nothing fails any more, and nobody changes anything."""
        self.sizes = {name: self.dice.randint(1, LARGEST) for name in NAMES}
        self.models = {name: self.model() for name in NAMES}
        self.far: set[str] = set()
        """Models that run elsewhere."""
        self.looked: set[str] = set()
        """Those of them that were to be started, and turn out to."""
        self.machine = Machine(spread(self.models).items(), QUEUE, lambda i: Footprint(self.sizes[model_of(i)]))
        self.processes: dict[str, int] = {}
        self.waiting: dict[int, tuple[str, float, bool]] = {}
        """Of each ticket its model, its deadline, and whether it wants a slot."""
        self.leases: list[Lease] = []
        self.alarm, self.rings = NEVER, 0
        self.taken: dict[tuple[str, int], int] = {}
        """What each worker really has of the memory, also one that has ended, until it is free."""
        self.full: dict[tuple[str, int], int] = {}
        """What it has when it is awake."""
        self._queue: list[list[Effect]] = []
        self._applying = self.editing = False
        self._lead()
        self.room()

    def model(self) -> Model:
        dice = self.dice
        return Model(
            parallel=dice.choice([1, 1, 1, 2]),
            replicas=dice.choice([1, 3, 3]),
            pinned=dice.random() < 0.15,
            idle_timeout=Seconds(dice.choice([0, 4, 15, 60])),
            sleep=Seconds(dice.choice([0, 1, 2])),
        )

    def later(self, most_s: float, happens: Callable[[], None]) -> None:
        delay = self.dice.choice([0.0, self.dice.uniform(0, most_s)])
        heapq.heappush(self._events, (self.now + delay, next(self._numbers), happens))

    def run(self, until: float = NEVER) -> None:
        """All that happens until then."""
        rings = 0
        while True:
            at = min(self.alarm, self._events[0][0] if self._events else NEVER)
            if at > until or at == NEVER:
                self.now = max(self.now, until) if until < NEVER else self.now
                return
            rings = rings * (at <= self.now)
            self.now = max(self.now, at)
            if self.alarm <= self.now:
                rings, self.rings = rings + 1, self.rings + 1
                assert rings <= RINGS, f"the alarm rings again and again at {self.now}"
                self.alarm = NEVER
                self.apply(self.machine.tick(self.now))
            else:
                rings = 0
                heapq.heappop(self._events)[2]()

    # -- effects ------------------------------------------------------------------------------------------------------

    def apply(self, effects: list[Effect]) -> None:
        """As `Fleet` does: what an effect causes comes behind it."""
        self._queue.append(effects)
        if self._applying:
            return
        self._applying = True
        while self._queue:
            for effect in self._queue.pop(0):
                getattr(self, f"_{type(effect).__name__.lower()}")(effect)
        self._applying = False
        self.alarm = self.machine.next_deadline()
        self.look()
        self.look_whether_it_goes_on()

    def _spawn(self, effect: Spawn) -> None:
        assert effect.model not in self.processes, "two processes of one worker"
        self._takes(effect.model, effect.generation)
        self.processes[effect.model] = effect.generation
        if effect.model in self.far:
            self.looked.add(effect.model)
            self.later(1, lambda: self._attach(effect.model, effect.generation))
            return
        fate = 1.0 if self.calm else self.dice.random()
        if fate > 0.15:
            self.later(3, lambda: self._loads(effect.model, effect.generation))
        else:
            missing = fate < 0.03
            self.later(3, lambda: self.end(effect.model, effect.generation, may_start=not missing))

    def _loads(self, worker_id: str, generation: int) -> None:
        if self.processes.get(worker_id) == generation:
            self.apply(self.machine.loaded(worker_id, generation, HERE, self.now))

    def _attach(self, worker_id: str, generation: int) -> None:
        """As it turned out when it was to be started."""
        self.looked.remove(worker_id)
        del self.taken[worker_id, generation]
        assert self.processes.pop(worker_id) == generation
        self.apply(self.machine.attached(worker_id, HERE))

    def _kill(self, effect: Kill) -> None:
        assert self.processes[effect.model] == effect.generation, "somebody else is ended"
        if effect.model not in self.looked:
            self.later(2, lambda: self.end(effect.model, effect.generation))

    def end(self, worker_id: str, generation: int, *, may_start: bool = True, killed: bool = False) -> None:
        """Its process ends. Its requests hear of it before the machine does, or after."""
        if self.processes.get(worker_id) != generation:
            return
        lost = [lease for lease in self.leases if (lease.worker.model_id, lease.generation) == (worker_id, generation)]
        if early := self.dice.random() < 0.5:
            self._lose(lost)
        del self.processes[worker_id]
        freed = self.dice.random() < 0.7
        if freed:
            del self.taken[worker_id, generation]
        how = {"may_start": may_start, "killed": killed, "freed": freed}
        self.apply(self.machine.ended(worker_id, generation, "it ended.", self.now, **how))
        if not freed:
            self.later(2, lambda: self._free(worker_id, generation))
        if not early:
            self._lose(lost)

    def _free(self, worker_id: str, generation: int) -> None:
        del self.taken[worker_id, generation]
        self.apply(self.machine.freed(worker_id, generation, self.now))

    def _lose(self, leases: Iterable[Lease]) -> None:
        for lease in leases:
            self.release(lease)
            if not self.calm and self.dice.random() < 0.7:
                self.want(lease.worker.of, again=self.dice.randint(1, 3), alone=self.dice.random() < 0.3)

    def _grant(self, effect: Grant) -> None:
        worker = self.machine.workers[effect.model]
        assert worker.state in SERVING or not effect.slots
        if self.dice.random() < 0.1 and not self.calm:  # given up in this instant
            self.waiting.pop(effect.ticket)
            if effect.slots:
                self._queue.append(self.machine.released(effect.model, worker.generation, self.now, effect.slots))
            return
        _, _, holds = self.waiting.pop(effect.ticket)
        assert holds == (effect.slots > 0)
        if holds:
            self._serve(Lease(effect.ticket, worker, worker.generation, effect.slots))

    def _serve(self, lease: Lease) -> None:
        self.leases.append(lease)
        if self.dice.random() < 0.5:
            lease.worker.answered = lease.generation
        self.later(4, lambda: self.release(lease))

    def _refuse(self, effect: Refuse) -> None:
        assert self.waiting.pop(effect.ticket)[1] < NEVER, effect.error

    def _lull(self, effect: Lull) -> None:
        w = self.machine.workers[effect.model]
        since = w.last_used

        def lies_down() -> None:
            beside = self.dice.choice([0, 0, 5])
            self.apply(self.machine.sleeps(w.model_id, effect.generation, since, Footprint(beside), self.now))
            if w.generation == effect.generation and w.state is State.ASLEEP:
                self.later(1, lambda: lies(beside))

        def lies(beside: int) -> None:
            copy = (w.model_id, effect.generation)
            if w.generation != effect.generation or w.state is not State.ASLEEP:
                return
            fate = 1.0 if self.calm else self.dice.random()
            if fate < 0.1:
                self._woke(*copy)
            elif fate < 0.2:
                self.apply(self.machine.lost(w.model_id, effect.generation, "it hangs", self.now))
            elif fate > 0.3:
                self.taken[copy] = self.dice.randint(0, self.taken[copy] + beside)
                self.apply(self.machine.rests(*copy, Footprint(self.taken[copy]), self.now))

        if self.dice.random() < 0.8:
            self.later(2, lies_down)

    def _wake(self, effect: Wake) -> None:
        assert self.processes[effect.model] == effect.generation, "another one is woken"
        self._takes(effect.model, effect.generation)
        fate = 1.0 if self.calm else self.dice.random()
        if fate < 0.15:
            self.later(2, lambda: self.apply(self.machine.lost(effect.model, effect.generation, "it hangs", self.now)))
        elif fate < 0.3:
            self.later(2, lambda: self.end(effect.model, effect.generation))
        else:
            self.later(2, lambda: self._woke(effect.model, effect.generation))

    def _woke(self, worker_id: str, generation: int) -> None:
        if self.processes.get(worker_id) == generation:
            self.taken[worker_id, generation] = self.full[worker_id, generation]
            self.apply(self.machine.woke(worker_id, generation, HERE, self.now))

    def _forget(self, effect: Forget) -> None:
        assert effect.model not in self.processes

    def want(self, model: str, *, holds: bool = True, within_s: float = 30.0, **waiter: Any) -> None:
        """As `Fleet.try_lease`, then as `Fleet.lease`."""
        if model not in self.machine.workers:
            return
        ticket, w = next(self._numbers), self.machine.workers[model]
        w = w if w.copies is None else w.copies.best()
        if holds and not waiter and w.endpoint is not None and w.active < w.parallel and not w.waiting:
            w.active += 1
            self._serve(Lease(ticket, w, w.generation, 1))
            self.look()
            return
        self.waiting[ticket] = model, self.now + within_s, holds
        self.apply(self.machine.want(model, ticket, self.now, self.now + within_s, holds=holds, **waiter))

    def release(self, lease: Lease) -> None:
        """As `Fleet.release`."""
        if lease not in self.leases:
            return
        self.leases.remove(lease)
        w = lease.worker
        if w.waiting or w.endpoint is None or self.machine.rooms.pending:
            self.apply(self.machine.released(w.model_id, lease.generation, self.now, lease.slots))
        elif w.generation == lease.generation and w.active:
            w.active -= lease.slots
            w.last_used = self.now
            if not w.active and self.now + w.rests_s < self.alarm:
                self.alarm = self.machine.next_deadline()
            self.look()

    def drop(self) -> None:
        if self.waiting:
            ticket = self.dice.choice(list(self.waiting))
            model = self.waiting.pop(ticket)[0]
            self.apply(self.machine.drop(model, ticket))

    def room(self) -> None:
        most = sum(self.sizes.values())
        size = self.dice.choice([None, 2 * most, self.dice.randint(0, most), max(self.sizes.values())])
        limit = None if size is None else Footprint(size + self.dice.choice([0, 0, most]))
        self.apply(self.machine.room(None if size is None else Footprint(size), limit, self.now))

    def edit(self, models: dict[str, Model], share: float) -> None:
        """As `Fleet._configure`: those whose process or slots do not fit any more are stale."""
        moved = {name for name in models if share and self.dice.random() < 0.15}
        self.far ^= moved
        models = spread(models, self.here)
        stale = {i for i in models if self.dice.random() < share or model_of(i) in moved}
        self.machine.adopt(models, QUEUE)
        self._lead()
        lasting = {i for i, model in models.items() if model.pinned or i in self.far}
        self.editing = True  # it is not all done yet
        self.apply(self.machine.configure(models, QUEUE, stale, lasting, self.now))
        self.editing = False
        for i, model in models.items():
            if self.machine.workers[i].state is State.COLD:
                if i in self.far:
                    self.apply(self.machine.attached(i, HERE))
                elif model.pinned:
                    self.want(i, holds=False)
                else:
                    self.apply(self.machine.wake(i, self.now))

    def here(self, model: Model) -> bool:
        return all(model is not self.models[name] for name in self.far)

    def _lead(self) -> None:
        for w in self.machine.workers.values():
            w.leads(NEVER if w.model_id in self.far else 0.0)

    def change(self) -> None:
        for name in NAMES:
            if self.dice.random() < 0.5:
                self.models[name] = self.model()
        left = {name: model for name, model in self.models.items() if self.dice.random() < 0.8}
        self.edit(left, self.dice.choice([0.0, 0.3]))

    def command(self) -> None:
        named = [w for w in self.machine.workers.values() if not w.later]
        if not named:
            return
        w = self.dice.choice(named)
        family = w.copies.all if w.copies is not None else (w,)
        gently = self.dice.random() < 0.5
        match self.dice.randrange(5):
            case 0:
                for each in family:
                    self.apply(self.machine.unload(each.model_id, self.now, gently=gently))
            case 1:
                for each in family:
                    self.apply(self.machine.renew(each.model_id, self.now))
                self.want(w.of, holds=False)
            case 2:
                self.apply(self.machine.pin(w.of, gently, self.now))
            case 3:
                self.apply(self.machine.keep(w.of, self.dice.choice([0.0, 3.0, NEVER])))
            case _ if self.leases:
                lease = self.dice.choice(self.leases)
                self.apply(self.machine.replace(lease.worker.model_id, lease.generation, "stuck", self.now))

    def kill(self) -> None:
        here = [each for each in self.processes.items() if each[0] not in self.looked]
        if here:
            worker_id, generation = self.dice.choice(here)
            self.end(worker_id, generation, killed=True)

    def learn(self) -> None:
        self.sizes[self.dice.choice(NAMES)] = self.dice.randint(1, LARGEST)

    def ask(self) -> None:
        rank, key = self.dice.choice([0, 0, 1, -1]), self.dice.choice("xy")
        plain = self.dice.random() < 0.6
        more = {} if plain else {"rank": rank, "key": key, "again": self.dice.choice([0, 0, 1])}
        within_s = self.dice.choice([2.0, 60.0])
        model = self.dice.choices(NAMES, (4, 1, 1))[0]
        for _ in range(self.dice.choice([1, 1, 4])):
            self.want(model, holds=self.dice.random() < 0.9, within_s=within_s, **more)

    # -- what always holds --------------------------------------------------------------------------------------------

    def _takes(self, worker_id: str, generation: int) -> None:
        """It begins to take all that it may."""
        copy, budget = (worker_id, generation), self.machine.rooms.budget
        own = copy in self.full and self.machine.workers[worker_id].pinned  # it kept its room
        has, self.full[copy] = self.taken.get(copy, 0), self.sizes[model_of(worker_id)]
        self.taken[copy] = max(has, self.full[copy])
        fits = budget is None or own or self.taken[copy] == has or sum(self.taken.values()) <= budget.ram
        assert fits, "more is begun than there is room for"

    def look(self) -> None:
        lines = {id(w.waiting): w for w in self.machine.workers.values()}
        stand = [waiter for w in lines.values() for waiter in w.waiting]
        assert sorted(waiter.ticket for waiter in stand) == sorted(self.waiting), "a request is lost"
        assert all(waiter.deadline > self.now or self.alarm <= self.now for waiter in stand), "it is not told"
        alive = {i: w.generation for i, w in self.machine.workers.items() if w.state in ALIVE}
        assert alive == self.processes, f"{alive} shall run, and {self.processes} do"
        serves = {i: w.generation for i, w in self.machine.workers.items() if w.state in (*ALIVE, State.REMOTE)}
        for w in self.machine.workers.values():
            leases = [each for each in self.leases if each.worker is w and serves.get(w.model_id) == each.generation]
            assert w.active == sum(each.slots for each in leases), f"{w.model_id} has {w.active} slots taken"
            assert w.active or w.state is not State.DRAINING, f"{w.model_id} drains nothing"
            assert not w.active or w.state in (*SERVING, State.STOPPING), f"{w.model_id} is {w.state} and has requests"
            if w.state in SERVING and w.state is not State.DRAINING and w.active < w.parallel and w.waiting:
                assert w.line.first(self.now).alone, f"{w.model_id} has a free slot and somebody waits"

    def look_whether_it_goes_on(self) -> None:
        """Somebody waits: something is under way, a decision or a start is due, or other programs have the memory."""
        rooms, workers = self.machine.rooms, self.machine.workers.values()
        under_way = any(w.active or w.state in (State.LOADING, State.STOPPING) for w in workers)
        under_way |= self.editing or len(self.taken) > len(self.processes) or self.alarm <= self.now
        if under_way or (rooms.budget is not None and rooms.budget != rooms.limit):
            return
        for model in {model for model, _, _ in self.waiting.values()}:
            tries = any(w.retry_at > self.now for w in workers if w.of == model and w.state is State.FAILED)
            assert tries or rooms.look_at < NEVER, f"somebody waits for {model} and for nothing else"


def random_world(seed: int, events: int = 50) -> World:
    """A while of anything, then a calm in which all is served."""
    world = World(seed)
    pause_s = world.dice.choice([0.3, 1.0, 5.0])
    asks = [world.ask] * world.dice.choice([5, 15, 40])
    deeds = [*asks, world.drop, world.kill, world.kill, world.room, world.change, world.command, world.learn]
    for _ in range(events):
        world.run(world.now + world.dice.choice([0.0, world.dice.uniform(0, pause_s), world.dice.uniform(0, 8)]))
        world.dice.choice(deeds)()
    return world


def calm_down(world: World) -> None:
    """Nothing fails any more: everybody is served, and then nothing happens."""
    world.calm = True
    world.edit(world.models, 0.0)
    most = Footprint(LARGEST * (1 + 2 * sum(w.pinned for w in world.machine.workers.values())))
    world.apply(world.machine.room(most, most, world.now))
    world.run(world.now + 100)
    assert not world.waiting, "somebody waits longer than anybody may"
    for _ in range(QUEUE):
        for name in NAMES:
            world.want(name, within_s=NEVER)
    before = world.rings
    world.run(world.now + 1e5)
    assert not world.waiting, "somebody waits for ever"
    assert world.rings - before < 200, "the alarm rings again and again"
    assert not world.leases
    assert world.machine.workers.keys() == spread(world.models, world.here).keys(), "one that was to go is still there"
    assert not any(w.active for w in world.machine.workers.values())


@settings(max_examples=10, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_whatever_happens_no_request_is_lost_no_slot_is_kept_and_no_clock_runs_in_a_circle(seed: int) -> None:
    for n in range(AT_ONCE):
        calm_down(random_world(seed + n))
