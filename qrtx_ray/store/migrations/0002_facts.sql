-- What the scheduler must know again after a restart besides the jobs: reservations, calibrations, usage. Values are JSON.
CREATE TABLE fact (
    key TEXT PRIMARY KEY CHECK (key <> ''),
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
