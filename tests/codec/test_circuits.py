"""Circuits are read within bounds, whatever they claim to be; the hazards measured on this stack are refused at once."""

from __future__ import annotations

import struct
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import AnnotatedOperation, Delay, Gate, Parameter, PowerModifier
from qiskit.circuit.library import PauliEvolutionGate, QFTGate, RXGate, XGate
from qiskit.quantum_info import SparsePauliOp

from qrtx_ray.codec.circuit_checks import check_circuit
from qrtx_ray.codec.limits import Limits
from qrtx_ray.codec.qasm import load_qasm2, load_qasm3
from qrtx_ray.codec.qpy import load_circuit, read_header
from qrtx_ray.codec.runtime_params import decode_runtime
from qrtx_ray.errors import DecodeError, PayloadTooLarge, QrtxError, ValidationError
from qrtx_ray.model import Program

from .client_params import bell, qpy_bytes, rotations, sampler_params, wide_isa

LIMITS = Limits()
QASM2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'
QASM3 = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'


def read(data: bytes, limits: Limits = LIMITS, **kwargs) -> QuantumCircuit:
    return load_circuit(data, limits, field="circuit", **kwargs)


def size(circuit: QuantumCircuit, limits: Limits = LIMITS) -> int:
    return check_circuit(circuit, limits, field="circuit")


def refused(function, *words: str, within_s: float = 2.0) -> ValidationError:
    """The refusal of `function()`, which must come in bounded time and say `words`."""
    start = time.perf_counter()
    with pytest.raises(ValidationError) as caught:
        function()
    assert time.perf_counter() - start < within_s
    for word in words:
        assert word in caught.value.message
    assert caught.value.field == "circuit"
    return caught.value


@pytest.mark.parametrize("version", range(13, qpy.QPY_VERSION + 1))
def test_every_accepted_qpy_version_gives_the_circuit_back(version):
    for circuit in (bell(), rotations(), wide_isa()):
        assert read(qpy_bytes(circuit, version)) == circuit


def test_the_header_tells_the_size_before_anything_is_built():
    header = read_header(qpy_bytes(wide_isa(), 17), LIMITS, field="circuit")
    assert (header.version, header.num_qubits, header.num_clbits) == (17, 5, 5)
    assert header.num_instructions == len(wide_isa().data)


@pytest.mark.parametrize("version", [*range(13), qpy.QPY_VERSION + 1, 255])
def test_other_qpy_versions_are_refused_with_both_versions(version):
    data = bytearray(qpy_bytes(bell()))
    data[6] = version
    error = refused(
        lambda: read(bytes(data)), f"QPY version {version}", f"versions 13 to {qpy.QPY_VERSION}", "qpy.dump"
    )
    assert isinstance(error, DecodeError)


def test_a_tiny_file_that_declares_a_million_qubits_is_refused_by_its_header():
    data = bytearray(qpy_bytes(bell(), 17))
    (start,) = struct.unpack_from("!Q", data, 20)
    for qubits in (10**6, 2**31):
        struct.pack_into("!I", data, start + 5, qubits)
        refused(lambda: read(bytes(data)), f"{qubits} qubits", within_s=0.1)
    struct.pack_into("!I", data, start + 5, 2)
    struct.pack_into("!I", data, start + 9, 10**9)
    refused(lambda: read(bytes(data)), "classical bits", within_s=0.1)


def test_lies_about_counts_and_sizes_are_refused():
    honest = qpy_bytes(bell(), 17)
    (start,) = struct.unpack_from("!Q", honest, 20)

    def lie(form: str, offset: int, value: int) -> bytes:
        data = bytearray(honest)
        struct.pack_into(form, data, offset, value)
        return bytes(data)

    refused(lambda: read(lie("!Q", 10, 2)), "exactly one circuit")
    refused(lambda: read(lie("!Q", 10, 2**64 - 1)), "exactly one circuit")
    refused(lambda: read(lie("!Q", 10, 0)), "exactly one circuit")
    refused(lambda: read(lie("!B", 19, ord("s"))), "exactly one circuit")
    refused(lambda: read(lie("!Q", 20, 2**63)), "cut short")
    refused(lambda: read(lie("!Q", start + 13, 10**12)), "bytes of metadata")
    refused(lambda: read(lie("!I", start + 21, 2**31)), "cut short")
    refused(lambda: read(lie("!Q", start + 25, 2**40)), "cut short")


