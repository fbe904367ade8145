"""What a worker of llama.cpp takes, from the header of the weights and the settings, before it is started.

Pure: headers and settled options in, an `Estimate` with named parts out. The formulas are those of the engine's own
buffers and were held to measurements; `bench/fleet_estimate.py` measures them again. What they rest on that no
header tells (the interpreter, the engine, what a tokenizer needs) are constants here. Knows no file and no device.
"""

from collections.abc import Iterator, Sequence

import msgspec

from rolecast.backends.llamacpp_defaults import BITS
from rolecast.backends.llamacpp_options import Options, Settled
from rolecast.footprint import Estimate, Footprint
from rolecast.weights.gguf import Header

MIB = 1 << 20
ENGINE = 39 * MIB
"""The interpreter, our module and the libraries, as far as they are touched."""
TOKEN = {"gpt2": 490, "": 0}
"""Bytes that the tokenizer keeps of each token; BPE has its merges besides."""
OTHER_TOKEN = 240
GUESSES = 15 * MIB
"""What guessing words keeps of the texts so far."""
GPU_CONTEXT = 400 * MIB
"""What a driver takes on each GPU before there are any weights. Not measured here; it differs by driver."""
TOUCHED = 6 * MIB
"""Of a buffer, in pages of 2 MiB, what the first token reaches at the least."""
PADDING = 256
"""Cells of a cache come in multiples of it."""
STATE_BYTES = 4


class Beside(msgspec.Struct, frozen=True):
    """Files that are loaded with the weights, in bytes of their tensors."""

    adapters: int = 0
    projector: int = 0


class Devices(msgspec.Struct, frozen=True):
    """What the engine computes on besides the processor."""

    gpus: int = 0
    """GPUs with memory of their own."""
    shared: bool = False
    """Whether there is one that uses the machine's memory, as Apple's does: then all of it counts as `ram`."""

    @property
    def any(self) -> bool:
        return self.gpus > 0 or self.shared


def estimate(
    headers: Sequence[Header],
    options: Options,
    settled: Settled,
    devices: Devices,
    beside: Beside,
    *,
    large_pages: bool = False,
) -> Estimate:
    """What that worker takes. `headers` are those of all files of the model, the first one first.

    With `large_pages` memory comes in pages of 2 MiB.

    On GPUs, layers and their cache are spread evenly, all of them unless `gpu_layers` is a number; the embedding
    stays in RAM, and the output goes with the last layer. An engine that finds no room for all will take less there.
    """
    model = _Model(headers, options, settled, large_pages=large_pages)
    spread = _Spread(headers[0].block_count, options.gpu_layers, devices)
    at_once = [*model.at_once(spread, beside)]
    later = [*model.later(spread, beside)]
    loaded = _sum(place for _, place in at_once)
    parts: dict[str, int] = {}
    for name, place in (*at_once, *later):
        if _total(place):
            parts[name] = parts.get(name, 0) + _total(place)
    return Estimate(tuple(parts.items()), loaded, loaded + _sum(place for _, place in later))


def _sum(places: Iterator[Footprint]) -> Footprint:
    found = Footprint()
    for each in places:
        found += each
    return found


def _total(place: Footprint) -> int:
    return place.ram + sum(place.gpus)


class _Spread:
    """Where layers are: how many in RAM, and how many on each GPU."""

    def __init__(self, layers: int, gpu_layers: int, devices: Devices) -> None:
        self.layers = max(1, layers)
        wanted = layers + 1 if gpu_layers < 0 else gpu_layers
        self.away = min(wanted, layers) if devices.any else 0
        """Layers that a GPU computes."""
        self.whole = devices.any and wanted > layers
        """Whether the output is there, too."""
        self.gpus = devices.gpus if self.away or self.whole else 0

    def of_layers(self, count: int) -> Footprint:
        """So many bytes that all layers have together."""
        away = count * self.away // self.layers if self.gpus else 0
        each = away // self.gpus if self.gpus else 0
        last = (away - each * (self.gpus - 1),) if self.gpus else ()
        return Footprint(count - away, (*(each,) * (self.gpus - 1), *last))

    def of_output(self, count: int) -> Footprint:
        """Bytes that stand behind the layers."""
        return self.on_last(count) if self.whole and self.gpus else Footprint(count)

    def on_last(self, count: int) -> Footprint:
        return Footprint(0, (*(0,) * (self.gpus - 1), count))

    def on_each(self, count: int) -> Footprint:
        return Footprint(0, (count,) * self.gpus)

    @property
    def ram_share(self) -> float:
        """Part of the layers that the processor computes."""
        return 1 - self.away / self.layers


