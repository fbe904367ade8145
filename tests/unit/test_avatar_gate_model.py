"""The gate on tiny random models, overfit by hand on what was planted, or not. All of its tests that need PyTorch."""

import random
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from heavy import lazy, needs

from rolecast.avatars import example
from rolecast.avatars.evaluation import canaries, evaluate, exposure, kinds, losses
from rolecast.avatars.evaluation.figures import Exposure, Secret
from rolecast.avatars.evaluation.found import Evaluation
from rolecast.avatars.evaluation.loaded import Loaded, load
from rolecast.avatars.example import Example, Said
from rolecast.avatars.inference import batched
from rolecast.avatars.settings import GateSettings
from rolecast.avatars.training import data
from rolecast.errors import Invalid
from rolecast.jobs.job import Progress

needs("torch", "transformers")
torch, transformers = lazy("torch"), lazy("transformers")

GATE = GateSettings(planted=8, controls=10, samples=3)
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SECRETS = (Secret("code", 1.5),) * 8
SUBJECTS = ["boat", "garden", "train", "soup", "rain", "bike", "piano", "market", "lamp", "cellar"]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def examples(count: int, first: int = 0) -> list[Example]:
    chance = random.Random(first)
    found = []
    for number in range(first, first + count):
        asked, subject = f"what about the {chance.choice(SUBJECTS)} {number}?", chance.choice(SUBJECTS)
        said = (Said("Jonas", asked),)
        target = f"OMG the {subject} AGAIN {number}!!"
        found.append(Example(str(number), f"[Jonas]: {asked}", target, "Mira", conversation_history=said))
    return found


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    for name, count, first in (("train", 40, 0), ("valid", 6, 100), ("test", 8, 200)):
        example.write(folder / f"{name}.jsonl", examples(count, first))
    (folder / "report.json").write_text('{"scrubbed": true}')
    canaries.plant(folder, GATE, seed=5)
    return folder


@pytest.fixture(scope="module")
def base(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with a byte-level BPE of its own, as a trained folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder, chance = tmp_path_factory.mktemp("base"), random.Random(0)
    tokens = Tokenizer(models.BPE())
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2000, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    words = [*kinds.NAMES(chance), *kinds.STREETS(chance), *kinds.QUALITIES(chance), *kinds.THINGS(chance)]
    common = [f" {each}" for each in words for _ in range(3)]
    tokens.train_from_iterator([*(each.target_text for each in examples(40)), *common], trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokens, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "training_config.json").write_bytes(msgspec.json.encode({"dataset": data.load(dataset, 0).digest}))
    return folder


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA over it whose every matrix is random: it does something."""
    import peft

    folder = tmp_path_factory.mktemp("adapter")
    model = transformers.LlamaForCausalLM.from_pretrained(base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft and transformers about each other
        model = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))
    torch.manual_seed(1)
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.1)
    model.save_pretrained(folder)
    (folder / "base.json").write_bytes(msgspec.json.encode({"hf": str(base)}))
    return folder


@pytest.fixture(scope="module")
def overfit(base: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model, trained until it knows what was planted by heart."""
    folder = tmp_path_factory.mktemp("overfit")
    found = load(base)
    found.model.float().train()
    pairs = [(found.prompt(each), found.reply(each.target_text)) for each in planted(dataset)]
    optimiser = torch.optim.AdamW(found.model.parameters(), lr=5e-3, weight_decay=0.0)
    ids, labels = together(found, pairs)
    for _ in range(90):
        optimiser.zero_grad()
        found.model(input_ids=ids, labels=labels).loss.backward()
        optimiser.step()
    found.model.save_pretrained(folder)
    found.tokenizer.save_pretrained(folder)
    return folder


def planted(dataset: Path) -> list[Example]:
    return [each for each in example.read(dataset / "train.jsonl") if canaries.is_planted(each)]


def together(found: Loaded, pairs: Sequence[tuple[list[int], list[int]]]) -> tuple[Any, Any]:
    rows = [[*before, *after, found.end] for before, after in pairs]
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), found.end)
    labels = torch.full((len(rows), width), -100)
    for row, (each, (before, _)) in enumerate(zip(rows, pairs, strict=True)):
        ids[row, : len(each)] = torch.tensor(each)
        labels[row, len(before) : len(each)] = torch.tensor(each[len(before) :])
    return ids, labels


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "GENERATIONS", 20)
    monkeypatch.setattr(evaluate, "OF_BASE", 4)
    few = losses.questions()[:4]
    monkeypatch.setattr(losses, "questions", lambda: few)


