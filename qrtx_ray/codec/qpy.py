"""Reading QPY: our own look at the header first, then Qiskit's reader, then the checks every circuit gets."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass

from qiskit import QuantumCircuit
from qiskit import qpy as qiskit_qpy

from qrtx_ray.codec.circuit_checks import check_circuit, check_width
from qrtx_ray.codec.limits import Limits
from qrtx_ray.errors import DecodeError, PayloadTooLarge, QrtxError

__all__ = ["MIN_QPY_VERSION", "QpyHeader", "load_circuit", "read_header"]

MIN_QPY_VERSION = 13  #: CVE-2025-2000: older formats can make the reader run code.
_MAX_QPY_VERSION: int = qiskit_qpy.QPY_VERSION
_FILE = struct.Struct("!6sBBBBQc")
_TABLE_ENTRY = struct.Struct("!Q")
_CIRCUIT = struct.Struct("!HcHIIQIQI")
_REGISTER = struct.Struct("!c?IH?")
_FIRST_VERSION_WITH_TABLE = 16
_FIRST_VERSION_WITH_OTHER_REGISTERS = 18  # its register table has another layout; Qiskit's reader checks it
_SMALLEST_INSTRUCTION = 32


@dataclass(frozen=True, slots=True)
class QpyHeader:
    """What a QPY file says of itself before anything is built."""

    version: int
    qiskit_version: str
    num_qubits: int
    num_clbits: int
    num_instructions: int
    metadata_bytes: int


def load_circuit(data: bytes, limits: Limits, *, field: str, device_qubits: int | None = None) -> QuantumCircuit:
    """The one circuit of a QPY file, checked.

    Args:
        data: The file, not compressed.
        field: What to call it in messages.
        device_qubits: Width of the device, or None.

    Raises:
        DecodeError: Not QPY, another version, not exactly one circuit, or damaged.
        ValidationError: A circuit beyond the limits.
    """
    header = read_header(data, limits, field=field)
    check_width(header.num_qubits, header.num_clbits, limits, field=field, device_qubits=device_qubits)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            circuits = qiskit_qpy.load(io.BytesIO(data))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - the reader panics with a class that is no Exception
        raise DecodeError(
            f"{field} is QPY version {header.version} but cannot be read; it is damaged or uses something this runtime "
            f"does not know",
            field=field,
        ) from None
    if len(circuits) != 1 or not isinstance(circuits[0], QuantumCircuit):
        raise DecodeError(f"{field} must hold exactly one circuit", field=field)
    try:
        check_circuit(circuits[0], limits, field=field, device_qubits=device_qubits)
    except QrtxError:
        raise
    except Exception:  # noqa: BLE001 - a damaged circuit may fail anywhere when looked at
        raise DecodeError(f"{field} holds a damaged circuit", field=field) from None
    return circuits[0]


def read_header(data: bytes, limits: Limits, *, field: str) -> QpyHeader:
    """Check preface, version, counts and sizes against the bytes that are there.

    Raises:
        DecodeError: Anything that cannot be a QPY file of one circuit.
        PayloadTooLarge: More bytes or circuit metadata than accepted.
    """
    if len(data) > limits.object_bytes:
        raise PayloadTooLarge(
            f"{field} is larger than {limits.object_bytes} bytes", field=field, limit=f"{limits.object_bytes} bytes"
        )
    if data[:6] != b"QISKIT" or len(data) < _FILE.size + 1 + _CIRCUIT.size:
        raise DecodeError(f"{field} is not a QPY file", field=field)
    _, version, major, minor, patch, programs, _ = _FILE.unpack_from(data)
    if not MIN_QPY_VERSION <= version <= _MAX_QPY_VERSION:
        raise DecodeError(
            f"{field} is QPY version {version}, this runtime reads versions {MIN_QPY_VERSION} to {_MAX_QPY_VERSION}; "
            f"send it again with qpy.dump(..., version={_MAX_QPY_VERSION if version > _MAX_QPY_VERSION else 17})"
            f"{' or upgrade Qiskit on the client' if version < MIN_QPY_VERSION else ''}",
            field=field,
            limit=f"{MIN_QPY_VERSION}..{_MAX_QPY_VERSION}",
        )
    if programs != 1 or data[_FILE.size : _FILE.size + 1] != b"q":
        raise DecodeError(f"{field} must hold exactly one circuit", field=field, limit="1 circuit")
    start = _FILE.size + 1
    if version >= _FIRST_VERSION_WITH_TABLE:
        (start,) = _TABLE_ENTRY.unpack_from(data, start)
    if start + _CIRCUIT.size > len(data):
        raise DecodeError(f"{field} is cut short", field=field)
    name, _, phase, qubits, clbits, metadata, registers, instructions, variables = _CIRCUIT.unpack_from(data, start)
    if metadata > limits.metadata_bytes:
        raise PayloadTooLarge(
            f"{field} has {metadata} bytes of metadata, at most {limits.metadata_bytes} are accepted",
            field=field,
            limit=f"{limits.metadata_bytes} bytes of metadata",
        )
    body = start + _CIRCUIT.size + name + phase + metadata
    room = len(data) - body
    if instructions * _SMALLEST_INSTRUCTION + registers * _REGISTER.size + variables > max(room, 0):
        raise DecodeError(f"{field} is cut short", field=field)
    if version < _FIRST_VERSION_WITH_OTHER_REGISTERS:
        _check_registers(data, body, registers, limits, field)
    return QpyHeader(version, f"{major}.{minor}.{patch}", qubits, clbits, instructions, metadata)


def _check_registers(data: bytes, position: int, count: int, limits: Limits, field: str) -> None:
    """Walk the register table: a register's size is 8 bytes a bit, so a size without its bytes is a lie."""
    bits = 0
    for _ in range(count):
        if position + _REGISTER.size > len(data):
            raise DecodeError(f"{field} is cut short", field=field)
        _, _, size, name, _ = _REGISTER.unpack_from(data, position)
        position += _REGISTER.size + name + 8 * size
        bits += size
        if position > len(data) or bits > 16 * (limits.qubits + limits.clbits):
            raise DecodeError(f"{field} declares registers that it does not hold", field=field)
