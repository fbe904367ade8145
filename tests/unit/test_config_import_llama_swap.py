"""What becomes of llama-swap's commands, macros, groups and peers, and what is said of the rest."""

from pathlib import Path
from typing import Any

import pytest
from foreign_files import bring_file, bring_in, foreign

from rolecast import config
from rolecast.backends import table
from rolecast.config.importers import llama_command
from rolecast.config.schema import Model


def command(tmp_path: Path, cmd: str, **entry: Any) -> tuple[Model, str]:
    """The model that one command becomes, and the notes."""
    import msgspec

    text = msgspec.json.encode({"models": {"it": {"cmd": cmd, **entry}}}).decode()
    loaded, notes = bring_in(tmp_path, "c.yaml", text)
    return loaded.models["it"], notes


def test_the_users_own_engine_is_kept_and_named() -> None:
    loaded, notes = bring_file(foreign("swap-one-gpu.yaml"))
    model = loaded.models["qwen3-8b"]
    assert (model.binary, model.args) == ("/usr/bin/llama-server", ["--jinja"])
    assert (model.source, model.context, model.parallel, model.flash_attn) == ("file:/m.gguf", 4096, 2, True)
    assert (model.idle_timeout, model.load_timeout, loaded.log.level) == (300.0, 180.0, "warning")
    assert "models.qwen3-8b: /usr/bin/llama-server runs it" in notes
    assert "/usr/bin/llama-server is not an executable file on this machine" in notes


def test_an_engine_that_is_here_is_not_missed(tmp_path: Path) -> None:
    engine = tmp_path / "llama-server"
    engine.write_text("#!/bin/sh\n")
    engine.chmod(0o755)
    model, notes = command(tmp_path, f"{engine} -m x.gguf -c 1")
    assert model.binary == str(engine)
    assert "not an executable" not in notes


@pytest.mark.parametrize(
    ("flags", "context", "parallel"),
    [
        ("-c 8192 -np 2", 4096, 2),
        ("--ctx-size 8192", 8192, 1),
        ("--ctx-size 0", 0, 1),
        ("-c 0 -np 4", 0, 4),
        ("", 0, 1),
        ("-c 4096 -np auto", 4096, 1),
        ("-c 3 -np 4", 1, 4),
    ],
)
def test_context_is_what_one_slot_has_and_zero_the_models_own(
    tmp_path: Path, flags: str, context: int, parallel: int
) -> None:
    model, notes = command(tmp_path, f"llama-server -m x.gguf {flags}")
    assert (model.context, model.parallel) == (context, parallel)
    assert ("has no --ctx-size" in notes) == ("-c" not in flags)


@pytest.mark.parametrize(
    ("flags", "settings", "args"),
    [
        ("-fa on", {"flash_attn": True}, []),
        ("--flash-attn off", {"flash_attn": False}, []),
        ("-fa auto", {"flash_attn": None}, []),
        ("-fa --mlock", {"flash_attn": None}, ["-fa", "--mlock"]),
        ("-ngl 33 -t 6", {"gpu_layers": 33, "threads": 6}, []),
        ("-ngl all -t -1", {"gpu_layers": 999, "threads": 0}, []),
        ("-ngl most", {"gpu_layers": -1}, ["-ngl", "most"]),
        ("-ctk q8_0 --cache-type-v q4_0", {"cache_type_k": "q8_0", "cache_type_v": "q4_0"}, []),
        ("--chat-template-kwargs '{\"a\": false}'", {"chat_template_kwargs": {"a": False}}, []),
        ("--chat-template-kwargs nonsense", {}, ["--chat-template-kwargs", "nonsense"]),
        ("--embedding --pooling last", {"capabilities": ["embeddings"]}, ["--pooling", "last"]),
        ("--mmproj p.gguf", {"capabilities": ["chat", "completion", "vision"]}, ["--mmproj", "p.gguf"]),
        ("--alias one,two -a three", {"aliases": ["three"]}, []),
        ("-md draft.gguf --draft-max 16", {}, ["-md", "draft.gguf", "--draft-max", "16"]),
    ],
)
def test_flags_become_settings_or_stay_arguments(
    tmp_path: Path, flags: str, settings: dict[str, Any], args: list[str]
) -> None:
    model, _ = command(tmp_path, f"llama-server -m x.gguf -c 1 {flags}")
    assert {name: getattr(model, name) for name in settings} == settings
    assert model.args == args


