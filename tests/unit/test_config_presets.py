"""The presets hold what their systems documented; the JSON Schema fits the presets; importing stays cheap."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from rolecast import config
from rolecast.backends import table
from rolecast.config import names, presets
from rolecast.config.schema import Config
from rolecast.dialects.surfaces import SURFACES
from rolecast.errors import NotFound


def preset(name: str) -> Config:
    return config.read(presets.text(name), name=f"{name}.yaml", backends=table())


def ports(loaded: Config) -> dict[int, tuple[str | None, str | None, str]]:
    return {x.port: (x.name, x.model, x.surface) for x in loaded.server.listeners}


def test_there_is_a_preset_for_each_system_and_the_default() -> None:
    assert presets.names() == ["bestbox", "conductor", "default", "pas", "slm-server"]


def test_an_unknown_preset_is_answered_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match=r"bestbox, conductor, default, pas, slm-server"):
        presets.text("../default")


@pytest.mark.parametrize("name", presets.names())
def test_each_preset_is_valid_raises_no_warning_and_listens_on_this_machine(name: str) -> None:
    loaded = preset(name)
    assert config.warnings(loaded, table()) == []
    assert (loaded.server.host, loaded.server.port) == ("127.0.0.1", 8000)
    assert presets.text(name).startswith("# ")


@pytest.mark.parametrize("name", presets.names())
def test_each_preset_can_be_played_by_the_embedded_models(name: str) -> None:
    loaded = config.read(presets.text(name), env={"ROLECAST_STAND_IN": "smollm2-135m"})
    assert loaded.stand_in == "smollm2-135m"
    assert loaded.models["smollm2-135m"].source.startswith("pypi:")
    assert loaded.roles["embeddings"] == ["all-minilm-l6-v2"]


def test_the_slm_server_preset_keeps_its_ids_ports_and_limits() -> None:
    loaded = preset("slm-server")
    assert ports(loaded) == {
        8500: ("router", "liquid/lfm2.5-1.2b", "openai"),
        8501: ("standard", "qwen/qwen3-4b-2507", "openai"),
        8502: ("reasoning", "qwen/qwen3-8b", "openai"),
        8503: ("coding", "mistralai/devstral-small-2-2512", "openai"),
    }
    limits = {i: (m.context, m.parallel, m.timeout, m.tools) for i, m in loaded.models.items() if "/" in i}
    assert limits == {
        "liquid/lfm2.5-1.2b": (32768, 4, 10.0, False),
        "qwen/qwen3-4b-2507": (40960, 2, 45.0, True),
        "qwen/qwen3-8b": (65536, 2, 60.0, True),
        "mistralai/devstral-small-2-2512": (32768, 2, 45.0, False),
    }
    for listener in loaded.server.listeners:
        assert loaded.roles[listener.name or ""] == [listener.model]


def test_the_pas_preset_keeps_its_services() -> None:
    loaded = preset("pas")
    assert ports(loaded) == {
        6103: ("provider_router", None, "providers"),
        6120: ("gateway", None, "gateway"),
        8050: ("llm_llama31_8b", "llama3.1:8b", "pas"),
        8051: ("llm_tinyllama_1b", "tinyllama:1.1b", "pas"),
        8052: ("tlc_domain_classifier", "tinyllama:1.1b", "pas"),
        6121: ("registry", None, "registry"),
        6109: ("heartbeat_monitor", None, "heartbeat"),
    }
    assert {"chat", "reasoning", "planning"} <= set(loaded.models["llama3.1:8b"].capabilities)
    assert {"classification", "domain_validation"} <= set(loaded.models["tinyllama:1.1b"].capabilities)
    assert names.table(loaded)["tlc_domain_classifier"].models == ("tinyllama:1.1b",)


def test_the_bestbox_preset_keeps_its_pair() -> None:
    loaded = preset("bestbox")
    assert ports(loaded) == {
        8080: ("heavy", "qwen2.5-14b-instruct", "llama-server"),
        8081: ("light", "qwen2.5-7b-instruct", "llama-server"),
    }
    heavy, light = loaded.models["qwen2.5-14b-instruct"], loaded.models["qwen2.5-7b-instruct"]
    assert (heavy.context * heavy.parallel, light.context * light.parallel) == (8192, 4096)
    assert (heavy.pinned, light.pinned, light.parallel) == (True, True, 2)


def test_the_conductor_preset_answers_to_every_category_in_both_spellings() -> None:
    loaded = preset("conductor")
    categories = [role for role in loaded.roles if role != "embeddings"]
    assert len(categories) == 14 + 3
    assert "image_generation" not in categories
    for category, engine in [
        ("legal_document_analysis", "legal_analysis"),
        ("code_review_debugging", "code_review"),
        ("long_context_tasks", "long_context"),
    ]:
        assert loaded.roles[category] == loaded.roles[engine]
    pinned = {model_id for model_id, model in loaded.models.items() if model.pinned}
    assert pinned == {"mistralai/Mistral-7B-Instruct-v0.1", "openchat/openchat-3.5-1210"}


def test_the_schema_explains_settings_and_allows_units() -> None:
    schema = json.loads(json.dumps(config.json_schema()))
    assert set(schema["properties"]) == set(Config.__struct_fields__)
    model = schema["properties"]["models"]["additionalProperties"]
    assert model["additionalProperties"] is False
    assert model["properties"]["context"] == {
        "type": "integer",
        "minimum": 0,
        "default": 4096,
        "description": "Tokens per slot, at most what the weights were trained on; 0 = all that they were trained on.",
    }
    assert model["properties"]["timeout"]["type"] == ["number", "string"]
    listener = schema["properties"]["server"]["properties"]["listeners"]["items"]
    assert listener["required"] == ["port"]
    assert set(listener["properties"]["surface"]["enum"]) == set(SURFACES)
    routing = schema["properties"]["routing"]["properties"]
    assert routing["strategies"]["default"] == ["explicit", "rules", "learned"]


def test_the_schema_explains_every_setting() -> None:
    def unexplained(path: str, rules: dict[str, Any]) -> Iterator[str]:
        for name, each in rules.get("properties", {}).items():
            inner = next(
                (i for i in (each.get("items"), each.get("additionalProperties")) if isinstance(i, dict)), each
            )
            if not (each.get("description") or inner.get("description")):
                yield f"{path}.{name}"
            yield from unexplained(f"{path}.{name}", inner)

    assert not [*unexplained("", config.json_schema())]


def test_importing_the_configuration_loads_no_yaml_reader() -> None:
    code = "import sys, rolecast.config; print([m for m in ('ruamel.yaml', 'difflib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
