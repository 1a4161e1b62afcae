"""What only decoding can tell: the job is accepted, and fails with a reason, in the child where it was looked into."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.primitives.containers.bindings_array import BindingsArray

from qrtx_ray.client import QrtxClient

from . import corpus
from .corpus import QASM2, QASM3
from .doors import NATIVE, RUNTIME, Ledger, assert_explained, fails, native_body, runtime_body

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("serving")]

WIDE = "fake_sherbrooke@aer_ideal"
NAN = float("nan")
BOMB = corpus.bomb(2**30)
QPY = corpus.qpy_bytes(corpus.bell())


class Doors:
    """Submits what is wrong and returns what became of it."""

    def __init__(self, http: httpx.Client, client: QrtxClient, ledger: Ledger) -> None:
        self._tools = (http, client, ledger)

    def native(self, source: str, kind: str = "qasm3", device: str | None = None, **circuit: Any) -> dict[str, Any]:
        body = native_body(circuits=[{"format": kind, "source": source, **circuit}])
        return fails(*self._tools, NATIVE, body | ({"device": device} if device else {}))

    def runtime(self, params: dict[str, Any], **body: Any) -> dict[str, Any]:
        return fails(*self._tools, RUNTIME, runtime_body(params, **body))

    def qpy(self, data: bytes) -> list[dict[str, Any]]:
        """The errors of both doors for one QPY file."""
        return [
            self.native(base64.b64encode(data).decode(), "qpy"),
            self.native(corpus.packed(data), "qpy"),
            self.runtime({"pubs": [[corpus.circuit_object(data), None, 10]], "version": 2}),
        ]


@pytest.fixture
def doors(http: httpx.Client, client: QrtxClient, ledger: Ledger) -> Doors:
    return Doors(http, client, ledger)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(bytes(100), ["is not a QPY file"], id="zeros"),
        pytest.param(b"", ["is not a QPY file"], id="nothing"),
        pytest.param(b"\x80\x04\x95\x10" * 50, ["is not a QPY file"], id="a pickle"),
        pytest.param(b"QISKIT" + b"\xff" * 100, ["13..18"], id="all ones"),
        pytest.param(b"QISKIT\x0c" + QPY[7:], ["QPY version 12", "13..18"], id="a version with known holes"),
        pytest.param(QPY[:10], ["is not a QPY file"], id="10 bytes"),
        pytest.param(QPY[: len(QPY) // 3], ["cut short"], id="a third"),
        pytest.param(QPY[:-1], ["damaged"], id="all but the last byte"),
        pytest.param(QPY[:60] + bytes(len(QPY) - 60), [], id="zeros in the middle"),
    ],
)
def test_garbage_and_truncated_qpy_fail(doors: Doors, data: bytes, words: list[str]) -> None:
    for error in doors.qpy(data):
        assert_explained(error, "decode_failed", *words)
        assert error["field"] in {"circuits[0].source", "pubs[0].circuit"}


def test_qpy_as_a_bare_body_fails_alike(http: httpx.Client, client: QrtxClient, ledger: Ledger) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    answer = http.post(NATIVE, params={"device": "manila"}, content=QPY[:80], headers=headers)
    ended = client.wait(ledger.note(answer), 15)
    assert_explained(ended.view["error"], "decode_failed", "circuits[0].source")


@pytest.mark.parametrize("qubits", [6, 10**6, 2**31, 2**32 - 1])
def test_qpy_that_declares_more_qubits_than_the_device_has_fails(doors: Doors, qubits: int) -> None:
    for error in doors.qpy(corpus.many_qubits_declared(qubits)):
        assert_explained(error, "validation_failed", f"{qubits} qubits", "at most 5")


@pytest.mark.parametrize("text", ["***", "QUFB", "QUFB\n====", "é"])
def test_circuits_that_are_not_even_packed_fail(doors: Doors, text: str) -> None:
    item = {"__type__": "QuantumCircuit", "__value__": text}
    assert_explained(doors.runtime({"pubs": [[item]], "version": 2}), "decode_failed", "pubs[0].circuit")
    assert_explained(doors.native(text, "qpy"), "decode_failed", "circuits[0].source")


def test_a_zlib_bomb_is_not_inflated(doors: Doors) -> None:
    circuit = {"__type__": "QuantumCircuit", "__value__": BOMB}
    array = {"__type__": "ndarray", "__value__": BOMB}
    limit = "16777216 bytes"
    assert_explained(doors.native(BOMB, "qpy"), "payload_too_large", "circuits[0].source", limit)
    assert_explained(doors.runtime({"pubs": [[circuit]]}), "payload_too_large", "pubs[0].circuit", limit)
    params = {"pubs": [[corpus.encoded(corpus.angles()), array]]}
    assert_explained(doors.runtime(params), "payload_too_large", "pubs[0].parameter_values", limit)


def test_bombs_below_the_limit_of_one_share_the_limit_of_all(doors: Doors) -> None:
    circuit = corpus.encoded(corpus.angles(2000))
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000, 2000), }"
    array = b"\x93NUMPY\x01\x00v\x00" + header.ljust(117) + b"\n" + bytes(16_000_000)
    pub = [circuit, {"__type__": "ndarray", "__value__": corpus.packed(array)}, 1]
    error = doors.runtime({"pubs": [pub] * 3, "version": 2})
    assert_explained(error, "payload_too_large", "pubs[2].parameter_values", "33554432 bytes")


@pytest.mark.parametrize("value", [NAN, np.inf, -np.inf], ids=str)
def test_parameter_values_that_are_no_numbers_fail(doors: Doors, value: float) -> None:
    circuit = corpus.angles()
    for values in (np.array([0.5, value]), BindingsArray({("t0", "t1"): np.array([[value, 0.5]])})):
        error = doors.runtime(corpus.sampler([circuit, values, 10]))
        assert_explained(error, "validation_failed", "pubs[0].parameter_values", "finite numbers")


@pytest.mark.parametrize("count", [0, 1, 3, 1000])
def test_a_wrong_number_of_parameters_fails(doors: Doors, count: int) -> None:
    error = doors.runtime(corpus.sampler([corpus.angles(2), np.zeros(count), 10]))
    assert_explained(error, "validation_failed", "pubs[0].parameter_values", f"{count} parameter values", "2 values")
    source = f"{QASM3} input angle u; input angle v; qubit[1] q; bit[1] c; rx(u) q[0]; rx(v) q[0]; c = measure q;"
    error = doors.native(source, parameters=[[0.1] * count])
    assert_explained(error, "validation_failed", "circuits[0].parameters", "2")


def test_missing_parameters_and_unknown_names_fail(doors: Doors) -> None:
    source = f"{QASM3} input angle u; qubit[1] q; bit[1] c; rx(u) q[0]; c = measure q;"
    assert_explained(doors.native(source), "validation_failed", "circuits[0].parameters")
    assert_explained(doors.native(source, parameters={"w": 1.0}), "validation_failed", "circuits[0].parameters")
    error = doors.native(source, parameters=[[0.1]] * 10_001)
    assert_explained(error, "validation_failed", "10000")


@pytest.mark.parametrize("angle", [NAN, np.inf], ids=str)
def test_a_rotation_by_no_number_fails_in_qpy(doors: Doors, angle: float) -> None:
    for error in doors.qpy(corpus.qpy_bytes(corpus.half_turns(angle))):
        assert_explained(error, "validation_failed", "parameter that is not finite", "finite numbers")


@pytest.mark.parametrize(
    "angle", ["nan", "0/0", "1e400", "1e308*10", "ln(0)", "log(0)", "sqrt(-1)", "1/0", "-nan", "inf"]
)
@pytest.mark.parametrize("kind", ["qasm2", "qasm3"])
def test_a_rotation_by_no_number_fails_in_openqasm(doors: Doors, kind: str, angle: str) -> None:
    register = "qreg q[1]; creg c[1];" if kind == "qasm2" else "qubit[1] q; bit[1] c;"
    measure = "measure q -> c;" if kind == "qasm2" else "c = measure q;"
    error = doors.native(f"{QASM2 if kind == 'qasm2' else QASM3}{register} rx({angle}) q[0]; {measure}", kind)
    assert error["code"] in {"decode_failed", "validation_failed"}
    assert error["field"] == "circuits[0].source"


INCLUDES = [
    '"/etc/passwd"',
    "'/etc/passwd'",
    '"../../../../../../etc/passwd"',
    '"/dev/zero"',
    '"/proc/self/environ"',
    '\n"/etc/passwd"',
    '/**/"/etc/passwd"',
    '"qelib1.inc/../../passwd"',
    '"file:///etc/passwd"',
    '""',
]


@pytest.mark.parametrize("name", INCLUDES)
@pytest.mark.parametrize(("kind", "head"), [("qasm2", "OPENQASM 2.0;"), ("qasm3", "OPENQASM 3.0;")])
def test_no_file_is_included(doors: Doors, kind: str, head: str, name: str) -> None:
    error = doors.native(f"{head} include {name}; qreg q[1];", kind)
    assert_explained(
        error, "validation_failed", "circuits[0].source", "qelib1.inc and stdgates.inc", "standard libraries"
    )


@pytest.mark.parametrize(
    ("kind", "declaration", "words"),
    [
        ("qasm2", "qreg q[1000000000];", ["1000000000 qubits", "5 qubits"]),
        ("qasm2", "qreg q[18446744073709551616];", ["register sizes"]),
        ("qasm2", "qreg q[-1];", ["register sizes"]),
        ("qasm2", "".join(f"qreg q{n}[1000];" for n in range(1000)), ["1000000 qubits", "5 qubits"]),
        ("qasm2", "qreg q[1]; creg c[1000000000];", ["1000000000 classical bits", "4096"]),
        ("qasm3", "qubit[1000000000] q;", ["1000000000 qubits", "5 qubits"]),
        ("qasm3", "qubit[1_000_000_000] q;", ["register sizes"]),
        ("qasm3", "qreg q[1000000000];", ["1000000000 qubits", "5 qubits"]),
        ("qasm3", "const int n = 1000000000; qubit[n] q;", ["register sizes"]),
        ("qasm3", "qubit q; bit[1000000000] c;", ["1000000000 classical bits", "4096"]),
        ("qasm3", "qubit q; int[1000000000] i;", ["64 bits"]),
    ],
)
def test_absurd_registers_are_never_made(doors: Doors, kind: str, declaration: str, words: list[str]) -> None:
    error = doors.native(f"OPENQASM {kind[-1]}.0; {declaration}", kind)
    assert_explained(error, "validation_failed", "circuits[0].source", *words)


def test_sixty_active_qubits_do_not_fit_a_state_vector(doors: Doors) -> None:
    circuit = corpus.wide(60)
    pubs = {
        "sampler": [circuit, None, 10],
        "estimator": [circuit.remove_final_measurements(inplace=False), {"Z" * 60: 1.0}, None, 0.1],
    }
    for program, pub in pubs.items():
        error = doors.runtime(corpus.sampler(pub), program_id=program, backend=WIDE)
        assert_explained(error, "resource_exhausted", "60 active qubits", "MiB", "pubs")
    error = doors.native(corpus.packed(corpus.qpy_bytes(circuit)), "qpy", device=WIDE)
    assert_explained(error, "resource_exhausted", "60 active qubits", "MiB", "circuits")


def test_an_endless_loop_is_not_started(doors: Doors) -> None:
    for error in doors.qpy(corpus.qpy_bytes(corpus.loop_for_ever())):
        assert_explained(error, "validation_failed", "while loop", "no while_loop")
    source = f"{QASM3} qubit[1] q; bit[1] c; while (c[0] == false) {{ x q[0]; x q[0]; c[0] = measure q[0]; }}"
    assert_explained(doors.native(source), "validation_failed", "while loop", "no while_loop")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("for int i in [0:1000000000] { x q[0]; }", ["for loop of too many iterations", "10000 iterations"]),
        ("for int i in [0:9999] { for int j in [0:9999] { x q[0]; } }", ["too many instructions", "100000"]),
        ("def f() { f(); } f();", []),
        ("ctrl(1000000000) @ x q[0], q[0];", ["numbers of controls", "5 qubits"]),
        ("delay[1000000000s] q[0];", ["delay out of bounds", "1.0 s"]),
        ("rx(" + "(" * 20_000 + "1" + ")" * 20_000 + ") q[0];", ["nests brackets deeper", "64 levels"]),
        ("rx(" + "-" * 100_000 + "1) q[0];", ["row of 64 or more signs", "64 signs"]),
        ("if (true) " * 5_000 + "x q[0];", []),
        ("rx(9**9**9**9**9**9) q[0];", []),
        ("rx(1 << 1000000000) q[0];", []),
        ("array[int, 1000000000] a;", []),
        ("h q[0];" * 40_000, ["characters", "262144 bytes"]),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_openqasm_3_made_to_take_for_ever_fails_at_once(doors: Doors, source: str, words: list[str]) -> None:
    error = doors.native(f"{QASM3} qubit[1] q; bit[1] c; {source} c = measure q;")
    assert error["code"] in {"decode_failed", "validation_failed", "payload_too_large"}
    assert_explained(error, error["code"], "circuits[0].source", *words)


@pytest.mark.parametrize("levels", [22, 60, 2_000])
def test_gates_that_double_are_counted_and_not_expanded(doors: Doors, levels: int) -> None:
    error = doors.native(corpus.doubling(levels), "qasm2")
    assert_explained(error, "validation_failed", "circuits[0].source", "instructions" if levels <= 60 else "64 levels")
    source = corpus.doubling(levels).replace(QASM2, QASM3).replace("measure q[0] -> c[0]", "c[0] = measure q[0]")
    assert_explained(doors.native(source), "validation_failed", "circuits[0].source", "instructions", "10000")


def test_doubling_gates_inside_qpy_fail_too(doors: Doors) -> None:
    data = corpus.qpy_bytes(corpus.doubling_circuit(11))
    for error in (doors.native(corpus.packed(data), "qpy"), doors.runtime({"pubs": [[corpus.circuit_object(data)]]})):
        assert_explained(error, "validation_failed", "instructions")


@pytest.mark.parametrize("gadget", corpus.gadgets())
def test_typed_objects_build_nothing_but_what_belongs_there(doors: Doors, gadget: str) -> None:
    item = corpus.gadgets()[gadget]
    error = doors.runtime({"pubs": [[item]], "version": 2})
    assert_explained(error, "validation_failed", "pubs[0].circuit", "must be a circuit")
    error = doors.runtime({"pubs": [[corpus.encoded(corpus.angles()), item]], "version": 2})
    assert error["field"] == "pubs[0].parameter_values"
    error = doors.runtime(corpus.sampler([corpus.bell()], simulator={"seed_simulator": item}))
    assert error["field"] == "options.simulator.seed_simulator"


@pytest.mark.parametrize("shots", ["1", [1], {"__type__": "ndarray", "__value__": [1]}], ids=str)
def test_shots_in_disguise_fail(doors: Doors, shots: Any) -> None:
    error = doors.runtime({"pubs": [[corpus.encoded(corpus.bell()), None, shots]], "version": 2})
    assert_explained(error, "validation_failed", "pubs[0].shots", "1..100000")


@pytest.mark.parametrize("precision", [0, -1.0, 1e-30, "small"], ids=str)
def test_a_precision_that_needs_endless_shots_fails(doors: Doors, precision: Any) -> None:
    circuit = QuantumCircuit(1)
    pub = [*corpus.encoded([circuit, {"Z": 1.0}, None]), precision]
    error = doors.runtime({"pubs": [pub], "version": 2}, program_id="estimator")
    assert_explained(error, "validation_failed", "pubs[0].precision")


def test_shots_within_bounds_that_make_an_unbearable_job_fail(doors: Doors) -> None:
    pub = [corpus.angles(1), np.zeros((10_000, 1)), 100_000]
    error = doors.runtime(corpus.sampler(pub))
    assert_explained(error, error["code"], "1073741824")


def test_unknown_options_fail_with_a_hint(doors: Doors) -> None:
    params = corpus.sampler([corpus.bell()], defualt_shots=10)
    assert_explained(doors.runtime(params), "validation_failed", "options.defualt_shots", "default_shots")


def test_the_reason_quotes_nothing_that_was_sent(doors: Doors) -> None:
    secret = "hunter2"
    told = [
        doors.native(f"OPENQASM 3.0; {secret} {secret};"),
        doors.native(f'OPENQASM 2.0; include "{secret}";', "qasm2"),
        doors.native(f"{QASM2} qreg {secret}[1]; {secret} {secret}[0];", "qasm2"),
        doors.runtime({"pubs": [[{"__type__": "QuantumCircuit", "__value__": secret}]]}),
    ]
    assert secret not in json.dumps(told)
