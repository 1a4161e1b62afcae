"""`qrtx simulate`: a trace under the production scheduler, on a virtual clock."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

from qrtx_ray.cli.show import console, errors, seconds, table, writing
from qrtx_ray.errors import ValidationError

if TYPE_CHECKING:
    from qrtx_ray.scheduler.policies import Policy
    from qrtx_ray.simulation import Effort, Parameters, Recipe, Trace, Variant
    from qrtx_ray.simulation.lines import DeviceLine

__all__ = ["register"]

_LEVELS = ("critical", "high", "normal", "low")


def register(application: typer.Typer) -> None:
    """Add the command."""
    application.command()(simulate)


def simulate(
    trace: Annotated[Path | None, typer.Argument(help="A trace: of `qrtx export-trace`, or one's own.")] = None,
    generate: Annotated[
        str | None, typer.Option("--generate", "-g", help="Generate one instead: poisson, bursty or diurnal arrivals.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Generated jobs.", min=1)] = 10_000,
    load: Annotated[float, typer.Option(help="Generated work over what the fleet could do.")] = 0.7,
    rate: Annotated[float | None, typer.Option(help="Generated jobs per second, instead of --load.")] = None,
    mix: Annotated[
        str, typer.Option(help="What generated jobs ask for: mixed, short, long, fixed, free, plain.")
    ] = "mixed",
    fleet: Annotated[
        list[str] | None,
        typer.Option(help="synthetic:<count>, or device names with commas; in place of a trace's. Repeat to compare."),
    ] = None,
    agents: Annotated[int, typer.Option(help="Agents of each device of --fleet.", min=1)] = 1,
    pace: Annotated[str, typer.Option(help="Of --fleet: qpu (runs take QPU time) or wall (an engine's).")] = "qpu",
    drift: Annotated[float, typer.Option(help="Of --fleet: how fast noise drifts; 0 not at all.", min=0.0)] = 0.0,
    mtbf: Annotated[float | None, typer.Option(help="Generated: mean seconds between failures of a device.")] = None,
    seed: Annotated[int, typer.Option(help="Of the fleet and of the generated jobs.")] = 7,
    policy: Annotated[
        list[str] | None, typer.Option("--policy", "-p", help="Scheduling policy; repeat to compare.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", "-s", help="key=value: a scheduler setting, noise.<key>, or world.<key>; may be repeated."
        ),
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="name:key=value,key=value to run besides, with --set as the base; may be repeated."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file of the runtime: take the scheduler's settings and policy from there.")
    ] = None,
    until: Annotated[float | None, typer.Option(help="Stop after so many virtual seconds.", min=0.0)] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the reports there; - is standard output.")
    ] = None,
    plots: Annotated[Path | None, typer.Option(help="Draw charts (SVG) into this folder.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the trace there, to run it again or to look at it.")] = None,
) -> None:
    """Run a trace on a virtual clock under the very scheduler of production. Several --policy or --variant are run one
    after another on the same trace and shown side by side.
    """
    from qrtx_ray import simulation

    if trace is not None and generate is not None:
        raise ValidationError("give either a trace or --generate", field="trace")
    texts = fleet or ([] if trace is not None else ["synthetic:20"])
    fleets = [simulation.fleet(text, seed=seed, agents=agents, pace=_pace(pace), drift=drift) for text in texts]
    recipe = simulation.Recipe(generate or "poisson", jobs, load, rate, simulation.mix_called(mix), seed, mtbf_s=mtbf)
    sources = _sources(trace, recipe, fleets)
    if save is not None:
        with writing(save):
            simulation.write_trace(sources[0], save)
    assignments = [*(settings or ()), *([f"world.until_s={until}"] if until is not None else ())]
    variants = _variants(policy or [], assignments, variant or [], config)
    _run(_runs(sources, texts, variants), json_file, plots)


def _pace(text: str) -> Literal["qpu", "wall"]:
    if text == "qpu":
        return "qpu"
    if text == "wall":
        return "wall"
    raise ValidationError(f"pace must be qpu or wall, not {text!r}", field="pace", limit="qpu, wall")


def _sources(trace: Path | None, recipe: Recipe, fleets: Sequence[Sequence[DeviceLine]]) -> list[Trace]:
    """The same arrivals on every fleet: recorded ones, else such as the recipe makes."""
    from qrtx_ray import simulation

    if trace is not None:
        recorded = simulation.read_trace(trace)
        return [simulation.on_fleet(recorded, devices) for devices in fleets] or [recorded]
    made = simulation.generate(recipe, fleets[0])
    return [made, *(simulation.on_fleet(made, devices) for devices in fleets[1:])]


def _runs(sources: Sequence[Trace], fleets: Sequence[str], variants: Sequence[Variant]) -> list[tuple[Trace, Variant]]:
    """Every variant on every source; called by its fleet too where there are several."""
    labels = fleets if len(sources) > 1 else [""]
    return [
        (source, replace(one, name=f"{one.name} {label}".strip()))
        for source, label in zip(sources, labels, strict=True)
        for one in variants
    ]


def _variants(
    policies: Sequence[str], assignments: Sequence[str], extra: Sequence[str], config: Path | None
) -> list[Variant]:
    """Every policy with the base settings and with those of every `extra`."""
    from qrtx_ray.simulation import Parameters, Variant, policy_called

    base = Parameters()
    chosen = [(name, policy_called(name)) for name in policies or ["priority"]]
    if config is not None:
        base, configured = _configured(config, base)
        chosen = chosen if policies else [configured]
    base = base.with_values(assignments)
    settings = {"": base}
    for text in extra:
        name, colon, rest = text.partition(":")
        if not colon or not name:
            raise ValidationError(f"variant {text!r} is not of the form name:key=value,…", field="variant")
        settings[name] = base.with_values(part for part in rest.split(",") if part)
    out = []
    for policy_name, policy in chosen:
        for name, parameters in settings.items():
            parts = [policy_name] if len(chosen) > 1 or not name else []
            out.append(Variant(" ".join([*parts, *([name] if name else [])]), policy, parameters))
    return out


def _configured(config: Path, base: Parameters) -> tuple[Parameters, tuple[str, Policy]]:
    """The scheduler as the runtime's configuration has it. Finished jobs need no memory here: nobody asks for them."""
    from qrtx_ray.actors.policies import policy_of
    from qrtx_ray.actors.settings import core_settings
    from qrtx_ray.config import load_settings

    settings = load_settings(config)
    core = replace(core_settings(settings), terminal_memory=base.core.terminal_memory)
    return replace(base, core=core), (settings.scheduler.algorithm, policy_of(settings))


