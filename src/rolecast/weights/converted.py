"""Translation models as ctranslate2's converter leaves them: a folder with `model.bin`, a vocabulary and a tokenizer.

Looks at names and small files only.
"""

import functools
import re
from pathlib import Path

import msgspec

from rolecast.config.source import is_converted
from rolecast.errors import UNREADABLE

MODEL = "model.bin"
VOCABULARIES = ("shared_vocabulary.json", "shared_vocabulary.txt")
TOKENIZERS = (
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "spm.model",
    "flores200_sacrebleu_tokenizer_spm.model",
)
"""SentencePiece's model, by the names that it goes by."""
BESIDE = ("config.json", *VOCABULARIES, *TOKENIZERS)
"""What belongs to a model and lies in its folder."""
_LANGUAGE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")


def is_one(path: str | Path) -> bool:
    """Whether a file is called as the file of such a model is."""
    return is_converted(str(path))


def lacks(folder: Path) -> str:
    """Which file a folder lacks to be such a model, and where to get it; '' = none."""
    if not (folder / MODEL).is_file():
        return f"the folder {folder} has no {MODEL}; convert the model with ct2-transformers-converter"
    if _first(folder, VOCABULARIES) is None:
        return f"{VOCABULARIES[0]} is missing in {folder}; copy it there, or convert the model again"
    if tokenizer(folder) is None:
        return f"{TOKENIZERS[0]} is missing in {folder}; copy it there from the repository of the original model"
    return ""


def tokenizer(folder: Path) -> Path | None:
    """The model of SentencePiece in that folder."""
    return _first(folder, TOKENIZERS)


@functools.lru_cache(maxsize=8)
def codes(folder: Path) -> frozenset[str]:
    """The languages that the model has tokens for, by NLLB's codes. Read once; raises OSError, ValueError."""
    path = _first(folder, VOCABULARIES)
    if path is None:
        return frozenset()
    raw = path.read_bytes()
    try:
        words = msgspec.json.decode(raw, type=list[str]) if path.suffix == ".json" else raw.decode().splitlines()
    except UNREADABLE as error:
        raise ValueError(f"{path.name} is no list of tokens: {error}") from error
    return frozenset(word for word in words if _LANGUAGE.fullmatch(word))


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)
