"""ConductorServer: Conductor's Python surface, with a gateway in the process and MCP as texts."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rolecast.conductor import ConductorServer, environment, settings_file
from rolecast.config.schema import Config, Model, Server
from rolecast.errors import ConfigError

ROOT = Path(__file__).parents[2]
FAKE = Config(
    server=Server(port=0, surface="conductor", keys=["only-for-the-door"]),
    models={"m": Model(backend="fake", parallel=4, pinned=True)},
    roles={"general_reasoning": ["m"]},
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROLECAST_HOME", str(tmp_path))
    return tmp_path


def call(number: int, method: str, **params: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})


async def asked(server: ConductorServer, method: str, **params: Any) -> Any:
    return json.loads(await server.handle_mcp_request(call(7, method, **params)))


@pytest.mark.anyio
async def test_texts_are_answered_by_a_gateway_in_this_process() -> None:
    server = ConductorServer(FAKE)
    await server.initialize()
    await server.initialize()
    try:
        assert (await asked(server, "initialize"))["result"]["serverInfo"]["name"] == "Conductor LLM Server"
        arguments = {"prompt": "Say hello.", "category": "general_reasoning"}
        said = await asked(server, "tools/call", name="generate_text", arguments=arguments)
        assert said["id"] == 7
        assert said["result"]["content"][0]["text"]
        assert not said["result"].get("isError")
        wrong = json.loads(await server.handle_mcp_request("{nope"))
        assert (wrong["error"]["code"], wrong["id"]) == (-32700, None)
        assert (await asked(server, "no/such"))["error"]["code"] == -32601
        assert await server.handle_mcp_request('{"jsonrpc":"2.0","method":"notifications/initialized"}') == ""
    finally:
        await server.close()
    await server.close()


@pytest.mark.anyio
async def test_it_starts_with_the_first_request_and_again_after_its_end() -> None:
    server = ConductorServer(FAKE, skip_model_loading=True)
    for _ in range(2):
        both = await asyncio.gather(asked(server, "ping"), asked(server, "ping"))
        assert [each["result"] for each in both] == [{}, {}]
        await server.close()


@pytest.mark.anyio
@pytest.mark.parametrize(("skips", "loaded"), [(False, ["m"]), (True, [])])
async def test_models_that_stay_are_loaded_with_the_start_unless_that_is_skipped(
    skips: bool, loaded: list[str]
) -> None:
    async with ConductorServer(FAKE, skip_model_loading=skips) as server:
        async with asyncio.timeout(20):
            while (await asked(server, "system/health"))["result"]["loaded_models"] != loaded:
                await asyncio.sleep(0.05)
        if skips:
            await asyncio.sleep(0.5)
            assert (await asked(server, "system/health"))["result"]["loaded_models"] == []


@pytest.mark.anyio
async def test_settings_that_are_wrong_are_told_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "SETTINGS.md"
    file.write_text("| Category | Technical Model Name |\n|---|---|\n| Translation | nothing here |\n")
    with pytest.raises(ConfigError, match=r"SETTINGS\.md:3: row 'Translation': 'nothing here' is no technical"):
        await ConductorServer(file).initialize()


def test_settings_are_where_conductor_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings_file({}) is None
    for place in (Path("SETTINGS.md"), Path("conductor") / "SETTINGS.md"):
        place.parent.mkdir(exist_ok=True)
        place.write_text("")
        assert settings_file({}) == place
    assert settings_file({"ROLECAST_CONFIG": "mine.yaml"}) == Path("mine.yaml")


def test_its_variables_hold_unless_ours_say_otherwise() -> None:
    assert environment({"CONDUCTOR_PORT": "8001"})["ROLECAST_SERVER__PORT"] == "8001"
    assert environment({"CONDUCTOR_PORT": "8001", "ROLECAST_SERVER__PORT": "9"}) == {}
    assert environment({"CONDUCTOR_PORT": ""}) == {}
    for wrong in ("many", "-1", "70000", "٣"):
        with pytest.raises(ConfigError, match=r"CONDUCTOR_PORT: .* is no port"):
            environment({"CONDUCTOR_PORT": wrong})
    images = environment({"DIFFUSIOND_URL": "http://i:1", "DIFFUSIOND_PORT": "7860"}).get("ROLECAST_IMAGES__URL")
    assert images == ("http://i:1" if "images" in Config.__struct_fields__ else None)


def test_the_server_can_be_imported_from_a_checkout_and_costs_little() -> None:
    code = "import sys; from conductor import ConductorServer; print(ConductorServer.__module__, 'mcp' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "rolecast.conductor False\n"