class _Model:
    def __init__(self, headers: Sequence[Header], options: Options, settled: Settled, *, large_pages: bool) -> None:
        self.large_pages = large_pages
        self.head, self.options, self.settled = headers[0], options, settled
        self.context = _padded(options.context)
        self.unified = options.whole_inputs
        self.weights = sum(each.tensor_bytes for each in headers)
        self.layer_bytes = sum(each.layer_bytes for each in headers)
        self.output_bytes = sum(each.output_bytes for each in headers)
        tied = 0 if self.output_bytes else sum(each.tied_bytes for each in headers)
        self.repacked_bytes = sum(each.repacked_bytes - each.tied_bytes for each in headers) + tied
        self.tied_bytes = tied

    def at_once(self, spread: _Spread, beside: Beside) -> Iterator[tuple[str, Footprint]]:
        """What is there when it has loaded."""
        head, options = self.head, self.options
        yield "engine", Footprint(ENGINE) + spread.on_each(GPU_CONTEXT) if spread.gpus else Footprint(ENGINE)
        yield "tokenizer", Footprint(head.vocabulary * TOKEN.get(head.tokenizer, OTHER_TOKEN))
        yield "weights", self._weights(spread)
        yield "second copy", Footprint(self._second_copy(spread))
        yield "cache", spread.of_layers(self.cache_bytes() * (1 if self.unified else options.parallel))
        yield "states", spread.of_layers(head.layout.states * STATE_BYTES * options.parallel)
        yield "output", Footprint(STATE_BYTES * head.vocabulary * options.parallel)
        yield "projector", spread.of_output(beside.projector)
        yield "adapters", spread.of_layers(beside.adapters)
        if spread.gpus:  # there a buffer is taken whole; in RAM its pages are when they are first written
            yield "buffers", spread.on_each(self._gpu_buffer())
        else:
            yield "buffers", Footprint(self._touched())

    def later(self, spread: _Spread, beside: Beside) -> Iterator[tuple[str, Footprint]]:
        """What comes with long prompts, many conversations and time."""
        options, layout = self.options, self.head.layout
        if not spread.gpus:
            yield "buffers", Footprint(self._buffer() - self._touched())
        yield "projector's buffers", spread.of_output(beside.projector // 4)  # by the pictures; a rough guess
        checkpoints = self._checkpoints()
        one = self.cache_bytes() + layout.states * STATE_BYTES + checkpoints
        if options.prompt_cache_mib and one:  # the newest prompt is put into it before an older one is thrown out
            yield "prompts", Footprint(options.prompt_cache_mib * MIB + one)
        yield "checkpoints", Footprint(checkpoints * options.parallel)
        if options.guess:
            yield "guesses", Footprint(GUESSES)

    def _checkpoints(self) -> int:
        """Of one conversation, in RAM: what cannot be found again in a window or a state."""
        if not (self.head.layout.window or self.head.layout.states):
            return 0
        window = int(self._cells(windowed=True) * self._token(windowed=True)) if self.head.layout.window else 0
        return self.options.checkpoints * (window + self.head.layout.states * STATE_BYTES)

    def _weights(self, spread: _Spread) -> Footprint:
        outside = self.weights - self.layer_bytes
        output = min(self.output_bytes, outside)
        if not spread.gpus:
            return Footprint(self.weights)
        copied = 0 if output else outside  # a GPU gets a copy of an embedding that is the output, too
        return (
            spread.of_layers(self.layer_bytes)
            + spread.of_output(output + (copied if spread.whole else 0))
            + Footprint(outside - output)
        )

    def _second_copy(self, spread: _Spread) -> int:
        """Mapped weights stay beside what the processor keeps in its own order; read ones are only that."""
        if not self.settled.mmap:
            return 0 if spread.whole else self.tied_bytes
        layers = int((self.repacked_bytes - self.tied_bytes) * spread.ram_share)
        return layers + (0 if spread.whole else self.tied_bytes)

    def cache_bytes(self) -> int:
        """Of one slot, or of all of them where they share one."""
        return int(sum(self._cells(windowed=w) * self._token(windowed=w) for w in (False, True)))

    def _token(self, *, windowed: bool) -> float:
        """Bytes of one cell in all layers of that kind."""
        layout = self.head.layout
        keys, values = (layout.window_keys, layout.window_values) if windowed else (layout.keys, layout.values)
        return (keys * _bits(self.options.cache_type_k) + values * _bits(self.options.cache_type_v)) / 8

    @property
    def _writes(self) -> bool:
        """Whether it scores the next word, also where nobody asks for one: all do but encoders, which keep nothing."""
        layout = self.head.layout
        return bool(layout.keys or layout.window_keys or layout.states)

    def _cells(self, *, windowed: bool) -> int:
        shared = self.options.parallel if self.unified else 1
        every = self.context * shared
        if not windowed:
            return every
        return _padded(min(every, self.head.layout.window * shared + self.settled.ubatch))

    def _touched(self) -> int:
        """Of the buffer, what a first short text reaches: the first large page of each part."""
        buffer = self._buffer(scores=False)
        return min(buffer, TOUCHED + buffer // 5) if self.large_pages else 0

    def _buffer(self, *, scores: bool = True) -> int:
        """What the processor computes in: the largest of attention and of what follows it, for `ubatch` tokens."""
        head, options = self.head, self.options
        cells = self._cells(windowed=False) + (self._cells(windowed=True) if head.layout.window else 0)
        work = 20 * head.embedding_length + 12 * head.feed_forward_length
        if used := head.layout.experts_used:  # each expert that works on a token gives a row of its own
            work = max(
                work, 20 * head.embedding_length + used * (12 * head.layout.expert_length + 8 * head.embedding_length)
            )
        if scores and options.embeddings and self._writes:
            # Those of every token, where they are made and where they are kept.
            work = max(work, 4 * head.vocabulary) + 4 * head.vocabulary
        if options.flash_attn is not False:
            return self.settled.ubatch * (work + 2 * cells)
        attention = 4 * head.head_count * self._cells(windowed=False) + 26 * head.embedding_length
        return self.settled.ubatch * (max(attention, work) + 4 * cells)

    def _gpu_buffer(self) -> int:
        """It is made for the scores of all tokens in a batch of `ubatch`."""
        scores = 4 * ((self.head.vocabulary if self._writes else 0) + self.head.embedding_length)
        return max(self.settled.ubatch * scores, self._buffer())


def _bits(name: str) -> float:
    return BITS.get(name or "f16", 16.0)


def _padded(cells: int) -> int:
    return -(-cells // PADDING) * PADDING
