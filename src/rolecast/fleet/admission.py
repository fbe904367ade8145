"""Who is loaded, and who makes room: a pure function over who wants memory, who holds it, and how much there is.

Knows no worker, no request and no clock. It is asked after each event and only says what is to begin now: what was
begun before is among those who hold memory, or are leaving. So it never contradicts itself.

The rules, in this order:

1. What a model takes is counted from before it starts until it has gone. The sum stays within the budget.
2. Who waits longest comes first (`place`); those who are overdue come before all classes. Who cannot start yet keeps
   what is free for itself, if it is its turn; else others may pass.
3. Room is made by models that nobody uses: those that sleep, then those idle longest for what it takes to load them
   again.
4. Where these are not enough, models in use take no new requests once a claim is `firm`: has waited for its patience.
   They finish what they run, and leave. One that was loaded for requests keeps its `turn`.
5. Nobody who is pinned, who loads for somebody, or who has just loaded, is chosen.
6. A further copy of a model that is loaded (`spare`) takes what is free when nobody else waits for memory, and is the
   first to give it back: at once when it is idle or loads; in use, it is closed without patience.
7. A model that failed again and again (`failing`) takes what is free, or what nobody has asked for `QUIET_S`. Else it
   is put off: nobody who works leaves for one that does not.
"""

from collections.abc import Iterable, Sequence

import msgspec

from rolecast.footprint import Footprint, total

FRESH_S = 2.0
"""A model that nobody has asked yet stays so long: it was loaded for something."""
LINGER_SHARE = 0.25
"""A model that was used just now is left for this part of its load time, at most `patience`, to whoever used it."""
QUIET_S = 60.0
"""A model that nobody has asked for so long may leave for one that fails; who fails is put off as long."""


class Terms(msgspec.Struct, frozen=True):
    """What the settings say, in seconds."""

    patience_s: float = 5.0
    """A claim is firm after so long, or as long as loading it takes; of a higher class at once, of a lower one after
    twice that."""
    turn_s: float = 30.0
    """A model that was loaded for requests has so long to begin them all."""
    overdue_s: float = 30.0
    """From then on a claim goes before every class."""


class Claim(msgspec.Struct, frozen=True):
    """A model that is to be loaded."""

    model: str
    need: Footprint
    since: float
    """When the one who waits longest came, or its worker left, whichever was later: so models take turns. Of a model
    that nobody waits for, since when it is wanted."""
    waited: bool = True
    """Whether a request waits for it, or it is pinned; else it is only to be there."""
    rank: int = 0
    """The highest class of those who wait."""
    load_s: float = 0.0
    """What loading it took last; 0 = not known."""
    spare: bool = False
    """Whether another copy of it is loaded."""
    failing: bool = False
    """Whether it failed again and again, so that it hardly serves anybody this time."""
    has: Footprint = Footprint()
    """What of that it holds already: it sleeps."""

    @property
    def more(self) -> Footprint:
        """What it still needs."""
        return Footprint().or_more(self.need - self.has)


class Resident(msgspec.Struct, frozen=True):
    """A model that holds memory."""

    model: str
    held: Footprint
    movable: bool = True
    """Whether it may be made to leave: loaded, or loading for nobody, ours, not pinned."""
    leaving: bool = False
    """On its way out, or closed and finishing what it runs."""
    closed_for: str = ""
    """For whom it was closed, while that can be taken back."""
    busy: bool = False
    """Whether a request runs on it or waits for it."""
    turn_ends: float = 0.0
    """Until when it may not be closed."""
    settles: float = 0.0
    """Until when it may not leave though it is idle."""
    idle_since: float = 0.0
    reload_s: float = 1.0
    """What it took to load it."""
    dear: bool = False
    """To be kept if anybody else will do: kept for good, or used together with one that is in use."""
    spare: bool = False
    """Whether another copy of it is loaded."""
    asleep: bool = False
    """Whether it gave most of its memory back already, or loads for nobody: who asks it waits anyway."""


class Decision(msgspec.Struct, frozen=True):
    """What is to begin now."""

    start: tuple[str, ...] = ()
    leave: tuple[tuple[str, str], ...] = ()
    """Idle models that end, each with the model that it makes room for; '' = for other programs."""
    close: tuple[tuple[str, str], ...] = ()
    """All models in use that are to take no new requests now; who was closed and is not among them is open again."""
    refuse: tuple[str, ...] = ()
    """Claims that there will never be room for."""
    put_off: tuple[str, ...] = ()
    """Claims of models that fail, for which nobody leaves now."""
    look_at: float = float("inf")
    """When to ask again though nothing happens."""


