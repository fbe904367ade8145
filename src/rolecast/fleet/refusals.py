"""What is said to a request that gets no worker: what is wrong, and what to do next. Pure; decides nothing."""

from collections.abc import Iterable

from rolecast.errors import Busy, Conflict, LoadFailed, RolecastError, UpstreamTimeout, WorkerDown
from rolecast.fleet import retry_after
from rolecast.fleet.copies import Whole
from rolecast.fleet.worker import State, Worker
from rolecast.footprint import Footprint
from rolecast.values import size_text


def called_off(model: str) -> Conflict:
    """A plain load whose model was unloaded."""
    return Conflict(
        f"{model} was unloaded while it loaded; load it again if that was not meant.", code="load_called_off"
    )


Pace = tuple[float, float]
"""Seconds that a request to a model, and a load of it, took lately; 0 = not known."""


def _moves_in(w: Whole, pace: Pace, now: float) -> float:
    """Seconds after which it is worth coming back."""
    request_s, load_s = pace
    if w.state is State.LOADING:
        load_s = retry_after.left_of_load(load_s, now - w.started_at)
    elif w.state in (State.READY, State.REMOTE):
        load_s = 0.0
    return retry_after.seconds(len(w.waiting), w.parallel, request_s, load_s)


def full(w: Whole, pace: Pace, now: float) -> Busy:
    """As many wait as may."""
    text = f"{w.model_id} is busy: {w.active} running and {len(w.waiting)} waiting. Try again shortly."
    return Busy(text, retry_after=_moves_in(w, pace, now), code="queue_full")


def late(w: Whole, pace: Pace, now: float, *, claims: bool, holders: Iterable[str]) -> RolecastError:
    """It waited too long: for a slot, for memory, or for a load."""
    if w.state in (State.READY, State.REMOTE, State.DRAINING):
        return Busy(
            f"No slot of {w.model_id} became free in time.", retry_after=_moves_in(w, pace, now), code="queue_timeout"
        )
    if claims:
        names = ", ".join(holders)
        used = f"; {names} hold it and are in use" if names else ""
        text = f"There was no memory for {w.model_id} in time{used}. Try again, or raise memory.budget."
        return Busy(text, retry_after=_moves_in(w, pace, now), code="no_memory")
    last = f" The last try: {w.error}" if w.error else ""
    return UpstreamTimeout(f"{w.model_id} did not finish loading in time; see `rolecast logs {w.model_id}`.{last}")


def too_large(w: Worker, need: Footprint, limit: Footprint, pinned: Iterable[str]) -> LoadFailed:
    """There will never be memory for it."""
    names = [*pinned]
    place, needed, there = "memory", need.ram, limit.ram
    for number, (one, other) in enumerate(zip(need.gpus, (*limit.gpus, *[0] * len(need.gpus)), strict=False)):
        if one > other:
            place, needed, there = f"memory of GPU {number}", one, other
    held = f" beside {', '.join(names)}, which {'is' if len(names) == 1 else 'are'} pinned" if names else ""
    unpin = f", or `rolecast unpin {names[0]}`" if names else ""
    return LoadFailed(
        f"{w.model_id} takes {size_text(needed)} of {place}, and models may take {size_text(max(0, there))}{held}. "
        "Give it a smaller context, fewer slots, less prompt_cache or a smaller quantization, or raise memory.budget"
        f"{unpin}; "
        "`rolecast models --estimate` shows what it is made of.",
        code="model_too_large",
    )


def broken(w: Worker, now: float) -> RolecastError:
    """It could not be started, or ends before it answers."""
    wait = max(0.0, w.retry_at - now)
    what = "could not be started" if w.loaded_at < w.started_at or not w.loaded_at else "ends before it answers"
    text = f"{w.model_id} {what}: {w.error or 'it failed.'}"
    if w.state is not State.COLD and not w.silent:  # else nothing was started, and there is no log
        text += f" See `rolecast logs {w.model_id}`."
    if w.failures > 1:
        text += f" Failed {w.failures} times in a row; next try in {max(1.0, wait):.0f} s."
    kind = LoadFailed if not w.loaded_at else WorkerDown
    return kind(text, retry_after=max(1.0, wait))
