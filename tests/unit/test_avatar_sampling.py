"""How the next token is chosen, against a slow reference; and how tokens become pieces of whole characters."""

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.avatars.inference.pieces import Pieces, byte_of, raw, until
from rolecast.avatars.inference.sampling import Sampling, choose, distribution, penalised
from rolecast.errors import Invalid

np = pytest.importorskip("numpy")

LOGITS = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=40)
HOW = st.builds(
    Sampling,
    temperature=st.floats(0.05, 5),
    top_k=st.integers(0, 45),
    top_p=st.floats(0.01, 1),
    repetition_penalty=st.floats(0.5, 2),
)


def reference(logits: list[float], seen: list[int], how: Sampling) -> dict[int, float]:
    """The definition, one token after the other."""
    values = {}
    for token, value in enumerate(logits):
        if token in seen:
            value = value / how.repetition_penalty if value > 0 else value * how.repetition_penalty
        values[token] = value
    order = sorted(values, key=lambda token: (-values[token], token))
    if how.top_k:
        order = order[: how.top_k]
    best = values[order[0]]
    weights = {token: math.exp((values[token] - best) / how.temperature) for token in order}
    total = sum(weights.values())
    kept: dict[int, float] = {}
    reached = 0.0
    for token in order:
        kept[token] = weights[token] / total
        reached += kept[token]
        if how.top_p < 1 and reached >= how.top_p:
            break
    total = sum(kept.values())
    return {token: chance / total for token, chance in kept.items()}


@given(LOGITS, st.data(), HOW)
def test_the_distribution_is_the_one_of_the_definition(logits: list[float], data: st.DataObject, how: Sampling) -> None:
    seen = data.draw(st.lists(st.integers(0, len(logits) - 1), max_size=10))
    tokens, chances = distribution(np.array(logits, np.float32), seen, how)
    wanted = reference([float(np.float32(each)) for each in logits], seen, how)
    assert chances.sum() == pytest.approx(1)
    found = dict(zip(tokens.tolist(), chances.tolist(), strict=True))
    # at the very border of top-p the sums of both may round otherwise: one token more or less, of no chance to speak of
    for token in wanted.keys() | found.keys():
        assert (
            found.get(token, 0) == pytest.approx(wanted.get(token, 0), abs=1e-6) or abs(len(found) - len(wanted)) == 1
        )


@given(LOGITS, st.floats(0.1, 4), st.integers(0, 45), st.floats(0.01, 1))
def test_at_temperature_zero_the_likeliest_is_taken_whatever_else_is_said(
    logits: list[float], penalty: float, top_k: int, top_p: float
) -> None:
    how = Sampling(temperature=0, top_k=top_k, top_p=top_p, repetition_penalty=penalty)
    values = penalised(np.array(logits, np.float32), [0], penalty)
    assert choose(np.array(logits, np.float32), [0], how, np.random.default_rng(0)) == int(values.argmax())


def test_the_penalty_makes_what_was_said_less_likely_whatever_its_sign_and_counts_once() -> None:
    logits = np.array([2.0, -2.0, 1.0, 0.0], np.float32)
    values = penalised(logits, [0, 1, 1, 1, 3], 2.0)
    assert values.tolist() == [1.0, -4.0, 1.0, 0.0]
    assert logits.tolist() == [2.0, -2.0, 1.0, 0.0]


def test_top_k_and_top_p_both_apply() -> None:
    logits = np.log(np.array([0.5, 0.2, 0.15, 0.1, 0.05]))
    plain = {"temperature": 1.0, "repetition_penalty": 1.0}
    assert distribution(logits, [], Sampling(top_k=3, top_p=1, **plain))[0].tolist() == [0, 1, 2]
    assert distribution(logits, [], Sampling(top_k=0, top_p=0.69, **plain))[0].tolist() == [0, 1]
    # of the three that top-k leaves, 0.5 is 59 %: top-p looks at what is left
    assert distribution(logits, [], Sampling(top_k=3, top_p=0.58, **plain))[0].tolist() == [0]


