"""The GGUF header reader: honest files are read, hostile ones end in a typed error with flat memory."""

import os
import struct
import tracemalloc
from pathlib import Path

import pytest
from hf_server import gguf_file, text
from hypothesis import given
from hypothesis import strategies as st

from rolecast.errors import SourceError
from rolecast.weights import gguf, gguf_tensors
from rolecast.weights.layout import Layout

HUGE = struct.pack("<Q", 1 << 63)


def write(folder: Path, content: bytes) -> Path:
    path = folder / "m.gguf"
    path.write_bytes(content)
    return path


def tensor(elements: int, kind: int, offset: int) -> bytes:
    return text("w") + struct.pack("<IQIQ", 1, elements, kind, offset)


def test_a_header_tells_what_the_model_is(tmp_path: Path) -> None:
    content = gguf_file(
        ("general.name", 8, text("Tiny")),
        ("llama.context_length", 4, struct.pack("<I", 2048)),
        ("llama.embedding_length", 4, struct.pack("<I", 64)),
        ("general.file_type", 4, struct.pack("<I", 15)),
        ("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + text("a") + text("b")),
        ("tokenizer.ggml.scores", 9, struct.pack("<IQ", 6, 2) + bytes(8)),
        ("tokenizer.chat_template", 8, text("{{ messages }}")),
        tensors=tensor(64, 2, 0),
        count=1,
        data=bytes(36),
    )
    header = gguf.read(write(tmp_path, content))
    assert header == gguf.Header(
        "llama",
        "Tiny",
        2048,
        2,
        64,
        64,
        "Q4_K_M",
        True,
        1,
        kv_heads=(0, 0),
        key_length=64,
        value_length=64,
        vocabulary=2,
        tensor_bytes=36,
    )


def number(key: str, value: int) -> tuple[str, int, bytes]:
    return key, 4, struct.pack("<I", value)


def test_a_header_tells_what_an_engine_will_need(tmp_path: Path) -> None:
    content = gguf_file(
        number("llama.embedding_length", 64),
        number("llama.attention.head_count", 4),
        ("llama.attention.head_count_kv", 9, struct.pack("<IQ2i", 5, 2, 1, 2)),
        number("llama.attention.key_length", 32),
        number("llama.attention.sliding_window", 512),
        number("llama.pooling_type", 3),
        ("tokenizer.chat_template", 8, text("x" * 300 + "{% if tools %}")),
        ("general.type", 8, text("model")),
        tensors=text("token_embd.weight")
        + struct.pack("<IQQIQ", 2, 32, 2, 2, 0)
        + text("blk.0.w")
        + struct.pack("<IQQIQ", 2, 32, 1, 2, 64),
        count=2,
        data=bytes(128),
    )
    header = gguf.read(write(tmp_path, content))
    assert (header.kv_heads, header.key_length, header.value_length) == ((1, 2), 32, 16)
    assert header.layout == Layout(keys=3 * 32, values=3 * 16)
    assert (header.sliding_window, header.pooling, header.template_tools, header.generates) == (512, 3, True, True)
    assert header.tensor_bytes == 54
    assert header.repacked_bytes == 54, "the embedding is the output, too"


@pytest.mark.parametrize(("kind", "architecture"), [("mmproj", "clip"), ("imatrix", "llama"), ("adapter", "llama")])
def test_what_is_no_model_generates_nothing(tmp_path: Path, kind: str, architecture: str) -> None:
    content = gguf_file(("general.type", 8, text(kind)), ("general.architecture", 8, text(architecture)))
    assert not gguf.read(write(tmp_path, content)).generates


def pairs(count: int) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, count)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGUF",
        b"<html>please log in to see this page</html>",
        b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
        b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
        gguf_file()[:60],
        pairs(1 << 62),
        pairs(60_000),
        b"GGUF" + struct.pack("<IQQ", 3, 1 << 40, 0),
        pairs(0),
        pairs(1) + HUGE,
        pairs(1) + text("k") + struct.pack("<I", 8) + HUGE,
        pairs(1) + text("k") + struct.pack("<I", 99),
        pairs(1) + text("k") + struct.pack("<IIQ", 9, 4, 1 << 62),
        pairs(1) + text("k") + struct.pack("<IIQ", 9, 8, 1 << 62),
        pairs(1) + text("k") + struct.pack("<IIQ", 9, 9, 1),
        gguf_file(("llama.block_count", 4, struct.pack("<I", 0))),
        gguf_file(("llama.block_count", 4, struct.pack("<I", 0xFFFFFFFF))),
        gguf_file(("general.alignment", 4, struct.pack("<I", 33))),
        gguf_file(tensors=tensor(64, 0, 0), count=1, data=bytes(255)),
        gguf_file(tensors=tensor(64, 0, 1 << 40), count=1, data=bytes(256)),
        gguf_file(tensors=tensor(1 << 63, 0, 0), count=1, data=bytes(256)),
        gguf_file(tensors=tensor(33, 2, 0), count=1, data=bytes(256)),
        gguf_file(tensors=tensor(1, 0, 1), count=1, data=bytes(256)),
        gguf_file(tensors=text("w") + struct.pack("<I", 5) + bytes(64), count=1),
    ],
)
def test_a_damaged_or_hostile_header_is_a_source_error_and_costs_no_memory(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, content)
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match="not a usable GGUF"):
            gguf.read(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_every_cut_of_a_good_file_is_refused(tmp_path: Path) -> None:
    whole = gguf_file(tensors=tensor(8, 0, 0), count=1, data=bytes(32))
    for end in range(len(whole)):
        with pytest.raises(SourceError, match="not a usable GGUF"):
            gguf.read(write(tmp_path, whole[:end]))


@given(st.binary(max_size=200))
def test_any_bytes_after_the_magic_end_in_a_header_or_a_source_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = write(tmp_path_factory.getbasetemp(), b"GGUF\x03\0\0\0" + content)
    try:
        gguf.read(path)
    except SourceError:
        pass


def test_the_limit_bounds_how_much_header_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, gguf_file(("x", 8, text("y" * 5000))))
    assert gguf.read(path).architecture == "llama"
    with pytest.raises(SourceError, match="ends inside the header"):
        gguf.read(path, limit=4096)


