from __future__ import annotations

import pytest
import torch

from QSMReconLib.physics.slabs import SLICES, cut, slabs


@pytest.mark.parametrize("axis", [-3, -2, -1])
def test_slabs_are_all_of_a_volume_once(axis: int) -> None:
    volume = torch.zeros(2, SLICES, 2 * SLICES + 1, 3)
    for part in slabs(volume, axis):
        cut(volume, axis, part).add_(1)
    assert bool((volume == 1).all())
    assert max(part.stop - part.start for part in slabs(volume, axis)) <= SLICES