def test_files_cut_at_any_byte_are_refused_or_whole():
    data = qpy_bytes(rotations(), 17)
    for end in range(0, len(data) - 1, 3):
        with pytest.raises(ValidationError):
            read(data[:end])


def test_large_circuit_metadata_is_refused():
    circuit = bell()
    circuit.metadata = {"x": "y" * 70_000}
    refused(lambda: read(qpy_bytes(circuit)), "bytes of metadata, at most 65536")


def test_the_text_of_the_reader_never_comes_through():
    data = bytearray(qpy_bytes(bell()))
    data[-40:] = b"\xff" * 40
    message = refused(lambda: read(bytes(data))).message
    assert message.startswith("circuit is QPY version 17 but cannot be read")


def test_a_circuit_is_counted_through_definitions_and_loops():
    inner = QuantumCircuit(2, name="inner")
    inner.h(0)
    inner.cx(0, 1)
    outer = QuantumCircuit(2, name="outer")
    outer.append(inner.to_gate(), [0, 1])
    outer.append(inner.to_gate(), [1, 0])
    circuit = QuantumCircuit(2, 2)
    circuit.append(outer.to_gate(), [0, 1])
    with circuit.for_loop(range(10)):
        circuit.append(inner.to_gate(), [0, 1])
    circuit.measure([0, 1], [0, 1])
    assert size(circuit) == 4 + (1 + 10 * 2) + 2
    assert size(read(qpy_bytes(circuit))) == size(circuit)


def test_gates_that_double_are_refused_without_expanding():
    gates = "".join(f"gate g{number} a {{ g{number - 1} a; g{number - 1} a; }}\n" for number in range(1, 40))
    text = f"{QASM2}gate g0 a {{ x a; }}\n{gates}qreg q[1];\ng39 q[0];\n"
    refused(lambda: load_qasm2(text, LIMITS, field="circuit"), "too many instructions", "100000", within_s=0.5)


def test_doubling_in_qpy_is_refused():
    gate = QuantumCircuit(1, name="g0")
    gate.x(0)
    for number in range(1, 9):
        twice = QuantumCircuit(1, name=f"g{number}")
        twice.append(gate.to_gate(), [0])
        twice.append(gate.to_gate(), [0])
        gate = twice
    circuit = QuantumCircuit(1)
    circuit.append(gate.to_gate(), [0])
    data = qpy_bytes(circuit)
    assert size(read(data)) == 256
    refused(lambda: read(data, Limits(instructions=200)), "too many instructions")
    refused(lambda: read(data, Limits(definition_depth=4)), "too deeply")


def test_powers_and_loops_multiply():
    circuit = QuantumCircuit(1)
    circuit.append(AnnotatedOperation(XGate(), PowerModifier(10**9)), [0])
    refused(lambda: size(circuit), "too many instructions")
    loops = QuantumCircuit(1)
    with loops.for_loop(range(1000)), loops.for_loop(range(1000)):
        loops.x(0)
    refused(lambda: size(loops), "too many instructions")
    once = QuantumCircuit(1)
    with once.for_loop(range(10**9)):
        once.x(0)
    refused(lambda: size(once), "too many iterations", "10000")


def test_nested_control_flow_is_bounded():
    def nested(depth: int) -> QuantumCircuit:
        body = QuantumCircuit(1, 1)
        body.x(0)
        for _ in range(depth):
            outer = QuantumCircuit(1, 1)
            outer.for_loop(range(1), None, body, [0], [0])
            body = outer
        return body

    assert size(nested(8)) > 8
    refused(lambda: size(nested(9)), "nests control flow too deeply", "8 levels")


def test_while_loops_are_refused_unless_allowed():
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    with circuit.while_loop((circuit.clbits[0], 0)):
        circuit.x(0)
        circuit.measure(0, 0)
    refused(lambda: size(circuit), "while loop")
    assert size(circuit, Limits(allow_while_loops=True)) == 4


def test_dynamic_circuits_with_branches_are_accepted():
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        circuit.x(1)
    with otherwise:
        circuit.h(1)
    with circuit.switch(circuit.cregs[0]) as case:
        with case(0):
            circuit.x(0)
        with case(case.DEFAULT):
            circuit.z(0)
    circuit.reset(0)
    circuit.measure([0, 1], [0, 1])
    assert read(qpy_bytes(circuit)) == circuit


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_angles_that_are_not_finite_are_refused(bad):
    plain = QuantumCircuit(1)
    plain._append(RXGate(bad), plain.qubits, ())
    refused(lambda: size(plain), "not finite")
    phase = QuantumCircuit(1)
    phase.x(0)
    phase.append(Gate("own", 1, [bad]), [0])
    refused(lambda: size(phase), "not finite")


