"""Which model answers a name, and what is said when none can."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.config import names
from rolecast.config.schema import Config, Model, Routing
from rolecast.decision import Choice, Facts, Verdict
from rolecast.errors import BadRequest, ModelNotFound, RolecastError, WorkerDown
from rolecast.routing import Router, build, shares
from rolecast.routing.default import Default
from rolecast.routing.named import Named
from rolecast.routing.view import View
from rolecast.values import Kind

CONFIG = Config(
    models={
        "qwen/qwen3-4b": Model(aliases=["default", "qwen:latest"]),
        "tiny": Model(capabilities=["chat"]),
        "minilm": Model(capabilities=["embeddings"], aliases=["mini"]),
        "both": Model(capabilities=["chat", "embeddings"]),
        "off": Model(enabled=False, aliases=["off-alias"]),
        "loner": Model(),
    },
    roles={
        "standard": ["qwen/qwen3-4b", "tiny"],
        "mixed": ["minilm", "tiny", "both"],
        "embeddings": ["minilm"],
        "spare": ["off", "tiny"],
        "empty": ["off"],
    },
)


def pick(name: str, kind: Kind = "chat", config: Config = CONFIG) -> Choice:
    return build(names.table(config), config).choose(Facts(name, kind))


@pytest.mark.parametrize(
    ("name", "model", "role", "source", "reason"),
    [
        ("qwen/qwen3-4b", "qwen/qwen3-4b", "standard", "explicit", "asked for model qwen/qwen3-4b"),
        ("qwen:latest", "qwen/qwen3-4b", "standard", "alias", "asked for alias qwen:latest"),
        ("standard", "qwen/qwen3-4b", "standard", "role", "asked for role standard"),
        ("auto", "qwen/qwen3-4b", "standard", "default", "no model named, default role for chat"),
        ("", "qwen/qwen3-4b", "standard", "default", "no model named, default role for chat"),
        ("loner", "loner", "", "explicit", "asked for model loner"),
    ],
)
def test_a_name_is_obeyed_and_the_choice_explained(name: str, model: str, role: str, source: str, reason: str) -> None:
    choice = pick(name)
    assert (choice.model, choice.role, choice.source, choice.reason) == (model, role, source, reason)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("tiny:latest", "tiny"),
        ("standard:latest", "qwen/qwen3-4b"),
        ("default:latest", "qwen/qwen3-4b"),
        ("auto:latest", "qwen/qwen3-4b"),
        ("qwen", "qwen/qwen3-4b"),
    ],
)
def test_the_tag_that_clients_of_ollama_put_behind_a_name_means_nothing(name: str, model: str) -> None:
    assert pick(name).model == model


def test_a_name_that_is_written_with_that_tag_comes_first() -> None:
    config = Config(models={"a": Model(), "b": Model(aliases=["a:latest"])})
    assert (pick("a", config=config).model, pick("a:latest", config=config).model) == ("a", "b")
    for unknown in ("nobody:latest", "a:8b", "a:latest:latest:latest", "a:LATEST"):
        with pytest.raises(ModelNotFound):
            pick(unknown, config=config)


def test_only_a_role_has_alternatives() -> None:
    assert pick("standard").alternatives == ("tiny",)
    assert pick("auto").alternatives == ("tiny",)
    assert pick("qwen/qwen3-4b").alternatives == pick("default").alternatives == ()


def test_a_role_answers_with_its_models_that_can_do_it() -> None:
    assert (pick("mixed").model, pick("mixed").alternatives) == ("tiny", ("both",))
    assert pick("mixed", "embeddings").model == "minilm"


def test_a_role_leaves_its_disabled_models_out() -> None:
    assert (pick("spare").model, pick("spare").alternatives) == ("tiny", ())


def test_embeddings_have_a_default_role_of_their_own() -> None:
    choice = pick("auto", "embeddings")
    assert (choice.model, choice.role) == ("minilm", "embeddings")
    assert choice.reason == "no model named, default role for embeddings"


VECTORS = Config(
    models={
        "a": Model(capabilities=["embeddings"], source="hf:x/a"),
        "a-again": Model(capabilities=["embeddings"], source="hf:x/a", context=512),
        "a-other": Model(capabilities=["embeddings"], source="hf:x/a", sha256="0" * 64),
        "b": Model(capabilities=["embeddings"], source="hf:x/b"),
        "far-1": Model(capabilities=["embeddings"], backend="openai"),
        "far-2": Model(capabilities=["embeddings"], backend="openai"),
    },
    roles={
        "different": ["a", "b"],
        "same": ["a", "b", "a-other", "a-again"],
        "remotes": ["far-1", "far-2"],
        "equals": [["far-1", "far-2"], "a"],
    },
)


@pytest.mark.parametrize(
    ("role", "alternatives"),
    [("different", ()), ("same", ("a-again",)), ("remotes", ()), ("equals", ("far-2",))],
)
def test_vectors_come_from_one_model_only(role: str, alternatives: tuple[str, ...]) -> None:
    assert pick(role, "embeddings", VECTORS).alternatives == alternatives


# -- what a request needs --------------------------------------------------------------------------------------

SENSES = Config(
    models={
        "text": Model(source="x"),
        "eyes": Model(source="x", capabilities=["chat", "vision"]),
        "all": Model(source="x", capabilities=["chat", "vision", "audio"], tools=True),
        "far": Model(backend="openai"),
        "far-eyes": Model(backend="openai", capabilities=["chat", "vision"]),
        "off": Model(capabilities=["chat", "vision", "audio", "video"], enabled=False),
        "vectors": Model(capabilities=["embeddings", "video"]),
    },
    roles={
        "standard": ["text", "eyes", "all"],
        "blind": ["text"],
        "open": ["text", "far"],
        "declared": ["far", "text", "far-eyes", "eyes"],
        "equals": [["text", "eyes", "all"], "far-eyes"],
    },
)


def can(model_id: str, need: str) -> bool | None:
    """Local models do what their configuration says; of remotes that say nothing, nothing is known."""
    model = SENSES.models[model_id]
    said = need in model.capabilities or (need == "tools" and model.tools)
    return said or (None if model.backend == "openai" else False)


def look(name: str, *needs: str, prefers: str = "") -> Choice:
    facts = Facts(name, "chat", frozenset(needs), frozenset(prefers.split()))
    return build(names.table(SENSES), SENSES, can).choose(facts)


@pytest.mark.parametrize(
    ("name", "needs", "models"),
    [
        ("standard", "", ["text", "eyes", "all"]),
        ("standard", "vision", ["eyes", "all"]),
        ("auto", "vision", ["eyes", "all"]),
        ("standard", "vision audio", ["all"]),
        ("standard", "tools", ["all"]),
        ("open", "vision", ["far"]),
        ("open", "tools", ["far"]),
        ("far", "vision", ["far"]),
        ("far", "video", ["far"]),
        ("declared", "vision", ["far-eyes", "eyes"]),
        ("declared", "audio", ["far", "far-eyes"]),
        ("eyes", "vision", ["eyes"]),
    ],
)
def test_only_models_that_can_do_it_are_chosen(name: str, needs: str, models: list[str]) -> None:
    choice = look(name, *needs.split())
    assert [choice.model, *choice.alternatives] == models


@pytest.mark.parametrize(
    ("name", "needs", "words"),
    [
        ("text", "vision", "'text' cannot take images, and this request holds some. Here eyes, all, far-eyes can."),
        ("blind", "audio", "'blind' cannot take sound, and this request holds some. Here all can."),
        (
            "eyes",
            "video",
            "'eyes' cannot take video, and this request holds some. No model here can: send it without, or add",
        ),
        ("text", "tools", "'text' cannot be made to call a tool"),
    ],
)
def test_what_is_lacking_is_named_and_who_can(name: str, needs: str, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        look(name, *needs.split())
    error = caught.value
    assert (error.status, error.code, error.param) == (400, "wrong_capability", "model")
    assert error.message.startswith(words)


def test_a_wish_puts_those_who_cannot_last() -> None:
    choice = look("standard", prefers="tools")
    assert (choice.model, choice.alternatives) == ("all", ("text", "eyes"))
    choice = look("open", prefers="tools")
    assert (choice.model, choice.alternatives) == ("far", ("text",))
    assert look("text", prefers="tools").model == "text"


# -- equals ------------------------------------------------------------------------------------------------------


def test_equals_share_what_each_of_them_can_do() -> None:
    assert look("equals").equals == (("text", "eyes", "all"),)
    assert look("equals", "vision").equals == (("eyes", "all"),)
    assert look("equals", "tools").equals == ()


def test_each_of_the_equals_leads_once_and_the_others_back_it() -> None:
    orders = [(c.model, *c.alternatives) for c in shares(look("equals"))]
    assert orders == [
        ("text", "eyes", "all", "far-eyes"),
        ("eyes", "all", "text", "far-eyes"),
        ("all", "text", "eyes", "far-eyes"),
    ]
    assert shares(look("standard")) == []


def failure(name: str, kind: Kind = "chat", config: Config = CONFIG) -> RolecastError:
    with pytest.raises(RolecastError) as caught:
        pick(name, kind, config)
    assert caught.value.param == "model"
    return caught.value


def test_an_unknown_name_is_not_found() -> None:
    error = failure("nobody")
    assert isinstance(error, ModelNotFound)
    assert (error.status, error.code) == (404, "model_not_found")
    assert "GET /v1/models" in error.message
    assert "did you mean" not in error.message
    assert len(failure("x" * 10_000).message) < 400


def test_a_name_with_a_slip_is_told_with_the_one_that_was_meant() -> None:
    assert "does not exist here; did you mean 'standard'? GET /v1/models" in failure("standrad").message


def test_a_disabled_model_says_so() -> None:
    error = failure("off")
    assert isinstance(error, WorkerDown)
    assert (error.status, error.code) == (503, "model_disabled")
    assert isinstance(failure("off-alias"), ModelNotFound)


@pytest.mark.parametrize(("name", "kind"), [("minilm", "chat"), ("mini", "completion"), ("tiny", "embeddings")])
def test_a_model_that_cannot_do_it_says_what_it_can(name: str, kind: Kind) -> None:
    error = failure(name, kind)
    assert isinstance(error, BadRequest)
    assert (error.status, error.code) == (400, "wrong_capability")
    assert f"cannot do {kind}: its capabilities are" in error.message
    assert error.message.endswith("Here minilm, both can." if kind == "embeddings" else " can.")


def test_when_nobody_can_the_setting_is_told_that_adds_one() -> None:
    error = failure("tiny", "rerank")
    assert error.code == "wrong_capability"
    assert error.message.endswith("No model here can: add one with `capabilities: [rerank]`.")


def test_a_role_without_anybody_able_is_the_same_mistake() -> None:
    assert failure("embeddings", "chat").code == "wrong_capability"
    assert failure("empty").code == "wrong_capability"


def test_without_a_default_role_a_model_must_be_named() -> None:
    bare = Config(models={"tiny": Model()}, routing=Routing(default="nowhere"))
    assert "no role 'nowhere' exists for chat" in failure("auto", "chat", bare).message
    assert "Name a model, or add the role" in failure("", "embeddings", bare).message


def test_strategies_are_asked_in_their_order_until_one_knows() -> None:
    class Says:
        def __init__(self, answer: str) -> None:
            self.answer = answer

        def decide(self, view: View) -> Verdict | None:
            return Verdict(self.answer, "rule", f"said {self.answer}", 0.9) if self.answer else None

    named = Named(names.table(CONFIG), CONFIG, lambda *_: None)
    default = Default(named, CONFIG)

    def chosen(*answers: str) -> Choice:
        router = Router(named, default, [Says(a) for a in answers], lambda f: View(f, lambda: None, {}))
        return router.choose(Facts("", "chat"))

    assert (chosen("", "tiny", "loner").model, chosen("", "tiny").reason) == ("tiny", "said tiny")
    assert chosen("nobody", "minilm", "loner").model == "loner"  # unknown, and no chat model: the next is asked
    assert chosen("").source == "default"
    assert (
        Router(named, default, [Says("loner")], lambda f: View(f, lambda: None, {})).choose(Facts("tiny", "chat")).model
        == "tiny"
    )  # a name is obeyed


@given(
    name=st.sampled_from([*names.table(CONFIG), "", "auto", "x", "x" * 999]) | st.text(),
    kind=st.sampled_from(["chat", "completion", "embeddings"]),
)
def test_whatever_is_asked_the_choice_is_a_model_that_can_do_it(name: str, kind: Any) -> None:
    try:
        choice = pick(name, kind)
    except (BadRequest, ModelNotFound, WorkerDown):
        return
    for model in (choice.model, *choice.alternatives):
        assert CONFIG.models[model].enabled
        assert kind in CONFIG.models[model].capabilities
    assert choice.model not in choice.alternatives


WORDED = Config(
    models={
        "small": Model(),
        "big": Model(capabilities=["chat", "completion", "code_review", "vision"]),
        "vectors": Model(capabilities=["embeddings"]),
        "heavy": Model(enabled=False),
    },
    roles={"standard": ["small"], "coding": ["big"], "legal_analysis": ["big", "small"]},
)


@pytest.mark.parametrize(
    ("word", "model"),
    [
        ("light", "small"),  # no such role: the standard one is the light one
        ("coding", "big"),  # a configured name
        ("code_generation", "big"),  # a category, by its role
        ("code_generation:latest", "big"),
        ("code_review", "big"),  # a word that a model lists
        ("code_review_debugging", "big"),  # its other spelling
        ("legal_document_analysis", "big"),  # another spelling of a configured name
        ("vision", "big"),
        ("conversational_chat", "small"),
        ("reasoning", "small"),  # neither the role nor a heavy one: the standard one
        ("tagging", "small"),
        ("embeddings", "vectors"),
    ],
)
def test_words_of_other_systems_mean_what_there_is_of_the_kind(word: str, model: str) -> None:
    kind: Kind = "embeddings" if word == "embeddings" else "chat"
    choice = pick(word, kind, WORDED)
    assert choice.model == model
    assert choice.source in ("role", "rule")


def test_a_word_is_explained_and_a_configured_name_wins() -> None:
    choice = pick("mathematical_reasoning", config=WORDED)
    assert (choice.source, choice.role) == ("rule", "standard")
    assert choice.reason == "asked for the word mathematical_reasoning, which means standard"
    with pytest.raises(WorkerDown, match="disabled"):
        pick("heavy", config=WORDED)  # a model of that name, though disabled
    with pytest.raises(ModelNotFound):
        pick("gpt-4o", config=WORDED)
    with pytest.raises(BadRequest, match="cannot do chat"):
        pick("embeddings", config=WORDED)
