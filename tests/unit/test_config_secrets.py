"""Keys of clients and credentials of remotes: one reading of both kinds, and no secret in a message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.backends.remote import OpenAIRemote
from rolecast.config import secrets
from rolecast.config.check import check
from rolecast.config.schema import Config, Model, Server
from rolecast.errors import ConfigError
from rolecast.server.guard import Guard

URL = "http://box/v1"


def cast(*, keys: list[str] | None = None, key: str = "") -> Config:
    model = Model(backend="openai", url=URL, key=key)
    return Config(server=Server(keys=keys or []), models={"m": model}, roles={"standard": ["m"]})


def sent(key: str) -> bytes:
    endpoint = OpenAIRemote().plan("m", Model(backend="openai", url=URL, key=key), None, None)  # type: ignore[arg-type]
    return endpoint.headers


@pytest.mark.parametrize(
    "held", ["sk-abc\r", "sk-abc\n", "\t sk-abc \r\n", '"sk-abc"', "'sk-abc'\n", "\ufeffsk-abc"[1:]]
)
def test_what_an_editor_or_a_shell_leaves_around_a_key_is_dropped_and_said(
    held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K", held)
    assert Guard(Server(keys=["env:K"])).check_key(b"Bearer sk-abc", None)
    assert sent("env:K") == b"Authorization: Bearer sk-abc\r\n"
    notes = secrets.notes(cast(keys=["env:K"], key="env:K"))
    assert len(notes) == (0 if held == "sk-abc" else 2)
    assert all("variable K" in text and "sk-abc" not in text for _, text in notes)


@pytest.mark.parametrize("held", ["", " ", "\r\n", '""', "' '", "\t"])
def test_an_empty_variable_is_refused_by_name(held: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K", held)
    with pytest.raises(ConfigError, match=r"server\.keys\.0: the environment variable K is empty"):
        Guard(Server(keys=["env:K"]))
    with pytest.raises(ConfigError, match=r"models\.m\.key: the environment variable K is empty"):
        sent("env:K")
    assert "K is empty" in (OpenAIRemote().missing(Model(url=URL, key="env:K")) or "")


@pytest.mark.parametrize("held", ["hush\nhush", "hush\x1bhush", "hush\u200bhush", "hu\x7fsh"])
def test_a_variable_with_unprintable_content_is_refused_without_showing_it(
    held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K", held)
    for use in (lambda: Guard(Server(keys=["env:K"])), lambda: sent("env:K")):
        with pytest.raises(ConfigError, match="the environment variable K holds no usable key") as refused:
            use()
        assert "hu" not in str(refused.value)


def test_a_key_of_clients_may_be_a_sentence_but_one_that_we_send_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K", "correct horse")
    assert Guard(Server(keys=["env:K"])).check_key(b"Bearer correct horse", None)
    with pytest.raises(ConfigError, match="has a space"):
        sent("env:K")


def test_an_unset_variable_is_refused_with_the_command_that_sets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("K", raising=False)
    with pytest.raises(ConfigError, match=r"server\.keys\.0: .* K is not set; run `export K=\.\.\.`"):
        Guard(Server(keys=["env:K"]))


DIGEST = "0aF1" * 16


@pytest.mark.parametrize(
    "key",
    [
        f"sha256:{DIGEST[:-1]}",
        f"sha256:{DIGEST}0",
        f"SHA256:{DIGEST}",
        f"sha256={DIGEST}",
        f"sha-256:{DIGEST}",
        f"sha256: {DIGEST}",
        "sha256:",
        "env:",
        "env: K",
        "env:$K",
        "ENV:K",
        "${K}",
        "$MY_KEY",
        "os.environ/K",
        "",
        "  ",
        " key",
        "key\n",
        "k\x00y",
    ],
)
def test_a_key_that_can_never_match_is_refused_by_check(key: str) -> None:
    assert [trail for trail, _ in check(cast(keys=["good", key]))] == [("server", "keys", 1)]


@pytest.mark.parametrize(
    "key", ["plain", "env:MY_KEY", f"sha256:{DIGEST}", f"sha256:{DIGEST.lower()}", "staple é", "$ab"]
)
def test_a_key_that_can_match_is_accepted_by_check(key: str) -> None:
    assert check(cast(keys=[key])) == []


@pytest.mark.parametrize("key", ["env:", "ENV:K", "${K}", "two words", "naïve", " k", "k\n", f"sha256:{DIGEST}"])
def test_a_credential_that_cannot_be_sent_is_refused_by_check(key: str) -> None:
    assert [trail for trail, _ in check(cast(key=key))] == [("models", "m", "key")]


def test_a_digest_opens_in_either_case() -> None:
    digest = "2BD806C97F0E00AF1A1FC3328FA763A9269723C8DB8FAC4F93AF71DB186D6E90"  # of "alice"
    for key in (digest, digest.lower()):
        assert Guard(Server(keys=[f"sha256:{key}"])).check_key(b"Bearer alice", None)


@given(st.text(max_size=20), st.text(max_size=20), st.booleans())
def test_whatever_a_variable_holds_it_is_usable_or_refused_and_never_shown(before: str, after: str, sent: bool) -> None:
    held, said = f"{before}zq9xj7{after}", ""
    try:
        secret = secrets.read("env:K", "server.keys.0", sent=sent, env={"K": held})
    except ConfigError as error:
        said = error.message
    else:
        said = secret.note
        assert secret.value in held
        assert secret.value.isprintable()
        assert secret.value == secret.value.strip()
        assert bool(secret.note) == (secret.value != held)
    assert "zq9xj7" not in said
