-- The journal of jobs, as a new file gets it. Always equal to all of migrations/ applied in order (a test holds it).
-- The record is kept whole as JSON; what is asked for or must hold is repeated as a column.

CREATE TABLE owner (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch INTEGER NOT NULL CHECK (epoch >= 0),
    -- Highest numbers ever given to rows that were deleted since: neither is given twice.
    deleted_number INTEGER NOT NULL CHECK (deleted_number >= 0),
    deleted_sequence INTEGER NOT NULL CHECK (deleted_sequence >= 0)
) STRICT;

INSERT INTO owner VALUES (1, 0, 0, 0);

CREATE TABLE job (
    number INTEGER PRIMARY KEY CHECK (number >= 1),
    id TEXT NOT NULL UNIQUE CHECK (id <> ''),
    tenant TEXT NOT NULL,
    program TEXT NOT NULL CHECK (program IN ('sampler', 'estimator')),
    device TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN (
        'Pending', 'Validating', 'Compiling', 'Queued', 'Allocating', 'Executing', 'Completing', 'Paused',
        'Completed', 'Failed', 'Cancelled', 'Timeout')),
    version INTEGER NOT NULL CHECK (version >= 1),
    attempt INTEGER NOT NULL CHECK (attempt >= 0),
    session_id TEXT,
    tags TEXT NOT NULL CHECK (json_type(tags) = 'array'),
    created_at REAL NOT NULL,
    finished_at REAL,
    qpu_s REAL CHECK (qpu_s >= 0),
    idempotency_key TEXT,
    live INTEGER NOT NULL CHECK (live IN (0, 1)),
    record TEXT NOT NULL,
    CHECK (finished_at IS NOT NULL OR state NOT IN ('Completed', 'Failed', 'Cancelled', 'Timeout')),
    CHECK (live = 1 OR state IN ('Completed', 'Failed', 'Cancelled', 'Timeout'))
) STRICT;

CREATE INDEX job_by_tenant ON job (tenant, number);
CREATE UNIQUE INDEX job_idempotency ON job (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX job_live ON job (number) WHERE live = 1;
CREATE INDEX job_usage ON job (tenant, finished_at, qpu_s) WHERE finished_at IS NOT NULL;
CREATE INDEX job_ended ON job (finished_at, number) WHERE live = 0;

CREATE TABLE history (
    sequence INTEGER PRIMARY KEY CHECK (sequence >= 1),
    job_id TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    at REAL NOT NULL,
    from_state TEXT,
    to_state TEXT NOT NULL,
    attempt INTEGER NOT NULL CHECK (attempt >= 0),
    reason TEXT NOT NULL
) STRICT;

CREATE INDEX history_by_job ON history (job_id, sequence);

CREATE TABLE payload (
    job_id TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('request', 'executable')),
    body BLOB NOT NULL,
    PRIMARY KEY (job_id, kind)
) STRICT;

-- What the scheduler must know again after a restart besides the jobs: reservations, calibrations, usage. Values are JSON.
CREATE TABLE fact (
    key TEXT PRIMARY KEY CHECK (key <> ''),
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
