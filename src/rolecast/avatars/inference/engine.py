"""Generates with one trained model in this process: a folder through PyTorch, or a GGUF through llama.cpp.

Knows tokens and text, no conversation and no person. The same settings mean the same on both; the texts of both are
the same where nothing is left to chance, and rounding does not decide (`export.parity`).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from rolecast.avatars.export import tokenizer
from rolecast.avatars.export.tensors import read_json
from rolecast.avatars.inference.pieces import until
from rolecast.avatars.inference.sampling import Sampling
from rolecast.errors import Invalid
from rolecast.speech.marks import Marks

if TYPE_CHECKING:
    from rolecast.avatars.export.base import Base

Message = Mapping[str, str]
"""`role` and `content`."""


class Side(Protocol):
    """One way to run a model."""

    context: int
    words: tokenizer.Words

    def tokens(self, prompt: Sequence[int], how: Sampling, limit: int) -> Iterator[int]:
        """The reply's tokens, without the one that ends it."""
        ...

    def text(self, prompt: Sequence[int], how: Sampling, limit: int) -> Iterator[str]:
        """The reply as pieces of whole characters. Closing the iterator ends the work."""
        ...

    def close(self) -> None: ...


class Engine:
    """A model that is ready to generate. Several threads may generate with it at the same time."""

    def __init__(
        self,
        path: Path,
        *,
        base: "Base | None" = None,
        adapters: Sequence[Path] = (),
        parallel: int = 1,
        context: int = 0,
        threads: int = 0,
        exact: bool = False,
    ) -> None:
        """`path`: a trained folder, a LoRA with its `base`; or a GGUF, with `adapters` over it.

        Of a GGUF, `parallel` replies are made at once; `exact` = keys and values in float32, as PyTorch has them here,
        for twice their memory. 0 = what the model and the machine allow. Raises Invalid for what is no model.
        """
        if path.is_dir():
            from rolecast.avatars.inference.torch_side import TorchSide

            self._side: Side = TorchSide(path, base, threads=threads)
        elif path.suffix == ".gguf" and path.is_file():
            from rolecast.avatars.inference.gguf_side import GgufSide

            self._side = GgufSide(path, adapters, parallel=parallel, context=context, threads=threads, exact=exact)
        else:
            raise Invalid(f"{path} is neither the folder of a trained model nor a GGUF file.", param="model_path")
        self.context = min(context, self._side.context) if context else self._side.context
        self._tokenizer = tokenizer.tokenizer(self._side.words)
        words = self._side.words
        self._marks = Marks(
            name for name, kind in zip(words.tokens, words.kinds, strict=True) if kind == tokenizer.CONTROL
        )

    def encode(self, text: str) -> list[int]:
        """The tokens of a text; names of special tokens in it are those tokens."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, without special ones."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def plain(self, text: str) -> str:
        """Text without what the model takes for a mark of its own: nobody ends a turn by writing so."""
        return self._marks.without(text)

    @property
    def chats(self) -> bool:
        """Whether it was taught chats."""
        return bool(self._side.words.template)

    def chat(self, messages: Sequence[Message]) -> str:
        """A chat as the model was taught it, up to where its reply begins. Raises Invalid for a model without one."""
        words = self._side.words
        if not words.template:
            raise Invalid("This model was taught no chat; give it a text to go on with.")
        return rendered(words, messages)

    def stream(
        self, prompt: str | Sequence[int], how: Sampling, limit: int = 256, stops: Sequence[str] = ()
    ) -> Iterator[str]:
        """The reply piece by piece, at most `limit` tokens, up to the first of `stops`. Closing it ends the work.

        Raises Invalid, before the first piece, when the prompt leaves no room in the context.
        """
        tokens, limit = self._fitting(prompt, limit)
        return until(self._side.text(tokens, how, limit), stops)

    def generate(self, prompt: str | Sequence[int], how: Sampling, limit: int = 256, stops: Sequence[str] = ()) -> str:
        """The whole reply."""
        return "".join(self.stream(prompt, how, limit, stops))

    def tokens(self, prompt: str | Sequence[int], how: Sampling, limit: int = 256) -> Iterator[int]:
        """The reply's tokens, without the one that ends it; of a GGUF only when all are there."""
        tokens, limit = self._fitting(prompt, limit)
        return self._side.tokens(tokens, how, limit)

    def _fitting(self, prompt: str | Sequence[int], limit: int) -> tuple[list[int], int]:
        tokens = self.encode(prompt) if isinstance(prompt, str) else list(prompt)
        start = self._side.words.bos
        if not tokens:
            if start is None:
                raise Invalid("The prompt is empty; write something.", param="prompt")
            tokens = [start]
        if len(tokens) >= self.context:
            raise Invalid(
                f"The prompt has {len(tokens)} tokens, and the model reads {self.context} with its reply; shorten it.",
                param="prompt",
            )
        if limit < 1:
            raise Invalid(f"A reply of {limit} tokens is none; ask for 1 or more.", param="max_new_tokens")
        return tokens, min(limit, self.context - len(tokens))

    def close(self) -> None:
        """Free the model."""
        self._side.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def rendered(words: tokenizer.Words, messages: Sequence[Message]) -> str:
    """A chat in the words of the template, in a sandbox: a template comes with a file and may be anybody's."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def fail(message: str) -> None:
        raise TemplateError(message)

    def name(number: int | None) -> str:
        return "" if number is None else words.tokens[number]

    room = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    try:
        return room.from_string(words.template).render(
            messages=[dict(each) for each in messages],
            add_generation_prompt=True,
            bos_token=name(words.bos),
            eos_token=name(words.eos),
            raise_exception=fail,
        )
    except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
        raise Invalid(f"The model's template does not take that chat: {str(error)[:200]}") from error


def folder_words(folder: Path) -> tokenizer.Words:
    """The tokenizer of a folder, with as many tokens as its model has."""
    size: Any = read_json(folder / "config.json").get("vocab_size")
    if not isinstance(size, int) or not 0 < size < 1 << 22:
        raise Invalid(f"{folder / 'config.json'} tells no vocabulary; is that the folder of a trained model?")
    return tokenizer.of_folder(folder, size)
