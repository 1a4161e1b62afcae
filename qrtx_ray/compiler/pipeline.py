"""The way of one job through the compiler: decode, refuse or adapt, make programs, measure, describe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from qrtx_ray.codec.decoded import DecodedJob
from qrtx_ray.codec.limits import Limits
from qrtx_ray.codec.native import decode_native
from qrtx_ray.codec.runtime_params import decode_runtime
from qrtx_ray.compiler.artefacts import Envelope, artefacts_of, input_of
from qrtx_ray.compiler.circuits import CircuitCompiler
from qrtx_ray.compiler.digests import circuit_digests
from qrtx_ray.compiler.profile import Measured, profile_of
from qrtx_ray.compiler.pubs import PubCompiler
from qrtx_ray.compiler.survey import Surveyor, pubs_of
from qrtx_ray.devices.cost import JobCost, job_cost
from qrtx_ray.devices.executable import EstimatorPub, ExecutableJob, SamplerPub
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.errors import InternalError, PayloadTooLarge, QrtxError, ResourceExhausted, ValidationError
from qrtx_ray.model.job import Candidate, CircuitProfile, PayloadFormat, Program

__all__ = ["Compiled", "Compiler", "CompilerConfig", "Estimate"]

Estimate = Callable[[ExecutableJob], JobCost]

_MIB = 1 << 20
_LISTS = {PayloadFormat.RUNTIME: "pubs", PayloadFormat.NATIVE: "circuits"}  # what a request calls its list of circuits


@dataclass(frozen=True, slots=True)
class CompilerConfig:
    """How circuits are compiled, and what is too much.

    Args:
        optimization_level: For circuits that have to be transpiled, 0..3.
        cache_entries: Most circuits, and most programs, kept in a process.
        cache_bytes: Bound on the bytes of each of the two caches.
        max_job_bytes: Memory a job may need to run, by the cost law.
        max_executable_bytes: Size of a compiled job.
        compiled_texts: Whether to write the compiled circuits as text too. It takes a fifth of a small job's time, and
            `artefacts.artefacts_of` can do it later, from the executable.
    """

    optimization_level: int = 1
    cache_entries: int = 4096
    cache_bytes: int = 128 * _MIB
    max_job_bytes: int = 8192 * _MIB
    max_executable_bytes: int = 64 * _MIB
    compiled_texts: bool = True


@dataclass(frozen=True, slots=True)
class Compiled:
    """What came of a job: for the scheduler, for the engine, and for people (file name → text)."""

    profile: CircuitProfile
    executable: bytes
    artefacts: dict[str, str]


class Compiler:
    """Compiles jobs; one for each process.

    Args:
        config: Bounds and levels.
        limits: Bounds on what a tenant sends.
        estimate: The cost law, by default that of the job's device in `devices.cost`.
    """

    def __init__(
        self, config: CompilerConfig | None = None, limits: Limits | None = None, estimate: Estimate | None = None
    ) -> None:
        self._config = config or CompilerConfig()
        self._limits = limits or Limits()
        self._estimate = estimate or _device_cost
        self.circuits = CircuitCompiler(
            cache_entries=self._config.cache_entries,
            cache_bytes=self._config.cache_bytes,
            max_operations=self._limits.instructions,
        )
        self._surveyor = Surveyor(self._estimate, self._config.max_job_bytes)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Compiler:
        """A compiler from plain data: the fields of `CompilerConfig`, and ``limits``; other keys are not looked at.

        Raises:
            ValidationError: A limit that does not exist, or is out of bounds.
        """
        known = {item.name for item in fields(CompilerConfig)}
        own = {name: value for name, value in config.items() if name in known}
        return cls(CompilerConfig(**own), Limits.from_dict(dict(config.get("limits") or {})))

    def compile(
        self,
        *,
        program: Program,
        device: str,
        payload: bytes,
        payload_format: PayloadFormat,
        noise_id: str = "",
        job_id: str = "",
        seed: int = 0,
        client: str = "",
    ) -> Compiled:
        """Compile one job.

        Args:
            program: What is to be computed.
            device: Canonical device name.
            payload: What the tenant sent.
            payload_format: How to read it.
            noise_id: The published noise to compile against (see `NoiseId`).
            job_id / seed / client: For the record only: nothing compiled depends on them.

        Raises:
            ValidationError: The payload is wrong or too large.
            CompileError: A circuit cannot run on the device.
            ResourceExhausted: Running the job would need more memory than a job may.
        """
        model = DeviceModel.load(device, noise_id)
        decoded, digests = self._decoded(program, payload, payload_format, model.num_qubits)
        job, sizes = self._job(decoded, digests, model, payload_format)
        cost = self._admit(job, payload_format)
        executable = job.to_bytes()
        if len(executable) > self._config.max_executable_bytes:
            raise PayloadTooLarge(
                f"the compiled job has {len(executable)} bytes, limit {self._config.max_executable_bytes}",
                limit=f"{self._config.max_executable_bytes} bytes",
            )
        envelope = Envelope(job_id, program, device, payload_format, seed, client)
        artefacts = artefacts_of(envelope, payload, job) if self._config.compiled_texts else input_of(envelope, payload)
        return Compiled(profile_of(job, sizes, cost, model), executable, artefacts)

    def survey(
        self,
        *,
        program: Program,
        choices: Sequence[tuple[str, str]],
        payload: bytes,
        payload_format: PayloadFormat,
    ) -> tuple[Candidate, ...]:
        """What one job would be on each of several devices, without compiling it.

        Args:
            program: What is to be computed.
            choices: Canonical device names, each with the name of its published noise (see `NoiseId`).
            payload: What the tenant sent.
            payload_format: How to read it.

        Returns:
            A candidate for each choice, in order; one that cannot run the job has a `refusal`.

        Raises:
            ValidationError: The payload is wrong or too large for any device.
        """
        devices = [_loaded(name, noise_id) for name, noise_id in choices]
        widest = max((device.num_qubits for device in devices if isinstance(device, DeviceModel)), default=0)
        decoded, digests = self._decoded(program, payload, payload_format, widest)
        _level(decoded.options.get("hints", {}), self._config.optimization_level)
        name = _LISTS[payload_format]
        pubs = pubs_of(decoded, digests, max_elements=self._limits.sweep_points, name=name)
        return tuple(
            self._surveyor.candidate(pubs, program, device)
            if isinstance(device, DeviceModel)
            else Candidate(choice, refusal=device)
            for (choice, _), device in zip(choices, devices, strict=True)
        )

    def _decoded(
        self, program: Program, payload: bytes, payload_format: PayloadFormat, num_qubits: int
    ) -> tuple[DecodedJob, list[bytes]]:
        """The job a tenant sent, and a content hash of each PUB's circuit."""
        decode = decode_runtime if payload_format is PayloadFormat.RUNTIME else decode_native
        decoded = decode(payload, program, self._limits, num_qubits=num_qubits)
        digests = circuit_digests(payload, payload_format)
        if len(digests) != len(decoded.pubs):
            raise InternalError("the payload was read in two ways")
        return decoded, digests

    def forget_unfinished(self) -> None:
        """Drop what a failure from inside a library may have left in any state."""
        self.circuits.forget_passes()

    def _job(
        self, decoded: DecodedJob, digests: list[bytes], device: DeviceModel, payload_format: PayloadFormat
    ) -> tuple[ExecutableJob, list[Measured]]:
        level = _level(decoded.options.get("hints", {}), self._config.optimization_level)
        compiler = PubCompiler(self.circuits, device, level, self._limits.sweep_points)
        compile_pub: Callable[..., Any] = compiler.sampler if decoded.program is Program.SAMPLER else compiler.estimator
        name = _LISTS[payload_format]
        made = [
            compile_pub(pub, digest, shots, f"{name}[{index}]")
            for index, (pub, digest, shots) in enumerate(zip(decoded.pubs, digests, decoded.shots, strict=True))
        ]
        job = ExecutableJob(
            program_id=decoded.program.value,
            device=device.name,
            calibration_id=device.calibration.id,
            pubs=tuple(pub for pub, _ in made),
            options=decoded.options if decoded.seed is None else decoded.options | {"seed": decoded.seed},
        )
        return job, [size for _, size in made]

    def _admit(self, job: ExecutableJob, payload_format: PayloadFormat) -> JobCost:
        cost = self._estimate(job)
        if cost.bytes > self._config.max_job_bytes:
            pubs: tuple[SamplerPub | EstimatorPub, ...] = job.pubs
            widest, index = max((pub.program.num_qubits, index) for index, pub in enumerate(pubs))
            field = f"{_LISTS[payload_format]}[{index}]"
            raise ResourceExhausted(
                f"{field}: simulating {widest} active qubits needs about {_size(cost.bytes)}, "
                f"a job may use {_size(self._config.max_job_bytes)}",
                field=field,
                limit=_size(self._config.max_job_bytes),
            )
        return cost


def _level(hints: Mapping[str, Any], default: int) -> int:
    level = hints.get("optimization_level", default)
    if type(level) is not int or not 0 <= level <= 3:
        field = "options.experimental.qrtx.optimization_level"
        raise ValidationError(f"{field} must be 0..3", field=field, limit="0..3")
    return level


def _loaded(name: str, noise_id: str) -> DeviceModel | str:
    """A device, or why there is none: one choice of many that is gone must not take the others along."""
    try:
        return DeviceModel.load(name, noise_id)
    except QrtxError as error:
        return error.message


def _device_cost(job: ExecutableJob) -> JobCost:
    return job_cost(job, noisy=DeviceModel.load(job.device).noisy)


def _size(size_bytes: int) -> str:
    exponent = max(0, size_bytes.bit_length() - 1 - 20)
    return f"{size_bytes / _MIB:.0f} MiB" if exponent < 40 else f"2^{exponent} MiB"