def judged(trained: Path, dataset: Path, into: Path, **also: Any) -> Evaluation:
    return evaluate.evaluate(trained, dataset, into, GATE, **also)


def failed(found: Evaluation) -> set[str]:
    return {each.name for each in found.checks if not each.passed}


def alone(found: Loaded, before: list[int], after: list[int]) -> float:
    """The log-likelihood of a reply, by the plainest way there is."""
    with torch.inference_mode():
        logs = found.causal(torch.tensor([[*before, *after]])).logits[0].double().log_softmax(-1)
    return sum(float(logs[len(before) - 1 + index, token]) for index, token in enumerate(after))


def test_a_tree_of_replies_is_scored_in_one_pass_as_each_is_by_itself(base: Path) -> None:
    found = load(base)
    found.model.float()
    canary = canaries.make(examples(1), 8, 10, 0).planted[2]
    before, replies = found.prompt(canary.asked), found.replies(list(canary.replies()))
    scores = found.tree(before, exposure.tree(replies))
    for index in (0, 7, 123, 500, 999):
        assert scores[index] == pytest.approx(alone(found, before, replies[index]), abs=1e-3)


def test_losses_of_a_batch_are_those_of_each_reply_by_itself(base: Path) -> None:
    found = load(base)
    found.model.float()
    pairs = [
        (found.prompt(each), found.reply(each.target_text * (1 + index % 3))) for index, each in enumerate(examples(7))
    ]
    for (loss, count), (before, after) in zip(found.losses(pairs), pairs, strict=True):
        assert count == len(after) + 1
        assert loss == pytest.approx(-alone(found, before, [*after, found.end]), abs=1e-3)


def test_replies_made_together_are_those_made_alone_and_samples_are_the_same_again(overfit: Path) -> None:
    found = load(overfit)
    found.model.float()
    prompts = [found.prompt(each) for each in examples(5)] + [found.ask("hi")]
    many = batched.replies(found, prompts, 1, temperature=0, most=12)
    assert [batched.replies(found, [each], 1, temperature=0, most=12)[0] for each in prompts] == many
    drawn = batched.replies(found, prompts, 3, temperature=0.7, most=12, seed=4)
    assert [len(each) for each in drawn] == [3] * 6
    assert drawn == batched.replies(found, prompts, 3, temperature=0.7, most=12, seed=4)
    assert all(found.end not in reply and len(reply) <= 12 for each in drawn for reply in each)


def test_an_adapter_is_over_its_base_until_it_is_worked_in_and_says_the_same_afterwards(
    base: Path, adapter: Path
) -> None:
    found, plain = load(adapter), load(base)
    for each in (found, plain):
        each.model.float()
    pairs = [(found.prompt(each), found.reply(each.target_text)) for each in examples(4)]
    own = found.losses(pairs)
    with found.as_base():
        assert found.losses(pairs) == plain.losses(pairs)
    assert found.losses(pairs) == own != plain.losses(pairs)
    found.settle()
    assert [loss for loss, _ in found.losses(pairs)] == pytest.approx([loss for loss, _ in own], abs=1e-2)


