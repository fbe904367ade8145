"""Reads what a training wrote: JSON, and the tensors of safetensors, one at a time. Nothing in them is executed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from rolecast.errors import UNREADABLE, Invalid


class Source(msgspec.Struct, frozen=True):
    """A tensor to come: its shape, rows first, and how it is got, as float32."""

    shape: tuple[int, ...]
    get: Callable[[], Any]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file. Raises Invalid when there is none."""
    try:
        said = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Invalid(f"{path} cannot be read ({reason}); is that the folder of a trained model?") from error
    except UNREADABLE as error:
        raise Invalid(f"{path} is damaged; train the model again.") from error
    if not isinstance(said, dict):
        raise Invalid(f"{path} is damaged; train the model again.")
    return said


def sources(path: Path) -> dict[str, Source]:
    """The tensors of a safetensors file by name, each as float32 when it is asked for. Raises Invalid."""
    from safetensors import SafetensorError, safe_open

    try:
        # through torch, because numpy has no bfloat16
        file: Any = safe_open(path, framework="pt")
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no dict
    except FileNotFoundError as error:
        raise Invalid(f"{path} is missing; is that the folder of a trained model?") from error
    except (OSError, SafetensorError) as error:
        raise Invalid(f"{path} is damaged; train the model again.") from error

    def source(name: str, shape: tuple[int, ...]) -> Source:
        return Source(shape, lambda: file.get_tensor(name).float().numpy())

    return {name: source(name, shape) for name, shape in shapes.items()}