@pytest.mark.parametrize(("duration", "unit"), [(10**18, "dt"), (2.0, "s"), (5000, "ms"), (-1, "dt")])
def test_delays_out_of_bounds_are_refused(duration, unit):
    circuit = QuantumCircuit(1)
    delay = Delay(1, unit)
    delay._params = [duration]
    circuit.append(delay, [0])
    refused(lambda: size(circuit), "delay out of bounds")


def test_honest_delays_and_parameters_are_accepted():
    circuit = QuantumCircuit(1)
    circuit.delay(100, 0)
    circuit.delay(0.5, 0, unit="s")
    circuit.rx(2 * Parameter("a") + 1, 0)
    assert size(circuit) == 3


def test_library_gates_are_weighed_without_being_built():
    circuit = QuantumCircuit(40)
    circuit.append(QFTGate(40), range(40))
    assert 40 * 40 <= size(circuit) <= LIMITS.instructions
    evolution = QuantumCircuit(4)
    evolution.append(PauliEvolutionGate(SparsePauliOp(["XXII", "IZZI"]), 0.5), range(4))
    assert size(evolution) == 2 * 11
    wide = QuantumCircuit(9)
    wide.unitary(np.eye(2**9), range(9))
    refused(lambda: size(wide), "given by numbers on 9 qubits")


def test_a_circuit_without_qubits_is_refused():
    refused(lambda: read(qpy_bytes(QuantumCircuit(0, 1))), "no qubits")


def test_openqasm_2_and_3_give_the_same_circuit():
    two = load_qasm2(f"{QASM2}qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;", LIMITS, field="circuit")
    three = load_qasm3(f"{QASM3}qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;", LIMITS, field="circuit")
    assert two.count_ops() == three.count_ops() == {"h": 1, "cx": 1, "measure": 2}


def test_openqasm_3_inputs_become_parameters():
    text = f"{QASM3}input float[64] a;\nqubit q; bit c; rx(a) q; c = measure q;"
    assert [p.name for p in load_qasm3(text, LIMITS, field="circuit").parameters] == ["a"]


@pytest.mark.parametrize(
    "include", ['include "/etc/passwd";', 'include "../x.inc";', "include '/etc/passwd';", "include /etc/passwd;"]
)
def test_foreign_includes_are_refused_and_never_opened(include):
    for load, head in ((load_qasm2, "OPENQASM 2.0;"), (load_qasm3, "OPENQASM 3.0;")):
        error = refused(
            lambda load=load, head=head: load(f"{head}\n{include}\n", LIMITS, field="circuit"), "include only"
        )
        assert "root" not in error.message


@pytest.mark.parametrize("number", [10**4, 10**7, 10**9, 2**64, 10**40])
def test_huge_registers_are_refused_before_parsing(number):
    for load, text in (
        (load_qasm2, f"{QASM2}qreg q[{number}];"),
        (load_qasm2, f"{QASM2}qreg q[1]; creg c[{number}];"),
        (load_qasm3, f"{QASM3}qubit[{number}] q;"),
        (load_qasm3, f"{QASM3}qubit q; bit[{number}] c;"),
        (load_qasm3, f"{QASM3}qreg q[{number}];"),
        (load_qasm3, f"{QASM3}qubit q; uint[{number}] n;"),
    ):
        refused(lambda load=load, text=text: load(text, LIMITS, field="circuit"), within_s=0.2)


def test_register_sizes_that_are_expressions_are_refused():
    refused(lambda: load_qasm3(f"{QASM3}const int n = 9; qubit[n] q;", LIMITS, field="circuit"), "plain numbers")


def test_a_comment_hides_nothing():
    text = f"{QASM3}qubit /* x */ [/* y */ 100000] q;"
    refused(lambda: load_qasm3(text, LIMITS, field="circuit"), "qubits")
    text = f'{QASM3}// include "/etc/passwd";\nqubit q;\nx q;'
    assert load_qasm3(text, LIMITS, field="circuit").num_qubits == 1


