-- What the machine took for a request, as far as it can be measured, or estimated by the `watts` of its model.
CREATE TABLE energy (
    id INTEGER PRIMARY KEY, microjoules INTEGER NOT NULL,
    measured INTEGER NOT NULL  -- 0: by the model's `watts`
);
-- Numbers of requests grow with the start of their gateway, so only `at` tells when one was.
CREATE INDEX IF NOT EXISTS requests_in_time ON requests (at);
