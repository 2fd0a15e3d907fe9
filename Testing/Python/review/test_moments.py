"""The moment of a source from the field around it, against closed forms."""

import numpy as np
import pytest

from QSMReconLib.data import Grid
from QSMReconLib.phantoms.closed_forms import sphere
from QSMReconLib.review.moments import dipole_of_unit_moment, fit_moment


def around(grid, centre, low, high):
    at = [(np.arange(n) - c) * v for n, c, v in zip(grid.shape, centre, grid.voxel_size_mm, strict=True)]
    r = np.sqrt(at[0][:, None, None] ** 2 + at[1][None, :, None] ** 2 + at[2][None, None, :] ** 2)
    return (r >= low) & (r <= high)


@pytest.mark.parametrize(
    ("voxel", "b0", "radius", "off"),
    [
        ((1.0, 1.0, 1.0), (0.0, 0.0, 1.0), 2.0, (0.0, 0.0, 0.0)),
        ((0.75, 0.75, 3.0), (0.0, 0.26, 0.966), 2.0, (0.2, -0.1, 0.7)),
        ((0.6, 0.8, 2.0), (0.5, 0.0, 0.866), 1.5, (0.0, 0.3, -0.4)),
    ],
)
def test_a_ball_on_a_ground_that_background_removal_left(voxel, b0, radius, off):
    shape = tuple(2 * round(14 / v) + 1 for v in voxel)
    grid = Grid.centred(shape, voxel, b0)
    field = sphere(grid, radius, -0.9, off, samples=6)[1].numpy()
    x, y, z = (np.arange(n) - (n - 1) / 2 for n in shape)
    ground = (
        0.002 * x[:, None, None] + 1e-4 * (z[None, None, :] ** 2) - 0.05 + 1e-4 * x[:, None, None] * y[None, :, None]
    )
    rng = np.random.default_rng(0)
    noisy = (field + ground + rng.normal(0, 0.002, shape)).astype(np.float32)
    middle = [(n - 1) / 2 for n in shape]
    # The middle is that of the grid: by how much the source lies off it is found out.
    found = fit_moment(
        noisy, around(grid, middle, radius + 1.0, 9.0), None, middle, [], radius, voxel, grid.b0_direction
    )
    true = -0.9 * 4 / 3 * np.pi * radius**3
    assert found.value == pytest.approx(true, rel=0.05)
    assert abs(found.value - true) < 5 * found.error
    assert found.error < 0.05 * abs(true)


def test_neighbours_and_untrusted_voxels_do_not_bend_it():
    grid = Grid.centred((33, 33, 33), (1.0, 1.0, 1.0), (0.0, 0.0, 1.0))
    field = (sphere(grid, 2.0, 0.8)[1] + sphere(grid, 2.5, -1.2, (0.0, 10.0, 0.0))[1]).numpy()
    usable = around(grid, (16, 16, 16), 3.0, 9.0) & ~around(grid, (16, 26, 16), 0.0, 4.0)
    noise = np.full(grid.shape, 0.002, dtype=np.float32)
    wild = np.random.default_rng(1).uniform(size=grid.shape) < 0.05
    field[wild], noise[wild] = 2.0, 5.0
    found = fit_moment(field, usable, noise, (16, 16, 16), [(16, 26, 16)], 2.0, (1.0, 1.0, 1.0), grid.b0_direction)
    assert found.value == pytest.approx(0.8 * 4 / 3 * np.pi * 8, rel=0.05)
    nothing = fit_moment(field, wild & False, noise, (16, 16, 16), [], 2.0, (1.0, 1.0, 1.0), grid.b0_direction)
    assert np.isnan(nothing.value)


def test_the_slope_is_that_of_the_field():
    at = np.argwhere(np.ones((9, 9, 5)))
    at = at[np.abs(at - (4, 4, 2)).max(1) > 2]
    centre, step = np.array([4.0, 4.0, 2.0]), 1e-4
    size, b0 = np.array([0.8, 1.0, 3.0]), (0.0, 0.6, 0.8)
    _, slope = dipole_of_unit_moment(centre, at, size, b0, 0.5)
    for axis in range(3):
        shift = np.eye(3)[axis] * step
        ends = [dipole_of_unit_moment(centre + s * shift / size, at, size, b0, 0.5)[0] for s in (1, -1)]
        assert np.allclose(slope[:, axis], (ends[0] - ends[1]) / (2 * step), rtol=1e-3, atol=1e-8)
