from __future__ import annotations

import pytest
import torch

from QSMReconLib.data import Grid, Mask, PhaseQuality
from QSMReconLib.errors import InputError
from QSMReconLib.masking.qualitymask import QualityMask, trim_by_quality
from QSMReconLib.runtime import Runtime

GRID = Grid.centred((40, 36, 30), (1.0, 1.0, 2.0))


def ball() -> tuple[torch.Tensor, torch.Tensor]:
    """A mask and a quality of 0.8 in it, but for a poor margin at one side and a poor spot inside."""
    x, y, z = torch.meshgrid(
        *[(torch.arange(n) - n // 2) * v for n, v in zip(GRID.shape, GRID.voxel_size_mm, strict=True)], indexing="ij"
    )
    mask = x**2 + y**2 + z**2 < 15**2
    quality = torch.where(x > 9, 0.1, 0.8)
    quality = torch.where(x**2 + y**2 + z**2 < 9, 0.05, quality) * mask
    return mask, quality


def test_a_poor_margin_goes_and_a_poor_spot_inside_stays() -> None:
    mask, quality = ball()
    runtime = Runtime()
    made = QualityMask().apply(Mask(GRID, mask), PhaseQuality(GRID, quality), runtime).voxels
    assert made.dtype == torch.bool
    assert made[20, 18, 15]
    assert not made[31:].any()
    assert torch.equal(made[:28], mask[:28])
    lost = int(mask.sum() - made.sum())
    assert f"{lost} of {int(mask.sum())} voxels" in runtime.notes[0]


def test_a_good_mask_stays_as_it_is_without_a_word() -> None:
    mask, _ = ball()
    runtime = Runtime()
    made = QualityMask().apply(Mask(GRID, mask), PhaseQuality(GRID, 0.8 * mask), runtime)
    assert torch.equal(made.voxels, mask)
    assert not runtime.notes


def test_the_scale_of_quality_does_not_matter() -> None:
    mask, quality = ball()
    args = (GRID.voxel_size_mm, 0.4)
    assert torch.equal(trim_by_quality(mask, quality, *args), trim_by_quality(mask, 0.1 * quality, *args))


def test_a_fraction_of_zero_keeps_all() -> None:
    mask, quality = ball()
    assert torch.equal(trim_by_quality(mask, quality, GRID.voxel_size_mm, 0.0), mask)


def test_what_the_trimming_cuts_off_is_dropped() -> None:
    mask = torch.ones(GRID.shape, dtype=torch.bool)
    mask[0] = mask[-1] = False
    quality = 0.8 * mask
    quality[30:33] = 0.0
    mask[30:33, 0] = False  # the wall touches the outside
    made = trim_by_quality(mask, quality, GRID.voxel_size_mm, 0.4)
    assert made[1:29].all()
    assert not made[31:].any()


def test_the_edge_of_the_field_of_view_is_no_outside() -> None:
    mask = torch.ones(GRID.shape, dtype=torch.bool)
    quality = torch.full(GRID.shape, 0.8)
    quality[:, :, :2] = 0.0
    assert trim_by_quality(mask, quality, GRID.voxel_size_mm, 0.4).all()


def test_an_empty_mask_stays_empty_and_gets_a_sentence() -> None:
    empty = torch.zeros(GRID.shape, dtype=torch.bool)
    assert not trim_by_quality(empty, empty.float(), GRID.voxel_size_mm, 0.4).any()
    with pytest.raises(InputError, match="coherent phase"):
        QualityMask().apply(Mask(GRID, empty), PhaseQuality(GRID, empty.float()), Runtime())
