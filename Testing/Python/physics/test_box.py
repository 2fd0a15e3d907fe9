import numpy as np
import pytest
import torch

from QSMReconLib.data import Grid
from QSMReconLib.errors import InputError
from QSMReconLib.physics.box import Box


def test_cuts_and_pastes_around_a_mask() -> None:
    mask = torch.zeros(7, 8, 9, dtype=torch.bool)
    mask[2, 3, 4] = mask[4, 3, 8] = True
    box = Box.around(mask)
    assert (box.corner, box.shape) == ((2, 3, 4), (3, 1, 5))
    volume = torch.rand(2, 7, 8, 9)
    pasted = box.paste(box.cut(volume))
    assert torch.equal(pasted[:, mask], volume[:, mask])
    assert int((pasted != 0).sum()) == 2 * 15


def test_its_grid_is_where_its_voxels_are() -> None:
    affine = np.array([[0, -2, 0.5, 10], [1, 0.3, 0, -4], [0.1, 0, 3, 7], [0, 0, 0, 1.0]])
    grid = Grid.from_affine((7, 8, 9), affine)
    box = Box((1, 2, 3), (4, 4, 4), grid.shape)
    part = box.grid(grid)
    assert part.shape == (4, 4, 4)
    assert part.b0_direction == grid.b0_direction
    assert np.allclose(np.asarray(part.affine) @ [1, 1, 1, 1], affine @ [2, 3, 4, 1])


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(InputError, match="mask is empty"):
        Box.around(torch.zeros(3, 3, 3))
