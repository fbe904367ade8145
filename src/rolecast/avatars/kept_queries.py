"""The SQL of imported conversations, in the words that SQLite and PostgreSQL share."""

from collections.abc import Sequence

from rolecast.books.store import Query

TABLES = ("avatar_messages", "avatar_people", "avatar_names", "avatar_chats")
"""What says who said what."""
MANY_ROWS = 50
_COLUMNS = ("id", "chat", "person", "at", "place", "text", "reply_to", "personality", "emotion", "relationship", "tags")
_LIST = ", ".join(_COLUMNS)


def _names(rows: int) -> tuple[str, ...]:
    return tuple(f"{column}{row}" for row in range(rows) for column in _COLUMNS)


def _put(names: Sequence[str]) -> Query:
    """Keep messages. What it returns of each new one is 0, of each changed one how often it was changed."""
    starts = range(0, len(names), len(_COLUMNS))
    rows = ", ".join(f"({', '.join(f':{each}' for each in names[n : n + len(_COLUMNS)])}, 0)" for n in starts)
    return Query(
        f"INSERT INTO avatar_messages ({_LIST}, changed) VALUES {rows} "  # noqa: S608  # our names
        "ON CONFLICT (id) DO UPDATE SET text = excluded.text, at = excluded.at, changed = avatar_messages.changed + 1 "
        "WHERE avatar_messages.text <> excluded.text OR ABS(avatar_messages.at - excluded.at) >= 1 RETURNING changed"
    )


MANY_NAMES, ONE_NAMES = _names(MANY_ROWS), _names(1)
"""Of the parameters, row by row."""
MANY, ONE = _put(MANY_NAMES), _put(ONE_NAMES)
PERSON = Query(
    "INSERT INTO avatar_people (id, name, same) VALUES (:id, :name, :id) ON CONFLICT (id) DO UPDATE "
    "SET name = excluded.name WHERE excluded.name <> excluded.id AND avatar_people.name <> excluded.name"
)
NAME = Query(
    "INSERT INTO avatar_names (person, name, folded) VALUES (:person, :name, :folded) "
    "ON CONFLICT (person, name) DO NOTHING"
)
CHAT = Query(
    "INSERT INTO avatar_chats (id, title, grouped, zone) VALUES (:id, :title, :grouped, :zone) "
    "ON CONFLICT (id) DO UPDATE SET title = CASE WHEN excluded.title = '' THEN avatar_chats.title ELSE excluded.title "
    "END, grouped = excluded.grouped, zone = excluded.zone"
)
JOIN = Query("UPDATE avatar_people SET same = :one WHERE same = :other")
APART = Query("UPDATE avatar_people SET same = id WHERE id = :id")

GONE = Query("SELECT person FROM avatar_forgotten")
READMIT = Query("DELETE FROM avatar_forgotten WHERE person = :person")
TOMBSTONE = Query("INSERT INTO avatar_forgotten (person, at) VALUES (:person, :at) ON CONFLICT (person) DO NOTHING")
IDS = Query("SELECT id FROM avatar_people WHERE same = :person ORDER BY id")
UNSAY = Query("DELETE FROM avatar_messages WHERE person = :person RETURNING id")
UNNAME = Query("DELETE FROM avatar_names WHERE person = :person")
REMOVE = Query("DELETE FROM avatar_people WHERE id = :id")
EMPTY_CHATS = Query("DELETE FROM avatar_chats WHERE id NOT IN (SELECT chat FROM avatar_messages)")

BY_ID = Query("SELECT same FROM avatar_people WHERE id = :id")
NAMED = Query(
    "SELECT DISTINCT p.same FROM avatar_names n JOIN avatar_people p ON p.id = n.person WHERE n.folded = :folded "
    "ORDER BY p.same"
)
SAME = Query("SELECT id, same FROM avatar_people WHERE same <> id")
EVERYBODY = Query(
    "SELECT p.id, p.same, p.name, n.name FROM avatar_people p LEFT JOIN avatar_names n ON n.person = p.id "
    "ORDER BY p.same, p.id, n.name"
)
CHATS = Query("SELECT id, title, grouped, zone FROM avatar_chats ORDER BY id")
SPEAKERS = Query(
    "SELECT COALESCE(p.same, m.person), COUNT(*), COUNT(DISTINCT m.chat), "
    "COALESCE(MIN(CASE WHEN m.at > :unknown THEN m.at END), :unknown), MAX(m.at) FROM avatar_messages m "
    "LEFT JOIN avatar_people p ON p.id = m.person GROUP BY COALESCE(p.same, m.person) ORDER BY 2 DESC, 1"
)
MOODS = Query(
    "SELECT DISTINCT COALESCE(p.same, m.person), m.personality, m.emotion FROM avatar_messages m "
    "LEFT JOIN avatar_people p ON p.id = m.person WHERE m.personality <> '' OR m.emotion <> ''"
)

STATE = Query(
    "SELECT COUNT(*), COALESCE(SUM(changed), 0), MAX(at), MAX(id), "
    "(SELECT COUNT(*) FROM avatar_names), (SELECT COUNT(*) FROM avatar_people WHERE same <> id), "
    "(SELECT COUNT(*) FROM avatar_forgotten) FROM avatar_messages"
)

_WITHIN = "at >= :since AND at < :until"
_CHATS = (
    "(CAST(:person AS TEXT) = '' OR chat IN (SELECT chat FROM avatar_messages WHERE person IN "  # noqa: S608  # our names
    f"(SELECT id FROM avatar_people WHERE same = :person) AND {_WITHIN}))"
)
CHATS_OF = Query(f"SELECT DISTINCT chat FROM avatar_messages WHERE {_WITHIN} AND {_CHATS} ORDER BY chat")  # noqa: S608  # our names
NTH_NEWEST = Query(
    f"SELECT at, place, id FROM avatar_messages WHERE {_WITHIN} AND {_CHATS} "  # noqa: S608  # our names
    "ORDER BY at DESC, place DESC, id DESC LIMIT 1 OFFSET :nth"
)
PAGE = Query(
    f"SELECT {_LIST} FROM avatar_messages WHERE chat = :chat AND (at, place, id) > (:at, :place, :id) "  # noqa: S608  # our names
    "AND at < :until ORDER BY at, place, id LIMIT :most"
)
PEOPLE_OF = Query(
    "SELECT DISTINCT p.same FROM avatar_people p WHERE p.id IN "  # noqa: S608  # our names
    f"(SELECT person FROM avatar_messages WHERE {_WITHIN} AND {_CHATS}) "
    "OR NOT EXISTS (SELECT 1 FROM avatar_messages m WHERE m.person = p.id)"
)