def place(claim: Claim, now: float, terms: Terms) -> tuple[int, int, float]:
    """Where it stands among all claims, the smallest first."""
    overdue = claim.waited and now - claim.since >= terms.overdue_s
    return (not overdue, 0 if overdue else -claim.rank, claim.since if claim.waited else float("inf"))


def firm_at(claim: Claim, terms: Terms) -> float:
    """From when on models in use are closed for it: after the patience, or as long as loading takes if that is longer.

    Who waits as long as the change costs pays at most twice what was needed, whatever comes (as with skis, to rent or
    to buy): so models that are asked for in turns spend no more time on loading than on answers. Half of `overdue_s` is
    the most.
    """
    if not claim.waited:
        return float("inf")
    patience_s = max(terms.patience_s, min(claim.load_s, terms.overdue_s / 2))
    return claim.since + patience_s * (0 if claim.rank > 0 else 2 if claim.rank < 0 else 1)


def decide(
    claims: Iterable[Claim],
    residents: Sequence[Resident],
    budget: Footprint | None,
    limit: Footprint | None,
    now: float,
    terms: Terms,
) -> Decision:
    """`budget` is what all may take now, `limit` what they may ever take; None = there is none."""
    order = sorted(claims, key=lambda claim: (claim.spare, *place(claim, now, terms), claim.model))
    if budget is None:
        return Decision(start=tuple(claim.model for claim in order))
    return _Round(residents, budget, limit or budget, now, terms).decide(order)


