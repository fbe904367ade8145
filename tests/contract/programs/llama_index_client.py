"""LlamaIndex's classes for OpenAI-like servers, asked of the gateway at argv[1] with the key argv[2]."""

import json
import sys
from typing import Any, Literal

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

url, key = sys.argv[1:]
SAY = [ChatMessage(role="user", content="Name a colour.")]


class Colour(BaseModel):
    colour: Literal["red", "green", "blue"]


class City(BaseModel):
    name: str


def model(name: str = "smollm2-135m", api_key: str = key, **more: Any) -> OpenAILike:
    to: Any = {"api_base": f"{url}/v1", "api_key": api_key, "max_retries": 0, "temperature": 0}
    return OpenAILike(model=name, **{**to, "max_tokens": 8, "is_chat_model": True, "context_window": 1024, **more})


def get_weather(city: str) -> str:
    """The weather."""
    return f"sun{city}"


def main() -> None:
    told: dict[str, Any] = {"errors": {}}
    whole = model().chat(SAY)
    usage = whole.raw.usage
    told["whole"] = [whole.message.content, usage.prompt_tokens, usage.completion_tokens]
    told["streamed"] = "".join(piece.delta or "" for piece in model().stream_chat(SAY))
    told["completion"] = model(is_chat_model=False, max_tokens=4).complete("Once upon").text
    calls = model("scripted", is_function_calling_model=True, max_tokens=64)
    answer = calls.chat_with_tools([FunctionTool.from_defaults(get_weather)], "call it")
    (call,) = calls.get_tool_calls_from_response(answer)
    told["tools"] = [call.tool_name, call.tool_kwargs]
    forced = model("scripted", is_function_calling_model=True).as_structured_llm(City)
    told["by_call"] = type(forced.chat(SAY).raw).__name__
    structured = model(max_tokens=60, should_use_structured_outputs=True)
    told["schema"] = structured.structured_predict(Colour, _prompt()).model_dump()
    embedding = OpenAILikeEmbedding(model_name="minilm", api_base=f"{url}/v1", api_key=key, max_retries=0)
    told["vectors"] = [len(each) for each in embedding.get_text_embedding_batch(["a", "b"])]

    def failed(name: str, by: OpenAILike, text: str = "hello") -> None:
        try:
            by.chat([ChatMessage(role="user", content=text)])
            told["errors"][name] = "nothing"
        except Exception as error:
            told["errors"][name] = [type(error).__name__, getattr(error, "status_code", None)]

    failed("unknown", model("nobody"))
    failed("long", model(), "word " * 3000)
    failed("crowded", model("crowded"))
    failed("off", model("off"))
    failed("stranger", model(api_key="wrong"))
    print(json.dumps(told))


def _prompt() -> Any:
    from llama_index.core import PromptTemplate

    return PromptTemplate("Name a colour.")


main()
