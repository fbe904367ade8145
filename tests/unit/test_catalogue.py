"""The list of models, one of them by whatever it is called, and the health of the roles' backends."""

from pathlib import Path

import msgspec
import pytest
import tiny_gguf
from gateway import ScriptedWorker, config, remote, request, running_gateway, short_folder

from rolecast.config.schema import Model

pytestmark = pytest.mark.anyio


async def test_one_model_is_found_by_every_name_and_says_what_it_is(tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "tiny.gguf")
    models = {
        "vendor/odd:name": Model(source=f"file:{path}", context=512, aliases=["a/b/c", "short"]),
        "spare": Model(source=f"file:{path}", enabled=True),
        "order": Model(source=f"file:{path}", capabilities=["rerank"]),
    }
    made = msgspec.structs.replace(
        config(models), roles={"standard": ["vendor/odd:name", ["spare"]], "coding": ["spare"]}
    )
    async with running_gateway(made, tmp_path) as gate:

        async def one(name: str) -> dict[str, object]:
            answer = await gate.ask(request(path=f"/v1/models/{name}", method="GET"), method="GET")
            assert answer.status == 200, name
            return dict(answer.json)

        for name in ("vendor/odd:name", "vendor%2Fodd%3Aname", "a/b/c", "a%2fb%2Fc", "short", "short:latest"):
            found = await one(name)
            assert (found["object"], found["root"], found["owned_by"]) == ("model", "vendor/odd:name", "rolecast")
            assert (found["context_length"], found["state"], found["port"]) == (512, "cold", 0)
            assert (found["roles"], found["capabilities"]) == (["standard"], ["chat", "completion"])
            assert 100_000 < int(str(found["size_bytes"])) < path.stat().st_size
            assert "models" not in found
        role = await one("standard")
        assert (role["kind"], role["models"]) == ("role", ["vendor/odd:name", "spare"])
        assert (await one("heavy"))["id"] == "standard"
        assert (await one("order"))["model_type"] == "rerank"
        listed = (await gate.ask(request(path="/v1/models", method="GET"), method="GET")).json["data"]
        assert {each["id"] for each in listed} == {*models, "a/b/c", "short", "standard", "coding", "auto"}
        auto = await one("auto")
        assert (auto["kind"], auto["root"], listed[-1]["id"]) == ("auto", "vendor/odd:name", "auto")
        assert (await gate.ask(request(path="/v1/models/none", method="GET"), method="GET")).status == 404


async def test_the_backend_of_each_role_is_asked_and_the_answer_is_by_role() -> None:
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            models = {"there": remote(worker.url), "gone": remote("http://127.0.0.1:9/v1")}
            roles: dict[str, list[str | list[str]]] = {
                "standard": ["gone"],
                "coding": ["there"],
                "reasoning": ["there"],
            }
            made = msgspec.structs.replace(config(models), roles=roles)
            async with running_gateway(made, Path(folder)) as gate:
                health = (await gate.ask(request(path="/v1/backends/health", method="GET"), method="GET")).json
                assert health["standard"]["status"] == "unreachable"
                assert health["coding"]["model_id"] == health["reasoning"]["model_id"] == "there"
