from types import SimpleNamespace

import torch

from QSMReconLib.background.outside import OutsideSources
from QSMReconLib.background.pdf import Pdf, pdf
from QSMReconLib.data import FieldNoise, Mask, TotalField
from QSMReconLib.evaluation.metrics import nrmse
from QSMReconLib.runtime import Runtime


def test_what_comes_from_outside_goes(head: SimpleNamespace) -> None:
    left = (head.background - pdf(head.background, head.mask, head.grid))[head.mask]
    assert float(left.std()) < 0.02 * float(head.background[head.mask].std())


def test_what_comes_from_inside_stays(head: SimpleNamespace) -> None:
    kept = head.total - pdf(head.total, head.mask, head.grid)
    assert nrmse(kept, head.local, head.mask) < 50
    inner = Pdf().apply(TotalField(head.grid, head.local), Mask(head.grid, head.mask), Runtime())
    assert nrmse(inner.field_ppm, head.local, head.mask) < 50


def test_the_fit_is_a_least_squares_fit(head: SimpleNamespace) -> None:
    """Its residual is orthogonal to the field of any source outside."""
    space = OutsideSources.around(head.mask, head.grid)
    weight, field = space.into_box(head.mask), space.into_box(head.local)
    sources = space.fit(field, weight, 100)
    residual = weight * (field - space.field(sources))
    before, after = (space.dipole(f).mul(space.sources).norm() for f in (field, residual))
    assert float(after) < 0.03 * float(before)


def test_coarse_grids_save_iterations(head: SimpleNamespace) -> None:
    space = OutsideSources.around(head.mask, head.grid)
    weight, field = space.into_box(head.mask), space.into_box(head.total)
    field = (field - field[weight > 0].mean()) * weight
    best = space.field(space.fit(field, weight, 100))
    left = []
    for start in (None, torch.zeros_like(field)):
        found = space.field(space.fit(field, weight, 8, start))
        left.append(float((weight * (found - best)).norm()))
    assert left[0] < 0.75 * left[1]


def test_a_wild_voxel_without_weight_changes_nothing_else(head: SimpleNamespace) -> None:
    place = tuple(n // 2 for n in head.grid.shape)
    weight = head.mask.float()
    weight[place] = 0
    wild = head.total.clone()
    wild[place] = 50.0
    one, other = (pdf(total, head.mask, head.grid, weight) for total in (head.total, wild))
    assert torch.allclose(one, other, atol=1e-6)


def test_the_stage_weighs_by_noise_and_cuts_what_is_lost(head: SimpleNamespace) -> None:
    total, noise = head.total.clone(), 0.001 * head.mask
    low = head.mask & (torch.arange(head.grid.shape[2]) < head.grid.shape[2] // 4)
    total[low] += torch.randn(int(low.sum()), generator=torch.Generator().manual_seed(0))
    noise[low] = 0.8
    runtime = Runtime()
    local = Pdf().apply(TotalField(head.grid, total), Mask(head.grid, head.mask), runtime, FieldNoise(head.grid, noise))
    assert not local.mask[low].any()
    assert nrmse(local.field_ppm, head.local, local.mask) < 50
    assert len(runtime.notes) == 1
    assert "cannot be trusted" in runtime.notes[0]
