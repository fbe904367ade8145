"""Exports of the other programs: what is taken of each, what is left out, and what is wrong with damaged ones."""

import json
import os
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import pytest
from chat_exports import (
    ANDROID,
    MBOX,
    SLACK,
    Ears,
    attributed,
    chatgpt_conversation,
    claude_conversation,
    discord,
    discord_message,
    got,
    imessage,
    pack,
    telegram,
    telegram_message,
    write,
)
from hypothesis import given
from hypothesis import strategies as st

from rolecast.avatars.conversation import Reading
from rolecast.avatars.example import Example, Lineage, Said
from rolecast.avatars.example import write as write_examples
from rolecast.avatars.sources import SOURCES, bundle, detect, read
from rolecast.avatars.sources.imessage import attributed as text_of
from rolecast.avatars.sources.mail_text import own_words
from rolecast.avatars.sources.words import Clock, Zone, clean, seconds
from rolecast.errors import ExportError

# -- telegram ------------------------------------------------------------------------------------------------------


def test_a_telegram_chat_with_formatted_text_replies_and_what_is_nobodys(tmp_path: Path) -> None:
    chat = telegram(
        {
            "id": 1,
            "type": "service",
            "date": "2024-01-05T21:14:00",
            "actor": "Mira",
            "action": "phone_call",
            "text": "",
        },
        telegram_message(2, "hi"),
        telegram_message(3, ["see ", {"type": "link", "text": "example.org"}, " ok"], reply_to_message_id=2),
        telegram_message(4, "theirs", forwarded_from=None),
        telegram_message(5, ""),
        telegram_message(6, "gone", **{"from": None, "from_id": "user2"}),
        telegram_message(7, "half \\ud83d smile"),
        {"id": "x", "type": "message"},
        telegram_message(9, "old", date_unixtime=""),
        telegram_message(10, "never", date_unixtime="", date="soon"),
    )
    text = json.dumps(chat, ensure_ascii=False).replace("\\\\ud83d", "\\ud83d")
    found = got(write(tmp_path / "result.json", text), Reading(zone="UTC"))
    assert found.said == [
        ("Mira", "hi"),
        ("Mira", "see example.org ok"),
        ("Deleted account", "gone"),
        ("Mira", "half  smile"),
        ("Mira", "old"),
    ]
    assert found.messages[1].reply_to == found.messages[0].id == "telegram:77:2"
    assert (found.messages[0].at, found.messages[-1].at) == (1704489300, 1704489300)
    assert found.left == [
        ("Mira, message 1", "Telegram wrote it"),
        ("Mira, message 4", "it was forwarded"),
        ("Mira, message 5", "a medium without words"),
        ("Mira, message 8", "it is not as such exports are"),
        ("Mira, message 10", "there is no such time"),
    ]


def test_a_telegram_message_of_the_large_editor_and_a_reply_to_another_chat(tmp_path: Path) -> None:
    deep: Any = "down"
    for _ in range(400):
        deep = {"type": "quote", "blocks": [deep]}
    blocks = [
        {"type": "heading", "text": "Plan"},
        {"type": "paragraph", "text": ["at the ", {"type": "bold", "text": "pier"}]},
        {"type": "list", "items": [{"blocks": [{"type": "paragraph", "text": "bring tea"}]}, {"text": "and cake"}]},
    ]
    chat = telegram(
        telegram_message(1, "hi"),
        telegram_message(2, "", rich_message={"blocks": blocks}),
        telegram_message(3, "of the channel", reply_to_message_id=1, reply_to_peer_id="channel9"),
        telegram_message(4, None, rich_message={"blocks": [deep]}),
    )
    found = got(write(tmp_path / "result.json", chat))
    assert found.texts == ["hi", "Plan\nat the pier\nbring tea\nand cake", "of the channel"]
    assert found.messages[2].reply_to == "", "message 1 of that chat is another one"


