"""`rolecast route`: what it tells with and without a gateway, and what it makes of requests of the past."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rolecast.books import feedback
from rolecast.books.ledger import Ledger
from rolecast.books.sqlite import SQLite
from rolecast.cli import app
from rolecast.config import names
from rolecast.config.routing import Routing
from rolecast.config.schema import Config, Model
from rolecast.decision import Card, Choice, Facts, Hints, Said, Seen
from rolecast.routing import build
from rolecast.routing.learned import Learned
from rolecast.routing.price import chance
from rolecast.routing.recorded import Recorded, facts_of
from rolecast.routing.view import View
from rolecast.turn.backtest import Case, Result, Tally
from rolecast.values import Usage

CODE = "Write a Python function that merges two sorted lists and explain its complexity."
PROOF = "Prove rigorously that the square root of two is irrational."
CONFIG = """
models: {tiny: {backend: fake}, thinker: {backend: fake}, coder: {backend: fake}}
roles: {router: [tiny], standard: [tiny], reasoning: [thinker], coding: [coder]}
storage: {url: "sqlite:///FOLDER/books.db"}
"""
OTHER = CONFIG + "routing: {strategies: [explicit]}\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, and nothing of a gateway."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROLECAST_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ROLECAST_URL", raising=False)
    (tmp_path / "rolecast.yaml").write_text(CONFIG.replace("FOLDER", str(tmp_path)))
    (tmp_path / "other.yaml").write_text(OTHER.replace("FOLDER", str(tmp_path)))
    return tmp_path


def invoke(*args: str, stdin: str = "") -> tuple[int, str, str]:
    runner = CliRunner(env={"COLUMNS": "200"})
    result = runner.invoke(app, ["route", *args], input=stdin, catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


# -- one prompt and several ----------------------------------------------------------------------------------


def test_without_a_gateway_the_configuration_decides_and_leaves_nothing_behind(here: Path) -> None:
    code, out, err = invoke(CODE)
    assert code == 0
    assert "coder" in out
    assert "learned; " in out
    assert "No gateway runs here" in err
    assert "rolecast.yaml decides alone" in err
    assert sorted(path.name for path in here.iterdir()) == ["other.yaml", "rolecast.yaml"]


def test_json_is_that_of_the_api_and_stands_alone_on_stdout() -> None:
    code, out, err = invoke(CODE, "--json")
    one = json.loads(out)
    assert (code, one["model"], one["role"], err) == (0, "coder", "coding", "")
    several = json.loads(invoke(CODE, PROOF, "--json")[1])
    assert [each["model"] for each in several["routes"]] == ["coder", "thinker"]


def test_prompts_come_from_arguments_stdin_and_lines_of_a_file(here: Path) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": CODE}], "model": "reasoning"})
    (here / "prompts.txt").write_text(f"{PROOF}\n\n{body}\n{{ not json\n")
    code, out, _ = invoke("-", "--file", "prompts.txt", "--json", stdin=CODE)
    found = json.loads(out)["routes"]
    assert (code, [each["model"] for each in found[:3]]) == (0, ["coder", "thinker", "thinker"])
    assert [each["source"] for each in found[:3]] == ["learned", "rule", "role"]
    assert len(found) == 4, "a line that is no JSON is a prompt"
    assert json.loads(invoke("--json", stdin=CODE)[1])["model"] == "coder"


def test_a_file_may_begin_with_a_mark_and_only_its_line_ends_part_prompts(here: Path) -> None:
    (here / "marked.txt").write_bytes("\ufeffTell a\x0cjoke\u2028please\r\nhello\n".encode())
    code, out, _ = invoke("--file", "marked.txt", "--json")
    assert (code, len(json.loads(out)["routes"])) == (0, 2)
    (here / "marked.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt":"hello"}\r\n')
    assert invoke("--backtest", "marked.jsonl")[0] == 0


def test_another_name_and_another_configuration_may_be_asked_for() -> None:
    told = json.loads(invoke(CODE, "--model", "reasoning", "--json")[1])
    assert (told["model"], told["source"]) == ("thinker", "role")
    told = json.loads(invoke(CODE, "--config", "other.yaml", "--json")[1])
    assert (told["model"], told["source"], told["opinions"]["role"]["label"]) == ("tiny", "default", "coding")


def test_without_a_gateway_what_models_are_worth_counts_as_at_its_start(here: Path) -> None:
    models = "models: {small: {backend: fake, quality: 0.3}, big: {backend: fake, quality: 0.8}}\n"
    (here / "ranked.yaml").write_text(models + "roles: {standard: [small], reasoning: [small, big], coding: [small]}\n")
    told = json.loads(invoke(PROOF, "--config", "ranked.yaml", "--json")[1])
    assert [each["model"] for each in told["ranking"]] == ["big", "small"]
    assert {each["reason"] for each in told["ranking"]} == {"has to load"}
    assert told["reason"].endswith(", better")


def test_a_greeting_that_is_handled_has_no_target_and_a_wrong_wish_names_the_option(here: Path) -> None:
    assert re.search(r"As SLM Server +HANDLE, depth \d", invoke("hello")[1])
    code, _, err = invoke(CODE, "--prefer", "fast")
    assert (code, "--prefer must be one of balanced, quality, speed, cost." in err) == (2, True)


def test_mistakes_are_one_sentence() -> None:
    code, out, err = invoke(CODE, "--model", "nobody")
    assert (code, out) == (1, "")
    assert "'nobody' does not exist here" in err
    code, out, _ = invoke(CODE, PROOF, "--model", "nobody", "--json")
    assert code == 1
    assert [each["error"]["code"] for each in json.loads(out)["routes"]] == ["model_not_found"] * 2
    assert "Prompt 2 is empty" in invoke(CODE, " ")[2]
    assert "half a character" in invoke("half \udcff")[2]
    assert "nowhere.txt" in invoke("--file", "nowhere.txt")[2]
    assert invoke(CODE, "--backtest", "x")[0] == 2


# -- from a file ---------------------------------------------------------------------------------------------


def replayed(*args: str) -> list[dict[str, Any]]:
    code, out, err = invoke("--backtest", *args, "--json")
    assert code == 0, err
    return list(json.loads(out)["configurations"])


def test_a_label_that_nobody_can_have_is_pointed_out_once(here: Path) -> None:
    line = json.dumps({"prompt": CODE, "role": "codng", "category": "code_generation", "model": "coder"})
    (here / "past.jsonl").write_text(f"{line}\n{line}\n")
    code, _, err = invoke("--backtest", "past.jsonl")
    assert (code, err.count("there is no role 'codng'"), err.count("there is no")) == (0, 1, 1)


def test_labelled_prompts_are_replayed_by_two_configurations_side_by_side(here: Path) -> None:
    lines = [
        {"text": CODE, "role": "coding", "category": "code_generation", "weak_right": 0, "strong_right": 1},
        {"prompt": PROOF, "role": "reasoning", "weak_right": False, "strong_right": True},
        {"messages": [{"role": "user", "content": CODE}], "model": "thinker", "weak_right": 1, "strong_right": 1},
    ]
    (here / "past.jsonl").write_text("".join(f"{json.dumps(line)}\n\n" for line in lines))
    now, other = replayed("past.jsonl", "--config", "other.yaml")
    assert now["requests"] == other["requests"] == 3
    assert (now["roles"], other["roles"]) == ({"coding": 2, "reasoning": 1}, {"standard": 3})
    assert (now["agreement"]["role"]["right"], now["agreement"]["role"]["of"]) == (2, 2)
    assert now["agreement"]["category"]["share"] == 1.0
    assert now["agreement"]["model"] == other["agreement"]["model"], "thinker was right, and nobody chose it"
    assert now["agreement"]["model"]["share"] == 0.0
    assert other["agreement"]["role"]["share"] == 0.0
    assert (now["matrix"], other["matrix"]["coding"]) == (
        {"coding": {"coding": 1}, "reasoning": {"reasoning": 1}},
        {"standard": 1},
    )
    assert (now["quality"], now["all_weak"], now["all_strong"], now["recovered"]) == (1.0, 0.3333, 1.0, 1.0)
    assert (other["quality"], other["recovered"], other["weak_share"]) == (0.3333, 0.0, 1.0)
    code, out, _ = invoke("--backtest", "past.jsonl", "--config", "other.yaml")
    assert code == 0
    for words in ("rolecast.yaml", "other.yaml", "Right: role", "Answered rightly", "Role: coding"):
        assert words in out


@pytest.mark.parametrize(
    "line",
    ["{", '{"role":"coding"}', '{"prompt":"x","role":1}', '{"prompt":"x","weak_right":2}', "\udcff", "3", "[]"],
)
def test_a_line_that_is_no_request_is_named_by_its_number(line: str, here: Path) -> None:
    good = b'{"prompt":"hello"}\n'
    (here / "bad.jsonl").write_bytes(good + line.encode("utf-8", "surrogateescape") + b"\n")
    code, out, err = invoke("--backtest", "bad.jsonl")
    assert (code, out) == (1, "")
    assert "bad.jsonl, line 2: " in err


def test_nothing_to_replay_is_said(here: Path) -> None:
    (here / "empty.jsonl").write_text("\n")
    assert "holds no request" in invoke("--backtest", "empty.jsonl")[2]
    assert "nowhere.jsonl" in invoke("--backtest", "nowhere.jsonl")[2]
    code, _, err = invoke("--backtest", "ledger")
    assert code == 1
    assert "There is no ledger yet" in err
    assert not (here / "books.db").exists(), "looking for one makes none"


# -- from the ledger -----------------------------------------------------------------------------------------


def fill(path: Path, rows: list[tuple[str, str, Seen | None]]) -> None:
    """A ledger with these requests: model, role, and what was seen."""

    async def work() -> None:
        store = SQLite(path)
        await store.open()
        ledger = Ledger(store)
        for number, (model, role, seen) in enumerate(rows, 1):
            there = ledger.route("front door", "chat", "auto", model, model, role, "learned; x", "")
            ledger.decided(number, Choice(model, role=role, seen=seen))
            ledger.record(number, there, 200, "ok", None, False, Usage(10, 20), 0.1, 2.0, 1, 0, 0, "")
        await ledger.close()
        await feedback.put(store, 1, "", 1.0, {"role": "coding"}, "")
        await feedback.put(store, 2, "", 0.0, {}, "")
        await store.close()

    asyncio.run(work())


def test_the_ledger_is_replayed_by_what_was_seen_then(here: Path) -> None:
    sure = Seen(opinions={"role": Said("coding", 0.95, True)}, fails=0.5)
    unsure = Seen(opinions={"role": Said("coding", 0.3, False)}, fails=0.2)
    fill(here / "books.db", [("coder", "coding", sure), ("coder", "coding", unsure), ("tiny", "standard", None)])
    now, other = replayed("ledger", "--config", "other.yaml")
    assert now["requests"] == other["requests"] == 2, "a name that was obeyed is no decision"
    assert (now["models"], other["models"]) == ({"coder": 1, "tiny": 1}, {"tiny": 2})
    assert (now["agreement"]["was_model"]["right"], other["agreement"]["was_model"]["right"]) == (1, 0)
    assert (now["rating_kept"], now["rating_changed"], now["rated"]) == (1.0, 0.0, 2)
    assert now["agreement"]["role"] == {"right": 1, "of": 1, "share": 1.0, "low": 0.2065, "high": 1.0}
    assert now["seconds"] == 4.0, "two answers of 20 tokens at 10 tokens per second"
    assert now["weak_estimate"] == 0.8


# -- how a replay is judged ----------------------------------------------------------------------------------


def test_a_recorded_request_is_chosen_as_the_request_itself_was() -> None:
    config = Config(
        models={name: Model() for name in ("tiny", "thinker", "coder")},
        roles={"standard": ["tiny"], "reasoning": ["thinker"], "coding": ["coder"]},
        routing=Routing(),
    )
    mind = Learned.load()
    router = build(names.table(config), config, mind=lambda: mind)
    for text in (CODE, PROOF, "hello", "???", "", "Translate 'good morning' into Polish."):
        hints = Hints(
            category="translation", channel="CHAT", prefer="speed", metadata={"force_domain": "erp", "x": text}
        )
        real = router.choose(Facts("auto", "chat", text=text, tokens=3, code=True, hints=hints))
        seen = real.seen
        assert seen is not None
        assert facts_of(seen).hints == msgspec.structs.replace(hints, metadata=dict(seen.hints))
        assert "x" not in seen.hints
        again = router.choose(facts_of(seen), view=Recorded(seen))
        assert (again.model, again.source, again.reason, again.task, again.tier, again.domain) == (
            real.model,
            real.source,
            real.reason,
            real.task,
            real.tier,
            real.domain,
        ), text
        assert again.confidence == pytest.approx(real.confidence, abs=1e-4)
        assert text == "" or text not in repr(seen)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["tiny", "coder"]),
            st.sampled_from(["standard", "coding", ""]),
            st.one_of(st.none(), st.floats(0, 1)),
            st.one_of(st.none(), st.floats(0, 1)),
            st.booleans(),
        )
    )
)
def test_no_replay_breaks_the_sums(rows: list[tuple[str, str, float | None, float | None, bool]]) -> None:
    tally = Tally("x", {"tiny": 5.0})
    for model, role, right, rating, fails in rows:
        if fails:
            tally.fail("wrong_capability")
            continue
        case = Case({"role": "coding"}, was_model="tiny", weak_right=right, strong_right=right, rating=rating)
        tally.add(case, Result(model, role, "", "", "", "learned", 0.5), Card(model))
    report = tally.report()
    assert report.requests == len(rows) == sum(report.models.values()) + sum(report.errors.values())
    for found in report.agreement.values():
        assert 0 <= found.low <= found.share <= found.high <= 1
    assert report.recovered is None, "where both are right alike there is no gap"
    assert (report.seconds is None) == (not report.models.get("tiny"))


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_better_model_and_an_easier_request_are_never_less_likely_right(one: float, other: float, at: float) -> None:
    low, high = sorted((one, other))
    assert 0 < chance(low, at) <= chance(high, at) < 1
    assert chance(at, high) <= chance(at, low)


def test_the_weak_model_is_right_as_often_as_it_says() -> None:
    assert chance(0.68, 0.3) == pytest.approx(0.7)
    tally = Tally("x", {})
    tally.add(Case(), Result("m", "standard", "", "", "", "learned", 0.3), Card("m", quality=0.68))
    tally.add(Case(), Result("n", "standard", "", "", "", "learned", 0.3), Card("n"))
    assert tally.report().right_estimate == 0.7, "of a model whose quality nobody knows nothing is said"


def test_words_of_a_callers_own_are_never_written_down() -> None:
    secret = "the merger with Acme"
    hints = Hints(
        category=secret, channel=secret, type=secret, prefer=secret, metadata={"force_domain": secret, "a": secret}
    )
    seen = View(Facts("auto", "chat", text=secret, system=secret, hints=hints), lambda: None, {}).seen
    assert seen.hints == {}
    assert secret not in repr(seen)
