"""GGUF out and in: what llama.cpp says of an export is what PyTorch says of what was trained, on tiny random models."""

import json
import shutil
import tempfile
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from heavy import lazy, needs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolecast.avatars.export import adapter, base, gguf, llama, llamacpp_side, parity, tensors, tokenizer, writing
from rolecast.avatars.inference.engine import Engine
from rolecast.avatars.inference.sampling import Sampling
from rolecast.avatars.settings import TrainingSettings
from rolecast.avatars.training.engine import Batch, Start
from rolecast.errors import Invalid
from rolecast.jobs.job import Progress

needs("torch", "transformers", "peft", "xllamacpp", "gguf")
torch = lazy("torch")
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
    pytest.mark.xdist_group("avatar_export"),  # torch is loaded once
]

SPECIAL = ("<pad>", "<unk>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GREEDY = Sampling(temperature=0, repetition_penalty=1)
FEW = 24
"""Texts of a comparison: all of them."""


def words(cut: str = "gpt-2", vocabulary: int = 700) -> Any:
    """A tokenizer that learnt the texts of the comparison."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    by_bytes: Any = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    digits: Any = pre_tokenizers.Digits(individual_digits=True)
    made.pre_tokenizer = by_bytes if cut == "gpt-2" else pre_tokenizers.Sequence([digits, by_bytes])
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken(each, special=True, normalized=False) for each in SPECIAL],
    )
    made.train_from_iterator(parity.TEXTS * 3, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<bos>",
        eos_token="<|im_end|>",
        pad_token="<pad>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = TEMPLATE
    return fast


def tiny(folder: Path, cut: str = "gpt-2", *, tied: bool = True, seed: int = 1) -> Path:
    """A folder as a training from scratch writes it. Its vocabulary has rows that no token has."""
    from transformers import LlamaConfig, LlamaForCausalLM

    fast = words(cut)
    config = LlamaConfig(
        vocab_size=(len(fast) // 32 + 1) * 32,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 50_000.0},
        rms_norm_eps=1e-5,
        tie_word_embeddings=tied,
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, one in model.named_parameters():
            one.normal_(1.0, 0.1) if one.ndim == 1 else one.normal_(0, 0.02 if "embed" in name else 0.12)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("scratch"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF as somebody else's: quantised, with single digits."""
    folder = tiny(tmp_path_factory.mktemp("source"), "smollm", seed=2)
    model = gguf.whole(folder, None, None, "Tiny")
    writing.write(
        folder / "tiny.gguf", writing.Model(model.name, "apache-2.0", model.shape, model.words, model.tensors), "q8_0"
    )
    return folder / "tiny.gguf"


@pytest.fixture(scope="module")
def ready(source: Path, tmp_path_factory: pytest.TempPathFactory) -> base.Base:
    return base.prepared(source, into=tmp_path_factory.mktemp("bases"))


@pytest.fixture(scope="module")
def lora(ready: base.Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    folder = tmp_path_factory.mktemp("lora")
    torch.manual_seed(3)
    told = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", rank_pattern={"gate_proj": 4})
    model = get_peft_model(LlamaForCausalLM.from_pretrained(ready.hf), told)
    with torch.no_grad():
        for name, one in model.named_parameters():
            if "lora_B" in name:
                one.normal_(0, 0.05)
    model.save_pretrained(folder)
    return folder


def compared(
    path: Path, trained: Path, over: base.Base | None = None, adapters: tuple[Path, ...] = ()
) -> parity.Parity:
    model, fast = parity.load(trained, over)
    return parity.compare(path, model, fast, adapters=adapters, prompts=FEW, count=16)


def test_a_model_from_scratch_answers_the_same_in_llama_cpp_as_in_pytorch(scratch: Path, tmp_path: Path) -> None:
    exact = compared(gguf.export(scratch, tmp_path, "f32", verify=False), scratch)
    assert (exact.exact, exact.prompts, exact.cut_otherwise, exact.chats_otherwise) == (FEW, FEW, (), 0)
    assert exact.tokens > 300
    assert exact.drift < 1e-3
    half = compared(gguf.export(scratch, tmp_path, "f16", verify=False), scratch)
    assert parity.fault(half, "f16") == ""
    assert half.drift < 0.05


def test_a_lora_answers_the_same_merged_and_as_an_adapter_over_its_base(
    lora: Path, ready: base.Base, tmp_path: Path
) -> None:
    merged = compared(gguf.export(lora, tmp_path, "f32", ready, verify=False), lora, ready)
    assert (merged.exact, merged.cut_otherwise, merged.chats_otherwise) == (FEW, (), 0)
    exact_base = tmp_path / "base-f32.gguf"
    writing.write(exact_base, gguf.whole(ready.hf, None, None), "f32")
    shape = llama.Shape.of_config(tensors.read_json(ready.hf / "config.json"))
    adapter.write(tmp_path / "exact.gguf", adapter.read(lora), shape, name="a", base=ready.digest, precise=True)
    over_exact = compared(exact_base, lora, ready, (tmp_path / "exact.gguf",))
    assert over_exact.exact == FEW
    made = gguf.export(lora, tmp_path, "adapter", ready, verify=False)
    assert parity.fault(compared(ready.gguf, lora, ready, (made,)), "adapter") == ""
    without = compared(ready.gguf, lora, ready)
    assert parity.fault(without, "adapter") != ""  # the adapter is what makes them equal


def test_what_is_merged_are_the_weights_that_peft_merges(lora: Path, ready: base.Base) -> None:
    model, _ = parity.load(lora, ready)
    wanted = model.merge_and_unload().state_dict()
    made = gguf.whole(lora, ready, adapter.read(lora)).tensors
    for name, tensor in made.items():
        torch.testing.assert_close(torch.from_numpy(tensor.get()), wanted[name], rtol=0, atol=1e-6)


def test_another_reader_of_gguf_finds_the_same_model_in_an_export(scratch: Path, tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    path = gguf.export(scratch, tmp_path, "f32", verify=False)
    ours = LlamaForCausalLM.from_pretrained(scratch).state_dict()
    theirs = LlamaForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32).state_dict()
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_model_whose_output_matrix_is_its_own_keeps_it(tmp_path: Path) -> None:
    folder = tiny(tmp_path / "m", tied=False)
    found = compared(gguf.export(folder, tmp_path, "q8_0"), folder)
    assert found.cut_otherwise == ()
    assert max(found.ties, default=0) < parity.TIE["q8_0"]


def test_an_export_that_answers_otherwise_is_refused_and_removed(
    scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama, "paired", lambda rows, heads: rows)
    with pytest.raises(Invalid, match="does not answer as what was trained"):
        gguf.export(scratch, tmp_path, "f16")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_base_of_positions_is_noticed(scratch: Path, tmp_path: Path) -> None:
    model = gguf.whole(scratch, None, None)
    wrong = llama.Shape.of_config(tensors.read_json(scratch / "config.json") | {"rope_parameters": {"rope_theta": 1e4}})
    writing.write(tmp_path / "wrong.gguf", writing.Model("w", "", wrong, model.words, model.tensors), "f32")
    assert parity.fault(compared(tmp_path / "wrong.gguf", scratch), "f16") != ""


def test_a_base_is_made_once_and_is_private_and_says_its_license(source: Path, tmp_path: Path) -> None:
    steps: list[Progress] = []
    both: list[base.Base] = []
    threads = [
        threading.Thread(target=lambda: both.append(base.prepared(source, steps.append, tmp_path))) for _ in "ab"
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert both[0] == both[1]
    assert len([each for each in steps if each.step == "writing" and each.done == each.total]) == 1
    made = both[0]
    assert (made.license, made.name, made.context) == ("apache-2.0", "Tiny", 512)
    assert made.folder.stat().st_mode & 0o777 == 0o700
    assert made.gguf.stat().st_mode & 0o777 == 0o600
    assert {each.name for each in tmp_path.iterdir()} == {made.digest, f".{made.digest}.lock"}
    assert base.read(made.folder) == made


def test_a_base_that_is_trained_over_has_the_numbers_that_are_served(ready: base.Base, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, LlamaForCausalLM

    trained = LlamaForCausalLM.from_pretrained(ready.hf)
    assert trained.dtype == torch.float32  # though the file is half of that
    served = LlamaForCausalLM.from_pretrained(ready.folder, gguf_file=ready.gguf.name, dtype=torch.float32)
    ours, theirs = trained.state_dict(), served.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    fast = AutoTokenizer.from_pretrained(ready.hf)
    assert fast.tokenize("on 2024")[-4:] == ["2", "0", "2", "4"]
    assert (fast.eos_token, fast.chat_template) == ("<|im_end|>", TEMPLATE)


def test_what_cannot_be_a_base_is_refused_in_plain_words(source: Path, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        base.prepared(tmp_path / "none.gguf", into=tmp_path / "bases")
    (tmp_path / "no.gguf").write_bytes(b"GIF89a")
    with pytest.raises(Invalid, match="cannot be a base"):
        base.prepared(tmp_path / "no.gguf", into=tmp_path / "bases")
    (tmp_path / "cut.gguf").write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(Invalid, match=r"cannot be a base|damaged"):
        base.prepared(tmp_path / "cut.gguf", into=tmp_path / "bases")
    (tmp_path / "bert.gguf").write_bytes(source.read_bytes().replace(b"llama", b"bertx"))
    with pytest.raises(Invalid, match="plain Llama models such as smollm2-135m"):
        base.prepared(tmp_path / "bert.gguf", into=tmp_path / "bases")
    (tmp_path / "other.gguf").write_bytes(source.read_bytes().replace(b"smollm", b"qwen99"))
    with pytest.raises(Invalid, match="cuts text in a way"):
        base.prepared(tmp_path / "other.gguf", into=tmp_path / "bases")
    assert not [each for each in (tmp_path / "bases").iterdir() if each.is_dir()]


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(
    scratch: Path, lora: Path, ready: base.Base, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(Invalid, match="no trained model"):
        gguf.export(tmp_path, out, "f16")
    with pytest.raises(Invalid, match="exported with its base"):
        gguf.export(lora, out, "f16")
    with pytest.raises(Invalid, match="has no base to be an adapter over"):
        gguf.export(scratch, out, "adapter")
    for change, said in (
        ({"use_dora": True}, "plain LoRA"),
        ({"modules_to_save": ["lm_head"]}, "plain LoRA"),
        ({"r": "many"}, "not that of a LoRA"),
    ):
        with pytest.raises(Invalid, match=said):
            gguf.export(edited(lora, tmp_path / "changed", adapter.CONFIG, change), out, "adapter", ready)
    with pytest.raises(Invalid, match="another base"):
        gguf.export(edited(lora, tmp_path / "other", "base.json", {"digest": "0" * 64}), out, "adapter", ready)
    for change, said in (
        ({"num_hidden_layers": 3}, "missing where config.json wants"),
        ({"hidden_act": "gelu"}, "the activation 'gelu'"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "scaled positions"),
        ({"vocab_size": 12}, "where config.json wants"),
    ):
        with pytest.raises(Invalid, match=said):
            gguf.export(edited(scratch, tmp_path / "another", "config.json", change), out, "f16")
    broken = edited(scratch, tmp_path / "broken", "config.json", {})
    (broken / gguf.WEIGHTS).write_bytes(b"\xff" * 64)
    with pytest.raises(Invalid, match="damaged"):
        gguf.export(broken, out, "f16")
    with pytest.raises(Invalid, match="damaged"):
        parity.load(broken, None)
    pickled = edited(lora, tmp_path / "pickled", adapter.CONFIG, {})
    (pickled / adapter.WEIGHTS).rename(pickled / "adapter_model.bin")  # torch would unpickle it
    with pytest.raises(Invalid, match="other files of weights are not read"):
        parity.load(pickled, ready)
    assert not out.exists() or list(out.iterdir()) == []


def edited(folder: Path, into: Path, name: str, change: dict[str, Any]) -> Path:
    into.mkdir(exist_ok=True)
    for each in folder.iterdir():
        (into / each.name).write_bytes(each.read_bytes())
    said = json.loads((into / name).read_text()) if (into / name).exists() else {}
    (into / name).write_text(json.dumps(said | change))
    return into


def test_weights_that_are_no_numbers_are_not_exported(scratch: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = edited(scratch, tmp_path / "nan", "config.json", {})
    weights = load_file(folder / gguf.WEIGHTS)
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, folder / gguf.WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(Invalid, match="the training went astray"):
        gguf.export(folder, tmp_path / "out", "f32")
    assert list((tmp_path / "out").iterdir()) == []


class Tokenizes:
    """llama.cpp that only cuts texts, with the tokenizer of a folder."""

    def __init__(self, path: Path, folder: Path) -> None:
        import httpx2
        import xllamacpp

        p = llamacpp_side.parameters(str(path), (), 128, 1)
        socket = str(folder / "engine.sock")
        p.hostnames = [socket]
        self._server = xllamacpp.Server(p)
        self._client = httpx2.Client(transport=httpx2.HTTPTransport(uds=socket))

    def __call__(self, text: str) -> list[int]:
        body = {"content": text, "add_special": True, "parse_special": True}
        return list(self._client.post("http://engine/tokenize", json=body).json()["tokens"])

    def close(self) -> None:
        self._client.close()
        del self._server


ASSIGNED = st.characters(
    codec="utf-8", exclude_categories=("Cs", "Cn", "Co"), exclude_characters="\0"
)  # what is not assigned yet is cut by each library's own version of Unicode
TEXT = st.one_of(
    st.text(ASSIGNED, max_size=40),
    st.text(
        st.sampled_from("abc XYZ 0123 '\u2019sltremvd\n\t\r .,!?-😀👍🏽\u200d\ufe0fäß中文ع٣½²Ⅷ\u0301\u00a0\u3000"),
        max_size=60,
    ),
)


def each_character() -> Iterator[str]:
    """Every character below U+3400 and of emoji, each between letters, spaces and digits of its neighbours' lines."""
    known = [
        chr(c)
        for c in (*range(1, 0x3400), *range(0x1F000, 0x1FB00))
        if unicodedata.category(chr(c)) not in ("Cs", "Cn", "Co")
    ]
    for start in range(0, len(known), 100):
        yield "".join(f"a{each} {each}{each}1" for each in known[start : start + 100])


@pytest.mark.parametrize("cut", ["gpt-2", "smollm"])
def test_llama_cpp_cuts_every_text_as_the_tokenizer_that_was_trained(
    cut: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    short = tempfile.mkdtemp(prefix="rolecast-")  # a socket's path is short
    request.addfinalizer(lambda: shutil.rmtree(short))
    folder = tiny(tmp_path / "m", cut)
    read = tokenizer.of_folder(folder, json.loads((folder / "config.json").read_text())["vocab_size"])
    assert read.cut == cut
    ours = tokenizer.tokenizer(read)
    theirs = Tokenizes(gguf.export(folder, tmp_path, "f16", verify=False), Path(short))
    original = words(cut)

    @given(TEXT)
    @settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def same(text: str) -> None:
        cut_up = theirs(text)
        assert cut_up == original(text)["input_ids"] == ours.encode(text).ids
        assert original.decode(cut_up) == ours.decode(cut_up, skip_special_tokens=False)

    try:
        same()
        for text in (*parity.TEXTS, "a<|im_end|>b <bos>", *each_character()):
            assert theirs(text) == original(text)["input_ids"], ascii(text)
    finally:
        theirs.close()


def test_a_tokenizer_that_gguf_has_no_name_for_is_refused(scratch: Path, tmp_path: Path) -> None:
    said = json.loads((scratch / "tokenizer.json").read_text())
    for change, why in (
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}}, "no name for"),
        ({"normalizer": {"type": "NFC"}}, "without a normalizer"),
        ({"model": {"type": "Unigram", "vocab": []}}, "byte-level BPE"),
        ({"pre_tokenizer": None}, "no name for"),
    ):
        (tmp_path / "tokenizer.json").write_text(json.dumps(said | change))
        with pytest.raises(Invalid, match=why):
            tokenizer.of_folder(tmp_path, 1000)


def test_a_folder_and_its_gguf_generate_the_same_text(scratch: Path, tmp_path: Path) -> None:
    path = gguf.export(scratch, tmp_path, "f32", verify=False)
    with Engine(scratch) as ours, Engine(path, parallel=2, threads=1, exact=True) as theirs:
        assert ours.context == theirs.context == 512
        chat = [{"role": "user", "content": "hey 😀 it's 17:45"}]
        prompt = ours.chat(chat)
        assert (
            prompt == theirs.chat(chat) == words().apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        )
        for how in (GREEDY, Sampling(temperature=0, repetition_penalty=1.3)):
            tokens = list(ours.tokens(prompt, how, 24))
            assert tokens == list(theirs.tokens(prompt, how, 24))
            pieces = list(ours.stream(prompt, how, 24))
            assert "".join(pieces) == ours.decode(tokens) == ours.generate(prompt, how, 24)
            assert theirs.generate(prompt, how, 24).rstrip("\ufffd") == "".join(pieces).rstrip("\ufffd")
        chance = Sampling(seed=4, temperature=1.0)
        for engine in (ours, theirs):
            assert engine.generate(prompt, chance, 12) == engine.generate(prompt, chance, 12)
            with pytest.raises(Invalid, match="tokens, and the model reads 512"):
                engine.stream("word " * 600, GREEDY)


def test_sessions_that_generate_at_once_are_not_mixed_and_one_can_be_broken_off(scratch: Path, tmp_path: Path) -> None:
    path = gguf.export(scratch, tmp_path, "f32", verify=False)
    with Engine(path, parallel=3, threads=1, exact=True) as engine:
        prompts = [f"hello {number}" for number in range(6)]
        alone = [engine.generate(each, GREEDY, 16) for each in prompts]
        assert len(set(alone)) > 1
        together: dict[int, str] = {}

        def work(number: int) -> None:
            together[number] = engine.generate(prompts[number], GREEDY, 16)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        left = engine.stream(prompts[0], Sampling(temperature=1.0, seed=1), 400)
        assert next(left)
        for each in threads:
            each.start()
        left.close()
        for each in threads:
            each.join()
        assert [together[number] for number in range(6)] == alone


# -- MLX: in this file, so that torch is loaded once --


def batch(length: int = 24, rows: int = 3) -> Batch:
    import numpy as np

    chance = np.random.default_rng(5)
    tokens = chance.integers(6, 600, (rows, length))
    learnt = chance.random((rows, length)) < 0.6
    learnt[:, 0] = False
    learnt[0, length // 2 :] = False
    return Batch(tokens.astype(np.int64), learnt)


def both(method: str, folder: Path, **more: Any) -> tuple[Any, Any]:
    """The two engines with the same model."""
    pytest.importorskip("mlx_lm")
    from rolecast.avatars.training import mlx_engine, torch_engine

    told = TrainingSettings(method=method, rank=4, precision="fp32", compiled=False, weight_decay=0.1, **more)  # type: ignore[arg-type]
    start = Start(method=method, folder=folder, longest=64, steps=4)  # type: ignore[arg-type]
    return torch_engine.engine(start, told), mlx_engine.engine(start, told)


def adopt(ours: Any, theirs: Any, folder: Path) -> None:
    """PyTorch goes on with what MLX has saved."""
    ours.save(folder)
    from rolecast.avatars.training import models

    weights = models.load(theirs._start, theirs._masters.master, folder)
    theirs._masters.restore(weights, theirs._masters.moments())


@pytest.mark.parametrize("method", ["lora", "scratch"])
def test_mlx_and_pytorch_give_the_same_logits_and_learn_the_same(
    method: str, ready: base.Base, scratch: Path, tmp_path: Path
) -> None:
    import mlx.core as mx
    import numpy as np

    by_torch, by_mlx = both(method, ready.hf if method == "lora" else scratch)
    assert (by_torch.trained, by_torch.parameters) == (by_mlx.trained, by_mlx.parameters)
    some = batch()
    adopt(by_mlx, by_torch, tmp_path / "start")
    for _ in range(3):
        losses = [each.gradient(some, some.count) for each in (by_torch, by_mlx)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
        assert by_torch.apply(1e-2) == pytest.approx(by_mlx.apply(1e-2), rel=1e-3)
    assert by_torch.loss(some) == pytest.approx(by_mlx.loss(some), rel=1e-4)
    assert by_mlx.loss(some) < losses[1]
    adopt(by_mlx, by_torch, tmp_path / "end")
    with torch.inference_mode():
        places = torch.arange(some.tokens.size)
        wanted = by_torch._model.seen(torch.from_numpy(some.tokens), places) @ by_torch._model.head.t()
        wanted = wanted.view(*some.tokens.shape, -1)
    given = np.array(by_mlx.logits(mx.array(some.tokens)))
    np.testing.assert_allclose(given, wanted.numpy(), rtol=0, atol=2e-4)


def test_an_adapter_that_mlx_trained_is_exported_as_any_other(ready: base.Base, tmp_path: Path) -> None:
    _, by_mlx = both("lora", ready.hf)
    for _ in range(2):
        by_mlx.gradient(batch(), 10)
        by_mlx.apply(5e-2)
    by_mlx.save(tmp_path / "trained")
    path = gguf.export(tmp_path / "trained", tmp_path, "adapter", ready)  # with its comparison
    assert header_of(path)["adapter.type"] == "lora"
    assert header_of(path)[adapter.BASE_KEY] == ready.digest


def header_of(path: Path) -> dict[str, Any]:
    from gguf import GGUFReader

    return {name: field.contents() for name, field in GGUFReader(path).fields.items()}


def test_a_training_by_mlx_that_was_broken_off_goes_on_to_the_same_weights(scratch: Path, tmp_path: Path) -> None:
    import mlx.core as mx

    _, whole = both("scratch", scratch)
    _, broken = both("scratch", scratch)
    for each in (whole, broken):
        each.gradient(batch(), 20)
        each.apply(1e-3)
    broken.save(tmp_path / "at")
    words_kept = broken.save_state(tmp_path / "at")
    _, again = both("scratch", scratch)
    again.restore(tmp_path / "at", words_kept)
    for each in (whole, again):
        each.gradient(batch(), 20)
        each.apply(1e-3)
    assert all(mx.array_equal(one, again._masters[name]) for name, one in whole._masters.items())
    with pytest.raises(Invalid, match="no checkpoint of this model"):
        again.restore(tmp_path, words_kept)


def test_mlx_recomputes_activations_to_the_same_gradient(scratch: Path) -> None:
    _, plain = both("scratch", scratch)
    _, sparing = both("scratch", scratch, checkpointing=True)
    for each in (plain, sparing):
        each.gradient(batch(), 20)
    assert plain.apply(1e-3) == pytest.approx(sparing.apply(1e-3), rel=1e-5)


def test_mlx_begins_a_model_from_nothing_as_agreed(scratch: Path, tmp_path: Path) -> None:
    folder = edited(scratch, tmp_path / "start", "config.json", {})
    (folder / gguf.WEIGHTS).unlink()
    _, made = both("scratch", folder)
    import numpy as np

    embedding = np.array(made._masters["model.embed_tokens.weight"])
    assert embedding.std() == pytest.approx(0.02, rel=0.05)
    assert set(np.array(made._masters["model.norm.weight"]).tolist()) == {1.0}


def test_a_device_that_mlx_has_not_is_refused(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mx = pytest.importorskip("mlx.core")
    from rolecast.avatars.training import mlx_engine

    monkeypatch.setenv("MLX_DEVICE", "tpu")
    with pytest.raises(Invalid, match="use gpu or cpu"):
        mlx_engine.engine(Start("scratch", scratch, 64, 4), TrainingSettings())
    if not mx.is_available(mx.Device(mx.gpu)):
        monkeypatch.setenv("MLX_DEVICE", "gpu")
        with pytest.raises(Invalid, match="finds none here"):
            mlx_engine.engine(Start("scratch", scratch, 64, 4), TrainingSettings())
