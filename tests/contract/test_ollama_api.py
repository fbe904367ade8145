"""Ollama's official clients for Python and Node against the real engine: prompts, vectors, lists, loading, leaving."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import ollama
import openai
import pytest
from client_programs import QUIET, run_node
from live_gateway import LiveGateway, ask, until

pytestmark = pytest.mark.real

KEY = "sk-first"
OPTIONS = {"num_predict": 8, "temperature": 0, "seed": 7}


@pytest.fixture
def local(gateway: LiveGateway) -> Iterator[ollama.Client]:
    with_key = ollama.Client(host=gateway.url, headers={"authorization": f"Bearer {KEY}"}, timeout=60)
    yield with_key
    with_key._client.close()  # the client has no close of its own


# -- prompts -------------------------------------------------------------------------------------------------------


def test_a_prompt_is_answered_as_a_chat_of_one_message_is(local: ollama.Client) -> None:
    answer = local.generate("standard", "Name a colour.", options=OPTIONS)
    chat = local.chat("standard", [{"role": "user", "content": "Name a colour."}], options=OPTIONS)
    assert answer.response == chat.message.content
    assert (answer.eval_count, answer.prompt_eval_count) == (chat.eval_count, chat.prompt_eval_count)
    assert (answer.done, answer.done_reason) == (True, "length")
    *pieces, last = local.generate("standard", "Name a colour.", options=OPTIONS, stream=True)
    assert len(pieces) > 3
    assert "".join(piece.response for piece in pieces) == answer.response
    assert (last.eval_count, last.context) == (answer.eval_count, answer.context)


@pytest.mark.parametrize("raw", [True, False])
def test_the_books_have_what_the_client_saw(gateway: LiveGateway, local: ollama.Client, raw: bool) -> None:
    before = len(gateway.rows("id"))
    answer = local.generate("standard", "The sky is", options=OPTIONS, raw=raw)
    counts = (answer.prompt_eval_count, answer.eval_count)
    until(lambda: counts in gateway.rows("prompt_tokens, completion_tokens")[before:], "the books have it")


def test_the_context_goes_on_with_the_conversation(local: ollama.Client) -> None:
    first = local.generate("standard", "My name is Ada.", options=OPTIONS)
    second = local.generate("standard", "What is my name?", context=first.context, options=OPTIONS)
    said = [
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": first.response},
        {"role": "user", "content": "What is my name?"},
    ]
    assert second.response == local.chat("standard", said, options=OPTIONS).message.content


def test_a_raw_prompt_has_no_template(local: ollama.Client, client: openai.OpenAI) -> None:
    raw = local.generate("standard", "The sky is", raw=True, options=OPTIONS)
    plain = client.completions.create(model="standard", prompt="The sky is", max_tokens=8, temperature=0, seed=7)
    assert plain.usage is not None
    assert (raw.response, raw.eval_count) == (plain.choices[0].text, plain.usage.completion_tokens)
    streamed = local.generate("standard", "The sky is", raw=True, options=OPTIONS, stream=True)
    assert "".join(piece.response for piece in streamed) == raw.response


@pytest.mark.parametrize("raw", [True, False])
def test_a_schema_is_obeyed(local: ollama.Client, raw: bool) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
    schema["additionalProperties"] = False
    # Drawn at random, a chat's answer may have more white space than there is room for.
    answer = local.generate("standard", "One or two?", raw=raw, format=schema, options=OPTIONS | {"num_predict": 30})
    assert json.loads(answer.response)["n"] in (1, 2)


def test_errors_are_the_clients_own(local: ollama.Client) -> None:
    def status(*args: Any, **fields: Any) -> tuple[int, str]:
        with pytest.raises(ollama.ResponseError) as failed:
            list(local.generate(*args, stream=True, **fields))
        return failed.value.status_code, failed.value.error

    assert status("nobody", "x")[0] == 404
    assert status("standard", "word " * 3000)[0] == 400
    assert status("standard", "word " * 3000, raw=True)[0] == 400
    assert status("standard", "def f(", suffix="return")[0] == 400
    assert status("standard", "x", think=True)[0] == 400
    assert status("standard", "x", images=["iVBORw0KGgo="])[0] == 400
    assert status("standard", "x", template="{{ .Prompt }}")[0] == 400
    with pytest.raises(ollama.ResponseError, match="not possible here"):
        local.push("standard")
    with pytest.raises(ollama.ResponseError, match="file does not exist"):
        local.pull("llama3.2")


# -- vectors -------------------------------------------------------------------------------------------------------


def test_vectors_are_those_of_the_other_dialect(local: ollama.Client, client: openai.OpenAI) -> None:
    texts = ["a cat", "a kitten", "a stock market"]
    answer = local.embed("minilm", texts)
    other = client.embeddings.create(model="minilm", input=texts, encoding_format="float")
    assert [list(vector) for vector in answer.embeddings] == [pytest.approx(each.embedding) for each in other.data]
    assert answer.prompt_eval_count == other.usage.prompt_tokens
    first = answer.embeddings[0]
    near, far = (sum(x * y for x, y in zip(first, answer.embeddings[i], strict=True)) for i in (1, 2))
    assert near > far
    short = local.embed("embeddings", texts[0], dimensions=64).embeddings[0]
    assert (len(short), math.hypot(*short)) == (64, pytest.approx(1.0))
    assert local.embeddings("minilm", texts[0]).embedding == pytest.approx(list(answer.embeddings[0]))


def test_a_text_that_is_too_long_is_refused_and_never_cut(local: ollama.Client) -> None:
    for truncate in (None, True, False):
        with pytest.raises(ollama.ResponseError) as failed:
            local.embed("minilm", "word " * 2000, truncate=truncate)
        assert failed.value.status_code == 400


# -- lists ---------------------------------------------------------------------------------------------------------


def test_lists_are_what_the_client_reads(local: ollama.Client) -> None:
    listed = {model.model: model for model in local.list().models}
    assert {"smollm2-135m:latest", "smollm2:135m", "standard:latest", "auto:latest", "a/b/c:latest"} <= set(listed)
    smol = listed["smollm2-135m:latest"]
    assert smol.size is not None
    assert smol.size > 50_000_000
    assert smol.details is not None
    assert (smol.details.family, smol.details.quantization_level) == ("llama", "Q4_1")
    assert smol.details.parameter_size == "134.5M"
    shown = local.show("standard")
    assert shown.capabilities is not None
    assert "completion" in shown.capabilities
    assert shown.modelinfo is not None
    assert shown.modelinfo["llama.context_length"] == 1024
    assert "im_start" in (shown.template or "")
    assert local.show("minilm").capabilities == ["embedding"]
    (running,) = [model for model in local.ps().models if model.model == "smollm2-135m:latest"]
    assert running.context_length == 1024
    assert running.expires_at is not None
    assert running.expires_at.year > 2100, "it is pinned"
    assert local.pull("standard").status == "success"
    assert [step.status for step in local.pull("minilm", stream=True)][-1] == "success"


def test_a_model_is_loaded_and_leaves_at_a_word(gateway: LiveGateway, local: ollama.Client) -> None:
    assert local.generate("minilm").done_reason == "load"
    assert gateway.model("all-minilm-l6-v2")["state"] == "ready"
    local.embed("minilm", "x", keep_alive="2h")
    (running,) = [model for model in local.ps().models if model.model == "all-minilm-l6-v2:latest"]
    assert running.expires_at is not None
    assert local.generate("minilm", keep_alive=0).done_reason == "unload"
    until(lambda: gateway.model("all-minilm-l6-v2")["state"] == "cold", "it left")
    assert local.chat("coding", []).done_reason == "load"


@pytest.mark.anyio
async def test_the_asynchronous_client_works_as_well(gateway: LiveGateway) -> None:
    client = ollama.AsyncClient(host=gateway.url, headers={"authorization": f"Bearer {KEY}"})
    pieces = [piece async for piece in await client.generate("standard", "Hi.", options=OPTIONS, stream=True)]
    assert pieces[-1].done
    assert len((await client.embed("minilm", ["a", "b"])).embeddings) == 2
    assert (await client.list()).models
    await client._client.aclose()


# -- other clients -------------------------------------------------------------------------------------------------


def run(program: str, gateway: LiveGateway) -> Any:
    """What a program in a process of its own tells: these clients leave their connections to the end of theirs."""
    command = [sys.executable, "-W", "ignore", "-c", program, gateway.url, KEY]
    environment = os.environ | QUIET
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


LANGCHAIN = """
import json, sys
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
url, key = sys.argv[1:]
to = {"client_kwargs": {"headers": {"authorization": f"Bearer {key}"}}, "base_url": url, "validate_model_on_init": True}
chat = ChatOllama(model="smollm2-135m", num_predict=8, temperature=0, keep_alive="5m", **to)
answer = chat.invoke("Name a colour.")
told = {"whole": answer.content, "tokens": answer.usage_metadata["output_tokens"]}
told["streamed"] = "".join(piece.content for piece in chat.stream("Name a colour."))
told["prompt"] = OllamaLLM(model="smollm2:135m", num_predict=4, **to).invoke("Hi")
told["vectors"] = [len(v) for v in OllamaEmbeddings(model="minilm", **to).embed_documents(["a", "b"])]
try:
    ChatOllama(model="nobody", **to)