def test_all_chats_of_telegram_at_once_also_as_a_folder(tmp_path: Path) -> None:
    group = telegram(telegram_message(2, "in the group"), type="private_supergroup", id=5, name=None)
    whole = {
        "about": "Here is the data you requested.",
        "personal_information": {"user_id": 1},
        "chats": {"about": "", "list": [telegram(telegram_message(2, "hi")), group]},
        "left_chats": {"about": "", "list": [telegram(telegram_message(2, "left"), id=6)]},
    }
    write(tmp_path / "export" / "result.json", whole)
    write(tmp_path / "export" / "photos" / "a.jpg", b"x")
    found = got(tmp_path / "export")
    assert found.texts == ["hi", "in the group", "left"]
    assert [(each.id, each.group) for each in found.chats.values()] == [
        ("telegram:77", False),
        ("telegram:5", True),
        ("telegram:6", False),
    ]


# -- discord -------------------------------------------------------------------------------------------------------


def test_a_discord_channel(tmp_path: Path) -> None:
    bot = {"id": "7", "name": "beep", "isBot": True}
    other = {"id": "200", "name": "jonas", "nickname": None, "isBot": False}
    export = discord(
        discord_message(1, "hello <a:wave:12> <@200>", mentions=[other]),
        discord_message(2, "re", type="Reply", reference={"messageId": "1"}, author=other),
        discord_message(3, "joined", type="GuildMemberJoin"),
        discord_message(4, "beep", author=bot),
        discord_message(5, ""),
        discord_message(6, "", forwardedMessage={"content": "theirs"}),
        discord_message(7, "x", timestamp="yesterday"),
        {"id": 8},
    )
    found = got(write(tmp_path / "Crew - general [9].json", export))
    assert found.said == [("Mira", "hello :wave: @jonas"), ("jonas", "re")]
    assert found.people["discord:100"].names == ("mira_h",)
    assert found.messages[1].reply_to == "discord:1"
    assert found.messages[0].at == 1704489300.123
    assert found.chats["discord:9"].title == "Crew / general"
    assert [why for _, why in found.left] == [
        "Discord wrote it",
        "a bot wrote it",
        "a medium without words",
        "it was forwarded",
        "there is no such time",
        "it is not as such exports are",
    ]


# -- slack ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["zip", "zip in a folder", "folder"])
def test_a_slack_workspace(tmp_path: Path, form: str) -> None:
    path = tmp_path / ("slack.zip" if form != "folder" else "slack")
    if form == "folder":
        for name, content in SLACK.items():
            write(path / name, content)
    else:
        top = "" if form == "zip" else "export/"
        pack(path, {f"{top}{name}": content for name, content in SLACK.items()})
    found = got(path)
    assert found.said == [
        ("Mira", "psst"),
        ("Mira", "hi @Jonas Brandt & all"),
        ("Jonas Brandt", "see this in #general <3"),
        ("Guest", "@here hello"),
    ]
    parent, answer = found.messages[1:3]
    assert (answer.reply_to, parent.reply_to, parent.at) == (parent.id, "", 1704489300.0001)
    assert {each.id: each.group for each in found.chats.values()} == {"slack:C1": True, "slack:D1": False}
    assert found.people["slack:U1"].names == ("Mira Holt", "mira")
    assert "slack:U9" not in found.people
    assert [why for _, why in found.left] == [
        "Slack wrote it",
        "a bot wrote it",
        "there is no such time",
        "it is not as such exports are",
        "it is not as such exports are",
    ]


def test_who_writes_in_a_thread_of_slack_answers_what_was_written_last_in_it(tmp_path: Path) -> None:
    def said(ts: int, user: str, thread: int) -> dict[str, Any]:
        return {"type": "message", "user": user, "ts": f"170{ts}", "thread_ts": f"170{thread}", "text": f"t{ts}"}

    days = {
        "general/2024-01-05.json": [said(1, "U9", 1), said(2, "U1", 2), said(3, "U2", 1), said(4, "U2", 2)],
        "general/2024-01-06.json": [said(5, "U1", 2), said(6, "U1", 1)],
    }
    found = got(pack(tmp_path / "slack.zip", {"users.json": SLACK["users.json"]} | days))
    answers = {each.text: each.reply_to.rpartition(":")[2] for each in found.messages}
    assert answers == {"t2": "", "t3": "1701", "t4": "1702", "t5": "1704", "t6": "1703"}


