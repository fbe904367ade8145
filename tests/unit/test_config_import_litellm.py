"""What becomes of LiteLLM's deployments, fallbacks, kinds and credentials, and what is said of the rest."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from foreign_files import bring_file, bring_in, foreign

from rolecast.config.importers import kinds
from rolecast.config.schema import Config, Model
from rolecast.values import KINDS


def deployed(tmp_path: Path, *entries: dict[str, Any], **sections: Any) -> tuple[Config, str]:
    """What a file with these deployments becomes: (model_name, litellm_params, ...) as mappings."""
    text = msgspec.json.encode({"model_list": entries, **sections}).decode()
    return bring_in(tmp_path, "litellm.yaml", text)


def one(tmp_path: Path, info: dict[str, Any] | None = None, **params: Any) -> tuple[Model, str]:
    """The model that one deployment becomes, and the notes."""
    entry = {"model_name": "it", "litellm_params": params, "model_info": info}
    loaded, notes = deployed(tmp_path, entry)
    return loaded.models["it"], notes


@pytest.mark.parametrize(
    ("model", "url", "key", "remote"),
    [
        ("openai/gpt-4o", "https://api.openai.com/v1", "env:OPENAI_API_KEY", "gpt-4o"),
        ("gpt-4o", "https://api.openai.com/v1", "env:OPENAI_API_KEY", "gpt-4o"),
        ("anthropic/claude-x", "https://api.anthropic.com/v1", "env:ANTHROPIC_API_KEY", "claude-x"),
        (
            "gemini/gemini-x",
            "https://generativelanguage.googleapis.com/v1beta/openai",
            "env:GEMINI_API_KEY",
            "gemini-x",
        ),
        ("groq/llama", "https://api.groq.com/openai/v1", "env:GROQ_API_KEY", "llama"),
        ("openrouter/a/b:free", "https://openrouter.ai/api/v1", "env:OPENROUTER_API_KEY", "a/b:free"),
        ("together_ai/a/b", "https://api.together.xyz/v1", "env:TOGETHERAI_API_KEY", "a/b"),
        ("deepseek/deepseek-chat", "https://api.deepseek.com/v1", "env:DEEPSEEK_API_KEY", "deepseek-chat"),
        ("ollama/llama3:8b", "http://127.0.0.1:11434/v1", "", "llama3:8b"),
        ("lm_studio/phi", "http://127.0.0.1:1234/v1", "", "phi"),
        ("huggingface/a/b", "https://router.huggingface.co/v1", "env:HF_TOKEN", "a/b"),
    ],
)
def test_providers_that_speak_the_dialect_become_remotes(
    tmp_path: Path, model: str, url: str, key: str, remote: str
) -> None:
    made, _ = one(tmp_path, model=model)
    assert (made.enabled, made.url, made.key, made.remote_model) == (True, url, key, remote)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "https://api.anthropic.com/v1"),
        ({"api_base": "https://a.example/anthropic"}, "https://a.example/anthropic/v1"),
        ({"api_base": "https://a.example/v1/messages"}, "https://a.example/v1"),
        ({"api_base": "https://a.example/v1/"}, "https://a.example/v1"),
    ],
)
def test_anthropics_dialect_is_spoken_wherever_its_server_is(tmp_path: Path, given: dict[str, Any], url: str) -> None:
    made, _ = one(tmp_path, model="anthropic/claude-x", **given)
    assert (made.enabled, made.backend, made.url, made.remote_model) == (True, "anthropic", url, "claude-x")


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"model": "bedrock/amazon.nova", "aws_region_name": "eu"}, "provider bedrock does not speak"),
        ({"model": "vertex_ai/gemini-x"}, "provider vertex_ai does not speak"),
        ({"model": "gemini-2.5-pro"}, "provider vertex_ai does not speak"),
        ({"model": "sagemaker/x"}, "provider sagemaker does not speak"),
        ({"model": "azure/dep", "api_base": "https://c.openai.azure.com", "api_version": "1"}, "Azure's addresses"),
        ({"model": "gemini/x", "api_base": "https://a.example"}, "with an address of its own"),
        ({"model": "newcomer/x"}, "provider newcomer does not speak"),
        ({"model": "x", "custom_llm_provider": "replicate"}, "provider replicate does not speak"),
        ({"model": "hosted_vllm/x"}, "api_base is missing"),
        ({"model": "openai/x", "api_base": "os.environ/BASE"}, "write the value of BASE into url"),
        ({"model": "os.environ/NAME", "api_base": "http://a/v1"}, "write the value of NAME into remote_model"),
        ({"model": "openai/os.environ/NAME"}, "write the value of NAME into remote_model"),
        ({"api_base": "http://a/v1"}, "litellm_params.model is missing"),
    ],
)
def test_what_cannot_be_asked_is_disabled_with_the_reason(tmp_path: Path, params: dict[str, Any], reason: str) -> None:
    made, notes = one(tmp_path, **params)
    assert not made.enabled
    assert any("models.it: disabled" in line and reason in line for line in notes.splitlines()), notes


@pytest.mark.parametrize(
    ("params", "url"),
    [
        ({"model": "ollama_chat/x", "api_base": "http://h:11434/"}, "http://h:11434/v1"),
        ({"model": "ollama/x", "api_base": "http://h:11434/v1"}, "http://h:11434/v1"),
        ({"model": "ollama/x", "api_base": "http://h:11434/api/generate"}, "http://h:11434/v1"),
        ({"model": "openai/x", "api_base": "http://h/v1/chat/completions"}, "http://h/v1"),
        ({"model": "openai/x", "base_url": "http://h/v1/embeddings"}, "http://h/v1"),
        ({"model": "org/x", "api_base": "http://h/v1"}, "http://h/v1"),
        ({"model": "huggingface/a/b", "api_base": "https://tgi.example"}, "https://tgi.example/v1"),
        ({"model": "azure/dep", "api_base": "https://c.openai.azure.com/openai/v1/"}, "https://c.openai.azure.com/openai/v1"),
        ({"model": "openai/x", "api_base": "http://me:hush@h/v1"}, "http://h/v1"),
    ],
)  # fmt: skip
def test_the_base_url_is_the_part_before_the_endpoint(tmp_path: Path, params: dict[str, Any], url: str) -> None:
    made, notes = one(tmp_path, **params)
    assert (made.enabled, made.url) == (True, url)
    assert "hush" not in notes


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("openai/text-embedding-3-small", "embeddings"),
        ("hosted_vllm/BAAI/bge-m3", "embeddings"),
        ("hosted_vllm/intfloat/e5-mistral-7b-instruct", "embeddings"),
        ("hosted_vllm/thenlper/gte-large", "embeddings"),
        ("ollama/nomic-embed-text", "embeddings"),
        ("ollama/all-minilm", "embeddings"),
        ("voyage/voyage-3", "embeddings"),
        ("mistral/mistral-embed", "embeddings"),
        ("hosted_vllm/Qwen/Qwen3-Embedding-0.6B", "embeddings"),
        ("hosted_vllm/BAAI/bge-reranker-v2-m3", "rerank"),
        ("cohere/rerank-v3.5", "rerank"),
        ("whisper-1", "transcription"),
        ("openai/gpt-4o-transcribe", "transcription"),
        ("openai/gpt-4o-mini-tts", "speech"),
        ("dall-e-3", "images"),
        ("openai/gpt-image-1", "images"),
        ("openai/omni-moderation-latest", "moderation"),
        ("openai/gpt-4o-realtime-preview", "realtime"),
        ("text-completion-openai/davinci", "completion"),
        ("openai/gpt-4o", "chat"),
        ("openai/gpt-4o-audio-preview", "chat"),
        ("groq/llama-guard-3-8b", "chat"),
        ("ollama/gemma3:4b", "chat"),
        ("openrouter/google/gemini-flash-1.5", "chat"),
    ],
)
def test_without_a_mode_the_kind_is_read_from_the_name_and_told(tmp_path: Path, model: str, kind: str) -> None:
    made, notes = one(tmp_path, model=model, api_base="http://h/v1" if "hosted" in model else None)
    assert made.capabilities == (["chat", "completion"] if kind == "chat" else [kind])
    assert made.enabled == (kind in KINDS)
    assert (f"taken for a model for {kind}" in notes) == (kind not in ("chat", "completion"))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("embedding", "embeddings"),
        ("rerank", "rerank"),
        ("audio_transcription", "transcription"),
        ("audio_speech", "speech"),
        ("image_generation", "images"),
        ("moderation", "moderation"),
        ("responses", "responses"),
        ("completion", "completion"),
    ],
)
def test_a_mode_decides_over_the_name(tmp_path: Path, mode: str, kind: str) -> None:
    made, notes = one(tmp_path, {"mode": mode}, model="openai/plain-name")
    assert made.capabilities == [kind]
    assert made.enabled == (not kinds.unreachable(kind))
    assert "taken for" not in notes


def test_an_embedding_name_with_mode_chat_is_a_chat_model(tmp_path: Path) -> None:
    made, _ = one(tmp_path, {"mode": "chat"}, model="openai/embedder")
    assert made.capabilities == ["chat", "completion"]


def test_deployments_of_one_name_are_equals_and_order_is_kept() -> None:
    loaded, notes = bring_file(foreign("lite-pool.yaml"))
    pool = ["openai/m", "openai/m-1", "openai/m-2"]
    assert loaded.roles["chat"] == [pool, "deepseek/deepseek-chat", "last"]
    assert loaded.roles["ordered"] == ["openai/gpt-4o-mini", "groq/llama-3.3-70b", "last"]
    assert [loaded.models[m].url for m in pool] == ["http://a/v1", "http://b/v1", "http://c/v1"]
    assert "routing_strategy left out; equals share the load" in notes


def test_fallbacks_of_both_sections_add_up_and_unknown_names_are_told() -> None:
    loaded, notes = bring_file(foreign("lite-pool.yaml"))
    assert loaded.roles["backup"] == ["deepseek/deepseek-chat", "last"]
    assert loaded.roles["gpt-4"] == loaded.roles["chat"]
    for left_out in (
        "router_settings.fallbacks.chat: 'ghost' left out",
        "router_settings.fallbacks.nobody: left out",
        "context_window_fallbacks (chat) left out",
        "model_group_alias.hidden-one: hidden left out",
    ):
        assert left_out in notes


@pytest.mark.parametrize(
    ("settings", "roles"),
    [
        ({"fallbacks": [{"a": ["b"]}, {"a": ["c"]}]}, {"a": ["a", "b", "c"]}),
        ({"fallbacks": {"a": "b"}}, {"a": ["a", "b"]}),
        ({"fallbacks": [{"*": ["c"]}, {"a": ["b"]}]}, {"a": ["a", "b"], "b": ["b", "c"]}),
        ({"default_fallbacks": ["c"]}, {"a": ["a", "c"], "b": ["b", "c"]}),
        ({"fallbacks": [{"a": [{"model": "b", "temperature": 1}]}]}, {"a": ["a", "b"]}),
        ({"fallbacks": [{"a": ["a"]}]}, {}),
    ],
)
def test_every_way_to_write_fallbacks_is_read(
    tmp_path: Path, settings: dict[str, Any], roles: dict[str, list[str]]
) -> None:
    entries = [{"model_name": n, "litellm_params": {"model": f"openai/{n}"}} for n in "abc"]
    loaded, _ = deployed(tmp_path, *entries, litellm_settings=settings)
    loaded.roles.pop("standard", None)
    reached = {role: [str(m).removeprefix("openai/") for m in members] for role, members in loaded.roles.items()}
    assert reached == roles


def test_a_model_for_chat_stands_in_for_none_that_does_other_work(tmp_path: Path) -> None:
    entries = [
        {"model_name": "a", "litellm_params": {"model": "openai/a"}},
        {"model_name": "ears", "litellm_params": {"model": "whisper-1"}},
        {"model_name": "draw", "litellm_params": {"model": "openai/x"}, "model_info": {"mode": "image_generation"}},
    ]
    settings = {"default_fallbacks": ["a"], "fallbacks": [{"draw": ["a"]}]}
    loaded, _ = deployed(tmp_path, *entries, litellm_settings=settings)
    assert (loaded.roles["ears"], loaded.roles["draw"]) == (["whisper-1"], ["openai/x"])


def test_embedding_models_never_stand_in_for_each_other_or_for_chat() -> None:
    loaded, notes = bring_file(foreign("lite-kinds.yaml"))
    same = ["hosted_vllm/BAAI/bge-m3", "hosted_vllm/BAAI/bge-m3-1"]
    assert loaded.roles["vectors"] == [same]
    assert loaded.roles["embeddings"] == [same]
    assert loaded.roles["mixed"] == ["openai/text-embedding-3-large"]
    assert loaded.roles["chat"] == ["openai/gpt-4o", "odd-mode"]
    assert "roles.mixed: voyage/voyage-3 left out" in notes
    assert "requests without a model go to hosted_vllm/BAAI/bge-m3" in notes


def test_a_file_of_nothing_but_embedding_models_loads(tmp_path: Path) -> None:
    entries = [{"model_name": n, "litellm_params": {"model": f"openai/text-embedding-{n}"}} for n in "ab"]
    loaded, _ = deployed(tmp_path, *entries)
    assert loaded.roles["embeddings"] == ["a"]


@pytest.mark.parametrize(
    ("keys", "variables"),
    [
        (["sk-one", "sk-one"], ["env:OPENAI_API_KEY", "env:OPENAI_API_KEY"]),
        (["sk-one", "sk-two"], ["env:OPENAI_API_KEY", "env:OPENAI_API_KEY_2"]),
        (["sk-one", "os.environ/OPENAI_API_KEY"], ["env:OPENAI_API_KEY_2", "env:OPENAI_API_KEY"]),
        (["sk-one", None], ["env:OPENAI_API_KEY_2", "env:OPENAI_API_KEY"]),
        (["none", "sk-no-key-required"], ["", ""]),
    ],
)
def test_a_key_in_the_file_becomes_a_variable_that_means_nothing_else(
    tmp_path: Path, keys: list[str | None], variables: list[str]
) -> None:
    entries = [
        {"model_name": f"m{i}", "litellm_params": {"model": "openai/x", "api_key": key}} for i, key in enumerate(keys)
    ]
    loaded, notes = deployed(tmp_path, *entries)
    assert [model.key for model in loaded.models.values()] == variables
    assert "sk-one" not in notes
    assert ("set OPENAI_API_KEY" in notes) == ("sk-one" in keys)


def test_a_key_for_a_server_of_ones_own_is_not_called_like_the_providers(tmp_path: Path) -> None:
    made, notes = one(tmp_path, model="openai/x", api_base="http://h/v1", api_key="sk-x1")
    assert made.key == "env:IT_API_KEY"
    assert "set IT_API_KEY to it before the start" in notes


def test_the_master_key_is_not_repeated() -> None:
    loaded, notes = bring_file(foreign("lite-cloud.yaml"))
    assert loaded.server.keys == ["env:LITELLM_MASTER_KEY"]
    assert "general_settings.master_key: the key stands in the file as text" in notes


def test_named_credentials_are_lent_to_their_deployments() -> None:
    loaded, notes = bring_file(foreign("lite-credentials.yaml"))
    for name, remote in (("one", "team/model-a"), ("two", "model-b")):
        model = loaded.models[name]
        assert (model.url, model.key, model.remote_model) == ("https://gw.example.org/v1", "env:SHARED_KEY", remote)
    for left_out in (
        "litellm_credential_name 'nowhere' left out; there is none",
        "credential_list.1 (unused): credential_values (api_key) left out",
        "include left out; import each of these files",
        "extra_headers (Authorization) left out",
        "guardrails (guardrail_name",
        "mcp_servers (git.url)",
    ):
        assert left_out in notes


def test_what_a_model_can_do_comes_along() -> None:
    loaded, notes = bring_file(foreign("lite-local.yaml"))
    qwen = loaded.models["qwen"]
    assert (qwen.tools, qwen.context, qwen.capabilities) == (True, 32768, ["chat", "completion", "vision"])
    assert "environment_variables (VLLM_URL, SECRET_TOKEN) left out" in notes


def test_names_with_a_star_are_told_to_be_written_out() -> None:
    _, notes = bring_file(foreign("lite-cloud.yaml"))
    assert "model_list.8 (anthropic/*), model_list.9 (*): left out: a name with * is needed once per model" in notes


def test_an_alias_never_replaces_a_name_of_the_list(tmp_path: Path) -> None:
    entries = [{"model_name": n, "litellm_params": {"model": f"openai/{n}"}} for n in ("a", "a", "b")]
    loaded, notes = deployed(tmp_path, *entries, router_settings={"model_group_alias": {"a": "b", "c": "b", "d": 5}})
    assert loaded.roles["a"] == [["openai/a", "openai/a-1"]]
    assert loaded.models["b"].aliases == ["c"]
    assert "'a' left out: the name is taken" in notes
    assert "'d' left out: no model '5'" in notes


@pytest.mark.parametrize(
    ("names", "role", "first"),
    [
        (["b", "standard"], "default", "standard"),
        (["default", "standard"], "role-0", "standard"),
        (["b", "c"], "standard", "b"),
        (["embeddings", "text-embedding-a"], "standard", "embeddings"),
    ],
)
def test_a_model_may_be_called_as_roles_are(tmp_path: Path, names: list[str], role: str, first: str) -> None:
    entries = [{"model_name": n, "litellm_params": {"model": f"openai/{n}"}, "model_info": {}} for n in names]
    loaded, _ = deployed(tmp_path, *entries)
    assert (loaded.routing.default, loaded.roles[role]) == (role, [first])
