"""The params of the official client's samplers and estimators decode to the PUBs that were sent."""

from __future__ import annotations

import json

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer.noise import NoiseModel, depolarizing_error
from qiskit_ibm_runtime import RuntimeEncoder

from qrtx_ray.codec.limits import Limits
from qrtx_ray.codec.runtime_params import decode_runtime
from qrtx_ray.errors import PayloadTooLarge, QrtxError, ValidationError
from qrtx_ray.model import Program

from .client_params import bell, edited, estimator_params, rotations, sampler_params

LIMITS = Limits()


def sampler(params: bytes, limits: Limits = LIMITS, **kwargs):
    return decode_runtime(params, Program.SAMPLER, limits, **kwargs)


def estimator(params: bytes, limits: Limits = LIMITS, **kwargs):
    return decode_runtime(params, Program.ESTIMATOR, limits, **kwargs)


def test_a_plain_sampler_job_takes_the_clients_default_shots():
    job = sampler(sampler_params([(bell(),)]))
    assert job.program is Program.SAMPLER
    assert job.pubs[0].circuit == bell()
    assert (job.pubs[0].shots, job.pubs[0].shape, job.shots) == (4096, (), (4096,))
    assert job.options == {"meas_type": "classified", "ignored": []}
    assert job.formats == ("qpy",)
    assert job.seed is None


def test_shots_of_a_pub_go_before_the_default():
    job = sampler(sampler_params([(bell(), None, 12), (bell(),)], {"default_shots": 77}))
    assert [pub.shots for pub in job.pubs] == [12, 77]


def test_shots_are_randomizations_times_shots_of_each_when_no_default_is_given():
    twirling = {"num_randomizations": 8, "shots_per_randomization": 16}
    assert sampler(sampler_params([(bell(),)], {"twirling": twirling})).shots == (128,)
    both = {"twirling": twirling, "default_shots": 5}
    assert sampler(sampler_params([(bell(),)], both)).shots == (5,)
    auto = {"twirling": {"num_randomizations": 8, "shots_per_randomization": "auto"}}
    assert sampler(sampler_params([(bell(),)], auto)).shots == (4096,)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (2, 1, 4)])
def test_parameter_values_keep_their_shape_and_order(shape):
    values = np.random.default_rng(1).random((*shape, 2))
    (pub,) = sampler(sampler_params([(rotations(), values, 10)])).pubs
    assert pub.shape == shape
    assert np.array_equal(pub.parameter_values.as_array(pub.circuit.parameters), values)


def test_vector_parameters_follow_the_circuits_order():
    angles = ParameterVector("a", 12)
    circuit = QuantumCircuit(1, 1)
    for angle in angles:
        circuit.rx(angle, 0)
    circuit.measure(0, 0)
    values = np.arange(12.0)
    (pub,) = sampler(sampler_params([(circuit, values)])).pubs
    assert [parameter.name for parameter in pub.circuit.parameters] == [f"a[{number}]" for number in range(12)]
    assert np.array_equal(pub.parameter_values.as_array(pub.circuit.parameters), values)


def test_a_bindings_array_on_the_wire_is_read_by_name():
    bindings = BindingsArray({("t1", "t0"): np.array([[1.0, 2.0], [3.0, 4.0]])})
    wire = json.loads(json.dumps(bindings, cls=RuntimeEncoder))
    params = edited(sampler_params([(rotations(), [0, 0])]), lambda doc: doc["pubs"][0].__setitem__(1, wire))
    (pub,) = sampler(params).pubs
    assert pub.shape == (2,)
    assert pub.parameter_values.as_array(["t0", "t1"]).tolist() == [[2.0, 1.0], [4.0, 3.0]]


def test_lists_stand_for_arrays():
    params = edited(
        sampler_params([(rotations(), [0, 0])]), lambda doc: doc["pubs"][0].__setitem__(1, [[1, 2], [3, 4]])
    )
    assert sampler(params).pubs[0].shape == (2,)


def test_an_estimator_job_keeps_observables_and_precision():
    observables = [[{"ZZ": 1.0, "XI": -0.5}], [{"IY": 2}]]
    values = np.zeros((3, 2))
    job = estimator(estimator_params([(rotations(measured=False), observables, values, 0.1)]))
    (pub,) = job.pubs
    assert pub.shape == (2, 3)
    assert pub.observables.equivalent(ObservablesArray(observables))
    assert pub.precision == 0.1
    assert job.shots == (100,)


