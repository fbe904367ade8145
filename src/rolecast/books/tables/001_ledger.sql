-- A request is eight numbers: what repeats is in `routes`, what is rare in `notes`. Read the view `ledger`.
CREATE TABLE routes (
    id INTEGER PRIMARY KEY, listener TEXT NOT NULL, kind TEXT NOT NULL, asked TEXT NOT NULL,
    model TEXT NOT NULL, worker TEXT NOT NULL, role TEXT NOT NULL, route TEXT NOT NULL, key TEXT NOT NULL
);
CREATE TABLE requests (
    id INTEGER PRIMARY KEY, route INTEGER NOT NULL, at REAL NOT NULL,
    bits INTEGER NOT NULL,  -- status << 4 | outcome << 2 | counted << 1 | stream
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    first_us INTEGER NOT NULL, total_us INTEGER NOT NULL
);
CREATE TABLE notes (
    id INTEGER PRIMARY KEY, error TEXT, client_id TEXT,
    cached_tokens INTEGER NOT NULL, attempts INTEGER NOT NULL, queue_us INTEGER NOT NULL, load_us INTEGER NOT NULL
);
CREATE VIEW ledger AS SELECT
    q.id AS number, 'req_' || hex16(q.id) AS id, q.at,
    r.listener, r.kind, r.asked, r.model, r.worker, r.role, r.route,
    r.key, q.bits & 1 AS stream, q.bits >> 4 AS status,
    CASE (q.bits >> 2) & 3 WHEN 0 THEN 'ok' WHEN 1 THEN 'error' ELSE 'cancelled' END AS outcome,
    coalesce(n.error, '') AS error, q.prompt_tokens, q.completion_tokens,
    coalesce(n.cached_tokens, 0) AS cached_tokens, (q.bits >> 1) & 1 AS counted,
    coalesce(n.attempts, 1) AS attempts, CAST(coalesce(n.queue_us, 0) AS REAL) / 1000 AS queue_ms,
    CAST(coalesce(n.load_us, 0) AS REAL) / 1000 AS load_ms,
    CAST(q.first_us AS REAL) / 1000 AS first_ms, CAST(q.total_us AS REAL) / 1000 AS total_ms,
    coalesce(n.client_id, '') AS client_id
    FROM requests q JOIN routes r ON r.id = q.route LEFT JOIN notes n ON n.id = q.id;
