"""How a worker of llama.cpp is set by default: decided by model, weights and machine, each part by itself."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tiny_gguf

from rolecast.backends import llamacpp_defaults
from rolecast.backends.hardware import Hardware
from rolecast.backends.llamacpp import LlamaCpp
from rolecast.backends.llamacpp_options import Options, settle
from rolecast.config.schema import Model
from rolecast.values import Listen
from rolecast.weights.gguf import Header
from rolecast.weights.layout import Layout

GIB = 1 << 30
MACHINE = Hardware(cores=4, memory_bytes=16 * GIB)


def header(**facts: Any) -> Header:
    """A decoder with 24 kB of keys and values per token."""
    plain: dict[str, Any] = {
        "architecture": "llama",
        "name": "x",
        "context_length": 8192,
        "block_count": 32,
        "embedding_length": 512,
        "parameters": 10**8,
        "quantization": "Q8_0",
        "has_chat_template": True,
        "tensor_count": 9,
        "kv_heads": (3,) * 32,
        "key_length": 64,
        "value_length": 64,
        "tensor_bytes": 10**8,
        "layout": Layout(keys=32 * 3 * 64, values=32 * 3 * 64),
    }
    return Header(**plain | facts)


def options(head: Header | None = None, *, context: int = 4096, hardware: Hardware = MACHINE, **fields: Any) -> Options:
    model = Model(**fields)
    return llamacpp_defaults.options(
        "m", model, Path("/w"), Path("/s"), header=head, hardware=hardware, context=context
    )


# Threads and waiting


def test_an_engine_takes_the_cores_it_may_use_unless_told_otherwise():
    assert options().threads == 4
    assert options(threads=2).threads == 2


@pytest.mark.parametrize(
    ("ours", "settings", "expected"),
    [
        ({}, {}, "300"),
        ({}, {"spin_count": 0}, "0"),
        ({}, {"spin_count": None}, None),
        ({"GOMP_SPINCOUNT": "7"}, {}, None),
        ({"OMP_WAIT_POLICY": "passive"}, {"spin_count": 5}, None),
        ({"OMP_NUM_THREADS": "2"}, {}, "300"),
    ],
)
def test_threads_wait_without_burning_the_processor_and_the_users_variables_win(ours, settings, expected):
    found = dict(llamacpp_defaults.environment(Model(**settings), ours, MACHINE))
    assert found.get("GOMP_SPINCOUNT") == expected


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        ("", "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.arena_max=2", "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", None),
    ],
)
def test_memory_comes_in_large_pages_unless_the_user_says_otherwise(ours, expected):
    given = {"GLIBC_TUNABLES": ours} if ours else {}
    asked = Hardware(cores=4, memory_bytes=1 << 30, large_pages="asked")
    assert dict(llamacpp_defaults.environment(Model(), given, asked)).get("GLIBC_TUNABLES") == expected
    for other in ("never", "always"):
        machine = Hardware(cores=4, memory_bytes=1 << 30, large_pages=other)
        assert "GLIBC_TUNABLES" not in dict(llamacpp_defaults.environment(Model(), given, machine))


@pytest.mark.parametrize(
    ("system", "ours", "expected"),
    [
        ("asked", {}, True),
        ("asked", {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, False),
        ("never", {}, False),
        ("always", {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, True),
    ],
)
def test_whether_it_gets_them_is_the_systems_and_the_users_matter(system, ours, expected):
    machine = Hardware(cores=4, memory_bytes=1 << 30, large_pages=system)
    assert llamacpp_defaults.takes_large_pages(ours, machine) is expected


@pytest.mark.parametrize("binary", ["", "llama-server"])
def test_both_kinds_of_engine_get_that_variable_and_keep_requests_out_of_their_logs(binary, monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    launch = LlamaCpp().plan("m", Model(binary=binary), Path("/w.gguf"), Listen())
    assert ("GOMP_SPINCOUNT", "300") in launch.env
    assert {("HF_HUB_OFFLINE", "1"), ("TRANSFORMERS_OFFLINE", "1")} <= set(launch.env)
    assert launch.kept_output


# Loading


@pytest.mark.parametrize(
    ("repacked", "settings", "gpu", "mapped"),
    [
        (9 * 10**7, {}, False, False),
        (0, {}, False, True),
        (10**6, {}, False, True),  # a few small tensors: sharing the file is worth more
        (9 * 10**7, {}, True, True),
        (9 * 10**7, {"gpu_layers": 0}, True, False),
        (9 * 10**7, {"mmap": True}, False, True),
        (0, {"mmap": False}, False, False),
    ],
)
def test_weights_are_in_memory_once(repacked, settings, gpu, mapped):
    assert settle(options(header(repacked_bytes=repacked), **settings), gpu=gpu).mmap is mapped


@pytest.mark.parametrize(
    ("settings", "gpu", "fits"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"gpu_layers": 12}, True, False),
        ({"gpu_layers": 0}, True, False),
        ({"fit": True}, False, True),
        ({"fit": False}, True, False),
    ],
)
def test_the_engine_tries_what_fits_only_where_it_chooses_layers(settings, gpu, fits):
    assert settle(options(**settings), gpu=gpu).fit is fits


@pytest.mark.parametrize(
    ("settings", "gpu", "ubatch"),
    [({}, False, 128), ({}, True, 512), ({"gpu_layers": 0}, True, 128), ({"ubatch": 64}, True, 64)],
)
def test_a_processor_computes_fewer_tokens_at_once_than_a_gpu(settings, gpu, ubatch):
    settled = settle(options(**settings), gpu=gpu)
    assert (settled.ubatch, settled.batch) == (ubatch, 2048)


# Embeddings

EMBEDS = ["embeddings"]
BOTH = ["chat", "completion", "embeddings"]


@pytest.mark.parametrize(
    ("facts", "capabilities", "setting", "chosen"),
    [
        ({"pooling": 1, "causal": False}, EMBEDS, "", ""),  # the file says
        ({"pooling": 3}, BOTH, "", ""),
        ({"pooling": 3}, EMBEDS, "mean", "mean"),
        ({}, EMBEDS, "", "last"),
        ({"pooling": 0}, EMBEDS, "", "last"),
        ({}, BOTH, "", "mean"),
        ({"causal": False}, EMBEDS, "", "mean"),
        ({}, EMBEDS, "cls", "cls"),
        ({}, ["chat"], "", ""),
        ({}, ["chat"], "mean", ""),
        (None, EMBEDS, "", ""),
        (None, BOTH, "", "mean"),
    ],
)
def test_pooling_is_what_the_weights_were_trained_for(facts, capabilities, setting, chosen):
    head = None if facts is None else header(**facts)
    assert options(head, capabilities=capabilities, pooling=setting).pooling == chosen


@pytest.mark.parametrize(
    ("facts", "settings", "ubatch"),
    [
        ({"causal": False, "pooling": 1}, {"capabilities": EMBEDS}, 4096),
        ({"causal": False, "pooling": 3}, {"capabilities": EMBEDS}, 4096),
        ({}, {"capabilities": BOTH}, 4096),
        ({}, {"capabilities": BOTH, "ubatch": 64}, 4096),
        ({}, {"capabilities": EMBEDS, "pooling": "cls"}, 4096),
        ({}, {"capabilities": EMBEDS}, 128),  # only the last token counts: it may be read in pieces
        ({"pooling": 3}, {"capabilities": BOTH}, 128),
        (None, {"capabilities": EMBEDS}, 4096),
    ],
)
def test_a_batch_holds_a_whole_input_where_the_engine_needs_it(facts, settings, ubatch):
    settled = settle(options(None if facts is None else header(**facts), **settings), gpu=False)
    assert (settled.ubatch, settled.batch) == (ubatch, ubatch)


def test_a_binary_gets_pooling_and_batch_too():
    model = Model(binary="llama-server", capabilities=BOTH, context=3000)
    argv = " ".join(LlamaCpp().plan("m", model, Path("/w.gguf"), Listen()).argv)
    assert "--embedding --pooling mean --batch-size 3000 --ubatch-size 3000" in argv


# Projectors


@pytest.fixture
def seeing(tmp_path: Path) -> Path:
    """Weights with a projector for pictures beside them."""
    import gguf

    writer = gguf.GGUFWriter(str(tmp_path / "mmproj-tiny-f16.gguf"), "clip")
    writer.add_type("mmproj")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_uint32("clip.vision.projection_dim", tiny_gguf.WIDTH)
    writer.add_tensor("v.patch_embd.weight", np.zeros((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tiny_gguf.write(tmp_path / "tiny.gguf")


@pytest.mark.parametrize(
    ("settings", "given"),
    [
        ({}, "mmproj-tiny-f16.gguf"),
        ({"projector": "none"}, ""),
        ({"projector": "/other.gguf"}, "other.gguf"),
        ({"capabilities": EMBEDS}, ""),
    ],
)
def test_a_projector_beside_the_weights_is_given_to_the_engine(seeing, settings, given):
    argv = LlamaCpp().plan("m", Model(**settings), seeing, Listen()).argv
    told = msgspec.json.decode(argv[-1], type=Options)
    assert Path(told.projector).name == given
    assert not (told.guess and told.projector)
    flags = LlamaCpp().plan("m", Model(binary="llama-server", **settings), seeing, Listen()).argv
    assert ("--mmproj" in flags) is bool(given)


def test_what_a_projector_is_for_tells_what_the_model_can(seeing):
    backend = LlamaCpp()
    assert backend.can(Model(), seeing, "vision") is True
    assert backend.can(Model(), seeing, "audio") is False
    assert backend.can(Model(projector="none"), seeing, "vision") is False
    assert backend.can(Model(projector="/none.gguf"), seeing, "vision") is None


# Reuse of prompts


@pytest.mark.parametrize(
    ("settings", "context", "memory_gib", "expected"),
    [
        ({}, 4096, 64, 768),  # 24 kB x 4096 x 8
        ({"cache_type_k": "q8_0", "cache_type_v": "q8_0"}, 4096, 64, 408),
        ({"parallel": 8}, 4096, 64, 1536),
        ({}, 131_072, 16, 1024),  # never more than its share
        ({}, 512, 16, 256),
        ({}, 4096, 2, 128),
        ({"prompt_cache": 0}, 4096, 16, 0),
        ({"prompt_cache": "64MiB"}, 4096, 1, 64),
        ({"prompt_cache": "1kB"}, 4096, 1, 1),
        ({"capabilities": EMBEDS}, 4096, 16, 0),
    ],
)
def test_the_prompt_cache_holds_the_conversations_of_a_machine(settings, context, memory_gib, expected):
    machine = Hardware(cores=1, memory_bytes=memory_gib * GIB)
    assert options(header(), context=context, hardware=machine, **settings).prompt_cache_mib == expected


def test_a_conversation_is_what_its_layers_keep_and_its_snapshots():
    machine = Hardware(cores=1, memory_bytes=1024 * GIB)
    window = header(layout=Layout(keys=2000, values=2000, window_keys=10_000, window_values=10_000, window=1024))
    of_one = 8000 * 100_000 + 5 * 40_000 * 1024
    assert options(window, context=100_000, hardware=machine).prompt_cache_mib == 8 * of_one >> 20
    states = header(layout=Layout(keys=2000, values=2000, states=10**6))
    of_one = 8000 * 100_000 + 5 * 4 * 10**6
    assert options(states, context=100_000, hardware=machine).prompt_cache_mib == 8 * of_one >> 20


def test_a_slot_is_kept_for_its_conversation_and_snapshots_are_few():
    chosen = options(header(sliding_window=512))
    assert (chosen.slot_similarity, chosen.checkpoints, chosen.cache_reuse) == (0.5, 4, 0)
    asked = options(header(), slot_similarity=0.1, checkpoints=0, cache_reuse=32)
    assert (asked.slot_similarity, asked.checkpoints, asked.cache_reuse) == (0.1, 0, 32)


@pytest.mark.parametrize(
    ("facts", "settings", "guessed"),
    [
        ({}, {}, True),
        ({}, {"speculative": "off"}, False),
        ({"sliding_window": 512}, {}, False),
        ({"sliding_window": 512}, {"speculative": "ngram"}, True),
        ({"kv_heads": (0, 3, 0, 3)}, {}, False),
        ({"kv_heads": ()}, {}, False),
        ({}, {"capabilities": BOTH}, False),
        ({"causal": False}, {"capabilities": EMBEDS}, False),
        (None, {}, False),
    ],
)
def test_words_are_guessed_where_a_wrong_guess_is_cheap(facts, settings, guessed):
    assert options(None if facts is None else header(**facts), **settings).guess is guessed


def test_a_binary_is_given_newer_flags_only_where_they_were_asked_for():
    plain = LlamaCpp().plan("m", Model(binary="llama-server"), Path("/w.gguf"), Listen()).argv
    newer = {"--fit", "--cache-ram", "--ctx-checkpoints", "--cache-reuse", "--spec-type", "--no-mmap", "--ubatch-size"}
    assert not newer & set(plain)
    model = Model(
        binary="llama-server",
        fit=False,
        prompt_cache="1GiB",
        checkpoints=2,
        cache_reuse=32,
        speculative="ngram",
        mmap=False,
        ubatch=256,
    )
    asked = " ".join(LlamaCpp().plan("m", model, Path("/w.gguf"), Listen()).argv)
    assert asked.endswith(
        "--ubatch-size 256 --no-mmap --fit off --cache-ram 1024 --ctx-checkpoints 2 --cache-reuse 32"
        " --spec-type ngram-map-k"
    )
