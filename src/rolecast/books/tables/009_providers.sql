-- Providers that registered at the provider router, active or not. Costs are picodollars per token; `features`, `slo`
-- and `metadata` are JSON, as it was sent.
CREATE TABLE providers (
    name TEXT PRIMARY KEY, model TEXT NOT NULL, context_window INTEGER NOT NULL,
    input_cost INTEGER NOT NULL, output_cost INTEGER NOT NULL, endpoint TEXT NOT NULL,
    features TEXT NOT NULL, slo TEXT NOT NULL, metadata TEXT NOT NULL,
    created_at REAL NOT NULL, updated_at REAL NOT NULL, active INTEGER NOT NULL
);
