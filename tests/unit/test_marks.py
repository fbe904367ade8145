"""Texts without what a model takes for a mark of its own, and which those are."""

from pathlib import Path

import pytest
import tiny_gguf
from hypothesis import given
from hypothesis import strategies as st

from rolecast.speech.marks import Marks
from rolecast.weights.controls import controls

CHATML = ("<|im_end|>", "<|im_start|>", "<s>", "</s>")


@given(st.lists(st.sampled_from([*CHATML, "<|im_", "end|>", "<", "s>", "a", " ", "\n"])).map("".join))
def test_no_mark_is_left_however_it_is_hidden_in_another(text: str) -> None:
    plain = Marks(CHATML).without(text)
    assert not any(mark in plain for mark in CHATML)
    assert plain == text or any(mark in text for mark in CHATML)


def test_texts_of_a_value_are_all_looked_at_and_nothing_else() -> None:
    said = [{"role": "user", "content": [{"text": "a<s>"}], "n": 1, "<s>": None}]
    assert Marks(CHATML).without_in(said) == [{"role": "user", "content": [{"text": "a"}], "n": 1, "<s>": None}]
    assert not Marks(())
    assert Marks([""]).without("<s>") == "<s>"


def test_a_million_nested_marks_take_no_time() -> None:
    text = "<|im_" * 200_000 + "end|>" * 200_000
    assert "<|im_end|>" not in Marks(CHATML).without(text)


def test_the_marks_of_a_model_are_read_from_its_file(tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "m.gguf")
    assert {*controls(path)} == {*CHATML}
    whole = path.read_bytes()
    for cut in (b"", whole[:30], whole[:2000], b"GGUF" + b"\xff" * 60):
        path.write_bytes(cut)
        assert controls(path) == ()
    assert controls(tmp_path / "none.gguf") == ()


@pytest.mark.parametrize("damage", range(24, 4000, 397))
def test_a_damaged_file_has_marks_or_none_and_raises_nothing(tmp_path: Path, damage: int) -> None:
    path = tiny_gguf.write(tmp_path / "m.gguf")
    data = bytearray(path.read_bytes())
    data[damage : damage + 8] = b"\xff" * 8
    path.write_bytes(data)
    controls(path)
