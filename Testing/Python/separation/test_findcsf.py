from __future__ import annotations

import torch

from QSMReconLib.data import Grid, Mask, R2StarMap
from QSMReconLib.runtime import Runtime
from QSMReconLib.separation.findcsf import FindCsf, ventricles

SHAPE, VOXEL = (50, 58, 31), (2.0, 2.0, 3.5)


def head() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """R2*, brain, ventricles, and fluid far from the middle."""
    axes = [(torch.arange(n) - (n - 1) / 2) * v for n, v in zip(SHAPE, VOXEL, strict=True)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    brain = (x / 46) ** 2 + (y / 54) ** 2 + (z / 50) ** 2 < 1
    pair = (((x.abs() - 12) / 7) ** 2 + (y / 20) ** 2 + (z / 11) ** 2 < 1) & brain
    cistern = ((x / 9) ** 2 + ((y - 44) / 9) ** 2 + (z / 9) ** 2 < 1) & brain
    generator = torch.Generator().manual_seed(0)
    rate = (18.0 * (brain & ~pair & ~cistern) + 1.5 * (pair | cistern)) * brain
    noise = 3.0 * torch.randn(SHAPE, generator=generator)
    return (rate + noise * brain).clamp(min=0), brain, pair, cistern


def test_finds_the_ventricles_in_noise_and_nothing_far_from_the_middle() -> None:
    rate, brain, pair, cistern = head()
    found = ventricles(rate, brain, VOXEL)
    overlap = 2 * float((found & pair).sum()) / float(found.sum() + pair.sum())
    assert overlap > 0.85
    assert not found[cistern].any()
    assert not found[~brain].any()


def test_says_when_there_is_no_fluid() -> None:
    _, brain, _, _ = head()
    runtime = Runtime()
    grid = Grid.centred(SHAPE, VOXEL)
    found = FindCsf().apply(R2StarMap(grid, 18.0 * brain, 3.0), Mask(grid, brain), runtime)
    assert not found.voxels.any()
    assert "No ventricles" in runtime.notes[0]
