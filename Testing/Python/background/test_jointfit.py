from itertools import pairwise
from types import SimpleNamespace

import torch

from QSMReconLib.background.jointfit import FreeBackground, joint_fit
from QSMReconLib.background.outside import OutsideSources
from QSMReconLib.background.pdf import pdf
from QSMReconLib.evaluation.metrics import nrmse


def test_gives_back_what_a_fit_of_outside_sources_alone_takes(head: SimpleNamespace) -> None:
    fit = joint_fit(head.total, head.mask, head.grid, regularisation=3e-4)
    alone = head.total - pdf(head.total, head.mask, head.grid)
    together = nrmse(head.total - fit.background_ppm, head.local, head.mask)
    assert together < 26
    assert together < 0.65 * nrmse(alone, head.local, head.mask)


def test_sources_outside_leave_next_to_nothing_inside(head: SimpleNamespace) -> None:
    fit = joint_fit(head.background, head.mask, head.grid)
    left = (head.background - fit.background_ppm)[head.mask]
    assert float(left.std()) < 0.02 * float(head.background[head.mask].std())


def test_scales_with_the_unit_of_the_field(head: SimpleNamespace) -> None:
    one = joint_fit(head.total, head.mask, head.grid, regularisation=1e-4, iterations=5)
    eight = joint_fit(8 * head.total, head.mask, head.grid, regularisation=8e-4, iterations=5)
    for found, expected in ((eight.chi_ppm, one.chi_ppm), (eight.background_ppm, one.background_ppm)):
        assert torch.allclose(found[head.mask] / 8, expected[head.mask], atol=1e-6)


def test_a_wild_voxel_without_weight_changes_nothing_else(head: SimpleNamespace) -> None:
    place = tuple(n // 2 for n in head.grid.shape)
    weight, wild = head.mask.float(), head.total.clone()
    weight[place], wild[place] = 0, 50.0
    one, other = (joint_fit(total, head.mask, head.grid, weight, iterations=5) for total in (head.total, wild))
    assert torch.allclose(one.background_ppm, other.background_ppm, atol=1e-5)


def test_the_steps_of_the_sources_are_those_of_least_squares(head: SimpleNamespace) -> None:
    """Each lessens the misfit, and it knows what it has left without computing it anew."""
    space = OutsideSources.around(head.mask, head.grid)
    weight, field = space.into_box(head.mask), space.into_box(head.background - head.background[head.mask].mean())
    data = FreeBackground(space, field * weight, weight, torch.zeros_like(field))
    left = data.count * (data.field - data.background)
    misfits = [float(left.norm())]
    for _ in range(4):
        data._move(left)
        misfits.append(float(left.norm()))
    assert all(after < before for before, after in pairwise(misfits))
    assert torch.allclose(data.background, space.field(data.sources), atol=1e-4)
    assert torch.allclose(left, data.count * (data.field - data.background), atol=1e-4)


def test_outside_sources_and_their_fields_are_adjoint(head: SimpleNamespace) -> None:
    space = OutsideSources.around(head.mask, head.grid)
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(space.sources.shape, generator=generator) for _ in range(2))
    forth = torch.dot(space.field(one).reshape(-1).double(), other.reshape(-1).double())
    back = torch.dot(one.reshape(-1).double(), (space.dipole(other) * space.sources).reshape(-1).double())
    assert abs(float(forth - back)) < 1e-4 * float(one.norm() * other.norm())
