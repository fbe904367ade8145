"""Where the systems that one gateway serves contradict each other: a test for each row of the list of resolutions.

The numbers are those of that list. A row that belongs to what is not built yet is in
`tests/requirements/dialects-clients.yaml` as open. Scripted models answer: what is asked here is who is heard, and how
it is told.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_gateway import Answer, LiveGateway, ask, plain_environment, until

from rolecast.config import presets

ROOT = Path(__file__).parents[2]
FOREIGN = ROOT / "tests" / "unit" / "foreign"
CONFIG = """
server:
  port: 0
  limits: {queue: 1}
  listeners:
    - {port: 0, name: llm_llama31_8b, model: "llama3.1:8b", surface: pas}
    - {port: 0, name: tlc_domain_classifier, model: "llama3.1:8b", surface: pas}
    - {port: 0, name: heavy, model: big/model, surface: llama-server}
models:
  "llama3.1:8b": {backend: fake, context: 64}
  big/model: {backend: fake, aliases: ["vendor/other:tag", heavy]}
  stuck: {backend: fake, script: SCRIPT}
  off: {backend: fake, enabled: false}
roles:
  standard: [big/model]
  code_review: [big/model]
  code_review_debugging: [big/model]
  conversational_chat: [big/model]
"""
SAY = [{"role": "user", "content": "hello"}]
CONDUCTOR = {"response", "category", "model", "session_id", "generation_time", "tokens_generated"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    folder = tmp_path_factory.mktemp("rows")
    script = folder / "script.yaml"
    script.write_text('replies: [{match: "^wait", hang: true}]')
    with LiveGateway(folder, CONFIG.replace("SCRIPT", str(script))) as running:
        yield running


def rolecast(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command of ours."""
    return subprocess.run(
        [sys.executable, "-m", "rolecast", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=plain_environment() | environment,
    )


def pas(gateway: LiveGateway, path: str, body: Any = None) -> Answer:
    return ask(gateway.port("llm_llama31_8b"), "GET" if body is None else "POST", path, body)


def says(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    return str(answer.json["choices"][0]["message"]["content"])


def test_row_01_one_front_door_on_port_8000_serves_every_system(gateway: LiveGateway) -> None:
    for name in ("default", "slm-server", "conductor", "pas", "bestbox"):
        assert "port: 8000" in presets.text(name), name
        assert presets.text(name).count("port: 8000") == 1, name
    assert says(gateway.post("/v1/chat/completions", {"messages": SAY})) == "fake: hello"
    assert gateway.post("/api/chat", {"model": "auto", "messages": SAY, "stream": False}).json["done"]
    assert gateway.post("/v1/messages", {"model": "auto", "max_tokens": 9, "messages": SAY}).json["type"] == "message"


def test_row_02_generate_is_always_ollamas_on_the_ports_of_pas(gateway: LiveGateway) -> None:
    body = {"model": "x", "prompt": "hello", "options": {"num_predict": 9}}
    answer = pas(gateway, "/generate", body).json
    assert (answer["response"], answer["done"], answer["model"]) == ("fake: hello", True, "llama3.1:8b")
    more = pas(gateway, "/generate", {**body, "category": "conversational_chat", "max_tokens": 1}).json
    assert more["response"] == "fake: hello"
    assert not {"generation_time", "tokens_generated"} & set(more)


def test_row_02_generate_on_the_front_door_answers_with_the_fields_of_both(gateway: LiveGateway) -> None:
    for body in ({"prompt": "hello"}, {"prompt": "hello", "category": "conversational_chat"}):
        answer = gateway.post("/generate", body)
        assert answer.status == 200, answer.body
        assert {*CONDUCTOR, "done", "created_at"} <= set(answer.json)
        assert answer.json["response"] == "fake: hello"
    ollama = gateway.post("/generate", {"model": "big/model", "prompt": "hello", "options": {}})
    assert (ollama.json["done"], ollama.json["response"]) == (True, "fake: hello")
    lines = gateway.post("/generate", {"model": "big/model", "prompt": "hello", "stream": True})
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert gateway.post("/conductor/generate", {"prompt": "hello"}).json["response"] == "fake: hello"


def test_row_03_chat_completions_with_messages_is_openais(gateway: LiveGateway) -> None:
    for path in ("/chat/completions", "/v1/chat/completions"):
        assert says(gateway.post(path, {"model": "auto", "messages": SAY})) == "fake: hello"
        assert says(pas(gateway, path, {"model": "auto", "messages": SAY})) == "fake: hello"


def test_row_03_chat_completions_with_a_prompt_is_conductors_and_with_neither_names_both(gateway: LiveGateway) -> None:
    answer = gateway.post("/chat/completions", {"prompt": "hello"})
    assert answer.status == 200, answer.body
    assert set(answer.json) >= CONDUCTOR
    neither = gateway.post("/chat/completions", {"temperature": 0.5})
    assert neither.status == 422
    assert "messages" in neither.error["message"]
    assert "prompt" in neither.error["message"]


def test_row_04_each_port_has_its_own_health_in_compact_json(gateway: LiveGateway) -> None:
    front = gateway.get("/health")
    assert b'"status":"healthy"' in front.body
    assert {"loaded_models", "total_memory_gb", "uptime_seconds", "last_updated"} <= set(front.json)
    assert not isinstance(front.json["last_updated"], str)
    assert b'"status":"healthy"' in pas(gateway, "/health").body
    assert ask(gateway.port("heavy"), "GET", "/health").body == b'{"status":"ok"}'


def test_row_08_one_stream_of_tokens_is_told_in_each_form(gateway: LiveGateway) -> None:
    events = gateway.post("/v1/chat/completions", {"messages": SAY, "stream": True})
    assert events.headers["content-type"].startswith("text/event-stream")
    assert events.body.endswith(b"data: [DONE]\n\n")
    lines = gateway.post("/api/chat", {"model": "auto", "messages": SAY})
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert json.loads(lines.body.splitlines()[-1])["done"] is True


def test_row_08_conductors_stream_is_chunks_and_an_end(gateway: LiveGateway) -> None:
    body = {"prompt": "hello there", "category": "conversational_chat", "stream": True}
    answer = gateway.post("/generate/stream", body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *chunks, end = [json.loads(line[6:]) for line in answer.body.splitlines() if line.startswith(b"data: ")]
    assert "".join(chunk["chunk"] for chunk in chunks) == "fake: hello there"
    assert all({"chunk", "category", "model", "session_id"} <= set(chunk) for chunk in chunks)
    assert end == {"done": True}


def test_row_09_an_error_has_one_shape_and_its_real_status(gateway: LiveGateway) -> None:
    told = {
        404: gateway.post("/v1/chat/completions", {"model": "nobody", "messages": SAY}),
        422: gateway.post("/v1/chat/completions", {"messages": SAY, "temperature": -1}),
        400: gateway.post("/v1/chat/completions", ["no object"]),
        503: gateway.post("/v1/chat/completions", {"model": "off", "messages": SAY}),
        405: gateway.get("/v1/chat/completions"),
    }
    for status, answer in told.items():
        assert answer.status == status, answer.body
        assert set(answer.error) == {"message", "type", "param", "code"}
    assert gateway.chat("stuck", "hello").status == 200  # it is loaded: its line is for one
    with gateway.stream("stuck", "wait"):
        until(lambda: gateway.model("stuck")["active"] == 1, "one runs")
        with gateway.stream("stuck", "wait"):
            until(lambda: gateway.model("stuck")["waiting"] == 1, "one waits")
            busy = gateway.chat("stuck", "hello")
    assert (busy.status, set(busy.error)) == (429, {"message", "type", "param", "code"})
    assert int(busy.headers["retry-after"]) >= 1


def test_row_10_names_may_have_slashes_and_colons_and_each_alias_says_whose_it_is(
    gateway: LiveGateway, tmp_path: Path
) -> None:
    listed = {each["id"]: each for each in gateway.get("/v1/models").json["data"]}
    for name in ("vendor/other:tag", "heavy", "standard", "code_review"):
        assert listed[name]["root"] == "big/model"
        assert gateway.chat(name, "hello").headers["x-rolecast-model"] == "big/model"
    assert gateway.chat("auto", "hello").headers["x-rolecast-model"] == "big/model"
    twice = tmp_path / "twice.yaml"
    twice.write_text("models:\n  a: {backend: fake, aliases: [x]}\n  b: {backend: fake, aliases: [x]}\n")
    refused = rolecast("check", str(twice))
    assert refused.returncode != 0
    assert "twice.yaml:3" in refused.stdout + refused.stderr


def test_row_11_a_port_of_one_model_answers_with_it_and_says_so(gateway: LiveGateway) -> None:
    for port, model in (("llm_llama31_8b", "llama3.1:8b"), ("heavy", "big/model")):
        answer = gateway.chat("anything", "hello", url=gateway.port(port))
        assert answer.status == 200
        assert answer.headers["x-rolecast-model"] == model
    assert gateway.chat("anything", "hello").status == 404


def test_row_12_three_foreign_files_are_read_the_environment_has_the_last_word_and_edits_apply(
    gateway: LiveGateway, tmp_path: Path
) -> None:
    for name in ("slm-roles.yaml", "settings-default.md", "avatar.json"):
        made = rolecast("import", str(FOREIGN / name), "--out", str(tmp_path / f"{name}.out.yaml"))
        assert made.returncode == 0, made.stderr
    models = "models:\n  one: {backend: fake}\n  two: {backend: fake}\n"
    config = f"server: {{port: 0}}\n{models}roles: {{standard: [one], spare: [two]}}\n"
    with LiveGateway(tmp_path / "run", config, ROLECAST_ROUTING__DEFAULT="spare") as running:
        assert running.chat("auto", "hello").headers["x-rolecast-model"] == "two"
        running.config.write_text(config.replace("one: {backend: fake}", "one: {backend: fake, aliases: [uno]}"))
        until(lambda: running.chat("uno", "hello").status == 200, "the edit applies")
        assert running.chat("auto", "hello").headers["x-rolecast-model"] == "two"


def tlc(gateway: LiveGateway, path: str, **body: Any) -> Any:
    answer = ask(gateway.port("tlc_domain_classifier"), "POST", path, body)
    assert answer.status == 200, answer.body
    return answer.json


def test_row_13_tmd_keeps_the_names_of_the_seed_and_schemes_add_codes(gateway: LiveGateway) -> None:
    query = "What is the role of glucose in diabetes?"
    plain = tlc(gateway, "/extract_tmd", query=query)
    assert plain["tmd"] == {"task": "ANSWER", "method": "DENSE", "domain": "MEDICINE"}
    for scheme, packing in (("v1", (12, 7)), ("v2", (10, 6))):
        coded = tlc(gateway, "/extract_tmd", query=query, scheme=scheme)
        assert (coded["tmd"], coded["confidence"]) == (plain["tmd"], plain["confidence"])
        codes = coded["codes"]
        packed = codes["domain"] << packing[0] | codes["task"] << packing[1] | codes["modifier"] << 1
        assert (coded["packed"], coded["lane"]) == (packed, packed >> 1)
    assert tlc(gateway, "/extract_tmd", query=query, scheme="pas_l0")["domain_l0"] == "medicine"
    taxonomies = ask(gateway.port("tlc_domain_classifier"), "GET", "/taxonomies").json["taxonomies"]
    assert [(each["name"], len(each["domains"])) for each in taxonomies] == [
        ("seed", 21),
        ("v1", 16),
        ("v2", 64),
        ("pas_l0", 16),
    ]


def test_row_14_an_unknown_domain_is_other_its_confidence_low_and_it_is_marked(gateway: LiveGateway) -> None:
    for query in ("?!", "qwxz vbnm plkj"):
        told = tlc(gateway, "/classify_domain", query=query)
        assert (told["primary_domain"], told["metadata"]["fallback"]) == ("OTHER", True)
        names = [each["domain"] for each in told["domains"]]
        assert len(set(names)) == len(names)
        assert all(each["confidence"] < 0.6 for each in told["domains"])
        extracted = tlc(gateway, "/extract_tmd", query=query)
        assert (extracted["tmd"]["domain"], extracted["metadata"]["fallback"]) == ("OTHER", True)
    sure = tlc(gateway, "/classify_domain", query="Who won the world cup in 1998?")
    assert (sure["primary_domain"], sure["metadata"]["fallback"]) == ("SPORTS", False)


def test_row_15_a_port_tells_its_service_by_the_name_of_its_system(gateway: LiveGateway) -> None:
    health = pas(gateway, "/health").json
    assert (health["service"], health["agent_id"]) == ("llama31_8b_wrapper", "llm_llama31_8b")
    assert health["model"] == "llama3.1:8b"


def test_row_16_two_ports_that_are_one_are_named_before_anything_starts(tmp_path: Path) -> None:
    assert "port: 8080" in presets.text("bestbox")
    assert "port: 8081" in presets.text("bestbox")
    file = tmp_path / "clash.yaml"
    file.write_text(
        "server:\n  port: 8000\n  listeners:\n    - {port: 8081, name: light}\n    - {port: 8081, name: vectors}\n"
        "models:\n  one: {backend: fake}\nroles: {standard: [one]}\n"
    )
    refused = rolecast("check", str(file))
    assert refused.returncode != 0
    assert "8081" in refused.stdout + refused.stderr


def test_row_17_prompts_stream_where_ollamas_do_and_not_on_the_ports_of_pas(gateway: LiveGateway) -> None:
    body = {"model": "auto", "prompt": "hello"}
    assert gateway.post("/api/generate", body).headers["content-type"] == "application/x-ndjson"
    assert pas(gateway, "/generate", body).headers["content-type"].startswith("application/json")
    assert (
        gateway.post("/v1/chat/completions", {"messages": SAY}).headers["content-type"].startswith("application/json")
    )


def test_row_18_only_more_than_the_context_is_refused_on_the_ports_of_pas(gateway: LiveGateway) -> None:
    asked = {"messages": SAY, "max_tokens": 64}
    assert pas(gateway, "/chat/completions", asked).status == 200
    assert pas(gateway, "/chat/completions", {**asked, "max_tokens": 65}).status == 422
    assert gateway.post("/chat/completions", {**asked, "max_tokens": 100_000}).status == 200


def test_row_19_keep_alive_says_how_long_a_model_stays(gateway: LiveGateway) -> None:
    def loaded() -> dict[str, Any]:
        return {each["model"]: each for each in gateway.get("/api/ps").json["models"]}

    hello = {"model": "big/model", "prompt": "hello", "stream": False}
    gateway.post("/api/generate", {**hello, "keep_alive": "10m"})
    soon = loaded()["big/model:latest"]["expires_at"]
    gateway.post("/api/generate", {**hello, "keep_alive": "30h"})
    assert loaded()["big/model:latest"]["expires_at"] > soon
    gateway.post("/api/generate", {"model": "big/model", "keep_alive": 0})
    until(lambda: "big/model:latest" not in loaded(), "it left")


def test_row_20_a_category_has_both_of_its_names() -> None:
    lines = {line.split(":")[0].strip(): line.partition(":")[2] for line in presets.text("conductor").splitlines()}
    for one, other in (
        ("code_review", "code_review_debugging"),
        ("legal_analysis", "legal_document_analysis"),
        ("long_context", "long_context_tasks"),
    ):
        assert lines[one] == lines[other]


def test_row_25_one_range_of_python_is_stated_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["requires-python"] == ">=3.11"
    assert project["tool"]["ruff"]["target-version"] == "py311"
    assert project["tool"]["mypy"]["python_version"] == "3.11"
    named = [x.rpartition(" ")[2] for x in project["project"]["classifiers"] if "Python :: 3." in x]
    assert min(named, key=lambda version: int(version.partition(".")[2])) == "3.11"


def test_row_26_loopback_unless_there_is_a_key(tmp_path: Path) -> None:
    for name in ("default", "slm-server", "conductor", "pas", "bestbox"):
        assert "host: 0.0.0.0" not in presets.text(name)
    file = tmp_path / "open.yaml"
    models = "models:\n  one: {backend: fake}\nroles: {standard: [one]}\n"
    file.write_text("server: {host: 0.0.0.0, port: 8000}\n" + models)
    refused = rolecast("check", str(file))
    assert refused.returncode != 0
    assert "key" in refused.stdout + refused.stderr
    file.write_text("server: {host: 0.0.0.0, port: 8000, keys: [sk-long-enough-to-be-one]}\n" + models)
    assert rolecast("check", str(file)).returncode == 0


def test_row_27_the_list_of_models_is_openais(gateway: LiveGateway) -> None:
    for path in ("/v1/models", "/models"):
        assert gateway.get(path).json["object"] == "list"


def test_row_27_conductors_list_of_models_has_a_path_of_its_own(gateway: LiveGateway) -> None:
    answer = gateway.get("/conductor/models")
    assert answer.status == 200
    fields = {"technical_name", "category", "status", "memory_gb", "generation_count", "stay_loaded"}
    assert all(set(each) >= fields for each in answer.json)
    assert "big/model" in {each["technical_name"] for each in answer.json}
