"""How long an import of many messages takes, again and again, and how much memory reading them back needs.

    python bench/avatar_import.py [--messages 100000] [--rounds 3]

Each step is a process of its own, so that its peak of memory is its own; rounds alternate, because machines do not keep
their speed. The messages are made up: words by chance, several people and chats, as a WhatsApp and a Telegram export.
"""

import argparse
import asyncio
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

WORDS = (
    "well ok then see you at the pier tomorrow maybe rain again lol the boat is ready and mira says hello ❤️ 🎉".split()
)
STEPS = ("first", "again", "read")
FORMS = ("whatsapp", "telegram")


def make(folder: Path, form: str, messages: int) -> Path:
    """An export of so many messages."""
    chance = random.Random(7)
    at = datetime(2019, 1, 13, 8, tzinfo=UTC)
    texts = (" ".join(chance.choices(WORDS, k=chance.randint(1, 24))) for _ in range(messages))
    if form == "whatsapp":
        path = folder / "WhatsApp Chat with Crew.txt"
        with path.open("w", encoding="utf-8") as file:
            for text in texts:
                at += timedelta(seconds=chance.randint(1, 900))
                file.write(f"{at:%d/%m/%Y, %H:%M} - {chance.choice(('Mira', 'Jonas', 'Lea', 'Tom'))}: {text}\n")
        return path
    path = folder / "result.json"
    chats: list[dict[str, Any]] = [
        {"id": number, "name": f"Chat {number}", "type": "private_group", "messages": []} for number in range(20)
    ]
    for number, text in enumerate(texts):
        at += timedelta(seconds=chance.randint(1, 900))
        who = chance.randint(1, 9)
        about = {"id": number, "type": "message", "date": f"{at:%Y-%m-%dT%H:%M:%S}", "date_unixtime": f"{at:%s}"}
        entities = [{"type": "plain", "text": text}]
        said = {"from": f"P{who}", "from_id": f"user{who}", "text": [text], "text_entities": entities}
        chance.choice(chats)["messages"].append(about | said)
    path.write_text(json.dumps({"about": "", "personal_information": {}, "chats": {"list": chats}}, indent=1))
    return path


async def step(name: str, export: Path, database: Path) -> dict[str, float]:
    """One step in this process."""
    from rolecast.avatars.conversation import Wanted
    from rolecast.avatars.kept import Kept
    from rolecast.avatars.sources import bring
    from rolecast.books.sqlite import SQLite

    class Silent:
        def progress(self, done: int, total: int) -> None: ...
        def skipped(self, where: str, why: str) -> None: ...

    store = SQLite(database)
    await store.open()
    began, used = time.perf_counter(), time.process_time()
    if name == "read":
        count = 0
        async for _ in Kept(store).messages(Wanted(most=0)):
            count += 1
    else:
        brought = await bring([export], store, Silent())
        count = brought.new if name == "first" else brought.known
    seconds = time.perf_counter() - began
    await store.close()
    return {"seconds": seconds, "cpu": time.process_time() - used, "count": count, "peak_mb": peak() / 1e6}


def peak() -> int:
    """Bytes of memory that this process had at most; `getrusage` would also count its parent's, on Linux."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="figures for programs")
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.step:
        print(json.dumps(asyncio.run(step(told.step[0], Path(told.step[1]), Path(told.step[2])))))
        return
    seen: dict[tuple[str, str], list[dict[str, float]]] = {(form, name): [] for form in FORMS for name in STEPS}
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        exports = {form: make(Path(folder), form, told.messages) for form in FORMS}
        for turn in range(told.rounds):
            for form, export in exports.items():
                sizes[form] = export.stat().st_size
                for name in STEPS:
                    command = [sys.executable, __file__, "--step", name, str(export), f"{folder}/{form}{turn}/store.db"]
                    done = subprocess.run(command, check=True, capture_output=True, text=True)
                    seen[form, name].append(json.loads(done.stdout))
    rows = [
        {
            "export": form,
            "step": name,
            "messages": int(runs[0]["count"]),
            "seconds": round(statistics.median(run["seconds"] for run in runs), 2),
            "cpu": round(statistics.median(run["cpu"] for run in runs), 2),
            "slowest": round(max(run["seconds"] for run in runs), 2),
            "peak_mb": round(max(run["peak_mb"] for run in runs), 1),
            "export_mb": round(sizes[form] / 1e6, 1),
        }
        for (form, name), runs in seen.items()
    ]
    if told.json:
        print(json.dumps(rows))
        return
    print("export         MB step      messages  median s  cpu s  slowest  peak MB")
    for row in rows:
        print(
            f"{row['export']:10} {row['export_mb']:>6} {row['step']:8} {row['messages']:>9,} {row['seconds']:>9} "
            f"{row['cpu']:>6} {row['slowest']:>8} {row['peak_mb']:>8}"
        )


if __name__ == "__main__":
    main()
