"""Surveying a job: what it would be on each of several devices, before it is compiled for one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from qiskit.circuit import QuantumCircuit

from qrtx_ray.codec.decoded import DecodedJob
from qrtx_ray.compiler.cache import CacheStatistics, CompilationCache
from qrtx_ray.compiler.observables import broadcast_elements, qubits_of
from qrtx_ray.compiler.profile import executions_of, least_faithful
from qrtx_ray.compiler.sketching import sketch_of
from qrtx_ray.devices.cost import JobCost
from qrtx_ray.devices.executable import EstimatorPub, ExecutableJob, PauliTerm, SamplerPub
from qrtx_ray.devices.isa import is_native
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.program import CircuitProgram, Register
from qrtx_ray.devices.program_builder import strip_measurements
from qrtx_ray.devices.sketch import Sketch
from qrtx_ray.devices.survey import Placement, place, placement_on
from qrtx_ray.devices.timing import IBM_JOB_OVERHEAD_S, qpu_seconds
from qrtx_ray.errors import PayloadTooLarge, QrtxError, ValidationError
from qrtx_ray.model.job import Candidate, Program

__all__ = ["SurveyedPub", "Surveyor", "pubs_of"]

MAX_PLACEMENTS = 8192
MAX_PLACEMENT_BYTES = 64 << 20
_TURN_OPERATIONS = 3  # rz sx rz
_NO_TERMS = np.empty((0, 2), dtype=np.int32)
_TURN, _PAIR, _MEASURE = range(3)
_KINDS = ("u", "cx", "measure")


@dataclass(frozen=True, slots=True, eq=False)
class SurveyedPub:
    """A PUB as a survey sees it.

    Args:
        circuit: As it was sent, without final measurements for an estimator.
        key: Names the circuit and what is read of it.
        sketch: Of the circuit.
        used: The circuit's qubit of each of the sketch's.
        rows: Parameter rows to be run.
        shape / shots / registers: Of the PUB.
        observables / elements: Of an estimator's PUB; None for a sampler's.
        field: What errors call the PUB.
    """

    circuit: QuantumCircuit
    key: tuple[Any, ...]
    sketch: Sketch
    used: tuple[int, ...]
    rows: int
    shape: tuple[int, ...]
    shots: int
    registers: tuple[Register, ...]
    observables: tuple[tuple[PauliTerm, ...], ...] | None
    elements: npt.NDArray[np.int32]
    field: str


def pubs_of(decoded: DecodedJob, digests: Sequence[bytes], *, max_elements: int, name: str) -> tuple[SurveyedPub, ...]:
    """The PUBs of a job, sketched.

    Args:
        decoded: The job.
        digests: Content hash of each PUB's circuit.
        max_elements: Most rows of a sampler PUB, most values of an estimator PUB.
        name: What a request calls its list of circuits.

    Raises:
        ValidationError: A PUB asks for nothing, or for too much.
    """
    make = _sampler if decoded.program is Program.SAMPLER else _estimator
    return tuple(
        make(pub, digest, shots, f"{name}[{index}]", max_elements)
        for index, (pub, digest, shots) in enumerate(zip(decoded.pubs, digests, decoded.shots, strict=True))
    )


def _sampler(pub: Any, digest: bytes, shots: int, field: str, max_elements: int) -> SurveyedPub:
    shape = tuple(pub.parameter_values.shape)
    if not 1 <= prod(shape) <= max_elements:
        text = f"{field} has {prod(shape)} parameter sets, it must have 1..{max_elements}"
        raise PayloadTooLarge(text, field=field, limit=f"1..{max_elements}")
    circuit = pub.circuit
    sketch, used = sketch_of(circuit)
    if not sketch.measurements:
        raise ValidationError(
            f"{field}.circuit measures no qubit: there is nothing to sample", field=f"{field}.circuit"
        )
    bits = {bit: place for place, bit in enumerate(circuit.clbits)}
    registers = tuple(Register(r.name, tuple([bits[bit] for bit in r])) for r in circuit.cregs)
    return SurveyedPub(circuit, (digest,), sketch, used, prod(shape), shape, shots, registers, None, _NO_TERMS, field)


def _estimator(pub: Any, digest: bytes, shots: int, field: str, max_elements: int) -> SurveyedPub:
    circuit = pub.circuit
    values = (
        np.asarray(pub.parameter_values.as_array(circuit.parameters), dtype=np.float64)
        if circuit.num_parameters
        else np.empty((*pub.parameter_values.shape, 0))
    )
    elements = broadcast_elements(values, pub.observables, max_elements=max_elements, field=field)
    reads = tuple(sorted(qubits_of(elements.observables)))
    if "measure" in circuit.count_ops():
        circuit = strip_measurements(circuit)
    sketch, used = sketch_of(circuit, reads)
    return SurveyedPub(
        circuit,
        (digest, reads),
        sketch,
        used,
        len(elements.rows),
        elements.shape,
        shots,
        (),
        elements.observables,
        elements.indices,
        field,
    )


class Surveyor:
    """Surveys jobs; one for each process, keeping what it found.

    Args:
        estimate: The cost law of a job of a device.
        max_job_bytes: Memory a job may need to run.
    """

    def __init__(self, estimate: Callable[[ExecutableJob], JobCost], max_job_bytes: int) -> None:
        self._estimate = estimate
        self._max_job_bytes = max_job_bytes
        self._placements: CompilationCache[Placement | str] = CompilationCache(
            MAX_PLACEMENTS, MAX_PLACEMENT_BYTES, lambda found: 256 + 32 * (0 if isinstance(found, str) else found.width)
        )

    def candidate(self, pubs: Sequence[SurveyedPub], program: Program, device: DeviceModel) -> Candidate:
        """What the job of `pubs` would be on `device`, or why it cannot run there."""
        calibration_id = device.calibration.id
        placements = []
        for pub in pubs:
            found = self._placed(pub, device)
            if isinstance(found, str):
                return Candidate(device.name, calibration_id, refusal=found)
            placements.append(found)
        stubs: Any = tuple(_stub(pub, placement, device) for pub, placement in zip(pubs, placements, strict=True))
        cost = self._estimate(ExecutableJob(program.value, device.name, device.calibration.id, stubs))
        if cost.bytes > self._max_job_bytes:
            limit = f"{self._max_job_bytes >> 20} MiB"
            return Candidate(
                device.name, calibration_id, refusal=f"simulating it needs more than the {limit} a job may use"
            )
        qpu_s = IBM_JOB_OVERHEAD_S
        for stub, placement in zip(stubs, placements, strict=True):
            shots = executions_of(stub) * stub.shots
            qpu_s += qpu_seconds(shots, placement.duration_s, rep_delay_s=device.rep_delay_s)
        fidelity = least_faithful(placement.fidelity for placement in placements) if device.noisy else None
        return Candidate(device.name, calibration_id, fidelity, qpu_s, cost.seconds)

    def statistics(self) -> CacheStatistics:
        """Counters of the placements kept."""
        return self._placements.statistics()

    def _placed(self, pub: SurveyedPub, device: DeviceModel) -> Placement | str:
        if pub.observables is None and pub.shots > device.max_shots:
            return f"{pub.field}.shots is {pub.shots}, {device.name} takes at most {device.max_shots}"
        key = (*pub.key, device.name, device.calibration.id)
        return self._placements.get_or_make(key, lambda: _placed(pub, device))


def _placed(pub: SurveyedPub, device: DeviceModel) -> Placement | str:
    """Where a circuit would go; a text says why it cannot run."""
    width = pub.circuit.num_qubits
    if width > device.num_qubits:
        return f"{pub.field}.circuit has {width} qubits, {device.name} has {device.num_qubits}"
    missing = pub.sketch.control_flow - device.control_flow
    if missing:
        return f"{pub.field}.circuit uses {', '.join(sorted(missing))}, which {device.name} does not support"
    try:
        if is_native(pub.circuit, device):
            return placement_on(pub.sketch, device, pub.used)
        found = place(pub.sketch, device)
    except QrtxError as error:
        return error.message
    if found is None:
        return f"{pub.field}.circuit uses {pub.sketch.qubits} qubits, more than work on {device.name}"
    return found


def _stub(pub: SurveyedPub, placement: Placement, device: DeviceModel) -> SamplerPub | EstimatorPub:
    """A PUB of the size that the compiled one will have, for the cost law; nothing could run it."""
    sketch = pub.sketch
    pairs = sketch.two_qubit_gates + 3 * placement.swaps
    turns = _TURN_OPERATIONS * sum(sketch.turns) + (0 if "cx" in device.basis_gates else 2 * pairs)
    ops = np.full((round(turns) + round(pairs) + sketch.measurements, 6), -1, dtype=np.int32)
    ops[:, 0] = _TURN
    ops[:, 1] = 0
    ops[round(turns) : round(turns) + round(pairs), 0] = _PAIR
    ops[round(turns) : round(turns) + round(pairs), 2] = 1
    ops[len(ops) - sketch.measurements :, 0] = _MEASURE
    program = CircuitProgram(
        width=device.num_qubits,
        active_qubits=tuple(range(placement.width)),
        names=_KINDS,
        ops=ops,
        num_slots=0,
        num_clbits=sum(register.size for register in pub.registers),
        registers=pub.registers,
        duration_s=placement.duration_s,
        clifford=sketch.clifford,
        terminal_measurements=not sketch.dynamic,
    )
    values = np.empty((pub.rows, 0))
    if pub.observables is None:
        return SamplerPub(program, values, pub.shape, pub.shots)
    return EstimatorPub(program, values, pub.shape, pub.elements, pub.observables, 0.0, pub.shots)
