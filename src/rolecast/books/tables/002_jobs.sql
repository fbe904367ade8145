-- Long work of a gateway. `place` is the gateway that does it: several may share this database.
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, place TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, key TEXT NOT NULL,
    state TEXT NOT NULL, created_at REAL NOT NULL, started_at REAL, ended_at REAL, attempts INTEGER NOT NULL,
    step TEXT NOT NULL, done INTEGER NOT NULL, total INTEGER NOT NULL, unit TEXT NOT NULL,
    error TEXT NOT NULL, result TEXT NOT NULL
);
CREATE INDEX jobs_of_a_place ON jobs (place, created_at);
