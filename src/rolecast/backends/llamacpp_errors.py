"""What llama.cpp's error answers mean, said in words that hold nothing of the request.

The engine quotes what it refuses: tool definitions, grammars, messages, the text around a JSON error. So its own
words are passed on only where they are known to be constant, and all else is told by kind. It also calls many
mistakes of a request a server error, which would make clients send it again; here they are the client's.
"""

import re

import msgspec

from rolecast.errors import BadRequest, LoadFailed, RolecastError, UpstreamError
from rolecast.values import Failure


class Rule(msgspec.Struct, frozen=True):
    """Messages that `pattern` matches from their start mean `text`; `\\1` takes over a number or a name of a field."""

    pattern: str
    text: str
    param: str = ""
    code: str = "worker_refused"


OVERFLOW = "exceed_context_size_error"
_TOO_LONG = "context_length_exceeded"
_WRONG = "wrong_capability"
_FORM = r"(?:\[json\.exception\.[a-z_]+\.\d+\] )?"
_PARSER = r"(?:Unable to generate parser for this template\. Automatic parser generation failed: )?"
_CALL = "each of an assistant's `tool_calls` is an object with `id`, `type` and `function`"
_TOOL = 'each is an object {"type": "function", "function": {"name": ..., "parameters": ...}}'
SCHEMA = "The JSON schema cannot be turned into a grammar"
FORMS = '`response_format`: `type` must be "text", "json_object" or "json_schema".'
_WHERE = "It stands in `response_format`, `json_schema` or the `parameters` of a tool."

RULES = (
    Rule(
        r"request \((\d+) tokens\) exceeds the available context size \((\d+) tokens\)",
        r"The request (\1 tokens) exceeds the available context size (\2 tokens); shorten it, "
        "or raise `context` of the model.",
        code=_TOO_LONG,
    ),
    Rule(
        r"input \((\d+) tokens\) is too large to process.*current batch size: (\d+)",
        r"The input (\1 tokens) is larger than what this model reads at once (\2 tokens); shorten or split it.",
        "input",
        _TOO_LONG,
    ),
    Rule(
        r"(image|audio|video) input is not supported",
        r"`messages`: this model takes no \1 input; ask a model that does.",
        "messages",
        _WRONG,
    ),
    Rule(r"Multimodal data provided", "This model takes nothing but text; ask a model that does.", "", _WRONG),
    Rule(r"This server does not support embeddings", "This model makes no embeddings.", "", _WRONG),
    Rule(
        r"Field '([A-Za-z_]+)': \[json\.exception\.type_error\.302\] type must be ([a-z]+), but is ([a-z]+)$",
        r"`\1`: expected \2, got \3.",
        r"\1",
    ),
    Rule(
        r"Field '([A-Za-z_]+)': Value must be between (-?[\d.]+) <= value <= (-?[\d.]+)",
        r"`\1`: the value must be from \2 to \3.",
        r"\1",
    ),
    Rule(r"Field 'lora'", "`lora`: expected a list of objects with `id` and `scale`.", "lora"),
    Rule(r"Field '([A-Za-z_]+)'", r"`\1`: the engine does not understand this value.", r"\1"),
    Rule(
        r"\[json\.exception\.type_error\.302\] type must be ([a-z]+), but is ([a-z]+)$",
        r"A field must be of the type \1 and is \2.",
    ),
    # -- texts
    Rule(
        r'"prompt" elements must be',
        "`prompt`, or `input` of embeddings: expected a text, a list of texts, or a list of token numbers.",
        "prompt",
    ),
    Rule(
        r"Prompt contains invalid tokens",
        "`prompt`, or `input` of embeddings: the model has no token of that number.",
        "prompt",
    ),
    Rule(r'"(prompt|input)" must not be empty', r"`\1` must not be empty.", r"\1"),
    Rule(
        r"The format to return the embeddings in", "`encoding_format`: expected `float` or `base64`.", "encoding_format"
    ),
    # -- history
    Rule(
        r"Failed to parse messages: Missing tool call type",
        '`messages`: a tool call lacks its `type`; write "type": "function".',
        "messages",
    ),
    Rule(
        r'Failed to parse messages: [^{\["]*tool call', f"`messages`: a tool call is incomplete; {_CALL}.", "messages"
    ),
    Rule(r"Failed to parse messages: Missing 'role'", "`messages`: a message has no `role`.", "messages"),
    Rule(
        r'Failed to parse messages: [^{\["]*(?:content|part)',
        "`messages`: the `content` of a message must be text, or a list of parts with `type`.",
        "messages",
    ),
    Rule(
        rf"Failed to parse messages: {_FORM}type must be ([a-z]+), but is ([a-z]+)$",
        r"`messages`: a field of a message must be \1 and is \2.",
        "messages",
    ),
    Rule(
        r"Failed to parse messages",
        "`messages`: a message is not in the form that this API has; check `role`, `content` and `tool_calls`.",
        "messages",
    ),
    # -- tools
    Rule(
        r"Failed to parse tools: Unsupported tool type",
        f"`tools`: only tools of the type `function` can be used; {_TOOL}.",
        "tools",
    ),
    Rule(
        r"Failed to parse tools|.tools. must be an array",
        f"`tools`: a tool is not in the form this API has; {_TOOL}.",
        "tools",
    ),
    Rule(
        r"Failed to parse tool call arguments",
        "`messages`: the `arguments` of a tool call are no JSON text.",
        "messages",
    ),
    Rule(
        r"Invalid tool_choice|tool_choice",
        "`tool_choice`: expected `auto`, `none`, `required` or a function by name.",
        "tool_choice",
    ),
    # -- what an answer has to look like
    Rule(
        r"response_format",
        FORMS,
        "response_format",
    ),
    Rule(
        rf"{_PARSER}JSON schema error at .*unrecognized type",
        f"{SCHEMA}: it names a `type` that does not exist. {_WHERE}",
    ),
    Rule(rf"{_PARSER}JSON schema error at .*\$ref", f"{SCHEMA}: a `$ref` leads nowhere in it. {_WHERE}"),
    Rule(rf"{_PARSER}(?:JSON schema|[Ff]ailed to .*schema)", f"{SCHEMA}. {_WHERE}"),
    Rule(
        r"Failed to initialize samplers: failed to parse grammar",
        "`grammar`: it is not valid GBNF, or has no rule named `root`. If you sent none, it was made of a JSON "
        "schema in `response_format` or of a tool: write its `pattern` in a simpler way, or leave it out.",
        "grammar",
    ),
    Rule(r"Failed to initialize samplers", "A sampling option has a value that the engine cannot use."),
    Rule(r"Unknown reasoning format", "`reasoning_format`: expected `none`, `auto` or `deepseek`.", "reasoning_format"),
    Rule(r"Unsupported param", "A parameter is given that the engine does not support."),
    # -- the chat template
    Rule(
        r"(?i).*jinja exception:.*alternat",
        "The model's chat template refuses `messages`: roles must alternate between user and assistant.",
        "messages",
    ),
    Rule(
        r"(?i).*jinja exception:.*system.*(?:support|first|begin|allow)",
        "The model's chat template refuses `messages`: it takes no system message, or only a first one.",
        "messages",
    ),
    Rule(
        r"(?i).*jinja exception:.*(?:no user|user query)",
        "The model's chat template refuses `messages`: there is no message of the user.",
        "messages",
    ),
    Rule(
        r"(?i).*(?:jinja|unable to generate parser|while executing|failed to apply)",
        "The model's chat template refuses these `messages` or `tools`; check the order of roles, and fields that "
        "it may not know.",
        "messages",
    ),
    # -- pictures and sound
    Rule(
        r"Failed to load image or audio|Invalid (?:uri|base64|url)|uri must be|images must be|audio must be|file",
        "`messages`: a picture or sound cannot be read; send it as data:image/png;base64,... or the like.",
        "messages",
    ),
    Rule(
        r"Failed to download",
        "`messages`: a picture cannot be fetched; send it as data:image/png;base64,...",
        "messages",
    ),
    Rule(r"\[json\.exception\.parse_error", "The body is not valid JSON.", code="bad_json"),
)
_RULES = tuple((re.compile(rule.pattern), rule) for rule in RULES)

