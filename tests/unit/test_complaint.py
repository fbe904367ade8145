"""Errors of servers: what they say is found whatever they wrap it in, and nothing of it can do harm."""

import pytest

from rolecast.dialects import complaint
from rolecast.dialects.complaint import MAX_CHARS, Failure, read

M = "maximum context length is 8192 tokens"


@pytest.mark.parametrize(
    "body",
    [
        '{"error":{"message":"%s"}}',
        '{"error":"%s"}',
        '[{"error":{"message":"%s","code":400,"status":"INVALID_ARGUMENT"}}]',
        '{"object":"error","message":"%s","type":"BadRequestError","param":null,"code":400}',
        '{"message":"%s"}',
        '{"message":{"detail":["%s"]}}',
        '{"detail":"%s"}',
        '{"detail":{"error":{"message":"%s"}}}',
        '{"type":"error","error":{"type":"invalid_request_error","message":"%s"},"request_id":"r"}',
        '{"error":"%s","error_type":"validation"}',
        '{"errors":["%s"]}',
        '{"errors":[{"message":"%s"}],"success":false}',
        '{"error":[{"message":"%s"}]}',
        '{"code":1,"msg":"%s","data":null}',
        '{"error":{"code":"x","details":"%s"}}',
        '{"error":null,"message":"%s"}',
        '{"status":"error","error_message":"%s"}',
        '{"error":true,"reason":"%s"}',
        '{"error":{"error":{"error":{"message":"%s"}}}}',
        '"%s"',
        '["%s"]',
        "%s",
        "  %s\r\n",
        "\ufeff" + '{"error":"%s"}',
        'data: {"error":{"message":"%s"}}\n\ndata: [DONE]\n\n',
        'error: {"message":"%s","code":400}\n\n',
        ': PROCESSING\n\nid: 1\nevent: error\r\ndata: {"error":{"message":"%s"}}\r\n\r\n',
        '{"error":{"message":"{\\"error\\":{\\"message\\":\\"%s\\"}}","code":400}}',
        '{"error":{"metadata":{"raw":{"error":"%s"},"provider_name":"x"}}}',
        "<html><head><title>%s</title></head><body>long</body></html>",
        "<!DOCTYPE html><body><H1 class=x>%s</H1><pre>trace</pre>",
        "<Error><Message>%s</Message></Error>",
    ],
)
def test_the_message_is_found_in_every_shape(body: str) -> None:
    assert read((body % M).encode()).message == M


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            '{"detail":[{"loc":["body","messages",0,"role"],"msg":"Field required","type":"missing","input":{"a":1}}]}',
            "body.messages.0.role: Field required",
        ),
        ('{"detail":[{"msg":"a","loc":["x"]},{"msg":"b"}]}', "x: a; b"),
        ('{"errors":["one","two"]}', "one; two"),
        (
            (
                '{"error":{"message":"Provider returned error",'
                '"metadata":{"raw":"{\\"error\\":{\\"message\\":\\"busy\\"}}"}}}'
            ),
            "Provider returned error: busy",
        ),
        (
            '{"error":{"message":"Provider returned error","metadata":{"raw":"too busy"}}}',
            "Provider returned error: too busy",
        ),
        ('{"error":{"message":"{not json}"}}', "{not json}"),
        ('{"error":{"message":"{\\"a\\":1}"}}', '{"a":1}'),
        ('{"error":{"message":"a\\u0000b\\u001b[31mc\\r\\nd\\u2028e\\u202ef"}}', "a b [31mc d e f"),
        ("two\nlines\tand\x07 a bell", "two lines and a bell"),
        ('{"error":{"message":"half \\ud83d of a pair"}}', "half of a pair"),
        ('{"error":{"message":"Zu gro\u00df \u2013 \U0001f600"}}', "Zu gro\u00df \u2013 \U0001f600"),
    ],
)
def test_a_message_is_one_printable_line(body: str, message: str) -> None:
    assert read(body.encode()).message == message


def test_text_in_another_encoding_is_read_and_bytes_that_are_none_are_not() -> None:
    assert read("zu gro\u00df".encode("latin-1")).message == "zu gro\u00df"
    assert read(b'{"error":"\xe9t\xe9"}').message == "\u00e9t\u00e9"
    assert read(bytes(range(256))).message == ""
    assert read(b"\xff\xfe") == Failure()


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b" ",
            b"{}",
            b"[]",
            b"null",
            b"{",
            b'{"error":',
            b'{"error":{"message":"cut o',
            b'{"error":{}}',
            b"[[[[]]]]",
        ),
        *(
            b'{"error":[1]}',
            b'{"error":null}',
            b'{"error":{"message":""}}',
            b'{"error":{"message":{"x":1}}}',
            b"<html>",
        ),
        *(b'{"error":' * 5000, b"[" * 100_000, b'{"a":' * 100_000),
    ],
)
def test_where_nothing_is_said_nothing_is_made_up(body: bytes) -> None:
    assert read(body).message == ""


