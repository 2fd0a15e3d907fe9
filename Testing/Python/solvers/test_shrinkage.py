import pytest
import torch

from QSMReconLib.physics import slabs
from QSMReconLib.physics.differences import divergence, gradient
from QSMReconLib.solvers.shrinkage import TotalVariation

VOXEL = (1.0, 0.8, 2.0)


@pytest.mark.parametrize("planes_per_slab", [1, 2, 3, 7, 100])
def test_is_the_textbook_iteration(planes_per_slab: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slabs, "SLAB_BYTES", planes_per_slab * 4 * 6 * 5)
    volumes = torch.randn(3, 7, 6, 5, generator=torch.Generator().manual_seed(0))
    variation = TotalVariation.starting(volumes[0].shape, VOXEL, 0.4)
    dual = torch.zeros(3, 7, 6, 5)
    for volume in volumes:
        moved = gradient(volume, VOXEL) + dual
        split = moved.sign() * (moved.abs() - 0.4).clamp(min=0)
        dual = moved - split
        found = variation.step(volume, torch.empty_like(volume))
        assert torch.allclose(found, divergence(split - dual, VOXEL), atol=1e-5)
        assert torch.allclose(variation.dual, dual, atol=1e-6)


def test_differences_of_no_weight_are_left_free() -> None:
    volume = torch.randn(7, 6, 5, generator=torch.Generator().manual_seed(0))
    weight = torch.rand(3, 7, 6, 5, generator=torch.Generator().manual_seed(1)) > 0.3
    variation = TotalVariation.starting(volume.shape, VOXEL, 0.4, weight=weight)
    variation.step(volume, torch.empty_like(volume))
    assert torch.allclose(variation.dual, gradient(volume, VOXEL).clamp(-0.4, 0.4) * weight, atol=1e-6)
    assert not variation.dual[~weight].any()
