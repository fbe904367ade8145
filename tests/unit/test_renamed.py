"""An answer names the model that was asked, wherever the engine's bytes are cut."""

import json
from typing import Any

import pytest

from rolecast.turn.passage import Passage
from rolecast.turn.renamed import Renamed

OLD, NEW = b'"model":"avatar-base/1f"', b'"model":"avatar/mira"'
EVENT = b'data: {"choices":[{"delta":{"content":"\\"model\\":\\"avatar-base/1f\\""}}],"model":"avatar-base/1f"}\n\n'


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, bool]]:
    found: list[tuple[bytes, bool]] = []
    monkeypatch.setattr(Passage, "on_body", lambda self, parts, last: found.append((b"".join(parts), last)))
    monkeypatch.setattr(Passage, "on_end", lambda self: None)
    return found


def renamed() -> Renamed:
    exchange: Any = None
    return Renamed(exchange, OLD, NEW)


@pytest.mark.parametrize("cut", range(1, len(EVENT)))
def test_the_name_is_exchanged_wherever_the_bytes_are_cut(given: list[tuple[bytes, bool]], cut: int) -> None:
    answer = renamed()
    answer.on_body([EVENT[:cut]], False)
    answer.on_body([EVENT[cut:], EVENT], True)
    whole = b"".join(data for data, _ in given)
    assert whole.count(b'"model":"avatar/mira"') == 2
    for event in whole.split(b"\n\n")[:-1]:
        said = json.loads(event.removeprefix(b"data: "))
        assert said["model"] == "avatar/mira"
        assert said["choices"][0]["delta"]["content"] == '"model":"avatar-base/1f"'  # what was said stays
    assert given[-1][1]


def test_what_was_held_back_comes_when_the_connection_ends(given: list[tuple[bytes, bool]]) -> None:
    answer = renamed()
    answer.on_body([b'{"text":1,"mod'], False)
    answer.on_end()
    assert given == [(b'{"text":1,', False), (b'"mod', True)]
