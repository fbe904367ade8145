"""What `doctor` says of the machine: memory and who may have it, processor, GPUs. Changes nothing."""

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rolecast.cli import output
from rolecast.cli.finding import Finding
from rolecast.config.schema import Config, Model
from rolecast.footprint import Footprint

if TYPE_CHECKING:
    from rolecast.telemetry.memory import Reading

FASTER = ("AVX-512", "AMX")
"""What the wheel of the built-in engine makes no use of: it is built to run on every machine."""
OWN_ENGINE = "set models.ID.binary to a llama-server that was built for this processor"


def check_memory(config: Config) -> Iterator[Finding]:
    """What there is, what of it models may take, and whether each model and all pinned ones fit into that."""
    from rolecast import backends
    from rolecast.fleet.budget import budget
    from rolecast.telemetry import memory

    reading = memory.read()
    ours = _held()
    allowed = budget(config.memory.budget, config.memory.gpu_budget, reading, ours)
    most = budget(config.memory.budget, config.memory.gpu_budget, _idle(reading), Footprint())
    there = f"{output.size(reading.available.ram)} of {output.size(reading.total.ram)}{_limited(reading.total.ram)}"
    share = f"{output.size(allowed.ram)} together now (memory.budget: {config.memory.budget})"
    yield Finding("memory", "ok", f"{there} available; models may take {share}")
    here = {i: m for i, m in config.models.items() if m.enabled and backends.get(m.backend).spawns}
    needs = {model_id: _needs(config, model) for model_id, model in here.items()}
    for model_id, need in needs.items():
        if not need.within(most):
            yield _too_large(model_id, need, most)
    pinned = [need for model_id, need in needs.items() if config.models[model_id].pinned and need.within(most)]
    together = sum(need.ram for need in pinned)
    if len(pinned) > 1 and together > most.ram:
        fix = "take `pinned: true` from a model, or choose smaller weights"
        yield Finding("memory", "warn", f"pinned models need {output.size(together)} together, which never fits", fix)
    elif together > allowed.ram:
        text = f"pinned models need {output.size(together)}, more than other programs leave just now"
        yield Finding("memory", "warn", text, "end other programs, or take `pinned: true` from a model")


def _too_large(model_id: str, need: Footprint, most: Footprint) -> Finding:
    text = f"{model_id} needs about {output.size(need.ram)}, but models never get more than {output.size(most.ram)}"
    fix = "choose smaller weights, less context or fewer slots, or raise memory.budget"
    return Finding("memory", "warn", text, fix)


def _needs(config: Config, model: Model) -> Footprint:
    """What a worker takes at most, by its own setting, by its backend, or as much as its weights: a lower bound."""
    from rolecast import backends
    from rolecast.cli import weights
    from rolecast.config.units import Bytes

    if model.memory != "auto":
        try:
            return Footprint(Bytes.parse(model.memory))
        except ValueError:
            return Footprint()  # `check_advice` says so
    path = weights.find(config, model)
    estimate = backends.get(model.backend).estimate(model, path) if path else None
    return estimate.most if estimate is not None else Footprint(weights.size_of(path) if path else 0)


def _held() -> Footprint:
    """What the workers of a gateway that runs now hold."""
    from rolecast import statefile
    from rolecast.processes import resident

    state = statefile.running()
    return Footprint(resident.tree(state.pid).private if state else 0)


def _idle(reading: "Reading") -> "Reading":
    """As if nobody used anything."""
    from rolecast.telemetry.memory import Reading

    return Reading(reading.total, reading.total, reading.cards)


def _limited(total: int) -> str:
    import psutil

    whole = psutil.virtual_memory().total
    return f" (a control group's limit; the machine has {output.size(whole)})" if total < whole else ""


def check_processor() -> Iterator[Finding]:
    """Cores that may be used, and what of the processor matters to an engine."""
    from rolecast.backends.hardware import hardware
    from rolecast.telemetry import processor

    found = processor.features()
    cores = hardware().cores
    text = f"{cores} core{'s' * (cores != 1)} for models; {', '.join(found) or 'nothing known of its vector units'}"
    if more := [name for name in found if name in FASTER]:
        text += f". The built-in engine uses AVX2 at most: one of your own with {' and '.join(more)} may be faster"
        yield Finding("processor", "ok", text, OWN_ENGINE)
    elif processor.is_x86() and found and "AVX2" not in found:
        text += ". The built-in engine may need AVX2, which it lacks"
        yield Finding("processor", "warn", text, OWN_ENGINE)
    else:
        yield Finding("processor", "ok", text)


def check_gpus() -> Iterator[Finding]:
    """GPUs that engines can use; none is no fault."""
    from rolecast.telemetry import patient

    found = patient.cards()
    for number, gpu in enumerate(found):
        if gpu.shares_ram:
            size = (
                f"has the machine's memory, up to {output.size(gpu.total)}" if gpu.total else "has the machine's memory"
            )
        else:
            size = f"{output.size(gpu.free)} of {output.size(gpu.total)} available"
        yield Finding("gpu", "ok", f"{number}: {gpu.name}, {size}")
    if found:
        return
    if shutil.which("nvidia-smi"):
        yield Finding("gpu", "warn", "an NVIDIA driver is installed but tells no GPU that may be used", "nvidia-smi")
    else:
        yield Finding("gpu", "ok", "none seen; models run on the processor")