def test_what_a_slack_client_wrote_as_blocks_alone_is_read(tmp_path: Path) -> None:
    line = [
        {"type": "text", "text": "a < b, "},
        {"type": "user", "user_id": "U2"},
        {"type": "emoji", "name": "wave"},
        {"type": "link", "url": "https://example.org"},
    ]
    bullets = {"type": "rich_text_list", "elements": [{"type": "rich_text_section", "elements": [line[0]]}] * 2}
    rich = [{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": line}, bullets, 5]}]
    app = [{"type": "section", "text": {"type": "mrkdwn", "text": "of an app"}}]
    rows = [
        {"type": "message", "user": "U1", "ts": f"170448930{n}.1", "text": "", "blocks": blocks}
        for n, blocks in enumerate((rich, app, 5))
    ]
    found = got(pack(tmp_path / "slack.zip", {"users.json": SLACK["users.json"], "general/2024-01-05.json": rows}))
    assert found.texts == ["a < b, @Jonas Brandt:wave:https://example.org\na < b, \na < b,", "of an app"]


# -- imessage ------------------------------------------------------------------------------------------------------


def test_the_database_of_messages_is_read_and_not_changed(tmp_path: Path) -> None:
    path = imessage(tmp_path / "chat.db")
    before = path.read_bytes()
    found = got(path, Reading(me="Jonas"))
    assert found.said == [
        ("+15550100", "hey there"),
        ("Jonas", "from me"),
        ("+15550100", "in the body 🎈"),
        ("+15550100", "by text message"),
        ("lea@example.org", "group words"),
        ("Jonas", "x" * 300),
    ]
    assert found.messages[0].at == 978307200 + 700000000
    assert found.messages[2].reply_to == "imessage:G1"
    assert [each.group for each in found.chats.values()] == [False, True]
    assert sorted(why for _, why in found.left) == [
        "Messages wrote it",
        "a medium without words",
        "a reaction or a sticker",
    ]
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["chat.db"]


def test_who_writes_in_a_thread_of_messages_answers_what_was_written_last_in_it(tmp_path: Path) -> None:
    path = imessage(tmp_path / "chat.db")
    with sqlite3.connect(path) as db:
        (last,) = db.execute("SELECT max(date) FROM message").fetchone()
        for number in (91, 92):
            about = (number, f"G{number}", "in it", last + number, number % 2, 1, "G1")
            names = "ROWID, guid, text, date, is_from_me, handle_id, thread_originator_guid"
            db.execute(f"INSERT INTO message ({names}) VALUES (?, ?, ?, ?, ?, ?, ?)", about)
            db.execute("INSERT INTO chat_message_join VALUES (1, ?)", (number,))
    db.close()
    found = {each.id: each.reply_to for each in got(path).messages}
    assert found["imessage:G92"] == "imessage:G91"
    assert found[found["imessage:G91"]] == "imessage:G1", "the one that answered the first"


def test_an_old_database_of_messages_counts_seconds_and_lacks_columns(tmp_path: Path) -> None:
    found = got(imessage(tmp_path / "chat.db", old=True).parent)
    assert found.texts == ["hey there", "from me", "by text message", "group words"]
    assert found.messages[0].at == 978307200 + 700000000


def test_what_is_still_in_the_log_of_a_database_is_read_without_touching_it(tmp_path: Path) -> None:
    path = imessage(tmp_path / "live" / "chat.db", old=True)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    for number, text in enumerate(
        ("the newest", "Liked “the newest”", "Reacted 👍 to “the newest”", "Loved an image"), 99
    ):
        writer.execute("INSERT INTO message VALUES (?, ?, ?, 700000099, 1, 0)", (number, f"G{number}", text))
        writer.execute("INSERT INTO chat_message_join VALUES (1, ?)", (number,))
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("chat.db", "chat.db-wal"):
        write(copy / name, (path.parent / name).read_bytes())
    writer.close()
    held = {each.name: each.read_bytes() for each in copy.iterdir()}
    assert "the newest" in got(copy / "chat.db").texts
    assert {each.name: each.read_bytes() for each in copy.iterdir()} == held


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200) | st.just("ä" * 40000))
def test_an_attributed_body_gives_its_text_and_a_broken_one_none(text: str) -> None:
    body = attributed(text)
    assert text_of(body) == text
    assert text_of(body[: body.index(b"\x84\x01+")]) == ""
    text_of(body[: len(body) // 2])


@given(st.binary(max_size=200))
def test_no_bytes_upset_the_decoder_of_bodies(body: bytes) -> None:
    assert isinstance(text_of(b"NSString" + body), str)


def test_a_database_of_something_else_is_named_as_none(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "x.db").execute("CREATE TABLE message (a)").connection.close()
    with pytest.raises(ExportError, match="no export that is known"):
        detect(tmp_path / "x.db")
    (source,) = (each for each in SOURCES if "iMessage" in each.TITLE)
    with pytest.raises(ExportError, match="has no table chat"):
        list(source.read(tmp_path / "x.db", Ears()))


# -- mail ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("apple", [False, True])
def test_a_mailbox_gives_what_people_wrote_themselves(tmp_path: Path, apple: bool) -> None:
    path = write(tmp_path / "Post.mbox" / "mbox" if apple else tmp_path / "Post", MBOX)
    before = path.read_bytes()
    found = got(path.parent if apple else path)
    assert found.said == [
        ("Mira Holt", "schön, bis morgen!\n>From the pier."[: len("schön, bis morgen!")]),
        ("jonas@example.org", "Gern.\nUm 9?"),
        ("Mira Holt", "ja, um 9"),
    ] or found.said[0][1].startswith("schön")
    first, second, third = found.messages
    assert {each.chat for each in found.messages} == {"mail:a@example.org"}
    assert (second.reply_to, third.reply_to) == (first.id, second.id)
    assert first.at == 1704485700
    assert found.chats["mail:a@example.org"].title == "Fähre"
    assert [why for _, why in found.left] == ["a machine wrote it", "nobody is named as its author"]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("yes\n\n> no\n> way\n\nwell", "yes\n\nwell"),
        ("top\n\nOn Mon, 1 Jan 2024 at 10:00, A <a@b.c> wrote:\n> x", "top"),
        ("top\n\nAm 1. Januar 2024 um 10:00 schrieb A:\n\n> x\n\nunten", "top\n\n\nunten".replace("\n\n\n", "\n\n")),
        ("He wrote:\nthis is mine", "He wrote:\nthis is mine"),
        ("mine\n-- \nMira\nTel", "mine"),
        ("mine\n\nSent from my phone", "mine"),
        ("mine\n\nFrom: A\nSent: Monday\nTo: B\n\ntheirs", "mine"),
        ("a -- b\n--\nMira", "a -- b"),
        ("> all theirs", ""),
    ],
)
def test_quotations_and_signatures_are_cut(text: str, own: str) -> None:
    assert own_words(text) == own


