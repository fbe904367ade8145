"""Pulling from a hub: choice, resume, hashes, redirects, tokens, faults; against a real local server."""

import hashlib
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hf_server import Hub, gguf_file, reached, text, weights

from rolecast import sources
from rolecast.errors import SourceError
from rolecast.sources import fetch
from rolecast.sources.store import Progress
from rolecast.weights import projector

Q4, Q8, BIG = "tiny-Q4_K_M.gguf", "tiny-Q8_0.gguf", "big/tiny-F16.gguf"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with reached(
        Hub("owner/tiny", {Q4: weights(300), Q8: weights(4), BIG: weights(5), "README.md": b"hello"}),
        monkeypatch,
        tmp_path,
    ) as found:
        yield found


def pull(text: str, store: Path, sha256: str = "", said: list[Progress] | None = None) -> Path:
    said = [] if said is None else said
    return sources.pull(sources.parse(text, sha256), store, said.append)


def left(store: Path) -> list[str]:
    return sorted(p.name for p in store.rglob("*") if p.is_file() and p.parent.name != ".locks")


def test_a_repository_without_a_file_gives_its_q4_k_m(hub: Hub, tmp_path: Path) -> None:
    said: list[Progress] = []
    path = pull("hf:owner/tiny", tmp_path / "s", said=said)
    assert path == tmp_path / "s/hf/owner/tiny/main" / Q4
    assert path.read_bytes() == hub.files[Q4]
    assert left(tmp_path / "s") == [Q4, Q4 + ".source.json"]
    total = len(hub.files[Q4])
    assert {p.step for p in said} == {"downloading", "verifying"}
    assert said[-1] == Progress("verifying", total, total)
    assert sources.locate(sources.parse("hf:owner/tiny"), tmp_path / "s") == path


def test_a_pulled_model_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    pull("hf:owner/tiny", tmp_path)
    seen = len(hub.seen)
    pull("hf:owner/tiny", tmp_path)
    assert len(hub.seen) == seen


def test_a_named_file_in_a_folder_of_a_revision_is_fetched(hub: Hub, tmp_path: Path) -> None:
    path = pull(f"hf:owner/tiny@v2/{BIG}", tmp_path)
    assert path == tmp_path / "hf/owner/tiny/v2" / BIG
    assert ("hub", f"/owner/tiny/resolve/v2/{BIG}") in [s[:2] for s in hub.seen]


def test_all_parts_of_a_split_model_are_fetched(hub: Hub, tmp_path: Path) -> None:
    parts = {f"m-{i:05d}-of-00003.gguf": weights(i, i) for i in (1, 2, 3)}
    hub.files, hub.page = parts, 2
    said: list[Progress] = []
    path = pull("hf:owner/tiny", tmp_path, said=said)
    assert path.name == "m-00001-of-00003.gguf"
    assert [(path.parent / n).read_bytes() for n in parts] == list(parts.values())
    assert max(p.done for p in said) == said[0].total == sum(map(len, parts.values()))
    (entry,) = sources.stored(tmp_path)
    assert (entry.path, entry.bytes) == (path, sum(map(len, parts.values())))
    assert sources.remove(tmp_path, sources.parse(entry.source)) > entry.bytes
    assert left(tmp_path) == []


def mmproj(fill: int = 1) -> bytes:
    tensor = text("w") + struct.pack("<IQIQ", 1, 256, 0, 0)
    clip = ("general.architecture", 8, text("clip"))
    return gguf_file(clip, tensors=tensor, count=1, data=bytes([fill]) * 1024)


def test_the_projector_of_a_repository_comes_with_the_model_and_goes_with_the_last(hub: Hub, tmp_path: Path) -> None:
    hub.files |= {"mmproj-tiny-F16.gguf": mmproj(), "mmproj-tiny-F32.gguf": mmproj(2), "imatrix.gguf": b"x"}
    sha = hashlib.sha256(hub.files[Q4]).hexdigest()
    path = pull("hf:owner/tiny", tmp_path, sha)
    beside = path.with_name("mmproj-tiny-F16.gguf")
    assert left(tmp_path) == [beside.name, Q4, Q4 + ".source.json"]
    assert projector(path) == beside
    assert sources.locate(sources.parse("hf:owner/tiny", sha), tmp_path) == path
    pull(f"hf:owner/tiny/{Q8}", tmp_path)
    sources.remove(tmp_path, sources.parse(f"hf:owner/tiny/{Q4}"))
    assert left(tmp_path) == [beside.name, Q8, Q8 + ".source.json"]
    sources.remove(tmp_path, sources.parse(f"hf:owner/tiny/{Q8}"))
    assert left(tmp_path) == []