def test_an_estimator_job_takes_its_precision_from_the_options():
    circuit = rotations(measured=False)
    pub = (circuit, SparsePauliOp("ZZ"), [0, 0])
    assert estimator(estimator_params([pub])).pubs[0].precision == 0.015625
    assert estimator(estimator_params([pub], {"default_precision": 0.5})).pubs[0].precision == 0.5
    by_shots = estimator(estimator_params([pub], {"default_precision": 0.5, "default_shots": 3000}))
    assert by_shots.shots == (3000,)


def test_an_observables_array_object_is_read():
    wire = json.loads(json.dumps(ObservablesArray([{"ZZ": 1.0}]), cls=RuntimeEncoder))
    params = estimator_params([(rotations(measured=False), [{"ZZ": 1.0}], [0, 0])])
    job = estimator(edited(params, lambda doc: doc["pubs"][0].__setitem__(1, wire)))
    assert job.pubs[0].shape == (1,)


def test_extended_paulis_are_accepted():
    params = estimator_params([(rotations(measured=False), [{"0+": 1.0, "r1": 2.0}], [0, 0])])
    assert estimator(params).pubs[0].observables.shape == (1,)


def test_options_without_effect_are_accepted_and_named():
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.1, 1), ["x"])
    options = {
        "dynamical_decoupling": {"enable": True, "sequence_type": "XY4"},
        "twirling": {"enable_gates": True, "enable_measure": False},
        "execution": {"init_qubits": True, "rep_delay": 0.00025, "meas_type": "classified"},
        "simulator": {"noise_model": model, "seed_simulator": 11, "basis_gates": ["x", "cx"], "coupling_map": [[0, 1]]},
        "experimental": {"other": 1, "qrtx": {"priority": 90}},
    }
    job = sampler(sampler_params([(bell(),)], options))
    assert job.seed == 11
    assert job.options["hints"] == {"priority": 90}
    assert job.options["ignored"] == [
        "dynamical_decoupling.enable",
        "dynamical_decoupling.sequence_type",
        "execution.rep_delay",
        "experimental.other",
        "simulator.basis_gates",
        "simulator.coupling_map",
        "simulator.noise_model",
        "twirling.enable_gates",
    ]


def test_every_resilience_option_of_the_client_is_known():
    options = {
        "resilience_level": 2,
        "seed_estimator": 5,
        "resilience": {
            "measure_mitigation": True,
            "measure_noise_learning": {"num_randomizations": 4, "shots_per_randomization": "auto"},
            "zne_mitigation": True,
            "zne": {
                "amplifier": "pea",
                "noise_factors": [1, 1.5],
                "extrapolator": ("exponential", "linear"),
                "extrapolated_noise_factors": [0.0],
            },
            "layer_noise_learning": {"max_layers_to_learn": 3, "layer_pair_depths": [0, 1], "num_randomizations": 2},
        },
    }
    job = estimator(estimator_params([(rotations(measured=False), "ZZ", [0, 0])], options))
    assert (job.seed, job.options["resilience_level"]) == (5, 2)
    assert {"resilience_level", "resilience.zne.amplifier"} <= set(job.options["ignored"])


def test_the_seed_of_our_hint_goes_first():
    options = {"simulator": {"seed_simulator": 1}, "experimental": {"qrtx": {"seed": 2}}}
    assert sampler(sampler_params([(bell(),)], options)).seed == 2


def test_no_parameter_values_at_all_are_fine_for_a_plain_circuit():
    for values in (None, [], {}):
        params = edited(sampler_params([(bell(),)]), lambda doc, v=values: doc["pubs"][0].__setitem__(1, v))
        assert sampler(params).pubs[0].shape == ()
    short = edited(sampler_params([(bell(),)]), lambda doc: doc["pubs"].__setitem__(0, doc["pubs"][0][:1]))
    assert sampler(short).pubs[0].shots == 4096


def put(path, value):
    """An edit of the document: `value` at `path`."""

    def change(document):
        for part in path[:-1]:
            document = document[part]
        document[path[-1]] = value

    return change


