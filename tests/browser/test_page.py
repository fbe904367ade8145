"""The status page in a real browser: models, requests, refusals, logs, keys, on a desk and on a phone."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hf_server import Hub, weights
from live_gateway import LiveGateway, ask, until
from playwright.sync_api import Locator, expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

VIEWS = ["models", "chat", "requests", "usage", "logs", "connect"]


def card(page: "Page", model: str) -> Locator:
    return page.get_by_role("article", name=model, exact=True)


def line(page: "Page", text: str) -> Locator:
    """The newest line of the list of requests that has this text."""
    page.locator("#to-requests").click()
    return page.locator("tr.line", has_text=text).first


@pytest.mark.parametrize("path", ["/", "/ui", "/ui/"])
def test_the_page_opens(page: "Page", gateway: LiveGateway, path: str) -> None:
    page.goto(gateway.url + path)
    expect(card(page, "smollm2")).to_contain_text("ready")
    expect(page.locator("#facts")).to_contain_text("up for")


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_fits_a_phone_and_can_be_reached_by_keyboard(page: "Page", gateway: LiveGateway, view: str) -> None:
    gateway.chat("nobody-" + "x" * 60, "hello")
    page.set_viewport_size({"width": 380, "height": 780})
    page.locator(f"#to-{view}").focus()
    page.keyboard.press("Enter")
    expect(page.locator(f"#view-{view}")).to_be_visible()
    if view == "requests":
        page.locator("tr.line button").first.press("Enter")
        expect(page.locator("tr.details")).to_be_visible()
    if view == "chat":
        page.locator("#settings-summary").press("Enter")
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_models_are_loaded_and_unloaded_and_tell_what_they_did(page: "Page", gateway: LiveGateway) -> None:
    shown = card(page, "qwen-coder")
    gateway.post("/admin/unload", {"model": "qwen-coder"})
    expect(shown.locator(".badge")).to_have_text("not loaded")  # while it stops the button does nothing
    shown.get_by_role("button", name="Load qwen-coder").click()
    expect(shown.locator(".badge")).to_have_text("ready")
    gateway.chat("coding", "hello")
    expect(shown).to_contain_text(re.compile(r"Answered\s*[1-9]"))
    expect(shown).to_contain_text("plays coding")
    expect(shown).to_contain_text(re.compile(r"Memory\s*\d+ MB"))
    shown.get_by_role("button", name="Unload qwen-coder").click()
    expect(shown.locator(".badge")).to_have_text("not loaded")


def test_variants_are_seen_at_their_model_and_can_be_asked(page: "Page", gateway: LiveGateway) -> None:
    expect(card(page, "smollm2")).to_contain_text("also default · varied as mario")
    expect(card(page, "minilm")).to_contain_text("plays embeddings · for embeddings")
    expect(card(page, "qwen-coder")).not_to_contain_text("varied")
    made = gateway.post("/api/create", {"model": "luigi", "from": "qwen-coder", "system": "You are Luigi."})
    assert made.status == 200
    expect(card(page, "qwen-coder")).to_contain_text("varied as luigi")
    page.locator("#to-chat").click()
    expect(page.locator("#model optgroup[label=Variants] option")).to_have_text(["mario", "luigi"])
    page.get_by_label("Who answers").select_option("mario")
    page.locator("#prompt").fill("hello")
    page.locator("#send").click()
    expect(page.locator("#talk")).to_contain_text("fake: hello")
    until(lambda: gateway.get("/admin/requests?limit=1").json["requests"][0]["asked"] == "mario", "its row")


def test_a_load_shows_how_far_it_is_and_can_be_cancelled(page: "Page", gateway: LiveGateway) -> None:
    shown = card(page, "slow")
    shown.get_by_role("button", name="Load slow").click()
    expect(shown.locator(".badge")).to_have_text("loading")
    expect(shown).to_contain_text(re.compile(r"Loading, about [1-9]\d? %"))
    assert 0 < int(shown.get_by_role("progressbar").get_attribute("value") or 0) < 100
    shown.get_by_role("button", name="Cancel the load of slow").click()
    expect(shown.locator(".badge")).to_have_text("not loaded")
    expect(page.locator("#notice")).to_be_empty()


def test_a_load_that_fails_says_why(page: "Page", gateway: LiveGateway) -> None:
    shown = card(page, "broken")
    shown.get_by_role("button", name="Load broken").click()
    expect(shown).to_contain_text("missing )")
    expect(page.locator("#health")).to_have_text("degraded")
    page.locator("#to-chat").click()
    expect(page.locator("#problems")).to_contain_text("broken failed: its worker ended with code 1")
    gateway.post("/admin/unload", {"model": "broken"})
    expect(page.locator("#health")).to_have_text("healthy")


def test_absent_weights_come_with_the_command_and_with_what_has_arrived(page: "Page", gateway: LiveGateway) -> None:
    shown = card(page, "absent")
    expect(shown).to_contain_text("rolecast pull absent")
    gateway.chat("absent", "hello")  # after which its worker has an error, too
    expect(shown.locator("p.bad")).to_have_text("")
    part = gateway.home / "models" / "hf" / "example" / "absent" / "main" / "absent-Q4_K_M.gguf.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 3_000_000)
    expect(shown).to_contain_text("3 MB have arrived, a pull is under way")
    part.unlink()
    expect(shown).not_to_contain_text("arrived")


def test_weights_are_pulled_from_the_page_which_shows_how_far_it_is_and_cancels(
    browser: "Browser", tmp_path: Path
) -> None:
    hub = Hub("owner/tiny", {"tiny.gguf": weights(2000)})
    hub.hold = threading.Event()
    config = (
        "server: {port: 0}\nmodels:\n  m: {backend: fake}\n  tiny: {source: 'hf:owner/tiny/tiny.gguf'}\n"
        "  bad: {source: 'hf:owner/none'}\nroles: {standard: [m]}\n"
    )
    with LiveGateway(tmp_path, config, HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path), HF_TOKEN="") as gateway:
        page = browser.new_page()
        page.goto(f"{gateway.url}/ui")
        shown = card(page, "tiny")
        shown.get_by_role("button", name="Pull tiny").click()
        expect(shown).to_contain_text(re.compile(r"Pull: downloading · (4[5-9]|50) % of 2 MB"))
        assert 45 <= int(shown.get_by_role("progressbar").get_attribute("value") or 0) <= 50
        expect(shown.locator(".command")).to_be_hidden()
        shown.get_by_role("button", name="Cancel the pull of tiny").click()
        expect(shown.get_by_role("button", name="Pull tiny")).to_be_visible()
        hub.hold.set()
        shown.get_by_role("button", name="Pull tiny").click()
        expect(shown.locator(".badge")).to_have_text("not loaded")
        card(page, "bad").get_by_role("button", name="Pull bad").click()
        expect(card(page, "bad").locator("p.bad")).to_contain_text("hf:owner/none does not exist (404)")
        page.close()
    hub.close()


def test_weights_that_no_pull_of_ours_brings_come_with_what_does(page: "Page") -> None:
    expect(card(page, "theirs").locator("code")).to_have_text("ollama pull llama3.2")
    expect(card(page, "misplaced")).to_contain_text("not where they should be: /nowhere/x.gguf")
    expect(card(page, "misplaced").locator(".command")).to_be_hidden()
    for model in ("theirs", "misplaced"):
        expect(card(page, model).get_by_role("button", name=f"Pull {model}")).to_be_hidden()


def test_a_running_request_is_shown_with_its_speed_and_then_with_its_details(
    page: "Page", gateway: LiveGateway
) -> None:
    with gateway.stream("auto", "endless", max_tokens=400) as stream:
        stream.event()
        running = line(page, "writing")
        expect(running).to_contain_text("tok/s")
        page.locator("#to-models").click()
        expect(card(page, "smollm2")).to_contain_text("1 running")
        expect(card(page, "smollm2")).to_contain_text("tok/s now")
        request_id = str(stream.response.headers["x-request-id"])
    page.locator("#to-requests").click()
    page.locator("#request-filter").fill(request_id)
    expect(line(page, "499")).to_be_visible()
    line(page, "499").click()
    details = page.locator("tr.details")
    for text in (
        request_id,
        "auto",
        "chat, streamed",
        "front door",
        "standard",
        "The client went away",
    ):
        expect(details).to_contain_text(text)
    expect(details.get_by_role("img")).to_have_attribute("aria-label", re.compile("to the first token .* writing "))


def test_a_load_is_a_phase_of_its_request(page: "Page", gateway: LiveGateway) -> None:
    gateway.post("/admin/unload", {"model": "minilm"})
    gateway.post("/v1/embeddings", {"model": "minilm", "input": "x"})
    line(page, "minilm").click()
    expect(page.locator("tr.details .legend")).to_contain_text("loading the model")


def test_refused_requests_are_shown_with_the_reason(page: "Page", gateway: LiveGateway) -> None:
    for _ in range(3):
        gateway.chat("nobody", "a secret question")
    gateway.get("/v2/nothing?token=secret")
    ask(gateway.url, "GET", "/v1/models", headers={"host": "evil.example"})
    gateway.post("/v1/chat/completions", {"model": "auto", "messages": "none"})
    page.locator("#to-requests").click()
    page.locator("#request-kind").select_option("refused")
    expect(line(page, "nobody")).to_contain_text("model_not_found, 3 times")
    line(page, "nobody").click()
    expect(page.locator("tr.details")).to_contain_text("No model, role or alias has that name.")
    expect(line(page, "GET /v2/nothing")).to_contain_text("404")
    assert line(page, "GET /v2/nothing").locator("td:visible").count() == 6  # the row is as wide as the others
    expect(line(page, "host_not_allowed")).to_contain_text("403")
    expect(line(page, "invalid_value")).to_contain_text("POST /v1/chat/completions")
    assert "secret" not in page.locator("#requests").inner_text()


def test_the_list_of_requests_can_be_filtered_and_paused(page: "Page", gateway: LiveGateway) -> None:
    gateway.chat("smollm2", "hello")
    expect(line(page, "200")).to_be_visible()
    page.locator("#request-filter").fill("no such text")
    expect(page.locator("#requests-empty")).to_have_text("Nothing in the list fits the filter.")
    page.locator("#request-filter").fill("")
    page.locator("#request-pause").click()
    with page.expect_response("**/admin/refusals"):
        gateway.chat("while-paused", "hello")
    expect(page.locator("tr.line", has_text="while-paused")).to_have_count(0)
    page.locator("#request-pause").click()
    expect(page.locator("tr.line", has_text="while-paused")).to_have_count(1)


def test_the_log_of_the_gateway_follows(page: "Page", gateway: LiveGateway) -> None:
    page.locator("#to-logs").click()
    log = page.locator("#log")
    expect(log).to_contain_text("loaded smollm2")
    gateway.post("/admin/unload", {"model": "minilm"})
    loads = log.get_by_text(re.compile(r"\bloaded minilm"))  # to be unloaded is another line
    before = loads.count()
    gateway.post("/admin/load", {"model": "minilm"})
    expect(loads).to_have_count(before + 1)
    page.locator("#log-filter").fill("loaded MINILM")
    expect(log.get_by_text("loaded smollm2")).to_have_count(0)
    page.get_by_role("button", name="Copy these lines").click()
    assert "loaded minilm" in page.evaluate("navigator.clipboard.readText()")


def test_the_log_of_a_model_goes_on_with_its_next_worker_and_can_be_paused(page: "Page", gateway: LiveGateway) -> None:
    card(page, "slow").get_by_role("button", name="Log of slow").click()
    expect(page.locator("#log-source")).to_have_value("slow")
    log = page.locator("#log")
    expect(log).to_contain_text("slow does not run now")
    before = log.get_by_text("holding").count()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(gateway.post, "/admin/load", {"model": "slow"})
        expect(log.get_by_text("holding")).to_have_count(before + 1)
        page.locator("#log-pause").click()
        expect(page.locator("#log-count")).to_have_text("paused")
        gateway.post("/admin/unload", {"model": "slow"})
    expect(page.locator("#log-count")).to_have_text("paused, 1 new line")
    page.locator("#log-pause").click()
    expect(log.get_by_text("slow does not run now")).to_have_count(2)


def test_addresses_and_a_line_to_try_can_be_copied(page: "Page", gateway: LiveGateway) -> None:
    page.locator("#to-connect").click()
    expect(page.locator("#listeners")).to_contain_text("qwen-coder (openai)")
    page.get_by_role("button", name="Copy the base URL of coder port").click()
    expect(page.get_by_role("button", name="Copy the base URL of coder port")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == f"{gateway.port('coder port')}/v1"
    page.get_by_role("button", name="Copy the command").click()
    expect(page.get_by_role("button", name="Copy the command")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()").startswith(f"curl {gateway.url}/v1/chat/completions ")


def test_a_refused_edit_of_the_configuration_is_a_problem_until_it_is_mended(
    page: "Page", gateway: LiveGateway
) -> None:
    good = gateway.config.read_text()
    gateway.config.write_text(good + "nonsense: true\n")
    expect(page.locator("#problems")).to_contain_text("The last edit of the configuration was refused: ")
    gateway.config.write_text(good)
    expect(page.locator("#problems")).to_be_empty()


def test_with_keys_the_page_asks_for_one_keeps_it_for_the_tab_and_says_when_the_gateway_is_gone(
    browser: "Browser", tmp_path: Path
) -> None:
    config = "server: {port: 0, keys: [sk-right]}\nmodels: {m: {backend: fake}}\nroles: {standard: [m]}\n"
    with LiveGateway(tmp_path, config, key="sk-right") as locked:
        page = browser.new_page()
        addresses: list[str] = []
        page.on("request", lambda asked: addresses.append(asked.url))
        page.goto(f"{locked.url}/ui")
        page.get_by_label("API key").fill("sk-wrong")
        page.get_by_role("button", name="Unlock").click()
        expect(page.locator("#key-error")).to_have_text("The API key is not valid.")
        page.get_by_label("API key").fill("sk-right")
        page.get_by_role("button", name="Unlock").click()
        expect(card(page, "m")).to_be_visible()
        page.reload()
        expect(card(page, "m")).to_be_visible()
        expect(line(page, "invalid_api_key")).to_contain_text("401")
        page.locator("#to-logs").click()
        page.locator("#to-connect").click()
        expect(page.locator("#curl")).to_contain_text("$ROLECAST_API_KEY")
        locked.stop()
        expect(page.locator("#down")).to_contain_text("Start it with `rolecast up`")
        assert not [url for url in addresses if "sk-" in url]
        page.close()


def test_a_page_that_nobody_sees_does_not_ask(page: "Page") -> None:
    page.clock.install()
    page.reload()
    expect(card(page, "smollm2")).to_be_visible()
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    with page.expect_response("**/admin/activity"):
        page.clock.run_for(5_000)  # the look that was planned before it was hidden
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for(60_000)
    assert asked == []
    with page.expect_response("**/admin/activity"):
        page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
