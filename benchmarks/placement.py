"""Choosing a device: a decision for 100 jobs on 8 devices, and how right its predictions are.

Three questions, all on one core in this process.

*What does a decision cost?* ``decide_100x8_s`` is the time from 100 new request bodies, all different, to a device for each:
decoding, surveying each on 8 devices, the noise-aware policy. The other way, transpiling each job for each device, is done
for some of the jobs and scaled up to all (``transpile_100x8_s``).

*Are predictions right?* Circuits are compiled for six devices; the predicted fidelity is compared with the Hellinger fidelity
between the ideal distribution and the exact one under the device's noise, readout errors included (the engine's own; no
shots, so no luck). ``spearman_*`` is the rank correlation over all circuits with a sharp answer, those whose ideal
distribution has a Hellinger fidelity of at most 0.4 with the uniform one. Where the answer is spread over many strings the
Hellinger fidelity hardly sees noise at all, so there the prediction is put through `hellinger_fidelity`, which needs the
ideal distribution: ``spearman_spread_known_min`` is over all circuits. ``spearman_spread_unknown_min`` is over all circuits
with the bare prediction: what a scheduler, who does not know ideal distributions, has to expect of the Hellinger fidelity.
``spearman_share_min`` is over all circuits too, the bare prediction against the share of the ideal distribution that is left
in the measured one (linear cross-entropy): how much expectation values shrink.

*Does it matter?* The surveys' order of devices against that of the fidelities measured after compiling for each of them, the
measured fidelity that is lost by following the surveys and by choosing blindly (among all six devices, of which one is best
for nearly every circuit, and between any two of them), and what Qiskit's own level 1, with the device's own target, makes
of the same circuits on the same devices (``measured_fidelity_qiskit_mean``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
from qiskit import QuantumCircuit
from qiskit.transpiler import generate_preset_pass_manager

from benchmarks.circuits import native_body
from benchmarks.families import families, jobs
from benchmarks.report import Figure, Options, main
from qrtx_ray.compiler.passes import PassManagers
from qrtx_ray.compiler.pipeline import Compiler
from qrtx_ray.compiler.placing import transpiled
from qrtx_ray.compiler.sketching import sketch_of
from qrtx_ray.devices.fidelity import hellinger_fidelity, predicted_fidelity
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.devices.program_builder import build_program
from qrtx_ray.devices.survey import place
from qrtx_ray.engines.channels import flip_probabilities
from qrtx_ray.engines.distribution import Evolution, measured_distributions
from qrtx_ray.model import AUTO_DEVICE, JobRecord, PayloadFormat, Program
from qrtx_ray.scheduler.policies import Fleet, NoiseAwarePolicy, Option

Float64 = npt.NDArray[np.float64]

FLEET = ("kolkata", "hanoi", "manhattan", "sherbrooke", "brisbane", "torino", "fez", "kingston")
MEASURED_ON = ("guadalupe", "kolkata", "manhattan", "sherbrooke", "torino", "fez")
JOBS = 100
SHARP = 0.4
WIDEST = 10


def measure(options: Options) -> Iterator[Figure]:
    """Seconds of decisions, rank correlations, losses of fidelity."""
    yield from _decisions(options)
    yield from _predictions(options)


def _decisions(options: Options) -> Iterator[Figure]:
    names = [f"fake_{name}@aer" for name in FLEET]
    devices = [DeviceModel.load(name) for name in names]
    started = time.perf_counter()
    for device in devices:
        place(sketch_of(jobs(1, options.seed)[0])[0], device)
    yield Figure("tables_8_devices_s", time.perf_counter() - started, "s")
    circuits = jobs(JOBS, options.seed)
    bodies = [native_body(AUTO_DEVICE, circuit, shots=1024).encode() for circuit in circuits]
    compiler = Compiler()
    started, processed = time.perf_counter(), time.process_time()
    chosen = [_decided(compiler, index, body, names) for index, body in enumerate(bodies)]
    yield Figure("decide_100x8_s", time.perf_counter() - started, "s", 1.0)
    yield Figure("decide_100x8_cpu_s", time.process_time() - processed, "s")
    started = time.perf_counter()
    again = [_decided(compiler, index, body, names) for index, body in enumerate(bodies)]
    yield Figure("decide_100x8_known_circuits_s", time.perf_counter() - started, "s")
    if again != chosen:
        raise RuntimeError("the same jobs were placed otherwise the second time")
    passes = PassManagers()
    for device in devices:
        passes.get(device, 1)  # built once for each device, so not counted
    some = range(0, JOBS, JOBS // options.pick(20, 4))
    started = time.perf_counter()
    for index in some:
        for device in devices:
            program, _ = build_program(passes.transpile(circuits[index], device, 1).circuit, device)
            predicted_fidelity(program, device.calibration)
    yield Figure("transpile_100x8_s", (time.perf_counter() - started) * JOBS / len(some), "s")


def _decided(compiler: Compiler, index: int, body: bytes, names: Sequence[str]) -> str:
    """The device that one job is sent to."""
    candidates = compiler.survey(
        program=Program.SAMPLER,
        choices=[(name, "") for name in names],
        payload=body,
        payload_format=PayloadFormat.NATIVE,
    )
    options = [
        Option(
            device=candidate.device,
            num_qubits=DeviceModel.load(candidate.device).num_qubits,
            fidelity=candidate.fidelity,
            qpu_s=candidate.qpu_s,
            estimated_s=candidate.estimated_s,
            refusal=candidate.refusal,
            wait_s=60.0 * position,
        )
        for position, candidate in enumerate(candidates)
    ]
    record = JobRecord(
        id=f"{index:020d}",
        number=index,
        tenant="benchmark",
        program=Program.SAMPLER,
        device=AUTO_DEVICE,
        payload_format=PayloadFormat.NATIVE,
        created_at=0.0,
        seed=index,
    )
    return NoiseAwarePolicy().place(record, options, Fleet(now=0.0, load=0.0))[0].device


def _predictions(options: Options) -> Iterator[Figure]:
    circuits = families(options.seed)
    passes = PassManagers()
    sharp, known, unknown, shares, errors = [], [], [], [], []
    measured: dict[str, dict[str, float]] = {}
    for name in MEASURED_ON:
        device = DeviceModel.load(f"fake_{name}@aer")
        rows = []
        for label, circuit in circuits.items():
            row = _judged(transpiled(passes, circuit, device, 1).circuit, device)
            if row is not None:
                rows.append(row)
                measured.setdefault(label, {})[name] = row[1]
        predicted, found, spread, whole, share = (np.array(column) for column in zip(*rows, strict=True))
        few = spread <= SHARP
        sharp.append(_spearman(predicted[few], found[few]))
        known.append(_spearman(whole, found))
        unknown.append(_spearman(predicted, found))
        shares.append(_spearman(predicted, share))
        errors.append(float(np.abs(predicted - share).mean()))
        yield Figure(f"spearman_{name}", sharp[-1], "1", 0.9, "higher")
        yield Figure(f"spearman_{name}_circuits", float(few.sum()), "1", 30, "higher")
        yield Figure(f"mean_error_{name}", float(np.abs(predicted - found)[few].mean()), "1")
    yield Figure("spearman_min", min(sharp), "1", 0.9, "higher")
    yield Figure("spearman_spread_known_min", min(known), "1", 0.9, "higher")
    yield Figure("spearman_spread_unknown_min", min(unknown), "1")
    yield Figure("spearman_share_min", min(shares), "1")
    yield Figure("mean_error_share_max", max(errors), "1")
    yield from _choices(circuits, measured)


def _choices(circuits: dict[str, QuantumCircuit], measured: dict[str, dict[str, float]]) -> Iterator[Figure]:
    """What following the surveys costs, in measured fidelity."""
    devices = {name: DeviceModel.load(f"fake_{name}@aer") for name in MEASURED_ON}
    stock = {
        name: generate_preset_pass_manager(optimization_level=1, target=device.target(), seed_transpiler=1)
        for name, device in devices.items()
    }
    orders, lost, blind, theirs, ours, of_two, of_any_two = [], [], [], [], [], [], []
    for label, found in measured.items():
        sketch, _ = sketch_of(circuits[label])
        places = {name: place(sketch, devices[name]) for name in found}
        surveyed = {name: spot.fidelity for name, spot in places.items() if spot is not None}
        orders.append(_spearman(np.array([surveyed[name] for name in found]), np.array(list(found.values()))))
        best = max(found.values())
        lost.append(best - found[max(surveyed, key=lambda name: surveyed[name])])
        blind.append(best - float(np.mean(list(found.values()))))
        for one, other in combinations(found, 2):
            taken, left = (one, other) if surveyed[one] >= surveyed[other] else (other, one)
            of_two.append(max(0.0, found[left] - found[taken]))
            of_any_two.append(abs(found[left] - found[taken]) / 2)
        for name, fidelity in found.items():
            row = _judged(stock[name].run(circuits[label]), devices[name])
            if row is not None:
                ours.append(fidelity)
                theirs.append(row[1])
    yield Figure("survey_order_spearman_mean", float(np.mean(orders)), "1", 0.8, "higher")
    yield Figure("survey_loss_mean", float(np.mean(lost)), "1", 0.01)
    yield Figure("survey_loss_max", float(np.max(lost)), "1")
    yield Figure("blind_loss_mean", float(np.mean(blind)), "1")
    yield Figure("survey_loss_of_two_mean", float(np.mean(of_two)), "1", 0.005)
    yield Figure("blind_loss_of_two_mean", float(np.mean(of_any_two)), "1")
    yield Figure("measured_fidelity_mean", float(np.mean(ours)), "1")
    yield Figure("measured_fidelity_qiskit_mean", float(np.mean(theirs)), "1")


def _judged(circuit: QuantumCircuit, device: DeviceModel) -> tuple[float, float, float, float, float] | None:
    """Predicted fidelity, measured one, that of a uniform guess, the prediction for one who knows the ideal distribution,
    and the share of it in the measured one; None for a circuit that is too wide to compute exactly.
    """
    program, values = build_program(circuit, device)
    if program.num_qubits > WIDEST:
        return None
    predicted = predicted_fidelity(program, device.calibration)
    if predicted is None:
        raise RuntimeError("a circuit without control flow has a prediction")
    ideal = measured_distributions(program, values, Evolution(None))[0]
    noisy = _read(measured_distributions(program, values, Evolution(device.calibration))[0], program, device)
    uniform = _uniform(ideal)
    share = float((ideal - uniform) @ (noisy - uniform) / ((ideal - uniform) @ (ideal - uniform)))
    known = hellinger_fidelity(predicted, ideal)
    return predicted, _hellinger(ideal, noisy), _hellinger(ideal, uniform), known, share


def _read(outcomes: Float64, program: CircuitProgram, device: DeviceModel) -> Float64:
    """The distribution as it is read out: with the readout error of every measured qubit."""
    places = [program.active_qubits[qubit] for qubit, _ in program.measurements]
    flips = flip_probabilities(device.calibration, places)
    for bit, (of_0, of_1) in enumerate(flips.T.tolist()):
        confusion = np.array([[1 - of_0, of_1], [of_0, 1 - of_1]])
        outcomes = np.einsum("ij,ajb->aib", confusion, outcomes.reshape(-1, 2, 2**bit)).ravel()
    return outcomes


def _hellinger(one: Float64, other: Float64) -> float:
    return float(np.sqrt(np.clip(one, 0, None) * np.clip(other, 0, None)).sum() ** 2)


def _uniform(like: Float64) -> Float64:
    return np.full(len(like), 1 / len(like))


def _spearman(one: Float64, other: Float64) -> float:
    """Rank correlation; equal values share the mean of their ranks."""
    first, second = _ranks(one), _ranks(other)
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Float64) -> Float64:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Float64 = (ends - (counts - 1) / 2.0)[inverse]
    return ranks


if __name__ == "__main__":
    raise SystemExit(main(__doc__ or "", measure))
