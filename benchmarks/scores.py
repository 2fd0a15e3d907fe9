"""How a map is scored in benchmarks/networks.py, and how its row is printed."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from cases import Case
from numpy.typing import NDArray
from scipy.stats import linregress, t

from QSMReconLib.evaluation.metrics import challenge_metrics
from QSMReconLib.labels import DEEP_NUCLEI

STRONG_PPM = 0.1
BLOCK = 8
"""Edge of the blocks of voxels that are drawn again: errors of neighbours are one error."""

Show = Callable[[dict[str, float]], str]


def score(chi: torch.Tensor, case: Case) -> dict[str, float]:
    """All scores of a map by name."""
    found = challenge_metrics(chi, case.chi_ppm, case.mask, case.labels)
    kept = ("nrmse", "nrmse_tissue", "nrmse_blood", "nrmse_dgm", "xsim", "hfen")
    return {name: found[name] for name in kept} | slopes(chi, case)


def slopes(chi: torch.Tensor, case: Case) -> dict[str, float]:
    """Of the means of the deep nuclei, and of all voxels beyond 0.1 ppm, estimated over true; `_low`, `_high`: 95 %."""
    true, estimated, labels = case.chi_ppm.numpy(), chi.numpy(), case.labels.numpy()
    inside = case.mask.numpy() > 0
    strong = (np.abs(true) > STRONG_PPM) & inside
    return _named("dgm_slope", *_of_nuclei(true, estimated, labels * inside)) | _named(
        "strong_slope", *_of_voxels(true, estimated, strong)
    )


def _named(name: str, slope: float, low: float, high: float) -> dict[str, float]:
    return {name: slope, f"{name}_low": low, f"{name}_high": high}


def _of_nuclei(true: NDArray, estimated: NDArray, labels: NDArray) -> tuple[float, float, float]:
    """Of a line through their means, its interval from what the line leaves."""
    means = [(true[labels == n].mean(), estimated[labels == n].mean()) for n in DEEP_NUCLEI if (labels == n).any()]
    if len(means) < 3:
        return math.nan, math.nan, math.nan
    line = linregress(*zip(*means, strict=True))
    reach = float(t.ppf(0.975, len(means) - 2) * line.stderr)
    return float(line.slope), float(line.slope) - reach, float(line.slope) + reach


def _of_voxels(true: NDArray, estimated: NDArray, where: NDArray) -> tuple[float, float, float]:
    """Of a line through zero, its interval by drawing blocks of voxels again, a thousand times."""
    if not where.any():
        return math.nan, math.nan, math.nan
    blocks = np.ravel_multi_index([i // BLOCK for i in np.nonzero(where)], [n // BLOCK + 1 for n in where.shape])
    _, block = np.unique(blocks, return_inverse=True)
    over, under = (np.bincount(block, true[where] * values[where]) for values in (estimated, true))
    drawn = np.random.default_rng(0).integers(len(over), size=(1000, len(over)))
    again = over[drawn].sum(1) / under[drawn].sum(1)
    low, high = np.percentile(again, (2.5, 97.5))
    return float(over.sum() / under.sum()), float(low), float(high)


def _number(name: str, width: int, digits: int) -> Show:
    return lambda scores: f"{scores[name]:{width}.{digits}f}"


def _interval(name: str) -> Show:
    return lambda scores: f"  {scores[name]:6.3f} [{scores[name + '_low']:5.2f}, {scores[name + '_high']:5.2f}]"


SCORES: tuple[tuple[str, str, int, Show], ...] = (
    ("nrmse", "NRMSE %", 9, _number("nrmse", 9, 1)),
    ("nrmse_tissue", "tissue", 8, _number("nrmse_tissue", 8, 1)),
    ("nrmse_blood", "blood", 8, _number("nrmse_blood", 8, 1)),
    ("nrmse_dgm", "DGM", 8, _number("nrmse_dgm", 8, 1)),
    ("xsim", "XSIM", 7, _number("xsim", 7, 3)),
    ("hfen", "HFEN %", 8, _number("hfen", 8, 1)),
    ("dgm_slope", "DGM slope [95 %]", 23, _interval("dgm_slope")),
    ("strong_slope", "|χ|>0.1 slope [95 %]", 23, _interval("strong_slope")),
    ("seconds", "s", 8, _number("seconds", 8, 1)),
    ("peak_mb", "MB", 7, _number("peak_mb", 7, 0)),
)
"""Name, title, width and how it is shown, of every column."""
