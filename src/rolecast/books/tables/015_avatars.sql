-- Conversations that were imported for avatars: who, where, what. All of it is private, and leaves only by extraction.
CREATE TABLE avatar_people (
    id TEXT PRIMARY KEY, name TEXT NOT NULL,
    same TEXT NOT NULL  -- the id of who they are: their own, or another one that is the same person
);
CREATE INDEX avatar_people_same ON avatar_people (same);
CREATE TABLE avatar_names (  -- all that they are called
    person TEXT NOT NULL, name TEXT NOT NULL,
    folded TEXT NOT NULL,  -- without case and accents
    PRIMARY KEY (person, name)
);
CREATE INDEX avatar_names_folded ON avatar_names (folded);
CREATE TABLE avatar_chats (
    id TEXT PRIMARY KEY, title TEXT NOT NULL, grouped INTEGER NOT NULL,
    zone TEXT NOT NULL  -- in which its times were taken to be; '' = they say it themselves
);
CREATE TABLE avatar_messages (
    id TEXT PRIMARY KEY, chat TEXT NOT NULL, person TEXT NOT NULL,
    at REAL NOT NULL,  -- seconds since 1970; -1e300 = nobody knows
    place INTEGER NOT NULL,  -- of those at the same time, the order in which the export had them
    text TEXT NOT NULL, reply_to TEXT NOT NULL,
    personality TEXT NOT NULL, emotion TEXT NOT NULL, relationship TEXT NOT NULL, tags TEXT NOT NULL,  -- a JSON list
    changed INTEGER NOT NULL  -- how often its text was another one in a later export
);
CREATE INDEX avatar_messages_in_chat ON avatar_messages (chat, at, place, id);
CREATE INDEX avatar_messages_of_person ON avatar_messages (person, chat);
CREATE TABLE avatar_forgotten (  -- whose messages no import brings back: digests of ids, no names
    person TEXT PRIMARY KEY, at REAL NOT NULL
);
