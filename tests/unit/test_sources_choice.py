"""Which file of a folder is the model: by what headers say, split models as wholes, projectors beside them."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hf_server import gguf_file, text

from rolecast import sources, weights
from rolecast.config.schema import Model
from rolecast.errors import SourceError
from rolecast.sources.names import choose
from rolecast.weights import gguf

Place = Callable[[Path], tuple[Path, str]]


def number(key: str, value: int) -> tuple[str, int, bytes]:
    return key, 4, struct.pack("<I", value)


def word(key: str, value: str) -> tuple[str, int, bytes]:
    return key, 8, text(value)


def file(*settings: tuple[str, int, bytes]) -> bytes:
    """A GGUF of one small tensor and these settings."""
    tensor = text("w") + struct.pack("<IQIQ", 1, 256, 0, 0)
    return gguf_file(*settings, tensors=tensor, count=1, data=bytes(1024))


def model(width: int = 64, quantization: int = 7, trained: int = 8192) -> bytes:
    return file(
        number("llama.embedding_length", width),
        number("general.file_type", quantization),
        number("llama.context_length", trained),
    )


def projector(width: int = 64) -> bytes:
    return file(
        word("general.architecture", "clip"),
        word("general.type", "mmproj"),
        number("clip.vision.projection_dim", width),
    )


OLD_PROJECTOR = file(word("general.architecture", "clip"))
ADAPTER = file(word("general.type", "adapter"))
IMATRIX = file(word("general.architecture", ""), word("general.type", "imatrix"))


def put(folder: Path, files: dict[str, bytes]) -> Path:
    for name, body in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return folder


@pytest.fixture(autouse=True)
def no_caches_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)


def ours(base: Path) -> tuple[Path, str]:
    return base / "s/hf/o/r/main", "hf:o/r"


def hub_cache(base: Path) -> tuple[Path, str]:
    repo = base / "home/.cache/huggingface/hub/models--o--r"
    put(repo, {"refs/main": b"abc"})
    return repo / "snapshots/abc", "hf:o/r"


def lm_studio(base: Path) -> tuple[Path, str]:
    return base / "home/.lmstudio/models/o/r", "hf:o/r"


def package(base: Path) -> tuple[Path, str]:
    return base / "s/pypi/pkg/1.0", "pypi:pkg"


def own_folder(base: Path) -> tuple[Path, str]:
    return base / "mine", f"file:{base / 'mine'}"


EVERYWHERE = pytest.mark.parametrize("place", [ours, hub_cache, lm_studio, package, own_folder])


@EVERYWHERE
@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        ({"V-IQ4_XS.gguf": model(), "V-mmproj-Q8_0.gguf": projector()}, "V-IQ4_XS.gguf"),
        ({"X-f16.gguf": model(), "X-mmproj-f16.gguf": projector(), "imatrix_unsloth.gguf": IMATRIX}, "X-f16.gguf"),
        ({"X-f16.gguf": model(), "vision-Q4_K_M.gguf": OLD_PROJECTOR}, "X-f16.gguf"),
        ({"X-f16.gguf": model(), "X-style-Q8_0.gguf": ADAPTER}, "X-f16.gguf"),
        ({"X-f16.gguf": model(), "X-Q8_0-draft.gguf": model()}, "X-f16.gguf"),
        ({"about-mmproj-f16.gguf": model(), "x-Q8_0.gguf": projector()}, "about-mmproj-f16.gguf"),
        ({"one.gguf": model(quantization=15), "two.gguf": model(quantization=7)}, "one.gguf"),
        ({"X.GGUF": model()}, "X.GGUF"),
    ],
)
def test_the_model_is_found_among_what_goes_with_it(
    tmp_path: Path, place: Place, files: dict[str, bytes], chosen: str
) -> None:
    folder, source = place(tmp_path)
    put(folder, files)
    assert sources.locate(sources.parse(source), tmp_path / "s") == folder / chosen


@pytest.mark.parametrize("place", [ours, hub_cache, lm_studio, package])
def test_a_small_model_in_a_folder_below_is_a_draft_but_another_quantization_is_not(
    tmp_path: Path, place: Place
) -> None:
    folder, source = place(tmp_path)
    put(folder, {"X-Q8_0.gguf": model(1024), "helper/Y-Q4_K_M.gguf": model(64, 15)})
    assert sources.locate(sources.parse(source), tmp_path / "s") == folder / "X-Q8_0.gguf"
    put(folder, {"Q4/X-Q4_K_M.gguf": model(1024, 15)})
    assert sources.locate(sources.parse(source), tmp_path / "s") == folder / "Q4/X-Q4_K_M.gguf"


@EVERYWHERE
def test_two_different_models_are_not_guessed_between(tmp_path: Path, place: Place) -> None:
    folder, source = place(tmp_path)
    put(folder, {"a-f16.gguf": model(quantization=1), "b-f16.gguf": model(quantization=1)})
    assert sources.locate(sources.parse(source), tmp_path / "s") is None


def test_a_list_of_names_alone_is_read_by_its_customs() -> None:
    assert choose(["V-IQ4_XS.gguf", "V-mmproj-Q8_0.gguf"]) == ("V-IQ4_XS.gguf",)
    assert choose(["X-f16.gguf", "X.mmproj-f16.gguf", "imatrix_x.gguf", "draft/Y-Q8_0.gguf"]) == ("X-f16.gguf",)
    assert choose(["mmproj-f16.gguf"]) == ()


PARTS = [f"x-0000{i}-of-00003.gguf" for i in (1, 2, 3)]


def split() -> dict[str, bytes]:
    return {
        name: file(("split.no", 2, struct.pack("<H", i)), ("split.count", 2, struct.pack("<H", 3)))
        for i, name in enumerate(PARTS)
    }


@pytest.mark.parametrize("named", PARTS)
@EVERYWHERE
def test_any_part_of_a_split_model_means_its_first(tmp_path: Path, place: Place, named: str) -> None:
    folder, source = place(tmp_path)
    put(folder, split())
    assert sources.locate(sources.parse(f"{source}/{named}"), tmp_path / "s") == folder / PARTS[0]


@pytest.mark.parametrize("missing", [0, 1, 2])
@EVERYWHERE
def test_a_split_model_with_a_part_missing_is_absent_and_the_part_is_named(
    tmp_path: Path, place: Place, missing: int
) -> None:
    folder, text = place(tmp_path)
    put(folder, {name: body for i, (name, body) in enumerate(split().items()) if i != missing})
    for source in (sources.parse(text), *(sources.parse(f"{text}/{name}") for name in PARTS)):
        assert sources.locate(source, tmp_path / "s") is None
        assert f"part {missing + 1} of 3 ({PARTS[missing]}) is missing" in sources.absence(source, tmp_path / "s")


def test_a_lost_file_folder_or_right_is_told_apart(tmp_path: Path) -> None:
    put(tmp_path, {"m/a-f16.gguf": model(), "m/b-f16.gguf": model(), "e/readme": b""})
    expected = {
        "none.gguf": f"there is no file {tmp_path}/none.gguf",
        "lost/deep/none.gguf": f"there is no folder {tmp_path}/lost;",
        "m": "no one clear model; name one of a-f16.gguf, b-f16.gguf",
        "e": "holds no GGUF file",
    }
    for name, words in expected.items():
        assert words in sources.absence(sources.parse(f"file:{tmp_path / name}"), tmp_path)
    nobody = sources.parse("file:~nobody-of-that-name/x.gguf")
    assert sources.locate(nobody, tmp_path) is None
    with pytest.raises(SourceError, match="there is no user 'nobody-of-that-name'"):
        sources.pull(nobody, tmp_path, lambda _: None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hf:o/r", "not downloaded yet; run `rolecast pull hf:o/r`"),
        ("pypi:pkg", "run `rolecast pull pypi:pkg`"),
        ("ollama:m:1b", "run `ollama pull m:1b`"),
    ],
)
def test_absent_weights_come_with_the_command_that_brings_them(tmp_path: Path, text: str, words: str) -> None:
    assert words in sources.absence(sources.parse(text), tmp_path)
    assert sources.command(sources.parse(text), text) in words


def test_a_projector_that_ollama_lists_is_no_model(tmp_path: Path) -> None:
    root = tmp_path / "home/.ollama/models"
    layers = [("projector", "a" * 64, projector()), ("model", "b" * 64, model())]
    put(root / "blobs", {f"sha256-{digest}": body for _, digest, body in layers})
    listed = [
        {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{digest}", "size": len(body)}
        for kind, digest, body in layers
    ]
    manifest = {"registry.ollama.ai/library/m/latest": json.dumps({"layers": listed}).encode()}
    put(root / "manifests", manifest)
    path = sources.locate(sources.parse("ollama:m"), tmp_path)
    assert path == root / "blobs" / f"sha256-{'b' * 64}"
    assert weights.projector(path) == root / "blobs" / f"sha256-{'a' * 64}"
    (root / "blobs" / f"sha256-{'a' * 64}").unlink()
    assert weights.projector(path) is None


# -- projectors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"mmproj-F16.gguf": projector()}, "mmproj-F16.gguf"),
        ({"vision.gguf": OLD_PROJECTOR}, "vision.gguf"),
        ({f"mmproj-{kind}.gguf": projector() for kind in ("BF16", "F16", "F32")}, "mmproj-F16.gguf"),
        ({"mmproj-F16.gguf": projector(width=128)}, None),
        ({"mmproj-F16.gguf": model()}, None),
        ({"mmproj-F16.gguf": b"<html>"}, None),
        ({"other-Q8_0.gguf": model(), "mmproj-F16.gguf": projector()}, None),
        ({"o-f16.gguf": model(), "gem-mmproj.gguf": projector(), "o-mmproj.gguf": projector()}, "gem-mmproj.gguf"),
        ({"gem-it-Q8_0.gguf": model(), "mmproj-F16.gguf": projector()}, "mmproj-F16.gguf"),
        ({"mmproj-a.gguf": projector(), "mmproj-b.gguf": projector()}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_the_projector_beside_the_weights_is_found_when_it_fits(
    tmp_path: Path, files: dict[str, bytes], found: str | None
) -> None:
    put(tmp_path, {"gem-it-Q4_K_M.gguf": model(), **files})
    path = weights.projector(tmp_path / "gem-it-Q4_K_M.gguf")
    assert path == (tmp_path / found if found else None)


def test_a_projector_has_no_projector_and_a_lost_file_neither(tmp_path: Path) -> None:
    put(tmp_path, {"a-mmproj.gguf": projector(), "b-mmproj.gguf": projector()})
    assert weights.projector(tmp_path / "a-mmproj.gguf") is None
    assert weights.projector(tmp_path / "none.gguf") is None


# -- the context ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "tokens"),
    [
        ({"context": 4096}, 4096),
        ({"context": 40000}, 8192),
        ({"context": 0}, 8192),
        ({"context": 40000, "binary": "llama-server", "args": ["--rope-scaling", "yarn"]}, 40000),
        ({"context": 40000, "binary": "llama-server", "args": ["--yarn-orig-ctx=8192"]}, 40000),
        ({"context": 40000, "binary": "llama-server", "args": ["--threads", "2"]}, 8192),
    ],
)
def test_the_context_is_what_was_asked_for_within_what_the_weights_were_trained_on(
    tmp_path: Path, settings: dict[str, object], tokens: int
) -> None:
    path = put(tmp_path, {"x.gguf": model(trained=8192)}) / "x.gguf"
    assert weights.context(Model(**settings), path) == tokens  # type: ignore[arg-type]


def test_without_weights_the_context_is_the_one_of_the_configuration(tmp_path: Path) -> None:
    assert weights.context(Model(context=40000), None) == 40000
    assert weights.context(Model(context=0), tmp_path / "none.gguf") == 0


@pytest.mark.parametrize("body", [projector(), OLD_PROJECTOR, ADAPTER, IMATRIX])
def test_what_only_goes_with_a_model_is_called_what_it_is(tmp_path: Path, body: bytes) -> None:
    header = gguf.read(put(tmp_path, {"x.gguf": body}) / "x.gguf")
    assert header.side
    assert not header.generates
