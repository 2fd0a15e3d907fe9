from __future__ import annotations

import pytest
import torch

from QSMReconLib.physics import slabs


@pytest.mark.parametrize("axis", [-3, -2, -1])
def test_slabs_are_all_of_a_volume_once(axis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slabs, "SLAB_BYTES", 600)
    volume, flat = torch.zeros(2, 4, 9, 3), torch.zeros(4, 9, 3)
    parts = list(slabs.slabs(axis, volume, flat))
    for one, other in parts:
        one.add_(1)
        other.add_(1)
        assert one.numel() * 4 <= 600
    assert len(parts) > 1
    assert bool((volume == 1).all())
    assert bool((flat == 1).all())
    assert all(part.shape[axis] == flat.shape[axis] for (part,) in slabs.slabs_along(axis, flat))