OPTIONS = {"options": {}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put(["pubs"], []), "1 to 300 PUBs"),
        (put(["pubs"], None), "1 to 300 PUBs"),
        (put(["pubs"], [[]] * 301), "1 to 300 PUBs"),
        (put(["pubs", 0], {}), "pubs[0] must be a list"),
        (put(["pubs", 0, 0], "OPENQASM 3.0;"), "pubs[0].circuit must be a circuit"),
        (put(["pubs", 0, 0, "__type__"], "NoiseModel"), "not an object of type 'NoiseModel'"),
        (put(["pubs", 0, 0], {"__type__": "settings", "__value__": {}}), "'settings'"),
        (put(["pubs", 0, 0], {"__type__": "_json", "__value__": {}}), "'_json'"),
        (put(["pubs", 0, 0, "__value__"], "!!"), "not valid base64"),
        (put(["pubs", 0, 0, "__value__"], "AAAA"), "not valid zlib"),
        (put(["pubs", 0, 0, "__value__"], 5), "must be a base64 string"),
        (put(["pubs", 0, 1], {"__type__": "complex", "__value__": [1, 2]}), "'complex'"),
        (put(["pubs", 0, 1], [1.0]), "1 parameter values, the circuit has 2"),
        (put(["pubs", 0, 1], [1.0, 2.0, 3.0]), "3 parameter values, the circuit has 2"),
        (put(["pubs", 0, 1], [[1.0, 2.0], [3.0]]), "regular array"),
        (put(["pubs", 0, 1], [True, 2.0]), "numbers only"),
        (put(["pubs", 0, 1], ["1", 2.0]), "numbers only"),
        (put(["pubs", 0, 1], {"t0": 1.0}), "1 parameter values, the circuit has 2"),
        (put(["pubs", 0, 1], {"t0": 1.0, "x": 2.0}), "no parameter named 'x'"),
        (put(["pubs", 0, 1], {"t0": [1.0, 2.0], "t1": 2.0}), "equally many values"),
        (put(["pubs", 0, 1], "abc"), "parameter_values must be numbers"),
        (put(["version"], 1), "version must be 2"),
        (put(["resilience_level"], 3), "from 0 to 2"),
        (put(["shots"], 3), "params.shots is not known"),
        (put(["options"], []), "options must be a JSON object"),
        (put(["options"], {"defualt_shots": 3}), "did you mean 'default_shots'"),
        (put(["options"], {"twirling": {"enable_gate": True}}), "did you mean 'enable_gates'"),
        (put(["options"], {"resilience": {}}), "options.resilience is not an option"),
        (put(["options"], {"execution": {"meas_type": "kerneled"}}), "must be 'classified'"),
        (put(["options"], {"execution": {"meas_type": 3}}), "one of classified"),
        (put(["options"], {"execution": []}), "must be a JSON object"),
        (put(["options"], {"dynamical_decoupling": {"enable": 1}}), "true or false"),
        (put(["options"], {"simulator": {"seed_simulator": -1}}), "at least 0"),
        (put(["options"], {"simulator": {"coupling_map": [1]}}), "pairs of qubits"),
        (put(["options"], {"simulator": {"seed_simulator": {"__type__": "settings", "__value__": 1}}}), "'settings'"),
        (put(["options"], {"experimental": {"qrtx": {"priority": 101}}}), "0 to 100"),
        (put(["options"], {"experimental": {"qrtx": {"seed": 2**64}}}), "qrtx.seed"),
        (put(["options"], {"experimental": {"qrtx": 1}}), "must be a JSON object"),
        (put(["options"], {"experimental": {"x": [0] * 10_001}}), "more than 10000 entries"),
        (
            put(["options"], {"twirling": {"num_randomizations": 10**6, "shots_per_randomization": 10**6}}),
            "from 1 to 100000",
        ),
    ],
)
def test_what_is_wrong_is_refused_by_name(change, words):
    params = sampler_params([(rotations(), [0.1, 0.2])])
    with pytest.raises(ValidationError) as caught:
        sampler(edited(params, change))
    assert words in caught.value.message


@pytest.mark.parametrize("shots", [0, -1, 1.5, "1", True, 100_001, 10**8, 2**31, 2**63, 10**30, [], {}])
def test_impossible_shots_are_refused(shots):
    params = sampler_params([(bell(),)])
    with pytest.raises(ValidationError, match=r"pubs\[0\]\.shots must be a whole number"):
        sampler(edited(params, put(["pubs", 0, 2], shots)))
    with pytest.raises(ValidationError, match="default_shots"):
        sampler(edited(params, put(["options"], {"default_shots": shots})))