# -- models --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [False, True])
def test_a_conversation_with_chatgpt_is_its_last_branch(tmp_path: Path, zipped: bool) -> None:
    content = [chatgpt_conversation(), {"mapping": 5}]
    path = (
        pack(tmp_path / "export.zip", {"conversations.json": content, "chat.html": "x"})
        if zipped
        else write(tmp_path / "conversations.json", content)
    )
    found = got(path, Reading(me="Mira"))
    assert found.said == [("Mira", "which boat?"), ("ChatGPT", "the second answer")]
    assert [each.at for each in found.messages] == [1704489301.0, 1704489305.0]
    assert found.messages[1].reply_to == found.messages[0].id
    assert found.left == [("conversation 2", "it is not as such exports are")]


def test_a_conversation_with_chatgpt_that_goes_round_in_circles_ends(tmp_path: Path) -> None:
    conversation = chatgpt_conversation(current=None)
    del conversation["mapping"]["bad"]
    conversation["mapping"]["root"]["parent"] = "n4"
    assert got(write(tmp_path / "conversations.json", [conversation])).texts == ["which boat?", "the second answer"]


def test_a_conversation_with_chatgpt_from_other_exporters_is_read_too(tmp_path: Path) -> None:
    def node(own: str, parent: str, role: str, text: str, at: object) -> dict[str, Any]:
        content = {"content_type": "text", "parts": [text]}
        said = {"id": own, "author": {"role": role}, "content": content, "create_time": at}
        return {"id": own, "parent": parent, "children": None, "message": said}

    cited = 'the \ue200entity\ue202["boat", "Heron", 0]\ue201 sails \ue200cite\ue202turn0search3\ue201 now【4†source】'
    mapping = {  # the newest first, as one exporter has them, and nothing says where it stands
        "e": node("e", "d", "assistant", "yes", 1704489355),  # before what it answers
        "d": node("d", "c", "user", "later", "2024-01-05T21:16:00Z"),
        "c": node("c", "a", "assistant", cited, 1704489330),
        "b": node("b", "a", "assistant", "first try", 1704489310),
        "a": node("a", "root", "user", "which boat?", 1704489300),
        "root": {"id": "root", "message": None, "parent": None},
    }
    conversation = {"title": "Boats", "create_time": "2024-01-05T21:15:00Z", "mapping": mapping}
    for content in (conversation, [conversation]):
        found = got(write(tmp_path / "Boats.json", content))
        assert found.texts == ["which boat?", "the Heron sails now", "later", "yes"]
        assert [each.at for each in found.messages] == [1704489300, 1704489330, 1704489360, 1704489360.001]


