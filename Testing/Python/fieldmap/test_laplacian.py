from __future__ import annotations

import torch

from QSMReconLib.data import GreData, Grid, Mask
from QSMReconLib.fieldmap.laplacian import LaplacianUnwrap, laplacian_of_wrapped, laplacian_unwrap
from QSMReconLib.fieldmap.unwrap import wrap
from QSMReconLib.physics.fourier import Spectrum
from QSMReconLib.runtime import Runtime


def test_the_laplacian_of_a_wrapped_parabola_is_its_own() -> None:
    voxel = (0.5, 1.0, 2.0)
    x, y, z = torch.meshgrid(*[torch.arange(n) * v for n, v in zip((21, 15, 9), voxel, strict=True)], indexing="ij")
    true = 0.05 * x**2 - 0.03 * y**2 + 0.02 * z**2 + x
    mask = torch.ones_like(true)
    found = laplacian_of_wrapped(wrap(true), mask, Spectrum.of(true.shape, voxel))
    assert torch.allclose(found[1:-1, 1:-1, 1:-1], torch.tensor(2 * (0.05 - 0.03 + 0.02)), atol=1e-4)


def test_a_phase_that_ends_inside_the_mask_comes_back() -> None:
    """Where all sources lie inside there is nothing harmonic to lose but a little at the border of the box."""
    x, y, z = torch.meshgrid(*[torch.arange(n) - n // 2 for n in (41, 40, 37)], indexing="ij")
    true = 9 * torch.exp(-(x**2 + y**2 + 0.5 * z**2) / 60)
    mask = torch.ones_like(true)
    found = laplacian_unwrap(wrap(true), mask, Spectrum.of(true.shape, (1.0, 1.0, 1.0), 32.0))
    apart = found - true
    assert float(apart.std()) < 0.02 * float(true.max())


def test_every_echo_has_its_median_at_zero_and_nothing_outside() -> None:
    grid = Grid.centred((21, 24, 18), (1.0, 1.0, 1.5))
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in grid.shape], indexing="ij")
    mask = x**2 + y**2 + z**2 < 0.8
    phase = wrap(torch.stack([3 * x * y + 1, 6 * x * y + 1]))
    gre = GreData(grid, torch.ones_like(phase), phase, (0.01, 0.02), 3.0)
    made = LaplacianUnwrap().apply(gre, Mask(grid, mask), Runtime())
    assert made.echo_times_s == (0.01, 0.02)
    for echo in made.phase_rad:
        assert abs(float(echo[mask].median())) < 1e-5
        assert not echo[~mask].any()
    # Linear: twice the phase, twice the answer.
    assert torch.allclose(made.phase_rad[1], 2 * made.phase_rad[0], atol=1e-4)
