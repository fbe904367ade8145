"""Which model answers: `Router.choose`, a pure function over values.

`build` makes the router of a configuration: strategies are asked in the configured order; the first one that knows
decides. What a model can do is `abilities`', who of several equals answers now is `spread`'s.
"""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from rolecast.config.names import Name
from rolecast.config.schema import Config
from rolecast.decision import Choice
from rolecast.routing.abilities import Can, declared
from rolecast.routing.default import Default
from rolecast.routing.judged import Judged
from rolecast.routing.llm import Llm
from rolecast.routing.named import Named
from rolecast.routing.price import ANSWER_TOKENS, Price
from rolecast.routing.router import Cast, Router, Strategy
from rolecast.routing.view import Mind, View

if TYPE_CHECKING:  # numpy comes with it
    from rolecast.routing.fewshot import Labels

__all__ = ["Cast", "Mind", "Router", "Strategy", "build", "shares"]


def build(
    names: Mapping[str, Name],
    config: Config,
    can: Can | None = None,
    mind: Mind = lambda: None,
    labels: "Mapping[str, Labels] | None" = None,
    lengths: Mapping[str, float] = ANSWER_TOKENS,
) -> Router:
    """The router of this configuration.

    `can` tells what a model can do; without it the configuration is believed. `mind` gives the learned model, `labels`
    are the user's own, learned already; `lengths` tells how long answers are, by category.
    """
    named = Named(names, config, can or (lambda model_id, need: declared(config.models[model_id], need) or None))
    see = partial(View, mind=mind, labels=labels or {})
    routing = config.routing
    return Router(
        named,
        Default(named, config),
        _strategies(names, config),
        see,
        Price(routing.worth, routing.prefer, lengths),
        routing.default,
        cascades=routing.cascade.enabled,
    )


def _strategies(names: Mapping[str, Name], config: Config) -> list[Strategy]:
    """Those that read requests, in the configured order; names are obeyed before, whatever stands there."""
    made: dict[str, Strategy] = {
        "learned": Judged(names, config.routing.min_confidence, config.routing.default),
        "llm": Llm(config),
    }
    return [made[name] for name in config.routing.strategies if name in made]


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
