-- What workers were seen to take: the most of each life of one, by all that the memory of a worker depends on. Sizes in
-- bytes; those of GPUs as a JSON list, by their numbers.
CREATE TABLE footprints (
    key TEXT NOT NULL, began REAL NOT NULL, ram INTEGER NOT NULL, gpus TEXT NOT NULL,
    PRIMARY KEY (key, began)
);
CREATE INDEX footprints_in_time ON footprints (began);
-- Below which no such worker is admitted any more, since one died for want of memory.
CREATE TABLE footprint_floors (
    key TEXT PRIMARY KEY, at REAL NOT NULL, ram INTEGER NOT NULL, gpus TEXT NOT NULL, deaths INTEGER NOT NULL
);
