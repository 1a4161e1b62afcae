"""The unmodified Qiskit Runtime client against a running qrtx.

Run it::

    qrtx up                       # in another terminal
    eval "$(qrtx env)"
    python examples/official_client.py
"""

from __future__ import annotations

from qiskit import QuantumCircuit
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2

service = QiskitRuntimeService()
backend = service.backend("fake_sherbrooke@aer")

circuit = QuantumCircuit(2)
circuit.h(0)
circuit.cx(0, 1)
circuit.measure_all()
isa_circuit = generate_preset_pass_manager(optimization_level=1, backend=backend).run(circuit)

job = SamplerV2(mode=backend).run([isa_circuit], shots=1000)
print(job.job_id(), job.status())
print(job.result()[0].data.meas.get_counts())
