"""The ground state of H2 by VQE, in a loop that survives this script.

Kill it at any moment and start it again: it goes on at the iteration it was in, and ends with the same energy and the same
angles, bit for bit, as a run that nobody disturbed. Simultaneous perturbation (SPSA) asks for two energies in each iteration,
whatever the number of angles. Run it with a runtime up (`qrtx up`)::

    python resumable_vqe.py [NAME] [ITERATIONS]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from qrtx_ray.client import QrtxClient, job_body

DEVICE = "fake_manila@aer_ideal"
SHOTS = 2000
EXACT = -1.137306
HYDROGEN = {  # at 0.735 Å in the basis STO-3G, in hartree; the repulsion of the nuclei is in II
    "II": -0.332404251323911,
    "IZ": 0.397937424843180,
    "ZI": -0.397937424843180,
    "ZZ": -0.011280104256235,
    "XX": 0.180931199784232,
}
ANSATZ = """OPENQASM 3.0;
include "stdgates.inc";
input float[64] a;
input float[64] b;
input float[64] c;
input float[64] d;
qubit[2] q;
ry(a) q[0];
ry(b) q[1];
cx q[0], q[1];
ry(c) q[0];
ry(d) q[1];
"""


def body(angles: np.ndarray, shots: int = SHOTS) -> dict[str, Any]:
    return job_body(ANSATZ, DEVICE, parameters=[angles.tolist()], observables=[HYDROGEN], shots=shots)


def energy(results: Mapping[str, Any]) -> float:
    return float(np.ravel(results["pubs"][0]["evs"])[0])


def minimise(client: QrtxClient, name: str, iterations: int) -> dict[str, Any]:
    """The loop's last state: ``angles``, and ``energies`` of every iteration."""
    rng = np.random.default_rng(7)
    initial = {"angles": rng.uniform(-0.5, 0.5, 4), "rng": rng, "energies": []}
    loop = client.hybrid_loop(name, initial, iterations=iterations, seed=7)
    for step in loop:
        angles, rng = step.state["angles"], step.state["rng"]
        width = 0.2 / (step.iteration + 1) ** 0.101
        rate = 3.0 / (step.iteration + 10) ** 0.602
        kick = width * rng.choice([-1.0, 1.0], size=angles.shape)
        up, down = map(energy, step.run([body(angles + kick), body(angles - kick)]))
        angles = angles - rate * (up - down) / (2 * kick)
        step.save(angles=angles, energies=[*step.state["energies"], (up + down) / 2])
        print(f"iteration {step.iteration}: about {(up + down) / 2:.4f} Ha", flush=True)
    return loop.state


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "vqe-h2"
    iterations = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    with QrtxClient() as client:
        found = minimise(client, name, iterations)
        job = client.submit_body(body(found["angles"], 20_000) | {"seed": 1})
        client.wait(job.id)
        print(
            f"energy {energy(client.results(job.id)):.4f} Ha, exact {EXACT:.4f} Ha, angles {found['angles'].tolist()}"
        )


if __name__ == "__main__":
    main()
