"""Models for ctranslate2 from a hub: the file that is named and what belongs to it, all or nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hf_server import Hub, reached, weights

from rolecast import sources
from rolecast.errors import SourceError
from rolecast.sources.store import Progress

FILES = {
    "model.bin": b"binary" * 100,
    "config.json": b"{}",
    "shared_vocabulary.txt": b"eng_Latn\n",
    "sentencepiece.bpe.model": b"spm",
    "README.md": b"words",
    "tokenizer.json": b"{}",
}
NAME = "hf:owner/nllb/model.bin"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with reached(Hub("owner/nllb", dict(FILES)), monkeypatch, tmp_path) as found:
        yield found


def pull(store: Path, text: str = NAME) -> Path:
    said: list[Progress] = []
    return sources.pull(sources.parse(text), store, said.append)


def left(store: Path) -> list[str]:
    return sorted(p.name for p in store.rglob("*") if p.is_file() and p.parent.name != ".locks")


def test_the_model_comes_with_vocabulary_and_tokenizer_and_goes_with_them(hub: Hub, tmp_path: Path) -> None:
    store = tmp_path / "s"
    path = pull(store)
    assert path == store / "hf/owner/nllb/main/model.bin"
    wanted = ["config.json", "model.bin", "sentencepiece.bpe.model", "shared_vocabulary.txt"]
    assert left(store) == sorted([*wanted, "model.bin.source.json"])
    assert sources.locate(sources.parse(NAME), store) == path
    seen = len(hub.seen)
    assert pull(store) == path
    assert len(hub.seen) == seen
    (stored,) = sources.stored(store)
    assert stored.bytes == sum(len(FILES[name]) for name in wanted)
    sources.remove(store, sources.parse(NAME))
    assert left(store) == []


def test_the_model_is_last_so_that_one_that_is_there_is_whole(hub: Hub, tmp_path: Path) -> None:
    store = tmp_path / "s"
    hub.blob_statuses = [404]
    with pytest.raises(SourceError):
        pull(store)
    assert sources.locate(sources.parse(NAME), store) is None
    assert pull(store).is_file()


def test_a_repository_without_a_tokenizer_is_refused_before_gigabytes_come(hub: Hub, tmp_path: Path) -> None:
    del hub.files["sentencepiece.bpe.model"]
    with pytest.raises(SourceError, match=r"sentencepiece\.bpe\.model"):
        pull(tmp_path / "s")
    assert left(tmp_path / "s") == []


def test_without_a_name_the_error_says_how_to_write_it(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"hf:owner/nllb/model\.bin, with backend: ctranslate2"):
        pull(tmp_path / "s", "hf:owner/nllb")


def test_a_folder_in_the_repository_may_be_named(hub: Hub, tmp_path: Path) -> None:
    hub.files = {f"int8/{name}": data for name, data in FILES.items()} | {"tiny-Q8_0.gguf": weights(1)}
    path = pull(tmp_path / "s", "hf:owner/nllb/int8/model.bin")
    assert path.parent.name == "int8"
    assert (path.parent / "sentencepiece.bpe.model").is_file()
    assert pull(tmp_path / "s", "hf:owner/nllb/tiny-Q8_0.gguf").name == "tiny-Q8_0.gguf"


@pytest.mark.parametrize("text", ["hf:owner/nllb/pytorch_model.bin", "hf:owner/nllb/../model.bin", "hf:o/n/x.pt"])
def test_no_other_binary_may_be_named(text: str) -> None:
    with pytest.raises(SourceError):
        sources.parse(text)
