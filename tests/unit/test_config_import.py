"""Importing foreign configurations: what comes along, that all else is noted, and that the result always loads."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from foreign_files import FILES, bring_file, bring_in
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolecast import config
from rolecast.backends import table
from rolecast.config.document import parse
from rolecast.config.importers import import_file
from rolecast.config.schema import Config
from rolecast.errors import ConfigError

Bring = Callable[[str, str], tuple[Config, str]]


@pytest.fixture
def bring(tmp_path: Path) -> Bring:
    """Import a text under a file name: our configuration and all notes as one text."""
    return lambda name, text: bring_in(tmp_path, name, text)


MODELS_YAML = """\
models:
  router:
    id: liquid/lfm2.5-1.2b
    backend: mlx
    port: 8500
    model_path: LiquidAI/LFM2.5-1.2B-Instruct-MLX-8bit
    context_length: 32768
    quantization: 8bit
    max_concurrency: 4
    default_timeout: 10
    host: 0.0.0.0
    tool_call_parser: qwen3
  standard:
    id: "qwen3:4b"
    backend: llamacpp
    port: 8501
    model_path: /models/qwen3-4b.gguf
    quantization: Q8_0
    default_timeout: 45
    supports_function_calling: true
    chat_template_kwargs: {enable_thinking: false}
    cache_type_k: q8_0
    flash_attn: on
    temp: 0.7
  fast:
    id: qwen3:4b
    backend: llamacpp
    port: 8505
    default_timeout: 45
    quantization: Q8_0
  coding:
    id: spare
    backend: llamacpp
    port: 8503
    model_path: models/spare.gguf
    default_timeout: 45
    quantization: f16
    enabled: false
  vectors:
    id: embedder
    backend: llamacpp
    port: 8000
    model_path: ~/m/e.gguf
    model_type: embeddings
    quantization: f16
    default_timeout: many
  painter: {id: flux, backend: mlx, port: 8510, model_type: image-generation}
  broken: {backend: mlx, port: 8511}
"""


def test_a_models_yaml_keeps_ids_roles_ports_and_limits(bring: Bring) -> None:
    loaded, notes = bring("models.yaml", MODELS_YAML)
    assert list(loaded.models) == ["liquid/lfm2.5-1.2b", "qwen3:4b", "spare", "embedder"]
    router, standard = loaded.models["liquid/lfm2.5-1.2b"], loaded.models["qwen3:4b"]
    assert router.source == "hf:LiquidAI/LFM2.5-1.2B-Instruct-MLX-8bit"
    assert (router.context, router.parallel, router.timeout, router.quantization) == (32768, 4, 10.0, "8bit")
    assert standard.source == "file:/models/qwen3-4b.gguf"
    assert (standard.tools, standard.flash_attn, standard.cache_type_k) == (True, True, "q8_0")
    assert standard.chat_template_kwargs == {"enable_thinking": False}
    assert loaded.roles == {
        "router": ["liquid/lfm2.5-1.2b"],
        "standard": ["qwen3:4b"],
        "fast": ["qwen3:4b"],
        "vectors": ["embedder"],
        "embeddings": ["embedder"],
    }
    assert not loaded.models["spare"].enabled
    assert loaded.models["embedder"].capabilities == ["embeddings"]
    assert [(x.port, x.name, x.model) for x in loaded.server.listeners] == [
        (8500, "router", "liquid/lfm2.5-1.2b"),
        (8501, "standard", "qwen3:4b"),
        (8505, "fast", "qwen3:4b"),
    ]
    assert loaded.routing.default == "standard"
    for lost in (
        "backend mlx becomes llamacpp",
        "host 0.0.0.0 left out",
        "tool_call_parser left out",
        "temp left out",
        "models.fast: 'qwen3:4b' is already there; the role shares it",
        "timeout left out: expected a duration",
        "port 8000: left out: already in use",
        "model_type image-generation has no counterpart",
        "models.broken: left out: an entry needs an id",
    ):
        assert lost in notes


def test_a_models_yaml_without_weights_still_loads(bring: Bring) -> None:
    text = "models:\n  standard: {id: x, backend: llamacpp, port: 8501, default_timeout: 1, quantization: f16}\n"
    loaded, notes = bring("models.yaml", text)
    assert not loaded.models["x"].enabled
    assert loaded.roles["standard"] == ["smollm2-135m"]
    assert "models.x: disabled: 'source' is missing" in notes


SETTINGS_MD = """\
# Conductor

