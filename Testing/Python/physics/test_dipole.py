"""The dipole as an operator: self-adjoint, blind to the axes' order, right on any grid."""

from __future__ import annotations

from itertools import permutations, product

import pytest
import torch

from QSMReconLib.data import Grid
from QSMReconLib.physics.dipole import Dipole
from QSMReconLib.physics.fourier import Spectrum, smooth_size

OBLIQUE = (0.3, -0.4, 0.86)
GRIDS = [
    Grid.centred((24, 24, 24)),
    Grid.centred((23, 18, 15), (0.7, 0.8, 2.0), OBLIQUE),
    Grid.centred((16, 21, 20), (1.0, 0.5, 3.0), (1.0, 0.0, 0.0)),
]


def noise(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: str(grid.shape))
def test_is_self_adjoint(grid: Grid) -> None:
    dipole = Dipole.of(grid)
    x, y = noise(grid.shape, 1), noise(grid.shape, 2)
    left, right = (dipole.field(x).double() * y).sum(), (x.double() * dipole.field(y)).sum()
    assert abs(left - right) < 1e-5 * x.norm() * y.norm()


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_all_48_axis_orders_give_the_same_field(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    shape, voxel = (14, 12, 10), (0.8, 1.0, 2.0)
    backwards = [axis for axis in range(3) if signs[axis] < 0]

    def turn(volume: torch.Tensor) -> torch.Tensor:
        return volume.permute(*order).flip(backwards)

    def reorder(values: tuple[float, ...]) -> tuple[float, float, float]:
        return values[order[0]], values[order[1]], values[order[2]]

    bx, by, bz = (sign * b for sign, b in zip(signs, reorder(OBLIQUE), strict=True))
    nx, ny, nz = turn(noise(shape, 3)).shape
    there = Grid.centred((nx, ny, nz), reorder(voxel), (bx, by, bz))
    here = Grid.centred(shape, voxel, OBLIQUE)
    chi = noise(shape, 3)
    expected = turn(Dipole.of(here, padding_mm=0).field(chi))
    assert torch.allclose(Dipole.of(there, padding_mm=0).field(turn(chi)), expected, atol=1e-5)


def test_kernel_has_its_closed_form_values() -> None:
    kernel = Dipole.of(Grid.centred((20, 20, 20)), padding_mm=0).kernel
    assert kernel[0, 0, 0] == 0
    assert kernel[5, 0, 0] == pytest.approx(1 / 3)
    assert kernel[0, 0, 5] == pytest.approx(-2 / 3)
    assert kernel[4, 0, 4] == pytest.approx(1 / 3 - 1 / 2, abs=1e-6)


def test_kernel_does_not_depend_on_the_sign_of_b0() -> None:
    shape, voxel = (12, 14, 11), (1.0, 2.0, 1.5)
    one, other = (Dipole.of(Grid.centred(shape, voxel, b0)).kernel for b0 in (OBLIQUE, (-0.3, 0.4, -0.86)))
    assert torch.equal(one, other)


def test_spectrum_returns_what_it_was_given_and_its_mean() -> None:
    spectrum = Spectrum.of((7, 10, 5), (1, 1, 1), padding_mm=4)
    volume = noise((7, 10, 5), 4)
    assert torch.allclose(spectrum.from_k(spectrum.to_k(volume)), volume, atol=1e-6)
    power = spectrum.to_k(volume).abs() ** 2
    assert spectrum.mean(power) == pytest.approx(float((volume**2).sum()), rel=1e-5)


@pytest.mark.parametrize(("n", "expected"), [(1, 2), (7, 8), (11, 12), (13, 16), (97, 100), (121, 128), (160, 160)])
def test_smooth_sizes_are_even_and_have_small_factors(n: int, expected: int) -> None:
    assert smooth_size(n) == expected


def test_field_and_spread_are_adjoint() -> None:
    dipole = Dipole.of(Grid.centred((9, 8, 7), (1.0, 1.2, 2.0), (0.2, -0.3, 0.93)), padding_mm=5)
    generator = torch.Generator().manual_seed(0)
    chi, field = torch.randn(dipole.spectrum.padded, generator=generator), torch.randn(9, 8, 7, generator=generator)
    assert float((dipole.field(chi) * field).sum()) == pytest.approx(
        float((chi * dipole.spread(field)).sum()), rel=1e-4
    )


def test_the_inner_product_in_k_is_that_in_space() -> None:
    for shape in ((6, 5, 8), (4, 6, 7)):
        whole = Spectrum(shape, shape, (1.0, 1.0, 1.0))
        one, other = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
        found = whole.inner(whole.to_k(one), whole.to_k(other)) / one.numel()
        assert found == pytest.approx(float((one * other).sum()), rel=1e-3)