@pytest.mark.parametrize(
    ("model", "binary", "left_out"),
    [
        ("forked", "/opt/ik/ik-llama-server", "taken for a llama-server"),
        ("pinned-cores", "llama-server", "'numactl --cpunodebind 0 -m 0' left out"),
        ("one-card", "llama-server", "'env -u FOO CUDA_VISIBLE_DEVICES=...' left out"),
        ("assigned", "llama-server", "'GGML_CUDA_P2P=... nice -n 5' left out"),
        ("shell", "llama-server", "'bash -c exec taskset -c 0-7' left out"),
        ("windows", r"C:\llama\llama-server.exe", "is not an executable file on this machine"),
        ("dated", "/opt/llama-server-b6123/llama-server-vulkan", "taken for a llama-server"),
    ],
)
def test_a_llama_server_is_known_behind_wrappers_and_by_other_names(model: str, binary: str, left_out: str) -> None:
    loaded, notes = bring_file(foreign("swap-wrapped.yaml"))
    assert (loaded.models[model].binary, loaded.models[model].enabled) == (binary, True)
    assert loaded.models[model].source.startswith("file:")
    assert any(f"models.{model}" in line and left_out in line for line in notes.splitlines())


def test_a_windows_path_keeps_its_backslashes() -> None:
    loaded, _ = bring_file(foreign("swap-wrapped.yaml"))
    assert loaded.models["windows"].source == r"file:D:\my models\g.gguf"


@pytest.mark.parametrize(
    ("text", "program", "wrapper"),
    [
        ("sudo -u me nice llama-server", "llama-server", ("sudo", "-u", "me", "nice")),
        ("timeout 60 llama-server", "llama-server", ("timeout", "60")),
        ("sh -ec 'llama-server -m x'", "llama-server", ("sh", "-ec")),
        ("sh -c 'a | llama-server'", "sh", ()),
        ("env A=1 B=2", "", ("env", "A=1", "B=2")),
        ("# only\n  # comments", "", ()),
        ("", "", ()),
    ],
)
def test_the_program_of_a_command_is_found(text: str, program: str, wrapper: tuple[str, ...]) -> None:
    read = llama_command.read(text)
    assert (read.program, read.wrapper) == (program, wrapper)


@pytest.mark.parametrize(
    ("model", "command", "settings"),
    [
        ("awq", "vllm serve Qwen/Qwen3-8B-AWQ --port {port}", {"remote_model": "Qwen/Qwen3-8B-AWQ", "parallel": 10}),
        ("boxed", "docker run --name boxed --rm -p {port}:8080", {"stop": ["docker", "stop", "boxed"], "url": ""}),
        ("mlx", "mlx_lm.server --model mlx-community/Qwen3-4B-4bit --port {port}", {"health": "/health"}),
        ("fixed", "/opt/venv/bin/python -m sglang.launch_server", {"url": "http://127.0.0.1:30000/v1", "parallel": 20}),
        ("fixed", "/opt/venv/bin/python -m sglang.launch_server", {"health": "/v1/models"}),
        ("vectors", "vllm serve BAAI/bge-m3", {"url": "http://localhost:8101/v1", "capabilities": ["embeddings"]}),
    ],
)
def test_another_server_is_run_by_its_own_command(model: str, command: str, settings: dict[str, Any]) -> None:
    loaded, notes = bring_file(foreign("swap-others.yaml"))
    found = loaded.models[model]
    assert (found.backend, found.enabled) == ("command", True)
    assert " ".join(found.command).startswith(command)
    assert {name: getattr(found, name) for name in settings} == settings
    assert "models.fixed: proxy already ends in /v1" in notes


