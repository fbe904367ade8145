-- What was said under `local-only` stays on this machine: 1 = whoever goes on from it is held to the same. Of a session it
-- is its summary that stays.
ALTER TABLE responses ADD COLUMN stays INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN stays INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session_turns ADD COLUMN stays INTEGER NOT NULL DEFAULT 0;
