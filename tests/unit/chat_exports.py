"""Exports of chats as the programs write them, made here: all people and words in them are invented."""

import json
import sqlite3
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rolecast.avatars.conversation import AS_IT_IS, Chat, Item, Message, Person, Reading
from rolecast.avatars.sources import detect

ANDROID = """\
12/31/23, 9:14\u202fPM - Messages and calls are end-to-end encrypted. No one outside of this chat can read them.
12/31/23, 9:14\u202fPM - Jonas changed the subject to "Party: now"
12/31/23, 9:15\u202fPM - Mira Holt: ola ola!! 🎉
12/31/23, 9:15\u202fPM - Mira Holt: second line follows
  - indented: yes
12/30/23, 8:00 AM is when we said

12/31/23, 9:15\u202fPM - Jonas: ok
12/31/23, 9:15\u202fPM - Jonas: ok
12/31/23, 11:59\u202fPM - Jonas: <Media omitted>
1/1/24, 12:00\u202fAM - Mira Holt: IMG-20240101-WA0001.jpg (file attached)
look at this
1/1/24, 12:01\u202fAM - Jonas: This message was deleted
1/1/24, 12:02\u202fAM - Jonas: happy new year <This message was edited>
"""
IPHONE = """\
\ufeff[31.12.23, 21:14:02] Holts: \u200eMessages and calls are end-to-end encrypted.
[31.12.23, 21:15:03] ~\u202fMira: hallo @\u2068Jonas\u2069
\u200e[31.12.23, 21:15:09] Jonas: \u200eBild weggelassen
[31.12.23, 21:16:00] Jonas: schau \u200e<attached: 00000012-PHOTO.jpg>
[31.12.23, 21:17:00] Lea: [1.1.24, 10:00:00] Mira: never said
1/1/24, 10:00 AM - Mira: pasted from a phone
[1.1.24, 00:00:01] Lea: frohes neues \u200e<Diese Nachricht wurde bearbeitet.>
"""


class Ears:
    """Told that remembers."""

    def __init__(self) -> None:
        self.left: list[tuple[str, str]] = []
        self.steps: list[tuple[int, int]] = []

    def progress(self, done: int, total: int) -> None:
        self.steps.append((done, total))

    def skipped(self, where: str, why: str) -> None:
        self.left.append((where, why))


class Got:
    """All that a source gave, checked for what every source promises."""

    def __init__(self, items: Iterable[Item], ears: Ears) -> None:
        self.people: dict[str, Person] = {}
        self.chats: dict[str, Chat] = {}
        self.messages: list[Message] = []
        self.left = ears.left
        ids = set()
        for item in items:
            if isinstance(item, Person):
                self.people[item.id] = item
            elif isinstance(item, Chat):
                self.chats[item.id] = item
            else:
                assert item.person in self.people, "people come before what they wrote"
                assert item.chat in self.chats, "a chat comes before its messages"
                assert item.id not in ids, "ids are unique"
                ids.add(item.id)
                assert item.text == item.text.strip() != ""
                self.messages.append(item)
        assert ears.steps == [] or ears.steps[-1][0] == ears.steps[-1][1]

    @property
    def said(self) -> list[tuple[str, str]]:
        """Who wrote what, in order."""
        return [(self.people[each.person].name, each.text) for each in self.messages]

    @property
    def texts(self) -> list[str]:
        return [each.text for each in self.messages]


def got(path: Path, how: Reading = AS_IT_IS) -> Got:
    """What the source that fits makes of an export."""
    ears = Ears()
    return Got(detect(path).read(path, ears, how), ears)


def write(path: Path, content: Any) -> Path:
    """A file of text, bytes, or whatever can be JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(
            content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), "utf-8", newline=""
        )
    return path


def pack(path: Path, files: Mapping[str, Any]) -> Path:
    """A zip of such files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as into:
        for name, content in files.items():
            into.writestr(name, content if isinstance(content, str | bytes) else json.dumps(content))
    return path


def telegram(*messages: Mapping[str, Any], **chat: Any) -> dict[str, Any]:
    return {"name": "Mira", "type": "personal_chat", "id": 77, "messages": list(messages)} | chat


