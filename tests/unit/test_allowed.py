"""Entries of `allowed_hosts` and `allowed_origins`: each works as it is written, or is refused with how to write it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.config import allowed
from rolecast.config.load import read as read_config
from rolecast.errors import ConfigError

HOSTS = {
    "gw.example.com": (["gw.example.com"], ["a.gw.example.com", "gw.example.com.evil.org", "example.com"]),
    "GW": (["gw"], ["gwx", "x.gw"]),
    "*.local": (["box.local", "a.b.local"], ["local", "boxlocal", ".local", "box.local.evil.org"]),
    "*.example.org": (["a.example.org"], ["example.org", "evilexample.org", "a..example.org", "-.example.org"]),
    "[2001:db8::1]": (["2001:db8::1"], ["2001:db8::2"]),
    "under_score.lan": (["under_score.lan"], []),
}
ORIGINS = {
    "https://app.example.com": (["https://app.example.com"], ["http://app.example.com", "https://app.example.com:444"]),
    "https://App.Example.com/": (["https://app.example.com"], []),
    "https://app.example.com:443": (["https://app.example.com"], []),
    "http://gw:3000": (["http://gw:3000"], ["http://gw", "http://gw:30000"]),
    "http://[2001:db8::1]:3000": (["http://[2001:db8::1]:3000"], []),
    "https://*.example.org": (
        ["https://a.example.org", "https://a.b.example.org"],
        ["https://example.org", "http://a.example.org", "https://evil.com/.example.org", "https://x@a.example.org"],
    ),
    "https://*.example.org:8443": (["https://a.example.org:8443"], ["https://a.example.org"]),
    "chrome-extension://*": (["chrome-extension://abcdef"], ["moz-extension://abcdef", "chrome-extension://"]),
    "moz-extension://0a-1b": (["moz-extension://0a-1b"], ["moz-extension://0a-1c"]),
    "vscode-webview://*": (["vscode-webview://0abc"], []),
    "tauri://localhost": (["tauri://localhost"], []),
    "capacitor://localhost": (["capacitor://localhost"], []),
    "app://.": (["app://."], []),
    "file://": (["file://"], ["file://x"]),
}
BAD_HOSTS = {
    "m.example.com:8000": "write m.example.com",
    "http://gw": "write gw",
    "https://gw.example.com:8443/v1": "write gw.example.com",
    "gw/": "write gw",
    "name.": "write name",
    "*.name.example.": "write *.name.example",
    "*.com": "*.example.com",
    "*foo.example.com": "one asterisk",
    "a.*.example.com": "one asterisk",
    "*.*.example.com": "one asterisk",
    "*.": "one asterisk",
    "": "expected a name",
    "two words": "expected a name",
    "m\u00fcnchen.example": "write xn--mnchen-3ya.example",
    "user@gw": "expected a name",
}
BAD_ORIGINS = {
    "app.example.com": "write https://app.example.com",
    "app.example.com/ui": "write https://app.example.com",
    "https://x.example/path": "write https://x.example",
    "https://x.example?q": "write https://x.example",
    "https://user@x.example": "write https://x.example",
    "https://*": "write * for that",
    "http://*:3000": "write * for that",
    "https://*.com": "*.example.com",
    "https://a*.example.com": "one asterisk",
    "https://x.example:port": "port number",
    "https://x.example.": "write https://x.example",
    "https://m\u00fcnchen.example": "write https://xn--mnchen-3ya.example",
    "null": "sandboxed",
    "ws://x.example": "https:// or http://",
    "chrome-extension://": "write chrome-extension://*",
    "chrome-extension://abc/page.html": "write chrome-extension://abc",
    "": "begins with its scheme",
}


def config(setting: str, entry: str) -> str:
    return f"server: {{{setting}: [{entry!r}]}}\nmodels: {{m: {{backend: fake}}}}\nroles: {{standard: [m]}}"


@pytest.mark.parametrize(
    ("setting", "read", "entry", "meant", "others"),
    [("allowed_hosts", allowed.host, entry, *cases) for entry, cases in HOSTS.items()]
    + [("allowed_origins", allowed.origin, entry, *cases) for entry, cases in ORIGINS.items()],
)
def test_an_entry_lets_in_what_it_means_and_nothing_else(
    setting: str, read: object, entry: str, meant: list[str], others: list[str]
) -> None:
    read_config(config(setting, entry))
    entries = allowed.Allowed([entry], read)  # type: ignore[arg-type]
    for text in meant:
        assert text in entries, text
    for text in others:
        assert text not in entries, text


@pytest.mark.parametrize(
    ("setting", "entry", "hint"),
    [("allowed_hosts", *pair) for pair in BAD_HOSTS.items()]
    + [("allowed_origins", *pair) for pair in BAD_ORIGINS.items()],
)
def test_an_entry_that_could_never_match_is_refused_with_how_to_write_it(setting: str, entry: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(hint)) as refused:
        read_config(config(setting, entry))
    assert f"server.{setting}.0" in str(refused.value)


@given(st.text(max_size=40) | st.from_regex(r"\A(https?|[a-z-]+)://[*.a-z0-9:\[\]/-]{0,30}\Z"))
def test_whatever_is_accepted_can_match(entry: str) -> None:
    for read in (allowed.host, allowed.origin):
        try:
            pattern = read(entry)
        except ValueError:
            continue
        text = pattern.start if pattern.end is None else f"{pattern.start}x{pattern.end}"
        assert pattern.lets_in(text)
        assert text == text.lower().strip()
