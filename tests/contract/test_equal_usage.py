"""Usage adds up on the real engine: one question has one number of tokens in every dialect, and in the books."""

import pytest
from dialect_forms import FORMS, Form, Question, told
from live_gateway import LiveGateway, ask, until

pytestmark = pytest.mark.real

TEXT = "Name a colour, and say where one sees it."
MOST = 6
COLUMNS = "prompt_tokens, completion_tokens, cached_tokens, counted, stream"


def booked(gateway: LiveGateway, request: str) -> tuple[int, ...] | None:
    """What the books have of one request."""
    found = {str(row[0]): row[1:] for row in gateway.rows(f"id, {COLUMNS}")}
    return found.get(request)


@pytest.fixture(scope="module")
def usual(gateway: LiveGateway) -> tuple[str, int, int, int]:
    """Words, prompt, completion and cached tokens of the plain chat, once the engine has the prompt in its cache."""
    form = FORMS[0]
    for _ in range(2):
        answer = ask(gateway.url, "POST", form.path, form.body(Question(TEXT, MOST, False)), key=gateway.key)
    found = told(answer.body)
    counts = form.counts(found)
    assert counts.cached
    return form.said(found), counts.prompt, counts.completion, counts.cached


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_one_question_has_one_number_of_tokens_in_every_dialect_and_in_the_books(
    gateway: LiveGateway, usual: tuple[str, int, int, int], form: Form, stream: bool
) -> None:
    words, prompt, completion, cached = usual
    url = gateway.port(form.port) if form.port else gateway.url
    answer = ask(url, "POST", form.path, form.body(Question(TEXT, MOST, stream)), key=gateway.key)
    assert answer.status == 200, answer.body
    found = told(answer.body)
    assert (len(found) > 3) == stream
    counts = form.counts(found)
    assert (form.said(found), counts.prompt, counts.completion) == (words, prompt, completion)
    assert counts.cached in (None, cached)
    assert counts.reasoning in (None, 0)
    row = until(lambda: booked(gateway, answer.headers["x-request-id"]), "the books have it")
    assert row == (prompt, completion, cached, 0, stream)