class _Round:
    """One decision, while it is made."""

    def __init__(
        self,
        residents: Sequence[Resident],
        budget: Footprint,
        limit: Footprint,
        now: float,
        terms: Terms,
    ) -> None:
        self.now, self.terms = now, terms
        self.free = budget - total(each.held for each in residents)
        """What may be started on now."""
        self.coming = total(each.held for each in residents if each.leaving and not each.closed_for)
        """What is going to be free, whatever is decided here."""
        self.staying = [each for each in residents if not each.leaving or each.closed_for]
        fixed = total(each.held for each in residents if not (each.movable or each.leaving))
        loading = total(each.held for each in residents if not each.movable and each.settles == float("inf"))
        self.kept = {each.model: each.held for each in residents if each.asleep and not each.movable}
        """Room that is kept for those that sleep in it: it is theirs alone."""
        self.possible = limit - fixed + loading
        self.start: list[str] = []
        self.leave: list[tuple[str, str]] = []
        self.close: list[tuple[str, str]] = []
        self.refuse: list[str] = []
        self.put_off: list[str] = []
        self.look_at = float("inf")
        self.waits = False
        """Whether somebody waits for memory still."""

    def decide(self, order: Sequence[Claim]) -> Decision:
        for claim in sorted(order, key=lambda claim: not self._has_all(claim)):
            if any(claim.model == model for model, _ in (*self.leave, *self.close)):
                continue  # it sleeps, and leaves for one that is before it: then it is loaded anew
            if claim.spare and (self.waits or not claim.more.within(self.free)):
                continue
            if not claim.need.within(self.possible + self.kept.get(claim.model, Footprint())):
                self.refuse.append(claim.model)
            elif claim.more.within(self.free):
                self.start.append(claim.model)
                self.free -= claim.more
                self._keep(claim.model)
            elif claim.failing:
                quiet = [each for each in self.staying if claim.waited and self._is_quiet(each)]
                if not self._take(claim, quiet):
                    self.put_off.append(claim.model)
            else:
                self.waits = self.waits or claim.waited
                if not self._make_room(claim):
                    break
        self._relieve()
        return Decision(
            tuple(self.start),
            tuple(self.leave),
            tuple(self.close),
            tuple(self.refuse),
            tuple(self.put_off),
            self.look_at,
        )

    def _has_all(self, claim: Claim) -> bool:
        """Whether it sleeps in room that nobody else will get, so that it waits for nobody."""
        return claim.model in self.kept and claim.more.within(Footprint())

    def _make_room(self, claim: Claim) -> bool:
        """Whether those behind it may be looked at."""
        if not claim.waited:
            return True  # nobody who is loaded leaves for one that nobody waits for
        firm = self.now >= firm_at(claim, self.terms)
        others = [each for each in self.staying if each.model != claim.model]
        idle = [each for each in others if self._is_idle(each, firm)]
        if self._take(claim, idle):
            return True
        if not firm:
            self.look_at = min(self.look_at, firm_at(claim, self.terms))
            if spare := [each for each in others if each.movable and each.busy and each.spare]:
                self._take(claim, [*idle, *spare])
            return True
        used = [each for each in others if each.movable and each.busy]
        over = [each for each in used if each.turn_ends <= self.now]
        self.look_at = min([self.look_at, *(each.turn_ends for each in used if each.turn_ends > self.now)])
        return self._take(claim, [*idle, *over])

    def _is_idle(self, each: Resident, firm: bool) -> bool:
        if not each.movable or each.busy:
            return False
        if each.spare:
            return True
        lingers = min(LINGER_SHARE * each.reload_s, self.terms.patience_s)
        until = max(each.settles, 0.0 if firm else each.idle_since + lingers)
        if until > self.now:
            self.look_at = min(self.look_at, until)
            return False
        return True

    def _is_quiet(self, each: Resident) -> bool:
        return self._is_idle(each, firm=True) and not each.dear and each.idle_since + QUIET_S <= self.now

    def _take(self, claim: Claim, candidates: Sequence[Resident]) -> bool:
        """Whether these, with what is leaving, make room for it; then it is kept for the claim."""
        room = self.free + self.coming
        chosen = victims(claim.more, room, candidates, self.now)
        if chosen is None:
            return False
        for each in chosen:
            (self.close if each.busy else self.leave).append((each.model, claim.model))
            self.staying.remove(each)
            room += each.held
        self._keep(claim.model)
        rest = room - claim.more
        self.free = _least(self.free, rest)
        self.coming = rest - self.free
        return True

    def _keep(self, model: str) -> None:
        """It has its turn: nobody takes what it holds asleep."""
        self.staying = [each for each in self.staying if each.model != model]

    def _relieve(self) -> None:
        """Other programs took what our models hold: those that are idle go."""
        needed = Footprint().or_more(Footprint() - self.free)
        if needed.within(self.coming):
            return
        idle = [each for each in self.staying if self._is_idle(each, firm=False) and not each.dear]
        for each in victims(needed, self.coming, idle, self.now) or idle:
            self.leave.append((each.model, ""))


def victims(need: Footprint, room: Footprint, candidates: Sequence[Resident], now: float) -> list[Resident] | None:
    """Who makes room for that: as few as do, those first that are missed least; None when all are not enough.

    What a model is worth is what it takes to load it again, by how long nobody has asked for it: of two equal ones the
    one goes that is idle longer, of two idle as long the one that is back sooner.
    """
    order = sorted(candidates, key=lambda each: _worth(each, now))
    chosen: list[Resident] = []
    for each in order:
        if need.within(room):
            break
        if _helps(each, need, room):
            chosen.append(each)
            room += each.held
    if not need.within(room):
        return None
    for each in reversed(chosen.copy()):  # the last one may have been enough without an earlier one
        if need.within(room - each.held):
            chosen.remove(each)
            room -= each.held
    return chosen


def _worth(each: Resident, now: float) -> tuple[bool, bool, bool, bool, bool, float, str]:
    idle_s = max(0.0, now - each.idle_since)
    worth = each.reload_s / (1.0 + idle_s)
    return (not each.closed_for, each.busy, not each.spare, not each.asleep, each.dear, worth, each.model)


def _helps(each: Resident, need: Footprint, room: Footprint) -> bool:
    """Whether it holds something in a place where room is lacking."""
    lacking = need - room
    there = [(lacking.ram if need.ram else 0, each.held.ram)]
    there += [
        (lack if want else 0, held)
        for want, lack, held in zip(need.gpus, lacking.gpus, (*each.held.gpus, *[0] * len(need.gpus)), strict=False)
    ]
    return any(lack > 0 and held > 0 for lack, held in there)


def _least(one: Footprint, other: Footprint) -> Footprint:
    """The smaller of both, place by place."""
    return one + other - one.or_more(other)
