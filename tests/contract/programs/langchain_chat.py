"""LangChain's classes for OpenAI and Anthropic, asked of the gateway at argv[1] with the key argv[2]."""

import json
import sys
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

url, key = sys.argv[1:]
SAY = "Name a colour."
SCHEMA = {
    "title": "colour",
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": ["red", "green", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}


class City(BaseModel):
    """A city."""

    name: str


@tool
def get_weather(city: str) -> str:
    """The weather."""
    return city


def openai(model: str = "smollm2-135m", most: int = 8, api_key: str = key, **more: Any) -> ChatOpenAI:
    to: Any = {"base_url": f"{url}/v1", "api_key": api_key, "max_retries": 0, "temperature": 0, "max_tokens": most}
    return ChatOpenAI(model=model, stream_usage=True, **to, **more)


def responses(model: str = "smollm2-135m", most: int = 8, api_key: str = key) -> ChatOpenAI:
    return openai(model, most, api_key, use_responses_api=True, output_version="responses/v1")


def anthropic(model: str = "smollm2-135m", most: int = 8, api_key: str = key) -> ChatAnthropic:
    to: Any = {"base_url": url, "api_key": api_key, "max_retries": 0, "temperature": 0, "max_tokens": most}
    return ChatAnthropic(model=model, **to)


def of_the_client(error: Exception) -> str:
    """The class of the official client; LangChain has subclasses of some."""
    kinds = type(error).__mro__
    return next(kind.__name__ for kind in kinds if kind.__module__.partition(".")[0] in ("openai", "anthropic"))


def ask(make: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"errors": {}}
    whole = make().invoke(SAY)
    told["whole"] = [whole.text, whole.usage_metadata["input_tokens"], whole.usage_metadata["output_tokens"]]
    streamed: Any = None
    for piece in make().stream(SAY):
        streamed = piece if streamed is None else streamed + piece
    told["streamed"] = [streamed.text, *list(streamed.usage_metadata.values())[:2]]
    called = make("scripted", 64).bind_tools([get_weather]).invoke("call it")
    (call,) = called.tool_calls
    result = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
    after = make("scripted", 64).bind_tools([get_weather]).invoke([("user", "call it"), called, result])
    told["tools"] = [call["name"], call["args"], after.text]
    told["schema"] = make(most=60).with_structured_output(SCHEMA, method="json_schema").invoke(SAY)
    by_call = make("scripted", 64).with_structured_output(City, method="function_calling").invoke(SAY)
    told["by_call"] = type(by_call).__name__

    def failed(name: str, model: Any, text: str = SAY) -> None:
        try:
            model.invoke(text)
            told["errors"][name] = "nothing"
        except Exception as error:
            told["errors"][name] = [of_the_client(error), getattr(error, "status_code", None)]

    failed("unknown", make("nobody"))
    failed("long", make(), "word " * 3000)
    failed("crowded", make("crowded"))
    failed("off", make("off"))
    failed("stranger", make(api_key="wrong"))
    return told


def main() -> None:
    ways = {"openai": openai, "responses": responses, "anthropic": anthropic}
    told = {name: ask(make) for name, make in ways.items()}
    vectors = OpenAIEmbeddings(model="minilm", base_url=f"{url}/v1", api_key=key, check_embedding_ctx_length=False)  # type: ignore[arg-type]
    told["openai"]["vectors"] = [len(each) for each in vectors.embed_documents(["a", "b"])]
    print(json.dumps(told))


main()
