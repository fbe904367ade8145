"""Rolecast's own Python client, both faces, against the real gateway."""

from contextlib import ExitStack

import pytest
from live_gateway import LiveGateway, until

from rolecast import LLMClient
from rolecast.client import AsyncLLMClient, LLMAuthError, LLMBadRequest, LLMNotFound, LLMRateLimit

pytestmark = pytest.mark.real

HELLO = [{"role": "user", "content": "hello"}]


def test_a_client_without_a_model_gets_the_default_role(gateway: LiveGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_BASE_URL", gateway.url)
    monkeypatch.setenv("ROLECAST_API_KEY", gateway.key)
    with LLMClient() as client:
        answer = client.chat_completion(messages=HELLO, max_tokens=4, temperature=0)
    assert answer.content
    assert answer["usage"].completion_tokens == 4
    assert answer.route["model"] == "smollm2-135m"
    assert answer.route["role"] == "standard"


def test_the_blocking_client_does_everything(gateway: LiveGateway) -> None:
    with LLMClient(f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as client:
        assert client.respond("coding", HELLO).content == "fake: hello"
        stream = client.stream_chat(HELLO, role="coding")
        assert "".join(delta.content for delta in stream) == "fake: hello"
        assert stream.result.usage.completion_tokens == 2
        assert client.completions("Once upon a", "default", max_tokens=3).text
        assert [len(v) for v in client.embeddings(["A cat.", "A dog."])] == [384, 384]
        assert "vendor/odd:name" in [m.id for m in client.models()]
        assert client.health().status == "healthy"
        with pytest.raises(LLMNotFound, match="does not exist here"):
            client.chat_completion(HELLO, "nobody")
        with pytest.raises(LLMBadRequest, match="cannot do chat"):
            client.chat_completion(HELLO, "minilm")


def test_a_trace_id_comes_back_and_is_in_the_ledger(gateway: LiveGateway) -> None:
    with LLMClient(gateway.url, api_key=gateway.key) as client:
        client.chat_completion(HELLO, "scripted", trace_id="trace-42")
    until(lambda: gateway.get("/admin/requests?limit=1").json["requests"][0]["client_id"] == "trace-42")


def test_a_full_queue_is_a_rate_limit(gateway: LiveGateway) -> None:
    with ExitStack() as stack, LLMClient(gateway.url, api_key=gateway.key, max_retries=0) as client:
        first = stack.enter_context(gateway.stream("scripted", "endless"))
        assert first.event()
        for _ in range(2):
            stack.enter_context(gateway.stream("scripted", "endless"))
        until(lambda: gateway.model("scripted")["waiting"] == 2)
        with pytest.raises(LLMRateLimit) as caught:
            client.chat_completion(HELLO, "scripted")
        assert caught.value.retry_after_s == 1
    until(lambda: gateway.model("scripted")["active"] == 0)


def test_a_wrong_key_is_an_error_of_its_own(gateway: LiveGateway) -> None:
    with LLMClient(gateway.url, api_key="wrong") as client, pytest.raises(LLMAuthError):
        client.chat_completion(HELLO)


@pytest.mark.anyio
async def test_the_async_client_does_everything(gateway: LiveGateway) -> None:
    async with AsyncLLMClient(gateway.url, api_key=gateway.key, max_retries=0) as client:
        assert (await client.respond("coding", HELLO)).content == "fake: hello"
        stream = client.stream_chat(HELLO, "auto", max_tokens=3, temperature=0)
        text = "".join([delta.content async for delta in stream])
        assert text == stream.result.content
        assert stream.result.usage.completion_tokens == 3
        assert len(await client.embeddings("A cat.")) == 1
        assert (await client.health()).status == "healthy"
        with pytest.raises(LLMNotFound):
            await client.chat_completion(HELLO, "nobody")


@pytest.mark.anyio
async def test_the_blocking_client_may_be_awaited_inside_a_loop(gateway: LiveGateway) -> None:
    client = LLMClient(gateway.url, api_key=gateway.key)
    answer = await client.chat_completion(messages=HELLO, role="coding")  # type: ignore[misc]
    assert answer.content == "fake: hello"
