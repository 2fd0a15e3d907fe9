"""The closed form solves its normal equations."""

from __future__ import annotations

import pytest
import torch

from QSMReconLib.data import Grid
from QSMReconLib.inversion.closedform import closed_form_l2
from QSMReconLib.physics.differences import divergence, gradient
from QSMReconLib.physics.dipole import Dipole

GRID = Grid.centred((20, 18, 16), (1.0, 1.2, 2.0), (0.3, 0.1, 0.9))


@pytest.mark.parametrize("gradients", [True, False])
def test_the_gradient_of_its_cost_vanishes(gradients: bool) -> None:
    dipole = Dipole.of(GRID, padding_mm=0)
    assert dipole.spectrum.padded == GRID.shape, "periodic, so that the penalty can be written in space"
    field = dipole.field(torch.randn(GRID.shape, generator=torch.Generator().manual_seed(0)))
    weight = 0.02
    chi = closed_form_l2(field, dipole, weight, gradients)
    penalty = -divergence(gradient(chi, GRID.voxel_size_mm), GRID.voxel_size_mm) if gradients else chi
    slope = dipole.field(dipole.field(chi) - field) + weight * penalty
    assert float((slope - slope.mean()).norm()) < 1e-4 * float(dipole.field(field).norm())


def test_without_a_penalty_it_inverts_all_but_the_cone() -> None:
    dipole = Dipole.of(GRID, padding_mm=0)
    truth = torch.randn(GRID.shape, generator=torch.Generator().manual_seed(1))
    field = dipole.field(truth)
    again = dipole.field(closed_form_l2(field, dipole, 0.0))
    assert torch.allclose(again, field, atol=1e-4)