def test_long_and_deep_openqasm_is_refused_before_parsing():
    refused(lambda: load_qasm3("x" * 300_000, LIMITS, field="circuit"), "at most 262144")
    parens = f"{QASM3}qubit q; rx({'(' * 20_000}1{')' * 20_000}) q;"
    refused(lambda: load_qasm3(parens, LIMITS, field="circuit"), "64 levels", within_s=0.3)
    gates = f"{QASM2}qreg q[1];{'x q[0];' * 100_001}"
    refused(lambda: load_qasm2(gates, LIMITS, field="circuit"), "too many instructions", within_s=0.5)
    broad = f"{QASM2}qreg q[1000];{'x q;' * 200}"
    refused(lambda: load_qasm2(broad, LIMITS, field="circuit"), "too many instructions", within_s=0.3)


@pytest.mark.parametrize("angle", ["1e400", "-1e400", "1e300*1e300"])
def test_openqasm_angles_beyond_a_double_are_refused(angle):
    refused(lambda: load_qasm2(f"{QASM2}qreg q[1]; rx({angle}) q[0];", LIMITS, field="circuit"))


def test_a_wrong_line_is_named_by_number_only():
    error = refused(lambda: load_qasm2(f"{QASM2}qreg q[1];\nsecret q[0];", LIMITS, field="circuit"), "(line 4)")
    assert "secret" not in error.message
    error = refused(lambda: load_qasm3(f"{QASM3}qubit q;\nsecret q;", LIMITS, field="circuit"), "not valid OpenQASM 3")
    assert "secret" not in error.message


@pytest.mark.parametrize("text", [None, 5, "", "x\0", "OPENQASM 9.0;", "qubit q", "\ud800"])
def test_text_that_is_no_openqasm_is_refused(text):
    for load in (load_qasm2, load_qasm3):
        refused(lambda load=load: load(text, LIMITS, field="circuit"))


def test_while_in_openqasm_3_is_refused():
    text = f"{QASM3}qubit q; bit c; c = measure q; while (c == 0) {{ x q; c = measure q; }}"
    refused(lambda: load_qasm3(text, LIMITS, field="circuit"))


def test_a_file_larger_than_an_object_is_refused():
    with pytest.raises(PayloadTooLarge):
        read(qpy_bytes(bell()), Limits(object_bytes=100))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 3))
def test_damaged_requests_are_read_or_refused_cleanly(place, count):
    # The compressed circuit has a checksum, so what is damaged here never reaches Qiskit's reader in this process.
    data = bytearray(_PARAMS)
    generator = np.random.default_rng(place)
    for offset in generator.integers(len(data), size=count):
        data[offset] = generator.integers(256)
    try:
        job = decode_runtime(bytes(data), Program.SAMPLER, LIMITS)
    except QrtxError:
        return
    assert len(job.pubs) == 1


_PARAMS = sampler_params([(rotations(), [0.1, 0.2], 10)])


def _qasm3(body: str) -> str:
    return f'OPENQASM 3.0; include "stdgates.inc"; qubit[1] q; {body}'


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        ("rx(" + "-" * 64 + "1) q[0];", "64 signs"),
        ("rx(" + "- " * 5000 + "1) q[0];", "64 signs"),
        ("ctrl(1000000000) @ x q[0], q[0];", "5 qubits"),
        ("negctrl(6) @ x q[0], q[0];", "5 qubits"),
        ("const int n = 6; ctrl(n) @ x q[0], q[0];", "5 qubits"),
        ("gate g a {" + "x a;" * 100 + "} " + "g q[0];" * 101, "10000 instructions"),
        ("gate g a {" + "x a;" * 100 + "} " + "inv @ " * 101 + "g q[0];", "10000 instructions"),
        ("gate f a {x a; x a;} gate g a {" + "f a;" * 5000 + "} g q[0];", "10000 instructions"),
    ],
)
def test_what_the_openqasm_3_parser_would_build_for_ever_is_seen_in_the_text(body, limit):
    with pytest.raises(ValidationError) as caught:
        load_qasm3(_qasm3(body), Limits(), field="f", device_qubits=5)
    assert caught.value.limit == limit


@pytest.mark.parametrize("body", ["rx(---1) q[0];", "gate g a {x a;} g q[0]; inv @ g q[0];", "pow(2) @ x q[0];"])
def test_modest_openqasm_3_of_the_same_kind_is_read(body):
    assert load_qasm3(_qasm3(body), Limits(), field="f", device_qubits=5).num_qubits == 1
