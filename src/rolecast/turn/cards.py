"""How each model stands just now, as a choice weighs it: what it is, and what its worker and its queue do.

What needs the disk (sizes, presence) is read in a thread when the configuration changes; a card itself costs a few
microseconds and asks nobody.
"""

import asyncio
from collections.abc import Mapping
from functools import partial

import msgspec

from rolecast import backends, weights
from rolecast.backends import reach
from rolecast.backends.hardware import hardware
from rolecast.config.current import Current
from rolecast.config.edit import Change, Edit
from rolecast.config.schema import Config, Model
from rolecast.decision import Card
from rolecast.fleet import Fleet, State
from rolecast.turn.paces import Paces
from rolecast.weights import Finder, folder, gguf
from rolecast.weights.quality import guess, size_in

DISK = 5e8
"""Bytes that a disk reads per second as long as no load was measured: a SATA SSD."""
SLOWEST_DISK, FASTEST_DISK = 5e7, 5e9
LEAST_MEASURED = 50_000_000
"""Smaller weights tell more of a start than of a disk."""
START_S = 0.5
"""What a start takes besides its bytes: the process, the header, the tokenizer."""
CORE_BANDWIDTH, MOST_BANDWIDTH = 4e9, 6e10
"""Bytes of weights that a core reads per second while it writes tokens, and all cores together. Each token reads all
weights once; two virtual cores wrote 76 tokens per second with 93 MB of them, which is 3.5 GB/s for each."""
READS_FASTER = 5.0
"""A prompt is read so many times faster than an answer is written; 3 to 13 times on an M4 Max, 24 on two cores."""
REQUEST_S = 10.0
"""A request takes so long where nobody knows."""
ABSENT_S = 3600.0
"""Weights that are not here have to be fetched first, which no request should wait for."""


class Known(msgspec.Struct, frozen=True):
    """What stays the same of a model until the configuration or its weights change."""

    context: int | None
    quality: float | None
    tokens_per_s: float
    """As its size lets expect; 0 = not known."""
    size: int
    """Bytes of its weights; 0 = not known."""
    present: bool
    """Its weights are here, or it needs none."""
    elsewhere: bool
    watts: float
    input_cents: float | None
    output_cents: float | None


class Cards:
    """Makes cards. `paces` tells what was measured."""

    def __init__(self, current: Current, fleet: Fleet, find: Finder, paces: Paces) -> None:
        self._current = current
        self._fleet = fleet
        self._find = find
        self._paces = paces
        self._time = asyncio.get_running_loop().time
        self._edits = 0
        self._known: Mapping[str, Known] = {}
        self._disk = DISK

    async def prepare(self, edit: Edit) -> Change:
        """Nothing to refuse."""
        known = await asyncio.to_thread(self._learned, edit.config)
        return Change(partial(self._renew, known))

    async def learn(self) -> None:
        """Look at the weights of the models that are configured now."""
        edits = self._edits
        known = await asyncio.to_thread(self._learned, self._current.config)
        if edits == self._edits:
            self._known = known

    def _renew(self, known: Mapping[str, Known]) -> None:
        self._edits += 1
        self._known = known
        self._paces.keep(known)

    def __call__(self, model_id: str) -> Card:
        """The card of that model; where another one stands in for it, that one's."""
        answerer_id = self._current.answerer_of(model_id)
        station = self._fleet.stations.at.get(answerer_id)
        known = self._known.get(answerer_id)
        if station is None or known is None:
            return Card(model_id)  # before anything was read
        worker, pace = self._fleet.worker(answerer_id), self._paces.of(answerer_id)
        state, load_s = worker.state, 0.0
        ready = state is State.READY or state is State.REMOTE
        if not ready:
            load_s = pace.load_s or self._expected(known)
            if state is State.LOADING:
                load_s = max(0.1, load_s - (self._time() - worker.started_at))
            elif state is State.FAILED:
                load_s = max(load_s, 0.1) + max(0.0, worker.retry_at - self._time())
        speed = pace.tokens_per_s or known.tokens_per_s
        waiting = len(worker.waiting)
        wait_s = 0.0
        if waiting or worker.active >= worker.parallel:
            wait_s = (waiting + 1) / worker.parallel * (pace.request_s or REQUEST_S)
        return Card(
            model_id,
            context=known.context,
            quality=known.quality,
            ready=ready,
            elsewhere=known.elsewhere,
            load_s=load_s,
            wait_s=wait_s,
            tokens_per_s=speed,
            prompt_tokens_per_s=pace.prompt_tokens_per_s or speed * READS_FASTER,
            input_cents=known.input_cents,
            output_cents=known.output_cents,
            watts=known.watts,
        )

    def loaded(self, answerer_id: str, took_s: float) -> None:
        """It has loaded just now: what its bytes took is expected of others too."""
        self._paces.loaded(answerer_id, took_s)
        known = self._known.get(answerer_id)
        if known is not None and known.size >= LEAST_MEASURED:
            rate = known.size / max(took_s - START_S, 0.1)
            self._disk = min(max((self._disk + rate) / 2, SLOWEST_DISK), FASTEST_DISK)

    def _expected(self, known: Known) -> float:
        """Seconds until it would be loaded; 0 = not known."""
        if not known.present:
            return ABSENT_S
        return START_S + known.size / self._disk if known.size else 0.0

    def _learned(self, config: Config) -> Mapping[str, Known]:
        return {model_id: self._of(model_id, model) for model_id, model in config.models.items() if model.enabled}

    def _of(self, model_id: str, model: Model) -> Known:
        """Reads the disk."""
        path = weights.found(self._find, model)
        headers = [header for part in (weights.parts(path) if path else []) if (header := gguf.known(part))]
        size = sum(header.tensor_bytes for header in headers)
        if path is not None and folder.is_one(path):
            size = folder.size_bytes(path)
        parameters = float(sum(header.parameters for header in headers))
        parameters = parameters or next(filter(None, map(size_in, _names(model_id, model))), 0.0)
        quality = model.quality if model.quality is not None else guess(parameters) if parameters else None
        elsewhere = reach.leaves(model)
        free = None if elsewhere else 0.0
        spawns = backends.get(model.backend).spawns
        bandwidth = min(MOST_BANDWIDTH, CORE_BANDWIDTH * (model.threads or hardware().cores))
        return Known(
            context=weights.context(model, path) or None,
            quality=quality,
            tokens_per_s=bandwidth / size if size and spawns else 0.0,
            size=size,
            present=not (spawns and model.source and path is None),
            elsewhere=elsewhere,
            watts=0.0 if elsewhere else model.watts,
            input_cents=model.price.input if model.price else free,
            output_cents=model.price.output if model.price else free,
        )


def _names(model_id: str, model: Model) -> tuple[str, ...]:
    """Texts that may tell how big it is, the surest first."""
    return model.parameters, model.remote_model, model_id, model.source
