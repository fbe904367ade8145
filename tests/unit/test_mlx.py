"""Models on MLX: what is planned, where an answer ends, and what a refusal may say. The engine runs in the contract."""

import importlib.util
import json
import sys
from pathlib import Path

import msgspec
import pytest
import tiny_folder
from hypothesis import given
from hypothesis import strategies as st

from rolecast import backends
from rolecast.backends.mlx import Mlx, Options
from rolecast.backends.mlx_stops import Stops
from rolecast.backends.mlx_worker import arguments
from rolecast.config.check import check
from rolecast.config.schema import Config, Model
from rolecast.errors import ConfigError, SourceError
from rolecast.values import Failure, Launch, Listen
from rolecast.weights import folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder.write(tmp_path_factory.mktemp("tiny"), context=512)


def planned(weights: Path, **settings: object) -> tuple[Launch, Options]:
    launch = Mlx().plan("m", Model(backend="mlx", source="file:x", **settings), weights, Listen("/run/w.sock"))  # type: ignore[arg-type]
    return launch, msgspec.json.decode(launch.argv[-1], type=Options)


def test_the_worker_is_told_what_the_settings_say(weights: Path) -> None:
    launch, options = planned(weights, context=256, parallel=3, prompt_cache="1MiB", args=["--prefill-step-size", "64"])
    assert launch.argv[:4] == (sys.executable, "-P", "-m", "rolecast.backends.mlx_worker")
    assert launch.endpoint is not None
    assert launch.endpoint.uds == options.socket == "/run/w.sock"
    assert (options.folder, options.context, options.parallel) == (str(weights.parent), 256, 3)
    words = arguments(options)
    said = dict(zip(words[1::2], words[2::2], strict=True))
    assert said["--model"] == str(weights.parent)
    assert (said["--decode-concurrency"], said["--max-tokens"]) == ("3", "256")
    assert (said["--prompt-cache-bytes"], said["--prefill-step-size"]) == (str(1 << 20), "64")
    assert said["--allowed-origins"] == ""


def test_its_command_line_is_one_that_mlx_lm_has(weights: Path) -> None:
    package = importlib.util.find_spec("mlx_lm")
    assert package is not None
    assert package.origin is not None
    text = Path(package.origin).with_name("server.py").read_text()
    _, options = planned(weights, chat_template_kwargs={"enable_thinking": False})
    flags = [word for word in arguments(options) if word.startswith("--")]
    assert len(flags) == 8
    assert [flag for flag in flags if f'"{flag}"' not in text] == []
    assert json.loads(options.template) == {"enable_thinking": False}


def test_the_context_is_at_most_what_the_weights_were_trained_on(weights: Path) -> None:
    assert planned(weights, context=100_000)[1].context == 512
    assert planned(weights, context=0)[1].context == 512


def test_weights_that_are_no_folder_are_refused_before_a_start(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="folder of safetensors"):
        Mlx().plan("m", Model(), None, Listen())
    with pytest.raises(SourceError, match="is no model for mlx"):
        Mlx().plan("m", Model(), tmp_path / "x.gguf", Listen())
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SourceError, match=r"no file that ends in \.safetensors"):
        Mlx().plan("m", Model(), tmp_path / "config.json", Listen())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"source": "ollama:llama3"}, "must name a folder of safetensors"),
        ({"source": "hf:o/r/model.gguf"}, "must name a folder of safetensors"),
        ({"source": "hf:o/r", "capabilities": ["embeddings"]}, "mlx-lm does no embeddings"),
        ({"source": "hf:o/r", "capabilities": ["speech"]}, "does no speech"),
        ({}, "'source' is missing"),
    ],
)
def test_settings_that_cannot_work_are_told_by_check(settings: dict[str, object], said: str) -> None:
    config = Config(models={"m": Model(backend="mlx", **settings)}, roles={"standard": ["m"]})  # type: ignore[arg-type]
    assert any(said in text for _, text in check(config, backends.table()))


def test_what_the_model_can_is_read_from_its_chat_template(weights: Path, tmp_path: Path) -> None:
    mlx, model = Mlx(), Model()
    assert mlx.can(model, weights, "tools") is False
    assert mlx.can(model, weights, "base") is False
    assert mlx.can(model, weights, "vision") is None
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "chat_template.jinja").write_text("{% if tools %}{{ '<think>' }}{% endif %}")
    assert mlx.can(model, tmp_path / "config.json", "tools") is True
    assert mlx.can(model, tmp_path / "config.json", "thinking") is True


def test_a_refusal_says_nothing_of_the_request() -> None:
    secret = "my secret"
    for told in (f"Conversation has {secret}", f"KeyError: {secret}", f"'{secret}' must be of type str"):
        assert secret not in Mlx().explain(400, Failure(told)).message
    said = Mlx().explain(400, Failure("top_p must be at most 1"))
    assert "top_p must be at most 1" in said.message
    long = Mlx().explain(400, Failure("The prompt of 900 tokens is longer than the context of 512 tokens."))
    assert (long.code, long.status) == ("context_length_exceeded", 400)


# -- stop sequences ----------------------------------------------------------------------------------------------

TEXTS = st.text(alphabet="abX", max_size=30)


@given(text=TEXTS, sequences=st.lists(st.text(alphabet="abX", max_size=4), max_size=3), cuts=st.data())
def test_in_any_pieces_an_answer_ends_before_the_first_stop_sequence(
    text: str, sequences: list[str], cuts: st.DataObject
) -> None:
    stops, said, over, rest = Stops(sequences), "", False, text
    while rest and not over:
        size = cuts.draw(st.integers(1, len(rest)))
        piece, over = stops.cut(rest[:size])
        said, rest = said + piece, rest[size:]
        if not over:
            assert not any(each and each in said for each in sequences)
    found = [place for each in sequences if each and (place := text.find(each)) >= 0]
    if over:
        # The first one that is complete ends it: one that begins earlier may need more of the text.
        assert any(each and text.startswith(each, len(said)) for each in sequences)
    else:
        assert not found
        assert said + stops.rest() == text


def test_what_may_begin_a_stop_sequence_is_held_back_and_nothing_else() -> None:
    stops = Stops(["END"])
    assert stops.cut("abc E") == ("abc ", False)
    assert stops.cut("N") == ("", False)
    assert stops.cut("x") == ("ENx", False)
    assert stops.cut("E") == ("", False)
    assert stops.rest() == "E"
    assert stops.rest() == ""


# -- folders -----------------------------------------------------------------------------------------------------


def test_a_folder_in_parts_is_whole_only_with_all_of_them(tmp_path: Path) -> None:
    path = tiny_folder.write(tmp_path, parts=2)
    assert folder.lacks(tmp_path) == ""
    assert folder.size_bytes(path) > 50_000
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors is missing" in folder.lacks(tmp_path)


@pytest.mark.parametrize(
    "config", ["", "[]", "{", '{"max_position_embeddings": -1}', '{"max_position_embeddings": "x"}']
)
def test_a_damaged_config_is_no_harm(config: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config)
    assert folder.trained(tmp_path / "config.json") == 0


def test_the_context_of_a_model_that_sees_is_that_of_its_text(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"text_config": {"max_position_embeddings": 131072}}')
    assert folder.trained(tmp_path / "config.json") == 131072