CONSTANT = {
    "Cannot use both json_schema and grammar": "grammar",
    "Cannot use custom grammar constraints with tools.": "grammar",
    "Cannot specify grammar with tools": "grammar",
    "Cannot set both add_generation_prompt and continue_final_message to true.": "continue_final_message",
    "Cannot have 2 or more assistant messages at the end of the list.": "messages",
    "Cannot continue an assistant message that contains tool calls.": "messages",
    "Cannot specify both content and content_parts": "messages",
    "All non-assistant messages must contain 'content'": "messages",
    "Assistant message must contain either 'content' or 'tool_calls'!": "messages",
    "Expected 'content' to be a string or an array": "messages",
    "Expected 'messages' to be an array": "messages",
    "'messages' is required": "messages",
    "unsupported content[].type": "messages",
    'invalid type for "enable_thinking" (expected boolean, got string)': "chat_template_kwargs",
    "logprobs is not supported with tools + stream": "logprobs",
    "top_logprobs requires logprobs to be set to true": "top_logprobs",
    '"prompt" is required': "prompt",
    "Failed to tokenize prompt": "prompt",
    "Only no echo is supported": "echo",
    "Input content cannot be empty": "input",
    '"input" or "content" must be provided': "input",
    "'input' is required": "input",
    "Pooling type 'none' is not OAI compatible. Please use a different pooling type": "",
}
"""Messages without anything of the request in them, and the field each is about."""

_FAULT = re.compile(
    r"(?i)compute error|invalid input batch|failed to (?:get|process|decode|find|init server)|context size has been"
    r"|context shift|std::|vector|map::|bad_alloc|no slot|unable to (?!generate)|not implemented|invalid diff"
    r"|ggml|llama_"
)
_UNFIT = frozenset({401, 403, 404, 405, 501})
_MISFORMED = re.compile(r"The model produced output that does not match|Failed to parse input at")


def explain(status: int, said: Failure) -> RolecastError:
    """The engine's refusal as an error of ours, with nothing of the request in it."""
    message = said.message
    if status == 503:
        return LoadFailed("The model's engine is still loading.", retry_after=1.0)
    if _MISFORMED.match(message):
        return UpstreamError(
            "The model's answer does not have the form that its chat template prescribes; asking again often helps."
        )
    if message in CONSTANT:
        return BadRequest(f"{message.rstrip('.!')}.", param=CONSTANT[message] or None, code="worker_refused")
    for pattern, rule in _RULES:
        if found := pattern.match(message):
            error = BadRequest(found.expand(rule.text), param=found.expand(rule.param) or None, code=rule.code)
            if rule.code == _TOO_LONG:
                error.type = OVERFLOW
            return error
    if status in _UNFIT:
        return UpstreamError(
            f"The model's engine answered with status {status}: a `binary` may be too old for this kind of request, or "
            "started with `args` that keep the gateway out."
        )
    if (status >= 500 or status == 200) and (not message or _FAULT.match(message)):
        return UpstreamError("The model's engine failed under this request.")
    return BadRequest(
        "The model's engine refuses this request. Its reason may quote the request and is not shown; "
        "check `messages`, `tools`, `response_format` and options that are not in the API of OpenAI.",
        code="worker_refused",
    )
