"""The learned router as it is shipped: what it says, when it abstains, and what it makes of a file that is none."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from rolecast.routing.features import BUCKETS, SHAPE, see
from rolecast.routing.fewshot import Labels
from rolecast.routing.learned import MODEL, Learned

ROUTER = Path(__file__).parents[2] / "training" / "router"
HEADS = {"category": 15, "role": 4, "tier": 2, "domain": 21, "scope": 1, "weak_right": 1, "difficulty": 1}


@pytest.fixture(scope="module")
def model() -> Learned:
    return Learned.load()


def parts(**changed: object) -> dict[str, np.ndarray]:
    with np.load(MODEL, allow_pickle=False) as file:
        return {**{name: file[name] for name in file.files}, **changed}


def test_it_has_a_head_for_every_set_of_labels(model: Learned) -> None:
    assert {name: len(head.labels) for name, head in model.heads.items()} == HEADS


@pytest.mark.parametrize(
    ("text", "head", "label"),
    [
        ("Translate 'good morning, how are you?' into Polish.", "category", "translation"),
        ("write a python function that merges two sorted lists", "category", "code_generation"),
        ("solve 3x + 7 = 22 for x", "category", "mathematical_reasoning"),
        ("draw me a picture of a fox in the snow", "category", "image_generation"),
        ("write a python function that merges two sorted lists", "role", "coding"),
        ("what is the capital of Norway", "tier", "light"),
        (
            "Is a landlord liable if a tenant is injured on the stairs? Cite the doctrine of negligence.",
            "domain",
            "LAW",
        ),
        ("How does natural selection act on the genes of a population of finches?", "domain", "BIOLOGY"),
    ],
)
def test_plain_prompts_get_their_label(model: Learned, text: str, head: str, label: str) -> None:
    assert model.look(text).opinion(head).label == label


def test_probabilities_are_ranked_and_sum_to_one(model: Learned) -> None:
    said = model.look("why is the sky blue").opinion("domain")
    values = list(said.probabilities.values())
    assert sum(values) == pytest.approx(1)
    assert values == sorted(values, reverse=True)
    assert next(iter(said.probabilities)) == said.label
    assert said.confidence == values[0]


@pytest.mark.parametrize("text", ["", "?", "\0", "\ud800", "qwpo zxnv ghhh", "a" * 500_000, "9" * 5000], ids=range(7))
def test_nonsense_gets_finite_scores_and_probabilities(model: Learned, text: str) -> None:
    sight = model.look(text)
    assert np.isfinite(sight.scores).all()
    for head in model.heads:
        assert 0 <= sight.opinion(head).confidence <= 1


@pytest.mark.parametrize(
    "text", ["", " \n ", "\0", "\ud800", "?!?!", "--- ... ---", "xqzt vvk", "qwpo zxnv ghhh"], ids=range(8)
)
def test_no_head_is_sure_of_a_prompt_without_words_that_it_knows(model: Learned, text: str) -> None:
    sight = model.look(text)
    assert not any(sight.opinion(head).sure for head in ("category", "role", "tier", "domain"))
    assert not Labels("room", model, EXAMPLES).opinion(sight).sure


def test_a_head_that_is_not_there_is_a_key_error(model: Learned) -> None:
    with pytest.raises(KeyError):
        model.look("hi").opinion("mood")


def test_a_file_of_another_format_or_size_is_refused_with_a_reason() -> None:
    about = json.loads(parts()["about"].tobytes())
    other = np.frombuffer(json.dumps({**about, "format": 99}).encode(), np.uint8)
    with pytest.raises(ValueError, match="format 99"):
        Learned(parts(about=other))
    with pytest.raises(ValueError, match="does not fit"):
        Learned(parts(dense=np.zeros((3, 3), np.float32)))


def test_a_file_with_objects_in_it_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "router.npz"
    np.savez(path, about=np.array([{"format": 1}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        Learned.load(path)


@pytest.mark.parametrize("cut", [0, 10, 3_000_000, -40], ids=["empty", "stub", "half", "tail"])
def test_a_damaged_file_is_refused_and_named(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "router.npz"
    path.write_bytes(MODEL.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"router\.npz|pickled"):
        Learned.load(path)


def test_a_file_that_lacks_a_part_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "router.npz"
    np.savez(path, **{name: part for name, part in parts().items() if name != "bias"})
    with pytest.raises(ValueError, match=r"router\.npz"):
        Learned.load(path)


def test_a_file_that_is_missing_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Learned.load(tmp_path / "none.npz")


def test_threads_share_one_model(model: Learned) -> None:
    texts = [
        f"{verb} {thing}" for verb in ("translate", "draw", "debug", "prove") for thing in ("it", "π", "a poem " * 200)
    ]
    alone = [model.look(t).opinion("category").probabilities for t in texts]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(lambda t: model.look(t).opinion("category").probabilities, texts)) == alone


def test_the_package_without_the_learned_router_does_not_import_numpy() -> None:
    code = "import sys, rolecast.app, rolecast.routing; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_training_and_serving_compute_the_same_numbers(model: Learned) -> None:
    pytest.importorskip("scipy")
    sys.path.insert(0, str(ROUTER))
    from matrix import counts, weighted

    texts = [
        "Write a poem about rust (the metal).",
        "Wrtie a peom",
        "def f(x):\n    return x +",
        "какая погода завтра",
        "",
    ]
    rarity = parts()["rarity"].astype(np.float32)
    rows = weighted(counts([see(model.spelling.mended(t)) for t in texts]), rarity)
    for row, text in zip(rows, texts, strict=True):
        sight = model.look(text)
        mine = np.zeros(BUCKETS, np.float32)
        mine[sight.seen.buckets] = sight.sparse
        np.testing.assert_allclose(mine, row.toarray()[0], atol=1e-5)


def test_the_shape_is_the_last_part_of_the_dense_weights(model: Learned) -> None:
    sight = model.look("")
    assert len(parts()["dense"]) == len(sight.meaning) + SHAPE


EXAMPLES = {
    "kitchen": ["how long do I boil an egg", "a recipe for lentil soup", "can I freeze cooked rice", "best oil to fry"],
    "garden": ["when do I plant tulips", "slugs eat my lettuce", "how to prune roses", "my lawn turns brown"],
}


def test_labels_are_learned_from_a_few_examples(model: Learned) -> None:
    labels = Labels("room", model, EXAMPLES)
    assert labels.opinion(model.look("how do I cook rice for soup")).label == "kitchen"
    assert labels.opinion(model.look("when should I prune my tulips")).label == "garden"


def test_a_prompt_far_from_all_examples_is_less_sure_than_an_example(model: Learned) -> None:
    labels = Labels("room", model, EXAMPLES)
    for text in ("\u4e16\u754c", "\u043c\u0438\u0440", "\u3053\u3093\u306b\u3061\u306f"):
        far = labels.opinion(model.look(text))
        assert not far.sure
        assert far.confidence == pytest.approx(0.5, abs=0.2)
        assert far.confidence < labels.opinion(model.look("how long do I boil an egg")).confidence


@pytest.mark.parametrize(
    ("examples", "words"),
    [
        ({}, "at least two"),
        ({"one": ["a"]}, "at least two"),
        ({"one": ["a"], "two": []}, "no examples"),
        ({"one": ["a"] * 1500, "two": ["b"] * 1500}, "at most"),
    ],
)
def test_examples_that_teach_nothing_are_refused(model: Learned, examples: dict[str, list[str]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Labels("x", model, examples)


def test_equal_or_empty_examples_of_two_labels_do_no_harm(model: Learned) -> None:
    labels = Labels("x", model, {"one": ["", "same"], "two": ["same", ""]})
    said = labels.opinion(model.look("same"))
    assert said.confidence == pytest.approx(0.5, abs=0.05)
    assert np.isfinite(said.confidence)