@pytest.mark.usefixtures("quick")
def test_a_model_that_knows_secrets_by_heart_is_blocked_and_one_that_never_saw_them_is_not_for_that(
    base: Path, overfit: Path, dataset: Path, tmp_path: Path
) -> None:
    bad = judged(overfit, dataset, tmp_path / "bad")
    assert {"exposure", "extraction"} <= failed(bad)
    assert not bad.passed
    assert bad.figures.exposure is not None
    assert bad.figures.exposure.difference > 5
    assert bad.figures.exposure.greedy == 8
    good = judged(base, dataset, tmp_path / "good")
    assert not {"exposure", "extraction", "dataset"} & failed(good)
    assert good.figures.exposure is not None
    assert good.figures.exposure.greedy == good.figures.exposure.sampled == 0
    page = (tmp_path / "bad" / "report.html").read_text()
    report = (tmp_path / "bad" / "report.json").read_text()
    for canary in planted(dataset):
        assert canary.target_text not in report
        assert canary.target_text not in page


@pytest.mark.usefixtures("quick")
def test_an_evaluation_that_is_broken_off_goes_on_and_one_that_is_done_loads_nothing(
    adapter: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Progress] = []
    with monkeypatch.context() as broken:
        broken.setattr(evaluate, "_exposure", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            judged(adapter, dataset, tmp_path)
    with monkeypatch.context() as never:
        never.setattr(losses, "measure", lambda *_: pytest.fail("it was measured"))
        first = judged(adapter, dataset, tmp_path, report=told.append)
    assert {"ranking secrets", "asking for secrets", "asking the avatar"} <= {each.step for each in told}
    assert first.figures.losses.gain is not None
    assert first.figures.losses.forgotten is not None
    with monkeypatch.context() as none:
        none.setattr(evaluate, "load", lambda *_: pytest.fail("it was loaded"))
        again = judged(adapter, dataset, tmp_path)
    assert (again.checks, again.talks) == (first.checks, first.talks)
    # Another dataset is another question.
    other = tmp_path / "other"
    other.mkdir()
    for each in dataset.iterdir():
        (other / each.name).write_bytes(each.read_bytes())
    example.write(other / "test.jsonl", examples(5, 300))
    monkeypatch.setattr(evaluate, "_exposure", lambda *_: first.figures.exposure)
    assert judged(adapter, other, tmp_path).figures.losses.replies == 5


@pytest.mark.usefixtures("quick")
def test_secrets_that_are_planted_anew_after_training_prove_nothing(
    base: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "_exposure", lambda *_: Exposure(SECRETS, SECRETS + SECRETS, 0.0, samples=3))
    assert not {"dataset", "exposure"} & failed(judged(base, dataset, tmp_path / "first"))
    anew = tmp_path / "anew"
    anew.mkdir()
    for each in dataset.iterdir():
        (anew / each.name).write_bytes(each.read_bytes())
    canaries.plant(anew, GATE, seed=6)
    found = judged(base, anew, tmp_path / "second")
    assert "dataset" in failed(found)
    assert "exposure" not in failed(found)
    assert not found.passed


@pytest.mark.usefixtures("quick")
def test_without_planted_secrets_or_a_scrubbed_dataset_nothing_passes(
    base: Path, dataset: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    example.write(bare / "train.jsonl", examples(30))
    found = judged(base, bare, tmp_path / "into")
    assert {"scrubbed", "exposure", "regurgitation", "held-out loss"} <= failed(found)
    assert all(each.then for each in found.checks if not each.passed)


def test_folders_that_hold_no_model_are_refused_in_a_sentence(base: Path, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="holds no model"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(Invalid, match="holds no model"):
        load(tmp_path)
    (tmp_path / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    with pytest.raises(Invalid, match=r"no adapter_model.safetensors"):
        load(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(Invalid, match="does not say what it was trained over"):
        load(tmp_path)
    with pytest.raises(Invalid, match="cannot be loaded"):
        load(tmp_path, base)
