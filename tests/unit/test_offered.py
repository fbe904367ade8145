"""What servers say that they have, as each of them says it, and which of it is meant."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.backends.offered import MOST, Offered, listed, meant, shown

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "name", "model", "data", "models", "meta", "details", "x"]), inner, max_size=4
        )
    ),
    max_leaves=20,
)


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"object": "list", "data": [{"id": "gpt-x"}]}, Offered("gpt-x")),
        ({"data": [{"id": "q", "max_model_len": 8192, "owned_by": "vllm"}]}, Offered("q", 8192)),
        ({"data": [{"id": "q", "meta": {"n_ctx_train": 32768, "n_params": 7}}]}, Offered("q", 32768)),
        (
            {"data": [{"id": "nomic", "type": "embeddings", "max_context_length": 2048, "quantization": "Q8_0"}]},
            Offered("nomic", 2048, ("embeddings",), quantization="Q8_0"),
        ),
        (
            {
                "models": [
                    {"name": "a:1", "model": "a:1", "details": {"parameter_size": "8B", "quantization_level": "Q4_0"}}
                ]
            },
            Offered("a:1", parameters="8B", quantization="Q4_0"),
        ),
        ({"data": [{"type": "model", "id": "claude-x", "display_name": "X"}]}, Offered("claude-x")),
        ([{"id": "bare"}], Offered("bare")),
    ],
)
def test_each_kind_of_list_is_read(said: Any, found: Offered) -> None:
    assert listed(body(said)) == (found,)


@given(value=JSON)
def test_any_answer_at_all_gives_a_list_of_names(value: Any) -> None:
    for one in listed(body(value)):
        assert one.name
        assert one.name.isprintable()
    shown("x", body(value))


@pytest.mark.parametrize("raw", [b"", b"<html>", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_no_list(raw: bytes) -> None:
    assert listed(raw) == ()
    assert shown("x", raw) == Offered("x")


def test_a_list_without_end_is_read_to_a_bound() -> None:
    assert len(listed(body([{"id": f"m{n}"} for n in range(MOST + 10)]))) == MOST


def test_numbers_that_cannot_be_are_not_believed() -> None:
    for wrong in (-1, 0, 2**40, True, "4096", 1.5):
        assert listed(body([{"id": "m", "max_model_len": wrong}])) == (Offered("m"),)


def test_ollamas_show_tells_context_and_capabilities() -> None:
    said = {
        "capabilities": ["completion", "tools", "vision", "unheard-of"],
        "details": {"parameter_size": "4.3B", "quantization_level": "Q4_K_M"},
        "model_info": {
            "general.architecture": "gemma3",
            "gemma3.vision.context_length": 64,
            "gemma3.context_length": 131072,
        },
    }
    found = shown("gemma3:4b", body(said))
    assert found == Offered("gemma3:4b", 131072, ("chat", "completion", "tools", "vision"), "4.3B", "Q4_K_M")


@pytest.mark.parametrize(
    ("there", "name"),
    [
        ((), ""),
        (("m",), "m"),
        (("m:latest", "other"), "m"),
        (("other",), "other"),
        (("other", "nomic-embed-text"), "other"),
        (("a", "b"), ""),
    ],
)
def test_a_model_without_a_name_is_the_one_that_is_there(there: tuple[str, ...], name: str) -> None:
    assert meant("m", tuple(map(Offered, there))) == name


def test_who_says_what_it_can_needs_no_name_to_tell() -> None:
    assert Offered("x", capabilities=("embeddings",)).embeds
    assert not Offered("embed-x", capabilities=("chat", "embeddings")).embeds
    assert Offered("all-minilm:l6").embeds
