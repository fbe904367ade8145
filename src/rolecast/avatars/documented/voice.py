"""What answers: a trained model, or messages of the person. One is loaded once, however many sessions talk with it."""

import contextlib
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from rolecast.avatars.documented import folder, samples
from rolecast.avatars.documented.memory import Message
from rolecast.avatars.documented.said import quiet
from rolecast.avatars.inference.sampling import Sampling
from rolecast.errors import Invalid

NO_TORCH = (
    "Answering with a trained folder needs PyTorch: pip install 'rolecast[avatars]'. Without it, a model of the "
    "framework `fallback` answers with samples."
)


class Voice(Protocol):
    """Says what follows. Several threads may ask it at the same time."""

    card: folder.Card
    context: int
    """Tokens of a question and its answer."""
    weights: Path

    def size(self, messages: Sequence[Message]) -> int:
        """Tokens of a chat, up to where the answer begins."""
        ...

    def answer(self, messages: Sequence[Message], how: Sampling, limit: int) -> Iterator[str]:
        """What follows in a chat, piece by piece."""
        ...

    def goes_on(self, text: str, how: Sampling, limit: int) -> Iterator[str]:
        """What follows a text, piece by piece."""
        ...

    def count(self, text: str) -> int:
        """Tokens of a text."""
        ...


class Neural:
    """A trained model."""

    def __init__(self, found: folder.Found, parallel: int) -> None:
        try:
            from rolecast.avatars.inference.engine import Engine

            base = folder.base_of(found.path) if found.kind == "folder" else None
            with quiet() if found.kind == "folder" else contextlib.nullcontext():
                self._engine = Engine(found.path, base=base, parallel=parallel)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == "rolecast":
                raise
            raise Invalid(NO_TORCH, param="model_path") from error
        self.card, self.context, self.weights = found.card, self._engine.context, found.path

    def size(self, messages: Sequence[Message]) -> int:
        return self.count(self._written(messages))

    def answer(self, messages: Sequence[Message], how: Sampling, limit: int) -> Iterator[str]:
        return self._engine.stream(self._written(messages), how, limit)

    def goes_on(self, text: str, how: Sampling, limit: int) -> Iterator[str]:
        return self._engine.stream(text, how, limit)

    def count(self, text: str) -> int:
        return len(self._engine.encode(text))

    def _written(self, messages: Sequence[Message]) -> str:
        plain = [{**each, "content": self._engine.plain(each["content"])} for each in messages]
        if self._engine.chats:
            return self._engine.chat(plain)
        return "\n".join(each["content"] for each in plain)


class Samples:
    """Messages that the person once wrote; no model."""

    def __init__(self, found: folder.Found) -> None:
        self._samples = folder.samples(found.path)
        self.card, self.context, self.weights = found.card, 1 << 20, found.path

    def size(self, messages: Sequence[Message]) -> int:
        return sum(self.count(each["content"]) for each in messages)

    def answer(self, messages: Sequence[Message], how: Sampling, limit: int) -> Iterator[str]:
        said = [each["content"] for each in messages if each["role"] == "assistant"]
        text = samples.choose(self._samples, messages[-1]["content"], said, how.temperature, how.seed)
        return samples.shortened(text, limit)

    def goes_on(self, text: str, how: Sampling, limit: int) -> Iterator[str]:
        return self.answer([{"role": "user", "content": text}], how, limit)

    def count(self, text: str) -> int:
        return len(text.split())


_loaded: "weakref.WeakValueDictionary[tuple[object, ...], Neural]" = weakref.WeakValueDictionary()
_loading = threading.Lock()


def voice(path: Path, parallel: int = 1) -> Voice:
    """What answers for that path. Models are shared as long as their files are the same. Raises Invalid."""
    found = folder.find(path)
    if found.kind == "samples":
        return Samples(found)
    with _loading:
        key = (found.path.absolute(), parallel if found.kind == "gguf" else 0, *_stamp(found.path))
        if (known := _loaded.get(key)) is None:
            known = _loaded[key] = Neural(found, parallel)
        return known


def _stamp(path: Path) -> list[int]:
    """What changes when the weights do."""
    found: list[int] = []
    for each in (path, *(path / name for name in folder.WEIGHTS)):
        with contextlib.suppress(OSError):
            about = each.stat()
            found += [about.st_mtime_ns, about.st_size, about.st_ino]
    return found