@pytest.mark.parametrize(
    ("entry", "settings", "note"),
    [
        ({"cmd": "FOO=1 a --port ${PORT}"}, {"command": ["a", "--port", "{port}"], "environment": {"FOO": "1"}}, ""),
        ({"cmd": "a ${PORT} '{x} {\"y\": {}}'"}, {"command": ["a", "{port}", '{{x}} {"y": {}}']}, ""),
        ({"cmd": "sh -c 'a ${PORT} | b'"}, {"command": ["sh", "-c", "a {port} | b"]}, ""),
        ({"cmd": "a ${PORT}", "proxy": "http://localhost:${PORT}/api/"}, {"url": "/api/v1"}, ""),
        ({"cmd": "a ${PORT}", "checkEndpoint": "none"}, {"health": "/v1/models"}, "checkEndpoint none left out"),
        ({"cmd": "a ${PORT}", "cmdStop": "kill ${PID}"}, {"stop": ["kill", "{pid}"]}, ""),
        ({"cmd": "a ${PORT}", "env": ["HF_TOKEN=hush"]}, {"environment": {"HF_TOKEN": "env:HF_TOKEN"}}, "HF_TOKEN"),
        ({"cmd": "a ${PORT}", "env": ["T=${env.MINE}"]}, {"environment": {"T": "env:MINE"}}, ""),
        ({"cmd": "a ${PORT} --api-key hush -x"}, {"command": ["a", "{port}", "-x"]}, "--api-key left out"),
        ({"cmd": "a ${PORT} --token=hush"}, {"command": ["a", "{port}"]}, "--token left out"),
        ({"cmd": "a ${PORT} --max-tokens 5"}, {"command": ["a", "{port}", "--max-tokens", "5"]}, ""),
        (
            {"cmd": "docker run -e HF_TOKEN=hush -e A=b -p ${PORT}:80 i"},
            {"command": ["docker", "run", "-e", "HF_TOKEN", "-e", "A=b", "-p", "{port}:80", "i"]},
            "HF_TOKEN",
        ),
        (
            {"cmd": "podman run --env=HF_TOKEN=hush -eMY_KEY=hush2 -p ${PORT}:80 i"},
            {"command": ["podman", "run", "--env=HF_TOKEN", "-eMY_KEY", "-p", "{port}:80", "i"]},
            "MY_KEY",
        ),
        (
            {"cmd": "HF_TOKEN=hush env MY_KEY=hush2 A=b a ${PORT}"},
            {
                "command": ["env", "A=b", "a", "{port}"],
                "environment": {"HF_TOKEN": "env:HF_TOKEN", "MY_KEY": "env:MY_KEY"},
            },
            "HF_TOKEN",
        ),
        (
            {"cmd": "bash -c 'HF_TOKEN=hush a ${PORT} --api-key hush3 | tee log'"},
            {"command": ["bash", "-c", " a {port}  | tee log"], "environment": {"HF_TOKEN": "env:HF_TOKEN"}},
            "--api-key left out",
        ),
        ({"cmd": "a serve"}, {"enabled": False}, "disabled: says nowhere where to listen"),
        ({"cmd": "a ${PORT} ${env.DIR}"}, {"enabled": False}, "write out ${env.DIR} in command"),
        ({"cmd": "no-such-program ${PORT}"}, {}, "no-such-program is not on the PATH of this machine"),
    ],
)
def test_what_a_command_says_is_carried_over(
    entry: dict[str, Any], settings: dict[str, Any], note: str, tmp_path: Path
) -> None:
    cmd = entry.pop("cmd")
    found, notes = command(tmp_path, cmd, **entry)
    assert {name: getattr(found, name) for name in settings} == settings
    assert note in notes
    assert "hush" not in notes + repr(found)


@pytest.mark.parametrize(("model", "kind"), [("ears", "transcription"), ("voice", "speech"), ("painter", "images")])
def test_a_server_for_something_else_is_no_chat_model(model: str, kind: str) -> None:
    loaded, notes = bring_file(foreign("swap-others.yaml"))
    assert (loaded.models[model].enabled, loaded.models[model].capabilities) == (True, [kind])
    assert "there is no endpoint" not in notes


def test_a_server_that_nobody_starts_is_a_remote(tmp_path: Path) -> None:
    found, _ = command(tmp_path, "", proxy="http://10.0.0.1:9", useModelName="theirs", concurrencyLimit=20)
    assert (found.backend, found.url, found.remote_model, found.parallel) == (
        "openai",
        "http://10.0.0.1:9/v1",
        "theirs",
        20,
    )


def test_reranking_is_told_and_embeddings_are_not_mixed() -> None:
    loaded, notes = bring_file(foreign("swap-kinds.yaml"))
    assert (loaded.models["order"].enabled, loaded.models["order"].capabilities) == (True, ["rerank"])
    assert loaded.roles["embeddings"] == ["embed-a"]
    assert "requests without a model go to embed-a; name embed-b to use another" in notes


def test_what_would_lock_the_gateway_out_or_is_secret_goes_with_a_note() -> None:
    loaded, notes = bring_file(foreign("swap-kinds.yaml"))
    assert loaded.models["talk"].args == []
    assert loaded.models["talk"].environment == {"CUDA_VISIBLE_DEVICES": "1", "HF_TOKEN": "env:HF_TOKEN"}
    for left_out in (
        "--api-key, --hf-token left out",
        "useModelName gemma left out",
        "concurrencyLimit 8 left out",
        "filters (stripParams, setParams.top_k) left out",
        "name the Q8_0 file of ggml-org/gemma-3-4b-it-GGUF",
    ):
        assert f"models.talk: {left_out}" in notes


