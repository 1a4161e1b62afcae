"""Wire formats in and out: Runtime JSON, QPY, OpenQASM, JobSpec YAML; every reader is bounded and allow-listed."""
