"""Talks as a trained model, with Avatar SLM's names: `slm.slm_inference_engine`. Needs no PyTorch to be imported."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, overload

from rolecast.avatars import prompt as prompts
from rolecast.avatars.documented import memory
from rolecast.avatars.documented.said import shown
from rolecast.avatars.documented.voice import Voice, voice
from rolecast.avatars.inference.sampling import Sampling
from rolecast.errors import Invalid
from rolecast.jobs.job import Progress

if TYPE_CHECKING:
    from rolecast.avatars.documented.folder import Card

NEW_TOKENS = 256
LEAST_REPLY = 16
"""Tokens that are kept free for a reply in a model that reads little."""


@dataclass
class InferenceConfig:
    """Which model answers, and how. The first eight fields are the documented ones, with their defaults."""

    model_path: str | Path
    """The folder that the trainer told, one of weights within it, or a GGUF file."""
    max_length: int = 512
    """Tokens of a reply, at most, however many a call asks for."""
    temperature: float = 0.7
    """0 = always the likeliest token."""
    top_k: int = 40
    """0 = all."""
    top_p: float = 0.95
    """1 = all."""
    repetition_penalty: float = 1.1
    """1 = none."""
    use_cache: bool = True
    """Keys and values of what was read are always kept: without them the same text only comes later."""
    stream: bool = True
    """Whether `chat` tells its reply piece by piece, if the call does not say."""
    batch_size: int = 1
    """Prompts that BatchInferenceEngine works on at the same time; with a GGUF that is quicker."""
    seed: int | None = None
    """The same seed gives the same text; None = another one each time."""
    memory_tokens: int = 2048
    """Of a conversation: beyond it the oldest turns are left out, whole."""
    system_prompt: str | None = None
    """What the model is told of whom it is; None = as it was trained."""

    def sampling(self) -> Sampling:
        """Raises Invalid for values that mean nothing."""
        return Sampling(self.temperature, self.top_k, self.top_p, self.repetition_penalty, self.seed)


class SLMInferenceEngine:
    """One conversation with a model, and texts apart from it.

    Engines of the same folder share one model in memory; each has a conversation of its own. Several threads may
    generate with one. Changes of `config` hold from the next call on. Raises Invalid for what is no model.
    """

    def __init__(self, config: InferenceConfig | str | Path) -> None:
        self.config = config if isinstance(config, InferenceConfig) else InferenceConfig(config)
        self.config.sampling()
        self._voice: Voice | None = voice(Path(self.config.model_path), max(1, self.config.batch_size))
        self._turns: list[memory.Turn] = []
        self._began = memory.now()
        self._lock = threading.Lock()

    # -- texts ------------------------------------------------------------------------------------------------------

    @overload
    def generate(
        self, prompt: str, max_new_tokens: int = NEW_TOKENS, stream: Literal[False] = False, *, raw: bool = False
    ) -> str: ...
    @overload
    def generate(
        self, prompt: str, max_new_tokens: int = NEW_TOKENS, *, stream: Literal[True], raw: bool = False
    ) -> Iterator[str]: ...

    def generate(
        self, prompt: str, max_new_tokens: int = NEW_TOKENS, stream: bool = False, *, raw: bool = False
    ) -> str | Iterator[str]:
        """The answer to a message that nothing was said before; with `stream` an iterator over its pieces.

        `raw` = the model goes on with the text itself, as it is. The conversation neither matters nor changes. Raises
        Invalid before anything is generated.
        """
        using, how, limit = self._ready(prompt, max_new_tokens)
        if raw:
            pieces = using.goes_on(prompt, how, limit)
        else:
            said = self._fitting(using, (), prompt, None, limit)
            pieces = using.answer(said, how, limit)
        return pieces if stream else "".join(pieces)

    # -- the conversation -------------------------------------------------------------------------------------------

    def chat(
        self,
        message: str,
        system_prompt: str | None = None,
        stream: bool | None = None,
        max_new_tokens: int = NEW_TOKENS,
    ) -> Iterator[str]:
        """The reply to a message of the conversation: an iterator over its pieces, or over all of it at once.

        The turn is remembered when the iterator ends; one that is closed earlier is remembered as far as it was told.
        """
        using, how, limit = self._ready(message, max_new_tokens)
        with self._lock:
            turns = tuple(self._turns)
        said = self._fitting(using, turns, message, system_prompt, limit)
        streams = self.config.stream if stream is None else stream
        return self._reply(using.answer(said, how, limit), message, streams)

    def _reply(self, pieces: Iterator[str], message: str, streams: bool) -> Iterator[str]:
        asked, heard = memory.now(), list[str]()
        try:
            for piece in pieces:
                heard.append(piece)
                if streams:
                    yield piece
            if not streams:
                yield "".join(heard)
        finally:
            if reply := "".join(heard):
                with self._lock:
                    self._turns.append(memory.Turn(message, reply, asked, memory.now()))

    @property
    def conversation_history(self) -> list[memory.Message]:
        """All messages so far, oldest first, also those that no longer fit."""
        with self._lock:
            return [each for turn in self._turns for each in turn.messages()]

    def clear_conversation(self) -> None:
        """Forget what was said."""
        with self._lock:
            self._turns.clear()
            self._began = memory.now()

    def save_conversation(self, path: str | Path) -> str:
        """Write the conversation as a transcript that its owner alone can read; where it is."""
        with self._lock:
            turns = tuple(self._turns)
        memory.write(Path(path), turns, self.name, self._began)
        return str(path)

    def load_conversation(self, path: str | Path) -> None:
        """Go on with a conversation that was saved, or with a list of `role` and `content`. Raises Invalid, and then
        the present one stays."""
        turns = memory.read(Path(path))
        with self._lock:
            self._turns = turns
            self._began = turns[0].asked if turns else memory.now()

    # -- about it ---------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What the model is called: the name of its folder or file."""
        return Path(self.config.model_path).name

    @property
    def card(self) -> "Card":
        """What is known of the model."""
        return self._open().card

    def count_tokens(self, text: str) -> int:
        """Tokens of a text."""
        return self._open().count(text)

    def close(self) -> None:
        """Let the model go; it is freed when no other engine has it."""
        self._voice = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    # -- how --------------------------------------------------------------------------------------------------------

    def _open(self) -> Voice:
        if self._voice is None:
            raise Invalid("This engine is closed; make another one.")
        return self._voice

    def _ready(self, text: str, most: int) -> tuple[Voice, Sampling, int]:
        if not isinstance(text, str) or not text.strip():
            raise Invalid("There is nothing to answer; write something.", param="prompt")
        if most < 1 or self.config.max_length < 1:
            raise Invalid("A reply has 1 token or more.", param="max_new_tokens")
        return self._open(), self.config.sampling(), min(most, self.config.max_length)

    def _fitting(
        self, using: Voice, turns: Sequence[memory.Turn], message: str, system: str | None, limit: int
    ) -> list[memory.Message]:
        if system is None:
            system = self.config.system_prompt
        if system is None:
            name = using.card.person_name
            system = prompts.system(name) if name else ""
        # a long reply does not push out what is being answered: at least half of what the model reads is for that
        free = max(using.context - limit, using.context // 2, 1)
        free = min(free, max(using.context - LEAST_REPLY, 1))
        return memory.fitting(system, turns, message, min(self.config.memory_tokens, free), using.size)


class BatchInferenceEngine(SLMInferenceEngine):
    """Answers many prompts, each by itself: the texts are those that `generate` gives."""

    def process_batch(
        self, prompts: Sequence[str], max_new_tokens: int = NEW_TOKENS, show_progress: bool = False
    ) -> list[str]:
        """The answers, in the order of the prompts; `batch_size` of them at a time. Raises Invalid for the first
        prompt that cannot be answered, by its number."""
        if isinstance(prompts, str):
            raise Invalid("`prompts` is a list of texts.", param="prompts")
        for number, each in enumerate(prompts, 1):
            if not isinstance(each, str) or not each.strip():
                raise Invalid(f"Prompt {number} is empty; write something.", param="prompts")
        done: list[str] = []
        with ThreadPoolExecutor(max(1, self.config.batch_size), "batch") as pool:
            answers = pool.map(lambda each: self.generate(each, max_new_tokens), prompts)
            if not show_progress:
                return list(answers)
            with shown(self.name) as report:
                for each in answers:
                    done.append(each)
                    report(Progress("answering", len(done), len(prompts), "prompts"))
        return done
