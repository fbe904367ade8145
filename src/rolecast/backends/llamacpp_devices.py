"""What llama.cpp will compute on besides the processor, told without loading it.

Knows NVIDIA's driver on Linux and Apple's chips. Other GPUs are not seen here: what is on them is counted as RAM.
"""

import functools
import importlib.util
import mmap
import os
import platform
import sys
from pathlib import Path

from rolecast.backends.llamacpp_memory import Devices
from rolecast.config.schema import Model

NVIDIA = Path("/proc/driver/nvidia/gpus")
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_CUDA = b"ggml_backend_cuda_reg"
"""In the library of an engine that is built for such GPUs."""


def devices(model: Model) -> Devices:
    """Those of this machine that a worker of the model uses unless its layers are kept from them."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return Devices(shared=True)
    gpus = _count(NVIDIA, model.environment.get(_VISIBLE, os.environ.get(_VISIBLE)))
    return Devices(gpus if gpus and (model.binary or _built_for_gpus()) else 0)


def _count(folder: Path, visible: str | None) -> int:
    try:
        found = len(list(folder.iterdir()))
    except OSError:
        return 0
    if visible is None:
        return found
    named = [word.strip() for word in visible.split(",")]
    return min(found, next((at for at, word in enumerate(named) if word in ("", "-1")), len(named)))


@functools.cache
def _built_for_gpus() -> bool:
    """Whether the built-in engine is; its library is looked through once, where there is a GPU at all."""
    spec = importlib.util.find_spec("xllamacpp")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for library in Path(folder).glob("*.so"):
            with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                if view.find(_CUDA) >= 0:
                    return True
    return False
