"""The status page and the reference as they are served: closed to everything but their own files. Without a browser."""

import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette

from rolecast.errors import NotFound
from rolecast.pages import openapi, ui
from rolecast.server.asgi import error_response

WEB = files("rolecast").joinpath("web")
SCRIPTS = sorted(file.name for file in WEB.iterdir() if file.name.endswith(".js"))
FILES = {
    "/ui": "text/html; charset=utf-8",
    "/docs": "text/html; charset=utf-8",
    "/ui/style.css": "text/css; charset=utf-8",
    "/ui/reference.css": "text/css; charset=utf-8",
    "/ui/icon.svg": "image/svg+xml",
} | {f"/ui/{name}": "text/javascript; charset=utf-8" for name in SCRIPTS}
ERRORS = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"
PAGES = ("index.html", "docs.html")
LARGEST_BYTES = 130_000
"""All of both pages, uncompressed."""


class Elements(HTMLParser):
    """All start tags of a page, and the text inside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style") and data.strip():
            self.inline.append(data)


def text_of(name: str) -> str:
    return WEB.joinpath(name).read_text(encoding="utf-8")


def scripts() -> str:
    return "\n".join(map(text_of, SCRIPTS))


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest) -> Elements:
    return Elements(text_of(request.param))


async def get(path: str, accept: str = "*/*") -> httpx2.Response:
    app = Starlette(
        routes=[*ui.routes(), *openapi.routes()], exception_handlers={NotFound: lambda _, error: error_response(error)}
    )
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return await client.get(path, headers={"accept": accept})


@pytest.mark.anyio
@pytest.mark.parametrize("path", FILES)
async def test_each_file_is_served_with_its_type_and_a_policy_that_lets_nothing_foreign_in(path: str) -> None:
    reply = await get(path)
    policy = dict(rule.strip().split(" ", 1) for rule in reply.headers["content-security-policy"].split(";"))
    assert (reply.status_code, reply.headers["content-type"]) == (200, FILES[path])
    assert (policy["default-src"], policy["script-src"], policy["style-src"]) == ("'none'", "'self'", "'self'")
    assert policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert set(" ".join(policy.values()).split()) == {"'none'", "'self'"}
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.anyio
async def test_a_browser_is_sent_from_the_root_to_the_page_and_a_program_is_not() -> None:
    browser, program = await get("/", "text/html,*/*"), await get("/")
    assert (browser.status_code, browser.headers["location"]) == (307, "/ui")
    assert program.json()["status"] == "running"


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["index.html", "app.js.map", "__init__.py", "..%2F..%2Ferrors.py"])
async def test_no_other_file_is_served(name: str) -> None:
    assert (await get(f"/ui/{name}")).status_code == 404


def test_the_pages_load_only_what_is_served() -> None:
    tags = [tag for name in PAGES for tag in Elements(text_of(name)).tags]
    named = {value for _, attrs in tags for name, value in attrs.items() if name in ("src", "href")}
    loaded = {value for value in named if value and not value.startswith("#")} - {"/openapi.json"}
    imported = {f"/ui/{name}" for name in re.findall(r'from "\./([\w.-]+)";', scripts())}
    assert loaded | imported == set(FILES)


def test_the_pages_are_small() -> None:
    assert sum(len(file.read_bytes()) for file in WEB.iterdir() if file.is_file()) < LARGEST_BYTES


def test_no_script_or_style_stands_in_the_page_itself(page: Elements) -> None:
    assert page.inline == []
    assert not [attrs for _, attrs in page.tags if "style" in attrs or any(name.startswith("on") for name in attrs)]


@pytest.mark.parametrize("name", [*PAGES, "style.css", "reference.css", "icon.svg", *SCRIPTS])
def test_no_file_names_an_address_elsewhere(name: str) -> None:
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", text_of(name)))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # the name of a format, never fetched


@pytest.mark.parametrize("name", SCRIPTS)
def test_text_never_becomes_markup_or_code(name: str) -> None:
    risky = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|\beval\b|new Function"
    assert not re.search(risky, text_of(name))


def test_every_field_has_a_label_and_every_element_that_the_script_looks_up_exists(page: Elements) -> None:
    labelled = {attrs["for"] for tag, attrs in page.tags if tag == "label"}
    assert labelled == {attrs["id"] for tag, attrs in page.tags if tag in ("input", "select", "textarea")}
    ids = {attrs["id"] for name in PAGES for _, attrs in Elements(text_of(name)).tags if "id" in attrs}
    assert set(re.findall(r'\$\("([\w-]+)"', scripts())) <= ids


def test_every_error_code_of_the_gateway_has_its_reason_on_the_page() -> None:
    documented = re.findall(r"^\| \d{3} \| (.+?) \|", ERRORS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    codes = {code for cell in documented for code in re.findall(r"`(\w+)`", cell)}
    explained = set(re.findall(r"^  (\w+): ", text_of("reasons.js"), flags=re.MULTILINE))
    assert codes - explained == set()
