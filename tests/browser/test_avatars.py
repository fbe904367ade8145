"""The view of avatars, in a real browser: who answers, what the gate said, and how far the making of one is."""

from typing import TYPE_CHECKING

from live_gateway import LiveGateway
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page


def avatar(name: str, **more: object) -> dict[str, object]:
    plain = {"model": f"avatar/{name}", "title": name, "current": 0, "canary": 0, "share": 0.0, "versions": []}
    return {"name": name, **plain, "withdrawn": [], "job": None, "judged": None, **more}


def job(state: str, error: str = "") -> dict[str, object]:
    progress = {"step": "training", "done": 30, "total": 120, "unit": "steps", "note": "loss 2.31"}
    return {"id": "job_1", "kind": "avatar", "state": state, "progress": progress, "error": error}


def test_a_making_is_followed_and_a_refusal_says_why(page: "Page", gateway: LiveGateway) -> None:
    page.locator("#to-avatars").click()
    expect(page.locator("#no-avatars")).to_contain_text("rolecast avatar full --example")
    mira = avatar("mira", current=1, canary=2, share=0.1, versions=[{"number": 1}, {"number": 2, "passed": False}])
    shown = [
        mira,
        avatar("vera", job=job("running")),
        avatar("<b>kai</b>", judged=False, job=job("failed", "Too few.")),
    ]
    page.route("**/v1/avatars", lambda route: route.fulfill(json={"avatars": shown}))
    rows = page.locator("#avatars tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("version 1, 10 % version 2")
    expect(rows.nth(0)).to_contain_text("passed")
    expect(rows.nth(1)).to_contain_text("training 25 %, loss 2.31")
    expect(rows.nth(2)).to_contain_text("avatar/<b>kai</b>")
    expect(rows.nth(2)).to_contain_text("refused")
    expect(rows.nth(2)).to_contain_text("Too few.")
    expect(page.get_by_role("button", name="Report of vera")).to_be_hidden()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#avatars-notice")).not_to_be_empty()  # there is no such job
