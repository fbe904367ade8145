-- What routing saw of a request that named nobody, and how it decided: labels and counts, no word of the request.
-- `seen` is JSON, enough to choose once more by another configuration.
CREATE TABLE decisions (
    id INTEGER PRIMARY KEY, task TEXT NOT NULL, tier TEXT NOT NULL, domain TEXT NOT NULL,
    difficulty REAL, confidence REAL NOT NULL, seen TEXT NOT NULL
);
-- What people thought of an answer; one row for each request and key, the last word of it.
CREATE TABLE feedback (
    request INTEGER NOT NULL, key TEXT NOT NULL, at REAL NOT NULL, rating REAL, labels TEXT NOT NULL,
    comment TEXT NOT NULL, PRIMARY KEY (request, key)
);
CREATE INDEX feedback_in_time ON feedback (at);
DROP VIEW ledger;
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
    coalesce(n.client_id, '') AS client_id,
    coalesce(d.task, '') AS task, coalesce(d.tier, '') AS tier, coalesce(d.domain, '') AS domain,
    d.difficulty, d.confidence,
    (SELECT avg(f.rating) FROM feedback f WHERE f.request = q.id) AS rating
    FROM requests q JOIN routes r ON r.id = q.route LEFT JOIN notes n ON n.id = q.id
    LEFT JOIN decisions d ON d.id = q.id;
