"""The official clients of Ollama make variants on the real engine: SmolLM2 answers under a name of the client's own."""

import filecmp
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import anthropic
import ollama
import openai
import pytest
import tiny_gguf
from live_gateway import LiveGateway

pytestmark = pytest.mark.real

KEY = "sk-first"
PACKAGE = "ollama@0.6.4"
MODEL = "smollm2-135m"
HELLO = [{"role": "user", "content": "Name a colour."}]
PARAMETERS = {"temperature": 0, "num_predict": 6, "seed": 7, "num_ctx": 8192}


@pytest.fixture
def local(gateway: LiveGateway) -> Iterator[ollama.Client]:
    with_key = ollama.Client(host=gateway.url, headers={"authorization": f"Bearer {KEY}"}, timeout=60)
    yield with_key
    with_key._client.close()  # the client has no close of its own


def test_a_model_that_is_made_answers_in_every_dialect(
    gateway: LiveGateway, local: ollama.Client, client: openai.OpenAI
) -> None:
    system = "You are Mario. " * 20
    steps = [
        step.status for step in local.create("mario", from_=MODEL, system=system, parameters=PARAMETERS, stream=True)
    ]
    assert (steps[0], steps[-1]) == ("reading model metadata", "success")
    assert "mario:latest" in [model.model for model in local.list().models]
    shown = local.show("mario")
    assert (shown.modelfile or "").splitlines()[1] == f"FROM {MODEL}"
    assert "temperature 0" in (shown.parameters or "")
    plain = local.chat(MODEL, HELLO, options=PARAMETERS)
    for _ in range(2):  # read before, as by those that follow: a prompt that is read whole rounds otherwise
        mine = local.chat(MODEL, [{"role": "system", "content": system}, *HELLO], options=PARAMETERS)
    answer = local.chat("mario", HELLO)
    assert (answer.eval_count, answer.message.content) == (6, mine.message.content)
    assert answer.prompt_eval_count == mine.prompt_eval_count
    assert (answer.prompt_eval_count or 0) > (plain.prompt_eval_count or 0) + 20
    generated = local.generate("mario", "Name a colour.")
    assert (generated.response, generated.prompt_eval_count) == (mine.message.content, mine.prompt_eval_count)
    told = client.chat.completions.create(model="mario", messages=HELLO)  # type: ignore[arg-type]
    assert told.choices[0].message.content == mine.message.content
    assert told.usage is not None
    assert (told.usage.completion_tokens, told.usage.prompt_tokens) == (6, mine.prompt_eval_count)
    assert client.responses.create(model="mario", input="Name a colour.").output_text == mine.message.content
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY) as other:
        message = other.messages.create(model="mario", max_tokens=50, messages=HELLO)  # type: ignore[arg-type]
        counted = other.messages.count_tokens(model="mario", messages=HELLO)  # type: ignore[arg-type]
    assert counted.input_tokens == mine.prompt_eval_count
    assert message.usage.output_tokens > 6  # its own length wins
    local.copy("mario", "luigi")
    assert local.chat("luigi", HELLO).message.content == mine.message.content
    for name in ("mario", "luigi:latest"):
        assert local.delete(name).status == "success"
    with pytest.raises(ollama.ResponseError) as gone:
        local.chat("mario", HELLO)
    assert gone.value.status_code == 404


def test_it_shares_the_worker_of_its_model(gateway: LiveGateway, local: ollama.Client) -> None:
    before = {model.model for model in local.ps().models}
    local.create("shared", from_=MODEL, system="Hi.", stream=False)
    assert local.chat("shared", HELLO, options={"num_predict": 1}).done
    assert {model.model for model in local.ps().models} == before
    local.delete("shared")


def test_a_template_that_is_the_weights_own_is_taken(local: ollama.Client) -> None:
    template = local.show(MODEL).template
    assert template
    assert local.create("same", from_=MODEL, template=template, stream=False).status == "success"
    local.delete("same")
    with pytest.raises(ollama.ResponseError) as refused:
        local.create("same", from_=MODEL, template="{{ .Prompt }}")
    assert refused.value.status_code == 400


def test_weights_that_a_client_brings_answer_and_go_with_their_name(local: ollama.Client, tmp_path: Path) -> None:
    file = tiny_gguf.write(tmp_path / "tiny.gguf", context=512)
    digest = local.create_blob(file)
    assert local.create("tiny", files={"tiny.gguf": digest}, system="Hi.", stream=False).status == "success"
    answer = local.chat("tiny", HELLO, options={"num_predict": 3})
    assert answer.eval_count == 3
    listed = {model.model: model.details.parent_model for model in local.list().models if model.details}
    assert (listed["tiny:latest"] or "").startswith("weights-")
    local.delete("tiny")
    names = [model.model or "" for model in local.list().models]
    assert not [name for name in names if name.startswith(("tiny", "weights-"))]


def test_a_large_file_comes_through_whole(gateway: LiveGateway, local: ollama.Client, store: Path) -> None:
    (weights,) = store.rglob("SmolLM2-135M-Instruct.Q4_1.gguf")
    assert weights.stat().st_size > 64 * 1024**2  # more than any other body may have
    digest = local.create_blob(weights)
    local.create("big", files={"big.gguf": digest}, stream=False)
    (brought,) = store.rglob(f"{digest.replace(':', '-')}.gguf")
    assert filecmp.cmp(brought, weights, shallow=False)
    assert local.chat("big", HELLO, options={"num_predict": 6}).eval_count == 6
    local.delete("big")
    assert not brought.exists()


SCRIPT = """
import { Ollama } from 'ollama'
const [host, key] = process.argv.slice(2)
const ollama = new Ollama({ host, headers: { Authorization: `Bearer ${key}` } })
const steps = []
for await (const step of await ollama.create({ model: 'peach', from: 'smollm2-135m', system: 'You are Peach.',
    parameters: { num_predict: 4 }, stream: true })) steps.push(step.status)
if (steps.at(-1) !== 'success') throw new Error(steps.join())
const answer = await ollama.chat({ model: 'peach', messages: [{ role: 'user', content: 'Who are you?' }] })
if (answer.eval_count !== 4) throw new Error(JSON.stringify(answer))
await ollama.copy({ source: 'peach', destination: 'daisy' })
const shown = await ollama.show({ model: 'daisy' })
if (shown.system !== 'You are Peach.') throw new Error(JSON.stringify(shown))
for (const model of ['peach', 'daisy']) await ollama.delete({ model })
const { models } = await ollama.list()
if (models.some(m => m.name.startsWith('peach'))) throw new Error('still there')
console.log('good')
"""


def test_the_client_for_node_makes_one_as_well(gateway: LiveGateway, tmp_path: Path) -> None:
    if not shutil.which("npm"):
        pytest.skip("needs node and npm (Debian: apt-get install nodejs npm)")
    install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(tmp_path), PACKAGE]
    if subprocess.run(install, capture_output=True, timeout=300, check=False).returncode:
        pytest.skip(f"npm cannot install {PACKAGE}")
    (tmp_path / "variants.mjs").write_text(SCRIPT)
    ran = subprocess.run(
        ["node", "variants.mjs", gateway.url, KEY],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, "good"), ran.stderr
