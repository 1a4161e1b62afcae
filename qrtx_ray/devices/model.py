"""DeviceModel: everything the runtime knows of a device, each part made when it is first asked for."""

from __future__ import annotations

import warnings
from functools import cached_property, lru_cache
from typing import Any, final

import orjson

from qrtx_ray.devices import catalogue
from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.drift import drifted
from qrtx_ray.devices.drift_document import with_calibration
from qrtx_ray.devices.names import DeviceName
from qrtx_ray.model.noise import PACKAGED, NoiseId

__all__ = ["DEFAULT_MAX_SHOTS", "DEFAULT_REP_DELAY_S", "DeviceModel"]

DEFAULT_MAX_SHOTS = 100_000
DEFAULT_REP_DELAY_S = 250e-6

_ON_EVERY_QUBIT = frozenset({"measure", "reset", "delay"})
_CONTROL_FLOW = frozenset({"if_else", "for_loop", "while_loop", "switch_case", "box"})


@final
class DeviceModel:
    """A device: topology, instruction set, timing and calibration.

    Everything but `target` is plain data and costs milliseconds; `target` needs Qiskit and is built on first use.

    Args:
        name: The device's name.
        noise: Which state of its noise `calibration` and `target` describe.
    """

    def __init__(self, name: DeviceName, noise: NoiseId = PACKAGED) -> None:
        self.name = str(name)
        self.noise = noise
        self.metadata = name.metadata
        self.executor = name.executor
        self._configuration = catalogue.configuration(name.metadata)

    @staticmethod
    def load(device_name: str, noise_id: str = "") -> DeviceModel:
        """The device called `device_name` under the noise that `noise_id` names (see `drift`), one object per process.

        Raises:
            ValidationError: Not a device name, or not the name of a state of noise.
            NotFound: No such device.
        """
        return _drifted(device_name, noise_id) if noise_id else _packaged(device_name)

    @property
    def noisy(self) -> bool:
        """Whether circuits are to be run with the calibration's noise."""
        return self.executor != "aer_ideal"

    @property
    def num_qubits(self) -> int:
        """Width."""
        return int(self._configuration["n_qubits"])

    @property
    def basis_gates(self) -> tuple[str, ...]:
        """Names of the native gates."""
        return tuple(self._configuration["basis_gates"])

    @cached_property
    def coupling(self) -> frozenset[tuple[int, int]]:
        """Directed edges ``(control, target)``; empty where any pair may interact."""
        return frozenset((int(a), int(b)) for a, b in self._configuration.get("coupling_map") or ())

    @property
    def dt_s(self) -> float | None:
        """Length of a sample of the control electronics, None when it is not known."""
        dt = self._configuration.get("dt")
        # Documents give nanoseconds; one snapshot has the value in seconds already.
        return None if dt is None else float(dt) * (1e-9 if dt > 1e-6 else 1.0)

    @property
    def max_shots(self) -> int:
        """Most shots of one PUB."""
        return int(self._configuration.get("max_shots") or DEFAULT_MAX_SHOTS)

    @property
    def rep_delay_s(self) -> float:
        """Pause between two shots."""
        delay_us = self._configuration.get("default_rep_delay")
        return DEFAULT_REP_DELAY_S if delay_us is None else float(delay_us) * 1e-6

    @cached_property
    def control_flow(self) -> frozenset[str]:
        """Names of the control-flow instructions it can execute."""
        return self._supported & _CONTROL_FLOW

    @cached_property
    def instructions(self) -> frozenset[tuple[str, tuple[int, ...]]]:
        """All ``(name, qubits)`` that an ISA circuit may contain, besides barriers and `control_flow`.

        Operational gates, measurements, resets and delays; the same set that the Target supports.
        """
        return frozenset((name, qubits) for name, places in self._places.items() for qubits in places)

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of all `instructions`, and of `control_flow`."""
        return frozenset(self._places) | self.control_flow

    @cached_property
    def everywhere(self) -> frozenset[str]:
        """Names of the one-qubit instructions that every qubit has."""
        all_qubits = {(qubit,) for qubit in range(self.num_qubits)}
        return frozenset(name for name, places in self._places.items() if all_qubits <= places)

    @cached_property
    def calibration(self) -> Calibration:
        """The device's calibration. An ideal device has it too: it times circuits by it and applies no noise."""
        if not self.noise.packaged:
            return drifted(_packaged(self.name).calibration, self.noise)
        return Calibration.from_properties(catalogue.properties(self.metadata), self._configuration)

    @cached_property
    def _supported(self) -> frozenset[str]:
        return frozenset(self._configuration.get("supported_instructions") or _ON_EVERY_QUBIT)

    @cached_property
    def _places(self) -> dict[str, set[tuple[int, ...]]]:
        """Name of an instruction → the qubits it exists on."""
        if not self.noise.packaged:
            return _packaged(self.name)._places  # noqa: SLF001 - drift changes numbers, not what there is
        calibration = self.calibration
        names = set(self.basis_gates) | (self._supported & _ON_EVERY_QUBIT)
        names |= {entry["name"] for entry in self._configuration.get("instruction_signatures") or ()}
        places: dict[str, set[tuple[int, ...]]] = {name: set() for name in names}
        for gate in self._configuration["gates"]:
            if gate["name"] in places:
                places[gate["name"]].update(tuple(qubits) for qubits in gate.get("coupling_map") or ())
        for name, qubits in calibration.gate_duration_s.keys() | calibration.gate_error.keys():
            if name in places:
                places[name].add(qubits)
        every_qubit = {(qubit,) for qubit in range(self.num_qubits)}
        places["measure"] = set(every_qubit)
        broken, broken_gates = calibration.faulty_qubits, calibration.faulty_gates
        return {
            name: {q for q in found or every_qubit if broken.isdisjoint(q) and (name, q) not in broken_gates}
            for name, found in places.items()
        }

    def target(self) -> Any:
        """The device as a `qiskit.transpiler.Target`, equal to that of the fake backend; made once, shared."""
        packaged = self if self.noise.packaged else _packaged(self.name)
        return (packaged if self.calibration is packaged.calibration else self)._target  # noqa: SLF001 - same device

    @cached_property
    def _target(self) -> Any:
        # Another copy of the documents: the decoders change what they are given.
        from qiskit_ibm_runtime.models import BackendConfiguration, BackendProperties
        from qiskit_ibm_runtime.utils.backend_converter import convert_to_target
        from qiskit_ibm_runtime.utils.backend_decoder import decode_backend_configuration

        configuration = orjson.loads(catalogue.configuration_bytes(self.metadata))
        decode_backend_configuration(configuration)
        raw = catalogue.properties_bytes(self.metadata)
        properties = None
        if raw is not None:
            document = orjson.loads(raw)
            if not self.noise.packaged:
                document = with_calibration(document, self.calibration)
            properties = BackendProperties.from_dict(document)
        with warnings.catch_warnings():
            # Gates without a definition are left out, with a warning that says nothing to a tenant.
            warnings.simplefilter("ignore", RuntimeWarning)
            return convert_to_target(
                configuration=BackendConfiguration.from_dict(configuration),
                properties=properties,
                include_control_flow=True,
                include_fractional_gates=True,
            )


# States of drifting noise come and go, and each holds tables of its own: few are kept, and never at the expense of the
# packaged ones.
@lru_cache(maxsize=256)
def _packaged(device_name: str) -> DeviceModel:
    return DeviceModel(DeviceName.parse(device_name))


@lru_cache(maxsize=32)
def _drifted(device_name: str, noise_id: str) -> DeviceModel:
    return DeviceModel(DeviceName.parse(device_name), NoiseId.parse(noise_id))