def test_a_projector_at_the_top_is_laid_beside_a_model_in_a_folder(hub: Hub, tmp_path: Path) -> None:
    hub.files["mmproj-F16.gguf"] = mmproj()
    path = pull(f"hf:owner/tiny/{BIG}", tmp_path)
    assert projector(path) == path.with_name("mmproj-F16.gguf")


def test_a_file_whose_name_hid_that_it_is_no_model_is_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"tiny-Q8_0.gguf": mmproj()}
    with pytest.raises(SourceError, match=r"tiny-Q8_0\.gguf is a projector"):
        pull("hf:owner/tiny", tmp_path)
    assert left(tmp_path) == []


def test_a_cut_line_is_resumed_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    hub.drops = [100_000, 50_000]
    path = pull("hf:owner/tiny", tmp_path)
    assert path.read_bytes() == hub.files[Q4]
    ranges = [h.get("range") for h in hub.blobs()]
    assert ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert hub.blobs()[1]["if-range"] == '"v1"'


def test_a_pull_that_was_broken_off_continues_in_the_next_call(hub: Hub, tmp_path: Path) -> None:
    def interrupt(p: Progress) -> None:
        if p.done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sources.pull(sources.parse("hf:owner/tiny"), tmp_path, interrupt)
    assert sources.locate(sources.parse("hf:owner/tiny"), tmp_path) is None
    path = pull("hf:owner/tiny", tmp_path)
    assert path.read_bytes() == hub.files[Q4]
    assert "range" in hub.blobs()[-1]


def test_a_server_that_cuts_every_line_is_given_up_after_a_few_tries(hub: Hub, tmp_path: Path) -> None:
    hub.drops = [0] * 20
    told: list[Progress] = []
    with pytest.raises(SourceError, match="4 tries failed"):
        sources.pull(sources.parse("hf:owner/tiny"), tmp_path, told.append)
    assert len(hub.blobs()) == 4
    assert [each.step for each in told].count("trying again") == 3


@pytest.mark.parametrize("fault", ["ignore_range", "shift_range"])
def test_a_server_that_cannot_continue_makes_it_start_over(hub: Hub, tmp_path: Path, fault: str) -> None:
    hub.drops = [100_000]
    setattr(hub, fault, True)
    assert pull("hf:owner/tiny", tmp_path).read_bytes() == hub.files[Q4]


def test_a_file_that_changed_between_two_tries_is_fetched_from_its_start(hub: Hub, tmp_path: Path) -> None:
    hub.drops = [100_000]

    def change(p: Progress) -> None:
        if p.done >= 100_000:
            hub.etag = '"v2"'

    path = sources.pull(sources.parse("hf:owner/tiny"), tmp_path, change)
    assert path.read_bytes() == hub.files[Q4]


def test_wrong_bytes_are_deleted_and_both_hashes_named(hub: Hub, tmp_path: Path) -> None:
    hub.corrupt = True
    right = hashlib.sha256(hub.files[Q4]).hexdigest()
    with pytest.raises(SourceError, match=f"expected sha256 {right}, got [0-9a-f]{{64}}"):
        pull("hf:owner/tiny", tmp_path)
    assert [n for n in left(tmp_path) if n.endswith((".gguf", ".part"))] == []


def test_bytes_that_are_no_gguf_are_not_stored(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"x.gguf": b"<html>not a model, but of the right hash</html>"}
    with pytest.raises(SourceError, match="not a usable GGUF"):
        pull("hf:owner/tiny", tmp_path)
    assert [n for n in left(tmp_path) if n.startswith("x.gguf")] == []


def test_a_hash_in_the_source_that_the_hub_does_not_offer_stops_before_the_download(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="should have sha256"):
        pull("hf:owner/tiny", tmp_path, "0" * 64)
    assert hub.blobs() == []


