from types import SimpleNamespace

import pytest
import torch

from QSMReconLib.background.vsharp import Vsharp, vsharp
from QSMReconLib.data import FieldNoise, Mask, TotalField
from QSMReconLib.errors import InputError
from QSMReconLib.evaluation.metrics import nrmse
from QSMReconLib.physics.smv import SphericalMean
from QSMReconLib.runtime import Runtime

RADII = (3.0, 4.5, 6.0, 7.5, 9.0)


def test_separates_the_brain_from_the_rest(head: SimpleNamespace) -> None:
    local, reached = vsharp(head.total, head.mask, head.grid.voxel_size_mm, RADII)
    assert nrmse(local, head.local, reached) < 25
    assert torch.equal(reached, SphericalMean.of(head.mask.shape, head.grid.voxel_size_mm, 3.0).fits(head.mask))
    left, _ = vsharp(head.background, head.mask, head.grid.voxel_size_mm, RADII)
    assert float(left[reached].std()) < 0.02 * float(head.background[reached].std())


def test_more_radii_reach_further_than_one(head: SimpleNamespace) -> None:
    _, one = vsharp(head.total, head.mask, head.grid.voxel_size_mm, (9.0,))
    _, many = vsharp(head.total, head.mask, head.grid.voxel_size_mm, RADII)
    assert bool((many | ~one).all())
    assert int(many.sum()) > 1.5 * int(one.sum())


def test_the_stage_bridges_what_cannot_be_trusted(head: SimpleNamespace) -> None:
    middle = tuple(slice(n // 2 - 1, n // 2 + 1) for n in head.grid.shape)
    total, noise = head.total.clone(), 0.001 * head.mask
    total[middle] += 20.0
    noise[middle] = 0.7
    mask = Mask(head.grid, head.mask)
    errors = []
    for given in (None, FieldNoise(head.grid, noise)):
        local = Vsharp(largest_mm=9).apply(TotalField(head.grid, total), mask, Runtime(), given)
        around = local.mask.clone()
        around[middle] = False
        errors.append(nrmse(local.field_ppm, head.local, around))
    assert errors[1] < 35
    assert errors[1] < 0.8 * errors[0]


def test_radii_that_make_no_sense_are_refused(head: SimpleNamespace) -> None:
    with pytest.raises(InputError, match="largest_mm"):
        Vsharp(largest_mm=2, smallest_mm=5).apply(
            TotalField(head.grid, head.total), Mask(head.grid, head.mask), Runtime()
        )
    with pytest.raises(InputError, match="No sphere"):
        vsharp(head.total, head.mask, head.grid.voxel_size_mm, (30.0,))
