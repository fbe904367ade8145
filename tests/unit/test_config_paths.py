"""Home folders that nobody knows: a sentence where a path is needed, silence where one is merely looked into."""

import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from rolecast import books, config, sources
from rolecast.backends.fake import Fake
from rolecast.config import paths
from rolecast.config.schema import Config, Model, Storage
from rolecast.errors import ConfigError
from rolecast.values import Listen

LOST = "~nobody-of-that-name/x"


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without HOME and without an entry in the table of users, as in many containers."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "HF_HOME", "ROLECAST_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("ROLECAST_CONFIG", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_a_home_folder_of_nobody_is_one_sentence_wherever_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for use, place in (
        (lambda: paths.models(LOST), "storage.models"),
        (lambda: books.store_of(Config(storage=Storage(url=f"sqlite:///{LOST}"))), "storage.url"),
        (lambda: config.find({"ROLECAST_CONFIG": LOST}), "ROLECAST_CONFIG"),
        (lambda: Fake().plan("m", Model(backend="fake", script=LOST), None, Listen()), "script"),
    ):
        with pytest.raises(ConfigError) as refused:
            use()
        (problem,) = refused.value.problems
        assert problem.startswith(f"{place}: '{LOST}': there is no user 'nobody-of-that-name' on this machine")
    monkeypatch.setenv("ROLECAST_HOME", LOST)
    with pytest.raises(ConfigError, match="ROLECAST_HOME"):
        paths.home()


@pytest.mark.usefixtures("homeless")
def test_without_any_home_folder_the_sentence_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="set ROLECAST_HOME to a folder"):
        paths.home()
    with pytest.raises(ConfigError, match="home folder of this user is not known"):
        paths.expand("~/x")
    monkeypatch.setenv("ROLECAST_HOME", str(tmp_path))
    assert paths.database() == tmp_path / "rolecast.db"


@pytest.mark.usefixtures("homeless")
def test_caches_of_other_programs_are_passed_over_without_a_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert config.find({}) is None
    for text in ("hf:o/r", "ollama:m", "file:~/x.gguf", f"file:{LOST}"):
        source = sources.parse(text)
        assert sources.locate(source, tmp_path) is None
        assert sources.absence(source, tmp_path)


IN_NO_TABLE = """
import pwd, sys
def unknown(uid): raise KeyError(uid)
pwd.getpwuid = unknown
sys.argv[0] = "rolecast"
from rolecast.cli import main
main()
"""


@pytest.mark.parametrize("command", [["models"], ["check"], ["pull", "file:~/x.gguf"], ["status"], ["up", "--no-pull"]])
def test_every_command_speaks_in_sentences_to_a_user_without_a_home_folder(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "rolecast.yaml").write_text("models: {m: {backend: fake}}\nroles: {standard: [m]}\n")
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", IN_NO_TABLE, *command],
        cwd=tmp_path, env={}, capture_output=True, encoding="utf-8", timeout=60,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    if done.returncode:
        assert "set ROLECAST_HOME to a folder" in done.stderr or "home folder" in done.stderr


def test_with_a_folder_named_a_user_without_a_home_folder_is_served(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", IN_NO_TABLE, "models"],
        cwd=tmp_path, env={"ROLECAST_HOME": str(tmp_path)}, capture_output=True, encoding="utf-8", timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
