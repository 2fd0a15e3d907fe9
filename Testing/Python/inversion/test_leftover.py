from __future__ import annotations

from dataclasses import replace

import torch

from QSMReconLib.data import Grid, LocalField
from QSMReconLib.inversion.leftover import without_outside
from QSMReconLib.inversion.qsmnet import QsmNet
from QSMReconLib.physics.dipole import Dipole
from QSMReconLib.runtime import Runtime

GRID = Grid.centred((48, 44, 40))


def brain() -> tuple[LocalField, torch.Tensor]:
    """The local field of a few blobs in an ellipsoid, and what a source just outside would make in it."""
    lines = [torch.arange(n) - (n - 1) / 2 for n in GRID.shape]
    x, y, z = torch.meshgrid(*lines, indexing="ij")
    mask = (x / 19) ** 2 + (y / 17) ** 2 + (z / 15) ** 2 < 1
    chi = 0.08 * ((x - 5) ** 2 + y**2 + z**2 < 20) - 0.05 * ((x + 6) ** 2 + (y - 4) ** 2 + z**2 < 25)
    air = 1.0 * (x**2 + y**2 + (z + 18) ** 2 < 4) * ~mask
    dipole = Dipole.of(GRID)
    local = LocalField(GRID, dipole.field(chi * mask) * mask, mask.float())
    return local, dipole.field(air) * mask


def test_most_of_what_comes_from_outside_goes_and_little_else() -> None:
    local, left = brain()
    field = without_outside(replace(local, field_ppm=local.field_ppm + left), None)
    assert float((field - local.field_ppm).norm()) < 0.4 * float(left.norm())
    assert float((without_outside(local, None) - local.field_ppm).norm()) < 0.1 * float(local.field_ppm.norm())
    assert not field[local.mask == 0].any()


def test_the_network_takes_it_off_where_a_background_was_removed() -> None:
    local, left = brain()
    spoilt = replace(local, field_ppm=local.field_ppm + left)
    with torch.inference_mode():
        removed, plain = Runtime(), Runtime()
        found = QsmNet().apply(replace(spoilt, harmonic_ppm=1e-3), removed)
        (as_it_is,) = (QsmNet().apply(spoilt, plain),)
        forced = QsmNet(leftover="on").apply(spoilt, Runtime())
        kept = QsmNet(leftover="off").apply(replace(spoilt, harmonic_ppm=1e-3), Runtime())
    assert any("taken off" in note for note in removed.notes)
    assert not any("taken off" in note for note in plain.notes)
    assert torch.equal(found.chi_ppm, forced.chi_ppm)
    assert torch.equal(as_it_is.chi_ppm, kept.chi_ppm)
