"""WhatsApp chats: both kinds of phones, both orders of dates, and what WhatsApp writes itself."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from chat_exports import ANDROID, IPHONE, got, pack, write
from hypothesis import given
from hypothesis import strategies as st

from rolecast.avatars.conversation import Reading
from rolecast.avatars.sources import whatsapp_dates as dates
from rolecast.avatars.sources import whatsapp_words as words
from rolecast.errors import ExportError, Invalid

UTC_IT_IS = Reading(zone="UTC")


def test_an_android_chat_with_system_lines_media_edits_and_several_lines(tmp_path: Path) -> None:
    found = got(write(tmp_path / "WhatsApp Chat with Mira Holt.txt", ANDROID), UTC_IT_IS)
    assert found.said == [
        ("Mira Holt", "ola ola!! 🎉"),
        ("Mira Holt", "second line follows\n  - indented: yes\n12/30/23, 8:00 AM is when we said"),
        ("Jonas", "ok"),
        ("Jonas", "ok"),
        ("Mira Holt", "look at this"),
        ("Jonas", "happy new year"),
    ]
    assert sorted(found.people) == ["whatsapp:Jonas", "whatsapp:Mira Holt"]
    (chat,) = found.chats.values()
    assert (chat.title, chat.group, chat.zone) == ("Mira Holt", False, "UTC")
    assert found.left == [
        ("line 1", "WhatsApp wrote it"),
        ("line 2", "WhatsApp wrote it"),
        ("line 10", "a medium without words"),
        ("line 13", "it was deleted"),
    ]
    times = [datetime.fromtimestamp(each.at or 0, UTC).isoformat() for each in found.messages]
    assert times[0] == "2023-12-31T21:15:00+00:00"
    assert times[-2:] == ["2024-01-01T00:00:00+00:00", "2024-01-01T00:02:00+00:00"]
    assert times == sorted(set(times)), "messages of one minute keep their order, whoever sorts them"


def test_an_iphone_chat_in_german_with_marks_and_a_forged_header(tmp_path: Path) -> None:
    path = pack(
        tmp_path / "WhatsApp Chat - Holts.zip", {"_chat.txt": IPHONE, "0012-PHOTO.jpg": b"\xff\xd8", "notes.txt": "x"}
    )
    found = got(path, UTC_IT_IS)
    assert found.said == [
        ("Mira", "hallo @Jonas"),
        ("Jonas", "schau"),
        ("Lea", "[1.1.24, 10:00:00] Mira: never said\n1/1/24, 10:00 AM - Mira: pasted from a phone"),
        ("Lea", "frohes neues"),
    ]
    (chat,) = found.chats.values()
    assert (chat.id, chat.title, chat.group) == ("whatsapp:Holts", "Holts", True)
    assert "whatsapp:Holts" not in found.people


def test_the_same_chat_has_the_same_ids_from_a_folder_a_zip_and_a_second_download(tmp_path: Path) -> None:
    zipped = pack(tmp_path / "WhatsApp Chat - Holts (1).zip", {"_chat.txt": IPHONE})
    folder = tmp_path / "WhatsApp Chat - Holts"
    write(folder / "_chat.txt", IPHONE)
    alone = folder / "_chat.txt"
    first, second, third = (
        got(path, Reading(zone=zone)) for path, zone in ((zipped, "UTC"), (folder, "UTC"), (alone, "Asia/Tokyo"))
    )
    assert [each.id for each in first.messages] == [each.id for each in second.messages]
    assert [each.id for each in first.messages] == [each.id for each in third.messages], "not even the zone matters"
    assert first.messages[0].at != third.messages[0].at


def test_a_file_without_a_name_is_told_apart_by_who_is_in_it(tmp_path: Path) -> None:
    two = "[31.12.23, 21:15:03] Mira: hallo\n[31.12.23, 21:16:03] Jonas: na\n"
    one, other = (
        write(tmp_path / "a" / "_chat.txt", two),
        write(tmp_path / "b" / "_chat.txt", two.replace("Jonas", "Lea")),
    )
    assert set(got(one).chats) != set(got(other).chats)
    longer = write(tmp_path / "c" / "_chat.txt", two + "[31.12.23, 22:16:03] Mira: und\n")
    assert set(got(one).chats) == set(got(longer).chats)


@pytest.mark.parametrize(
    ("days", "order"),
    [
        (["13/01/24", "01/02/24"], "dmy"),
        (["01/13/24", "02/01/24"], "mdy"),
        (["2024/01/02", "2024/01/03"], "ymd"),
        (["05.06.24", "06.06.24"], "dmy"),
        (["01/02/24", "02/02/24", "03/02/24", "01/03/24"], "dmy"),
        (["02/01/24", "02/02/24", "02/03/24", "03/01/24"], "mdy"),
        (["04/04/24"], "dmy"),
        (["05-11-2023", "12-11-2023", "01-12-2023"], "dmy"),
    ],
)
def test_which_number_is_the_day_is_found_out_from_the_whole_file(days: Sequence[str], order: str) -> None:
    evidence = dates.Evidence()
    for day in days:
        evidence.add(day)
    assert evidence.order("", Path("x")) == order


def test_dates_that_can_be_read_both_ways_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "WhatsApp Chat with Mira.txt", "05/06/24, 10:00 - Mira: hi\n06/06/24, 10:00 - Jonas: ho\n")
    evidence = Reading(zone="UTC", date_order="mdy")
    assert datetime.fromtimestamp(got(path, evidence).messages[0].at or 0, UTC).month == 5
    single = write(tmp_path / "WhatsApp Chat with Lea.txt", "05/06/24, 10:00 - Mira: hi\n")
    with pytest.raises(Invalid, match="--date-order dmy") as raised:
        got(single)
    assert raised.value.param == "date_order"
    assert "hi" not in raised.value.message.split()


@pytest.mark.parametrize(
    ("line", "hour", "who"),
    [
        ("13/1/24, 12:05 am - Mira: x", 0, "Mira"),
        ("13/1/24, 12:05 PM - Mira: x", 12, "Mira"),
        ("13/1/24, 1:05\u202fp.\u00a0m. - Mira: x", 13, "Mira"),
        ("13/1/24, 23:05 - +49 170 1234567: x", 23, "+49 170 1234567"),
        ("13.01.24 um 23:05 - Mira: x", 23, "Mira"),
        ("13. 1. 2024 23:05 - Mira: x", 23, "Mira"),
        ("[13/1/24 23.05.01] \u202a+49 170\u202c: x", 23, "+49 170"),
        ("\u200e[13/1/24, 11:05:01\u202fPM] ~\u202fMira 🎉: x", 23, "Mira 🎉"),
        ("[2024-01-13, 23:05:01] Mira: x", 23, "Mira"),
        ("13/1/24, 23:05 \u2013 Mira: x", 23, "Mira"),
        ("[2024/1/13,\u200911:05:01\u2009PM] Mira: x", 23, "Mira"),
        ("[2024/1/13 下午11:05:01] Mira: x", 23, "Mira"),
        ("2024/1/13 凌晨12:05 - Mira: x", 0, "Mira"),
        ("2024. 1. 13. 오후 1:05 - Mira: x", 13, "Mira"),
        ("13\u200f/1\u200f/2024, 11:05 م - ميرا: x", 23, "ميرا"),
        ("[١٣/١/٢٠٢٤، ١١:٠٥:٠١ م] ميرا: x", 23, "ميرا"),  # noqa: RUF001  # its digits
        ("[۲۰۲۴/۱/۱۳،\u200f ۲۳:۰۵:۰۱] Mira: x", 23, "Mira"),  # noqa: RUF001
        ("13/1/24 11:05 π.μ. - Mira: x", 11, "Mira"),
        ("13/1/24, 11:05 PTG - Mira: x", 23, "Mira"),
        ("13.01.2024 г., 23:05 ч. - Mira: x", 23, "Mira"),  # noqa: RUF001
        ("13/1/2567 23:05 น. - Mira: x", 23, "Mira"),
        ("2024-01-13 23 h 05 - Mira: x", 23, "Mira"),
    ],
)
def test_headers_of_all_kinds(line: str, hour: int, who: str) -> None:
    head = dates.header(line.encode())
    assert head is not None
    at = head.at("ymd" if head.date.startswith("2024") else "dmy")
    again = dates.header(line.encode(), head.style)
    assert again == head, "its own style fits it"
    assert at is not None
    assert (at.year, at.day, at.hour, at.minute) == (2024, 13, hour, 5)
    assert words.split(head.rest) == (who, "x")


@pytest.mark.parametrize(
    "line",
    [
        "13/1/24 is the date",
        "13/1/24, 10:05 Mira: x",
        " 13/1/24, 10:05 - Mira: x",
        "[1] Mira: x",
        "13:05 - Mira: x",
        "",
    ],
)
def test_what_only_looks_like_a_header_is_text(line: str) -> None:
    assert dates.header(line.encode()) is None


def test_a_time_that_does_not_exist_costs_its_message_and_no_other(tmp_path: Path) -> None:
    text = "lost\n31/12/23, 10:00 - Mira: a\n"
    text += "31/02/24, 10:00 - Mira: b\nmore\n32/12/23, 10:00 - Mira: c\n31/12/23, 25:00 - J: d\n"
    text += "01/01/24, 10:00 - Mira: e\n"
    found = got(write(tmp_path / "WhatsApp Chat with Mira.txt", text), Reading(date_order="dmy"))
    assert found.texts == ["a", "e"]
    assert found.left == [
        ("line 1", "it comes before the first message"),
        ("line 3", "there is no such date or time"),
        ("line 5", "there is no such date or time"),
        ("line 6", "there is no such date or time"),
    ]


def test_summer_time_counts_where_a_zone_is_named(tmp_path: Path) -> None:
    text = "31/01/24, 10:00 - Mira: winter\n31/07/24, 10:00 - Mira: summer\n"
    path = write(tmp_path / "WhatsApp Chat with Mira.txt", text)
    found = got(path, Reading(zone="Europe/Berlin"))
    zone = ZoneInfo("Europe/Berlin")
    assert [each.at for each in found.messages] == [datetime(2024, m, 31, 10, tzinfo=zone).timestamp() for m in (1, 7)]
    with pytest.raises(Invalid, match="no time zone"):
        got(path, Reading(zone="../../etc/passwd"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_that_an_editor_has_saved_is_read(tmp_path: Path, encoding: str) -> None:
    text = ANDROID.replace("\n", "\r\n")
    path = write(tmp_path / "WhatsApp Chat with Mira Holt.txt", text.encode(encoding))
    plain = write(tmp_path / "x" / "WhatsApp Chat with Mira Holt.txt", ANDROID)
    assert [(each.id, each.text) for each in got(path).messages] == [
        (each.id, each.text) for each in got(plain).messages
    ]


def test_bytes_that_are_no_text_lose_nothing_else(tmp_path: Path) -> None:
    raw = b"31/12/23, 10:00 - Mira: a\xff\x00b\n31/12/23, 10:01 - Mira: c\n"
    assert got(write(tmp_path / "WhatsApp Chat with Mira.txt", raw)).texts == ["a\ufffdb", "c"]


def test_a_zip_without_a_chat_is_none(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no export that is known"):
        got(pack(tmp_path / "x.zip", {"readme.txt": "31/12/23, 10:00 - Mira: a"}))


@pytest.mark.parametrize(
    ("written", "stays"),
    [
        ("<Media tidak disertakan>", ""),
        ("<省略多媒体文件>", ""),
        ("<Medien ausgeschlossen>\nfrom the pier", "from the pier"),
        ("IMG-20240101-WA0001.jpg (dosya ekli)\nlook", "look"),
        ("look \u200e<Anhang: 00000012-PHOTO.jpg>", "look"),
        ("later \u200e<Bu mesaj d\u00fczenlendi>", "later"),
        ("Вы удалили данное сообщение.", ""),
        ("null", ""),
        ("POLL:\nPizza?\nOPTION: yes (2 votes)\nOPTION: no (0 votes)", ""),
        ("location: https://maps.google.com/?q=52.5,13.4", ""),
        (
            "Todo:\nmilk\nnote: eggs (12 pieces)\nnote: tea (1 box)",
            "Todo:\nmilk\nnote: eggs (12 pieces)\nnote: tea (1 box)",
        ),
        ("<html>", "<html>"),
        ("see https://maps.google.com/?q=pier", "see https://maps.google.com/?q=pier"),
    ],
)
def test_what_whatsapp_writes_into_messages_in_many_languages(written: str, stays: str) -> None:
    assert words.said("Mira", written.split("\n"))[0] == stays


def test_the_mark_of_media_is_learnt_from_a_chat_in_a_language_that_is_not_known(tmp_path: Path) -> None:
    who = ["Mira", "Jonas", "Mira", "Mira"]
    text = "".join(f"31/12/23, 10:0{n} - {each}: <Izostavljeni mediji>\n" for n, each in enumerate(who))
    text += "".join(f"31/12/23, 11:0{n} - Mira: <sighs deeply>\n" for n in range(4))
    found = got(write(tmp_path / "WhatsApp Chat with Mira.txt", text + "31/12/23, 12:00 - Jonas: ok\n"))
    assert found.texts == ["<sighs deeply>"] * 4 + ["ok"]


TEXT = st.text(st.sampled_from("\u200e\u200f\u2068\u202f\ufeff<>:[]()~/., -\nab01PMé"), max_size=40) | st.text(
    st.characters(exclude_characters="\r", exclude_categories=["Cs"]), max_size=60
)


@given(
    said=st.lists(
        st.tuples(st.sampled_from(["Mira Holt", "Jonas", "+49 170", "José 🎉"]), TEXT), min_size=1, max_size=20
    )
)
def test_whatever_is_written_comes_back_as_it_was_or_is_told(
    said: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("whatsapp") / "WhatsApp Chat with Mira.txt"
    body = "".join(f"31/12/23, 10:{minute:02} - {who}: {text}\n" for minute, (who, text) in enumerate(said))
    found = got(write(path, body), Reading(zone="UTC"))
    assert len(found.messages) + len(found.left) == len(said), "no header was forged, and nothing was lost"
    again = got(path, Reading(zone="UTC"))
    assert [each.id for each in found.messages] == [each.id for each in again.messages]
