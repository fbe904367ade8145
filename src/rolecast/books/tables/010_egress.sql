-- What left this machine: one row for each request, before it is sent, without its words. Each row holds the hash of the
-- one before, so that a later change shows. `place` is the gateway: several share this database, each has its own chain.
CREATE TABLE egress (
    place TEXT NOT NULL, seq INTEGER NOT NULL, at_us INTEGER NOT NULL, kind TEXT NOT NULL, request INTEGER NOT NULL,
    key TEXT NOT NULL, model TEXT NOT NULL, provider TEXT NOT NULL, host TEXT NOT NULL, path TEXT NOT NULL,
    bytes INTEGER NOT NULL, replaced TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (place, seq)
);
CREATE INDEX egress_in_time ON egress (at_us);
