from itertools import permutations, product

import nibabel
import numpy as np
import pytest
import torch
from nibabel.orientations import apply_orientation, inv_ornt_aff

from QSMReconLib.data import Grid
from QSMReconLib.networks.turn import Turn

ORDERS = [np.column_stack([order, signs]) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


@pytest.mark.parametrize("number", range(48))
def test_a_head_stored_in_any_order_is_seen_upright(number: int) -> None:
    order = ORDERS[number]
    affine = nibabel.affines.from_matvec(np.diag([1.0, 2.0, 3.0]), [5.0, -7.0, 11.0])
    upright = Grid.from_affine((4, 5, 6), affine, (0.1, -0.3, 0.9))
    values = np.random.default_rng(number).normal(size=upright.shape)
    stored = apply_orientation(values, order)
    along = np.zeros(3)
    for axis, (to, sign) in enumerate(order):
        along[int(to)] = sign * upright.b0_direction[axis]
    grid = Grid.from_affine(stored.shape, affine @ inv_ornt_aff(order, values.shape), tuple(along))
    turn = Turn.upright(grid)
    volume = torch.from_numpy(stored.copy())
    assert torch.equal(turn.there(volume), torch.from_numpy(values))
    assert torch.equal(turn.back(turn.there(volume)), volume)
    seen = turn.grid(grid)
    assert seen.shape == upright.shape
    assert seen.voxel_size_mm == pytest.approx(upright.voxel_size_mm)
    assert seen.b0_direction == pytest.approx(upright.b0_direction)


def test_for_physics_alone_b0_is_last_and_forwards() -> None:
    grid = Grid.centred((4, 5, 6), (1.0, 2.0, 3.0), (-0.8, 0.1, 0.5))
    assert Turn.of(grid).grid(grid).b0_direction == pytest.approx((0.1054, 0.5270, 0.8433), abs=1e-3)