def test_a_later_part_of_a_split_model_needs_no_architecture(tmp_path: Path) -> None:
    part = pairs(2) + text("split.no") + struct.pack("<IH", 2, 1) + text("split.count") + struct.pack("<IH", 2, 3)
    header = gguf.read(write(tmp_path, part))
    assert (header.architecture, header.split_no, header.split_count) == ("", 1, 3)


def test_a_pipe_is_refused_without_opening_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.gguf")
    with pytest.raises(SourceError, match="not a regular file"):
        gguf.read(tmp_path / "p.gguf")


def test_the_tables_of_types_agree_with_the_reference_package() -> None:
    reference = pytest.importorskip("gguf")
    sizes = {int(k): v for k, v in reference.GGML_QUANT_SIZES.items()}
    assert {k: v for k, v in gguf_tensors.BLOCKS.items() if k in sizes} == sizes
    known = {int(t): t.name.removeprefix("MOSTLY_").removeprefix("ALL_") for t in reference.LlamaFileType}
    assert {k: v for k, v in known.items() if k != 1024} == gguf.FILE_TYPES


def test_what_is_known_of_a_file_follows_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, gguf_file(("general.name", 8, text("first"))))
    assert gguf.known(path) is gguf.known(path)
    write(tmp_path, gguf_file(("general.name", 8, text("another"))))
    assert (header := gguf.known(path))
    assert header.name == "another"
    assert gguf.known(write(tmp_path, b"<html>")) is None
    assert gguf.known(tmp_path / "absent.gguf") is None