def test_a_file_outside_large_file_storage_is_held_to_the_hash_of_the_source(hub: Hub, tmp_path: Path) -> None:
    hub.plain = True
    with pytest.raises(SourceError, match="damaged or changed"):
        pull("hf:owner/tiny", tmp_path, "0" * 64)
    pull("hf:owner/tiny", tmp_path, hashlib.sha256(hub.files[Q4]).hexdigest())


def test_a_server_error_and_a_busy_answer_are_retried(hub: Hub, tmp_path: Path) -> None:
    hub.statuses, hub.blob_statuses = [500, 429], [503]
    assert pull("hf:owner/tiny", tmp_path).exists()


def test_the_token_goes_to_the_hub_and_never_to_the_content_host(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    pull("hf:owner/tiny", tmp_path)
    assert all("authorization" not in headers for headers in hub.blobs())


def test_the_token_file_is_read_when_no_variable_is_set(hub: Hub, tmp_path: Path) -> None:
    hub.token = "hf_filed"
    (tmp_path / "hf-home").mkdir()
    (tmp_path / "hf-home/token").write_text("hf_filed\n")
    assert pull("hf:owner/tiny", tmp_path / "s").exists()


@pytest.mark.parametrize(("status", "words"), [(401, "set HF_TOKEN"), (403, "accept its licence"), (404, "exist")])
def test_a_refusal_says_what_to_do(hub: Hub, tmp_path: Path, status: int, words: str) -> None:
    hub.statuses = [status]
    with pytest.raises(SourceError, match=words) as e:
        pull("hf:owner/tiny", tmp_path)
    assert f"{hub.url}/owner/tiny" in e.value.message


def test_messages_hold_no_signature_of_a_redirect(hub: Hub, tmp_path: Path) -> None:
    hub.blob_statuses = [403]
    with pytest.raises(SourceError) as e:
        pull("hf:owner/tiny", tmp_path)
    assert "secret" not in e.value.message


@pytest.mark.parametrize("where", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://user:pw@127.0.0.1/x", "gopher:x"])
def test_a_redirect_to_anything_but_a_plain_web_address_is_refused(hub: Hub, tmp_path: Path, where: str) -> None:
    hub.redirect = where
    with pytest.raises(SourceError, match="refused"):
        pull("hf:owner/tiny", tmp_path)


def test_redirects_in_a_circle_end(hub: Hub, tmp_path: Path) -> None:
    hub.redirect = f"{hub.url}/owner/tiny/resolve/main/{Q4}"
    with pytest.raises(SourceError, match="redirects more than 5 times"):
        pull("hf:owner/tiny", tmp_path)


def test_a_compressed_answer_is_refused_unread(hub: Hub, tmp_path: Path) -> None:
    hub.gzip = True
    with pytest.raises(SourceError, match="comes as gzip"):
        pull("hf:owner/tiny", tmp_path)


def test_a_model_larger_than_the_disk_is_refused_with_the_numbers_before_the_download(hub: Hub, tmp_path: Path) -> None:
    hub.sizes[Q4] = 10**18
    with pytest.raises(SourceError, match=r"needs 1050000\.0 TB in .* but only .* is free"):
        pull("hf:owner/tiny", tmp_path)
    assert hub.blobs() == []


def test_a_body_of_another_size_than_the_list_says_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.sizes[Q4] = len(hub.files[Q4]) + 1
    with pytest.raises(SourceError, match="expected"):
        pull("hf:owner/tiny", tmp_path)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["model.safetensors", "config.json"], "only safetensors"),
        (["README.md"], "no GGUF file"),
        (["a-F16.gguf", "b-F16.gguf"], "several models: name one"),
        (["a-00001-of-00003.gguf", "a-00003-of-00003.gguf"], r"lacks part 2 of 3 \(a-00002-of-00003\.gguf\)"),
    ],
)
def test_a_repository_without_a_clear_gguf_is_explained(hub: Hub, tmp_path: Path, files: list[str], words: str) -> None:
    hub.files = dict.fromkeys(files, b"x")
    with pytest.raises(SourceError, match=words):
        pull("hf:owner/tiny", tmp_path)


