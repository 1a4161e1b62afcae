"""A journal is a valid trace: what production recorded can be run again, and then goes as it went."""

from __future__ import annotations

import orjson
import pytest

from qrtx_ray.model import Level
from qrtx_ray.simulation import Parameters, Recipe, Simulation, fleet, generate, mix_called, policy_called, read_trace
from qrtx_ray.store.protocol import Transaction
from qrtx_ray.store.sqlite import SqliteStore
from qrtx_ray.store.trace_export import Crew, trace_lines
from tests.simulation.making import Run

MACHINES = fleet("fake_manila@aer,fake_jakarta@aer", seed=1, agents=2, pace="wall")


def journal_of(trace, path):
    """Run the trace with a production store behind the scheduler."""
    store = SqliteStore(path)
    store.open_epoch()
    parameters = Parameters().with_values(["max_group_jobs=1"])
    simulation = Simulation(trace, parameters.core_for(trace.devices), policy_called("priority"), parameters.world)
    handle = simulation.core.handle

    def kept(event, now):
        commands = handle(event, now)
        for command in commands[:1]:
            if hasattr(command, "records"):
                store.commit([Transaction(command.records, command.changes, facts=command.facts)])
        return commands

    simulation.core.handle = kept
    simulation.run()
    store.close()
    return simulation.ledger


@pytest.mark.parametrize("mix", ["fixed", "free"])
def test_what_was_recorded_goes_again_as_it_went(tmp_path, mix):
    source = generate(Recipe("bursty", 150, rate=40.0, mix=mix_called(mix), seed=5), MACHINES)
    first = journal_of(source, tmp_path / "journal.db")
    crews = [Crew(((device.name, device.num_qubits),), device.agents) for device in MACHINES]
    lines = trace_lines(tmp_path / "journal.db", crews, anonymise=True)
    path = tmp_path / "recorded.trace"
    path.write_bytes(b"\n".join(orjson.dumps(line) for line in lines))
    recorded = read_trace(path)
    again = Run(recorded, "max_group_jobs=1", "world.compile_call_s=0.02", "world.compile_job_s=0.002")
    assert recorded.header.source == "journal"
    assert [d.name for d in recorded.devices] == [d.name for d in MACHINES]
    assert len(again.ends) == 150
    for level in Level:
        one, other = first.levels[level], again.ledger.levels[level]
        assert dict(one.ends) == dict(other.ends)
        assert other.waiting.mean == pytest.approx(one.waiting.mean, rel=0.1, abs=0.02)
    assert again.ledger.recorded.count > 100
    assert again.ledger.against_recorded.quantile(0.5) < 0.05
