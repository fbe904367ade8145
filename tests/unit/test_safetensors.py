"""Folders of safetensors: how large such a model is, and files that want to be larger than they are."""

import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.errors import SourceError
from rolecast.weights import safetensors
from rolecast.weights.safetensors import folder_estimate

CONFIG = {
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
}


def file(path: Path, header: Any, data: int = 0) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(data))
    return path


def tensor(shape: list[int], start: int, end: int, dtype: str = "BF16") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    file(tmp_path / "model-00001-of-00002.safetensors", {"a": tensor([10, 10], 0, 200), "__metadata__": {}}, 200)
    file(tmp_path / "model-00002-of-00002.safetensors", {"b": tensor([100], 0, 400, "F32")}, 400)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def test_a_folder_tells_weights_and_cache(folder: Path) -> None:
    found = folder_estimate(folder, 1000, 3, engine_bytes=7)
    parts = dict(found.parts)
    assert (parts["engine"], parts["weights"]) == (7, 600)
    assert parts["cache"] == 2 * 4 * 2 * 8 * 2 * 1024 * 3  # keys and values, layers, heads, width, bytes, cells, slots
    assert found.loaded.ram == 607
    assert found.most.ram == sum(parts.values())


def test_the_context_is_what_it_was_trained_on_at_most(folder: Path) -> None:
    whole = folder_estimate(folder, 0, 1)
    assert whole == folder_estimate(folder, 100_000, 1) == folder_estimate(folder, 4096, 1)


def test_a_nested_configuration_and_heads_of_their_own_size_are_read(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"text_config": CONFIG | {"head_dim": 16}, "model_type": "x"}))
    assert dict(folder_estimate(folder, 256, 1).parts)["cache"] == 2 * 4 * 2 * 16 * 2 * 256


def test_an_estimate_follows_the_files(folder: Path) -> None:
    before = folder_estimate(folder, 256, 1)
    file(folder / "model-00002-of-00002.safetensors", {"b": tensor([200], 0, 800, "F32")}, 800)
    assert folder_estimate(folder, 256, 1).loaded.ram == before.loaded.ram + 400


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", 100) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{x",
    ],
)
def test_a_damaged_file_is_refused(folder: Path, content: bytes) -> None:
    (folder / "model-00001-of-00002.safetensors").write_bytes(content)
    with pytest.raises(SourceError, match="not usable"):
        folder_estimate(folder, 256, 1)


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": tensor([10], 0, 30)},
        {"a": tensor([10], 0, 1 << 40)},
        {"a": tensor([10], -5, 15)},
        {"a": tensor([10], 30, 10)},
        {"a": tensor([-10], 0, 20)},
        {"a": tensor([1 << 60, 1 << 60], 0, 20)},
        {"a": tensor([10], 0, 20), "b": tensor([10], 0, 20)},
        {"a": 1},
    ],
)
def test_a_tensor_that_lies_elsewhere_or_is_no_tensor_is_refused(folder: Path, tensors: Any) -> None:
    file(folder / "model-00001-of-00002.safetensors", tensors, 20)
    with pytest.raises(SourceError, match="not usable"):
        folder_estimate(folder, 256, 1)


@pytest.mark.parametrize(
    "config",
    [b"", b"[", b'{"num_hidden_layers": 4294967295}', b'{"num_attention_heads": -1}', b'{"hidden_size": 1e300}'],
)
def test_an_absurd_configuration_is_refused(folder: Path, config: bytes) -> None:
    (folder / "config.json").write_bytes(config)
    with pytest.raises(SourceError, match=r"config\.json is not usable"):
        folder_estimate(folder, 256, 1)


def test_a_folder_without_weights_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no"):
        folder_estimate(tmp_path, 256, 1)


@given(st.binary(max_size=300), st.integers(0, 2**64 - 1))
def test_any_bytes_end_in_a_size_or_a_source_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, length: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    path.write_bytes(struct.pack("<Q", length % (2 * len(content) + 1)) + content)
    tracemalloc.start()
    try:
        assert 0 <= safetensors.tensor_bytes(path) <= len(content)
    except SourceError:
        pass
    finally:
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()
