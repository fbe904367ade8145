"""The reference of the API in a real browser: found, opened, tried, with a key and on a phone."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from live_gateway import LiveGateway
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHAT = "#post_v1_chat_completions"


def test_the_status_page_leads_to_it_and_back(page: "Page", gateway: LiveGateway) -> None:
    page.get_by_role("link", name="API").click()
    expect(page.locator("#title")).to_have_text("Rolecast, front door")
    page.get_by_role("link", name="Status page").click()
    expect(page.locator("#health")).not_to_be_empty()


def test_a_path_tells_what_it_takes_and_a_request_is_tried(page: "Page", gateway: LiveGateway) -> None:
    page.goto(f"{gateway.url}/docs")
    page.locator("#filter").fill("post v1/chat comp")
    expect(page.locator("#count")).to_have_text("1 path")
    chat = page.locator(CHAT)
    chat.locator("summary").first.press("Enter")
    expect(page).to_have_url(re.compile(f"{CHAT}$"))
    expect(chat.locator("summary", has_text="OpenAIChatBody")).to_be_visible()
    first = chat.locator(".fields-of > li").first
    expect(first).to_contain_text("messages needed")
    first.locator("summary").press("Enter")
    expect(first).to_contain_text("role")
    expect(chat.locator(".statuses")).to_contain_text("429")
    expect(chat.locator(".command code")).to_contain_text(f"curl {gateway.url}/v1/chat/completions -H 'Content-Type")
    chat.get_by_role("button", name="Send").click()
    expect(chat.locator("output")).to_contain_text("200 OK")
    expect(chat.locator("output pre")).to_contain_text('"content": "fake: Say hi."')
    chat.get_by_label("Body").fill("{")
    chat.get_by_role("button", name="Send").click()
    expect(chat.locator("output")).to_contain_text("400 Bad Request")
    expect(chat.locator("output pre")).to_contain_text("is not valid JSON")


def test_what_a_model_streams_is_shown_as_it_comes_and_can_be_stopped(page: "Page", gateway: LiveGateway) -> None:
    page.goto(f"{gateway.url}/docs{CHAT}")
    chat = page.locator(CHAT)
    body = '{"model":"auto","stream":true,"messages":[{"role":"user","content":"endless"}]}'
    chat.get_by_label("Body").fill(body)
    chat.get_by_role("button", name="Send").click()
    expect(chat.locator("output pre")).to_contain_text("word")
    chat.get_by_role("button", name="Stop").click()
    expect(chat.locator("output")).to_contain_text("stopped")


def test_parameters_become_part_of_the_address(page: "Page", gateway: LiveGateway) -> None:
    page.goto(f"{gateway.url}/docs#get_v1_models_model")
    models = page.locator("#get_v1_models_model")
    models.get_by_label("model", exact=True).fill("coder:latest")
    expect(models.locator(".command code")).to_contain_text("/v1/models/coder%3Alatest")
    models.get_by_role("button", name="Send").click()
    expect(models.locator("output pre")).to_contain_text('"root": "qwen-coder"')


def test_a_port_of_one_model_has_its_own(page: "Page", gateway: LiveGateway) -> None:
    port = next(each["url"] for each in gateway.state["listeners"] if each["name"] == "coder port")
    page.context.new_page().goto(f"{port}/docs")
    shown = page.context.pages[-1]
    expect(shown.locator("#title")).to_have_text("Rolecast, coder port")
    expect(shown.locator(CHAT)).to_be_visible()
    expect(shown.locator("#get_admin_status")).to_have_count(0)
    expect(shown.get_by_role("link", name="Status page")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(page: "Page", gateway: LiveGateway, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": 380, "height": 780})
    page.goto(f"{gateway.url}/docs{CHAT}")
    page.locator(f"{CHAT} .statuses summary").first.click()
    expect(page.locator(f"{CHAT} .statuses .fields-of").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_with_keys_it_asks_for_one(browser: "Browser", tmp_path: Path) -> None:
    config = "server: {port: 0, keys: [sesame]}\nmodels: {tiny: {backend: fake}}\nroles: {standard: [tiny]}\n"
    with LiveGateway(tmp_path / "keyed", config, key="sesame") as keyed:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{keyed.url}/docs")
        page.get_by_label("API key").fill("wrong")
        page.get_by_role("button", name="Unlock").click()
        expect(page.locator("#key-error")).to_contain_text("not valid")
        page.get_by_label("API key").fill("sesame")
        page.get_by_role("button", name="Unlock").click()
        page.locator(f"{CHAT} > summary").click()
        expect(page.locator(f"{CHAT} .command code")).to_contain_text("$ROLECAST_API_KEY")
        page.locator(CHAT).get_by_role("button", name="Send").click()
        expect(page.locator(f"{CHAT} output")).to_contain_text("200 OK")
        with page.expect_download() as saved:
            page.get_by_role("link", name="openapi.json").click()
        assert "sesame" not in Path(saved.value.path()).read_text()
        context.close()
