"""The metrics of the QSM reconstruction challenge 2.0, as QSM-CI computes them, and the ones papers add.

QSM Challenge 2.0 Organization Committee 2021, doi:10.1002/mrm.28754. Every function takes the map, the truth and a
mask, each (X, Y, Z), as a tensor or an array, and returns a number: errors in percent, similarities from -1 to 1. Only
the voxels of the mask count, and only they are seen by filters: both maps are zero outside it. Where there is nothing
to score (no label, no contrast in the truth, an empty mask) the answer is NaN, never a good mark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..labels import DEEP_NUCLEI, Label

if TYPE_CHECKING:
    import torch

    Volume = torch.Tensor | NDArray[Any]

Array = NDArray[np.float64]
Where = NDArray[np.bool_]


def nrmse(chi: Volume, truth: Volume, mask: Volume) -> float:
    """100·‖r - t‖/‖t‖, both without their mean over the mask, in percent. A flat map scores 100."""
    estimate, true, _ = _inside(chi, truth, mask)
    return _relative(estimate - estimate.mean(), true - true.mean()) if true.size else np.nan


def nrmse_detrended(chi: Volume, truth: Volume, mask: Volume) -> float:
    """The NRMSE that is left after undoing a scale and an offset: with the fit r = s·t + c, (r - c)/s is scored."""
    estimate, true, _ = _inside(chi, truth, mask)
    if true.size == 0:
        return np.nan
    estimate, true = estimate - estimate.mean(), true - true.mean()
    slope = _slope(true, estimate)
    if not np.isfinite(slope) or abs(slope) < 1e-30:
        return _relative(estimate, true)
    return _relative(estimate / slope, true)


def correlation(chi: Volume, truth: Volume, mask: Volume) -> float:
    """Pearson's correlation; 0 for a flat map."""
    estimate, true, _ = _inside(chi, truth, mask)
    if true.size == 0 or np.ptp(true) == 0:
        return np.nan
    if np.ptp(estimate) == 0:
        return 0.0
    return float(np.corrcoef(estimate, true)[0, 1])


def xsim(chi: Volume, truth: Volume, mask: Volume) -> float:
    """The structural similarity made for QSM (Milovic et al. 2025, doi:10.1002/mrm.30271), maps in ppm.

    Uniform windows of 5³ voxels, cut off at the border of the volume; c1 = 1e-4, c2 = 1e-6.
    """
    from scipy.ndimage import uniform_filter

    _, _, (estimate, true, inside) = _inside(chi, truth, mask)
    if not inside.any():
        return np.nan

    share = uniform_filter(np.ones_like(true), 5, mode="constant")

    def mean(values: Array) -> Array:
        return uniform_filter(values, 5, mode="constant") / share

    mean_r, mean_t = mean(estimate), mean(true)
    var_r, var_t = mean(estimate**2) - mean_r**2, mean(true**2) - mean_t**2
    covariance = mean(estimate * true) - mean_r * mean_t
    similarity = (2 * mean_r * mean_t + 1e-4) * (2 * covariance + 1e-6)
    similarity /= (mean_r**2 + mean_t**2 + 1e-4) * (var_r + var_t + 1e-6)
    return float(similarity[inside].mean())


