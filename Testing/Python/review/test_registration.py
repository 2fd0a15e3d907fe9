"""Two visits of one head brought together."""

import numpy as np
from scipy.ndimage import affine_transform, gaussian_filter

from QSMReconLib.data import Grid
from QSMReconLib.review.registration import rigid


def test_a_known_movement_is_found():
    fixed_grid, moving_grid = Grid.centred((40, 44, 36), (3.0, 3.0, 3.0)), Grid.centred((44, 40, 40), (3.0, 3.0, 3.2))
    rng = np.random.default_rng(0)
    x, y, z = (np.indices(fixed_grid.shape)[i] * 3.0 + fixed_grid.affine[i][3] for i in range(3))
    head = (x / 45) ** 2 + (y / 55) ** 2 + (z / 42) ** 2 < 1
    fixed = head * (1 + gaussian_filter(rng.normal(size=head.shape), 2) * 8)
    angle = np.deg2rad(6)
    there = np.eye(4)
    there[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    there[:3, 3] = (4.0, -3.0, 5.0)
    # Places of the fixed head times `there` are its places at the second visit.
    pull = np.linalg.inv(fixed_grid.affine) @ np.linalg.inv(there) @ np.asarray(moving_grid.affine)
    moving = affine_transform(fixed, pull[:3, :3], pull[:3, 3], output_shape=moving_grid.shape, order=1)
    found = rigid(fixed, fixed_grid, moving, moving_grid)
    points = np.array([[0, 0, 0, 1], [30, 0, 0, 1], [0, 40, 0, 1], [0, 0, 30, 1.0]])
    assert np.abs((points @ (found @ there).T - points)[:, :3]).max() < 0.7
