-- The jobs that ended longest ago are found without looking at all others.
CREATE INDEX job_ended ON job (finished_at, number) WHERE NOT live;
