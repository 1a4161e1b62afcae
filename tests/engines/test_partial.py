"""A concluded run gives the beginning of what the whole run gives, says how much that is, and makes nothing up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qrtx_ray.codec.results import native_view
from qrtx_ray.devices.timing import IBM_JOB_OVERHEAD_S
from qrtx_ray.engines.protocol import JobOutcome, JobRun, Wish
from qrtx_ray.engines.registry import engine_for

from .building import dynamic_job, hardware_efficient, read, sampler_job
from .test_preemption import IDEAL, JOBS, NOISY, conditional, cut_fine, estimated, measured_midway, run_of, swept


@pytest.fixture(autouse=True)
def _fine(monkeypatch):
    cut_fine(monkeypatch)


def concluded(job, after: int, *, checkpoint: bytes = b"", seed: int = 11) -> JobOutcome:
    """The run of `job` that is asked to conclude from slice number `after` on (0: from its first report)."""
    seen = []

    def ask(_index: int, fraction: float) -> Wish | None:
        seen.append(fraction)
        return Wish.CONCLUDE if len(seen) >= after else None

    (outcome,) = engine_for(job.device.partition("@")[2]).run([JobRun(job, seed, checkpoint=checkpoint)], ask)
    assert outcome.error is None, outcome.error
    return outcome


def begins(part, whole) -> None:
    """Fail unless the data of PUB `part` are the beginning of those of `whole`."""
    for name in part.data:
        some, every = part.data[name], whole.data[name]
        if isinstance(some, np.ndarray):
            assert some.shape == every.shape
            done = ~np.isnan(some)
            assert done.any()
            assert np.array_equal(some[done], every[done])
        elif some.shape == every.shape:
            assert np.array_equal(some.array, every.array[..., : some.num_shots, :])
        else:
            assert some.shape[1:] == every.shape[1:]
            assert np.array_equal(some.array, every.array[: some.shape[0]])


@pytest.mark.parametrize("name", JOBS)
def test_concluded_after_any_slice_it_gives_what_the_whole_run_begins_with(name):
    job = JOBS[name]()
    outcome, alone = run_of(job)
    whole, charged = read(outcome.results), -1.0
    for after, progress in enumerate(alone.seen, 1):
        part = concluded(job, after)
        if progress == 1.0:
            assert part.results == outcome.results, "what is done is not partial"
            assert not part.partial
            break
        assert part.partial
        assert part.progress == progress
        document = read(part.results)
        ours = document.metadata["qrtx"]
        assert (ours["partial"], ours["progress"], ours["pubs_asked"]) == (True, progress, len(job.pubs))
        assert len(document) - ours["pubs_done"] in {0, 1}, "only the last one may be under way"
        assert [pub.metadata["qrtx"]["partial"] for pub in document].count(False) == ours["pubs_done"]
        for pub, wanted in zip(document, whole, strict=False):
            begins(pub, wanted)
        assert charged <= part.qpu_s <= outcome.qpu_s, "only what is done is charged"
        charged = part.qpu_s
        native_view(part.results, memory=True)


@pytest.mark.parametrize(
    "name", ["sampler, dynamic", "sampler, noisy rows", "estimator, noisy", "sampler, several PUBs"]
)
def test_a_checkpoint_is_concluded_to_the_same_bytes_without_a_further_slice(name):
    job = JOBS[name]()
    for cut in range(1, len(run_of(job)[1].seen)):
        left, _ = run_of(job, cuts=[cut])
        assert concluded(job, 1, checkpoint=left.checkpoint).results == concluded(job, cut).results


def test_a_single_row_has_fewer_shots_and_keeps_its_shape():
    job = dynamic_job(conditional(), device=IDEAL, shots=200)
    for after in (1, 2, 3):
        (pub,) = read(concluded(job, after).results)
        assert pub.data.shape == ()
        assert pub.data.c.num_shots == 50 * after
        assert pub.metadata["qrtx"] == {
            "partial": True,
            "shots": 50 * after,
            "shots_asked": 200,
            "rows": 0,
            "rows_asked": 1,
            "shape_asked": [],
        }
        (view,) = native_view(concluded(job, after).results)["pubs"]
        assert (view["shots"], sum(view["registers"]["c"]["counts"].values())) == (50 * after, 50 * after)


def test_a_sweep_is_cut_to_its_leading_elements():
    job = swept(hardware_efficient(3, 1), 12, IDEAL, 10)
    job = replace(job, pubs=(replace(job.pubs[0], shape=(3, 2, 2)),))
    shapes = [[pub.data.shape for pub in read(concluded(job, after).results)] for after in (1, 2, 3)]
    assert shapes == [[], [(1, 2, 2)], [(2, 2, 2)]], (
        "3, 6 and 9 of 12 rows are done, and 4 make an element of the first axis"
    )


def test_a_row_under_way_is_no_part_of_a_sweep():
    job = swept(measured_midway(), 3, IDEAL, 200)
    (pub,) = read(concluded(job, 6).results)
    assert pub.data.shape == (1,)
    assert pub.data.c.num_shots == 200
    assert not list(read(concluded(job, 3).results)), "no row is done"


def test_estimates_that_are_missing_are_not_numbers():
    job = estimated(IDEAL, 0, rows=10)
    data = read(concluded(job, 2).results)[0].data
    assert data.evs.shape == (10, 3)
    for array in (data.evs, data.stds, data.ensemble_standard_error):
        assert np.isnan(array).any(axis=1).tolist() == [False] * 6 + [True] * 4
    view = native_view(concluded(job, 2).results)["pubs"][0]
    assert view["evs"][0][0] == data.evs[0, 0]


def test_observables_before_parameters_are_cut_where_their_rows_are_not_done():
    job = estimated(NOISY, 0, rows=8)
    pub = job.pubs[0]
    elements = np.array([(row, index) for index in range(3) for row in range(8)], dtype=np.int32)
    job = replace(job, pubs=(replace(pub, elements=elements, shape=(3, 8)),))
    evs = read(concluded(job, 1).results)[0].data.evs
    assert (~np.isnan(evs)).tolist() == [[True] * 3 + [False] * 5] * 3


def test_a_run_without_anything_done_gives_a_document_without_pubs():
    job = JOBS["estimator, drawn from trajectories"]()
    outcome = concluded(job, 1)
    document = read(outcome.results)
    assert list(document) == []
    assert document.metadata["qrtx"]["pubs_done"] == 0
    assert outcome.qpu_s == IBM_JOB_OVERHEAD_S
    assert native_view(outcome.results)["pubs"] == []


def test_pubs_not_begun_are_left_out():
    job = sampler_job(*(hardware_efficient(3, seed=n) for n in range(4)), shots=33)
    document = read(concluded(job, 2).results)
    assert [pub.metadata["qrtx"]["rows"] for pub in document] == [1, 1]
    assert (document.metadata["qrtx"]["pubs_done"], document.metadata["qrtx"]["pubs_asked"]) == (2, 4)


def test_a_checkpoint_of_no_use_gives_nothing_and_says_so():
    outcome = concluded(JOBS["sampler, dynamic"](), 1, checkpoint=b"nonsense")
    assert outcome.partial
    assert outcome.progress == 0.0
    assert outcome.anew
    assert list(read(outcome.results)) == []


def test_a_whole_run_says_nothing_of_parts():
    document = read(run_of(JOBS["sampler, noisy rows"]())[0].results)
    assert "partial" not in document.metadata["qrtx"]
    assert "qrtx" not in document[0].metadata