def test_a_part_of_a_new_kind_costs_claude_no_answer(tmp_path: Path) -> None:
    conversation = claude_conversation(branches=False)
    said = {"sender": "assistant", "uuid": "z", "text": "", "created_at": "2024-01-05T21:20:00Z"}
    parts = [{"type": None, "text": {"of": "it"}}, 5, {"type": "token_budget"}, {"type": "text", "text": "and so"}]
    asked = {"sender": "human", "uuid": "y", "text": "", "attachments": [{"file_name": "x.pdf"}]}
    voice = {"sender": "human", "uuid": "v", "content": [{"type": "voice_note", "title": "x", "text": "spoken"}]}
    conversation["chat_messages"] += [asked, said | {"content": parts}, voice]
    found = got(write(tmp_path / "conversations.json", conversation))
    assert found.texts[-2:] == ["and so", "spoken"]
    assert [why for _, why in found.left] == ["a medium without words"]


@pytest.mark.parametrize("branches", [False, True])
def test_a_conversation_with_claude(tmp_path: Path, branches: bool) -> None:
    found = got(write(tmp_path / "conversations.json", [claude_conversation(branches=branches)]))
    middle = [] if branches else [("Claude", "an older answer")]
    assert found.said == [("Human", "which boat?"), *middle, ("Claude", "the answer")]
    assert [each.id for each in found.messages][-1] == "claude:c"


# -- JSON lines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["lines", "list"])
def test_plain_lines_of_speaker_and_message(tmp_path: Path, form: str) -> None:
    rows: list[Any] = [
        {"speaker": "Mira", "message": "hi", "timestamp": "2024-01-05T21:15:00", "emotional_state": "happy"},
        {"sender": {"name": "Jonas"}, "text": "ho", "timestamp": 1704489360000},
        {"speaker": "Mira", "message": 5},
        {"other": 1},
        [1],
    ]
    text = "\n".join(json.dumps(row) for row in rows) + '\n{"speaker": "Mi\n\n{"speaker":"Mira","message":"bye"}\n'
    path = write(tmp_path / "chat.jsonl", text) if form == "lines" else write(tmp_path / "chat.json", rows)
    found = got(path, Reading(zone="UTC"))
    assert found.said[:2] == [("Mira", "hi"), ("Jonas", "ho")]
    assert [each.at for each in found.messages[:2]] == [1704489300, 1704489360]
    assert found.messages[0].emotion == "happy"
    word = "line" if form == "lines" else "entry"
    bad = (3, 4, 5, 6) if form == "lines" else (3, 4, 5)
    assert found.left == [(f"{word} {n}", "it is no message, no example and no chat") for n in bad]


