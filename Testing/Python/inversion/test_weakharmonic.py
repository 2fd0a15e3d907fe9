"""WH-QSM: its operators, and that a harmonic remainder stays out of χ."""

from __future__ import annotations

import torch

from QSMReconLib.data import Grid, LocalField
from QSMReconLib.inversion.fidelity import quadratic
from QSMReconLib.inversion.nltv import NlTv
from QSMReconLib.inversion.weakharmonic import HarmonicField, WeakHarmonic, surrounded
from QSMReconLib.physics.dipole import Dipole
from QSMReconLib.runtime import Runtime

GRID = Grid.centred((30, 34, 27), (1.0, 0.9, 1.4), (0.2, -0.3, 0.93))


def error(found: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor) -> float:
    one, other = found[mask] - found[mask].mean(), truth[mask] - truth[mask].mean()
    return float((one - other).norm() / other.norm())


def harmonic() -> torch.Tensor:
    """A ramp and a saddle, in mm: ∇² is 0."""
    x, y, z = torch.meshgrid(
        *[(torch.arange(n) - n / 2) * v for n, v in zip(GRID.shape, GRID.voxel_size_mm, strict=True)], indexing="ij"
    )
    return 0.002 * x + 0.0002 * (y**2 - z**2)


def test_surrounded_is_the_mask_without_its_border_and_that_of_the_box(mask: torch.Tensor) -> None:
    inner = surrounded(mask)
    assert inner[5:25, 6:28, 5:22].all()
    assert int(inner.sum()) == 20 * 22 * 17
    assert int(surrounded(torch.ones(5, 6, 7, dtype=torch.bool)).sum()) == 3 * 4 * 5


def test_what_is_harmonic_is_found_whole(mask: torch.Tensor) -> None:
    """Without χ, the splitting alone must find h, whatever it is outside."""
    spectrum = Dipole.of(GRID, padding_mm=16).spectrum.uncut
    measured, weight = harmonic() * mask, mask.float()
    term = HarmonicField(measured, quadratic(measured, weight, 0.1), 0.1, inside=mask, spectrum=spectrum, weight=150.0)
    for _ in range(60):
        term.step(torch.zeros(spectrum.padded))
    found = term.harmonic[:30, :34, :27]
    assert float((found - measured)[mask].norm() / measured[mask].norm()) < 0.05


def test_a_harmonic_remainder_stays_out_of_chi(mask: torch.Tensor, chi: torch.Tensor) -> None:
    field = Dipole.of(GRID).field(chi)
    clean, spoiled = (LocalField(GRID, (field + h) * mask, mask) for h in (0.0, harmonic()))
    options = {"regularisation": 2e-5, "tolerance": 2e-3}
    plain, weak = (stage.with_options(options).apply(spoiled, Runtime()).chi_ppm for stage in (NlTv, WeakHarmonic))
    assert error(weak, chi, mask) < 0.5 * error(plain, chi, mask)
    alone = WeakHarmonic.with_options(options).apply(clean, Runtime()).chi_ppm
    assert error(alone, chi, mask) < 0.15
