"""The durable truth: the journal of jobs (`open.open_store`), the files of jobs (`circuit_fs`), saved states (`state_store`)."""
