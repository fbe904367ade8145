"""Which plan a request gets: chosen by routing, made concrete, kept as long as it holds.

Knows the configuration, the choice and its alternatives. Leases and sends nothing.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial

from msgspec.structs import replace

from rolecast.config import labels
from rolecast.config.current import Current
from rolecast.config.edit import Change, Edit
from rolecast.config.mcp import offered_to
from rolecast.config.names import Name
from rolecast.config.schema import Config
from rolecast.decision import Card, Choice, Facts, Seen, Trial, Verdict
from rolecast.dialects import UNREAD, Dialect
from rolecast.dialects.request import NOTHING, Request
from rolecast.errors import BadRequest, ShuttingDown, WorkerDown
from rolecast.fleet import Fleet, State
from rolecast.routing import Cast, Router, build, cascade, shares
from rolecast.routing.abilities import Can, stated_room
from rolecast.routing.breaker import Breaker, rules
from rolecast.routing.cascade import may_cascade
from rolecast.routing.named import CONTEXT_EXCEEDED, Room, permitted
from rolecast.routing.price import ANSWER_TOKENS
from rolecast.routing.recorded import Recorded, facts_of
from rolecast.routing.spread import Spread
from rolecast.telemetry.metrics import Telemetry
from rolecast.turn import keeping
from rolecast.turn.bonds import Bonds
from rolecast.turn.exchange import clock
from rolecast.turn.look import look, look_at_length, look_closely
from rolecast.turn.mind import Mind
from rolecast.turn.plan import Plan
from rolecast.turn.unsaid import Unsaid
from rolecast.values import Caller

Key = tuple[str, str, str, frozenset[str], frozenset[str]]
"""Asked name, kind, model of the port, needs and wishes: what a choice depends on."""
MOST_MADE = 8192
"""So many plans are kept: there may be as many lists of models as keys."""
Needs = Callable[[Caller], frozenset[str]]
"""What a model must be for a caller who may not do everything."""


class Plans:
    """Makes plans and keeps them; the next request with the same name and needs looks its own up in `made`."""

    def __init__(
        self,
        current: Current,
        fleet: Fleet,
        telemetry: Telemetry,
        can: Can,
        marks: Callable[[str], tuple[str, ...]] = lambda _: (),
        logits: Callable[[str], bool] = lambda _: False,
        mind: Mind | None = None,
        room: Room | None = None,
        cards: Cast = Card,
        bonds: Bonds | None = None,
        lengths: Mapping[str, float] = ANSWER_TOKENS,
    ) -> None:
        self._current = current
        self._fleet = fleet
        self._telemetry = telemetry
        self.can = can
        self._room: Room = room or (lambda model_id: stated_room(current.config.models[model_id]))
        self._marks = marks
        self._logits = logits
        self.mind = mind or Mind(current.config.routing)
        self._cards = cards
        self.bonds = bonds or Bonds()
        self._lengths = lengths
        self._router = self._built(current.names, current.config)
        self.breaker = Breaker(clock, lambda: rules(current.config.retries))
        """Which servers elsewhere are left alone for now."""
        self._spread = Spread(lambda i: fleet.stations.load_of(current.answerer_of(i)), clock, self.breaker.wait_of)
        self._silent: set[str] = set()  # workers that refused to be asked for usage
        self.unsaid, self._closed = Unsaid(), False
        self.made: dict[Key, Plan] = {}
        self.needs: Needs = lambda _: NOTHING
        self.named: Callable[[str], str] = lambda _: ""  # what a server elsewhere calls its model; app.py sets it

    async def prepare(self, edit: Edit) -> Change:
        """Nothing to refuse. Labels of the user's own are learned now, so that no request waits for them."""
        follow = await self.mind.prepare(edit.config.routing)
        enabled = {i for i, model in edit.config.models.items() if model.enabled}
        return Change(partial(self._renew, self._built(edit.names, edit.config), enabled, follow))

    def _built(self, names: Mapping[str, Name], config: Config) -> Router:
        return build(names, config, self.can, self.mind, self.mind.labels, self._room, self._lengths)

    def _renew(self, router: Router, enabled: Collection[str], follow: Callable[[], None]) -> None:
        """Choose by another configuration; what runs keeps the choice that was made for it."""
        follow()
        self._router = router
        self.made.clear()
        self._silent.clear()
        self.unsaid.forget()
        self.bonds.keep(enabled)

    def close(self) -> None:
        """Make no more plans, and look none up: every new request is refused."""
        self._closed = True
        self.made.clear()

    @property
    def config(self) -> Config:
        """The one that applies now."""
        return self._current.config

    def choose(self, facts: Facts) -> Choice:
        """The choice for a request, without running anything."""
        return self._router.choose(self._with_bond(facts), self.card)

    def _with_bond(self, facts: Facts) -> Facts:
        """The same facts with who answered the conversation before, where that counts."""
        if not (facts.conversation and self.config.routing.sticky):
            return facts
        return replace(facts, bond=self.bonds.of(facts.conversation))

    def reads(self, asked: str, request: Request) -> bool:
        """Whether this request's text decides who answers it."""
        return self._router.reads(look(request, asked))

    def chosen(
        self, asked: str, request: Request, caller: Caller, dialect: Dialect
    ) -> tuple[Facts, Choice, Trial | None]:
        """What routing may know of this request, whom it chooses, and the cascade that this begins, if it does.

        Keeps nothing. Raises as `make` does.
        """
        request.needs |= self.needs(caller)
        facts = look(request, asked)
        reads = not request.only and self._router.reads(facts)  # who only loads a model may bring no text
        if reads:
            facts = keeping.marked(self._router, look_closely(facts, request, caller, dialect), request)
        choice = self.choose(facts)
        if not (reads or request.only) and len(request.body) > self._router.surely_fits(choice, facts):
            facts = look_at_length(facts, request, dialect)
            choice = self.choose(facts)
        if caller.port_model:
            reason = f"port of {caller.port_model}"
            choice = replace(choice, source="listener", reason=reason)
        if reads and (found := self._trial(choice, facts, request)) is not None:
            return facts, *found
        return facts, choice, None

    def keep_here(self, request: Request, caller: Caller, dialect: Dialect) -> None:
        """Have the request need to stay on this machine, if it says so, or a rule does."""
        keeping.mark(self._router, request, caller, dialect)

    def seen(self, facts: Facts, request: Request, caller: Caller, dialect: Dialect) -> tuple[Facts, Seen]:
        """All facts of a request and what there is to see of it, also of one whose name was enough."""
        if not request.only and not self._router.reads(facts):
            facts = look_closely(facts, request, caller, dialect)
        return facts, self._router.see(facts).seen

    def again(self, seen: Seen) -> Choice:
        """Whom a request of the past would get, by what was seen of it then. Raises as `make` does."""
        return self._router.choose(facts_of(seen), self.card, Recorded(seen))

    def make(self, asked: str, request: Request, caller: Caller, dialect: Dialect) -> Plan:
        """A plan for this request and those like it. Raises RolecastError when there is nobody to ask.

        One whose text decides, or that is too long to fit for sure, gets a plan of its own.
        """
        if request.settled is not None and self.lives(request.settled.model):
            settled = permitted(request.settled, request.needs, self.can)
            return _tried(self._shared(asked, settled, request.conversation), request.trial)
        if self._closed:
            raise ShuttingDown
        facts, choice, trial = self.chosen(asked, request, caller, dialect)
        if reads := self._router.reads(facts):
            request.conversation = facts.conversation
            request.found = labels.category(choice.role) or _found(choice)
        plan = _tried(self._shared(asked, choice, request.conversation), trial)
        if not (reads or facts.tokens):
            plan.fits = self._router.surely_fits(choice, facts)
            if self.config.mcp.servers and offered_to(self.config.mcp, asked, choice.role, choice.model):
                plan.fits = -1  # it is looked at each time, and the others need not be
            if not (facts.needs or facts.prefers) or self._lasts(choice):
                _bounded(self.made)[asked, request.kind, caller.port_model, facts.needs, facts.prefers] = plan
        return plan

    def known(self, request: Request, caller: Caller, dialect: Dialect) -> Plan:
        """The kept plan for this request, else a new one, however long it is. Raises RolecastError without anybody."""
        port_model = caller.port_model
        asked = port_model or request.asked
        key = (asked, request.kind, port_model, request.needs, request.prefers)
        plan = self.made.get(key)
        if plan is not None and len(request.body) <= plan.fits:
            return plan
        try:
            return self.make(asked, request, caller, dialect)
        except BadRequest as error:
            if error.code != CONTEXT_EXCEEDED:
                raise
            return self._shared(asked, self.choose(look(request, asked)))

    def asked(self, name: str) -> Choice:
        """The choice for a question of ours to the model of that name, told apart in the books. Raises likewise."""
        choice = self.choose(Facts(name, "chat"))
        return replace(choice, source="llm", reason="asked who answers")

    def after(self, said: Verdict, request: Request, caller: Caller, dialect: Dialect) -> Choice:
        """The choice once a model that was asked has `said` who answers. Raises RolecastError when nobody can."""
        facts = look_closely(look(request, request.asked), request, caller, dialect)
        return self._router.after(said, self._with_bond(facts), self.card)

    def is_loading(self, plan: Plan) -> bool:
        """Whether its model is not loaded yet, and will be."""
        w = self._fleet.known(plan.answerer_id)  # an edit may have removed it
        return w is not None and w.endpoint is None and w.state is not State.FAILED

    def take_several(self, plan: Plan) -> bool:
        """Whether every model of the choice takes several prompts, and gives several answers, in one request."""
        return all(
            self._fleet.backend(self._current.answerer_of(model_id)).several
            for model_id in (plan.model_id, *plan.choice.alternatives)
        )

    def share(self, plan: Plan) -> Plan:
        """Of the equals of a plan the one whose turn it is."""
        return plan.shares[self._spread.pick([share.model_id for share in plan.shares])]

    def refreshed(self, plan: Plan) -> Plan:
        """The same choice by the settings that apply now: they may have changed while the request waited."""
        model = self._current.config.models.get(plan.answerer_id)
        if model is None or not model.enabled or model == plan.model:
            return plan
        fresh = self.concrete(plan.asked, plan.choice, plan.model_id, plan.answerer_id)
        fresh.trial, fresh.conversation = plan.trial, plan.conversation
        return fresh

    def has_next(self, plan: Plan, room: int = 0) -> bool:
        """Whether another model of the choice was not tried yet; with `room` one that surely holds more tokens."""
        return any(self._can_follow(plan, model_id, room) for model_id in _rest(plan))

    def room_of(self, plan: Plan) -> int:
        """Tokens that its model holds, of prompt and answer together; 0 = nobody knows."""
        return (self._room(plan.model_id) if self.lives(plan.model_id) else None) or 0

    def next(self, plan: Plan, why: str = "failed", room: int = 0) -> Plan | None:
        """That one; `why` says what became of this one's try."""
        rest = self._spread.lead(_rest(plan), plan.choice.equals)
        for i, model_id in enumerate(rest):
            if self._can_follow(plan, model_id, room):
                choice = replace(
                    plan.choice,
                    model=model_id,
                    source="fallback",
                    reason=f"{plan.model_id} {why}",
                    alternatives=rest[i + 1 :],
                )
                following = self.concrete(plan.asked, choice, model_id)
                following.trial = plan.trial if plan.trial is not None and model_id in plan.trial.models else None
                following.conversation = plan.conversation
                return following
        return None

    def escalated(self, plan: Plan, why: str) -> Plan:
        """Who answers where the first of a cascade failed. Raises WorkerDown when an edit left nobody."""
        assert plan.trial is not None
        then = plan.trial.then
        living = [m for m in (then.model, *then.alternatives) if self.lives(m)]
        if not living:
            raise WorkerDown("The models of this cascade are no longer in the configuration.", code="model_removed")
        reason = f"{why}, {then.reason} answers"
        equals = tuple(group for group in then.equals if all(map(self.lives, group)))
        choice = replace(then, model=living[0], alternatives=tuple(living[1:]), equals=equals, reason=reason)
        found = self._shared(plan.asked, choice, plan.conversation)
        return self.share(found) if found.shares else found

    def failed(self, plan: Plan, rest_s: float = 0.0) -> None:
        """Its model did not answer just now: others come first for a while, which its server may have named."""
        self._spread.failed(plan.model_id, rest_s)

    def silence(self, answerer_id: str) -> bool:
        """Ask this worker for usage no more; whether that is news."""
        if answerer_id in self._silent:
            return False
        self._silent.add(answerer_id)
        for known in self.kept():
            known.injects = known.injects and known.answerer_id != answerer_id
        return True

    def kept(self) -> Iterator[Plan]:
        """All plans that are used again."""
        return (each for plan in self.made.values() for each in (plan, *plan.shares))

    def card(self, model_id: str) -> Card:
        """How a model stands just now; one that did not answer is left alone for a while."""
        card, rest_s = self._cards(model_id), self._spread.rest_of(model_id)
        return replace(card, wait_s=card.wait_s + rest_s) if rest_s else card

    def _can_follow(self, plan: Plan, model_id: str, room: int) -> bool:
        if not self.lives(model_id) or self._current.answerer_of(model_id) == plan.answerer_id:
            return False
        return room == 0 or (self._room(model_id) or 0) > room

    def lives(self, model_id: str) -> bool:
        """Whether the model is still there: an edit may have removed or disabled it meanwhile."""
        model = self._current.config.models.get(model_id)
        return model is not None and model.enabled

    def _lasts(self, choice: Choice) -> bool:
        """Whether a choice by abilities can be kept: weights that are still to come may tell something else."""
        return all(self._fleet.present(self._current.answerer_of(m)) for m in (choice.model, *choice.alternatives))

    def _trial(self, choice: Choice, facts: Facts, request: Request) -> tuple[Choice, Trial] | None:
        """Who answers first in a cascade, if this request may have one."""
        setting = self.config.routing.cascade
        chat = request.chat
        if not setting.enabled or choice.consult or chat is None or request.split is not None or not may_cascade(chat):
            return None
        view = self._router.see(facts)
        return cascade.trial(setting, choice, lambda said: self._router.settle(said, view, self.card))

    def _shared(self, asked: str, choice: Choice, conversation: str = "") -> Plan:
        """The plan of a choice, and of each of its equals."""
        plan = self.concrete(asked, choice, choice.model)
        plan.shares = tuple(self.concrete(asked, share, share.model) for share in shares(choice))
        for each in (plan, *plan.shares):
            each.conversation = conversation
        return plan

    def concrete(self, asked: str, choice: Choice, model_id: str, answerer_id: str = "") -> Plan:
        """The plan of a choice for one of its models."""
        answerer_id = answerer_id or self._current.answerer_of(model_id)
        plan = Plan(
            asked,
            choice,
            model_id,
            answerer_id,
            self._current.config.models[answerer_id],
            self._fleet.backend(answerer_id),
            self._telemetry.models[model_id],
        )
        plan.marks = self._marks(answerer_id)
        plan.logits = self._logits(answerer_id)
        plan.name = plan.name and (self.named(answerer_id) or plan.name)
        plan.injects = plan.injects and answerer_id not in self._silent
        self.unsaid.apply(plan)
        return plan


def _bounded(made: dict[Key, Plan]) -> dict[Key, Plan]:
    """The kept plans, with room for one more."""
    if len(made) >= MOST_MADE:
        made.clear()
    return made


def _found(choice: Choice) -> str:
    """What a request was found to be, if somebody was sure enough to decide by it."""
    said = choice.seen.opinions.get("category") if choice.seen is not None else None
    return choice.task if choice.source != "default" and said is not None and said.sure else ""


def _rest(plan: Plan) -> tuple[str, ...]:
    """The models of the choice behind the plan's own."""
    order = (plan.choice.model, *plan.choice.alternatives)
    return order[order.index(plan.model_id) + 1 :] if plan.model_id in order else ()


def _tried(plan: Plan, trial: Trial | None) -> Plan:
    """The same plan, whose answer is judged so."""
    if trial is not None:
        for each in (plan, *plan.shares):
            each.trial = trial if each.family == UNREAD else None  # others tell no probabilities
    return plan