def test_tokens_come_as_often_as_their_chances_and_a_seed_repeats_them() -> None:
    logits = np.log(np.array([0.6, 0.3, 0.1]))
    how = Sampling(temperature=1, top_k=0, top_p=1, repetition_penalty=1)
    chance = np.random.default_rng(1)
    drawn = [choose(logits, [], how, chance) for _ in range(4000)]
    shares = np.bincount(drawn, minlength=3) / 4000
    assert np.abs(shares - [0.6, 0.3, 0.1]).max() < 0.03
    again = np.random.default_rng(1)
    assert drawn == [choose(logits, [], how, again) for _ in range(4000)]


def test_extreme_logits_and_temperatures_are_no_trouble() -> None:
    wide = np.array([-np.inf, 1e30, -1e30, 3.0], np.float32)
    for temperature in (1e-300, 1e-6, 1.0, 1e9):
        tokens, chances = distribution(wide, [0, 1], Sampling(temperature=temperature, top_k=2))
        assert tokens[0] == 1
        assert np.isfinite(chances).all()
    for broken in (np.full(4, np.nan, np.float32), np.full(4, -np.inf, np.float32)):
        with pytest.raises(Invalid, match="went astray"):
            distribution(broken, [], Sampling())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", math.inf),
    ],
)
def test_settings_that_mean_nothing_are_refused(name: str, value: float) -> None:
    with pytest.raises(Invalid, match=name) as refused:
        Sampling(**{name: value})
    assert refused.value.param == name


# -- pieces --


def alphabet() -> "object":
    """A tokenizer whose tokens are bytes, one special and one plain word."""
    from tokenizers import AddedToken, Tokenizer, decoders, models

    made = Tokenizer(models.BPE(vocab=dict(byte_of().items()), merges=[]))
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken("<end>", special=True)])
    made.add_tokens([AddedToken("naïve word", special=False)])
    return made


@given(st.lists(st.integers(0, 257), max_size=30))
def test_streamed_text_is_the_whole_text_and_no_piece_ends_within_a_character(tokens: list[int]) -> None:
    pytest.importorskip("tokenizers")
    tokenizer = alphabet()
    pieces = Pieces(tokenizer)  # type: ignore[arg-type]
    said = [pieces.add(token) for token in tokens] + [pieces.end()]
    whole = tokenizer.decode(tokens, skip_special_tokens=True)  # type: ignore[attr-defined]
    assert "".join(said) == whole


@given(st.text(max_size=20))
def test_whole_characters_come_at_once(text: str) -> None:
    pytest.importorskip("tokenizers")
    pieces = Pieces(alphabet())  # type: ignore[arg-type]
    said = [pieces.add(byte) for byte in text.encode()]
    assert [each for each in said if each] == list(text)
    assert pieces.end() == ""


def test_the_table_of_bytes_is_that_of_the_library() -> None:
    pre_tokenizers = pytest.importorskip("tokenizers.pre_tokenizers")
    assert set(byte_of()) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(byte_of().values()) == list(range(256))
    assert raw("Ġhi") == b" hi"
    assert raw("<|end|> of it") == b"<|end|> of it"


@given(
    st.lists(st.text("abEND<", max_size=4), max_size=8), st.lists(st.sampled_from(["END", "<a", "b", ""]), max_size=3)
)
def test_text_ends_before_the_first_stop_wherever_pieces_are_cut(pieces: list[str], stops: list[str]) -> None:
    text = "".join(pieces)
    at = min((text.find(stop) for stop in stops if stop and stop in text), default=len(text))
    assert "".join(until(pieces, stops)) == text[:at]


def test_what_cannot_be_the_beginning_of_a_stop_is_not_held_back() -> None:
    given_out: list[str] = []

    def pieces() -> Iterator[str]:
        yield "hello E"
        given_out.append("asked for more")
        yield "N"
        yield "ding"

    out = until(pieces(), ["END"])
    assert next(out) == "hello "
    assert given_out == []
    assert "".join(out) == "ENding"
