"""A calibration's noise as Aer's own noise dict, restricted to the qubits of a circuit and relabelled.

Used where Aer draws the shots itself (mid-circuit measurements, control flow, trajectories). Aer parses the noise model
anew on every call and turns every gate of the device into matrices, so a 5-qubit job on 127 qubits costs 1.2 s with
the full model and a few milliseconds with this one, with the same counts for the same seed. Only what a restricted
model needs is built: the device's Target is never made.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np

from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.engines.channels import flip_probabilities

__all__ = ["restricted_noise"]


@lru_cache(maxsize=64)
def restricted_noise(
    calibration: Calibration,
    active_qubits: tuple[int, ...],
    names: frozenset[str] | None = None,
    *,
    readout: bool = True,
) -> dict[str, Any]:
    """Noise of the operations `names` (None: of all) inside `active_qubits`, as Aer's dict on local indices.

    The same errors as `NoiseModel.from_backend` gives the fake backend, without readout errors if not `readout`. Cached
    for each set of arguments, so do not change it.
    """
    from qiskit_aer.noise import NoiseModel
    from qiskit_aer.noise.errors import ReadoutError

    local = {qubit: index for index, qubit in enumerate(active_qubits)}
    model = NoiseModel(basis_gates=[])
    flips = flip_probabilities(calibration, active_qubits)
    for index in range(len(active_qubits)):
        of_0, of_1 = flips[:, index]
        if readout and (of_0 or of_1):
            model.add_readout_error(ReadoutError([[1 - of_0, of_0], [of_1, 1 - of_1]]), [index])
    keys = calibration.gate_duration_s.keys() | calibration.gate_error.keys()
    keys = {key for key in keys if names is None or key[0] in names}
    wanted = sorted(key for key in keys if key[0] != "measure" and local.keys() >= set(key[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, qubits in wanted:
            error = _error(calibration, name, qubits)
            if error is not None:
                model.add_quantum_error(error, name, [local[qubit] for qubit in qubits])
        restricted: dict[str, Any] = model.to_dict(serializable=True)
    return restricted


def _error(calibration: Calibration, name: str, qubits: tuple[int, ...]) -> Any:
    from qiskit.circuit import Gate
    from qiskit.circuit.library import get_standard_gate_name_mapping
    from qiskit.transpiler import InstructionProperties, QubitProperties, Target
    from qiskit_aer.noise.device.models import basic_device_gate_errors

    operation = get_standard_gate_name_mapping().get(name)
    if operation is None:
        operation = Gate(name, len(qubits), [])
    # A target of just this instruction on qubits 0, 1, …: then Aer's own builder makes exactly this error.
    target = Target(qubit_properties=[QubitProperties(**_times(calibration, qubit)) for qubit in qubits])
    properties = InstructionProperties(
        duration=calibration.gate_duration_s.get((name, qubits)), error=calibration.gate_error.get((name, qubits))
    )
    target.add_instruction(operation, {tuple(range(len(qubits))): properties}, name=name)
    errors = basic_device_gate_errors(target=target)
    return errors[0][2] if errors else None


def _times(calibration: Calibration, qubit: int) -> dict[str, float | None]:
    t1_s, t2_s = float(calibration.t1_s[qubit]), float(calibration.t2_s[qubit])
    return {"t1": t1_s if np.isfinite(t1_s) else None, "t2": t2_s if np.isfinite(t2_s) else None}
