-- Version 1: jobs, their history and payloads, and who owns the tables.
-- The record is kept whole as JSON; what is asked for or must hold is repeated as a column.
-- Text is compared byte by byte (COLLATE "C"), so that order does not depend on the server's language.

CREATE TABLE owner (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch BIGINT NOT NULL CHECK (epoch >= 0),
    -- Grows with every commit: tells after a lost connection whether the last one was kept.
    commits BIGINT NOT NULL CHECK (commits >= 0),
    -- Highest numbers ever given to rows that were deleted since: neither is given twice.
    deleted_number BIGINT NOT NULL CHECK (deleted_number >= 0),
    deleted_sequence BIGINT NOT NULL CHECK (deleted_sequence >= 0)
);

INSERT INTO owner VALUES (1, 0, 0, 0, 0);

CREATE TABLE job (
    number BIGINT PRIMARY KEY CHECK (number >= 1),
    id TEXT COLLATE "C" NOT NULL UNIQUE CHECK (id <> ''),
    tenant TEXT COLLATE "C" NOT NULL,
    program TEXT COLLATE "C" NOT NULL CHECK (program IN ('sampler', 'estimator')),
    device TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL CHECK (state IN (
        'Pending', 'Validating', 'Compiling', 'Queued', 'Allocating', 'Executing', 'Completing', 'Paused',
        'Completed', 'Failed', 'Cancelled', 'Timeout')),
    version BIGINT NOT NULL CHECK (version >= 1),
    attempt BIGINT NOT NULL CHECK (attempt >= 0),
    session_id TEXT COLLATE "C",
    tags TEXT[] COLLATE "C" NOT NULL,
    created_at DOUBLE PRECISION NOT NULL CHECK (created_at <> 'NaN'),
    finished_at DOUBLE PRECISION,
    qpu_s DOUBLE PRECISION CHECK (qpu_s >= 0 AND qpu_s <> 'NaN'),
    idempotency_key TEXT COLLATE "C",
    live BOOLEAN NOT NULL,
    record TEXT NOT NULL,
    CHECK (finished_at IS NOT NULL OR state NOT IN ('Completed', 'Failed', 'Cancelled', 'Timeout')),
    CHECK (live OR state IN ('Completed', 'Failed', 'Cancelled', 'Timeout'))
) WITH (fillfactor = 70);  -- a job is rewritten some six times, and mostly no index has to know

CREATE INDEX job_by_tenant ON job (tenant, number);
CREATE UNIQUE INDEX job_idempotency ON job (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX job_live ON job (number) WHERE live;
CREATE INDEX job_usage ON job (tenant, finished_at) INCLUDE (qpu_s) WHERE finished_at IS NOT NULL;

CREATE TABLE history (
    sequence BIGINT PRIMARY KEY CHECK (sequence >= 1),
    job_id TEXT COLLATE "C" NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    at DOUBLE PRECISION NOT NULL CHECK (at <> 'NaN'),
    from_state TEXT COLLATE "C",
    to_state TEXT COLLATE "C" NOT NULL,
    attempt BIGINT NOT NULL CHECK (attempt >= 0),
    reason TEXT COLLATE "C" NOT NULL
);

CREATE INDEX history_by_job ON history (job_id, sequence);

CREATE TABLE payload (
    job_id TEXT COLLATE "C" NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('request', 'executable')),
    body BYTEA NOT NULL,
    PRIMARY KEY (job_id, kind)
);

-- Payloads live for seconds: compressing them costs more than their space.
ALTER TABLE payload ALTER COLUMN body SET STORAGE EXTERNAL;