def test_a_link_to_a_hub_is_its_repository() -> None:
    loaded, _ = bring_file(foreign("swap-kinds.yaml"))
    assert loaded.models["by-link"].source == "hf:o/r/q4/x.gguf"
    assert not loaded.models["by-url"].enabled


def test_macros_are_written_out_everywhere_and_keep_their_types() -> None:
    loaded, notes = bring_file(foreign("swap-macros.yaml"))
    model = loaded.models["a/b:7b"]
    assert (model.context, model.parallel, model.idle_timeout) == (4096, 4, 120.0)
    assert model.args == ["--slot-save-path", f"{Path.home()}/slots"]
    assert loaded.models["keep"].idle_timeout == 600.0
    assert "models.a/b:7b: write out ${env.MODELS} in source" in notes
    assert "models.plain: write out ${nobody} in args" in notes


def test_the_macro_for_the_id_is_written_out_in_aliases() -> None:
    loaded, _ = bring_file(foreign("swap-one-gpu.yaml"))
    assert loaded.models["tiny"].aliases == ["tiny:coding", "gpt-4o-mini"]


def test_what_stays_loaded_is_pinned_and_virtual_models_are_roles() -> None:
    loaded, notes = bring_file(foreign("swap-together.yaml"))
    assert [name for name, model in loaded.models.items() if model.pinned] == ["small", "helper"]
    assert (loaded.roles["coder"], loaded.roles["planner"]) == (["small", "big"], ["big"])
    assert config.warnings(loaded, table()) == []
    for left_out in (
        "selectors.coder: strategy warm left out",
        "selectors.coder: ghost left out",
        "hooks.on_startup.preload: big left out",
        "models.nobody: is to stay loaded, but there is no such model",
        "groups.swapping: swap, exclusive, members left out",
        "matrix (vars.b",
        "store (path)",
        "profiles (coding.pins.llm)",
    ):
        assert left_out in notes


def test_models_of_peers_are_remotes_by_both_names() -> None:
    loaded, _ = bring_file(foreign("swap-peers.yaml"))
    far, near = loaded.models["far"], loaded.models["attic/near"]
    assert (far.url, far.aliases) == ("http://192.168.1.23:8080/v1", ["attic/far"])
    assert (near.remote_model, loaded.models["near"].backend) == ("near", "llamacpp")
    assert loaded.models["qwen/qwen3-235b-a22b"].key == "env:OPENROUTER_API_KEY"
    assert loaded.models["qwen/qwen3-235b-a22b"].url == "https://openrouter.ai/api/v1"
    assert loaded.models["x-large"].url == "https://api.example.org/v1"
    assert loaded.models["nomic-embed-text"].capabilities == ["embeddings"]
    assert loaded.models["bge-reranker-v2-m3"].capabilities == ["rerank"]
    assert loaded.server.keys == ["env:ROLECAST_API_KEY", "env:FRONT"]


@pytest.mark.parametrize(
    ("entry", "left_out"),
    [
        ({"proxy": "http://10.0.0.7:9/"}, "proxy http://10.0.0.7:9/ left out"),
        ({"capabilities": {"context": 4096, "disableAuto": True}}, "capabilities.context 4096 left out"),
        ({"capabilities": {"disableAuto": True}}, "models.it.capabilities: disableAuto left out"),
        ({"checkEndpoint": "/ready"}, "checkEndpoint left out"),
        ({"unlisted": True}, "unlisted left out"),
        ({"timeouts": {"connect": 3}}, "timeouts (connect) left out"),
        ({"never-heard-of": {"a": {"b": 1}}}, "never-heard-of (a.b) left out"),
        ({"aliases": [{"id": "other", "unlisted": True}]}, "models.it.aliases.0 (other): unlisted left out"),
    ],
)
def test_whatever_else_an_entry_says_is_named(tmp_path: Path, entry: dict[str, Any], left_out: str) -> None:
    _, notes = command(tmp_path, "llama-server -m x.gguf -c 1 --port 9", **entry)
    assert left_out in notes


def test_a_password_in_an_address_does_not_come_along(tmp_path: Path) -> None:
    model, notes = command(tmp_path, "vllm serve x --port 1", proxy="http://me:hush@10.0.0.1:9/?code=hush")
    assert model.url == "http://10.0.0.1:9/v1"
    assert "user, password and query of the address left out" in notes
    assert "hush" not in notes