@pytest.mark.parametrize("piece", [b"<title>", b"<title", b"<h1>x", b"<", b"</title"])
def test_a_page_made_to_be_read_slowly_is_read_at_once(piece: bytes) -> None:
    for body in (piece * 150_000, b"<title>" + piece * 150_000 + b"</title>"):
        assert len(read(body).message) <= MAX_CHARS


def test_a_number_too_long_in_a_page_is_read_without_a_failure() -> None:
    assert read(b"<title>" + b"&#%b;" % (b"9" * 5000) + b"</title>").message


def test_a_long_message_is_cut() -> None:
    for body in (b"x" * 10**6, b'{"error":"' + b"x" * 10**5 + b'"}', b"\xc3\xa9" * 10**6):
        message = read(body).message
        assert len(message) == MAX_CHARS
        assert message.endswith("…")


@pytest.mark.parametrize(
    ("body", "rest"),
    [
        (
            '{"error":{"code":"context_length_exceeded","type":"t","param":"p"}}',
            ("context_length_exceeded", "t", "p", 0),
        ),
        ('[{"error":{"code":400,"status":"INVALID_ARGUMENT"}}]', ("INVALID_ARGUMENT", "", None, 400)),
        ('{"object":"error","type":"BadRequestError","code":400}', ("", "BadRequestError", None, 400)),
        ('{"error":"x","error_type":"validation"}', ("", "validation", None, 0)),
        ('{"type":"error","error":{"type":"overloaded_error"}}', ("", "overloaded_error", None, 0)),
        ('{"error":{"code":"429"}}', ("", "", None, 429)),
        ('{"error":{"code":"two words"}}', ("", "", None, 0)),
        ('{"error":{"code":"%s"}}' % ("c" * 65), ("", "", None, 0)),
        ('{"error":{"code":"a","type":5,"param":["x"]},"code":"b"}', ("a", "", None, 0)),
        ('{"error":{"code":true,"type":null}}', ("", "", None, 0)),
        ('{"error":{"code":7}}', ("", "", None, 0)),
    ],
)
def test_code_type_and_param_are_kept_where_they_are_fit_to_be(body: str, rest: tuple[object, ...]) -> None:
    said = read(body.encode())
    assert (said.code, said.type, said.param, said.status) == rest


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"message":"x"}}',
        b' {\n "error": "x"}',
        b'data: {"error":{"message":"x","code":429}}\n\n',
        b'data:{"error":"x"}\r\n\r\ndata: [DONE]\r\n\r\n',
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n',
        b'error: {"error":{"message":"x"}}\n\n',
        b'{"object":"error","message":"x"}',
        b'data: {"id":"gen-1","object":"chat.completion.chunk","error":{"message":"x"},"choices":[]}\n\n',
    ],
)
def test_an_error_that_comes_as_an_answer_is_seen(body: bytes) -> None:
    assert complaint.is_error(body)


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"{}",
            b"error",
            b'{"error":null,"choices":[{"text":"x"}]}',
            b'{"error":"","id":"1"}',
            b"data: [DONE]\n\n",
        ),
        *(b'{"object":"list","data":[]}', b'{"id":"1","choices":[{"text":"\\"error\\""}],"error":{"code":1}}'),
        *(b'data: {"choices":[{"delta":{"content":"{\\"error\\":1}"}}]}\n\n', b'{"error":' * 5000, b": ping\n\n"),
    ],
)
def test_an_answer_is_not_taken_for_an_error(body: bytes) -> None:
    assert not complaint.is_error(body)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://api.example.com/v1/chat/completions", "https://api.example.com/v1/chat/completions"),
        ("http://user:secret@host:8080/v1?token=secret#x", "http://host:8080/v1"),
        ("/v1/chat/completions/", "/v1/chat/completions/"),
        ("//other/x", "//other/x"),
        ("http://[::1/", ""),
        ("", ""),
        ("http://h/" + "x" * 999, "http://h/" + "x" * 291),
    ],
)
def test_a_location_is_shown_without_secrets(location: str, shown: str) -> None:
    assert complaint.place(location) == shown
