from __future__ import annotations

import pytest
import torch
from scipy.ndimage import distance_transform_edt

from QSMReconLib.fieldmap.smoothphase import polynomial_phase, smooth_phase
from QSMReconLib.fieldmap.unwrap import wrap

SHAPE, VOXEL = (56, 64, 48), (2.0, 2.0, 2.5)


def place() -> tuple[torch.Tensor, ...]:
    """Places in mm from the middle, and an ellipsoid."""
    lines = [(torch.arange(n) - (n - 1) / 2) * v for n, v in zip(SHAPE, VOXEL, strict=True)]
    x, y, z = torch.meshgrid(*lines, indexing="ij")
    return x, y, z, (x / 50) ** 2 + (y / 58) ** 2 + (z / 54) ** 2 < 1


def rough(phase: torch.Tensor, inside: torch.Tensor, noise: float = 0.1) -> torch.Tensor:
    """The signal of such a phase, with noise, inside."""
    noisy = torch.randn(2, *phase.shape, generator=torch.Generator().manual_seed(0)) * noise
    return (torch.polar(torch.ones_like(phase), phase) + torch.complex(noisy[0], noisy[1])) * inside


def test_a_polynomial_is_found_although_it_wraps() -> None:
    x, y, z, inside = place()
    phase = 2.0 + 0.06 * x - 0.02 * z + 1e-3 * (x * y - z**2) + 1e-5 * y**3 + 2e-7 * x**2 * z**2
    assert float(phase[inside].max() - phase[inside].min()) > 8
    found = polynomial_phase(rough(phase, inside))
    assert float(wrap(found - phase)[inside].abs().max()) < 0.02


def test_the_phase_at_the_surface_is_not_that_of_the_middle() -> None:
    """Half a percent of a radian at every echo is worth a ppb: the layers of the surface must not all be off."""
    x, y, z, inside = place()
    phase = 3e-4 * (x**2 + y**2 + z**2) + 0.5 * torch.sin(x / 30) * torch.cos(y / 35 + 0.5)
    apart = wrap(smooth_phase(rough(phase, inside), VOXEL, 10.0) - phase)
    depth = torch.as_tensor(distance_transform_edt(inside.numpy(), sampling=VOXEL))
    for low, high in ((0, 2.1), (2.1, 4.2), (4.2, 8), (8, 99)):
        layer = apart[inside & (depth > low) & (depth <= high)]
        assert abs(float(layer.mean())) < 0.005
        assert float(layer.std()) < 0.05


def test_a_phase_with_a_pole_is_left_to_the_kernel() -> None:
    x, y, _, inside = place()
    assert not polynomial_phase(rough(3 * torch.atan2(y, x), inside)).any()


@pytest.mark.parametrize("shape", [(40, 44, 1), (1, 30, 30), (5, 5, 5)])
def test_slices_and_small_volumes_will_do(shape: tuple[int, int, int]) -> None:
    ramp = 0.1 * torch.arange(shape[1])[None, :, None].expand(shape)
    found = smooth_phase(torch.polar(torch.ones(shape), ramp), (1.0, 1.0, 1.0), 5.0)
    assert float(wrap(found - ramp).abs().max()) < 1e-3


def test_nothing_has_no_phase() -> None:
    assert not smooth_phase(torch.zeros(6, 6, 6, dtype=torch.complex64), (1.0, 1.0, 1.0), 5.0).any()
