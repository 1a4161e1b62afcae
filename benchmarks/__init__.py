"""Benchmarks of the runtime, one convention for all: ``python -m benchmarks.NAME [--quick] [--json FILE] [--seed N]``.

Each prints a table for people; with ``--json`` it also writes machine, versions, commit, seed and
``figures: {name: {value, unit, goal, better}}``. ``--quick`` ends within 60 s on 2 cores. A figure without a goal is a
baseline, measured in the same run on the same machine as what it is compared with.
"""
