"""What a token and a conversation cost, by the architecture's own rules, and headers that no model can have."""

import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import tiny_gguf
from hf_server import gguf_file, text
from hypothesis import given
from hypothesis import strategies as st

from rolecast.backends.llamacpp import LlamaCpp
from rolecast.config.schema import Model
from rolecast.errors import SourceError
from rolecast.weights import gguf, layout
from rolecast.weights.layout import Layout

HEADS = (2,) * 12


def laid(architecture: str, heads: tuple[int, ...] = HEADS, **settings: Any) -> Layout:
    found = {f"{architecture}.{name.replace('__', '.')}": value for name, value in settings.items()}
    return layout.layout(found, architecture, len(heads), keys=10, values=5, kv_heads=heads)


def test_a_plain_decoder_keeps_keys_and_values_of_every_layer() -> None:
    found = laid("llama", attention__sliding_window=4096)
    assert (found.keys, found.values, found.window, found.states) == (240, 120, 0, 0)


@pytest.mark.parametrize(
    ("architecture", "settings", "full"),
    [
        ("gemma3", {}, 2),
        ("gemma2", {}, 6),
        ("gpt-oss", {}, 6),
        ("smallthinker", {}, 3),
        ("cohere2", {"attention__sliding_window_pattern": 3}, 4),
        ("gemma4", {"attention__sliding_window_pattern": (True, True, False) * 4}, 4),
        ("phi3", {}, 12),
        ("never-heard-of", {}, 12),
    ],
)
def test_some_layers_see_a_window_as_the_engine_has_it(architecture: str, settings: dict[str, Any], full: int) -> None:
    found = laid(architecture, attention__sliding_window=512, **settings)
    assert (found.keys, found.window_keys) == (20 * full, 20 * (12 - full))
    assert found.window == (512 if full < 12 else 0)


def test_window_layers_may_have_heads_of_another_size() -> None:
    pattern = (True, False) * 6
    found = laid(
        "gemma4",
        attention__sliding_window=512,
        attention__sliding_window_pattern=pattern,
        attention__key_length_swa=4,
        attention__value_length_swa=3,
    )
    assert (found.keys, found.values, found.window_keys, found.window_values) == (120, 60, 48, 36)


def test_layers_that_share_the_cache_of_others_have_none() -> None:
    assert laid("gemma4", attention__shared_kv_layers=4).keys == 160
    assert laid("gemma3n", (1,) * 30).keys == 200


def test_latent_attention_keeps_no_values() -> None:
    found = laid("deepseek2", (1,) * 12, attention__key_length_mla=192, attention__value_length_mla=128)
    assert (found.keys, found.values) == (120, 0)


@pytest.mark.parametrize(
    ("architecture", "heads", "settings", "cached", "states"),
    [
        ("mamba", (0,) * 12, {}, 0, 12),
        ("granitehybrid", (0, 0, 0, 2) * 3, {}, 3, 9),
        ("falcon-h1", HEADS, {}, 12, 12),
        ("qwen3next", HEADS, {}, 3, 9),
        ("qwen35", HEADS, {"full_attention_interval": 6}, 2, 10),
        ("jamba", HEADS, {"attention__recurrent_layers": (True, False) * 6}, 6, 6),
    ],
)
def test_layers_with_a_state_keep_no_tokens(
    architecture: str, heads: tuple[int, ...], settings: dict[str, Any], cached: int, states: int
) -> None:
    ssm = {"ssm__conv_kernel": 4, "ssm__inner_size": 100, "ssm__state_size": 16, "ssm__group_count": 2}
    found = laid(architecture, heads, **ssm, **settings)
    assert found.keys == 20 * cached
    assert found.states == states * (3 * (100 + 2 * 2 * 16) + 16 * 100)


def test_states_of_other_kinds_have_their_own_sizes() -> None:
    assert laid("rwkv7", (0,) * 12, embedding_length=64, wkv__head_size=8).states == 12 * 64 * (2 + 8)
    assert laid("lfm2", (0, 2) * 6, embedding_length=64, shortconv__l_cache=3).states == 6 * 64 * 2
    kimi = laid("kimi-linear", (0, 2) * 6, attention__head_count=4, kda__head_dim=8, ssm__conv_kernel=4)
    assert kimi.states == 6 * 4 * 8 * (3 * 3 + 8)


def test_encoders_keep_nothing() -> None:
    assert laid("bert") == laid("gemma-embedding") == Layout()


# What no model can have


NAMES = ("block_count", *layout._MOST)


def edited(folder: Path, key: str, value: int) -> Path:
    path = folder / "x.gguf"
    path.write_bytes(tiny_gguf.with_number(tiny_gguf.write(path).read_bytes(), f"llama.{key}", value))
    return path


@pytest.mark.parametrize("key", NAMES)
def test_an_absurd_number_is_refused_with_its_name_before_any_engine_sees_it(tmp_path: Path, key: str) -> None:
    path = edited(tmp_path, key, 2**32 - 1)
    with pytest.raises(SourceError, match=rf"its {key} is 4294967295, and"):
        gguf.read(path)
    assert LlamaCpp().estimate(Model(source="file:x"), path) is None


def test_an_absurd_number_of_one_layer_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(
        gguf_file(("llama.attention.head_count_kv", 9, struct.pack("<IQ2i", 5, 2, 4, -1)), tensors=b"", count=0)
    )
    with pytest.raises(SourceError, match="head_count_kv is -1"):
        gguf.read(path)


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 2**32 - 1)), max_size=6),
    st.sampled_from(["llama", "gemma3", "qwen3next", "rwkv7", "deepseek2", "bert", "lfm2"]),
    st.integers(0, 2**31),
    st.integers(1, 256),
)
def test_any_header_is_refused_or_estimated_at_once_and_with_little_memory(
    tmp_path_factory: pytest.TempPathFactory,
    numbers: list[tuple[str, int]],
    architecture: str,
    context: int,
    parallel: int,
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.gguf"
    settings = [(f"{architecture}.{key}", 4, struct.pack("<I", value)) for key, value in numbers]
    path.write_bytes(gguf_file(("general.architecture", 8, text(architecture)), *settings))
    tracemalloc.start()
    began = time.process_time()
    try:
        header = gguf.read(path)
    except SourceError:
        pass
    else:
        assert header.layout.keys >= 0
        found = LlamaCpp().estimate(Model(source="file:x", context=context, parallel=parallel), path)
        assert found is not None or header.side
        if found is not None:
            assert 0 < found.loaded.ram <= found.most.ram
            assert all(count > 0 for _, count in found.parts)
    finally:
        spent, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 << 20
    assert spent < 1
