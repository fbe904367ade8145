-- Conversations that the gateway keeps for clients which send only what is new: with `responses` the tables that hold
-- what people and models wrote. `key` is the API key that may see them. Ids and words are bytes: any text may be one.
CREATE TABLE sessions (
    key TEXT NOT NULL, id BLOB NOT NULL, began REAL NOT NULL, used REAL NOT NULL,
    persona TEXT NOT NULL, system BLOB NOT NULL,
    summary BLOB NOT NULL, summarized INTEGER NOT NULL,  -- the number of the last turn that the summary is of
    last INTEGER NOT NULL,  -- the number of the last turn; it only grows
    PRIMARY KEY (key, id)
);
CREATE INDEX sessions_in_time ON sessions (used);
CREATE TABLE session_turns (
    key TEXT NOT NULL, session BLOB NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL,
    asked BLOB NOT NULL, answer BLOB NOT NULL, size INTEGER NOT NULL, model TEXT NOT NULL,
    tokens INTEGER NOT NULL, counted TEXT NOT NULL,  -- whose tokenizer counted them; '' = they are estimated
    PRIMARY KEY (key, session, number)
);
