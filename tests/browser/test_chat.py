"""The chat of the status page in a real browser: what it shows, keeps and sends."""

import json
import re
from typing import TYPE_CHECKING, Any

import demo
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from live_gateway import LiveGateway
from playwright.sync_api import Locator, expect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page


def say(page: "Page", text: str) -> None:
    """Type and send, in the view of the chat."""
    page.locator("#to-chat").click()
    page.locator("#prompt").fill(text)
    page.locator("#prompt").press("Enter")


def answered(page: "Page") -> Locator:
    """The newest answer, once it is complete."""
    expect(
        page.locator("#talk .theirs").last.get_by_role("button", name=re.compile("Regenerate|Try again"))
    ).to_be_visible()
    return page.locator("#talk .theirs").last


def test_an_answer_streams_can_be_stopped_and_survives_a_reload(page: "Page") -> None:
    say(page, "endless")
    answer = page.locator("#talk .theirs .markdown")
    expect(answer).to_contain_text("word word word")
    expect(page.locator("#send")).to_have_text("Stop")
    page.locator("#send").click()
    expect(answered(page)).to_contain_text("Stopped.")
    said = answer.inner_text()
    page.reload()
    expect(page.locator("#talk .mine")).to_have_text("endless")
    expect(answer).to_have_text(said)


def test_what_came_before_the_page_was_left_is_kept(page: "Page") -> None:
    say(page, "endless")
    expect(page.locator("#talk .theirs .markdown")).to_contain_text("word word word")
    page.reload()
    expect(page.locator("#talk .theirs .markdown")).to_contain_text("word word word")
    expect(page.locator("#talk .theirs")).to_contain_text("the page was left")


def test_html_in_an_answer_is_shown_and_not_run(page: "Page") -> None:
    say(page, "hostile")
    answer = answered(page).locator(".markdown")
    expect(answer).to_have_text(demo.HOSTILE.replace("**bold**", "bold"))
    expect(answer.locator("strong")).to_have_text("bold")
    assert answer.locator("img, script, b").count() == 0
    assert page.title() == "Rolecast"


def test_html_in_a_question_and_in_a_kept_conversation_is_shown_and_not_run(page: "Page") -> None:
    say(page, demo.HOSTILE)
    answered(page)
    page.reload()
    expect(page.locator("#talk .mine")).to_have_text(demo.HOSTILE)
    assert page.locator("#talk").locator("img, script, b").count() == 0
    assert page.title() == "Rolecast"


@pytest.mark.parametrize(
    ("question", "thought", "answer"),
    [("think aloud", "Let me see.", "The answer is 4."), ("reason apart", "First I add.", "It is 4.")],
)
def test_reasoning_is_folded(page: "Page", question: str, thought: str, answer: str) -> None:
    say(page, question)
    shown = answered(page)
    expect(shown.locator(".markdown")).to_have_text(answer)
    expect(shown.get_by_text(thought)).to_be_hidden()
    shown.locator("summary").click()
    expect(shown.get_by_text(thought)).to_be_visible()


def test_code_has_a_copy_button(page: "Page") -> None:
    say(page, "markdown")
    code = answered(page).locator(".code")
    code.get_by_role("button", name="Copy this code").click()
    expect(code.get_by_role("button")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == "def rows(path):\n    with open(path) as file:\n        yield from file"


def test_settings_are_sent_and_kept(page: "Page") -> None:
    page.locator("#to-chat").click()
    page.locator("#model").select_option("coding")
    page.locator("#settings-summary").click()
    page.locator("#system").fill("Be brief.")
    page.locator("#temperature").fill("0.3")
    page.locator("#max_tokens").fill("2")
    with page.expect_request("**/v1/chat/completions") as asked:
        say(page, "one two three four")
    body = json.loads(asked.value.post_data or "")
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one two three four"},
    ]
    assert (body["model"], body["temperature"], body["max_tokens"], body["stream"]) == ("coding", 0.3, 2, True)
    expect(answered(page)).to_contain_text("Cut off at the limit of tokens")
    page.reload()
    assert page.locator("#system").input_value() == "Be brief."
    expect(page.locator("#model")).to_have_value("coding")


def test_another_answer_takes_the_place_of_the_last_one(page: "Page") -> None:
    say(page, "hello")
    answered(page)
    with page.expect_request("**/v1/chat/completions") as asked:
        page.get_by_role("button", name="Regenerate").click()
    answered(page)
    assert [m["content"] for m in json.loads(asked.value.post_data or "")["messages"]] == ["hello"]
    expect(page.locator("#talk .theirs")).to_have_count(1)


def test_an_answer_names_its_model_and_leads_to_its_request(page: "Page") -> None:
    page.locator("#to-chat").click()
    page.locator("#model").select_option("coding")
    say(page, "hello")
    shown = answered(page)
    expect(shown.locator(".who")).to_have_text("qwen-coder")
    expect(shown).to_contain_text("asked for role coding")
    shown.get_by_role("button", name="Details").click()
    expect(page.locator("tr.details")).to_contain_text("asked for role coding")


def test_a_failure_says_what_the_gateway_says_and_can_be_tried_again(page: "Page") -> None:
    say(page, "fail")
    expect(answered(page)).to_contain_text("The scripted failure: ask something else.")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#talk .theirs")).to_have_count(1)
    answered(page)
    with page.expect_request("**/v1/chat/completions") as asked:
        say(page, "hello")
    assert [m["content"] for m in json.loads(asked.value.post_data or "")["messages"]] == ["hello"]
    answered(page)