def telegram_message(number: int, text: Any, **more: Any) -> dict[str, Any]:
    about = {
        "id": number,
        "type": "message",
        "date": "2024-01-05T21:15:00",
        "date_unixtime": str(1704489300 + number // 3),
    }
    return about | {"from": "Mira", "from_id": "user1", "text": text, "text_entities": []} | more


def discord(*messages: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "guild": {"id": "5", "name": "Crew", "iconUrl": "x"},
        "channel": {"id": "9", "type": "GuildTextChat", "name": "general"},
        "dateRange": {"after": None, "before": None},
        "messages": list(messages),
        "messageCount": len(messages),
    }


def discord_message(number: int, content: str, **more: Any) -> dict[str, Any]:
    author = {"id": "100", "name": "mira_h", "nickname": "Mira", "isBot": False, "roles": []}
    about = {"id": str(number), "type": "Default", "timestamp": "2024-01-05T21:15:00.123+00:00"}
    return about | {"content": content, "author": author, "mentions": [], "attachments": []} | more


SLACK: dict[str, Any] = {
    "users.json": [
        {"id": "U1", "name": "mira", "profile": {"display_name": "Mira", "real_name": "Mira Holt"}},
        {"id": "U2", "name": "jonas", "real_name": "Jonas Brandt", "profile": {"display_name": ""}},
        {"id": "U9", "name": "helper", "is_bot": True, "profile": {}},
    ],
    "channels.json": [{"id": "C1", "name": "general"}],
    "dms.json": [{"id": "D1", "members": ["U1", "U2"]}],
    "general/2024-01-05.json": [
        {"type": "message", "subtype": "channel_join", "user": "U1", "ts": "1704489290.0001", "text": "<@U1> joined"},
        {"type": "message", "user": "U1", "ts": "1704489300.000100", "thread_ts": "1704489300.000100",
         "text": "hi <@U2> &amp; all"},
        {"type": "message", "user": "U9", "ts": "1704489301.000100", "text": "beep"},
        {"type": "message", "user": "U2", "ts": "1704489302.000100", "thread_ts": "1704489300.000100",
         "text": "see <https://example.org/a|this> in <#C1|general> &lt;3"},
        {"type": "message", "user": "U7", "ts": "1704489303.000100", "text": "<!here> hello",
         "user_profile": {"display_name": "Guest"}},
        {"type": "message", "user": "U1", "ts": "not a time", "text": "lost"},
        {"type": "message", "user": "U1", "ts": 5},
    ],
    "D1/2024-01-06.json": [{"type": "message", "user": "U1", "ts": "1704575700.000100", "text": "psst"}],
    "general/2024-01-07.json": "[{",
}  # fmt: skip


def attributed(text: str) -> bytes:
    """As Messages keeps a text since macOS 13."""
    raw = text.encode()
    size = len(raw)
    if size < 0x80:
        length = bytes([size])
    elif size < 0x10000:
        length = b"\x81" + size.to_bytes(2, "little")
    else:
        length = b"\x82" + size.to_bytes(4, "little")
    begins = b"\x04\x0bstreamtyped\x81\xe8\x03\x84\x01@\x84\x84\x84\x12NSAttributedString\x00"
    begins += b"\x84\x84\x08NSObject\x00\x85\x92"
    return begins + b"\x84\x84\x84\x08NSString\x01\x94\x84\x01+" + length + raw + b"\x86\x84\x02iI\x01\x05"


def imessage(path: Path, *, old: bool = False) -> Path:
    """A database with one chat of two and one group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tick = 1 if old else 10**9
    more = (
        ""
        if old
        else ", attributedBody BLOB, associated_message_type INTEGER, thread_originator_guid TEXT, item_type INTEGER"
    )
    with sqlite3.connect(path) as db:
        db.executescript(f"""
            CREATE TABLE handle (ROWID INTEGER PRIMARY KEY, id TEXT, service TEXT);
            CREATE TABLE chat (ROWID INTEGER PRIMARY KEY, guid TEXT, display_name TEXT, chat_identifier TEXT,
                style INTEGER);
            CREATE TABLE chat_message_join (chat_id INTEGER, message_id INTEGER);
            CREATE TABLE message (ROWID INTEGER PRIMARY KEY, guid TEXT, text TEXT, date INTEGER, is_from_me INTEGER,
                handle_id INTEGER{more});
            INSERT INTO handle VALUES (1, '+15550100', 'iMessage'), (2, '+15550100', 'SMS'),
                (3, 'lea@example.org', 'iMessage');
            INSERT INTO chat VALUES (1, 'iMessage;-;+15550100', NULL, '+15550100', 45),
                (2, 'iMessage;+;chat1', 'Holts', 'chat1', 43);
        """)
        rows: list[tuple[Any, ...]] = [
            (1, "G1", "hey there", 700000000 * tick, 0, 1),
            (2, "G2", "from me", 700000001 * tick, 1, 0),
            (5, "G5", "by text message", 700000004 * tick, 0, 2),
            (6, "G6", "\ufffc", 700000005 * tick, 0, 1),
            (7, "G7", "group words", 700000006 * tick, 0, 3),
        ]
        if not old:
            rows = [(*row, None, 0, None, 0) for row in rows]
            rows += [
                (3, "G3", None, 700000002 * tick, 0, 1, attributed("in the body 🎈"), 0, "G1", 0),
                (4, "G4", "Loved “from me”", 700000003 * tick, 0, 1, None, 2000, None, 0),
                (8, "G8", None, 700000007 * tick, 1, 0, attributed("x" * 300), 0, None, 0),
                (9, "G9", None, 700000008 * tick, 0, 3, None, 0, None, 2),
            ]
        db.executemany(f"INSERT INTO message VALUES ({', '.join('?' * len(rows[0]))})", rows)
        joins = [(2 if row[0] >= 7 else 1, row[0]) for row in rows]
        db.executemany("INSERT INTO chat_message_join VALUES (?, ?)", joins)
    db.close()
    return path


MBOX = b"""\
From mira@example.org Fri Jan  5 21:15:00 2024
From: "Mira Holt" <Mira@Example.org>
To: Jonas Brandt <jonas@example.org>
Subject: =?utf-8?q?F=C3=A4hre?=
Message-ID: <a@example.org>
Date: Fri, 05 Jan 2024 21:15:00 +0100
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

sch=C3=B6n, bis morgen!
>From the pier.

--=20
Mira Holt
Tel. 555

From jonas@example.org Fri Jan  5 21:20:00 2024
From: jonas@example.org
To: mira@example.org
Subject: Re: =?utf-8?q?F=C3=A4hre?=
Message-ID: <b@example.org>
In-Reply-To: <a@example.org>
References: <a@example.org>
Date: Fri, 05 Jan 2024 21:20:00 +0100
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary=xx

--xx
Content-Type: text/html; charset=utf-8

<div>Gern.<br>Um 9?</div><div class="gmail_quote"><div>On Fri Mira wrote:</div><blockquote>old</blockquote></div>
--xx--

From mira@example.org Fri Jan  5 21:30:00 2024
From: Mira Holt <mira@example.org>
To: jonas@example.org
Subject: AW: Re: x
Message-ID: <c@example.org>
References: <a@example.org> <b@example.org>
Date: Fri, 05 Jan 2024 21:30:00 +0100
Content-Type: text/plain; charset=no-such-set

On Fri, Jan 5, 2024 at 9:20 PM Jonas Brandt
<jonas@example.org> wrote:

> Um 9?

ja, um 9

-----Original Message-----
From: somebody
secret of others

From news@example.com Fri Jan  5 22:00:00 2024
From: news@example.com
To: mira@example.org
Subject: Offers
Message-ID: <d@example.com>
List-Unsubscribe: <https://example.com/u>
Date: Fri, 05 Jan 2024 22:00:00 +0000

buy

From x Fri Jan  5 22:00:00 2024
From: nobody
Subject: no address
Date: nonsense

text

"""


def chatgpt_conversation(*, current: str | None = "n4") -> dict[str, Any]:
    def node(own: str, parent: str | None, message: Any, *children: str) -> dict[str, Any]:
        return {"id": own, "parent": parent, "children": list(children), "message": message}

    def said(own: str, role: str, *parts: Any, **more: Any) -> dict[str, Any]:
        content = {"content_type": "text", "parts": list(parts)}
        return {"id": own, "author": {"role": role}, "content": content, "create_time": None} | more

    return {
        "title": "Boats",
        "create_time": 1704489300.5,
        "mapping": {
            "root": node("root", None, None, "n0"),
            "n0": node("n0", "root", said("m0", "user", "profile", metadata={"is_user_system_message": True}), "n1"),
            "n1": node("n1", "n0", said("m1", "user", "which boat?", create_time=1704489301.0), "n2", "n3"),
            "n2": node("n2", "n1", said("m2", "assistant", "the first answer"), "n2"),
            "n3": node("n3", "n1", said("m3", "tool", "looked up"), "n4"),
            "n4": node(
                "n4", "n3", said("m4", "assistant", {"asset": 1}, "the second answer", create_time=1704489305.0)
            ),
            "bad": node("bad", "n4", {"id": 5}),
        },
        "current_node": current,
        "conversation_id": "c1",
    }


def claude_conversation(*, branches: bool) -> dict[str, Any]:
    def said(own: str, sender: str, text: str, parent: str, **more: Any) -> dict[str, Any]:
        about = {"uuid": own, "sender": sender, "text": text, "created_at": "2024-01-05T21:15:00.5Z"}
        return about | ({"parent_message_uuid": parent} if branches else {}) | more

    content = [{"type": "thinking", "text": "hm"}, {"type": "text", "text": "the answer"}, {"type": "tool_use"}]
    found = {
        "uuid": "k1",
        "name": "Boats",
        "summary": "",
        "chat_messages": [
            said("a", "human", "which boat?", "00000000"),
            said("b", "assistant", "an older answer", "a"),
            said("c", "assistant", "", "a", content=content),
        ],
    }
    return found | ({"current_leaf_message_uuid": "c"} if branches else {})
