from types import SimpleNamespace

import pytest
import torch

from QSMReconLib.background.resharp import Resharp, resharp
from QSMReconLib.data import FieldNoise, Mask, TotalField
from QSMReconLib.errors import InputError
from QSMReconLib.evaluation.metrics import nrmse
from QSMReconLib.physics.smv import SphericalMean
from QSMReconLib.runtime import Runtime


def test_separates_the_brain_from_the_rest(head: SimpleNamespace) -> None:
    local, eroded = resharp(head.total, head.mask, head.grid.voxel_size_mm)
    assert nrmse(local, head.local, eroded) < 33
    left, _ = resharp(head.background, head.mask, head.grid.voxel_size_mm)
    assert float(left[eroded].std()) < 0.01 * float(head.background[eroded].std())


def test_solves_its_normal_equations(head: SimpleNamespace) -> None:
    voxel = head.grid.voxel_size_mm
    local, eroded = resharp(head.total, head.mask, voxel, 6.0, 0.1, None, 200, 1e-6)
    sphere = SphericalMean.of(head.mask.shape, voxel, 6.0)
    assert torch.equal(eroded, sphere.fits(head.mask))
    # Inside the eroded mask, where nothing was cut off the solution: S'M S'(f - t) + λf = 0. Its rest outside is small.
    deep = sphere.fits(eroded)
    rest = sphere.deviation(sphere.deviation(local - head.total) * eroded) + 0.1 * local
    plain = sphere.deviation(sphere.deviation(head.total) * eroded)
    assert float(rest[sphere.fits(deep)].norm()) < 0.02 * float(plain[sphere.fits(deep)].norm())


def test_a_voxel_without_weight_does_not_disturb_its_neighbours(head: SimpleNamespace) -> None:
    middle = tuple(n // 2 for n in head.grid.shape)
    wild, weight = head.total.clone(), head.mask.float()
    wild[middle] += 1.0
    weight[middle] = 0
    errors = []
    for given in (None, weight):
        local, eroded = resharp(wild, head.mask, head.grid.voxel_size_mm, weight=given, iterations=60)
        eroded[middle] = False
        errors.append(nrmse(local, head.local, eroded))
    assert errors[1] < 40


def test_the_stage_tells_how_much_it_took(head: SimpleNamespace) -> None:
    runtime = Runtime()
    noise = FieldNoise(head.grid, 0.001 * head.mask)
    local = Resharp(radius_mm=5).apply(TotalField(head.grid, head.total), Mask(head.grid, head.mask), runtime, noise)
    assert "5 mm" in runtime.notes[0]
    assert 0.3 < float(local.mask.sum() / head.mask.sum()) < 0.7
    assert not local.field_ppm[~local.mask].any()


def test_too_large_a_sphere_is_refused(head: SimpleNamespace) -> None:
    with pytest.raises(InputError, match="No sphere of 30 mm"):
        resharp(head.total, head.mask, head.grid.voxel_size_mm, 30.0)
