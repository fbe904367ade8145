-- What a run, or the holder of a key, may spend; what it has spent is the sum of its charges.
CREATE TABLE budgets (
    scope TEXT NOT NULL, name TEXT NOT NULL,
    amount INTEGER NOT NULL,  -- in picodollars, 10^-12 dollars
    span TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (scope, name)
);
