"""LiteLLM as a client, by three of its providers, asked of the gateway at argv[1] with the key argv[2]."""

import json
import sys
from typing import Any

import litellm

url, key = sys.argv[1:]
SAY = [{"role": "user", "content": "Name a colour."}]
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": ["red", "green", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}]
BASES = {"openai": f"{url}/v1", "ollama_chat": url, "anthropic": url}
litellm.suppress_debug_info = True


def ask(way: str) -> dict[str, Any]:
    told: dict[str, Any] = {"errors": {}}

    def say(model: str = "smollm2-135m", messages: Any = SAY, **more: Any) -> Any:
        to = {"api_base": BASES[way], "api_key": key, "max_tokens": 8, "temperature": 0, "num_retries": 0}
        return litellm.completion(f"{way}/{model}", messages, **{**to, **more})

    whole = say()
    told["whole"] = [whole.choices[0].message.content, whole.usage.prompt_tokens, whole.usage.completion_tokens]
    pieces = list(say(stream=True, stream_options={"include_usage": True}))
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    usage = [piece.usage for piece in pieces if getattr(piece, "usage", None)][-1]
    told["streamed"] = [text, usage.prompt_tokens, usage.completion_tokens]
    history: list[Any] = [{"role": "user", "content": "call it"}]
    called = say("scripted", history, tools=TOOLS, max_tokens=64).choices[0].message
    (call,) = called.tool_calls
    history += [called.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    after = say("scripted", history, tools=TOOLS, max_tokens=64).choices[0].message.content
    told["tools"] = [call.function.name, json.loads(call.function.arguments), after]
    format_ = {"type": "json_schema", "json_schema": {"name": "colour", "schema": SCHEMA, "strict": True}}
    # By Anthropic's provider it asks for JSON by a forced call, which the small model's template does not know.
    bound = say("scripted" if way == "anthropic" else "smollm2-135m", response_format=format_, max_tokens=60)
    told["schema"] = json.loads(bound.choices[0].message.content)

    def failed(name: str, **fields: Any) -> None:
        try:
            say(**fields)
            told["errors"][name] = "nothing"
        except Exception as error:
            told["errors"][name] = [type(error).__name__, getattr(error, "status_code", None)]

    failed("unknown", model="nobody")
    failed("long", messages=[{"role": "user", "content": "word " * 3000}])
    failed("crowded", model="crowded")
    failed("off", model="off")
    failed("stranger", api_key="wrong")
    return told


def main() -> None:
    told = {way: ask(way) for way in BASES}
    vectors = litellm.embedding("openai/minilm", ["a", "b"], api_base=f"{url}/v1", api_key=key)
    told["openai"]["vectors"] = [len(each["embedding"]) for each in vectors.data]
    print(json.dumps(told))


main()