@pytest.mark.parametrize("precision", [0, -1, 1e-30, 1e-5, "0.1", True, [], 0.0])
def test_impossible_precisions_are_refused(precision):
    params = estimator_params([(rotations(measured=False), "ZZ", [0, 0])])
    with pytest.raises(ValidationError, match=r"pubs\[0\]\.precision"):
        estimator(edited(params, put(["pubs", 0, 3], precision)))


def test_precision_zero_may_be_allowed():
    params = estimator_params([(rotations(measured=False), "ZZ", [0, 0], 0.0)])
    job = estimator(params, Limits(allow_exact_precision=True))
    assert (job.pubs[0].precision, job.shots) == (0.0, (0,))


@pytest.mark.parametrize(
    ("observables", "words"),
    [
        ({}, "empty observable"),
        ([], "at least one observable"),
        ("ZZ", "objects of Pauli string"),
        ([{"ZZZ": 1.0}], "has 3"),
        ([{"ZQ": 1.0}], "Pauli strings of 2 letters"),
        ([{"ZZ": "1"}], "real numbers"),
        ([{"ZZ": True}], "real numbers"),
        ([{"ZZ": 0.0}], "non-empty"),
        ([{"ZZ": {"__type__": "complex", "__value__": [0, 1]}}], "real numbers"),
        ([{"ZZ": 1.0}, [{"ZZ": 1.0}]], "regular array"),
        ([{"ZZ": 1.0}] * 3, "do not broadcast"),
    ],
)
def test_observables_that_do_not_fit_are_refused(observables, words):
    params = estimator_params([(rotations(measured=False), "ZZ", np.zeros((2, 2)))])
    with pytest.raises(ValidationError) as caught:
        estimator(edited(params, put(["pubs", 0, 1], observables)))
    assert words in caught.value.message


def test_not_a_number_in_an_array_is_refused():
    for bad in (np.nan, np.inf, -np.inf):
        params = sampler_params([(rotations(), [0.0, bad])])
        with pytest.raises(ValidationError, match="finite numbers only"):
            sampler(params)


def test_a_sampler_pub_without_measurements_is_refused():
    with pytest.raises(ValidationError, match="measures nothing"):
        sampler(sampler_params([(rotations(measured=False), [0, 0])]))


def test_a_job_of_too_many_rows_or_shots_is_refused():
    with pytest.raises(ValidationError, match="parameter rows, at most 10000"):
        sampler(sampler_params([(rotations(), np.zeros((10_001, 2)), 1)]))
    with pytest.raises(ValidationError, match="bytes of memory"):
        sampler(sampler_params([(rotations(), np.zeros((200, 2)), 100_000)]))
    many = [{"ZZ": 1.0}] * 101
    with pytest.raises(ValidationError, match="parameter rows, at most 10000"):
        estimator(estimator_params([(rotations(measured=False), [[item] for item in many], np.zeros((100, 2)), 0.5)]))
    with pytest.raises(ValidationError, match="observable terms"):
        estimator(estimator_params([(rotations(measured=False), many, [0, 0], 0.5)]), Limits(observable_terms=100))


def test_a_circuit_wider_than_the_device_is_refused_by_its_header():
    with pytest.raises(ValidationError, match=r"pubs\[0\]\.circuit has 2 qubits, at most 1"):
        sampler(sampler_params([(bell(),)]), num_qubits=1)


def test_the_payload_is_bounded_before_it_is_parsed():
    with pytest.raises(PayloadTooLarge, match="at most 4194304"):
        sampler(b" " * (4 * 1024 * 1024 + 1))


@pytest.mark.parametrize("text", [b"", b"[", b"null", b"[]", b"\xff", b"\xef\xbb\xbf{}", '{"pubs":1}'.encode("utf-16")])
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(ValidationError):
        sampler(text)


def test_errors_survive_the_way_to_the_client_and_back():
    with pytest.raises(ValidationError) as caught:
        sampler(edited(sampler_params([(bell(),)]), put(["pubs", 0, 2], 0)))
    info = caught.value.info()
    assert (info.code, info.field, info.limit) == ("validation_failed", "pubs[0].shots", "1..100000")
    assert isinstance(QrtxError.from_info(info), ValidationError)
