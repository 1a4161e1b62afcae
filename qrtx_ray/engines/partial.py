"""What there is of a PUB when its job is concluded: the part of its results that the whole run would have begun with.

Only what is done is given, in a form the official client reads, and nothing is made up for the rest:

* A sampler PUB of several elements (a sweep) is cut along its first axis, to the leading elements that have all their
  shots: element ``[i, …]`` of the result is element ``[i, …]`` of the PUB. Bit arrays cannot say that an element is missing.
* A sampler PUB of one element keeps its shape and has fewer shots, where its shots are drawn in slices.
* An estimator PUB keeps its shape; the elements that are not estimated are NaN in all arrays. Expectation values can say so,
  and the elements done need not be the leading ones, since observables and parameters are broadcast.
* A PUB of which nothing is done is left out. So is every one behind it: PUBs run in their order.

A job of which nothing is done gives a document without PUBs.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.cost import Method, row_cost
from qrtx_ray.devices.executable import EstimatorPub, SamplerPub
from qrtx_ray.engines.estimator import Estimate, estimated_so_far
from qrtx_ray.engines.sampler import PubRun, begin_rows, pack_registers, row_clbits
from qrtx_ray.engines.stages import Stage

__all__ = ["amounts", "estimated_part", "sampled_part"]

Bytes = npt.NDArray[np.uint8]


def sampled_part(pub: SamplerPub, run: PubRun) -> tuple[list[Bytes], Method, tuple[int, ...], int] | None:
    """The samples there are of a PUB, None when there are none.

    Returns:
        For each register an array ``(elements, shots, bytes)``, the method, the shape of the elements and the shots of each.

    Raises:
        CheckpointRefused: The stage of `run` is of a PUB that is cut otherwise.
    """
    stage = run.stage
    if not stage.total:
        return None
    filled = begin_rows(pub, stage)
    program = pub.row_programs[-1] if pub.row_programs else pub.program
    values = pub.values[:0] if pub.row_programs else pub.values
    method = row_cost(program, values, noisy=run.calibration is not None, shots=pub.shots).method
    if stage.total == 1 and not stage.done:
        arrays = _drawn_shots(pub, run)
        return None if arrays is None else (arrays, method, pub.shape, arrays[0].shape[1])
    each = prod(pub.shape[1:])
    leading = stage.done // each
    if not leading:
        return None
    shape = (leading, *pub.shape[1:]) if pub.shape else ()
    return [array[: leading * each] for array in filled], method, shape, pub.shots


def _drawn_shots(pub: SamplerPub, run: PubRun) -> list[Bytes] | None:
    """The shots there are of a PUB's only row, for each register ``(1, shots, bytes)``; None when there are none."""
    program = pub.row_programs[0] if pub.row_programs else pub.program
    clbits, drawn = row_clbits(program), run.stage.inner
    if drawn is None or not drawn.done or not clbits:
        return None
    # Other rows keep something else between their steps, a state for one; of them no shot is drawn before the end.
    if [(array.shape, array.dtype) for array in drawn.arrays] != [((len(clbits), pub.shots), np.dtype(np.uint8))]:
        return None
    shots = pub.shots * drawn.done // drawn.total
    return [array[None] for array in pack_registers(program, clbits, drawn.arrays[0][:, :shots])] if shots else None


def estimated_part(pub: EstimatorPub, run: PubRun) -> Estimate | None:
    """The estimates there are of a PUB, None when there are none.

    Raises:
        CheckpointRefused: The stage of `run` is of a PUB that is cut otherwise.
    """
    estimate = estimated_so_far(pub, run)
    return None if estimate is None or np.isnan(estimate.evs).all() else estimate


def amounts(pub: SamplerPub | EstimatorPub, stage: Stage, *, shots: int) -> dict[str, Any]:
    """What the metadata of each PUB of a concluded job say under ``qrtx``: how much was asked for, and how much there is.

    Args:
        stage: Of the PUB.
        shots: Of each element there is.
    """
    return {
        "partial": stage.done < stage.total,
        "shots": shots,
        "shots_asked": pub.shots,
        "rows": stage.done,
        "rows_asked": stage.total,
        "shape_asked": list(pub.shape),
    }