except ValueError as error:
    told["error"] = "not found" in str(error)
print(json.dumps(told))
"""


def test_langchain_works_unchanged(gateway: LiveGateway) -> None:
    told = run(LANGCHAIN, gateway)
    assert told["whole"]
    assert told["whole"] == told["streamed"]
    assert told["tokens"] <= 8
    assert told["prompt"]
    assert told["vectors"] == [384, 384]
    assert told["error"] is True


LITELLM = """
import json, sys
import litellm
url, key = sys.argv[1:]
say = [{"role": "user", "content": "Name a colour."}]
to = {"api_base": url, "api_key": key, "max_tokens": 8, "temperature": 0}
told = {}
for way in ("ollama_chat", "ollama"):
    whole = litellm.completion(f"{way}/smollm2-135m", say, **to)
    pieces = litellm.completion(f"{way}/smollm2-135m", say, stream=True, **to)
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    told[way] = [whole.choices[0].message.content, text, whole.usage.completion_tokens]
vectors = litellm.embedding("ollama/minilm", ["a", "b"], api_base=url, api_key=key)
told["vectors"] = [len(each["embedding"]) for each in vectors.data]
try:
    litellm.completion("ollama_chat/nobody", say, **to)
except Exception as error:
    told["error"] = type(error).__name__
print(json.dumps(told))
"""


def test_litellm_works_unchanged(gateway: LiveGateway) -> None:
    told = run(LITELLM, gateway)
    for way in ("ollama_chat", "ollama"):
        whole, streamed, tokens = told[way]
        assert whole
        assert whole == streamed
        assert tokens <= 8
    assert told["vectors"] == [384, 384]


def test_the_client_for_node_works_as_well(gateway: LiveGateway, local: ollama.Client) -> None:
    told = run_node("ollama.mjs", gateway.url, KEY)
    said = local.generate("standard", "Name a colour.", options=OPTIONS).response
    assert [told[way] for way in ("chat", "streamed", "generated")] == [said] * 3
    assert told["vectors"] == [384, 384]
    assert "standard:latest" in told["listed"]
    assert "completion" in told["shown"]
    assert told["loaded"] >= 1
    assert (told["version"], told["pulled"]) == (local_version(gateway), "success")
    assert told["error"] == ["ResponseError", 404]
    assert told["aborted"] == "AbortError"
    until(lambda: gateway.model("scripted")["active"] == 0, "the slot is free")


def local_version(gateway: LiveGateway) -> str:
    return str(ask(gateway.url, "GET", "/api/version", key=KEY).json["version"])
