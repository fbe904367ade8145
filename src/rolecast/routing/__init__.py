"""Which model answers: `Router.choose`, a pure function over values.

`build` makes the router of a configuration: strategies are asked in the configured order; the first one that knows
decides. What a model can do is `abilities`', who of several equals answers now is `spread`'s.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from rolecast.config.names import Name
from rolecast.config.schema import Config
from rolecast.decision import Choice
from rolecast.routing import shortcuts
from rolecast.routing.abilities import Can, declared
from rolecast.routing.default import Default
from rolecast.routing.judged import Judged
from rolecast.routing.known import Known
from rolecast.routing.llm import Llm
from rolecast.routing.named import Named, Room
from rolecast.routing.price import ANSWER_TOKENS, Price
from rolecast.routing.router import Cast, Router, Strategy
from rolecast.routing.rules import Own
from rolecast.routing.view import Mind, View

if TYPE_CHECKING:  # numpy comes with it
    from rolecast.routing.fewshot import Labels

__all__ = ["Cast", "Mind", "Router", "Strategy", "build", "shares"]


def build(
    names: Mapping[str, Name],
    config: Config,
    can: Can | None = None,
    mind: Mind = lambda: None,
    labels: "Callable[[], Mapping[str, Labels]]" = dict,
    room: Room | None = None,
    lengths: Mapping[str, float] = ANSWER_TOKENS,
) -> Router:
    """The router of this configuration.

    `can` tells what a model can do and `room` how much it holds; without them the configuration is believed. `mind`
    gives the learned model, `labels` the user's own, as far as they are learned; `lengths` tells how long answers are,
    by category.
    """
    named = Named(names, config, can or (lambda model_id, need: declared(config.models[model_id], need) or None), room)
    routing = config.routing
    router = Router(
        named,
        Default(named, config),
        _strategies(Known(names, config), config),
        lambda facts: View(facts, mind, labels()),
        Price(routing.worth, routing.prefer, lengths),
        routing.default,
        cascades=routing.cascade.enabled,
    )
    router.local_rules = [Own(rule, i) for i, rule in enumerate(routing.rules, 1) if rule.local_only]
    return router


def _strategies(known: Known, config: Config) -> list[Strategy]:
    """Those that read requests, in the configured order; names are obeyed before, whatever stands there."""
    rules = [Own(rule, i) for i, rule in enumerate(config.routing.rules, 1)]
    made: dict[str, list[Strategy]] = {
        "rules": [*rules, *shortcuts.of(known)],
        "learned": [Judged(known)],
        "llm": [Llm(config)],
    }
    return [each for name in dict.fromkeys(config.routing.strategies) for each in made.get(name, [])]


def shares(choice: Choice) -> list[Choice]:
    """The same choice with each of the first model's equals in front; empty when it has none."""
    order = (choice.model, *choice.alternatives)
    group = next((g for g in choice.equals if choice.model in g), ())
    found = []
    for i in range(len(group)):
        turned = (*group[i:], *group[:i])
        rest = (m for m in order if m not in group)
        found.append(replace(choice, model=turned[0], alternatives=(*turned[1:], *rest)))
    return found