def _run(runs: Sequence[tuple[Trace, Variant]], json_file: Path | None, plots: Path | None) -> None:
    from qrtx_ray.simulation import draw, report_json, simulate

    reports, efforts = [], []
    for source, variant in runs:
        report, effort = simulate(source, variant)
        reports.append(report)
        efforts.append(effort)
    document = report_json(reports)
    if json_file is not None and str(json_file) == "-":
        sys.stdout.buffer.write(document)
    else:
        console.print(f"[dim]{escape(runs[0][0].header.description)}[/]")
        for report in reports:
            console.print(_levels(report))
        console.print(_comparison(reports))
        if json_file is not None:
            with writing(json_file):
                json_file.write_bytes(document)
    if plots is not None:
        with writing(plots):
            drawn = draw(reports, plots)
        for path in drawn:
            errors.print(f"[dim]drawn {escape(str(path))}[/]")
    errors.print(_cost(efforts))


def _levels(report: dict[str, Any]) -> Any:
    rows = []
    for name in _LEVELS:
        level = report["levels"][name]
        if not level["jobs"]:
            continue
        waiting, completion = level["waiting_s"], level["completion_s"]
        times = [seconds(waiting[key]) for key in ("mean", "p50", "p95", "p99", "max")]
        ends = level["ends"]
        done = ends.get("Completed", 0)
        rows.append((name, level["jobs"], done, *times, seconds(completion["mean"]), level["promoted"]))
    columns = ("level", "jobs", "completed", "waited", "p50", "p95", "p99", "longest", "completion", "promoted")
    return table(columns, rows, escape(report["name"]))


def _comparison(reports: Sequence[dict[str, Any]]) -> Any:
    from qrtx_ray.simulation import mean_waiting_s

    rows = []
    for report in reports:
        deadlines, preemption = report["deadlines"], report["preemption"]
        rows.append(
            (
                escape(report["name"]),
                seconds(mean_waiting_s(report)),
                f"{report['fidelity']['mean']:.4f}" if report["fidelity"]["count"] else "–",
                f"{report['utilisation']['all']:.1%}",
                f"{report['fairness']['share_error']['normal']:.1%}",
                preemption["preemptions"],
                f"{preemption['penalty']:.1%}" if preemption["preemptions"] else "–",
                f"{deadlines['missed'] + deadlines['refused']} of {sum(deadlines.values())}",
                report["calibration"]["calibrations"],
                sum(report["refused"].values()),
            )
        )
    columns = (
        "", "waited", "fidelity", "busy", "share error", "preemptions", "their cost", "deadlines missed", "calibrations",
        "refused",
    )  # fmt: skip
    return table(columns, rows)


def _cost(efforts: Sequence[Effort]) -> str:
    spent_s, events = sum(effort.seconds for effort in efforts), sum(effort.events for effort in efforts)
    jobs = sum(effort.jobs for effort in efforts)
    return f"[dim]{jobs:,} jobs, {events:,} events in {seconds(spent_s)}[/]"
