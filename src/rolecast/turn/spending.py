"""What budgets say to a request: that it may cost nothing more. And what it may cost, before anybody is chosen."""

import re

import msgspec

from rolecast.access.budgets import Budgets
from rolecast.config.current import Current
from rolecast.config.names import find
from rolecast.config.schema import Config
from rolecast.dialects.request import NOTHING, Request
from rolecast.dialects.usage import BYTES_PER_TOKEN
from rolecast.errors import UNREADABLE
from rolecast.money import Rates
from rolecast.turn.exchange import Exchange
from rolecast.turn.gate import FREE
from rolecast.turn.plan import rates_of
from rolecast.values import Usage

ASSUMED_TOKENS = 1000
"""An answer whose length nobody has bounded may have so many."""
_DISGUISED = rb"[a-z_]*(?:\\u00[0-7][0-9a-fA-F][a-z_]*)+"
"""A name with escaped letters: no client writes so, and it may be any."""
_MOST = re.compile(
    rb'"(?:max_(?:completion_|output_|new_)?tokens|n(?:um)?_predict|%b)"\s*:\s*(\d{1,9}(?:\.\d{1,9})?(?:[eE]\+?\d)?)'
    % _DISGUISED
)
"""Wherever it stands: of several the largest counts. In a text of the body the quotes would be escaped."""
_TIMES = re.compile(rb'"(?:n|best_of|%b)"\s*:\s*(\d{1,3})(?!\d)' % _DISGUISED)
_LENGTHS = frozenset(
    ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens", "num_predict", "n_predict")
)
_WITHIN = "options", "extra_params"
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_FREE = frozenset({FREE})


class Spending:
    """The check of budgets."""

    def __init__(self, budgets: Budgets, current: Current) -> None:
        self._budgets = budgets
        self._current = current
        self._config: Config | None = None
        self._dearest: dict[str, Rates | None] = {}

    def enter(self, exchange: Exchange, request: Request) -> frozenset[str]:
        """What is spent needs a model that is free. Raises nothing: who routes knows whether there is one."""
        caller = exchange.caller
        broke = self._budgets.enter(
            exchange.number, caller.run, caller.key, lambda: self._estimate(request, caller.port_model or request.asked)
        )
        request.broke = broke
        return NOTHING if broke is None else _FREE

    def leave(self, exchange: Exchange, usage: Usage, cost: int) -> None:
        """It is over."""
        self._budgets.leave(exchange.number, exchange.caller.run, exchange.caller.key, cost)

    def _estimate(self, request: Request, asked: str) -> int:
        """Picodollars that it may cost, by the dearest of the models that its name may mean."""
        rates = self._rates(asked)
        if rates is None:
            return 0
        return rates.cost(
            len(request.body) // BYTES_PER_TOKEN + 1, _most_tokens(request.body) if _writes(request) else 0
        )

    def _rates(self, asked: str) -> Rates | None:
        config = self._current.config
        if config is not self._config:
            self._config, self._dearest = config, {}
        if asked not in self._dearest:
            name = find(self._current.names, asked)
            if name is None:
                asked = ""  # ours to choose: it may be any of them
            models = name.models if name is not None else [i for i, m in config.models.items() if m.enabled]
            priced = [rates for each in models if (rates := rates_of(config.models[each])) is not None]
            self._dearest[asked] = max(priced, key=lambda rates: rates.input + rates.output, default=None)
        return self._dearest[asked]


def _writes(request: Request) -> bool:
    return request.kind in ("chat", "completion")


def _most_tokens(body: bytes) -> int:
    """So many tokens all answers to this body may have."""
    each = max((int(float(found)) for found in _MOST.findall(body)), default=ASSUMED_TOKENS)
    if each < ASSUMED_TOKENS and not _is_bound(body):
        each = ASSUMED_TOKENS
    return each * max((1, *map(int, _TIMES.findall(body))))


def _is_bound(body: bytes) -> bool:
    """Whether it says how long answers may be where a server reads that: not in its metadata, or a tool."""
    try:
        fields = _decode(body)
    except UNREADABLE:
        return False
    return not _LENGTHS.isdisjoint(fields) or any(_MOST.search(fields[each]) for each in _WITHIN if each in fields)