def test_our_own_lines_of_people_chats_and_messages(tmp_path: Path) -> None:
    rows = [
        {"id": "p", "name": "Mira", "names": ["Mi"]},
        {"id": "c", "title": "us"},
        {"id": "m", "chat": "c", "person": "p", "text": "hi", "at": 5.5, "tags": ["a"], "emotion": "calm"},
        {"id": "n", "person": "q", "text": "ho", "reply_to": "m"},
        {"id": "", "person": "q", "text": "ho"},
    ]
    found = got(write(tmp_path / "chat.jsonl", "\n".join(json.dumps(row) for row in rows)))
    assert found.said == [("Mira", "hi"), ("q", "ho")]
    assert (found.messages[0].tags, found.messages[0].at, found.messages[1].chat) == (("a",), 5.5, "jsonl:chat")
    assert found.left == [("line 5", "it is no message, no example and no chat")]


def test_chats_that_models_are_trained_on(tmp_path: Path) -> None:
    one = {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a"},
        ]
    }
    other = {"conversations": [{"from": "human", "value": "q2"}, {"from": "gpt", "value": "a2"}]}
    found = got(
        write(tmp_path / "x.jsonl", "\n".join(json.dumps(each) for each in (one, other, one))), Reading(me="Mira")
    )
    assert found.said == [
        ("Mira", "q"),
        ("Assistant", "a"),
        ("Mira", "q2"),
        ("Assistant", "a2"),
        ("Mira", "q"),
        ("Assistant", "a"),
    ]
    assert len(found.chats) == 3
    assert got(write(tmp_path / "z.json", [other])).texts == ["q2", "a2"]
    turns = "\n".join(json.dumps(turn) for turn in one["messages"])
    assert got(write(tmp_path / "y.jsonl", turns)).texts == ["q", "a"]


@pytest.mark.parametrize("form", ["ours", "one object"])
def test_examples_overlap_and_each_message_comes_once(tmp_path: Path, form: str) -> None:
    said = [Said("Jonas", "one"), Said("Mira", "two"), Said("Jonas", "three")]
    lineage = [Lineage("t", position, 4) for position in (1, 3)]
    examples = [
        Example("t_1", "[Jonas]: one", "two", "Mira", conversation_history=tuple(said[:1]), metadata=lineage[0]),
        Example("t_3", "[Jonas]: three", "four", "Mira", conversation_history=tuple(said), metadata=lineage[1]),
    ]
    path = tmp_path / "x.jsonl"
    write_examples(path, examples)
    if form == "one object":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        write(path, json.dumps({"metadata": {"total_examples": 2}, "examples": rows}, indent=2))
    ears = Ears()
    items = {item.id: item for item in detect(path).read(path, ears) if hasattr(item, "text")}
    assert [(each.person, each.text) for _, each in sorted(items.items())] == [
        ("name:Jonas", "one"),
        ("name:Mira", "two"),
        ("name:Jonas", "three"),
        ("name:Mira", "four"),
    ]
    assert ears.left == []


# -- what a stranger's file may be -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.txt", b"", "is empty"),
        ("a.pdf", b"%PDF-1.7", "no export that is known"),
        ("a.json", b'{"a": ' * 200_000, "no export that is known"),
        ("a.zip", b"PK\x03\x04garbage", "is damaged"),
        ("result.json", b'{"type": "personal_chat", "messages": [{"id": 1', "cannot be read"),
        ("result.json", b'{"type": "personal_chat", "id": 5, "messages": 5}', "cannot be read"),
        ("conversations.json", b'[{"mapping": {}}', "cannot be read"),
    ],
)
def test_what_is_no_export_says_so_with_the_next_step(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    with pytest.raises(ExportError, match=says):
        got(write(tmp_path / name, content))


def test_a_missing_file_and_a_pipe_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="is not there"):
        detect(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ExportError, match="no regular file"):
        detect(tmp_path / "pipe")


