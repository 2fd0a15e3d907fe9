from itertools import product
from math import pi

import pytest
import torch

from QSMReconLib.data import Grid
from QSMReconLib.errors import InputError
from QSMReconLib.phantoms.closed_forms import sphere
from QSMReconLib.physics.smv import SphericalMean, sphere_kernel

VOXELS = [(1.0, 1.0, 1.0), (0.75, 0.75, 3.0), (1.5, 1.0, 0.6)]


@pytest.mark.parametrize("voxel", VOXELS)
@pytest.mark.parametrize("radius", [3.0, 6.0])
def test_weighs_the_volume_of_a_sphere(voxel: tuple[float, float, float], radius: float) -> None:
    kernel = sphere_kernel(radius, voxel)
    assert float(kernel.sum()) == pytest.approx(1.0)
    assert torch.equal(kernel, kernel.flip((0, 1, 2)))
    # A voxel wholly inside weighs its share of the volume; the one above the middle is not corrected.
    whole = voxel[0] * voxel[1] * voxel[2] / (4 / 3 * pi * radius**3)
    x, y, z = (n // 2 for n in kernel.shape)
    assert float(kernel[x + 1, y + 1, z]) == pytest.approx(whole, rel=0.02)


@pytest.mark.parametrize("voxel", VOXELS)
def test_means_of_harmonic_polynomials_are_their_values(voxel: tuple[float, float, float]) -> None:
    kernel = sphere_kernel(4.0, voxel)
    axes = [(torch.arange(n, dtype=torch.float64) - n // 2) * v for n, v in zip(kernel.shape, voxel, strict=True)]
    at = [2.0, -1.0, 3.0]
    x, y, z = (a + axis for a, axis in zip(at, torch.meshgrid(*axes, indexing="ij"), strict=True))
    for polynomial in (x, x**2 - y**2, 2 * z**2 - x**2 - y**2, x * y, x * y * z, z**3 - 3 * z * x**2):
        middle = float(polynomial[tuple(n // 2 for n in kernel.shape)])
        assert float((kernel * polynomial).sum()) == pytest.approx(middle, abs=1e-9)


@pytest.mark.parametrize("voxel", VOXELS)
def test_the_field_of_a_distant_sphere_deviates_little_from_its_means(voxel: tuple[float, float, float]) -> None:
    grid = Grid.centred((32, 32, 24), voxel, (0.2, 0.3, 0.93))
    _, field = sphere(grid, 4.0, 9.0, centre_mm=(0, 0, -12 * voxel[2] - 10), samples=3)
    operator = SphericalMean.of(grid.shape, voxel, 4.0)
    inside = operator.fits(torch.ones(grid.shape))
    deviation = operator.deviation(field)[inside]
    assert inside.sum() > 100
    assert float(deviation.abs().max()) < 0.01 * float((field[inside] - field[inside].mean()).abs().max())


def test_fits_where_no_touched_voxel_is_outside() -> None:
    mask = torch.rand(14, 13, 12, generator=torch.Generator().manual_seed(0)) > 0.01
    operator = SphericalMean.of(mask.shape, (1.0, 1.2, 2.0), 2.5)
    fits = operator.fits(mask)
    kernel = sphere_kernel(2.5, (1.0, 1.2, 2.0)) != 0
    reach = [n // 2 for n in kernel.shape]
    padded = torch.nn.functional.pad(mask, [r for n in reversed(reach) for r in (n, n)])
    for place in product(*(range(n) for n in mask.shape)):
        window = padded[tuple(slice(p, p + n) for p, n in zip(place, kernel.shape, strict=True))]
        assert bool(fits[place]) == bool(window[kernel].all())
    assert fits.any()


def test_is_its_own_adjoint() -> None:
    operator = SphericalMean.of((9, 11, 10), (1.0, 1.0, 2.0), 3.0)
    one, other = torch.randn(2, 9, 11, 10, generator=torch.Generator().manual_seed(2))
    left, right = (operator(one) * other).sum(), (one * operator(other)).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-4)


def test_a_sphere_smaller_than_a_voxel_is_refused() -> None:
    with pytest.raises(InputError, match="larger radius"):
        sphere_kernel(2.0, (1.0, 1.0, 3.0))
