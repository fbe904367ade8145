-- Answers that clients may go on from, each with what was asked for it: the only table that holds what people and
-- models wrote, and only where a client of the Responses API lets it be kept. `key` is the API key that may see it.
CREATE TABLE responses (
    id TEXT PRIMARY KEY, previous TEXT NOT NULL, key TEXT NOT NULL, at REAL NOT NULL, size INTEGER NOT NULL,
    asked BLOB NOT NULL, answer BLOB NOT NULL
);
CREATE INDEX responses_in_time ON responses (at);
