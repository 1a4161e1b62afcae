"""The command line: `qrtx`."""
