"""Which voxels are which lesion."""

import numpy as np
import pytest

from QSMReconLib.data import Grid
from QSMReconLib.errors import InputError
from QSMReconLib.review.lesions import from_seeds, from_segments, shape_of, split
from QSMReconLib.review.proposals import Proposals, propose

GRID = Grid.centred((30, 28, 26), (1.0, 1.0, 1.0))


def blob(centre, radius, grid=GRID):
    x, y, z = np.indices(grid.shape)
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 <= radius**2


def test_a_mask_is_split_and_numbered_by_position():
    low, high, right = blob((8, 8, 5), 2), blob((8, 8, 20), 2), blob((22, 8, 20), 2)
    found = split((low | high | right).astype(int), GRID)
    assert set(found.segments) == {1, 2, 3}
    # From the top down; at one height and depth, the right one first.
    assert (found.numbers[22, 8, 20], found.numbers[8, 8, 20], found.numbers[8, 8, 5]) == (1, 2, 3)
    assert (found.numbers > 0).sum() == (low | high | right).sum()
    again = split((right | low | high) * 7, GRID)
    assert np.array_equal(again.numbers, found.numbers)
    assert again.segments == {1: 7, 2: 7, 3: 7}


def test_labels_keep_their_numbers_and_lose_no_piece():
    labels = 3 * blob((8, 8, 5), 3) + 5 * blob((20, 8, 20), 2)
    labels[25, 20, 12] = 3
    found = split(labels, GRID)
    assert (found.numbers[8, 8, 5], found.numbers[20, 8, 20], found.numbers[25, 20, 12]) == (3, 5, 6)
    assert found.segments == {3: 3, 5: 5, 6: 3}
    assert any("not connected" in remark for remark in found.remarks)
    assert any("Lesion 6 is tiny" in remark for remark in found.remarks)


def test_diagonal_neighbours_are_one_lesion():
    labels = np.zeros(GRID.shape, dtype=int)
    labels[5, 5, 5] = labels[6, 6, 6] = labels[7, 7, 7] = 1
    assert len(split(labels, GRID).segments) == 1


def test_segments_that_overlap_are_said():
    first, second = blob((10, 10, 10), 3), blob((13, 10, 10), 3)
    found = from_segments([first, second | blob((20, 20, 20), 2)], GRID)
    assert sorted(found.segments.values()) == [1, 2, 2]
    assert found.numbers[10, 10, 10] != found.numbers[15, 10, 10] > 0
    assert any("more than one segment" in remark for remark in found.remarks)
    assert from_segments([first, 0 * second], GRID).remarks == ("Segment 2 is empty.",)


def test_seeds_grow_to_half_of_the_peak():
    x, y, z = np.indices(GRID.shape)
    hill = np.exp(-((x - 12) ** 2 + (y - 14) ** 2 + (z - 13) ** 2) / (2 * 2.0**2))
    at = (np.asarray(GRID.affine) @ [13, 14, 13, 1])[:3]
    for values in (0.02 + hill, 0.02 - hill):
        found = from_seeds([at], values, np.ones(GRID.shape), GRID)
        half_width = 2.0 * np.sqrt(2 * np.log(2))
        expected = 4 / 3 * np.pi * half_width**3
        assert (found.numbers == 1).sum() == pytest.approx(expected, rel=0.15)
    twice = from_seeds([at, at], hill, np.ones(GRID.shape), GRID)
    assert twice.segments == {1: 1}
    assert twice.remarks == ("Seed 2 lies in the lesion of seed 1: they are one.",)
    with pytest.raises(InputError, match=r"Seed 1 .* outside the mask"):
        from_seeds([(500.0, 0, 0)], hill, np.ones(GRID.shape), GRID)


def test_candidates_are_compact_and_of_either_sign():
    grid = Grid.centred((50, 50, 50))
    mask = blob((25, 25, 25), 22, grid)
    rng = np.random.default_rng(0)
    chi = rng.normal(0, 0.01, grid.shape)
    chi[blob((20, 25, 30), 2, grid)] = 0.6
    chi[blob((32, 25, 22), 2, grid)] = -0.7
    chi[25:27, 12:38, 15] = 0.3  # A vessel.
    chi[blob((25, 25, 46), 1.5, grid)] = 0.9  # Half in what is not brain.
    found = propose(chi, mask, grid)
    assert found.proposed
    assert len(found.segments) == 2
    assert found.numbers[20, 25, 30] == 1
    assert found.numbers[32, 25, 22] == 2
    assert any("no findings" in remark for remark in found.remarks)
    r2star = np.full(grid.shape, 20.0)
    # A bleed decays fast or is dark; a calcification need not, its sign is enough.
    kept = propose(chi, mask, grid, r2star).numbers
    assert (kept.max(), kept[32, 25, 22]) == (1, 1)
    r2star[blob((20, 25, 30), 2, grid)] = 90.0
    assert propose(chi, mask, grid, r2star).numbers.max() == 2
    dark = np.where(chi > 0.5, 10.0, 100.0)
    assert propose(chi, mask, grid, np.full(grid.shape, 20.0), dark).numbers.max() == 2
    # What SWI shows counts before the magnitude.
    flat = np.full(grid.shape, 20.0)
    assert propose(chi, mask, grid, flat, dark, np.ones(grid.shape)).numbers.max() == 1
    by_swi = propose(chi, mask, grid, flat, None, dark)
    assert by_swi.numbers.max() == 2
    assert "χ, R2*, SWI and shape" in by_swi.remarks[0]
    assert propose(chi, mask, grid, flat, None, dark, Proposals(least_ppb=650)).numbers.max() == 1
    # Each grows to half of its own peak, however strong its neighbour is.
    assert (found.numbers == 1).sum() == blob((20, 25, 30), 2, grid).sum()


def test_shapes():
    ball = np.argwhere(blob((10, 10, 10), 4))
    assert shape_of(ball, (1, 1, 1)) == pytest.approx(1, abs=0.05)
    assert shape_of(np.argwhere(np.ones((12, 2, 2))), (1, 1, 1)) == pytest.approx(6, abs=0.3)
    assert shape_of(np.argwhere(np.ones((8, 8, 1))), (1, 1, 1)) == pytest.approx(1, abs=0.1)


def test_what_is_no_lesion_map_is_said():
    with pytest.raises(InputError, match="empty"):
        split(np.zeros(GRID.shape), GRID)
    with pytest.raises(InputError, match="grid"):
        split(np.ones((3, 3, 3)), GRID)
    with pytest.raises(InputError, match="fractions"):
        split(np.full(GRID.shape, 0.4), GRID)
    with pytest.raises(InputError, match="segments are empty"):
        from_segments([np.zeros(GRID.shape)], GRID)
