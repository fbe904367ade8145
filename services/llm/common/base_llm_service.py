"""The services of the preset `pas`, or of the file in ROLECAST_CONFIG, with one gateway for all in this process."""

import os
from collections.abc import Iterable

from rolecast.asgi import Embedded
from rolecast.config.schema import Config, Listener, Model, Server

TEST_HOSTS = ["testserver"]
"""How Starlette's and FastAPI's TestClient call the server. No name that a browser could find."""

_file = os.environ.get("ROLECAST_CONFIG")
services = Embedded(_file, allowed_hosts=TEST_HOSTS) if _file else Embedded(preset="pas", allowed_hosts=TEST_HOSTS)


class BaseLLMService:
    """`app` is a service of its own for a model of an Ollama that runs elsewhere."""

    def __init__(self, model: str, ollama_url: str, port: int, capabilities: Iterable[str]) -> None:
        words = list(dict.fromkeys(("chat", "completion", *capabilities)))
        remote = Model(backend="openai", url=f"{ollama_url.rstrip('/')}/v1", capabilities=words)
        server = Server(port=0, listeners=[Listener(port=port, name=model, model=model, surface="pas")])
        config = Config(server=server, models={model: remote}, roles={"standard": [model]})
        self.app = Embedded(config, allowed_hosts=TEST_HOSTS).app(port)
