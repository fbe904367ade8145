-- What requests cost, in picodollars (10^-12 dollars): a row only for those that cost something, that left this machine,
-- that fell back to another model, or that belong to a run. What has none was free, and answered here.
CREATE TABLE charges (
    id INTEGER PRIMARY KEY, provider TEXT NOT NULL, cost INTEGER NOT NULL, written_tokens INTEGER NOT NULL,
    key TEXT NOT NULL, run TEXT NOT NULL, agent TEXT NOT NULL,
    fallback TEXT NOT NULL  -- the model that was to answer first, where another one did
);
CREATE INDEX charges_of_a_run ON charges (run, id, cost) WHERE run <> '';
CREATE INDEX charges_of_a_key ON charges (key, id, cost) WHERE key <> '';
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
    (SELECT avg(f.rating) FROM feedback f WHERE f.request = q.id) AS rating,
    coalesce(c.provider, 'local') AS provider, coalesce(c.cost, 0) AS cost,
    coalesce(c.written_tokens, 0) AS written_tokens, coalesce(c.run, '') AS run, coalesce(c.agent, '') AS agent,
    coalesce(c.fallback, '') AS fallback
    FROM requests q JOIN routes r ON r.id = q.route LEFT JOIN notes n ON n.id = q.id
    LEFT JOIN decisions d ON d.id = q.id LEFT JOIN charges c ON c.id = q.id;
