"""Where a request to a model goes, by its address alone."""

import pytest

from rolecast.backends import reach
from rolecast.config.schema import Model, Price


@pytest.mark.parametrize(
    ("url", "leaves", "cloud"),
    [
        ("unix:/run/x.sock", False, False),
        ("http://127.0.0.1:11434/v1", False, False),
        ("http://localhost:1/v1", False, False),
        ("http://[::1]:1/v1", False, False),
        ("http://192.168.1.7:8000/v1", True, False),
        ("http://nas.local:8000/v1", True, False),
        ("http://gpu:8000/v1", True, False),
        ("https://api.openai.com/v1", True, True),
        ("https://8.8.8.8/v1", True, True),
        ("http://localhost.evil.example/v1", True, True),
    ],
)
def test_by_address(url: str, leaves: bool, cloud: bool) -> None:
    model = Model(backend="openai", url=url)
    assert (reach.leaves(model), reach.is_cloud(model)) == (leaves, cloud)
    assert reach.is_free(model) is not cloud
    assert reach.is_free(Model(backend="openai", url=url, price=Price(input=1.0))) is False


def test_a_configured_word_comes_first() -> None:
    assert reach.is_cloud(Model(backend="openai", url="http://10.0.0.1/v1", cloud=True))
    assert not reach.is_cloud(Model(backend="openai", url="https://own.example/v1", cloud=False))
    assert not reach.is_cloud(Model(backend="fake", cloud=True))
