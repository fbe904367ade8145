"""The examples run as they are, against a gateway wherever it is."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_gateway import LiveGateway

EXAMPLES = Path(__file__).parents[2] / "examples"
CONFIG = """
server: {port: 0, keys: [sk-example]}
models: {tiny: {backend: fake, capabilities: [chat, embeddings]}}
roles: {standard: [tiny], coding: [tiny], embeddings: [tiny]}
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with LiveGateway(tmp_path_factory.mktemp("examples"), CONFIG, key="sk-example") as running:
        yield running


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.py") if path.stem != "__init__"))
@pytest.mark.parametrize(
    ("variable", "path"), [("LLM_BASE_URL", "/v1"), ("AGENT_LLM_BASE_URL", "/v1"), ("ROLECAST_URL", "")]
)
def test_an_example_finds_the_gateway_as_every_client_does(
    gateway: LiveGateway, example: str, variable: str, path: str
) -> None:
    env = gateway.env | {variable: gateway.url + path, "ROLECAST_API_KEY": gateway.key}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example)], env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, "tiny" in done.stdout) == (0, True), done.stderr
