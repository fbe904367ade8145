"""`rolecast usage`: as a table, a plot, JSON and CSV, with a gateway and without, and what a text in it may not do."""

import asyncio
import csv
import io
import json
import time
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from gateway import chat, pair, request
from hypothesis import given, settings
from hypothesis import strategies as st
from live_gateway import LiveGateway, ask, until
from typer.testing import CliRunner

from rolecast.books.spans import moment, window
from rolecast.books.sqlite import SQLite
from rolecast.books.usage import Bucket, Report, Spread, Sums
from rolecast.cli import app
from rolecast.cli import usage as command
from rolecast.cli.bars import Bar, drawn
from rolecast.config import paths
from rolecast.errors import BadRequest
from rolecast.server.lane import Lane
from rolecast.values import Rights

NOW = 1_795_003_200.0  # 2026-11-18T12:00Z
CONFIG = """\
server: {port: 0, listeners: [], KEYS}
models:
  tiny: {backend: fake}
  other: {backend: fake}
roles: {standard: [tiny]}
money: {compare: openai/gpt-4o-mini}
"""


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table is as wide as the terminal of who runs the tests."""
    monkeypatch.setenv("COLUMNS", "160")


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["usage", *arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration without a gateway, and a ledger with three requests."""
    monkeypatch.setenv("ROLECAST_HOME", str(tmp_path / "home"))
    config = tmp_path / "rolecast.yaml"
    config.write_text(CONFIG.replace(", KEYS", ""))

    async def write() -> None:
        store = SQLite(paths.database())
        await store.open()
        routes = [
            (1, "front door", "chat", "a", "tiny", "tiny", "", "role; x", ""),
            (2, "front door", "chat", "a", "=HYPERLINK(1)", "x", "", "fallback; tiny failed", ""),
        ]
        at = time.time()
        rows = [(n, 1 + (n == 3), at - n, 200 << 4, 1000, 500, 900, 2100 * n) for n in (1, 2, 3)]
        charges = [(3, "openai", 123_456_789_012, 0, "", "@SUM(1+1)", "", "tiny")]
        energy = [(1, 1_500_000, 1), (2, 2_000_000, 0)]
        await store.insert([("routes", routes), ("requests", rows), ("charges", charges), ("energy", energy)])
        await store.close()

    asyncio.run(write())
    return config


# -- with and without a gateway ------------------------------------------------------------------------------


def test_a_gateway_and_its_database_tell_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LiveGateway(tmp_path, CONFIG.replace(", KEYS", "")) as gateway:
        monkeypatch.setenv("ROLECAST_HOME", str(gateway.home))
        for model in ("tiny", "tiny", "other"):
            assert gateway.chat(model, "hello").status == 200
        until(lambda: gateway.get("/admin/usage?since=1h").json["total"]["requests"] == 3, "the rows")
        asked = ("--since", "2026-01-01", "--until", "2100-01-01", "--by", "model", "--json")
        code, live, _ = run(*asked)
        assert code == 0
        told = json.loads(live)
        assert [(each["group"], each["requests"]) for each in told["groups"]] == [("tiny", 2), ("other", 1)]
        assert told["total"]["cost_usd"] == 0
        assert told["total"]["avoided_usd"] > 0
        assert run("--url", gateway.url, *asked)[1] == live
        assert run("--config", str(gateway.config), *asked)[1] == live
        assert "tiny" in run("--by", "model")[1]
        for query, param in (("by=color", "by"), ("since=soon", "since"), ("until=-1", "until")):
            refused = gateway.get(f"/admin/usage?{query}")
            assert (refused.status, refused.error["param"]) == (400, param)
    assert json.loads(run(*asked)[1])["groups"] == told["groups"]


def test_a_key_is_needed_where_the_gateway_asks_for_one(tmp_path: Path) -> None:
    with LiveGateway(tmp_path, CONFIG.replace("KEYS", "keys: [secret-of-ours]"), key="secret-of-ours") as gateway:
        assert ask(gateway.url, "GET", "/admin/usage").status == 401
        assert ask(gateway.url, "GET", "/admin/usage", key="secret-of-ours").status == 200
        code, _, said = run("--url", gateway.url)
        assert code == 1
        assert "--key" in said
        assert run("--url", gateway.url, "--key", "secret-of-ours")[0] == 0