## Conversational Persona
```
Speak plainly.
```

| Category/Area | Best Open Source Model | VRAM/RAM | Technical Model Name | Stay Loaded | Precision |
|---|---|---|---|---|---|
| **General Reasoning** | Mistral 7B Instruct | ~4GB | `mistralai/Mistral-7B-Instruct-v0.1` | true | 4-bit |
| **Code Generation** | Phi-2 | ~1.5GB | `microsoft/phi-2` | false | 4-bit |
| **Translation** | NLLB-200 1.3B | ~3GB (FP16) | `facebook/nllb-200-distilled-1.3B` | false | FP16 |
| **Summarization** | Mistral 7B | ~4GB | `mistralai/Mistral-7B-Instruct-v0.1` | false | 8-bit |
| **Scientific/Research** | Own | ~4GB | `someone/own-model` | false | FP16 |
| **Legal Document Analysis** | Mistral 7B | ~4GB | `mistralai/Mistral-7B-Instruct-v0.1` | false | 4-bit |
| **Code Review/Debugging** | Llama 3.1 8B | ~8GB | `meta-llama/Llama-3.1-8B-Instruct` | true | FP16 |
| **Image Generation** | Diffusiond | External | `diffusiond` | false | N/A |
| **Other Languages** | Opus | ~1GB | `Helsinki-NLP/opus-mt-en-de` | false | FP16 |
"""


def test_a_settings_md_becomes_models_and_categories(bring: Bring) -> None:
    loaded, notes = bring("SETTINGS.md", SETTINGS_MD)
    assert loaded.server.surface == "conductor"
    mistral, llama = (
        loaded.models["mistralai/Mistral-7B-Instruct-v0.1"],
        loaded.models["meta-llama/Llama-3.1-8B-Instruct"],
    )
    assert mistral.source.endswith(".Q4_K_M.gguf")
    assert (mistral.pinned, mistral.quantization) == (True, "4-bit")
    assert llama.pinned
    assert (llama.quantization, llama.source.rpartition("-")[2]) == ("8-bit", "Q8_0.gguf")
    assert loaded.personas.text == "Speak plainly."
    assert loaded.models["someone/own-model"].source == "hf:someone/own-model"
    assert [role for role in loaded.roles if role != "image_generation"] == [
        "general_reasoning",
        "code_generation",
        "translation",
        "summarization",
        "scientific_research",
        "legal_document_analysis",
        "legal_analysis",
        "code_review_debugging",
        "code_review",
        "other_languages",
    ]
    assert loaded.routing.default == "general_reasoning"
    assert loaded.roles["translation"][-1] == "mistralai/Mistral-7B-Instruct-v0.1"
    assert llama.description == "Llama 3.1 8B, ~8GB"
    for lost in (
        "row 'Image Generation': is made by an external server",
        "models.Helsinki-NLP/opus-mt-en-de: disabled: the engine cannot run encoder-decoder models",
        "roles.other_languages: no model of its own can run here; mistralai/Mistral-7B-Instruct-v0.1 answers meanwhile",
        "one process serves all of its rows, as 4-bit; 8-bit of other rows is left out",
        "hf:someone/own-model may hold no GGUF file",
        "models.meta-llama/Llama-3.1-8B-Instruct: FP16 becomes 8-bit",
    ):
        assert lost in notes


AVATAR_JSON = """\
{"neo4j": {"uri": "bolt://localhost:7687", "username": "neo4j", "password": "hush"},
 "extraction": {"output_dir": "data/extracted", "max_messages": 10000},
 "training": {"model_name": "avatar_slm", "epochs": 10, "learning_rate": 5e-5},
 "inference": {"temperature": 0.8, "top_k": 50}, "other": 1}
