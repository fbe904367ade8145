"""A live gateway is held to its own document: requests made from it, right and wrong ones, and a judge of the answers.

Schemathesis makes the requests: every field of every body beyond its limits and of another type, parameters, headers,
methods, keys, and chains of requests of which one makes what the next looks at. It fails for an answer with 5xx, for a
status, a media type or a body that the document does not have, and for a request that breaks the document and is taken.
The seed is set, so each run asks the same. Nothing is left out: whatever a request could end or delete is a throw-away
gateway's, whose models are scripted.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_gateway import LiveGateway, ask

pytestmark = pytest.mark.timeout(900)
KEY = "sesame"
CONFIG = """
server:
  port: 0
  keys: [sesame]
  listeners:
    - {name: one, port: 0, model: tiny}
    - {name: llama, port: 0, model: tiny, surface: llama-server}
    - {name: wrapper, port: 0, model: tiny, surface: pas}
    - {name: tlc_domain_classifier, port: 0, model: tiny, surface: pas}
models:
  tiny: {backend: fake, capabilities: [chat, completion, tools]}
  vectors: {backend: fake, capabilities: [embeddings]}
roles: {standard: [tiny], embeddings: [vectors]}
"""
OWN = {
    "one": ("/health", "/"),
    "llama": ("/health", "/"),
    "wrapper": ("/health", "/", "/info", "/generate", "/api/generate", "/v1/chat/completions"),
    "tlc_domain_classifier": ("/info", "/classify_domain", "/extract_tmd", "/validate_domain", "/taxonomies"),
}
"""Where ports that look like one model differ from the front door."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with LiveGateway(tmp_path_factory.mktemp("conformance"), CONFIG, key=KEY) as running:
        yield running


def address(gateway: LiveGateway, listener: str) -> str:
    return next(str(each["url"]) for each in gateway.state["listeners"] if each["name"] == listener)


def written(url: str) -> dict[str, Any]:
    """The document of a port, without other spellings of what is in it."""
    document: dict[str, Any] = ask(url, "GET", "/openapi.json", key=KEY).json
    for methods in document["paths"].values():
        for method in [method for method, operation in methods.items() if "x-same-as" in operation]:
            del methods[method]
    document["paths"] = {path: methods for path, methods in document["paths"].items() if methods}
    return document


def judge(document: dict[str, Any], url: str, phases: str, folder: Path) -> None:
    (folder / "openapi.json").write_text(json.dumps(document))
    settings = Path(__file__).with_name("schemathesis.toml")
    argv = ["--config-file", str(settings), "run", "openapi.json", "--url", url, "--phases", phases]
    argv = [sys.executable, "-m", "schemathesis.cli", *argv, "--warnings", "off"]
    said = subprocess.run(argv, cwd=folder, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


def test_the_front_door_answers_as_its_document_says(gateway: LiveGateway, tmp_path: Path) -> None:
    url = address(gateway, "front door")
    judge(written(url), url, "examples,coverage,fuzzing,stateful", tmp_path)
    assert gateway.runs
    assert "Traceback" not in gateway.log()


@pytest.mark.parametrize("listener", OWN)
def test_a_port_of_one_model_does_so_too(gateway: LiveGateway, listener: str, tmp_path: Path) -> None:
    url = address(gateway, listener)
    document = written(url)
    document["paths"] = {path: methods for path, methods in document["paths"].items() if path in OWN[listener]}
    judge(document, url, "examples,fuzzing", tmp_path)
    assert "Traceback" not in gateway.log()