@pytest.mark.anyio
async def test_a_key_that_is_no_admins_sees_its_own_requests_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with pair(keys=["one", "two"]) as (gate, _):
        bearer = "Authorization: Bearer {}\r\n".format
        for key in ("one", "one", "two"):
            assert (await gate.ask(request(chat(), head=bearer(key)))).status == 200
        await gate.rows()
        asked = request(path="/admin/usage", method="GET", head=bearer("one"))
        assert (await gate.ask(asked, method="GET")).json["total"]["requests"] == 3
        made = Lane._caller
        monkeypatch.setattr(
            Lane, "_caller", lambda *args: (c := made(*args)) and msgspec.structs.replace(c, rights=Rights(c.key))
        )
        found = (await gate.ask(asked, method="GET")).json
        assert found["total"]["requests"] == 2


def test_nothing_was_used_where_nothing_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLECAST_HOME", str(tmp_path / "home"))
    config = tmp_path / "rolecast.yaml"
    config.write_text(CONFIG.replace(", KEYS", ""))
    assert "No request ended from" in run("--config", str(config))[1]
    assert "No request ended from" in run("--config", str(config), "--plot")[1]
    assert len(list(csv.reader(io.StringIO(run("--config", str(config), "--csv", "-")[1])))) == 2
    assert run("--since", "yesterday-ish")[0] == 1
    assert run("--json", "--plot")[0] == run("--by", "color")[0] == run("--csv", "-", "--plot")[0] == 2


# -- forms ---------------------------------------------------------------------------------------------------


def test_a_table_has_all_sums_and_says_what_is_estimated(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # tests that run side by side have 80, which is too narrow for a table
    _, out, _ = run("--config", str(written), "--by", "provider")
    lines = [line.split() for line in out.splitlines()]
    (head,) = [line for line in lines if line[:1] == ["Provider"]]
    numbers = ["Requests", "In", "Out", "Cached", "Cost", "Avoided", "Energy", "p50", "p95", "Errors", "Fall-backs"]
    assert head == ["Provider", *numbers]
    (local,) = [line for line in lines if line[:1] == ["local"]]
    assert local[1:8] == ["2", "2,000", "1,000", "0", "$0.00", "$0.0009", "~3.5"]
    (total,) = [line for line in lines if line[:1] == ["All"]]
    assert total[1:6] == ["3", "3,000", "1,500", "0", "$0.123457"]
    assert "1 (1 to a provider)" in out
    assert "openai/gpt-4o-mini would have cost" in out
    assert "~ is estimated" in out


def test_csv_has_every_digit_and_nothing_in_it_is_a_formula(written: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    assert run("--config", str(written), "--by", "model", "--csv", str(file))[0] == 0
    rows = list(csv.DictReader(io.StringIO(file.read_text("utf-8"))))
    by_model = {row["model"]: row for row in rows}
    assert set(by_model) == {"tiny", "'=HYPERLINK(1)"}
    assert by_model["'=HYPERLINK(1)"]["cost_usd"] == "0.123456789012"
    assert by_model["tiny"]["avoided_usd"] == "0.0009"
    assert by_model["tiny"]["energy_joules"] == "3.5"
    assert by_model["tiny"]["total_ms_p95"] == "4.2"
    printed = run("--config", str(written), "--by", "run", "--csv", "-")[1]
    assert {row["run"] for row in csv.DictReader(io.StringIO(printed))} == {"", "'@SUM(1+1)"}
    assert run("--config", str(written), "--csv", str(tmp_path / "no" / "folder.csv"))[0] == 1


@settings(max_examples=50)
@given(st.text(max_size=20))
def test_no_text_of_a_cell_begins_as_a_formula_and_every_cell_is_read_back_as_one(text: str) -> None:
    report = Report(
        since=0, until=1, by="run", compared_with="", total=Sums(), groups=[Sums(group=text)], left_out=0, histogram=[]
    )
    rows = list(csv.reader(io.StringIO(command.csv_of(report), newline="")))
    assert len(rows) == 2
    assert not rows[1][0].lstrip(" ").startswith(command.FORMULA)
    assert rows[1][0].removeprefix("'") == text.removeprefix("'")


def test_a_plot_fits_the_terminal_in_unicode_and_in_ascii(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in ("40", "80", "132"):
        monkeypatch.setenv("COLUMNS", columns)
        _, out, _ = run("--config", str(written), "--plot", "--by", "model")
        drawn_lines = [line for line in out.splitlines() if "█" in line or "░" in line][1:]
        assert len(drawn_lines) >= 3
        assert max(map(len, drawn_lines)) <= int(columns)
    assert "░ 1,500 elsewhere" in out
    monkeypatch.setattr(command.output, "is_utf8", lambda stream: False)
    _, plain, _ = run("--config", str(written), "--plot", "--since", "1h")
    assert plain.isascii()
    assert "#" in plain
    assert "p50 4.2 ms, p90 6.3 ms" in plain


def test_hours_without_a_request_are_seen_as_such() -> None:
    groups = [Sums(group="2026-11-18T22:00Z", requests=1), Sums(group="2026-11-19T01:00Z", requests=2)]
    filled = command._filled(groups, 3600)
    assert [each.group[8:13] for each in filled] == ["18T22", "18T23", "19T00", "19T01"]
    assert [each.requests for each in filled] == [1, 0, 0, 2]
    ages = [Sums(group="1970-01-01T00:00Z"), Sums(group="2026-11-19T01:00Z")]
    assert len(command._filled(ages, 3600)) == command.MOST_BARS


# -- bars, words and times -----------------------------------------------------------------------------------

BARS = st.lists(
    st.tuples(
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=50),
        st.integers(0, 10**20),
        st.floats(0, 1),
    ),
    max_size=6,
)


@given(BARS, st.integers(70, 200), st.booleans())
def test_bars_keep_to_their_width_and_what_is_more_than_nothing_is_seen(
    values: list[tuple[str, int, float]], width: int, unicode: bool
) -> None:
    bars = [Bar(label, value, int(value * share), f"{value:,}") for label, value, share in values]
    lines = drawn(bars, width, unicode=unicode)
    marks = "█░▏▎▍▌▋▊▉" if unicode else "#="
    assert len(lines) == len(bars)
    assert all(len(line) <= width for line in lines)
    for bar, line in zip(bars, lines, strict=True):
        if not set(bar.label) & set(marks):
            assert any(mark in line for mark in marks) == (bar.value > 0)


def test_bars_are_as_long_as_their_values() -> None:
    bars = [Bar("a", 80, 0, "80"), Bar("b", 40, 20, "40"), Bar("c", 1, 1, "1"), Bar("d", 0, 0, "0")]
    solid = ["a ████████ 80", "b ██░░     40", "c ░         1", "d           0"]
    assert drawn(bars, 13, unicode=True) == drawn(bars, 5, unicode=True) == solid
    assert drawn(bars, 13, unicode=False) == ["a ######## 80", "b ##==     40", "c =         1", "d           0"]


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0.00"),
        ("1234567.5", "$1,234,567.50"),
        ("0.123456", "$0.123456"),
        ("0.0000005", "<$0.000001"),
        ("0.0000015", "$0.000002"),
        ("0.1", "$0.10"),
    ],
)
def test_money_is_shown_to_the_cent_or_to_the_millionth(amount: str, shown: str) -> None:
    assert command.money(Decimal(amount)) == shown


