-- Keys that clients show, with what each may do. Of a secret only its SHA-256 is here. Money is in picodollars.
CREATE TABLE keys (
    id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, digest BLOB NOT NULL UNIQUE,
    scopes TEXT NOT NULL,  -- words with a space between
    models TEXT NOT NULL,  -- a JSON list of names with * for any part; empty = all
    requests_per_minute INTEGER NOT NULL, tokens_per_minute INTEGER NOT NULL,  -- 0 = as many as wanted, of each
    requests_per_day INTEGER NOT NULL, parallel INTEGER NOT NULL,
    budget INTEGER, budget_window TEXT NOT NULL,
    created REAL NOT NULL, expires REAL, revoked REAL, used REAL,
    changed INTEGER NOT NULL  -- the number of keys_version with which this row changed last
);
CREATE INDEX keys_by_change ON keys (changed);
-- One row, which every change of a key counts up: gateways look here whether there is anything new.
CREATE TABLE keys_version (one INTEGER NOT NULL PRIMARY KEY, number INTEGER NOT NULL);
INSERT INTO keys_version (one, number) VALUES (1, 0);
