"""Instructor on OpenAI's client, asked of the gateway at argv[1] with the key argv[2]."""

import json
import sys
from typing import Any, Literal

import instructor
import openai
from pydantic import BaseModel

url, key = sys.argv[1:]
SAY: Any = [{"role": "user", "content": "Name a colour."}]


class Colour(BaseModel):
    colour: Literal["red", "green", "blue"]


class City(BaseModel):
    name: str


def client(mode: Any, api_key: str = key) -> Any:
    return instructor.from_openai(openai.OpenAI(base_url=f"{url}/v1", api_key=api_key, max_retries=0), mode=mode)


def main() -> None:
    told: dict[str, Any] = {"errors": {}}
    usual: Any = {"messages": SAY, "max_retries": 0, "temperature": 0, "max_tokens": 60}
    bound = client(instructor.Mode.JSON_SCHEMA)
    told["schema"] = bound.create(model="smollm2-135m", response_model=Colour, **usual).model_dump()
    partial = list(bound.create_partial(model="smollm2-135m", response_model=Colour, **usual))
    told["streamed"] = partial[-1].model_dump()
    whole, raw = bound.create_with_completion(model="smollm2-135m", response_model=Colour, **usual)
    told["usage"] = [raw.usage.prompt_tokens > 0, raw.usage.completion_tokens > 0, whole.colour]
    calls = client(instructor.Mode.TOOLS)
    told["tools"] = type(calls.create(model="scripted", response_model=City, **usual)).__name__

    def failed(name: str, by: Any = bound, **fields: Any) -> None:
        try:
            by.create(response_model=Colour, **{"model": "smollm2-135m", **usual, **fields})
            told["errors"][name] = "nothing"
        except Exception as error:
            cause: Any = error
            while cause is not None and not isinstance(cause, openai.APIStatusError):
                cause = cause.__cause__ or getattr(cause, "last_attempt", None)
                cause = cause.exception() if hasattr(cause, "exception") else cause
            told["errors"][name] = [type(cause).__name__, getattr(cause, "status_code", None)]

    failed("unknown", model="nobody")
    failed("long", messages=[{"role": "user", "content": "word " * 3000}])
    failed("crowded", model="crowded")
    failed("off", model="off")
    failed("stranger", by=client(instructor.Mode.JSON_SCHEMA, "wrong"))
    print(json.dumps(told))


main()
