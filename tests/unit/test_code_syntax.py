"""Parsers of code: what they say, and that hostile code costs only their own process."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import pytest
from gateway import until

from rolecast.syntax import parsers
from rolecast.syntax.parsers import DEEP, Fault, Found, parse
from rolecast.tasks.code import check as code_check
from rolecast.tasks.code.check import CodeCheck

RIGHT = {
    "python": "def f(a):\n    return a\n",
    "json": '{"a": [1, null]}',
    "javascript": "const f = (a) => a + 1;\n",
    "typescript": "const f = (a: number): number => a + 1;\n",
    "tsx": "const a = <b>hi</b>;\n",
    "java": "class A { int f() { return 1; } }\n",
    "c": "int main(void) { return 0; }\n",
    "cpp": "#include <vector>\nint main() { std::vector<int> v{1}; }\n",
    "go": "package main\nfunc main() {}\n",
    "rust": "fn main() { let x = 1; }\n",
    "html": "<!DOCTYPE html><html><body><p>hi</p></body></html>\n",
    "css": "a { color: red; }\n",
    "bash": "if true; then echo hi; fi\n",
}
WRONG = {
    "python": ("x = 1\ndef f(:\n", 2),
    "json": ('{\n"a": }', 2),
    "javascript": ("let a = 1;\nfunction f( {\n}\n", 2),
    "typescript": ("let a: = 1;\n", 1),
    "java": ("class A {\n  void f() { int x = 1 }\n}\n", 2),
    "c": ("int main(void) {\n  return 0\n}\n", 2),
    "cpp": ("int x = ;\n", 1),
    "go": ("package main\nfunc main( {\n}\n", 2),
    "rust": ("fn main() {\n  let = 1;\n}\n", 2),
    "html": ("<p\n<a", 1),
    "css": ("a { color red }\n", 1),
    "bash": ("if true; then\n  echo hi\n", 3),
}
HOSTILE = {
    "brackets": ("python", "[" * 200_000),
    "brackets of another": ("javascript", "[" * 200_000),
    "minuses": ("python", "-" * 200_000 + "1"),
    "a long sum": ("python", "1+" * 100_000 + "1"),
    "attributes": ("python", "a.b" * 60_000),
    "zeros": ("python", "\0" * 100),
    "a lone surrogate": ("python", "x = '\ud800'"),
    "a surrogate of another": ("c", "\ud800" * 100),
    "deep JSON": ("json", "[" * 200_000),
    "a long number": ("json", "1" * 200_000),
    "blocks": ("python", "".join(f"{' ' * i}if x:\n" for i in range(300))),
    "tags": ("cpp", "{[(<" * 50_000),
    "an f-string": ("python", "f'" + "{f'" * 200),
}


@pytest.mark.parametrize("language", RIGHT)
def test_what_is_right_is_found_right(language: str) -> None:
    assert parse(RIGHT[language], language) == Found()
    assert parse(RIGHT[language].replace("\n", "\r\n"), language) == Found()


@pytest.mark.parametrize("language", WRONG)
def test_what_is_wrong_has_the_line_of_its_first_error(language: str) -> None:
    code, line = WRONG[language]
    found = parse(code, language)
    assert found.checked
    assert found.fault is not None
    assert found.fault.line == line
    assert found.fault.message


def test_what_has_no_parser_is_not_checked_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse("select", "sql") == Found(False, why="no parser for sql is known here")
    assert parse("x", "") == Found(False, why="its language is unknown")
    assert parse("x" * 300_000, "python") == Found(False, why="it is longer than 256 KiB")
    monkeypatch.setitem(sys.modules, "tree_sitter", None)
    parsers._parser.cache_clear()
    found = parse("x", "go")
    assert (found.checked, "pip install 'rolecast[tasks]'" in found.why) == (False, True)


def test_no_parser_needs_the_network_or_the_gateway() -> None:
    program = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise SystemExit('a parser wants the network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from rolecast.syntax.worker import parse\n"
        "from rolecast.syntax.parsers import GRAMMARS\n"
        "for language in GRAMMARS: assert parse('', language).checked, language\n"
        "heavy = {'asyncio', 'uvloop', 'uvicorn', 'starlette', 'rolecast.tasks', 'rolecast.turn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_the_gateway_imports_no_parser() -> None:
    program = (
        "import sys, rolecast.app\n"
        "from rolecast.tasks.code import completion, generation, review\n"
        "assert not [name for name in sys.modules if name.startswith('tree_sitter')]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# -- in its process ------------------------------------------------------------------------------------------------


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def check() -> AsyncIterator[CodeCheck]:
    found = CodeCheck()
    yield found
    await found.close()


@pytest.mark.anyio
@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_code_is_answered_and_the_process_lives_or_is_started_again(check: CodeCheck, name: str) -> None:
    language, code = HOSTILE[name]
    found = await check.check(code, language)
    assert found.fault is not None or not found.checked
    assert await check.check("x = 1", "python") == Found()


@pytest.mark.anyio
async def test_code_that_takes_too_long_is_ended_and_the_loop_goes_on(
    check: CodeCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    await check.check("x", "python")
    monkeypatch.setattr(code_check, "TIMEOUT_S", 0.5)
    child = check.helper._child
    assert child is not None
    began = time.perf_counter()
    slow = asyncio.create_task(check.check("<a>" * 60_000, "html"))
    while not slow.done():
        turn = time.perf_counter()
        await asyncio.sleep(0.005)
        assert time.perf_counter() - turn < 0.25
    assert await slow == Found(False, why="its parser took too long")
    assert time.perf_counter() - began < 5
    await until(lambda: child.returncode is not None, "the end of the process")
    monkeypatch.undo()
    assert await check.check("x = 1", "python") == Found()


@pytest.mark.anyio
async def test_a_process_that_is_killed_under_a_check_is_started_again(check: CodeCheck) -> None:
    await check.check("x", "python")
    slow = asyncio.create_task(check.check("<a>" * 60_000, "html"))
    await asyncio.sleep(0.2)
    os.kill(check.helper._child.pid, signal.SIGKILL)  # type: ignore[union-attr]
    assert await slow == Found(False, why="its parser could not be asked")
    found = await asyncio.gather(*(check.check(f"x = {n}", "python") for n in range(20)))
    assert found == [Found()] * 20


@pytest.mark.anyio
async def test_nothing_of_the_code_is_in_a_log(check: CodeCheck, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    found = await check.check("secret_word = (", "python")
    assert found.fault == Fault(1, "'(' was never closed")
    await check.check("\0secret_word", "python")
    await check.close()
    assert "secret_word" not in caplog.text
    assert "secret_word" not in check.helper.log_file.read_text()


@pytest.mark.anyio
async def test_nothing_is_started_before_somebody_asks_and_long_code_is_not_sent(check: CodeCheck) -> None:
    assert not (await check.check("x" * 2_000_000, "python")).checked
    assert not check.helper.running


def test_what_is_nested_too_deep_is_not_called_wrong() -> None:
    assert parse("(" * 160 + "1" + ")" * 160, "python") == Found(False, why=DEEP)
    assert parse("1+" * 50_000 + "1", "python") == Found(False, why=DEEP)
