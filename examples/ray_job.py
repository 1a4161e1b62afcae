"""A script for `ray job submit`: work that runs on the cluster and uses the runtime through its SDK.

Run it::

    qrtx up                       # prints the RAY_ADDRESS and token variables for the next line
    ray job submit --working-dir examples -- python ray_job.py
"""

from __future__ import annotations

from qiskit import QuantumCircuit

from qrtx_ray.client import QrtxClient

DEVICES = ("fake_manila@aer", "fake_sherbrooke@aer")


def ghz(num_qubits: int) -> QuantumCircuit:
    circuit = QuantumCircuit(num_qubits)
    circuit.h(0)
    for qubit in range(num_qubits - 1):
        circuit.cx(qubit, qubit + 1)
    circuit.measure_all()
    return circuit


with QrtxClient() as client:
    jobs = {device: client.submit(ghz(4), device, shots=1000, seed=1, name="ghz-4") for device in DEVICES}
    for device, job in jobs.items():
        ended = client.wait(job.id)
        counts = client.results(job.id)["pubs"][0]["registers"]["meas"]["counts"]
        agreeing = (counts.get("0000", 0) + counts.get("1111", 0)) / 1000
        print(f"{device}: {ended.state}, P(0000)+P(1111) = {agreeing:.3f}")