def test_a_missing_file_is_answered_with_the_names_there_are(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"tiny-Q8_0\.gguf"):
        pull("hf:owner/tiny/other.gguf", tmp_path)


def test_a_file_list_that_leads_out_of_the_folder_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"../../../evil.gguf": weights(1)}
    with pytest.raises(SourceError, match="not safe"):
        pull("hf:owner/tiny", tmp_path)


def test_a_list_that_continues_on_another_host_is_not_followed(hub: Hub, tmp_path: Path) -> None:
    hub.page, hub.next_page = 1, hub.content
    with pytest.raises(SourceError, match="on another host"):
        pull("hf:owner/tiny", tmp_path)
    assert hub.blobs() == []


def test_a_server_that_is_no_hub_is_named(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.files["api/models/owner/tiny/tree/main"] = b"<html>"
    monkeypatch.setenv("HF_ENDPOINT", hub.content)
    with pytest.raises(SourceError, match="check HF_ENDPOINT"):
        pull("hf:owner/tiny", tmp_path)


def test_a_token_of_two_lines_is_refused_and_not_shown(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_one\nhf_two")
    with pytest.raises(SourceError, match="set HF_TOKEN again") as e:
        pull("hf:owner/tiny", tmp_path)
    assert "hf_" not in e.value.message


def test_a_split_model_that_was_broken_off_fetches_only_the_missing_and_damaged_parts(hub: Hub, tmp_path: Path) -> None:
    hub.files = {f"m-{i:05d}-of-00003.gguf": weights(i, i) for i in (1, 2, 3)}
    good, damaged, missing = hub.files
    folder = tmp_path / "hf/owner/tiny/main"
    folder.mkdir(parents=True)
    (folder / good).write_bytes(hub.files[good])
    (folder / damaged).write_bytes(bytes(len(hub.files[damaged])))
    pull("hf:owner/tiny", tmp_path)
    assert [path for place, path, _ in hub.seen if place == "content"] == [f"/{damaged}", f"/{missing}"]
    assert all((folder / name).read_bytes() == body for name, body in hub.files.items())


def test_offline_mode_is_obeyed(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE"):
        pull("hf:owner/tiny", tmp_path)
    assert hub.seen == []


def test_a_second_pull_of_the_same_model_waits_and_fetches_nothing(hub: Hub, tmp_path: Path) -> None:
    started, waiting = threading.Event(), threading.Event()
    source = sources.parse("hf:owner/tiny")

    def first(p: Progress) -> None:
        started.set()
        assert waiting.wait(10)

    def second(p: Progress) -> None:
        assert p.step == "waiting"
        waiting.set()

    one = threading.Thread(target=sources.pull, args=(source, tmp_path, first))
    one.start()
    assert started.wait(10)
    with pytest.raises(SourceError, match="being pulled now"):
        sources.remove(tmp_path, source)
    path = sources.pull(source, tmp_path, second)
    one.join()
    assert path.exists()
    assert len(hub.blobs()) == 1


def test_a_plain_url_is_fetched_verified_and_kept_under_its_name(hub: Hub, tmp_path: Path) -> None:
    url, digest = f"{hub.content}/{Q8}?download=true", hashlib.sha256(hub.files[Q8]).hexdigest()
    path = pull(url, tmp_path, digest)
    assert path.name == Q8
    assert sources.locate(sources.parse(url, digest), tmp_path) == path
    assert sources.locate(sources.parse(url, "0" * 64), tmp_path) is None
    with pytest.raises(SourceError, match="damaged or changed"):
        pull(url, tmp_path, "0" * 64)


def test_a_plain_url_that_is_not_there_is_refused_with_its_status(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="status 404"):
        pull(f"{hub.url}/nothing.gguf", tmp_path)


def test_a_redirect_from_https_to_http_is_refused() -> None:
    import httpx2

    with pytest.raises(SourceError, match="unprotected"):
        fetch._next_hop(httpx2.URL("https://a.example/x"), "http://a.example/x")


def test_a_server_that_is_not_there_ends_in_a_source_error(hub: Hub, tmp_path: Path) -> None:
    hub.close()
    with pytest.raises(SourceError, match="could not be read"):
        pull("hf:owner/tiny", tmp_path)
