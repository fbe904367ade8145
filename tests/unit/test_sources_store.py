"""The model folder and the caches of other programs: what is found, what is refused, list and removal."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import tiny_gguf
from hf_server import weights

from rolecast import sources
from rolecast.errors import SourceError
from rolecast.sources import fetch, store
from rolecast.sources.names import Source
from rolecast.weights import projector

BODY = weights(1)
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def no_caches_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)


def put(path: Path, body: bytes = BODY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def hub_cache(home: Path, name: str = "x.gguf") -> Path:
    """A repository in the Hugging Face cache, with the weights as a link to a blob."""
    repo = home / ".cache/huggingface/hub/models--o--r"
    blob = put(repo / "blobs" / DIGEST)
    put(repo / "refs/main", b"abc123")
    link = repo / "snapshots/abc123" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    return link


def test_weights_in_the_hugging_face_cache_are_found_through_their_link(tmp_path: Path) -> None:
    link = hub_cache(tmp_path)
    for text in ("hf:o/r", "hf:o/r@abc123", "hf:o/r/x.gguf"):
        assert sources.locate(sources.parse(text), tmp_path / "s") == link
    assert sources.locate(sources.parse("hf:o/r", DIGEST), tmp_path / "s") == link
    assert sources.locate(sources.parse("hf:o/r", "0" * 64), tmp_path / "s") is None
    assert sources.locate(sources.parse("hf:o/r@other"), tmp_path / "s") is None


def test_a_link_out_of_the_cache_is_not_followed(tmp_path: Path) -> None:
    link = hub_cache(tmp_path)
    link.unlink()
    link.symlink_to(put(tmp_path / "elsewhere.gguf"))
    assert sources.locate(sources.parse("hf:o/r"), tmp_path / "s") is None


def test_a_reference_that_leads_elsewhere_is_ignored(tmp_path: Path) -> None:
    link = hub_cache(tmp_path)
    (link.parents[2] / "refs/main").write_text("../../../..")
    assert sources.locate(sources.parse("hf:o/r"), tmp_path / "s") is None


@pytest.mark.parametrize("folder", [".cache/lm-studio/models", ".lmstudio/models"])
def test_weights_of_lm_studio_are_found(tmp_path: Path, folder: str) -> None:
    path = put(tmp_path / folder / "o/r/x-Q4_K_M.gguf")
    assert sources.locate(sources.parse("hf:o/r"), tmp_path / "s") == path
    assert sources.locate(sources.parse("hf:o/r@v2"), tmp_path / "s") is None


def ollama(home: Path, manifest: str, digest: str) -> Path:
    layers = [
        {"mediaType": "application/vnd.ollama.image.template", "digest": f"sha256:{'1' * 64}", "size": 3},
        {"mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": len(BODY)},
    ]
    put(home / ".ollama/models/manifests" / manifest, json.dumps({"layers": layers}).encode())
    return put(home / f".ollama/models/blobs/sha256-{DIGEST}")


@pytest.mark.parametrize(
    ("text", "manifest"),
    [
        ("ollama:llama3.2", "registry.ollama.ai/library/llama3.2/latest"),
        ("ollama:me/llama3.2:1b", "registry.ollama.ai/me/llama3.2/1b"),
        ("ollama:hf.co/o/r:Q4_K_M", "hf.co/o/r/Q4_K_M"),
    ],
)
def test_weights_of_ollama_are_found_by_their_manifest(tmp_path: Path, text: str, manifest: str) -> None:
    blob = ollama(tmp_path, manifest, f"sha256:{DIGEST}")
    assert sources.locate(sources.parse(text), tmp_path / "s") == blob
    assert sources.pull(sources.parse(text), tmp_path / "s", lambda _: None) == blob


@pytest.mark.parametrize(
    "digest", ["sha256:../../../../etc/passwd", f"sha256-{DIGEST}", f"sha256:{DIGEST.upper()}x", "md5:1"]
)
def test_a_manifest_with_a_strange_digest_finds_nothing(tmp_path: Path, digest: str) -> None:
    ollama(tmp_path, "registry.ollama.ai/library/m/latest", digest)
    assert sources.locate(sources.parse("ollama:m"), tmp_path / "s") is None
    with pytest.raises(SourceError, match="ollama pull m"):
        sources.pull(sources.parse("ollama:m"), tmp_path / "s", lambda _: None)


def test_a_half_downloaded_ollama_blob_is_not_taken(tmp_path: Path) -> None:
    blob = ollama(tmp_path, "registry.ollama.ai/library/m/latest", f"sha256:{DIGEST}")
    blob.write_bytes(BODY[:-1])
    assert sources.locate(sources.parse("ollama:m"), tmp_path / "s") is None


def test_only_regular_files_are_weights(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    for path in ("/dev/random", str(tmp_path / "pipe.gguf"), str(tmp_path), str(tmp_path / "none.gguf")):
        source = sources.parse(f"file:{path}")
        assert sources.locate(source, tmp_path / "s") is None
        with pytest.raises(SourceError, match=r"not a regular file|no one clear model|no file"):
            sources.pull(source, tmp_path / "s", lambda _: None)
    folder = store.home(tmp_path / "s", Source("hf", "o/r"))
    folder.mkdir(parents=True)
    os.mkfifo(folder / "x.gguf")
    assert sources.locate(sources.parse("hf:o/r"), tmp_path / "s") is None


def test_a_file_of_the_user_is_found_under_the_home_folder_and_held_to_its_hash(tmp_path: Path) -> None:
    path = put(tmp_path / "my/x.gguf")
    assert sources.locate(sources.parse("file:~/my/x.gguf", DIGEST), tmp_path / "s") == path
    with pytest.raises(SourceError, match=f"has sha256 {DIGEST}, expected 0000"):
        sources.locate(sources.parse("file:~/my/x.gguf", "0" * 64), tmp_path / "s")


def test_the_newest_version_of_a_package_is_found_when_none_is_named(tmp_path: Path) -> None:
    for version in ("0.9", "0.10", "0.2"):
        put(tmp_path / "pypi/pkg" / version / "pkg/x.gguf")
    assert sources.locate(sources.parse("pypi:pkg/x.gguf"), tmp_path) == tmp_path / "pypi/pkg/0.10/pkg/x.gguf"
    assert sources.locate(sources.parse("pypi:pkg==0.2"), tmp_path) == tmp_path / "pypi/pkg/0.2/pkg/x.gguf"


def test_a_link_in_the_model_folder_that_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s/hf").symlink_to(tmp_path)
    with pytest.raises(SourceError, match="leads out"):
        sources.locate(sources.parse("hf:o/r"), tmp_path / "s")


def test_removal_deletes_unfinished_parts_and_empty_folders_but_no_other_model(tmp_path: Path) -> None:
    folder = tmp_path / "hf/o/r/main"
    put(folder / "a.gguf.part", b"12345")
    put(folder / "a.gguf.part.json", b"{}")
    kept = put(folder / "sub/b.gguf")
    assert sources.remove(tmp_path, sources.parse("hf:o/r/a.gguf")) == 7
    assert [p.name for p in folder.iterdir()] == ["sub"]
    assert sources.remove(tmp_path, sources.parse("hf:o/r/sub/b.gguf")) == len(BODY)
    assert not kept.exists()
    assert not (tmp_path / "hf").exists()


def test_removal_of_what_is_not_ours_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "my.gguf")
    with pytest.raises(SourceError, match="was not downloaded by Rolecast"):
        sources.remove(tmp_path / "s", sources.parse(f"file:{path}"))
    link = hub_cache(tmp_path)
    with pytest.raises(SourceError, match="is not in"):
        sources.remove(tmp_path / "s", sources.parse("hf:o/r"))
    assert path.exists()
    assert link.exists()


def test_the_list_skips_damaged_records_and_names_outside_the_folder(tmp_path: Path) -> None:
    target = put(tmp_path / "hf/o/r/main/x.gguf")
    store.record(target, Source("hf", "o/r", "main", "x.gguf"), DIGEST)
    put(tmp_path / "hf/o/r/main/y.gguf.source.json", b"{broken")
    evil = {"source": "hf:o/r", "sha256": "", "files": ["../../../../outside.gguf"]}
    put(tmp_path / "hf/o/r/main/z.gguf.source.json", json.dumps(evil).encode())
    assert sources.stored(tmp_path) == [sources.Stored("x.gguf", target, len(BODY), "hf:o/r@main/x.gguf")]
    assert sources.stored(tmp_path / "none") == []


DAMAGED = [
    b"{broken",
    b'{"layers":[{"digest":"\xff\xfe","mediaType":""}],"source":"\xff"}',
    b"[" * 100_000,
    b'{"x":' * 100_000,
]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_file_of_another_program_that_is_damaged_finds_nothing_and_stops_nothing(tmp_path: Path, text: bytes) -> None:
    blob = ollama(tmp_path, "registry.ollama.ai/library/m/latest", f"sha256:{DIGEST}")
    put(tmp_path / ".ollama/models/manifests/registry.ollama.ai/library/m/latest", text)
    assert sources.locate(sources.parse("ollama:m"), tmp_path / "s") is None
    tiny_gguf.write(blob)
    assert projector(blob) is None


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_record_or_mark_is_as_none(tmp_path: Path, text: bytes) -> None:
    target = put(tmp_path / "hf/o/r/main/x.gguf")
    put(tmp_path / "hf/o/r/main/x.gguf.source.json", text)
    assert sources.stored(tmp_path) == []
    want = fetch.Want(url="http://localhost/x", part=target)
    put(fetch._mark_path(target), text)
    assert fetch._resumable(want) == (0, "")


def test_importing_the_sources_loads_nothing_heavy() -> None:
    heavy = ("numpy", "gguf", "httpx2", "rich")
    code = f"import rolecast.sources, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_folders_that_vanish_during_a_walk_are_passed_over(tmp_path: Path) -> None:
    """As pip removes its scratch folders while their growing files are counted."""
    stay, come_and_go = put(tmp_path / "s/stay.gguf"), tmp_path / "s/scratch"
    done = threading.Event()

    def churn() -> None:
        while not done.is_set():
            put(come_and_go / "a/b/c/x.gguf", b"")
            shutil.rmtree(come_and_go)

    other = threading.Thread(target=churn)
    other.start()
    try:
        for _ in range(500):
            assert stay in list(store.files_below(tmp_path / "s"))
            assert sources.stored(tmp_path / "s") == []
    finally:
        done.set()
        other.join()
