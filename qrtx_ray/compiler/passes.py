"""Pass managers: made once for each device and level in each thread, and the circuits they make.

Building a preset pass manager costs more than using it on a small circuit, hence the cache. A pass manager used by two
threads fails with ``Already borrowed``, hence one cache for each thread. All of them carry a seed drawn from nothing but
the device and the level, so that what a circuit compiles to is a function of the circuit, the device and the level.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from qiskit.circuit import ControlFlowOp, QuantumCircuit
from qiskit.exceptions import QiskitError
from qiskit.transpiler import Layout, PassManager, StagedPassManager, generate_preset_pass_manager
from qiskit.transpiler.passes import ApplyLayout, EnlargeWithAncilla, FullAncillaAllocation, SetLayout

from qrtx_ray.compiler.reliable import reliable_target
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.errors import CompileError

__all__ = ["PassManagers", "Transpiled"]

MAX_KEPT = 24
_SHOWN_NAMES = 3
_SHOWN_CHARS = 32


@dataclass(frozen=True, slots=True)
class Transpiled:
    """A circuit in the device's instructions.

    Args:
        circuit: As wide as the device.
        layout: Physical qubit that holds the circuit's qubit i at the end, for each of its qubits.
    """

    circuit: QuantumCircuit
    layout: tuple[int, ...]


class PassManagers:
    """The pass managers of this process, by (device, calibration, level), for each thread its own."""

    def __init__(self) -> None:
        self._local = threading.local()

    def transpile(
        self, circuit: QuantumCircuit, device: DeviceModel, level: int, *, layout: Sequence[int] | None = None
    ) -> Transpiled:
        """`circuit` made to run on `device`.

        Args:
            circuit: Of any instructions.
            device: Whose instructions are wanted.
            level: Optimisation level, 0..3.
            layout: Physical qubit that each qubit of the circuit begins on; None leaves it to the layout stage.

        Raises:
            CompileError: It holds an instruction that cannot be said in the device's, or no layout was found.
        """
        manager = self.get(device, level)
        if layout is not None:
            manager = _from_layout(manager, circuit, device, layout)
        try:
            compiled = manager.run(circuit)
        except QiskitError as error:
            raise CompileError(_refusal(circuit, device)) from error
        found = compiled.layout
        if found is None:
            return Transpiled(compiled, tuple(range(circuit.num_qubits)))
        return Transpiled(compiled, tuple(found.final_index_layout(filter_ancillas=True)))

    def get(self, device: DeviceModel, level: int) -> StagedPassManager:
        """The calling thread's pass manager for `device` at optimisation `level` (0..3)."""
        managers: OrderedDict[tuple[str, str, int], StagedPassManager] | None = getattr(self._local, "managers", None)
        if managers is None:
            managers = self._local.managers = OrderedDict()
        key = (device.name, device.calibration.id, level)
        manager = managers.get(key)
        if manager is None:
            manager = generate_preset_pass_manager(
                optimization_level=level, target=reliable_target(device), seed_transpiler=_seed(device.name, level)
            )
            managers[key] = manager
            if len(managers) > MAX_KEPT:
                managers.popitem(last=False)
        else:
            managers.move_to_end(key)
        return manager

    def clear(self) -> None:
        """Forget the calling thread's pass managers: one that failed half-way may be in any state."""
        self._local.managers = OrderedDict()


def _from_layout(
    manager: StagedPassManager, circuit: QuantumCircuit, device: DeviceModel, layout: Sequence[int]
) -> StagedPassManager:
    """`manager` with a layout stage that sets `layout`; its other stages are shared, they are what costs to build."""
    chosen = Layout(dict(zip(circuit.qubits, layout, strict=True)))
    stage = PassManager(
        [SetLayout(chosen), FullAncillaAllocation(device.target()), EnlargeWithAncilla(), ApplyLayout()]
    )
    stages = {name: stage if name == "layout" else getattr(manager, name) for name in manager.stages}
    return StagedPassManager(stages=manager.stages, **stages)


def _seed(device: str, level: int) -> int:
    # 31 bits: some passes take a signed 32-bit seed.
    return int.from_bytes(blake2b(f"{device} level {level}".encode(), digest_size=4).digest(), "big") >> 1


def _refusal(circuit: QuantumCircuit, device: DeviceModel) -> str:
    known = set(device.target().operation_names)
    opaque = sorted(
        {
            _printable(instruction.name)
            for instruction in circuit.data
            if instruction.name not in known
            and not isinstance(instruction.operation, ControlFlowOp)
            and instruction.operation.definition is None
        }
    )
    if opaque:
        shown = ", ".join(f"'{name}'" for name in opaque[:_SHOWN_NAMES])
        return f"the circuit holds instructions without a definition that {device.name} does not have: {shown}"
    return f"the circuit cannot be expressed in the instructions of {device.name} ({', '.join(sorted(device.basis_gates))})"


def _printable(name: str) -> str:
    """A tenant's name for a gate, made safe to quote."""
    return "".join(c if c.isalnum() or c in "_-." else "?" for c in name[:_SHOWN_CHARS])
