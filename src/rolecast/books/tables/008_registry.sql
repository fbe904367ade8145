-- Services that registered, and what people were warned of. `place` is the gateway that they registered with: several may
-- share this database, and each has its own. What a gateway registers itself is not here. `told` is JSON.
CREATE TABLE services (
    place TEXT NOT NULL, id TEXT NOT NULL, told TEXT NOT NULL, PRIMARY KEY (place, id)
);
CREATE TABLE service_alerts (
    place TEXT NOT NULL, number INTEGER NOT NULL, told TEXT NOT NULL, PRIMARY KEY (place, number)
);
