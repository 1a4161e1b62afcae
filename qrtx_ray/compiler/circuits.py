"""From a tenant's circuit to a program: refuse, transpile where needed, walk; each step once for each content."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from qiskit.circuit import QuantumCircuit

from qrtx_ray.compiler.cache import CacheStatistics, CompilationCache
from qrtx_ray.compiler.passes import PassManagers
from qrtx_ray.compiler.placing import transpiled
from qrtx_ray.compiler.templates import BoundProgram, ProgramTemplate
from qrtx_ray.devices.isa import is_native
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.program_builder import strip_measurements
from qrtx_ray.errors import CompileError

__all__ = ["CircuitCompiler", "DeviceCircuit", "Source"]

Float64 = npt.NDArray[np.float64]

_BYTES_OF_INSTRUCTION = 1024


@dataclass(frozen=True, slots=True)
class Source:
    """A circuit as it was sent.

    Args:
        circuit: Decoded; its parameters are those of the PUB's values, in the order of `QuantumCircuit.parameters`.
        digest: Hash of the bytes it was decoded from: equal for equal circuits, and never equal by chance.
        strip: Whether its final measurements are to be removed (estimators).
        field: What errors call it, e.g. ``pubs[0].circuit``.
    """

    circuit: QuantumCircuit
    digest: bytes
    strip: bool
    field: str


@dataclass(frozen=True, slots=True, eq=False)
class DeviceCircuit:
    """A circuit in the instructions of a device.

    Args:
        circuit: Qubit i is the device's qubit i.
        layout: Physical qubit that holds the sent circuit's qubit i; None where it was sent in the device's terms.
        columns: Which of the sent circuit's parameters `circuit` still has, in its own order; None: all of them.
    """

    circuit: QuantumCircuit
    layout: tuple[int, ...] | None
    columns: tuple[int, ...] | None


class CircuitCompiler:
    """Compiles circuits, keeping what it made.

    Args:
        cache_entries: Most circuits, and most programs, kept.
        cache_bytes: Bound on the bytes of each of the two.
        max_operations: Most instructions of a circuit.
    """

    def __init__(self, *, cache_entries: int, cache_bytes: int, max_operations: int) -> None:
        self._passes = PassManagers()
        self._max_operations = max_operations
        self._circuits: CompilationCache[DeviceCircuit] = CompilationCache(
            cache_entries, cache_bytes, lambda made: _BYTES_OF_INSTRUCTION * (8 + len(made.circuit.data))
        )
        self._programs: CompilationCache[ProgramTemplate] = CompilationCache(
            cache_entries, cache_bytes, lambda made: made.size_bytes
        )

    def adapt(self, source: Source, device: DeviceModel, level: int) -> DeviceCircuit:
        """`source` in the instructions of `device`: as it is if it is so already, else transpiled at `level`.

        Raises:
            CompileError: Wider than the device, or not expressible in its instructions.
        """
        key = (source.digest, source.strip, device.name, device.calibration.id, level)
        return self._circuits.get_or_make(key, lambda: self._adapt(source, device, level))

    def program(
        self, source: Source, device: DeviceModel, level: int, rows: Float64, *, keep_qubits: Iterable[int] = ()
    ) -> tuple[ProgramTemplate, BoundProgram]:
        """The program of `source` on `device`, and its numbers for the parameter `rows`.

        Raises:
            CompileError: As `adapt`.
            ValidationError: A number is not finite, or there are too many instructions.
        """
        adapted = self.adapt(source, device, level)
        if adapted.columns is not None:
            rows = rows[:, list(adapted.columns)]
        kept = tuple(sorted(keep_qubits))
        key = (source.digest, source.strip, device.name, device.calibration.id, level, kept)
        template = self._programs.get_or_make(
            key,
            lambda: ProgramTemplate(
                adapted.circuit, device, rows, keep_qubits=kept, max_operations=self._max_operations
            ),
        )
        return template, template.bind(rows)

    def statistics(self) -> dict[str, CacheStatistics]:
        """Counters of the two caches, ``circuits`` and ``programs``."""
        return {"circuits": self._circuits.statistics(), "programs": self._programs.statistics()}

    def forget_passes(self) -> None:
        """Drop the pass managers: one of them failed in a way it should not have."""
        self._passes.clear()

    def _adapt(self, source: Source, device: DeviceModel, level: int) -> DeviceCircuit:
        circuit = source.circuit
        if circuit.num_qubits > device.num_qubits:
            raise CompileError(
                f"{source.field} has {circuit.num_qubits} qubits, {device.name} has {device.num_qubits}",
                field=source.field,
                limit=f"{device.num_qubits} qubits",
            )
        if source.strip and "measure" in circuit.count_ops():
            circuit = strip_measurements(circuit)
        if is_native(circuit, device):
            return DeviceCircuit(circuit, None, None)
        try:
            made = transpiled(self._passes, circuit, device, level)
        except CompileError as error:
            raise CompileError(f"{source.field}: {error.message}", field=source.field) from error
        return DeviceCircuit(made.circuit, made.layout, _columns(source.circuit, made.circuit))


def _columns(sent: QuantumCircuit, compiled: QuantumCircuit) -> tuple[int, ...] | None:
    """Where `compiled` finds its parameters among those of `sent`: a pass may have cancelled some."""
    if sent.num_parameters == compiled.num_parameters:
        return None
    place: dict[object, int] = {parameter: column for column, parameter in enumerate(sent.parameters)}
    found: Sequence[int] = [place[parameter] for parameter in compiled.parameters]
    return tuple(found)