"""


def test_an_avatar_config_gets_the_embedded_cast_and_a_note_per_section(bring: Bring) -> None:
    loaded, notes = bring("config.json", AVATAR_JSON)
    assert loaded.roles["standard"] == ["smollm2-135m"]
    for section in ("neo4j", "extraction", "training", "inference", "other"):
        assert f"{section}: left out" in notes
    assert "epochs 10" in notes
    assert "hush" not in notes


LLAMA_SWAP = """\
healthCheckTimeout: 500
globalTTL: 60
apiKeys: ["${env.API_KEY_1}"]
macros:
  ctx: 8192
  server: >
    /opt/llama/llama-server
    --port ${PORT}
models:
  "org/heavy:14b":
    cmd: |
      # a comment
      ${server}
      --model '${env.HOME}/my models/heavy.gguf' \\
      --ctx-size ${ctx} --parallel 4 -ngl 99 -fa on -ctk q8_0 --jinja
      --chat-template-kwargs '{"enable_thinking": false}'
    name: Heavy
    ttl: 0
    aliases: [gpt-4o, {id: gpt-4}]
    env: ["CUDA_VISIBLE_DEVICES=0"]
  "embed":
    cmd: llama-server -m e.gguf -c 512 --embedding
    ttl: 60
    aliases: [gpt-4o]
  "tuned":
    cmd: llama-server -hf owner/repo:Q4_K_M --temp 0.6 -c 0
  "far":
    proxy: http://127.0.0.1:9999
    cmd: vllm serve x --port 9999
    useModelName: org/x
  "docker":
    cmd: docker run -p ${PORT}:8080 image
  "odd":
    cmd: llama-server -m 'unclosed
groups:
  always: {persistent: true, members: [embed]}
