"""`rolecast keys`: on the database of this machine, with and without a gateway beside it, and through a gateway."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from live_gateway import LiveGateway, ask, until
from typer.testing import CliRunner

from rolecast.cli import app

CONFIG = "server: {port: 0HOST}\nmodels: {m: {backend: fake}}\nroles: {standard: [m]}\n"
CHAT = "/v1/chat/completions"
BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def gateway(tmp_path: Path) -> LiveGateway:
    """One that is not started."""
    return LiveGateway(tmp_path, CONFIG.replace("HOST", ""))


def rolecast(gateway: LiveGateway, *args: str, **env: str) -> tuple[int, str, str]:
    """The command in this process, with the variables and in the folder of the gateway."""
    theirs = dict.fromkeys(os.environ.keys() - gateway.env.keys()) | gateway.env | env
    with contextlib.chdir(gateway.folder):
        result = CliRunner(env=theirs).invoke(app, args, catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def made(gateway: LiveGateway, *args: str) -> dict[str, Any]:
    code, out, err = rolecast(gateway, "keys", "create", "--json", *args)
    assert code == 0, err
    return dict(json.loads(out))


def test_a_key_is_made_listed_changed_and_revoked_without_a_gateway(gateway: LiveGateway) -> None:
    code, out, _ = rolecast(gateway, "keys")
    assert (code, "There are no keys" in out) == (0, True)
    options = ("--rpm", "60", "--tpm", "5000", "--budget", "5/month", "--expires", "30d", "--model", "small-*")
    code, secret, err = rolecast(gateway, "keys", "create", "laptop", "--scope", "local-only", *options)
    assert (code, secret[:3], len(secret.strip())) == (0, "rk-", 46)  # alone, so that a script can take it
    assert "use, local-only, models small-*, 60 requests a minute, 5000 tokens a minute, $5/month" in err
    assert secret.strip() not in err
    code, out, _ = rolecast(gateway, "keys", "list")
    assert (code, "laptop" in out, "small-*" in out, "live" in out, secret.strip() in out) == (
        0,
        True,
        True,
        True,
        False,
    )
    code, out, _ = rolecast(gateway, "keys", "change", "laptop", "--budget", "none", "--expires", "never", "--json")
    key = json.loads(out)
    assert (code, key["budget"], key["expires_at"], key["requests_per_minute"]) == (0, None, None, 60)
    assert json.loads(rolecast(gateway, "keys", "show", "laptop", "--json")[1]) == key
    assert "is revoked" in rolecast(gateway, "keys", "revoke", key["id"])[1]
    listed = json.loads(rolecast(gateway, "keys", "--json")[1])["keys"]
    assert [each["state"] for each in listed] == ["revoked"]
    rolecast(gateway, "keys", "revoke", "laptop", "--forget")
    assert json.loads(rolecast(gateway, "keys", "--json")[1]) == {"keys": []}


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("make",), 2, "'make' is nothing that can be done with a key"),
        (("revoke",), 2, "Name the key"),
        (("change", "x"), 2, "Say what is to be different"),
        (("list", "--rpm", "5"), 2, "--rpm: only `keys create` and `keys change` take this"),
        (("show", "nobody"), 1, "There is no key 'nobody'"),
        (("create", "--scope", "root"), 1, "A scope is one of admin, use, local-only, raw, urgent, background."),
        (("create", "--budget", "5 euros"), 1, "dollars and a time"),
        (("create", "--expires", "2020-01-01"), 1, "a day to come"),
        (("create", "--rpm", "-1"), 1, "from 0, which means no limit"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    gateway: LiveGateway, args: tuple[str, ...], code: int, said: str
) -> None:
    got, out, err = rolecast(gateway, "keys", *args)
    assert (got, out) == (code, "")
    assert said in " ".join(err.split())
    assert json.loads(rolecast(gateway, "keys", "--json")[1]) == {"keys": []}


def test_that_nobody_may_manage_the_gateway_yet_is_told_until_somebody_may(gateway: LiveGateway) -> None:
    told = "none of yours may manage the gateway yet"
    assert told in " ".join(rolecast(gateway, "keys", "create", "friend")[2].split())
    assert told not in " ".join(rolecast(gateway, "keys", "create", "ops", "--scope", "admin")[2].split())
    assert told not in " ".join(rolecast(gateway, "keys", "create", "another")[2].split())
    rolecast(gateway, "keys", "revoke", "ops")
    assert told in " ".join(rolecast(gateway, "keys", "create", "third")[2].split())


def test_the_line_to_try_a_gateway_names_a_key_where_one_is_needed(gateway: LiveGateway) -> None:
    for needed in (False, True):
        if needed:
            made(gateway, "--scope", "admin")
        with gateway:
            until(lambda least=needed: gateway.log().count("/docs") > least)
        assert ("$ROLECAST_API_KEY" in gateway.log()) is needed


def test_a_running_gateway_takes_over_what_the_command_did_beside_it(gateway: LiveGateway) -> None:
    with gateway:
        url = gateway.state["url"]
        assert ask(url, "POST", CHAT, BODY).status == 200
        admin, other = made(gateway, "--scope", "admin")["secret"], made(gateway, "--name", "other")
        until(lambda: ask(url, "GET", "/v1/models").status == 401)
        assert ask(url, "POST", CHAT, BODY, key=other["secret"]).status == 200
        assert ask(url, "GET", "/admin/status", key=other["secret"]).status == 403
        rolecast(gateway, "keys", "revoke", "other")
        until(lambda: ask(url, "POST", CHAT, BODY, key=other["secret"]).status == 401)

        code, _, err = rolecast(gateway, "status")
        assert (code, "asks for a key" in err) == (1, True)
        code, out, _ = rolecast(gateway, "status", ROLECAST_API_KEY=admin)
        assert (code, "is running" in out) == (0, True)
        assert rolecast(gateway, "ask", "hello", ROLECAST_API_KEY=admin)[0] == 0


def test_what_a_key_used_is_told_with_its_name(gateway: LiveGateway) -> None:
    with gateway:
        url = gateway.state["url"]
        admin, other = made(gateway, "--scope", "admin")["secret"], made(gateway, "--name", "friend")
        until(lambda: ask(url, "GET", "/v1/models").status == 401)  # from then on it knows them
        assert ask(url, "POST", CHAT, BODY, key=other["secret"]).status == 200
        until(lambda: gateway.rows("id"), "the row")
        for variables in ({"ROLECAST_API_KEY": admin}, {"ROLECAST_API_KEY": other["secret"]}):
            assert f"friend ({other['key']['id']})" in rolecast(gateway, "usage", "--by", "key", **variables)[1]
    assert f"friend ({other['key']['id']})" in rolecast(gateway, "usage", "--by", "key", "--plot")[1]


def test_with_an_address_the_gateway_there_is_asked_and_holds_to_it_at_once(gateway: LiveGateway) -> None:
    with gateway:
        url = gateway.state["url"]
        admin = made(gateway, "--url", url, "--scope", "admin")["secret"]
        code, _, err = rolecast(gateway, "keys", "--url", url)
        assert (code, "asks for a key" in err) == (1, True)
        as_admin = ("--url", url, "--key", admin)
        app = made(gateway, *as_admin, "--name", "app/1 ?", "--rpm", "1")
        assert ask(url, "POST", CHAT, BODY, key=app["secret"]).status == 200
        assert ask(url, "POST", CHAT, BODY, key=app["secret"]).status == 429
        code, out, _ = rolecast(gateway, "keys", "change", "app/1 ?", "--rpm", "0", *as_admin)
        assert (code, "within two seconds" in out) == (0, True)
        assert ask(url, "POST", CHAT, BODY, key=app["secret"]).status == 200
        code, _, err = rolecast(gateway, "keys", "--url", url, "--key", app["secret"])
        assert (code, "with the scope `admin`" in err) == (1, True)
        rolecast(gateway, "keys", "revoke", "app/1 ?", "--forget", *as_admin)
        assert ask(url, "POST", CHAT, BODY, key=app["secret"]).status == 401
        assert [key["scopes"] for key in json.loads(rolecast(gateway, "keys", *as_admin, "--json")[1])["keys"]] == [
            ["admin"]
        ]


def test_an_address_for_other_machines_opens_once_there_is_a_key(gateway: LiveGateway) -> None:
    gateway.config.write_text(CONFIG.replace("HOST", ", host: 0.0.0.0"))
    for command in (("check",), ("up", "--no-pull")):
        code, _, err = rolecast(gateway, *command)
        assert code == 1
        assert "rolecast.yaml:1: server.host: '0.0.0.0' lets other machines in, and no key is set" in err
        assert "make one with `rolecast keys create --scope admin`" in err
    secret = made(gateway)["secret"]
    assert rolecast(gateway, "check")[0] == 0
    with gateway:
        url = gateway.state["url"]
        assert ask(url, "POST", CHAT, BODY).status == 401
        assert ask(url, "POST", CHAT, BODY, key=secret).status == 200
        assert "Bearer $ROLECAST_API_KEY" in gateway.log()


def test_a_check_makes_no_database(gateway: LiveGateway) -> None:
    gateway.config.write_text(CONFIG.replace("HOST", ", host: 0.0.0.0"))
    done = subprocess.run(
        [sys.executable, "-m", "rolecast", "check", str(gateway.config)],
        env=gateway.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert not gateway.home.exists()
