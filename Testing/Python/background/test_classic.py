"""SHARP, iSMV and LBV: what they keep, what they take, what they refuse."""

from types import SimpleNamespace

import pytest
import torch

from QSMReconLib.background.ismv import Ismv, ismv
from QSMReconLib.background.lbv import Lbv, interior_of, lbv
from QSMReconLib.background.sharp import Sharp
from QSMReconLib.data import Mask, TotalField
from QSMReconLib.errors import InputError
from QSMReconLib.evaluation.metrics import nrmse
from QSMReconLib.physics.smv import SphericalMean
from QSMReconLib.runtime import Runtime
from QSMReconLib.solvers.multigrid import laplacian
from QSMReconLib.stage import Stage


@pytest.mark.parametrize(
    ("stage", "most"), [(Sharp(), 70), (Ismv(), 45), (Lbv(peel=0), 45)], ids=["sharp", "ismv", "lbv"]
)
def test_separates_the_brain_from_the_rest(stage: Stage, most: float, head: SimpleNamespace) -> None:
    mask, runtime = Mask(head.grid, head.mask), Runtime()
    local = stage.apply(TotalField(head.grid, head.total), mask, runtime)
    assert nrmse(local.field_ppm, head.local, local.mask) < most
    assert 0.2 < float(local.mask.sum() / head.mask.sum()) < 0.95
    assert len(runtime.notes) == 1
    left = stage.apply(TotalField(head.grid, head.background), mask, runtime)
    assert float(left.field_ppm[left.mask].std()) < 0.02 * float(head.background[left.mask].std())


def test_ismv_ends_at_a_background_that_is_its_own_mean(head: SimpleNamespace) -> None:
    voxel = head.grid.voxel_size_mm
    local, eroded = ismv(head.total, head.mask, voxel, 5.0, 400, 1e-4)
    sphere = SphericalMean.of(head.mask.shape, voxel, 5.0)
    assert torch.equal(eroded, sphere.fits(head.mask))
    background = (head.total - head.total[head.mask].mean()) * head.mask - local
    assert float((sphere.deviation(background) * eroded).norm()) < 1e-3 * float(local.norm())


def test_lbv_solves_laplace_s_equation(head: SimpleNamespace) -> None:
    voxel = head.grid.voxel_size_mm
    local, inner = lbv(head.total, head.mask, voxel, 1, 1e-5)
    peeled = interior_of(head.mask)
    assert torch.equal(inner, interior_of(peeled))
    rest = laplacian(head.total * peeled - local, voxel) * inner
    assert float(rest.norm()) < 1e-2 * float((laplacian(head.total * peeled, voxel) * inner).norm())
    assert not local[~inner].any()


def test_masks_that_are_too_thin_are_refused(head: SimpleNamespace) -> None:
    voxel = head.grid.voxel_size_mm
    thin = torch.zeros_like(head.mask)
    thin[10:13, 10:13, 10:13] = True
    with pytest.raises(InputError, match="peel fewer"):
        lbv(head.total, thin, voxel, 2)
    with pytest.raises(InputError, match="No sphere"):
        ismv(head.total, thin, voxel, 9.0)