def test_a_conversation_can_be_saved_and_cleared(page: "Page") -> None:
    say(page, "hello")
    answered(page)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Export").click()
    assert saved.value.path().read_text() == "## You\n\nhello\n\n## smollm2\n\nfake: hello\n"
    page.get_by_role("button", name="Clear").click()
    page.reload()
    page.locator("#to-chat").click()
    expect(page.locator("#talk-empty")).to_be_visible()


# -- Markdown ------------------------------------------------------------------------------------------------------

RENDER = """async ([text, steps]) => {
    const { show } = await import("/ui/markdown.js");
    const [grown, whole] = [document.createElement("div"), document.createElement("div")];
    for (let at = 0; at < steps; at += 1) show(grown, text.slice(0, Math.floor((text.length * at) / steps)));
    show(grown, text);
    show(whole, text);
    for (const button of whole.querySelectorAll("button")) button.remove();
    for (const button of grown.querySelectorAll("button")) button.remove();
    return { text: whole.textContent, html: whole.innerHTML, same: grown.innerHTML === whole.innerHTML };
}"""
PIECES = [
    "a",
    "bc ",
    "**",
    "*",
    "_",
    "__",
    "~~",
    "`",
    "``",
    "```",
    "~~~",
    "\n",
    "\n\n",
    "    ",
    "> ",
    "- ",
    "* ",
    "1. ",
]
PIECES += [
    "# ",
    "|",
    "|-|",
    "|---|---|",
    "---",
    "\\",
    "[",
    "](",
    ")",
    "<b>",
    "</b>",
    "<think>",
    "http",
    "://",
    "é",
    "\t",
]


@pytest.fixture(scope="module")
def blank(browser: "Browser", gateway: LiveGateway) -> "Iterator[Page]":
    """A page to render in, without a session of its own."""
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(f"{gateway.url}/ui/icon.svg")
    page.goto(f"{gateway.url}/ui")
    yield page
    context.close()


def render(page: "Page", text: str, steps: int = 0) -> Any:
    return page.evaluate(RENDER, [text, steps])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
@example("- a\n\n  bc\n- a\n> bc")
@example("***a bc** a*")
@example("| a | bc |\n|---|---|\n| a | bc | a |\nbc")
@example("```a bc\nbc\n~~~\n")
def test_no_text_is_lost_however_it_is_marked_up_and_growing_ends_the_same(blank: "Page", text: str) -> None:
    shown = render(blank, text, steps=7)
    assert re.sub(r"[^a-zé]", "", shown["text"]) == re.sub(r"[^a-zé]", "", text)
    assert shown["same"]


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("2 * 3 * 4 and snake_case_name", "<p>2 * 3 * 4 and snake_case_name</p>"),
        ("**a *b* c** `**x**`", "<p><strong>a <em>b</em> c</strong> <code>**x**</code></p>"),
        (r"\(x\) and \*y\*", r"<p>\(x\) and *y*</p>"),
        ("[a](javascript:alert(1)) ", "<p>[a](javascript:alert(1)) </p>"),
        ("![a](data:text/html,x)", "<p>![a](data:text/html,x)</p>"),
        ("3. a\n5. b", '<ol><li value="3">a</li><li value="5">b</li></ol>'),
        ("- a\n  - b\n- c", "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>"),
        ("# A #tag", "<h3>A #tag</h3>"),
        ("<script>x</script>", "<p>&lt;script&gt;x&lt;/script&gt;</p>"),
    ],
)
def test_markdown_is_read_as_people_mean_it(blank: "Page", text: str, html: str) -> None:
    assert render(blank, text)["html"] == html


def test_links_lead_to_the_web_alone_and_tell_it_nothing(blank: "Page") -> None:
    html = render(blank, "see https://example.org/a_(b), or [this](https://example.org/c)")["html"]
    assert re.findall(r'href="([^"]+)"', html) == ["https://example.org/a_(b)", "https://example.org/c"]
    assert html.count('rel="noopener noreferrer"') == 2


@pytest.mark.parametrize("piece", ["*a ", "[", "`a ``", "**a _b ", "> ", "- ", "a|", "[a](", "\\", "<div>"])
def test_long_and_hostile_text_is_shown_whole(blank: "Page", piece: str) -> None:
    shown = render(blank, piece * 20_000)
    assert shown["text"].count("a") == (piece * 20_000).count("a")


@pytest.mark.parametrize(
    ("text", "thinking", "content"),
    [
        ("<think>a</think>b", "a", "b"),
        ("\n<think>a", "a", ""),
        ("a\n</think>\n\nb", "a\n", "b"),
        ("b, then <think>a</think>", "", "b, then <think>a</think>"),
        ("the tag `</think>` ends it", "", "the tag `</think>` ends it"),
        ("", "", ""),
    ],
)
def test_thinking_is_told_apart_only_where_an_answer_begins(
    blank: "Page", text: str, thinking: str, content: str
) -> None:
    found = blank.evaluate("async (text) => (await import('/ui/answer.js')).apart(text)", text)
    assert found == {"thinking": thinking, "content": content}
