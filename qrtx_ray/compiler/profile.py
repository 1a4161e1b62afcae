"""CircuitProfile: what the scheduler is told of a compiled job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from qrtx_ray.devices.cost import JobCost, group_key
from qrtx_ray.devices.executable import EstimatorPub, ExecutableJob, PauliTerm, SamplerPub
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.devices.sensitivity import sensitivity
from qrtx_ray.devices.timing import IBM_JOB_OVERHEAD_S, qpu_seconds
from qrtx_ray.model.job import CircuitProfile

__all__ = ["Measured", "count_bases", "executions_of", "least_faithful", "measure_program", "profile_of"]

# An observable of thousands of terms is charged for at most this many bases: counting them all is quadratic.
MAX_COUNTED_BASES = 256
# Letters that need the same measurement: 0 and 1 are read like Z, + and - like X, r and l like Y.
_BASIS_OF = {"Z": "Z", "0": "Z", "1": "Z", "X": "X", "+": "X", "-": "X", "Y": "Y", "r": "Y", "l": "Y"}


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of a compiled circuit: longest chain of operations, gates on two or more qubits, hash of everything
    but its numbers, and predicted fidelity (None without noise).
    """

    depth: int
    two_qubit_gates: int
    structure: str = ""
    fidelity: float | None = None


def measure_program(program: CircuitProgram) -> Measured:
    """Depth and two-qubit gates of a program without control flow."""
    level = [0] * (program.num_qubits + 1)
    two_qubit_gates = 0
    for q0, q1, q2 in program.ops[:, 1:4].tolist():
        if q1 < 0:
            level[q0] += 1
            continue
        two_qubit_gates += 1
        # A missing third qubit is -1: the spare last place, which must not join chains.
        top = max(level[q0], level[q1], level[q2] if q2 >= 0 else 0) + 1
        level[q0] = level[q1] = top
        if q2 >= 0:
            level[q2] = top
    return Measured(max(level), two_qubit_gates)


def count_bases(observables: Iterable[Sequence[PauliTerm]]) -> int:
    """Measurement settings that read all `observables`: greedy groups of qubit-wise commuting Paulis, at least 1."""
    groups: list[dict[int, str]] = []
    seen: set[tuple[tuple[int, ...], str]] = set()
    for observable in observables:
        for term in observable:
            key = (term.qubits, term.paulis)
            if key in seen or not term.qubits:
                continue
            seen.add(key)
            basis = {q: _BASIS_OF[letter] for q, letter in zip(term.qubits, term.paulis, strict=True)}
            for group in groups:
                if all(group.get(q, letter) == letter for q, letter in basis.items()):
                    group.update(basis)
                    break
            else:
                if len(groups) == MAX_COUNTED_BASES:
                    return MAX_COUNTED_BASES
                groups.append(basis)
    return max(1, len(groups))


def profile_of(job: ExecutableJob, sizes: Sequence[Measured], cost: JobCost, device: DeviceModel) -> CircuitProfile:
    """The profile of `job`; ``sizes[i]`` is the size of PUB i's circuit.

    The charged time is that of the real device: every execution of every shot takes the circuit's schedule and the
    pause after it, and the job as a whole is charged the documented two seconds once.
    """
    circuits = shots = 0
    qpu_s = IBM_JOB_OVERHEAD_S
    for pub in job.pubs:
        executions = executions_of(pub)
        circuits += executions
        shots += executions * pub.shots
        qpu_s += qpu_seconds(executions * pub.shots, pub.program.duration_s, rep_delay_s=device.rep_delay_s)
    largest = max(range(len(job.pubs)), key=lambda i: (job.pubs[i].program.num_qubits, sizes[i].depth))
    return CircuitProfile(
        active_qubits=job.pubs[largest].program.num_qubits,
        depth=sizes[largest].depth,
        two_qubit_gates=sizes[largest].two_qubit_gates,
        circuits=circuits,
        shots=shots,
        estimated_s=cost.seconds,
        estimated_bytes=cost.bytes,
        bulk_bytes=cost.bulk_bytes,
        qpu_s=qpu_s,
        group_key=group_key(job),
        calibration_id=job.calibration_id,
        engine=device.executor,
        fidelity=least_faithful(size.fidelity for size in sizes),
        sensitivity=max(map(_sensitivity, job.pubs, sizes)),
        structure=_structure(sizes),
        noise_id=device.noise.published.text(),
    )


def least_faithful(fidelities: Iterable[float | None]) -> float | None:
    """The least of the fidelities of a job's PUBs; None where one of them has none."""
    known = list(fidelities)
    return None if None in known else min([value for value in known if value is not None], default=None)


def _sensitivity(pub: SamplerPub | EstimatorPub, size: Measured) -> float:
    width = pub.program.num_qubits
    return sensitivity(depth=size.depth, two_qubit_gates=size.two_qubit_gates, width=width)


def _structure(sizes: Sequence[Measured]) -> str:
    if len(sizes) == 1:
        return sizes[0].structure
    return blake2b(" ".join(size.structure for size in sizes).encode(), digest_size=16).hexdigest()


def executions_of(pub: SamplerPub | EstimatorPub) -> int:
    """How often `pub` runs its circuit for each of its shots: parameter rows times measurement settings."""
    if isinstance(pub, SamplerPub):
        return len(pub.row_programs) or len(pub.values)
    return (len(pub.row_programs) or len(pub.values)) * count_bases(pub.observables)
