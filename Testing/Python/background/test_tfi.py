from types import SimpleNamespace

import torch

from QSMReconLib.background.lbv import interior_of
from QSMReconLib.background.tfi import Tfi
from QSMReconLib.background.tfifield import TfiField
from QSMReconLib.background.tfinet import TfiNet
from QSMReconLib.data import FieldNoise, Mask, TotalField
from QSMReconLib.evaluation.metrics import nrmse
from QSMReconLib.runtime import Runtime
from QSMReconLib.solvers.multigrid import laplacian


def test_the_field_and_chi_of_balls_in_the_field_of_air(head: SimpleNamespace) -> None:
    total, mask, noise = (
        TotalField(head.grid, head.total),
        Mask(head.grid, head.mask),
        FieldNoise(head.grid, 1e-3 * head.mask),
    )
    runtime = Runtime()
    local = TfiField(regularisation=3e-4).apply(total, mask, runtime, noise)
    assert bool((local.mask == head.mask).all())
    assert nrmse(local.field_ppm, head.local, head.mask) < 26
    assert runtime.notes == []
    chi = Tfi(regularisation=3e-4).apply(total, mask, runtime, noise)
    assert nrmse(chi.chi_ppm, head.chi, head.mask) < 35


def test_lost_regions_go_and_holes_stay(head: SimpleNamespace) -> None:
    total, noise = head.total.clone(), 0.001 * head.mask
    low = head.mask.clone()
    low[..., head.grid.shape[2] // 4 :] = False
    hole = tuple(slice(n // 2 - 1, n // 2 + 1) for n in head.grid.shape)
    for place in (low, hole):
        total[place] += 5.0
        noise[place] = 0.8
    runtime = Runtime()
    given = TotalField(head.grid, total), Mask(head.grid, head.mask), runtime, FieldNoise(head.grid, noise)
    local = TfiField(regularisation=3e-4).apply(*given)
    assert not local.mask[low].any()
    assert local.mask[hole].all()
    around = local.mask.clone()
    around[hole] = False
    assert nrmse(local.field_ppm, head.local, around) < 30
    chi = Tfi(iterations=3).apply(*given)
    assert bool((chi.mask == local.mask).all())
    assert not chi.chi_ppm[~chi.mask].any()
    assert [("cannot be trusted" in note) for note in runtime.notes] == [True, True]


def test_the_network_takes_off_a_smooth_field_and_says_how_much(head: SimpleNamespace) -> None:
    runtime = Runtime()
    given = (
        TotalField(head.grid, head.total),
        Mask(head.grid, head.mask),
        runtime,
        FieldNoise(head.grid, 1e-3 * head.mask),
    )
    without, with_network = TfiField().apply(*given), TfiNet().apply(*given)
    taken = without.field_ppm - with_network.field_ppm
    inside = interior_of(head.mask)
    assert 0.01 < float(taken.norm() / without.field_ppm.norm()) < 1.0
    assert torch.equal(with_network.mask, without.mask)
    curved = laplacian(taken, head.grid.voxel_size_mm)[inside]
    assert float(curved.norm()) < 0.2 * float(laplacian(without.field_ppm, head.grid.voxel_size_mm)[inside].norm())
    *beyond, took = runtime.notes
    assert took.startswith("tfinet took")
    # Voxels of 1.5 mm are not among what it was trained on.
    assert all(note.startswith("tfinet knows") for note in beyond)
    assert any("finest edge" in note for note in beyond) == (min(head.grid.voxel_size_mm) > 1.33)
