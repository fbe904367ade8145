"""Training by PyTorch, on models of two layers: what is computed, what is written, what goes on after an end."""

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from heavy import lazy, needs

from rolecast.avatars import example, prompt
from rolecast.avatars.example import Example, Lineage, Said
from rolecast.avatars.export.llama import Shape
from rolecast.avatars.settings import TrainingSettings
from rolecast.avatars.training import scratch
from rolecast.avatars.training.chains import chains
from rolecast.avatars.training.encode import Encoder
from rolecast.avatars.training.engine import ADAPTED, Batch, Start
from rolecast.avatars.training.train import Trained, train
from rolecast.errors import Invalid
from rolecast.jobs.job import Progress

needs("torch", "transformers")
torch, transformers = lazy("torch"), lazy("transformers")
adapted, attention, layers, llama, loss, models, steps, torch_engine = (
    lazy(f"rolecast.avatars.training.{name}")
    for name in ("adapted", "attention", "layers", "llama", "loss", "models", "steps", "torch_engine")
)

WORDS = ("tea", "garden", "storm", "letter", "river", "bread", "lamp", "stone")
SMALL = {
    "method": "scratch",
    "width": 64,
    "hidden": 96,
    "heads": 4,
    "layers": 2,
    "vocabulary": 400,
    "batch": 8,
    "epochs": 2,
    "learning_rate": 5e-3,
    "precision": "fp32",
    "save_every": 4,
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(**settings: object) -> TrainingSettings:
    return TrainingSettings(**{**SMALL, **settings})  # type: ignore[arg-type]


def thread(number: int, replies: int = 4) -> list[Example]:
    """A conversation in windows of four messages, as a dataset has them."""
    said: list[Said] = []
    found = []
    for each in range(replies):
        word = WORDS[(number + each) % len(WORDS)]
        said.append(Said("Jonas", f"how is the {word}?"))
        answer = f"the {word} be grand, matey! 🏴"
        history = tuple(said[-4:])
        lineage = Lineage(f"t{number}", each, 2 * replies)
        found.append(Example(f"t{number}_{each}", "[Jonas]: hi", answer, "Mira", "", "", "", history, lineage))
        said.append(Said("Mira", answer))
    return found


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    example.write(folder / "train.jsonl", (each for number in range(16) for each in thread(number)))
    example.write(folder / "valid.jsonl", (each for number in range(16, 19) for each in thread(number)))
    return folder


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(dataset, tmp_path_factory.mktemp("models"), small(epochs=6))


@pytest.fixture(scope="module")
def base(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base for adapters: what was trained from nothing."""
    folder = tmp_path_factory.mktemp("bases") / "0123456789abcdef"
    folder.mkdir()
    (folder / "hf").symlink_to(trained.final)
    return folder


def sums(folder: Path) -> dict[str, str]:
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in folder.glob("*.safetensors")}


@pytest.mark.parametrize("length", [1, 7, 128, 131, 300])
@pytest.mark.parametrize("shared", [1, 2, 4])
def test_attention_in_blocks_is_that_of_pytorch(length: int, shared: int) -> None:
    torch.manual_seed(0)
    ours = [torch.randn(2, heads, length, 8, requires_grad=True) for heads in (4, shared, shared)]
    theirs = [each.detach().clone().requires_grad_() for each in ours]
    above = torch.randn(2, 4, length, 8)
    mine = attention.attention(*ours, 8**-0.5)
    other = torch.nn.functional.scaled_dot_product_attention(*theirs, is_causal=True, enable_gqa=True)
    mine.backward(above)
    other.backward(above)
    torch.testing.assert_close(mine, other)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("chunk", [50, 130, 2**25])
def test_the_loss_in_chunks_is_that_of_whole_logits(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "CHUNK", chunk)
    torch.manual_seed(0)
    hidden, weight = torch.randn(17, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
    target = torch.randint(0, 50, (17,))
    weight.grad = torch.ones_like(weight)  # of another part of the batch
    mine = loss.summed(hidden, weight, target, 1 / 3)
    mine.backward()
    grads = hidden.grad, weight.grad - 1
    hidden.grad = weight.grad = None
    other = torch.nn.functional.cross_entropy(hidden @ weight.t(), target, reduction="sum")
    (other / 3).backward()
    torch.testing.assert_close(mine, other / 3)
    assert loss.measured(hidden, weight, target) == pytest.approx(float(other.detach()), rel=1e-5)
    torch.testing.assert_close(grads, (hidden.grad, weight.grad), atol=1e-5, rtol=1e-4)


def test_layers_in_one_step_have_the_values_and_gradients_of_their_formulas() -> None:
    generator = torch.Generator().manual_seed(5)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=torch.float32, generator=generator).requires_grad_()

    tokens = torch.tensor([[3, 1, 3], [3, 0, 1]])
    functional, pair = torch.nn.functional, [some(2, 3, 8), some(2, 3, 8)]
    norm = functional.rms_norm
    cases = [
        (lambda w: layers.look_up(w, tokens), lambda w: functional.embedding(tokens, w), [some(5, 4)]),
        (layers.linear, functional.linear, [some(2, 3, 4), some(6, 4)]),
        (layers.gated, lambda a, b, w: functional.linear(functional.silu(a) * b, w), [*pair, some(4, 8)]),
        (layers.opened, lambda a, b: functional.silu(a) * b, pair),
        (lambda x, w: layers.normed(x, w, 1e-5), lambda x, w: norm(x, (8,), w, 1e-5), [some(2, 8), some(8)]),
    ]  # fmt: skip
    for ours, theirs, given in cases:
        for each in given:
            each.grad = None
        plain = theirs(*given)
        expected = torch.autograd.grad(plain.square().sum(), given)
        for _ in range(2):  # of two parts, one after the other
            mine = ours(*given)
            mine.square().sum().backward()
            torch.testing.assert_close(mine, plain)
        for each, grad in zip(given, expected, strict=True):
            torch.testing.assert_close(each.grad, 2 * grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_our_llama_at_some_places_is_that_of_transformers_with_its_gradients(compiled: bool, tied: bool) -> None:
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=tied,
    )  # fmt: skip
    torch.manual_seed(2)
    theirs = transformers.LlamaForCausalLM(config).train()
    ours = llama.Llama(Shape.of_config(config.to_dict()), steps.steps(torch.device("cpu"), compiled=compiled))
    missing, more = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert (missing, more) == ([], ["lm_head.weight"] if tied else [])
    tokens, places = torch.randint(0, 40, (3, 21)), torch.tensor([0, 5, 20, 33, 62])
    plain = theirs.model(input_ids=tokens).last_hidden_state.flatten(0, 1)[places]
    mine = ours.seen(tokens, places)
    torch.testing.assert_close(mine, plain, atol=1e-5, rtol=1e-4)
    (plain @ theirs.get_output_embeddings().weight.t()).square().sum().backward()
    (mine @ ours.head.t()).square().sum().backward()
    expected = dict(theirs.named_parameters())
    for name, each in ours.named_parameters():
        torch.testing.assert_close(each.grad, expected[name].grad, atol=1e-3, rtol=1e-3, msg=name)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers by a name that it has given up
@pytest.mark.parametrize("recomputes", [False, True])
def test_our_adapter_is_that_of_peft_with_its_gradients(recomputes: bool) -> None:
    import peft

    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(4)
    base = transformers.LlamaForCausalLM(config).train()
    ours = llama.Llama(Shape.of_config(config.to_dict()), steps.steps(torch.device("cpu"), compiled=False))
    ours.load_state_dict(base.state_dict(), strict=False)
    ours.adapt(4, 8)
    ours.recomputes = recomputes
    told = peft.LoraConfig(r=4, lora_alpha=8, bias="none", target_modules=list(ADAPTED), task_type="CAUSAL_LM")
    theirs = peft.get_peft_model(base, told)
    expected = {name: each for name, each in theirs.named_parameters() if each.requires_grad}
    trained = {name: each for name, each in ours.named_parameters() if each.requires_grad}
    assert len(expected) == len(trained) == 2 * 2 * len(ADAPTED)
    for name, each in trained.items():
        each.data.normal_()
        expected[f"base_model.model.{name}.default.weight"].data.copy_(each.data)
    tokens, places = torch.randint(0, 40, (2, 9)), torch.arange(18)
    plain = theirs.get_base_model().model(input_ids=tokens).last_hidden_state.flatten(0, 1)
    mine = ours.seen(tokens, places)
    torch.testing.assert_close(mine, plain, atol=1e-4, rtol=1e-4)
    plain.square().sum().backward()
    mine.square().sum().backward()
    for name, each in trained.items():
        other = expected[f"base_model.model.{name}.default.weight"]
        torch.testing.assert_close(each.grad, other.grad, atol=1e-3, rtol=1e-3, msg=name)


def test_an_adapted_layer_in_one_step_has_the_values_and_gradients_of_its_formula() -> None:
    generator = torch.Generator().manual_seed(3)
    shapes = {"x": (2, 5, 16), "a": (4, 16), "b": (12, 4)}
    weight = torch.randn(12, 16, dtype=torch.float64, generator=generator)
    given = {
        name: torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
        for name, shape in shapes.items()
    }
    plain = given["x"] @ weight.T + 2.0 * (given["x"] @ given["a"].T) @ given["b"].T
    ours = adapted.linear(given["x"], weight, given["a"], given["b"], 2.0)
    assert torch.allclose(ours, plain)
    for mine, theirs in zip(
        torch.autograd.grad(ours.square().sum(), [*given.values()]),
        torch.autograd.grad(plain.square().sum(), [*given.values()]),
        strict=True,
    ):
        assert torch.allclose(mine, theirs)


def test_a_token_that_is_all_but_impossible_has_a_finite_loss() -> None:
    hidden, weight = torch.tensor([[300.0]], requires_grad=True), torch.tensor([[1.0], [-1.0]])
    total = loss.summed(hidden, weight, torch.tensor([1]))
    total.backward()
    assert 80 < float(total.detach()) < 700
    assert torch.isfinite(hidden.grad).all()  # type: ignore[arg-type]


def test_from_nothing_it_learns_and_leaves_folders_that_others_load(trained: Trained, dataset: Path) -> None:
    assert trained.loss_before is not None
    assert trained.loss_best is not None
    assert trained.loss_best < 0.3 * trained.loss_before
    assert (trained.examples, trained.held_out, trained.refused) == (64, 12, 0)
    said = json.loads((trained.folder / "training.json").read_bytes())
    assert said["steps"] == trained.steps
    assert (trained.folder / "loss.png").exists()
    tokenizer = transformers.AutoTokenizer.from_pretrained(trained.best)
    assert [tokenizer.convert_tokens_to_ids(each) for each in scratch.SPECIAL] == list(range(9))
    model = transformers.AutoModelForCausalLM.from_pretrained(trained.best, attn_implementation="sdpa").eval()
    turns = [{"role": each.role, "content": each.content} for each in prompt.turns(thread(2, 1)[0])]
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    said_ids = model.generate(**ids, max_new_tokens=24, do_sample=False)
    answer = tokenizer.decode(said_ids[0, ids["input_ids"].shape[1] :])
    assert re.fullmatch("the [a-z]+ be grand, matey! 🏴<eos>", answer)


def test_any_text_comes_back_from_its_tokens(trained: Trained) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(trained.best)
    for text in ("don't  stop\n\tnow 123", "你好 世界", "naïve Ærø 👩‍👩‍👧", "\x00\ufffd"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_the_same_seed_gives_the_same_weights_and_another_one_others(dataset: Path, tmp_path: Path) -> None:
    runs = [train(dataset, tmp_path / str(n), small(epochs=0.5, seed=seed)) for n, seed in enumerate((3, 3, 4))]
    first, second, other = (sums(each.final) for each in runs)
    assert first == second != other


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_broken_off_and_gone_on_with_it_gives_the_same_weights_bit_by_bit(
    precision: str, dataset: Path, tmp_path: Path
) -> None:
    settings = small(precision=precision)
    whole = train(dataset, tmp_path / "whole", settings)

    class Killed(BaseException):
        pass

    def dies(progress: Progress) -> None:
        if progress.step == "training" and progress.done == 6:
            raise Killed

    with pytest.raises(Killed):
        train(dataset, tmp_path / "broken", settings, report=dies)
    newest = max((tmp_path / "broken").glob("checkpoint_*"), key=lambda each: int(each.name[11:]))
    (newest.parent / "checkpoint_5").mkdir()  # not whole: it is passed over
    torch.manual_seed(99)
    np.random.default_rng(99)
    again = train(dataset, tmp_path / "broken", settings)
    assert again.resumed == 4
    assert sums(again.final) == sums(whole.final)
    assert again.loss_best == whole.loss_best
    changed = train(dataset, tmp_path / "broken", small(precision=precision, epochs=0.1))
    assert changed.resumed == 0


KILLED = """
import os, signal, sys
from pathlib import Path
import msgspec, torch
from rolecast.avatars.settings import TrainingSettings
from rolecast.avatars.training.train import train

def report(progress):
    if progress.step == "training" and progress.done == 6:
        os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads(1)
train(Path(sys.argv[1]), Path(sys.argv[2]), msgspec.json.decode(sys.argv[3], type=TrainingSettings), report=report)
"""


def test_killed_in_the_middle_it_goes_on_to_the_same_weights(dataset: Path, tmp_path: Path) -> None:
    settings = small()
    whole = train(dataset, tmp_path / "whole", settings)
    argv = [
        sys.executable,
        "-c",
        KILLED,
        str(dataset),
        str(tmp_path / "killed"),
        msgspec.json.encode(settings).decode(),
    ]
    assert subprocess.run(argv, check=False, capture_output=True).returncode == -signal.SIGKILL
    again = train(dataset, tmp_path / "killed", settings)
    assert again.resumed == 4
    assert sums(again.final) == sums(whole.final)


def test_asked_to_stop_it_goes_on_later(dataset: Path, tmp_path: Path) -> None:
    asked: list[Progress] = []
    stopped = train(
        dataset,
        tmp_path,
        small(),
        None,
        asked.append,
        lambda: sum(each.step == "training" and each.done > 0 for each in asked) >= 3,
    )
    assert stopped.stopped
    assert not stopped.final.exists()
    assert (tmp_path / "checkpoint_3" / "optimizer.safetensors").exists()
    again = train(dataset, tmp_path, small())
    assert (again.resumed, again.stopped) == (3, False)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_adapter_learns_over_a_base_that_stays_as_it_is(
    precision: str, base: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    before = sums(base / "hf")
    replies = [
        Example(f"{n}_0", "", "the lamp be grand, matey! 🏴", "Mira", "", "", "", (Said("Jonas", w),))
        for n, w in enumerate(WORDS)
    ]
    example.write(tmp_path / "data.jsonl", replies * 4)
    settings = small(
        method="lora", rank=4, epochs=8, learning_rate=2e-2, save_every=0, precision=precision, rehearsal=12
    )
    found = train(tmp_path / "data.jsonl", tmp_path / "out", settings, base / "hf")
    assert sums(base / "hf") == before
    assert found.trained < found.parameters / 4
    assert found.loss_train < 0.5
    assert found.note == ""
    assert 0 < found.rehearsed <= 12
    assert len((base / "rehearsal.jsonl").read_bytes().splitlines()) == 12
    assert json.loads((found.best / "base.json").read_bytes())["digest"] == base.name
    config = json.loads((found.best / "adapter_config.json").read_bytes())
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (4, 8, None)
    assert set(config["target_modules"]) == {f"{each}_proj" for each in ("q", "k", "v", "o", "gate", "up", "down")}
    assert str(tmp_path) not in (found.best / "adapter_config.json").read_text()

    from peft import PeftModel

    model = PeftModel.from_pretrained(
        transformers.AutoModelForCausalLM.from_pretrained(base / "hf"), found.final
    ).eval()
    tokens = Encoder(base / "hf", 512).example(replies[0])
    assert tokens is not None
    start = tokens.replies[0][0]
    logits = model(torch.tensor([tokens.ids])).logits[0, start - 1 : -1]
    assert logits.argmax(-1).tolist() == list(tokens.ids[start:])


def _engine(folder: Path, **settings: object) -> torch_engine.TorchEngine:
    made = torch_engine.engine(Start("scratch", folder, 64, 10), small(**settings))
    assert isinstance(made, torch_engine.TorchEngine)
    return made


def _batch(rows: int = 6, length: int = 40) -> Batch:
    chance = np.random.default_rng(0)
    learnt = chance.random((rows, length)) < 0.4
    learnt[:, 0] = False
    return Batch(chance.integers(9, 300, (rows, length)), learnt)


def test_parts_accumulation_and_checkpointing_change_no_gradient(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = _batch()
    engines = [_engine(trained.final) for _ in range(3)] + [_engine(trained.final, checkpointing=True)]
    losses = [engines[0].gradient(batch, batch.count), engines[3].gradient(batch, batch.count)]
    monkeypatch.setattr(engines[1], "at_once", 80)
    losses.append(engines[1].gradient(batch, batch.count))
    halves = [Batch(batch.tokens[each], batch.learnt[each]) for each in (slice(0, 2), slice(2, 6))]
    losses.append(sum(engines[2].gradient(each, batch.count) for each in halves))
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-5)
    assert [each.apply(1e-3) for each in engines] == pytest.approx([engines[0].apply(0) or 1] * 4, abs=9)
    weights = [each._masters.weights() for each in engines]
    for other in weights[1:]:
        for name, value in weights[0].items():
            torch.testing.assert_close(value, other[name], atol=2e-4, rtol=1e-3)
    assert engines[0].loss(batch) == pytest.approx(engines[1].loss(batch), rel=1e-3)


def test_a_gradient_that_is_no_number_changes_nothing(trained: Trained) -> None:
    engine = _engine(trained.final)
    before = engine._masters.weights()["model.norm.weight"].clone()
    engine.gradient(_batch(), float("nan"))  # type: ignore[arg-type]
    norm = engine.apply(1e-3)
    assert not np.isfinite(norm)
    torch.testing.assert_close(engine._masters.weights()["model.norm.weight"], before)


def test_narrow_weights_keep_small_steps_in_their_masters(trained: Trained) -> None:
    engine = _engine(trained.final, precision="bf16", weight_decay=0.1)
    before = {name: each.clone() for name, each in engine._masters.weights().items()}
    for _ in range(3):
        engine.gradient(_batch(), _batch().count)
        engine.apply(1e-6)
    moved = [not torch.equal(before[name], each) for name, each in engine._masters.weights().items()]
    assert all(moved)
    assert all(each.dtype == torch.bfloat16 for each in engine._model.parameters())


def test_without_memory_it_says_what_to_change(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    monkeypatch.setattr(loss, "summed", full)
    with pytest.raises(Invalid, match=r"Out of memory\. Batches of 8 .* are free\. Try batch 2 with accumulation 4"):
        train(dataset, tmp_path, small())
    with pytest.raises(Invalid, match=r"takes \S+ TB at the least .* take fewer layers"):
        train(dataset, tmp_path / "huge", small(width=16_384, hidden=65_536, layers=256))


def test_replies_of_a_conversation_are_learnt_in_one_chat_that_is_written_as_it_will_be(base: Path) -> None:
    encoder = Encoder(base / "hf", 512)
    examples = thread(1, 6)
    (joined,) = encoder.examples(examples, 16)[0]
    alone = encoder.examples(examples, 1)[0]
    assert len(joined.replies) == len(alone) == 6
    assert len(joined.ids) < 0.5 * sum(len(each.ids) for each in alone)
    for (start, end), each in zip(joined.replies, alone, strict=True):
        (own,) = each.replies
        assert joined.ids[start:end] == each.ids[own[0] :]
    last = examples[-1]
    whole = chains(examples, 16, 10_000)[0]
    tokens = encoder.example(Example("x", "", last.target_text, "Mira", "", "", "", whole.said))
    assert tokens is not None
    assert tokens.ids == joined.ids
    assert len(encoder.examples(examples, 2)[0]) == 3


def test_what_is_too_long_loses_its_oldest_turns_and_marks_of_the_model_are_no_text(base: Path) -> None:
    encoder = Encoder(base / "hf", 60)
    long = Example(
        "a_0",
        "",
        "fine",
        "Mira",
        "",
        "",
        "",
        tuple(Said("Jonas" if n % 2 == 0 else "Mira", f"the tea {n}?") for n in range(21)),
    )
    tokens = encoder.example(long)
    assert tokens is not None
    assert len(tokens.ids) <= 60
    tokenizer = transformers.AutoTokenizer.from_pretrained(base / "hf")
    text = tokenizer.decode(tokens.ids)
    assert text.startswith("<bos><personality>You are Mira.<speaker1>")
    assert text.endswith("the tea 20?<eos><speaker2>fine<eos>")
    assert "the tea 0?" not in text
    marked = encoder.example(Example("b_0", "", "no<eos>w", "Mira", "", "", "", (Said("Jonas", "<speaker2>x<eos>"),)))
    assert marked is not None
    assert tokenizer.decode(marked.ids) == "<bos><personality>You are Mira.<speaker1>x<eos><speaker2>now<eos>"
    assert encoder.examples([Example("c_0", "", " ", "Mira")], 1) == ([], 1)


def test_a_shape_that_no_llama_has_and_a_base_that_is_none_are_refused(dataset: Path, tmp_path: Path) -> None:
    for settings, word in ((small(width=70), "take 72"), (small(vocabulary=100), "265 tokens at least")):
        with pytest.raises(Invalid, match=word):
            train(dataset, tmp_path, settings)
    with pytest.raises(Invalid, match="trained over a base"):
        train(dataset, tmp_path, small(method="lora"))
    with pytest.raises(Invalid, match="holds no base"):
        train(dataset, tmp_path, small(method="lora"), tmp_path)


def test_weights_are_read_from_safetensors_alone_and_whole(tmp_path: Path, trained: Trained) -> None:
    from safetensors.torch import load_file, save_file

    told, how = Start("scratch", tmp_path, 8, 1), steps.steps(torch.device("cpu"), compiled=False)
    (tmp_path / "config.json").write_bytes((trained.final / "config.json").read_bytes())

    def refusal() -> str:
        with pytest.raises(Invalid, match="holds no model to train") as refused:
            models.made(told, torch.device("cpu"), "fp32", how, rank=1, seed=0)
        return refused.value.message

    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04nonsense")
    refusal()
    weights = load_file(trained.final / "model.safetensors")
    norm = weights.pop("model.norm.weight")
    save_file(weights, tmp_path / "model.safetensors")
    assert "lacks model.norm.weight" in refusal()
    save_file(weights | {"model.norm.weight": norm[:1]}, tmp_path / "model.safetensors")
    assert "model.norm.weight is (1,)" in refusal()
    save_file(weights | {"model.norm.weight": norm.to(torch.int8)}, tmp_path / "model.safetensors")
    assert "quantized; take weights of full width" in refusal()
    said = json.loads((tmp_path / "config.json").read_bytes())
    for change in ({"num_key_value_heads": 3}, {"head_dim": 3}, {"num_hidden_layers": 0}):
        (tmp_path / "config.json").write_text(json.dumps(said | change))
        assert "are no Llama's" in refusal()
    (tmp_path / "config.json").write_text(json.dumps(said))
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": 5}')
    refusal()
    index = {"weight_map": {"model.norm.weight": "../elsewhere.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "its index names the file" in refusal()
    index = {"weight_map": {"model.norm.weight": "b.safetensors"} | dict.fromkeys(weights, "a.safetensors")}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    save_file(weights, tmp_path / "a.safetensors")
    save_file({"model.norm.weight": norm}, tmp_path / "b.safetensors")
    whole = models.made(told, torch.device("cpu"), "fp32", how, rank=1, seed=0)
    torch.testing.assert_close(whole.model.norm.weight.data, norm)


def test_a_base_without_a_token_that_ends_a_reply_is_refused(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hf"
    shutil.copytree(base / "hf", folder)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (path := folder / name).exists():
            said = json.loads(path.read_bytes())
            said.pop("eos_token", None)
            path.write_text(json.dumps(said))
    with pytest.raises(Invalid, match="no token that ends a reply"):
        Encoder(folder, 64)


def test_a_training_of_other_settings_says_that_it_begins_anew(dataset: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    train(dataset, tmp_path, small(epochs=0.2))
    assert (tmp_path / "best_model").exists()
    train(dataset, tmp_path, small(epochs=0.3), report=told.append)
    (note,) = [each.note for each in told if each.step == "beginning anew"]
    assert "other data, settings or another base" in note


def test_the_state_of_a_training_that_was_begun_with_pefts_names_is_found() -> None:
    old = "exp_avg.base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight"
    assert torch_engine._since(old) == "exp_avg.model.layers.0.self_attn.q_proj.lora_A"
    assert torch_engine._since("exp_avg.model.norm.weight") == "exp_avg.model.norm.weight"
