"""The dipole and the simplest inversion against bodies whose field is known."""

import math

import pytest
import torch

from QSMReconLib.data import Grid
from QSMReconLib.inversion.tkd import tkd
from QSMReconLib.phantoms.closed_forms import cylinder, sphere
from QSMReconLib.physics.dipole import Dipole

OBLIQUE = (0.3, -0.5, math.sqrt(1 - 0.34))


def apart(ours, theirs, where):
    return float((ours - theirs)[where].norm() / theirs[where].norm())


def distance(grid, centre_mm=(0.0, 0.0, 0.0), axis=(0.0, 0.0, 0.0)):
    at = [
        (torch.arange(n) - (n - 1) / 2) * v - c
        for n, v, c in zip(grid.shape, grid.voxel_size_mm, centre_mm, strict=True)
    ]
    x, y, z = torch.meshgrid(*at, indexing="ij")
    along = axis[0] * x + axis[1] * y + axis[2] * z
    return (x**2 + y**2 + z**2 - along**2).sqrt()


@pytest.mark.parametrize(
    ("shape", "voxel", "b0"),
    [
        ((48, 48, 48), (1.0, 1.0, 1.0), (0.0, 0.0, 1.0)),
        ((47, 49, 45), (1.0, 1.0, 1.0), (1.0, 0.0, 0.0)),
        ((48, 47, 48), (1.0, 1.0, 1.0), OBLIQUE),
        ((53, 54, 25), (0.9, 0.9, 2.0), (0.0, 0.0, 1.0)),
        ((54, 27, 53), (0.9, 1.8, 0.9), OBLIQUE),
    ],
)
def test_field_of_a_sphere(shape, voxel, b0):
    grid = Grid.centred(shape, voxel, b0)
    centre = (1.3, -0.7, 0.4)
    # A soft edge has little at the Nyquist frequency, where the kernel of an oblique B0 jumps and would ring.
    chi, field = sphere(grid, 8.0, -0.8, centre, edge_mm=2 * max(voxel), samples=3)
    ours = Dipole.of(grid, padding_mm=64.0).field(chi)
    r = distance(grid, centre)
    assert apart(ours, field, r > 8.0 + max(voxel)) < 0.02
    assert apart(ours, field, r > 0) < 0.04
    assert float(ours[r < 8.0 - 2 * max(voxel)].abs().mean()) < 0.01 * 0.8
    assert float(field[r < 8.0 - 2 * max(voxel)].abs().max()) < 1e-6


def test_sphere_by_hand():
    grid = Grid.centred((41, 41, 41))
    chi, field = sphere(grid, 5.0, 3.0)
    assert float(chi.double().sum()) == pytest.approx(3.0 * 4 / 3 * math.pi * 125, rel=0.01)
    assert float(chi[20, 20, 20]) == 3.0
    # On B0's axis two radii away: 3/3·(5/10)³·2; on the equator minus half of that.
    assert float(field[20, 20, 30]) == pytest.approx(0.25, rel=0.02)
    assert float(field[30, 20, 20]) == pytest.approx(-0.125, rel=0.02)


def test_a_soft_edge_is_a_mean_of_sharp_ones():
    grid = Grid.centred((15, 16, 14), (1.0, 1.1, 0.9), OBLIQUE)
    for body in (sphere, cylinder):
        soft = body(grid, 5.0, 1.0, edge_mm=2.0)
        sharp = [body(grid, 4.0 + (i + 0.5) / 20, 1.0) for i in range(40)]
        for ours, mean in zip(soft, [torch.stack(v).mean(0) for v in zip(*sharp, strict=True)], strict=True):
            assert torch.allclose(ours, mean, atol=3e-3)


@pytest.mark.parametrize(
    ("axis", "b0"),
    [
        ((0.0, 0.0, 1.0), (0.0, 0.0, 1.0)),
        ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0)),
        ((0.0, 0.0, 1.0), OBLIQUE),
    ],
)
def test_field_of_a_cylinder(axis, b0):
    # Without padding along its axis the cylinder goes on for ever.
    grid = Grid.centred((200, 192, 8), (0.8, 0.8, 1.6), b0)
    chi, field = cylinder(grid, 5.0, 0.4, axis, (0.3, -1.1, 0.0), edge_mm=1.6, samples=3)
    ours = Dipole.of(grid, padding_mm=0.0).field(chi)
    rho = distance(grid, (0.3, -1.1, 0.0), axis)
    inside, near = rho < 4.0, (rho > 6.2) & (rho < 20)
    sine_squared = 1 - b0[2] ** 2
    # A periodic world of cylinders has no mean field; one alone has. It is the share of the volume they fill.
    offset = float((ours - field)[rho < 20].mean())
    assert abs(offset) < 0.4 * 25 * math.pi / (160 * 153.6)
    assert float((ours - offset)[inside].mean()) == pytest.approx(0.4 * (3 * b0[2] ** 2 - 1) / 6, rel=0.02)
    if sine_squared > 0:
        assert apart(ours - offset, field, near) < 0.02
    else:
        assert float((ours - offset)[near].abs().max()) < 1e-3


def test_field_of_a_tilted_cylinder():
    grid = Grid.centred((40, 40, 120), (1.0, 1.0, 2.0), (0.0, 0.6, 0.8))
    axis = (0.0, math.sin(0.15), math.cos(0.15))
    chi, field = cylinder(grid, 3.5, 1.0, axis, edge_mm=2.0)
    ours = Dipole.of(grid, padding_mm=120.0).field(chi)
    rho = distance(grid, axis=axis)
    middle = torch.zeros(grid.shape, dtype=torch.bool)
    middle[:, :, 45:75] = True
    # The ends are far: what they add is even over the middle.
    near = middle & (rho > 6.0) & (rho < 18)
    offset = float((ours - field)[near].mean())
    assert abs(offset) < 1e-3
    assert apart(ours - offset, field, near) < 0.02
    cosine = 0.6 * axis[1] + 0.8 * axis[2]
    assert float(ours[middle & (rho < 1.5)].mean()) == pytest.approx((3 * cosine**2 - 1) / 6, rel=0.02)


@pytest.mark.parametrize("chi_ppm", [0.5, -2.0])
def test_chi_comes_back_with_its_sign_and_scale(chi_ppm):
    grid = Grid.centred((48, 47, 40), (1.0, 1.0, 1.2), OBLIQUE)
    _, field = sphere(grid, 7.0, chi_ppm)
    chi = tkd(field, Dipole.of(grid), threshold=0.1, correct=True)
    r = distance(grid)
    contrast = float(chi[r < 4.5].mean() - chi[(r > 10) & (r < 14)].mean())
    assert contrast == pytest.approx(chi_ppm, rel=0.05)
