"""Examples as tokens, by a model's own chat template: what is learnt reads exactly as what will be asked."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rolecast.avatars import prompt
from rolecast.avatars.example import Example
from rolecast.avatars.prompt import Turn
from rolecast.avatars.training import chains
from rolecast.avatars.training.batches import Tokens
from rolecast.avatars.training.chains import Chain
from rolecast.errors import Invalid
from rolecast.speech.marks import Marks

FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")


class Encoder:
    """A tokenizer with a chat template. `longest`: tokens of an example, at most."""

    def __init__(self, folder: Path, longest: int) -> None:
        from transformers import AutoTokenizer
        from transformers.utils import logging

        logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise Invalid(f"{folder} has no tokenizer that can be read: {str(error)[:200]}") from error
        if not self._tokenizer.chat_template:
            raise Invalid(
                f"The base in {folder} has no chat template, so that nobody knows how it is spoken to; "
                "take one that was made for chats, such as smollm2-135m.",
                param="base",
            )
        if self._tokenizer.eos_token_id is None:
            raise Invalid(
                f"The base in {folder} has no token that ends a reply, so that its avatar would never stop; take "
                "another one, such as smollm2-135m.",
                param="base",
            )
        self.end = int(self._tokenizer.eos_token_id)
        self.pad = self.end if self._tokenizer.pad_token_id is None else int(self._tokenizer.pad_token_id)
        self._longest = longest
        added = self._tokenizer.added_tokens_decoder.values()
        self._marks = Marks(each.content for each in added if each.special)

    def examples(self, examples: Iterable[Example], most: int) -> tuple[list[Tokens], int]:
        """All that can be learnt from, up to `most` replies in one chat, and how many cannot: an empty reply, or turns
        that the template refuses."""
        found, refused = [], 0
        # Two characters are a token at the least, in most writing; what is too long nevertheless is taken apart.
        for chain in chains.chains(examples, most, self._longest * 4):
            joined = self.chain(chain) if len(chain.examples) > 1 else None
            if joined is not None:
                found.append(joined)
                continue
            for example in chain.examples:
                tokens = self.example(example)
                refused += tokens is None
                if tokens is not None:
                    found.append(tokens)
        return found, refused

    def chain(self, chain: Chain) -> Tokens | None:
        """Several replies in one chat; None where the template or the room does not allow it."""
        last = chain.examples[-1]
        ids: list[int] = []
        replies: list[tuple[int, int]] = []
        done = ""
        for end, example in zip(chain.ends, chain.examples, strict=True):
            turns = prompt.turns(msgspec.structs.replace(last, conversation_history=chain.said[:end]))
            before = self._text(turns)
            reply = self.plain(example.target_text).strip()
            if before is None or not reply or not before.startswith(done):
                return None
            ids += self._ids(before[len(done) :])
            start = len(ids)
            ids += [*self._ids(reply), self.end]
            replies.append((start, len(ids)))
            done = before + reply + str(self._tokenizer.eos_token)
        return Tokens(tuple(ids), tuple(replies)) if len(ids) <= self._longest else None

    def example(self, example: Example) -> Tokens | None:
        """An example; None for an empty reply, and for turns that the template refuses."""
        return self.chat(prompt.turns(example), example.target_text)

    def chat(self, turns: Sequence[Turn], reply: str, *, whole: bool = True) -> Tokens | None:
        """A chat with its reply. What is too long loses its oldest turns first, then the end of the reply. `whole`:
        whether the reply ended by itself."""
        after = self._ids(self.plain(reply).strip())
        if not after:
            return None
        after = [*after, self.end] if whole else after
        system = [each for each in turns if each.role == "system"]
        rest = [each for each in turns if each.role != "system"]
        while True:
            before = self._prompt([*system, *rest])
            if before is None:
                return None
            if len(before) + len(after) <= self._longest or len(rest) <= 1:
                break
            rest = rest[1:]
            while len(rest) > 1 and rest[0].role == "assistant":  # a chat begins with others
                rest = rest[1:]
        room = self._longest - len(after)
        if len(before) > room:  # of one long message its end, which is nearest to the reply
            before = before[-max(room, self._longest // 2) :]
            after = after[: self._longest - len(before)]
        return Tokens((*before, *after), ((len(before), len(before) + len(after)),))

    def asked(self, question: str) -> tuple[int, ...]:
        """A question to a plain assistant, up to where it answers; nothing where the template refuses that."""
        found = self.chat([Turn("user", question)], ".", whole=False)
        return found.ids[: found.replies[0][0]] if found else ()

    def text(self, tokens: Sequence[int]) -> str:
        """Tokens as text, without the model's own marks."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def plain(self, text: str) -> str:
        """Text without what the model takes for a mark of its own: nobody ends a turn by writing so."""
        return self._marks.without(text)

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _prompt(self, turns: Sequence[Turn]) -> list[int] | None:
        text = self._text(turns)
        return None if text is None else self._ids(text)

    def _text(self, turns: Sequence[Turn]) -> str | None:
        """As the template writes it, up to where a reply begins."""
        from jinja2 import TemplateError

        said = [{"role": each.role, "content": self.plain(each.content)} for each in turns]
        try:
            return str(self._tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True))
        except TemplateError:
            return None

    def save(self, folder: Path) -> None:
        """Write the tokenizer, the template within its configuration."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._tokenizer.save_pretrained(folder, save_jinja_files=False)
        # No path of this machine is left in what may be given away.
        config = json.loads((folder / "tokenizer_config.json").read_text())
        for key in ("name_or_path", "tokenizer_file", "local_files_only"):
            config.pop(key, None)
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1, sort_keys=True, ensure_ascii=False))
