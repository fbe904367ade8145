"""The view of what was used, in a real browser: its numbers are the ledger's, to the unit."""

import json
import sqlite3
from typing import TYPE_CHECKING

from live_gateway import LiveGateway, until
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page


def sums(gateway: LiveGateway) -> tuple[int, int, int]:
    """Requests, their tokens and their errors, as the database has them."""
    with sqlite3.connect(f"file:{gateway.home / 'rolecast.db'}?mode=ro", uri=True) as db:
        row = db.execute(
            "SELECT count(*), sum(prompt_tokens + completion_tokens), sum(outcome = 'error') FROM ledger"
        ).fetchone()
    db.close()
    return tuple(map(int, row))  # type: ignore[return-value]


def test_money_and_tokens_are_those_of_the_ledger_and_follow_it(page: "Page", gateway: LiveGateway) -> None:
    page.locator("#to-usage").click()
    for text in ("hello", "how much was that", "fail"):
        gateway.chat("smollm2", text)
    gateway.chat("qwen-coder", "hello")
    known = gateway.get("/admin/activity").json["ledger_rows"]
    until(lambda: sums(gateway)[0] >= known, "the rows")
    requests, tokens, errors = sums(gateway)
    expect(page.locator("#usage-requests")).to_have_text(f"{requests:,}")
    expect(page.locator("#usage-here")).to_have_text(f"{tokens:,}")
    expect(page.locator("#usage-elsewhere")).to_have_text("0")
    expect(page.locator("#usage-errors")).to_have_text(f"{errors:,}")
    expect(page.locator("#usage-cost")).to_have_text("$0.00")
    expect(page.locator("#usage-fallbacks")).to_have_text("0")
    expect(page.locator("#usage-compared")).to_contain_text("openai/gpt-4o-mini")
    report = gateway.get("/admin/usage?since=1d&by=model").json
    avoided = report["total"]["avoided_usd"]
    shown = f"{avoided:,.6f}".rstrip("0") if avoided >= 1e-6 else "<"
    expect(page.locator("#usage-avoided")).to_contain_text(shown)
    bars = page.locator("#usage-times tr")
    expect(bars).to_have_count(len(report["histogram"]))
    assert [int(text) for text in bars.locator("td:last-child").all_inner_texts()] == [
        bucket["count"] for bucket in report["histogram"]
    ]
    rows = page.locator("#usage-groups tr")
    expect(rows).to_have_count(len(report["groups"]))
    expect(rows.filter(has_text="qwen-coder")).to_contain_text("/")

    gateway.chat("qwen-coder", "hello")
    expect(page.locator("#usage-requests")).to_have_text(f"{requests + 1:,}")


def test_another_window_and_another_sum_can_be_chosen(page: "Page", gateway: LiveGateway) -> None:
    gateway.chat("smollm2", "hello")
    page.goto(f"{gateway.url}/ui#/usage")
    page.get_by_label("by", exact=True).select_option("listener")
    expect(page.locator("#usage-of")).to_have_text("Port")
    expect(page.locator("#usage-groups")).to_contain_text("front door")
    page.get_by_label("by", exact=True).select_option("task")
    expect(page.locator("#usage-groups")).to_contain_text("no task")
    page.get_by_label("Money and tokens of").select_option("1h")
    expect(page.locator("#usage-requests")).not_to_have_text("0")


def test_a_hostile_name_of_a_run_is_text(page: "Page", gateway: LiveGateway) -> None:
    hostile = "<img src=x onerror=document.title=1>"
    report = {"group": hostile, **dict.fromkeys(("requests", "prompt_tokens", "completion_tokens", "errors"), 1)}
    times = {"p50": 1, "p90": 1, "p95": 1, "p99": 1}
    report |= {"cost_usd": 1e-9, "avoided_usd": None, "fallbacks": 1, "fallbacks_to_cloud": 1, "total_ms": times}
    report |= {"energy_joules": 7200, "measured_joules": 1, "local_tokens": 2}
    body = {"by": "run", "compared_with": "", "total": report, "groups": [report], "left_out": 3, "histogram": []}
    page.route("**/admin/usage*", lambda route: route.fulfill(json=json.loads(json.dumps(body))))
    page.locator("#to-usage").click()
    expect(page.locator("#usage-groups td").first).to_have_text(hostile)
    expect(page.locator("#usage-cost")).to_have_text("<$0.000001")
    expect(page.locator("#usage-energy")).to_have_text("~2.0 Wh")
    expect(page.locator("#usage-more")).to_contain_text("3 more")
    assert page.title() == "Rolecast"
