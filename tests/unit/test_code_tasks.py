"""Code completion, generation and review on a scripted worker: what it is asked, and what is made of its answers."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import tiny_gguf
from gateway import (
    DONE,
    USAGE,
    Answer,
    Gate,
    Held,
    Peer,
    Received,
    ScriptedWorker,
    config,
    delta,
    event,
    on_uvloop,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    stream,
    until,
)

from rolecast.config.schema import Model
from rolecast.tasks.code.keystrokes import MOST, OLDEST, Kept, Keystrokes

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

COMPLETION, GENERATION, REVIEW = "/code/completion", "/code/generation", "/generate"
ADD = "def add(a, b):\n    return a + b\n"
LENGTH = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    """`m` chats; `fills` knows the marks of a gap, `plain` no chat template, as their servers are said to."""
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            models = {
                "m": remote(worker.url),
                "fills": remote(worker.url, capabilities=["chat", "completion", "insert"]),
                "plain": remote(worker.url, capabilities=["chat", "completion", "base"], parallel=1),
            }
            async with running_gateway(config(models), Path(folder)) as gate:
                yield gate, worker


@pytest.fixture(autouse=True)
def fresh(front: Gate, worker: ScriptedWorker) -> ScriptedWorker:
    """Nothing is remembered of other tests."""
    front.gateway.backstage.keystrokes._kept.clear()
    return worker


def said(*texts: str, end: bytes = b"") -> Any:
    """A chat that says this, piece by piece."""
    return stream(*map(delta, texts), *([end] if end else []), USAGE, DONE)


def gone_on(*texts: str) -> Any:
    """A text that is gone on with."""
    return stream(*(event({"choices": [{"index": 0, "text": text}]}) for text in texts), USAGE, DONE)


def asked(path: str, prompt: str | None = "add two numbers", head: str = "", **fields: Any) -> bytes:
    return request({"prompt": prompt, **fields}, path=path, head=head)


def reviewed(prompt: str | None = ADD, **fields: Any) -> bytes:
    return asked(REVIEW, prompt, category="code_review", **fields)


def pieces(answer: Answer) -> tuple[str, list[Any], dict[str, Any]]:
    """The text of a stream, its steps, and what is told at its end."""
    events = [json.loads(line[6:]) for line in answer.body.decode().split("\n\n")[:-1]]
    assert events[-1]["done"] is True
    steps = [each["progress"] for each in events if "progress" in each]
    return "".join(each.get("chunk", "") for each in events), steps, events[-1]["metadata"]


def sent(worker: ScriptedWorker, number: int = -1) -> Any:
    return worker.requests[number].json


def system(worker: ScriptedWorker) -> str:
    return str(sent(worker)["messages"][0]["content"])


# -- generation --------------------------------------------------------------------------------------------------


async def test_the_code_is_the_answer_whole_and_streamed(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = said("Here:\n``", f"`python\n{ADD[:9]}", f"{ADD[9:]}```\n", "It adds.")
    whole = (await front.ask(asked(GENERATION))).json
    assert whole["response"] == ADD
    told = {"language": "python", "code": ADD, "explanation": "Here:\nIt adds.", "syntax": "ok", "repaired": False}
    assert whole["metadata"] == told
    assert whole["tokens_generated"] == 3
    text, _, metadata = pieces(await front.ask(asked(GENERATION, stream=True)))
    assert (text, metadata) == (ADD, told)
    assert len(worker.requests) == 2


async def test_code_comes_before_the_answer_is_complete(front: Gate, worker: ScriptedWorker) -> None:
    held = Held(delta("Well:\n```python\nx = 1\n"))
    worker.script.append(held)
    async with front.client() as client:
        await client.send(asked(GENERATION, stream=True))
        await client.head()
        first = await anext(client.chunks())
        assert b'"chunk":"x = 1\\n"' in first
        held.let_go.set()


@pytest.mark.parametrize(
    ("fields", "language", "temperature"),
    [
        ({}, "python", 0.4),
        ({"prompt": "a stack in C++"}, "cpp", 0.2),
        ({"prompt": "a stack in C++", "language": "js"}, "javascript", 0.4),
        ({"extra_params": {"language": "Java"}}, "java", 0.2),
        ({"language": "html"}, "html", 0.5),
        ({"language": "css"}, "css", 0.5),
        ({"language": "c"}, "c", 0.2),
        ({"language": "Rust"}, "rust", 0.3),
        ({"language": "COBOL"}, "cobol", 0.3),
        ({"description": "a Go function"}, "go", 0.3),
    ],
)
async def test_the_language_is_said_or_seen_and_sets_the_temperature(
    front: Gate, worker: ScriptedWorker, fields: dict[str, Any], language: str, temperature: float
) -> None:
    worker.usual = said(f"```{language}\n//\n```")
    answer = await front.ask(asked(GENERATION, **{"prompt": "add two numbers", **fields}))
    assert answer.json["metadata"]["language"] == language
    assert sent(worker, 0)["temperature"] == temperature
    assert {name: sent(worker, 0)[name] for name in ("top_p", "max_tokens", "repetition_penalty")} == {
        "top_p": 0.85,
        "max_tokens": 1024,
        "repetition_penalty": 1.1,
    }


async def test_settings_of_the_request_win_and_0_is_one(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = said("```\nx\n```")
    fields = {"temperature": 0, "top_p": 0.0, "max_tokens": 7, "repetition_penalty": 1}
    await front.ask(asked(GENERATION, **fields))
    assert {name: sent(worker)[name] for name in fields} == fields


@pytest.mark.parametrize(
    ("option", "value", "words", "usual"),
    [
        ("style", "functional", "functional style", False),
        ("style", "like a pirate", "like a pirate", False),
        ("include_tests", True, "Write tests", False),
        ("include_docs", False, "no documentation", False),
        ("include_docs", True, "Document each function", True),
        ("include_header", True, "Begin with a short comment", True),
        ("language", "Go", "Write it in Go.", False),
    ],
)
async def test_each_option_of_generation_changes_what_is_asked(
    front: Gate, worker: ScriptedWorker, option: str, value: Any, words: str, usual: bool
) -> None:
    worker.usual = said("```\nx\n```")
    await front.ask(asked(GENERATION))
    assert (words in system(worker)) is usual
    for fields in ({option: value}, {"extra_params": {option: value}}):
        await front.ask(asked(GENERATION, **fields))
        assert words in system(worker)
    if value is True and usual:
        await front.ask(asked(GENERATION, **{option: False}))
        assert words not in system(worker)
    await front.ask(asked(GENERATION, description="with carry"))
    assert "with carry" in sent(worker)["messages"][1]["content"]
    bad = await front.ask(asked(GENERATION, include_tests="perhaps"))
    assert (bad.status, bad.error["param"]) == (422, "include_tests")


BROKEN = "```python\nx = 1\ndef f(:\n    pass\n```"
MENDED = "So:\n```python\ndef f():\n    pass\n```"


async def test_broken_code_is_mended_once_with_its_line_shown(front: Gate, worker: ScriptedWorker) -> None:
    broken = f"It does nothing.\n{BROKEN}"
    worker.script += [said(broken), said(MENDED)]
    answer = (await front.ask(asked(GENERATION))).json
    assert answer["response"] == "def f():\n    pass\n"
    assert answer["metadata"]["explanation"] == "It does nothing."
    assert (answer["metadata"]["syntax"], answer["metadata"]["repaired"]) == ("ok", True)
    assert answer["tokens_generated"] == 6
    first, again = sent(worker, 0), sent(worker, 1)
    assert again["messages"][: len(first["messages"])] == first["messages"]
    assert [each["role"] for each in again["messages"][-2:]] == ["assistant", "user"]
    assert again["messages"][-2]["content"] == broken
    assert "line 2" in again["messages"][-1]["content"]
    assert "def f(:" in again["messages"][-1]["content"]
    rows = await front.rows()
    assert (rows[-1].completion_tokens, rows[-1].outcome, rows[-1].attempts) == (6, "ok", 2)


@pytest.mark.parametrize("second", [said(BROKEN), said("I cannot."), reply(b'{"error":{"message":"no"}}', 403)])
async def test_code_that_cannot_be_mended_is_given_as_it_is_with_its_error(
    front: Gate, worker: ScriptedWorker, second: Any
) -> None:
    worker.script += [said(BROKEN), second]
    answer = (await front.ask(asked(GENERATION))).json
    assert answer["response"] == "x = 1\ndef f(:\n    pass\n"
    metadata = answer["metadata"]
    assert (metadata["syntax"], metadata["repaired"]) == ("error", False)
    assert metadata["syntax_error"] == {"line": 2, "message": "invalid syntax"}
    assert len(worker.requests) == 2


async def test_what_a_stream_or_the_length_broke_is_not_asked_for_again(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = said(BROKEN)
    text, _, metadata = pieces(await front.ask(asked(GENERATION, stream=True)))
    assert (text, metadata["syntax"]) == ("x = 1\ndef f(:\n    pass\n", "error")
    worker.usual = said("```python\ndef f(", end=LENGTH)
    answer = (await front.ask(asked(GENERATION))).json
    assert (answer["response"], answer["metadata"]["syntax"]) == ("def f(", "error")
    assert len(worker.requests) == 2


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_without_a_fence_is_given_whole(front: Gate, worker: ScriptedWorker, streamed: bool) -> None:
    async def answered() -> tuple[str, dict[str, Any]]:
        answer = await front.ask(asked(GENERATION, stream=streamed))
        return pieces(answer)[::2] if streamed else (answer.json["response"], answer.json["metadata"])

    worker.usual = said("I will ", "not.")
    text, metadata = await answered()
    assert text == "I will not."
    assert (metadata["code"], metadata["syntax"], metadata["syntax_why"]) == ("", "not_checked", "there is no code")
    worker.usual = said("def f():\n", "    pass")
    text, metadata = await answered()
    assert (text, metadata["code"], metadata["syntax"]) == ("def f():\n    pass", "def f():\n    pass", "ok")


@pytest.mark.parametrize(
    "text",
    [
        "```python\n" + "[" * 1_000_000 + "\n```",
        "```python\nx = '\0'\n```",
        "```python\r\nx = 1\r\n```\r\n",
        "~~~~python\n```\n~~~\n~~~~\n",
        "```" * 1000,
        "1. so\n   ```python\n   x\n   ```",
    ],
)
async def test_no_answer_brings_it_down(front: Gate, worker: ScriptedWorker, text: str) -> None:
    worker.usual = said(text)
    answer = await front.ask(asked(GENERATION, "a \0 text"))
    assert answer.status == 200
    streamed, _, metadata = pieces(await front.ask(asked(GENERATION, stream=True)))
    assert (streamed, metadata["code"]) == (answer.json["response"], answer.json["metadata"]["code"])


async def test_a_lone_surrogate_is_refused_or_answered(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = said("```\nx\n```")
    for path in (COMPLETION, GENERATION):
        answer = await front.ask(request(b'{"prompt": "x \\ud800 y"}', path=path))
        assert answer.status in (200, 400, 422)


async def test_hostile_code_holds_nobody_else_up(front: Gate, worker: ScriptedWorker) -> None:
    worker.script.append(said("```html\n" + "<a>" * 60_000 + "\n```"))
    worker.usual = said("x")
    slow = asyncio.create_task(front.ask(asked(GENERATION, "a page", language="html")))
    await until(lambda: worker.requests)
    took = []
    while not slow.done():
        began = asyncio.get_running_loop().time()
        assert (await front.ask(asked(COMPLETION, "y = ", temperature=0.9))).status == 200
        took.append(asyncio.get_running_loop().time() - began)
    answer = (await slow).json["metadata"]
    assert (answer["syntax"], answer["syntax_why"]) == ("not_checked", "its parser took too long")
    assert len(took) > 20
    assert sorted(took)[len(took) // 2] < 0.1


async def test_parsers_start_with_their_first_use_and_end_with_the_gateway(tmp_path: Path) -> None:
    async with running_gateway(config({"m": Model(backend="fake")}), tmp_path) as gate:
        check = gate.gateway.backstage.code_check
        assert not check.helper.running
        assert (await check.check("x = 1", "python")).checked
        assert check.helper.running
    assert not check.helper.running


# -- completion --------------------------------------------------------------------------------------------------


async def test_a_chat_model_is_shown_the_place_and_its_answer_is_cut(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = said("```python\n    return ", "a + b\n\n\nd", "ef sub(a, b):\n    return a\n```")
    answer = (await front.ask(asked(COMPLETION, "def add(a, b):\n", suffix="\nprint(add(1, 2))\n"))).json
    assert answer["response"] == "    return a + b\n"
    assert answer["metadata"] == {"language": "python", "way": "chat", "ended_by": "definition", "cached": False}
    asked_for = sent(worker)
    assert "```python\ndef add(a, b):\n```" in asked_for["messages"][1]["content"]
    assert "```python\n\nprint(add(1, 2))\n```" in asked_for["messages"][1]["content"]
    assert {name: asked_for[name] for name in ("max_tokens", "temperature", "top_p", "repetition_penalty")} == {
        "max_tokens": 100,
        "temperature": 0.2,
        "top_p": 0.95,
        "repetition_penalty": 1.05,
    }


async def test_a_model_that_can_fills_the_gap_and_goes_on_without_one(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = gone_on("return a", " + b\n")
    answer = (await front.ask(asked(COMPLETION, "def add(a, b):\n    ", suffix="\n\nx = 1\n", model="fills"))).json
    assert (answer["response"], answer["metadata"]["way"]) == ("return a + b\n", "fill")
    assert worker.requests[-1].line.startswith("POST /v1/completions")
    assert (sent(worker)["prompt"], sent(worker)["suffix"]) == ("def add(a, b):\n    ", "\n\nx = 1\n")
    assert (sent(worker)["max_tokens"], sent(worker)["temperature"]) == (100, 0.2)
    worker.usual = gone_on(" return a", " + b\n")
    for model in ("fills", "plain"):
        answer = (await front.ask(asked(COMPLETION, "def add(a, b):\n    ", model=model))).json
        assert (answer["response"], answer["metadata"]["way"]) == ("return a + b\n", "continue")
        assert sent(worker)["prompt"] == "def add(a, b):\n   "
        assert "suffix" not in sent(worker)
    worker.usual = said("pass\n")
    answer = (await front.ask(asked(COMPLETION, "do nothing", code="def f():\n    ", model="fills"))).json
    assert (answer["response"], answer["metadata"]["way"]) == ("pass\n", "chat")
    assert sent(worker)["messages"][1]["content"].endswith("do nothing")


async def test_at_the_front_door_a_suffix_is_an_option_where_a_category_is_named(
    front: Gate, worker: ScriptedWorker
) -> None:
    worker.usual = gone_on("x")
    answer = await front.ask(
        asked("/generate", "def f(", suffix=")\n", category="code_completion", model="fills", stream=False)
    )
    assert (answer.json["category"], answer.json["metadata"]["way"]) == ("code_completion", "fill")
    assert sent(worker)["suffix"] == ")\n"


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({"max_completion_length": 9}, 9),
        ({"extra_params": {"max_completion_length": 9}}, 9),
        ({"max_completion_length": 9, "max_tokens": 50}, 9),
        ({"max_tokens": 50}, 50),
    ],
)
async def test_the_length_of_a_completion_is_in_tokens(
    front: Gate, worker: ScriptedWorker, fields: dict[str, Any], most: int
) -> None:
    worker.usual = said("x")
    await front.ask(asked(COMPLETION, "y = ", **fields))
    assert sent(worker)["max_tokens"] == most
    for bad in (0, -1, 1.5, "many", 10**9):
        answer = await front.ask(asked(COMPLETION, "y = ", max_completion_length=bad))
        assert (answer.status, answer.error["param"]) == (422, "max_completion_length")


async def test_the_language_that_is_said_decides_where_it_ends(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = said("  return a\n}\n", "const b = 1\n")
    js = (await front.ask(asked(COMPLETION, "function f(a) {\n", language="JavaScript"))).json
    assert (js["response"], js["metadata"]["language"]) == ("  return a\n}\n", "javascript")
    assert "JavaScript code" in sent(worker)["messages"][1]["content"]
    py = (await front.ask(asked(COMPLETION, "function f(a) {\n", language="python"))).json
    assert py["response"] == "  return a\n}\nconst b = 1\n"


async def test_the_worker_is_stopped_where_a_completion_ends(front: Gate, worker: ScriptedWorker) -> None:
    held = Held(delta("    return a\n\n"), delta("def g():\n"))
    worker.script.append(held)
    answer = await front.ask(asked(COMPLETION, "def f(a):\n"))  # which the worker never ends
    assert answer.json["response"] == "    return a\n"
    assert held.peer is not None
    await until(held.peer.gone.is_set)
    assert not front.gateway.dispatch.active


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_follows_the_cursor_is_not_told_twice_and_the_worker_is_stopped(
    front: Gate, worker: ScriptedWorker, streamed: bool
) -> None:
    worker.usual = gone_on("[1, 2", ", 3])\n", "print(2)\n")
    more = {"suffix": ")\n", "model": "fills", "stream": streamed}
    answer = await front.ask(asked(COMPLETION, "numpy.array(", **more))
    if streamed:
        text, _, found = pieces(answer)
    else:
        text, found = answer.json["response"], answer.json["metadata"]
    assert text == "[1, 2, 3]"
    assert (found["way"], found["ended_by"]) == ("fill", "suffix")


async def test_the_same_again_is_remembered_and_asks_nobody(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = said("x", end=LENGTH)
    first = (await front.ask(asked(COMPLETION, "y = "))).json
    again = (await front.ask(asked(COMPLETION, "y = "))).json
    assert len(worker.requests) == 1
    assert (again["response"], again["tokens_generated"]) == ("x", 0)
    assert again["metadata"] == first["metadata"] | {"cached": True}
    text, _, metadata = pieces(await front.ask(asked(COMPLETION, "y = ", stream=True)))
    assert (text, metadata["cached"]) == ("x", True)
    assert len(worker.requests) == 1


SAME_END = "x = 1\n" * 200


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "b" + SAME_END},
        {"prompt": SAME_END},
        {"suffix": "z"},
        {"suffix": "y" * 300 + "2"},
        {"language": "go"},
        {"max_tokens": 3},
        {"top_p": 0.5},
        {"seed": 4},
        {"temperature": 0},
        {"temperature": 0.1},
        {"model": "plain"},
        {"code": "a" + SAME_END, "prompt": "be quick"},
    ],
)
async def test_what_differs_anywhere_is_asked_anew(front: Gate, worker: ScriptedWorker, other: dict[str, Any]) -> None:
    base = {"prompt": "a" + SAME_END, "suffix": "y" * 300 + "1", "language": "python"}
    worker.usual = said("x")
    await front.ask(asked(COMPLETION, **base))
    await front.ask(asked(COMPLETION, **{**base, **other}))
    assert len(worker.requests) == 2


async def test_what_is_drawn_freely_is_not_remembered(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = said("x")
    for _ in range(2):
        answer = await front.ask(asked(COMPLETION, "y = ", temperature=0.9))
        assert answer.json["metadata"]["cached"] is False
    assert len(worker.requests) == 2


async def test_a_failure_is_not_remembered(front: Gate, worker: ScriptedWorker) -> None:
    worker.script.append(reply(b'{"error":{"message":"no"}}', 403))
    assert (await front.ask(asked(COMPLETION, "y = "))).status >= 400
    worker.usual = said("x")
    assert (await front.ask(asked(COMPLETION, "y = "))).json["metadata"]["cached"] is False


async def test_the_oldest_make_room_and_another_configuration_forgets_all() -> None:
    keystrokes, models = Keystrokes(), object()
    keys = [keystrokes.key("k", number) for number in range(MOST + 1)]
    assert keystrokes.get(keys[0], models) is None
    for number, key in enumerate(keys):
        keystrokes.keep(key, Kept(str(number), "stop", {}), models)
        assert len(keystrokes) <= MOST
    assert len(keystrokes) == MOST + 1 - OLDEST
    assert keystrokes.get(keys[OLDEST - 1], models) is None
    kept = keystrokes.get(keys[OLDEST], models)
    assert kept is not None
    assert kept.text == str(OLDEST)
    assert keystrokes.get(keys[OLDEST], object()) is None
    assert len(keystrokes) == 0


def test_a_key_tells_the_parts_of_a_text_apart() -> None:
    keystrokes = Keystrokes()
    assert keystrokes.key("ab", "c") != keystrokes.key("a", "bc")
    assert keystrokes.key("k1", "x") != keystrokes.key("k2", "x")


@pytest.mark.parametrize("way", ["body", "head"])
@pytest.mark.parametrize("model", ["m", "plain"])
async def test_a_newer_keystroke_ends_the_older_one_and_frees_its_slot(
    front: Gate, worker: ScriptedWorker, way: str, model: str
) -> None:
    named: dict[str, Any] = {"session_id": "s"} if way == "body" else {"head": "x-session-id: s\r\n"}
    held = Held()
    worker.script.append(held)
    older = asyncio.create_task(front.ask(asked(COMPLETION, "y", model=model, **named)))
    await held.began.wait()
    worker.usual = said("x") if model == "m" else gone_on("x")
    newer = await front.ask(asked(COMPLETION, "y =", model=model, **named))
    assert (newer.status, newer.json["response"]) == (200, "x")
    ended = await older
    assert (ended.status, ended.error["code"]) == (409, "cancelled_by_newer")
    assert held.peer is not None
    await until(held.peer.gone.is_set)
    assert not front.gateway.dispatch.active
    assert not front.gateway.backstage.keystrokes._typing
    outcomes = [(row.outcome, row.status) for row in (await front.rows())[-2:]]
    assert sorted(outcomes) == [("error", 409), ("ok", 200)]


async def test_a_stream_that_a_newer_keystroke_ends_says_so(front: Gate, worker: ScriptedWorker) -> None:
    held = Held(delta("x = 1\n"))
    worker.script.append(held)
    async with front.client() as client:
        await client.send(asked(COMPLETION, "y\n", session_id="s", stream=True))
        await client.head()
        worker.usual = said("x")
        await held.began.wait()
        await front.ask(asked(COMPLETION, "z", session_id="s"))
        body = b"".join([piece async for piece in client.chunks()])
    assert "newer" in json.loads(body.split(b"\n\n")[-2][6:])["error"]


@pytest.mark.parametrize(
    ("one", "other"), [({"session_id": "a"}, {"session_id": "b"}), ({}, {}), ({"session_id": "a"}, {})]
)
async def test_nobody_else_is_ended(
    front: Gate, worker: ScriptedWorker, one: dict[str, Any], other: dict[str, Any]
) -> None:
    held = Held(delta("x"))
    worker.script.append(held)
    older = asyncio.create_task(front.ask(asked(COMPLETION, "y", **one)))
    await held.began.wait()
    worker.usual = said("z")
    assert (await front.ask(asked(COMPLETION, "y =", **other))).status == 200
    held.let_go.set()
    assert (await older).json["response"] == "x"


async def test_many_keystrokes_leave_one_answer_and_no_slot_taken(front: Gate, worker: ScriptedWorker) -> None:
    helds = [Held(event({"choices": [{"index": 0, "text": "z"}]})) for _ in range(6)]
    worker.script += helds
    worker.usual = gone_on("z")
    typed = []
    for number in range(7):
        typed.append(asyncio.create_task(front.ask(asked(COMPLETION, f"y{number}", session_id="s", model="plain"))))
        await asyncio.sleep(0.01 * (number % 3))
    answers = await asyncio.gather(*typed[:-1])
    assert {answer.status for answer in answers} == {409}
    for held in helds:
        held.let_go.set()
    assert (await typed[-1]).status == 200
    assert not front.gateway.dispatch.active


async def test_who_leaves_frees_the_slot(front: Gate, worker: ScriptedWorker) -> None:
    held = Held(delta("x"))
    worker.script.append(held)
    async with front.client() as client:
        await client.send(asked(COMPLETION, "y", session_id="s", stream=True))
        await held.began.wait()
        client.abort()
    assert held.peer is not None
    await until(held.peer.gone.is_set)
    await until(lambda: not front.gateway.backstage.keystrokes._typing)
    assert (await front.rows())[-1].outcome == "cancelled"


async def test_the_engine_here_fills_gaps_by_its_marks_and_goes_on_otherwise(tmp_path: Path) -> None:
    marks = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
    filling = tiny_gguf.write(tmp_path / "fills.gguf", marks=marks)
    plain = tiny_gguf.write(tmp_path / "plain.gguf")
    models = {
        "fills": Model(source=f"file:{filling}", context=512, threads=1),
        "plain": Model(source=f"file:{plain}", context=512, threads=1),
    }
    async with running_gateway(config(models), tmp_path) as gate:
        for model, suffix, way in (
            ("fills", "z", "fill"),
            ("fills", "", "continue"),
            ("plain", "", "continue"),
            ("plain", "z", "continue"),
        ):
            body = asked(COMPLETION, "ab", model=model, suffix=suffix, max_tokens=4)
            answer = await gate.ask(body)
            assert (answer.status, answer.json["metadata"]["way"]) == (200, way), answer.body
            assert answer.json["tokens_generated"] > 0


async def test_one_that_runs_here_goes_on_with_the_text_if_that_is_what_it_is_for(tmp_path: Path) -> None:
    models = {
        "goes-on": Model(backend="fake"),
        "chats": Model(backend="fake", capabilities=["chat"]),
    }
    async with running_gateway(config(models), tmp_path) as gate:
        for model, suffix, way in (
            ("goes-on", "", "continue"),
            ("goes-on", "z", "continue"),
            ("chats", "", "chat"),
            ("chats", "z", "chat"),
        ):
            answer = await gate.ask(asked(COMPLETION, "ab", model=model, suffix=suffix))
            assert (answer.status, answer.json["metadata"]["way"]) == (200, way), answer.body
            assert answer.json["metadata"]["cached"] is False  # what follows the cursor tells questions apart


# -- review ------------------------------------------------------------------------------------------------------

FINDINGS = {
    "summary": "Not safe.",
    "findings": [
        {"severity": "info", "line": 1, "title": "Name", "detail": "It is short.", "suggestion": "Longer."},
        {"severity": "low", "line": 77, "title": "Style", "detail": "It is odd.", "suggestion": "Even."},
        {"severity": "critical", "line": 2, "title": "eval", "detail": "It runs anything.", "suggestion": "Do not."},
    ],
}
EVIL = "def f(x):\n    return eval(x)\n"


def found(*texts: str) -> Any:
    return said(*(texts or (json.dumps(FINDINGS),)))


async def test_a_review_is_a_sorted_list_with_severity_and_line(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = found()
    answer = (await front.ask(reviewed(EVIL))).json
    listed = [(each["severity"], each["line"], each["title"]) for each in answer["metadata"]["findings"]]
    assert listed == [("critical", 2, "eval"), ("low", None, "Style")]
    assert answer["metadata"]["findings"][0] == FINDINGS["findings"][2] | {"source": "model"}
    assert answer["metadata"]["counts"] == {"critical": 1, "high": 0, "medium": 0, "low": 1, "info": 0}
    assert (answer["metadata"]["structured"], answer["metadata"]["syntax"]) == (True, "ok")
    assert answer["response"].splitlines()[:4] == [
        "Not safe.",
        "",
        "1. [critical, line 2] eval",
        "   It runs anything.",
    ]
    asked_for = sent(worker)
    schema = asked_for["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["findings"]["items"]["properties"]["severity"]["enum"][0] == "critical"
    assert "1 | def f(x):\n2 |     return eval(x)" in asked_for["messages"][1]["content"]
    assert (asked_for["temperature"], asked_for["max_tokens"]) == (0.4, 1024)


async def test_a_streamed_review_has_steps_and_then_the_list(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = found()
    text, steps, metadata = pieces(await front.ask(reviewed(EVIL, stream=True)))
    whole = (await front.ask(reviewed(EVIL))).json
    assert (text, metadata) == (whole["response"], whole["metadata"])
    assert [(each["done"], each["total"]) for each in steps] == [(0, 1), (1, 1)]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        *(("review_type", word, "") for word in ("comprehensive", "bugs", "style", "readability", "architecture")),
        ("review_type", "security", "ways to attack it"),
        ("review_type", "Performance", "memory"),
        ("review_type", "maintainability", "hard to change"),
        ("review_type", "testing", "hard to test"),
        ("review_type", "documentation", "documentation"),
        ("review_type", "thread safety", "thread safety"),
        ("severity_filter", "critical", "not critical"),
        ("include_suggestions", False, "Do not say how"),
        ("context", "part of a bank", "part of a bank"),
        ("focus_areas", ["input", "speed"], "input, speed"),
        ("language", "Rust", "The Rust code"),
    ],
)
async def test_each_option_of_review_changes_what_is_asked(
    front: Gate, worker: ScriptedWorker, option: str, value: Any, words: str
) -> None:
    worker.usual = found('{"summary": "", "findings": []}')
    seen = set()
    for fields in ({}, {option: value}, {"extra_params": {option: value}}):
        assert (await front.ask(reviewed(EVIL, **fields))).status == 200
        whole = "\n".join(each["content"] for each in sent(worker)["messages"])
        assert words in whole or not fields
        seen.add(whole)
    assert len(seen) == (1 if value == "comprehensive" else 2)


async def test_a_filter_leaves_out_what_is_less_and_suggestions_can_be_left_out(
    front: Gate, worker: ScriptedWorker
) -> None:
    worker.usual = found()
    for least, count in (("critical", 1), ("low", 2), ("info", 3)):
        answer = (await front.ask(reviewed(EVIL, severity_filter=least))).json
        assert len(answer["metadata"]["findings"]) == count
    answer = (await front.ask(reviewed(EVIL, include_suggestions="no"))).json
    assert {each["suggestion"] for each in answer["metadata"]["findings"]} == {""}
    assert "suggestion" not in str(sent(worker)["response_format"])
    bad = await front.ask(reviewed(EVIL, severity_filter="awful"))
    assert (bad.status, bad.error["param"]) == (422, "severity_filter")


async def test_the_code_is_an_option_or_fenced_in_the_prompt_or_the_prompt(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = found()
    for fields in (
        {"prompt": "", "code_to_review": EVIL},
        {"prompt": "Is it safe?", "code_to_review": EVIL},
        {"prompt": f"Is it safe?\n```python\n{EVIL}```\n"},
        {"prompt": EVIL},
    ):
        answer = (await front.ask(reviewed(**fields))).json
        user = sent(worker)["messages"][1]["content"]
        assert "1 | def f(x):" in user
        assert ("Is it safe?" in user) is ("safe" in fields["prompt"])
        assert answer["metadata"]["findings"][0]["line"] == 2
        assert (answer["metadata"]["language"], answer["metadata"]["syntax"]) == ("python", "ok")
    none = await front.ask(reviewed(""))
    assert (none.status, none.error["code"]) == (422, "missing_prompt")


async def test_a_syntax_error_is_a_finding_of_the_parser(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = found('{"summary": "", "findings": []}')
    answer = (await front.ask(reviewed("x = 1\ndef f(:\n    pass\n"))).json
    (finding,) = answer["metadata"]["findings"]
    assert (finding["source"], finding["severity"], finding["line"]) == ("parser", "high", 2)
    prose = (await front.ask(reviewed("Have a look at def f(: in my Python code"))).json
    assert (prose["metadata"]["findings"], prose["metadata"]["syntax"]) == ([], "not_checked")
    part = (await front.ask(reviewed("    def f(self):\r\n        return 1\r\n"))).json
    assert part["metadata"]["syntax"] == "ok"
    diff = (
        await front.ask(reviewed("", code_to_review="--- a\n+++ b\n@@ -1 +1 @@\n-def f(:\n", language="python"))
    ).json
    assert diff["metadata"]["syntax"] == "not_checked"


async def test_what_is_no_json_is_asked_for_again_once(front: Gate, worker: ScriptedWorker) -> None:
    worker.script += [said("It looks fine to me."), found()]
    answer = (await front.ask(reviewed(EVIL))).json
    assert (answer["metadata"]["structured"], answer["metadata"]["repaired"]) == (True, True)
    assert [each["role"] for each in sent(worker)["messages"]][-2:] == ["assistant", "user"]
    worker.usual = said("It looks fine to me.")
    answer = (await front.ask(reviewed(EVIL))).json
    assert (answer["response"], answer["metadata"]["structured"]) == ("It looks fine to me.", False)
    assert len(worker.requests) == 4
    worker.script += [said(json.dumps(FINDINGS)[:-60], end=LENGTH)]
    answer = (await front.ask(reviewed(EVIL))).json
    assert [each["title"] for each in answer["metadata"]["findings"]] == ["Style"]
    assert len(worker.requests) == 5


async def test_a_server_that_takes_no_schema_is_asked_in_words(front: Gate, worker: ScriptedWorker) -> None:

    async def script(peer: Peer, received: Received) -> None:
        forced = "response_format" in received.json
        answer = reply(b'{"error":{"message":"response_format is not supported"}}', 400) if forced else found()
        await answer(peer, received)

    worker.usual = script
    answer = await front.ask(reviewed(EVIL))
    assert (answer.status, len(answer.json["metadata"]["findings"])) == (200, 2)
    assert "response_format" not in sent(worker)


@pytest.mark.parametrize("code", ["[" * 1_000_000, "\0" * 1000, "```\n~~~\n```", "x\r\n" * 10_000, "\\" * 5000])
async def test_no_code_brings_a_review_down(front: Gate, worker: ScriptedWorker, code: str) -> None:
    worker.usual = found()
    for fields in ({"prompt": code}, {"prompt": "see", "code_to_review": code, "language": "python"}):
        answer = await front.ask(reviewed(**fields))
        assert answer.status == 200
        assert answer.json["metadata"]["structured"] is True


async def test_nothing_of_the_code_is_in_a_log(
    front: Gate, worker: ScriptedWorker, caplog: pytest.LogCaptureFixture
) -> None:
    worker.script += [said("```python\nsecret_word(\n```"), said("```python\nsecret_word(\n```"), found("no")]
    await front.ask(asked(GENERATION, "secret_word"))
    await front.ask(reviewed("secret_word("))
    await front.ask(asked(COMPLETION, "secret_word("))
    assert "secret_word" not in caplog.text