"""


def test_llama_swap_commands_are_read_into_settings(bring: Bring) -> None:
    loaded, notes = bring("config.yaml", LLAMA_SWAP)
    heavy = loaded.models["org/heavy:14b"]
    assert heavy.source == "file:~/my models/heavy.gguf"
    assert (heavy.context, heavy.parallel, heavy.gpu_layers) == (2048, 4, 99)
    assert (heavy.flash_attn, heavy.cache_type_k, heavy.chat_template_kwargs) == (
        True,
        "q8_0",
        {"enable_thinking": False},
    )
    assert (heavy.idle_timeout, heavy.load_timeout, heavy.description) == (0.0, 500.0, "Heavy")
    assert (heavy.aliases, heavy.binary) == (["gpt-4o", "gpt-4"], "/opt/llama/llama-server")
    assert heavy.args == ["--jinja"]
    embed, tuned, far = loaded.models["embed"], loaded.models["tuned"], loaded.models["far"]
    assert "models.embed: ttl left out; its group is persistent, so it stays loaded" in notes
    assert (embed.capabilities, embed.pinned, embed.idle_timeout) == (["embeddings"], True, 600.0)
    assert (tuned.source, tuned.binary, tuned.args) == ("hf:owner/repo", "llama-server", ["--temp", "0.6"])
    assert (far.backend, far.url, far.remote_model) == ("command", "http://127.0.0.1:9999/v1", "org/x")
    assert loaded.models["docker"].backend == "command"
    assert not loaded.models["odd"].enabled
    assert loaded.server.keys == ["env:API_KEY_1"]
    for lost in (
        "'gpt-4o' left out: the name is taken",
        "name the Q4_K_M file of owner/repo",
        "cmd cannot be read",
        "roles.standard: added",
    ):
        assert lost in notes


def test_macros_that_expand_without_end_disable_one_model_only(bring: Bring) -> None:
    grow = "${a}" * 100
    models = "models:\n  bad: {cmd: 'llama-server ${a}'}\n  good: {cmd: llama-server -m g.gguf}\n"
    text = f"macros: {{a: '{grow}'}}\n{models}"
    loaded, notes = bring("config.yaml", text)
    assert [i for i, m in loaded.models.items() if m.enabled] == ["good"]
    assert "expand without end" in notes


LITELLM = """\
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: os.environ/MY_KEY, timeout: 30, rpm: 6}
  - model_name: team/local:7b
    litellm_params: {model: ollama/llama3.1:8b, api_base: "http://localhost:11434/"}
  - model_name: pool
    litellm_params: {model: hosted_vllm/org/m, api_base: "http://a:8000/v1"}
  - model_name: pool
    litellm_params: {model: hosted_vllm/org/m, api_base: "http://b:8000/v1", max_parallel_requests: 3}
  - model_name: vectors
    litellm_params: {model: openai/text-embedding-3-small}
    model_info: {mode: embedding}
  - model_name: cloud
    litellm_params: {model: bedrock/anthropic.claude, aws_region_name: us-east-1}
  - model_name: "openai/*"
    litellm_params: {model: openai/*}
router_settings:
  routing_strategy: least-busy
  fallbacks: [{gpt-4o: [team/local:7b, nobody]}]
  model_group_alias: {gpt-4: gpt-4o, small: team/local:7b, ghost: nothing}
litellm_settings: {request_timeout: 90, drop_params: true}
general_settings: {master_key: os.environ/MASTER, database_url: postgres://x}
"""


def test_litellm_public_names_survive_as_models_and_roles(bring: Bring) -> None:
    loaded, notes = bring("config.yaml", LITELLM)
    local, first, second = (loaded.models[i] for i in ("team/local:7b", "hosted_vllm/org/m", "hosted_vllm/org/m-1"))
    openai = loaded.models["openai/gpt-4o"]
    assert (openai.url, openai.key, openai.remote_model) == (
        "https://api.openai.com/v1",
        "env:MY_KEY",
        "gpt-4o",
    )
    assert (openai.timeout, openai.parallel) == (30.0, 64)
    assert (local.url, local.key, local.remote_model) == ("http://localhost:11434/v1", "", "llama3.1:8b")
    assert (local.timeout, local.aliases) == (90.0, ["small"])
    assert (first.url, second.url, second.parallel) == ("http://a:8000/v1", "http://b:8000/v1", 3)
    assert first.remote_model == "org/m"
    assert loaded.models["vectors"].capabilities == ["embeddings"]
    assert loaded.models["vectors"].key == "env:OPENAI_API_KEY"
    assert not loaded.models["cloud"].enabled
    assert loaded.roles == {
        "gpt-4o": ["openai/gpt-4o", "team/local:7b"],
        "pool": [["hosted_vllm/org/m", "hosted_vllm/org/m-1"]],
        "gpt-4": ["openai/gpt-4o", "team/local:7b"],
        "embeddings": ["vectors"],
    }
    assert loaded.server.keys == ["env:MASTER"]
    for lost in (
        "provider bedrock does not speak the OpenAI dialect",
        "model_list.6 (openai/*): left out",
        "rpm left out",
        "routing_strategy left out",
        "drop_params left out",
        "database_url left out",
        "'ghost' left out",
        "4000",
    ):
        assert lost in notes
    assert "postgres://x" not in notes


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rolecast.yaml", "models: {a: {source: hf:o/r}}\nroles: {standard: [a]}\n"),
        ("notes.md", "# Nothing here\n"),
        ("config.json", "[1, 2]"),
        ("config.yaml", "just words"),
        ("config.yaml", ""),
    ],
)
def test_a_file_in_no_known_format_is_refused_with_the_known_ones(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"models\.yaml.*SETTINGS\.md.*avatar|Avatar.*llama-swap.*LiteLLM"):
        import_file(path, table())


def test_broken_json_and_broken_yaml_say_so(tmp_path: Path) -> None:
    for name, reason in (("config.json", "not JSON"), ("config.yaml", "not YAML")):
        (tmp_path / name).write_text("{")
        with pytest.raises(ConfigError, match=reason):
            import_file(tmp_path / name, table())


def test_keys_that_are_none_are_left_out_and_named(bring: Bring) -> None:
    loaded, notes = bring("s.yaml", LLAMA_SWAP.replace('["${env.API_KEY_1}"]', '["", sk-1, "sha256:12"]'))
    assert loaded.server.keys == ["env:ROLECAST_API_KEY"]
    assert "server.keys: a key left out" in notes


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_as_people_write_them_become_a_file_that_loads_without_their_secrets(path: Path) -> None:
    made = import_file(path, table())
    loaded = config.read(made.config_yaml, backends=table())
    assert loaded.models
    assert loaded.roles
    secrets = re.findall(r"\b(?:sk|pw|tok|hf_)[-a-z_]*\d{4}\b", path.read_text("utf-8"))
    assert [secret for secret in secrets if secret in made.config_yaml + "\n".join(made.notes)] == []


def _mappings(value: Any, trail: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Every mapping of a file with its place."""
    if isinstance(value, dict):
        yield trail, value
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _mappings(item, (*trail, key))


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix != ".md"], ids=lambda path: path.name)
def test_a_setting_that_no_importer_knows_is_named_wherever_it_stands(path: Path, tmp_path: Path) -> None:
    value = parse(path.read_text("utf-8"), name=path.name).value
    places = {f"zz-{i}": trail for i, (trail, _) in enumerate(_mappings(value)) if "macros" not in trail}
    for unknown, trail in places.items():
        dict(_mappings(value))[trail][unknown] = {"deeper": "text"}
    (tmp_path / "changed.json").write_bytes(msgspec.json.encode(value))
    made = import_file(tmp_path / "changed.json", table())
    told = "\n".join([*made.notes, made.config_yaml])
    left_out = [re.sub(r" \([^)]*\)", "", note) for note in made.notes if ": left out" in note or ": disabled" in note]
    whole = {place for note in left_out for place in note.partition(": ")[0].split(", ")}
    silent = [trail for unknown, trail in places.items() if not re.search(rf"{unknown}\b", told)]
    assert [trail for trail in silent if whole.isdisjoint(_places(trail))] == []


def _places(trail: tuple[str | int, ...]) -> set[str]:
    """A place in a file and all that it stands in, as notes write them."""
    return {".".join(map(str, trail[:n])) for n in range(1, len(trail) + 1)}


def test_names_from_a_file_cannot_draw_on_the_terminal(bring: Bring) -> None:
    _, notes = bring("c.json", msgspec.json.encode({"models": {"a\x1b[2J": {"cmd": "x"}}, "b\x1b]0;": 1}).decode())
    assert "\x1b" not in notes


@pytest.mark.parametrize(
    "text",
    ["[" * 5000 + "]" * 5000, '{"models":' * 40 + "1" + "}" * 40],
    ids=["lists", "mappings"],
)
def test_json_that_is_nested_without_end_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(ConfigError, match=r"c\.json: (nested deeper than 32 levels|not JSON)"):
        import_file(tmp_path / "c.json", table())


def test_a_file_whose_aliases_grow_without_end_is_refused_in_a_sentence(tmp_path: Path) -> None:
    lines = ["model_list: []", "a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    (tmp_path / "c.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="larger than 100000 values"):
        import_file(tmp_path / "c.yaml", table())


def test_a_table_without_a_model_for_its_only_category_still_answers_it(tmp_path: Path) -> None:
    path = next(path for path in FILES if path.name == "settings-translator.md")
    loaded, notes = bring_file(path)
    assert loaded.roles["translation"] == ["smollm2-135m"]
    assert not loaded.models["Helsinki-NLP/opus-mt-en-de"].enabled
    assert "roles.translation: no model of its own can run here; smollm2-135m answers meanwhile" in notes


def test_columns_and_sections_that_have_no_counterpart_are_named() -> None:
    _, notes = bring_file(next(path for path in FILES if path.name == "settings-default.md"))
    assert "column 'Licence', House Rules: left out: no counterpart" in notes
    assert "row 'Question Answering': Stay Loaded is 'sometimes'; write true or false; taken for false" in notes


def test_settings_of_a_second_entry_for_one_model_are_named() -> None:
    _, notes = bring_file(next(path for path in FILES if path.name == "slm-roles.yaml"))
    assert "'qwen3-4b' is already there; the role shares it, and its own default_timeout, top_p left out" in notes


def test_a_server_that_somebody_else_starts_stays_where_it_is() -> None:
    loaded, _ = bring_file(next(path for path in FILES if path.name == "slm-lmstudio.yaml"))
    studio = loaded.models["studio"]
    assert (studio.backend, studio.url, loaded.server.listeners) == ("openai", "http://10.0.0.9:1234/v1", [])


def _leaves(value: object, trail: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(*trail, key) for key, _ in children] + [t for k, v in children for t in _leaves(v, (*trail, k))]


@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_with_nonsense_in_them_still_become_a_file_that_loads(tmp_path: Path, data: st.DataObject) -> None:
    name, text = data.draw(st.sampled_from([("m.yaml", MODELS_YAML), ("s.yaml", LLAMA_SWAP), ("l.yaml", LITELLM)]))
    value = parse(text, name=name).value
    for _ in range(data.draw(st.integers(1, 4))):
        trail = data.draw(st.sampled_from(_leaves(value)))
        inner = value
        for key in trail[:-1]:
            inner = inner[key]
        inner[trail[-1]] = data.draw(
            st.sampled_from([None, -5, 1.5, True, "", "auto", "ü", "a b", "${x}", [1], {"a": [1]}])
        )
    path = tmp_path / "nonsense.json"
    path.write_bytes(msgspec.json.encode(value))
    try:
        made = import_file(path, table())
    except ConfigError as e:
        reason = str(e)
    else:
        loaded = config.read(made.config_yaml, backends=table())
        reason = "" if loaded.models else "no models"
    assert not reason or "no format that can be imported" in reason


@pytest.mark.parametrize("source", ["hf:o/r/f.gguf", "ollama:llama3.2", "pypi:p/f.gguf", "https://h/f.gguf"])
def test_a_path_of_slm_server_may_say_where_to_fetch_from(bring: Bring, source: str) -> None:
    entry = f"{{id: m, backend: mlx, port: 8500, model_path: '{source}', default_timeout: 5, quantization: q}}"
    loaded, notes = bring("models.yaml", f"models: {{standard: {entry}}}")
    assert loaded.models["m"].source == source
    assert "cannot read" not in notes


def test_the_models_of_the_start_script_are_those_of_the_preset() -> None:
    imported = import_file(Path(__file__).parents[2] / "config" / "models.yaml", table())
    ours, preset = config.read(imported.config_yaml), config.read(config.presets.text("slm-server"))
    assert imported.notes == []
    assert ours.server.listeners == preset.server.listeners
    assert {role: ours.roles[role] for role in ("router", "standard", "reasoning", "coding")} == {
        role: models for role, models in preset.roles.items() if role != "embeddings"
    }
    for model_id, model in ours.models.items():
        known = preset.models[model_id]
        for field in ("source", "context", "parallel", "timeout", "tools", "quantization"):
            assert getattr(model, field) == getattr(known, field), (model_id, field)
