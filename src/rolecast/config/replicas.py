"""What the copies of a model are called: the first as the model is, the others `MODEL#2`, `MODEL#3` ...

Pure. No model may be called so, whoever names it (`fault`), so that the name of a worker tells whose copy it is.
"""

import re
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from rolecast.config.model import Model

_COPY = re.compile(r"(.+)#([0-9]+)")


def copy_id(model_id: str, number: int) -> str:
    """What the copy of that number is called, from 1 on."""
    return model_id if number == 1 else f"{model_id}#{number}"


def model_of(worker_id: str) -> str:
    """Whose copy it is."""
    found = _COPY.fullmatch(worker_id)
    return found[1] if found else worker_id


def fault(model_id: str) -> str:
    """Why no model may have this id, or ''."""
    if (of := model_of(model_id)) == model_id:
        return ""
    return f"'{model_id}' is what a copy of {of} is called (replicas); let no model's id end in # and a number"


def number_of(worker_id: str) -> int:
    """Which copy it is, from 1 on."""
    found = _COPY.fullmatch(worker_id)
    return int(found[2]) if found else 1


def spread(models: Mapping[str, Model], here: Callable[[Model], bool] = lambda model: True) -> dict[str, Model]:
    """Every copy with its settings, those of a model in their order. None but the first is pinned.

    A model that does not run `here` has one.
    """
    found: dict[str, Model] = {}
    for model_id, model in models.items():
        found[model_id] = model
        if model.replicas > 1 and here(model):
            other = replace(model, pinned=False)
            found |= {copy_id(model_id, number): other for number in range(2, model.replicas + 1)}
    return found
