"""A byte-level BPE in its two writings: tokenizer.json of the library `tokenizers`, and the keys of GGUF.

Which words a text is cut into before merging has no pattern in GGUF, only a name (`tokenizer.ggml.pre`) that llama.cpp
knows the pattern of. A tokenizer whose cutting has no name here is refused: with a wrong one, nearly all text is read
right, and digits, or other scripts, are not.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rolecast.avatars.export.tensors import read_json
from rolecast.errors import Invalid

if TYPE_CHECKING:
    from gguf import GGUFReader, GGUFWriter
    from tokenizers import Tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5
"""Kinds of tokens in GGUF."""
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
_DIGITS = {"type": "Digits", "individual_digits": True}
_CUTS: dict[str, list[dict[str, Any]]] = {"gpt-2": [_BYTES], "smollm": [_DIGITS, _BYTES]}
"""Names that llama.cpp gives to ways of cutting, and what they are called in tokenizer.json."""
_ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "</s>", "<eos>", "<EOT>", "[EOS]")
"""Tokens that llama.cpp ends a reply with whatever the file says, by their names."""


class Words(msgspec.Struct, frozen=True):
    """A tokenizer, whole: what both writings say."""

    tokens: tuple[str, ...]
    """By number; bytes are written as GPT-2 writes them."""
    kinds: tuple[int, ...]
    merges: tuple[str, ...]
    """`Ġ t`: two tokens that become one, the most frequent first."""
    cut: str
    """A key of `_CUTS`."""
    bos: int | None = None
    eos: int | None = None
    unknown: int | None = None
    pad: int | None = None
    template: str = ""
    """How a chat is written, in Jinja."""

    @property
    def ends(self) -> frozenset[int]:
        """The tokens that end a reply, here as in llama.cpp."""
        named = {number for number, token in enumerate(self.tokens) if token in _ENDS}
        return frozenset(named if self.eos is None else named | {self.eos})


def of_folder(folder: Path, size: int) -> Words:
    """The tokenizer of a folder as transformers writes it; `size` tokens, as many as the embedding has rows.

    Raises Invalid for one that GGUF cannot say.
    """
    whole = read_json(folder / "tokenizer.json")
    told = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").exists() else {}
    model = whole.get("model") or {}
    if model.get("type") != "BPE" or model.get("byte_fallback") or whole.get("normalizer"):
        raise Invalid("Only a byte-level BPE without a normalizer can be exported; this tokenizer is another.")
    tokens, kinds = _tokens(whole, size)
    numbers = {token: number for number, token in enumerate(tokens)}

    def number(name: str) -> int | None:
        said = told.get(f"{name}_token")
        return numbers.get(said.get("content", "") if isinstance(said, dict) else said or "")

    return Words(
        tokens=tuple(tokens),
        kinds=tuple(kinds),
        merges=tuple(each if isinstance(each, str) else " ".join(each) for each in model.get("merges", ())),
        cut=_cut(whole.get("pre_tokenizer")),
        bos=number("bos"),
        eos=number("eos"),
        unknown=number("unk"),
        pad=number("pad"),
        template=_template(folder, told),
    )


def of_gguf(reader: "GGUFReader") -> Words:
    """The tokenizer of a GGUF. Raises Invalid for a kind that nothing can be trained with here."""

    def said(name: str, default: Any = None) -> Any:
        field = reader.get_field(f"tokenizer.{name}")
        return default if field is None else field.contents()

    kind, cut = said("ggml.model", ""), said("ggml.pre", "")
    if kind != "gpt2" or cut not in _CUTS:
        raise Invalid(
            f"This model cuts text in a way that cannot be trained with here ({kind}, {cut or 'no name'}); "
            f"use one with a byte-level BPE of the kind {' or '.join(_CUTS)}, such as smollm2-135m."
        )
    tokens = said("ggml.tokens", [])
    return Words(
        tokens=tuple(tokens),
        kinds=tuple(said("ggml.token_type", [NORMAL] * len(tokens))),
        merges=tuple(said("ggml.merges", [])),
        cut=cut,
        bos=said("ggml.bos_token_id"),
        eos=said("ggml.eos_token_id"),
        unknown=said("ggml.unknown_token_id"),
        pad=said("ggml.padding_token_id"),
        template=said("chat_template", ""),
    )


def add(writer: "GGUFWriter", words: Words) -> None:
    """Write the tokenizer's keys of a GGUF. Nothing is put before a prompt: its template says how one begins."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(words.cut)
    writer.add_token_list(list(words.tokens))
    writer.add_token_types(list(words.kinds))
    writer.add_token_merges(list(words.merges))
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    for write, number in (
        (writer.add_bos_token_id, words.bos),
        (writer.add_eos_token_id, words.eos),
        (writer.add_unk_token_id, words.unknown),
        (writer.add_pad_token_id, words.pad),
    ):
        if number is not None:
            write(number)
    if words.template:
        writer.add_chat_template(words.template)


def tokenizer(words: Words) -> "Tokenizer":
    """The same as an object that cuts text and joins it again."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    numbers = {token: number for number, token in enumerate(words.tokens)}
    pairs = []
    for merge in words.merges:
        left, found, right = merge.partition(" ")
        if not found or left not in numbers or right not in numbers or left + right not in numbers:
            raise Invalid(f"The tokenizer merges {merge[:40]!r}, which are none of its tokens; the file is damaged.")
        pairs.append((left, right))
    made = Tokenizer(models.BPE(vocab=numbers, merges=pairs, fuse_unk=False))
    cuts: Any = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if words.cut == "smollm":
        cuts = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), cuts])
    made.pre_tokenizer = cuts
    made.decoder = decoders.ByteLevel()
    for kind, special in ((CONTROL, True), (USER_DEFINED, False)):
        marked = [
            AddedToken(token, special=special, normalized=False)
            for token, each in zip(words.tokens, words.kinds, strict=True)
            if each == kind
        ]
        (made.add_special_tokens if special else made.add_tokens)(marked)
    return made


def _tokens(whole: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Tokens by number, and kinds. Rows of the embedding that no token has get names of their own."""
    vocabulary = whole["model"].get("vocab") or {}
    tokens = [f"[UNUSED{number}]" for number in range(size)]
    kinds = [UNUSED] * size
    added = {each["content"]: each for each in whole.get("added_tokens") or ()}
    for token, number in [*vocabulary.items(), *((name, each["id"]) for name, each in added.items())]:
        if not 0 <= number < size:
            raise Invalid(f"The tokenizer has token {number}, but the model only {size}; they are not of one training.")
        tokens[number] = token
        kinds[number] = NORMAL
        if token in added:
            kinds[number] = CONTROL if added[token].get("special") else USER_DEFINED
    return tokens, kinds


def _cut(said: Any) -> str:
    """The name of a pre-tokenizer."""
    outer = said if isinstance(said, dict) else {}
    parts: list[Any] = outer.get("pretokenizers", []) if outer.get("type") == "Sequence" else [outer]
    for name, wanted in _CUTS.items():
        if len(parts) == len(wanted) and all(
            want.items() <= part.items() for want, part in zip(wanted, parts, strict=True)
        ):
            return name
    raise Invalid(
        f"The tokenizer cuts text in a way that GGUF has no name for ({json.dumps(said)[:200]}); "
        "use a ByteLevel pre-tokenizer without a prefix space, with or without single digits before it."
    )


def _template(folder: Path, told: dict[str, Any]) -> str:
    apart = folder / "chat_template.jinja"
    if apart.exists():
        return apart.read_text("utf-8")
    said = told.get("chat_template")
    return said if isinstance(said, str) else ""