def ssim(chi: Volume, truth: Volume, mask: Volume) -> float:
    """The structural similarity as imaging papers report it (Wang et al. 2004, doi:10.1109/TIP.2003.819861).

    Gaussian windows of σ = 1.5 voxels; the range is the truth's over the mask, the mean is over the mask.
    """
    from skimage.metrics import structural_similarity

    _, values, (estimate, true, inside) = _inside(chi, truth, mask)
    if values.size == 0 or np.ptp(values) == 0 or min(true.shape) < 11:
        return np.nan
    _, similarity = structural_similarity(
        estimate,
        true,
        data_range=float(np.ptp(values)),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return float(similarity[inside].mean())


def hfen(chi: Volume, truth: Volume, mask: Volume) -> float:
    """The high-frequency error: 100·‖LoG(r) - LoG(t)‖/‖LoG(t)‖ over the mask, in percent.

    Laplacian of Gaussian of σ = 1.5 voxels, cut off at 5σ (Langkammer et al. 2018, doi:10.1002/mrm.26830).
    """
    from scipy.ndimage import gaussian_laplace

    _, _, (estimate, true, inside) = _inside(chi, truth, mask)
    filtered = [gaussian_laplace(values, 1.5, truncate=5.0)[inside] for values in (estimate, true)]
    return _relative(filtered[0], filtered[1])


def dgm_linearity(chi: Volume, truth: Volume, mask: Volume, labels: Volume) -> float:
    """|1 - slope| of the line through the mean χ of the deep nuclei (labels 1 to 6), estimated against true."""
    _, _, (estimate, true, inside) = _inside(chi, truth, mask)
    segmentation = _labels(labels, true.shape)
    means = []
    for label in DEEP_NUCLEI:
        where = inside & (segmentation == label)
        if where.any():
            means.append((true[where].mean(), estimate[where].mean()))
    return abs(1 - _slope(*np.array(means).T)) if len(means) > 1 else np.nan


def calcification(chi: Volume, truth: Volume, mask: Volume, labels: Volume) -> tuple[float, float]:
    """How well calcifications (label 16) come out: (moment deviation in ppm·voxels, streak level).

    The moment is the number of voxels times their mean χ, in a segment found by the least negative threshold (in steps
    of 0.01 ppm) that no voxel of the surroundings passes; the streak level is the standard deviation of what a line
    through (true, estimated) leaves in a rim, over the segment's |mean χ|. The segment lies within the bounding box
    grown by 3 voxels, the rim reaches 4 voxels beyond, the surroundings 8. The challenge had one calcification; of
    several, deviations are added and streaks averaged.
    """
    from scipy.ndimage import find_objects, label

    _, _, (estimate, true, inside) = _inside(chi, truth, mask)
    calcified = inside & (_labels(labels, true.shape) == Label.CALCIFICATION)
    pieces, _ = label(calcified, np.ones((3, 3, 3)))
    deviation, streaks = 0.0, []
    for number, box in enumerate(find_objects(pieces), start=1):
        box_of = [_boxed(box, margin, true.shape) & inside for margin in (3, 7, 11)]
        others = calcified & (pieces != number)
        moment, mean = _segment(estimate[box_of[0] & ~others], estimate[box_of[2] & ~box_of[0] & ~others])
        deviation += abs(float(true[pieces == number].sum()) - moment)
        rim = box_of[1] & ~box_of[0] & ~others
        slope = _slope(true[rim], estimate[rim])
        if mean and np.isfinite(slope):
            streaks.append(float(np.std(estimate[rim] - slope * true[rim])) / abs(mean))
    if not calcified.any():
        return np.nan, np.nan
    return deviation, float(np.mean(streaks)) if streaks else np.nan


def challenge_metrics(chi: Volume, truth: Volume, mask: Volume, labels: Volume | None = None) -> dict[str, float]:
    """Every metric of a χ map by name. Those of regions need `labels` (see labels.Label) and are left out without.

    Raises InputError where the shapes differ or a map is not finite inside the mask.
    """
    from scipy.ndimage import binary_dilation

    found = map_metrics(chi, truth, mask)
    if labels is None:
        return found
    _, _, (estimate, true, inside) = _inside(chi, truth, mask)
    segmentation = _labels(labels, true.shape)
    blood = binary_dilation(inside & (segmentation == Label.VEIN), np.ones((3, 3, 3)))
    regions = {
        "nrmse_tissue": np.isin(segmentation, (Label.THALAMUS, Label.WHITE_MATTER, Label.GREY_MATTER)),
        "nrmse_blood": blood,
        "nrmse_dgm": np.isin(segmentation, DEEP_NUCLEI),
    }
    for name, where in regions.items():
        found[name] = nrmse_detrended(estimate, true, inside & where)
    found["dgm_linearity"] = dgm_linearity(estimate, true, inside, segmentation)
    found["calc_moment_dev"], found["calc_streak"] = calcification(estimate, true, inside, segmentation)
    return found


def map_metrics(estimate: Volume, truth: Volume, mask: Volume) -> dict[str, float]:
    """The metrics that need no labels, by name: for fields, χ_para, χ_dia and rates as well as for χ."""
    scores = {
        "nrmse": nrmse,
        "nrmse_detrend": nrmse_detrended,
        "correlation": correlation,
        "xsim": xsim,
        "hfen": hfen,
        "ssim": ssim,
    }
    return {name: score(estimate, truth, mask) for name, score in scores.items()}


def dice(mask: Volume, truth: Volume) -> float:
    """The overlap of two masks, 2·|A∩B|/(|A| + |B|)."""
    found, true = _array(mask) > 0.5, _array(truth) > 0.5
    total = int(found.sum()) + int(true.sum())
    return 2 * int((found & true).sum()) / total if total else np.nan


def _array(values: Volume) -> Array:
    if not isinstance(values, np.ndarray):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)


def _inside(chi: Volume, truth: Volume, mask: Volume) -> tuple[Array, Array, tuple[Array, Array, Where]]:
    """The values inside the mask, and the volumes, zero outside it."""
    estimate, true, inside = _array(chi), _array(truth), _array(mask) > 0.5
    if not estimate.shape == true.shape == inside.shape:
        raise InputError(
            f"The map {estimate.shape}, the truth {true.shape} and the mask {inside.shape} are not on one grid."
        )
    if not (np.isfinite(estimate[inside]).all() and np.isfinite(true[inside]).all()):
        raise InputError("A map has values inside the mask that are not finite: it cannot be scored.")
    estimate, true = np.where(inside, estimate, 0.0), np.where(inside, true, 0.0)
    return estimate[inside], true[inside], (estimate, true, inside)


def _labels(labels: Volume, shape: tuple[int, ...]) -> NDArray[np.int64]:
    numbers = np.rint(_array(labels)).astype(np.int64)
    if numbers.shape != shape:
        raise InputError(f"The segmentation {numbers.shape} is not on the grid of the map {shape}.")
    return numbers


def _relative(estimate: Array, true: Array) -> float:
    size = float(np.linalg.norm(true))
    return 100 * float(np.linalg.norm(estimate - true)) / size if size > 0 else np.nan


def _slope(x: Array, y: Array) -> float:
    if x.size < 2 or np.ptp(x) == 0:
        return np.nan
    x = x - x.mean()
    return float(x @ (y - y.mean()) / (x @ x))


def _boxed(box: tuple[slice, ...], margin: int, shape: tuple[int, ...]) -> Where:
    where = np.zeros(shape, dtype=bool)
    where[tuple(slice(max(s.start - margin, 0), s.stop + margin) for s in box)] = True
    return where


def _segment(near: Array, around: Array) -> tuple[float, float]:
    """(moment, mean) of the values of `near` below the least negative threshold that none of `around` passes."""
    lowest = float(around.min()) if around.size else 0.0
    # Steps of 0.01 ppm down to -3.5, as the challenge has it; the tolerance keeps a value that is itself a step there.
    threshold = -0.01 * float(np.clip(np.ceil(-100 * lowest - 1e-9), 0, 350))
    found = near[near < threshold]
    return (float(found.sum()), float(found.mean())) if found.size else (0.0, 0.0)
