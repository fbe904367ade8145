"""A gateway killed in the middle of conversations: what was answered is there again, what was not is asked anew."""

import json
import random
import sqlite3
import threading
from pathlib import Path

from live_gateway import LiveGateway, until

CONFIG = """\
server: {{port: {port}, listeners: []}}
models: {{tiny: {{backend: fake, parallel: 8, script: {script}, context: 100000}}}}
roles: {{standard: [tiny]}}
sessions: {{budget: 1}}
"""


def test_a_killed_gateway_keeps_what_was_answered_and_mixes_nothing(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text('replies: [{match: "", reply: "it is so", token_delay: 0.002}]')
    answered: dict[str, list[str]] = {f"s{i}": [] for i in range(10)}

    def talk(gateway: LiveGateway, name: str, seed: int) -> None:
        chance = random.Random(seed)
        try:
            for number in range(1000):
                text = f"{name}-{number}"
                stream = chance.random() < 0.5
                answer = gateway.chat("tiny", text, session_id=name, stream=stream)
                if answer.status == 200 and (not stream or answer.body.endswith(b"data: [DONE]\n\n")):
                    answered[name].append(text)
        except Exception:  # it was killed
            return

    with LiveGateway(tmp_path, CONFIG.format(port=0, script=script)) as gateway:
        until(lambda: gateway.chat("tiny", "hello").status == 200)
        threads = [threading.Thread(target=talk, args=(gateway, name, i)) for i, name in enumerate(answered)]
        for thread in threads:
            thread.start()
        until(lambda: all(len(texts) >= 3 for texts in answered.values()), "some turns of each")
        gateway.kill()
        for thread in threads:
            thread.join()
        with sqlite3.connect(gateway.home / "rolecast.db") as ledger:
            assert ledger.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        ledger.close()
        gateway.start()
        listed = json.loads(gateway.get("/sessions").body)
        assert set(listed["sessions"]) == set(answered)
        for name, texts in answered.items():
            shown = json.loads(gateway.get(f"/sessions/{name}?limit=1000").body)
            kept = [turn["asked"] for turn in shown["history"]]
            assert kept[: len(texts)] == texts
            assert len(kept) <= len(texts) + 1  # one whose answer was on its way out
            assert kept == [f"{name}-{number}" for number in range(len(kept))]
            assert {turn["answer"] for turn in shown["history"]} == {"it is so"}
        again = gateway.chat("tiny", "go on", session_id="s0")
        assert again.status == 200
        assert f"used={len(json.loads(gateway.get('/sessions/s0?limit=1000').body)['history']) - 1};" in str(
            again.headers
        )
