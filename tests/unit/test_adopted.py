"""Servers that register by themselves answer only where the configuration lists their address."""

import asyncio

import pytest

from rolecast.config.registry import Registry
from rolecast.config.schema import Config, Model
from rolecast.registry.adopted import Adopted, may_be_asked


@pytest.mark.parametrize(
    ("url", "entry", "may"),
    [
        ("http://127.0.0.1:8100/v1", "http://127.0.0.1:8100", True),
        ("http://127.0.0.1:8100/v1", "127.0.0.1:8100", True),
        ("http://127.0.0.1:8100", "http://127.0.0.1:*", True),
        ("http://10.0.0.7:9000", "http://10.0.0.*:9000", True),
        ("https://a.example/v1", "https://a.example", True),
        ("http://127.0.0.1:8101", "http://127.0.0.1:8100", False),
        ("https://127.0.0.1:8100", "http://127.0.0.1:8100", False),
        ("http://127.0.0.1:8100@evil.example/v1", "http://127.0.0.1:8100", False),
        ("http://evil.example/http://127.0.0.1:8100", "http://127.0.0.1:8100", False),
        ("http://127.0.0.1.evil.example:8100", "http://127.0.0.1:8100", False),
        ("unix:/run/docker.sock", "*", False),
        ("internal://agents/x", "internal://agents", False),
        ("http://[::1]:8100", "http://[::1]:8100", True),
        ("http://a:1", "", False),
        ("http://10.0.0.evil.example:9000", "http://10.0.0.*:9000", False),
        ("http://10.0.0.7.evil.example:80", "10.*", False),
        ("http://a.example.org", "http://*.example.org", True),
    ],
)
def test_only_listed_addresses(url: str, entry: str, may: bool) -> None:
    assert may_be_asked(url, [entry] if entry else []) is may


def test_adopted_models_come_and_go_with_what_is_allowed() -> None:
    changes = 0

    async def changed() -> None:
        nonlocal changes
        changes += 1

    adopted = Adopted(changed)
    there = Model(backend="openai", url="http://127.0.0.1:8100/v1")
    own = Config(models={"mine": Model(backend="fake")}, registry=Registry(backends=["127.0.0.1:8100"]))

    async def play() -> None:
        await adopted.adopt("theirs", there)
        await adopted.adopt("theirs", there)
        await adopted.adopt("mine", there)

    asyncio.run(play())
    assert changes == 2
    joined = adopted.join(own)
    assert joined.models == {"mine": own.models["mine"], "theirs": there}
    assert adopted.join(joined) == joined
    asyncio.run(adopted.drop("theirs"))
    assert adopted.join(joined).models == own.models