def test_energy_and_times_are_shown_in_units_that_fit() -> None:
    assert command.joules(Decimal("1.5"), Decimal("1.5")) == "1.5 J"
    assert command.joules(Decimal(7200), Decimal(0)) == "~2.0 Wh"
    assert (command.millis(0.84), command.millis(288.2), command.millis(2500.0)) == ("0.8 ms", "288 ms", "2.5 s")
    assert command.joules(None, None) == command.millis(None) == command.money(None) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOW - 90),
        ("15m", NOW - 900),
        ("24h", NOW - 86_400),
        ("7d", NOW - 604_800),
        ("2w", NOW - 1_209_600),
        ("2026-11-18", NOW - 43_200),
        ("2026-11-18T11:00", NOW - 3600),
        ("2026-11-18 11:00Z", NOW - 3600),
        ("2026-11-18T12:00:00.5+01:00", NOW - 3599.5),
        ("1795003200", NOW),
        (" 7 d ", NOW - 604_800),
        ("999999999w", 0.0),
        ("0001-01-02", 0.0),
    ],
)
def test_a_moment_is_read_as_people_write_it(text: str, expected: float) -> None:
    assert moment(text, NOW, "since") == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "7",
        "-7d",
        "7y",
        "2026-13-01",
        "2026-11-18T99:00",
        "\u0661\u0662d",
        "1e3d",
        "x" * 10_000,
    ],
)
def test_what_is_no_moment_is_refused_with_what_would_be(text: str) -> None:
    with pytest.raises(BadRequest, match="is no time; use 7d") as refused:
        moment(text, NOW, "since")
    assert len(refused.value.message) < 300


def test_a_window_that_ends_before_it_begins_is_refused() -> None:
    assert window("1d", "", NOW).until > NOW
    with pytest.raises(BadRequest, match="must be before"):
        window("1d", "2d", NOW)


def test_a_histogram_that_has_no_bound_is_named_by_what_is_below() -> None:
    bars = command._latencies([Bucket(60_000, 1), Bucket(300_000, 0), Bucket(None, 2)])
    assert [bar.label for bar in bars] == ["<= 60.0 s", "<= 300.0 s", "> 300.0 s"]
    assert command._latencies([Bucket(None, 2)])[0].label == "any"
    assert Spread() == Spread(None, None, None, None)