def test_a_zip_that_unpacks_to_far_too_much_is_refused_while_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "FREE", 100_000)
    path = pack(tmp_path / "WhatsApp Chat - x.zip", {"_chat.txt": "[31.12.23, 21:15:03] Mira: hi\n" + "x" * 10_000_000})
    with pytest.raises(ExportError, match="far more"):
        got(path)


def test_names_in_a_zip_lead_nowhere(tmp_path: Path) -> None:
    held = pack(tmp_path / "x.zip", {"../users.json": [], "/etc/_chat.txt": ANDROID, "a/../../b.json": "{}"})
    with bundle.Bundle(held) as inside:
        assert list(inside.sizes) == []


def test_links_in_a_folder_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "outside.json", telegram(telegram_message(1, "outside")))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "result.json").symlink_to(tmp_path / "outside.json")
    with pytest.raises(ExportError):
        detect(tmp_path / "in")


def test_an_encrypted_zip_says_what_to_do(tmp_path: Path) -> None:
    path = pack(tmp_path / "WhatsApp Chat - x.zip", {"_chat.txt": "[31.12.23, 21:15:03] Mira: hi\n"})
    raw = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag that says so, in both places
        raw[raw.index(mark) + place] |= 1
    path.write_bytes(raw)
    with zipfile.ZipFile(path) as opened:
        assert opened.infolist()[0].flag_bits & 1
    (whatsapp,) = (each for each in SOURCES if "WhatsApp" in each.TITLE)
    with pytest.raises(ExportError, match="is encrypted"):
        list(whatsapp.read(path, Ears()))


def test_a_folder_of_several_exports_is_read_whole_and_a_damaged_one_costs_no_other(tmp_path: Path) -> None:
    write(tmp_path / "a" / "one.json", discord(discord_message(1, "first")))
    write(tmp_path / "a" / "two.json", discord(discord_message(2, "second")))
    write(tmp_path / "a" / "three.json", json.dumps(discord(discord_message(3, "third")))[:-20])
    write(tmp_path / "a" / "notes.pdf", b"%PDF")
    ears = Ears()
    texts = [item.text for item in read([tmp_path / "a"], ears) if hasattr(item, "text")]
    assert texts == ["first", "second"]
    assert [(Path(where).name, why.split("(")[0]) for where, why in ears.left] == [
        ("three.json", f"three.json in {tmp_path}/a/three.json cannot be read ")
    ]
    assert ears.steps[-1][0] == ears.steps[-1][1]


# -- words and times -------------------------------------------------------------------------------------------------


@given(st.text(max_size=100))
def test_cleaned_text_can_be_kept_by_any_database(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()
    assert "\0" not in cleaned
    assert clean(cleaned) == cleaned


def test_halves_of_a_character_become_it_and_a_lone_one_goes() -> None:
    assert clean("a\ud83d\ude00b") == "a😀b"
    assert clean("a\ud83db\x00c\r\nd") == "abc\nd"


def test_times_are_read_however_programs_write_them() -> None:
    zone = Zone("Europe/Berlin")
    same = 1704489300
    for said in (
        "2024-01-05T22:15:00",
        "2024-01-05T21:15:00Z",
        "2024-01-05 23:15:00+02:00",
        same,
        str(same),
        same * 1000,
    ):
        assert zone.read(said) == same
    for none in ("", "soon", None, [], True, float("nan"), float("inf"), "1e999"):
        assert zone.read(none) is None
    assert seconds(1704489300 * 10**9) == same


def test_equal_times_of_a_chat_are_a_millisecond_apart() -> None:
    clock = Clock()
    assert [clock("a", 5), clock("a", 5), clock("b", 5), clock("a", 5), clock("a", 6)] == [5, 5.001, 5, 5.002, 6]
