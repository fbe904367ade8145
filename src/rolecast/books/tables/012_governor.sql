-- What agents that work on this machine say of themselves, so that they do not get into each other's way: how full
-- their contexts are, and which resources they have reserved. Amounts are in thousandths.
CREATE TABLE agent_contexts (
    agent TEXT PRIMARY KEY, run TEXT NOT NULL, used INTEGER NOT NULL, size INTEGER NOT NULL,
    target REAL NOT NULL, hard_max REAL NOT NULL, at REAL NOT NULL
);
CREATE INDEX agent_contexts_in_time ON agent_contexts (at);
CREATE TABLE agent_summaries (
    id TEXT PRIMARY KEY, agent TEXT NOT NULL, run TEXT NOT NULL, why TEXT NOT NULL,
    before INTEGER NOT NULL, place TEXT NOT NULL, at REAL NOT NULL
);
CREATE INDEX agent_summaries_in_time ON agent_summaries (at);
CREATE TABLE quotas (resource TEXT PRIMARY KEY, capacity INTEGER NOT NULL);
CREATE TABLE reservations (
    id TEXT PRIMARY KEY, job TEXT NOT NULL, agent TEXT NOT NULL,
    cpu INTEGER NOT NULL, mem_mb INTEGER NOT NULL, gpu INTEGER NOT NULL, gpu_mem_mb INTEGER NOT NULL,
    ports TEXT NOT NULL, state TEXT NOT NULL, at REAL NOT NULL, until REAL NOT NULL, ended_at REAL
);
CREATE INDEX reservations_in_time ON reservations (at);
CREATE INDEX reservations_by_job ON reservations (job);
