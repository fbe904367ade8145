"""Folders of safetensors, from a hub and on this machine: all of a model or nothing, and no code beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_folder
from hf_server import Hub, reached, weights

from rolecast import backends, sources
from rolecast.config.load import read
from rolecast.errors import SourceError
from rolecast.readiness import hindrances
from rolecast.sources.store import Progress

FILES = {
    "config.json": b'{"max_position_embeddings": 512}',
    "model-00001-of-00002.safetensors": b"one" * 50,
    "model-00002-of-00002.safetensors": b"two" * 50,
    "model.safetensors.index.json": (
        b'{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    ),
    "consolidated.safetensors": b"the same again" * 50,
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{}",
    "chat_template.jinja": b"{{ x }}",
    "modeling_own.py": b"import os",
    "pytorch_model.bin": b"pickle",
    "README.md": b"words",
    "onnx/config.json": b"{}",
}
WANTED = (
    *("chat_template.jinja", "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
    *("model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json"),
)
NAME = "hf:owner/model/config.json"
CONFIG = "models: {{m: {{backend: {backend}, source: {source}}}}}\nroles: {{standard: [m]}}\n"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with reached(Hub("owner/model", dict(FILES)), monkeypatch, tmp_path) as found:
        yield found


def pull(store: Path, text: str = NAME) -> Path:
    said: list[Progress] = []
    return sources.pull(sources.parse(text), store, said.append)


def left(store: Path) -> list[str]:
    return sorted(p.name for p in store.rglob("*") if p.is_file() and p.parent.name != ".locks")


@pytest.mark.parametrize("backend", ["mlx", "vllm"])
def test_a_bare_repository_means_its_folder_to_a_backend_that_runs_folders(backend: str) -> None:
    text = CONFIG.format(backend=backend, source="hf:owner/model@v1")
    assert read(text, name="x", backends=backends.table()).models["m"].source == "hf:owner/model@v1/config.json"
    text = CONFIG.format(backend="llamacpp", source="hf:owner/model")
    assert read(text, name="x", backends=backends.table()).models["m"].source == "hf:owner/model"


def test_weights_settings_and_tokenizer_come_and_no_code_and_no_pickle(hub: Hub, tmp_path: Path) -> None:
    store = tmp_path / "s"
    path = pull(store)
    assert path == store / "hf/owner/model/main/config.json"
    assert left(store) == sorted([*WANTED, "config.json.source.json"])
    assert sources.locate(sources.parse(NAME), store) == path
    seen = len(hub.seen)
    assert pull(store) == path
    assert len(hub.seen) == seen
    (stored,) = sources.stored(store)
    assert stored.bytes == sum(len(FILES[name]) for name in WANTED)
    sources.remove(store, sources.parse(NAME))
    assert left(store) == []


def test_a_pull_that_was_cut_off_left_no_model_and_goes_on(hub: Hub, tmp_path: Path) -> None:
    store, source = tmp_path / "s", sources.parse(NAME)
    hub.blob_statuses = [404]
    with pytest.raises(SourceError):
        pull(store)
    assert sources.locate(source, store) is None
    path = pull(store)
    (path.parent / "model-00002-of-00002.safetensors").unlink()
    assert sources.locate(source, store) is None
    assert pull(store) == path
    assert sources.locate(source, store) == path


def test_a_folder_of_the_hubs_own_cache_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    repo = tmp_path / "cache" / "models--owner--model"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc")
    path = tiny_folder.write(repo / "snapshots" / "abc")
    source = sources.parse(NAME)
    assert sources.locate(source, tmp_path / "s") == path
    (path.parent / "model.safetensors").unlink()
    assert sources.locate(source, tmp_path / "s") is None


def test_a_folder_on_this_machine_is_one_model_unless_something_is_missing(tmp_path: Path) -> None:
    path = tiny_folder.write(tmp_path / "tiny")
    for text in (f"file:{path.parent}", f"file:{path}"):
        assert sources.locate(sources.parse(text), tmp_path / "s") == path
    (path.parent / "tokenizer.json").unlink()
    for text in (f"file:{path.parent}", f"file:{path}"):
        source = sources.parse(text)
        assert sources.locate(source, tmp_path / "s") is None
        assert "tokenizer.json is missing" in sources.absence(source, tmp_path / "s")
    (path.parent / "x.gguf").write_bytes(weights(1))
    assert sources.locate(sources.parse(f"file:{path.parent}"), tmp_path / "s") == path.parent / "x.gguf"


def test_check_says_what_keeps_a_folder_from_running(tmp_path: Path) -> None:
    path = tiny_folder.write(tmp_path / "tiny", context=512)
    config = read(CONFIG.format(backend="mlx", source=f"file:{path.parent}"), name="x", backends=backends.table())
    lines = hindrances(config, config.models["m"])
    assert [line for line in lines if line.startswith("source")] == []
    (path.parent / "model.safetensors").unlink()
    assert any("no file that ends in .safetensors" in line for line in hindrances(config, config.models["m"]))


def test_a_repository_without_gguf_says_which_backends_run_it(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="backend: mlx or vllm"):
        pull(tmp_path / "s", "hf:owner/model")


def test_a_repository_without_weights_is_refused_before_anything_comes(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"config.json": b"{}", "tokenizer.json": b"{}"}
    with pytest.raises(SourceError, match=r"no \.safetensors"):
        pull(tmp_path / "s")
    assert left(tmp_path / "s") == []
