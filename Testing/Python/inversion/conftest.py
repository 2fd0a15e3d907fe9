"""Boxes of susceptibility under an oblique B0, in voxels of three sizes, that inversions are to find."""

from __future__ import annotations

import pytest
import torch

from QSMReconLib.data import Grid
from QSMReconLib.physics.dipole import Dipole

GRID = Grid.centred((30, 34, 27), (1.0, 0.9, 1.4), (0.2, -0.3, 0.93))


@pytest.fixture(scope="module")
def dipole() -> Dipole:
    return Dipole.of(GRID, padding_mm=16)


@pytest.fixture(scope="module")
def mask() -> torch.Tensor:
    mask = torch.zeros(GRID.shape, dtype=torch.bool)
    mask[4:26, 5:29, 4:23] = True
    return mask


@pytest.fixture(scope="module")
def chi() -> torch.Tensor:
    """Boxes of either sign, inside the mask."""
    chi = torch.zeros(GRID.shape)
    chi[8:14, 10:16, 8:12] = 0.1
    chi[16:22, 18:25, 10:18] = -0.06
    chi[10:12, 22:24, 14:16] = 0.5
    return chi
