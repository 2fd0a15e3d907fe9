from __future__ import annotations

import pytest
import torch

from QSMReconLib.fieldmap.smooth import along, block_sum, from_blocks, gaussian


def test_a_gaussian_has_its_width_in_mm_and_keeps_the_sum() -> None:
    volume = torch.zeros(61, 41, 31)
    volume[30, 20, 15] = 2.0
    smooth = gaussian(volume, (0.5, 1.0, 2.0), 3.0)
    assert smooth.sum() == pytest.approx(2.0, rel=2e-3)
    for axis, (n, voxel) in enumerate(zip(volume.shape, (0.5, 1.0, 2.0), strict=True)):
        at = (torch.arange(n) - n // 2) * voxel
        profile = smooth.sum([a for a in range(3) if a != axis])
        assert float((profile * at**2).sum() / profile.sum()) ** 0.5 == pytest.approx(3.0, rel=0.02)


def test_a_gaussian_much_narrower_than_a_voxel_does_nothing() -> None:
    volume = torch.rand(7, 8, 9, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(gaussian(volume, (2.0, 2.0, 2.0), 0.1), volume)


def test_smoothing_is_linear_in_real_and_imaginary_part() -> None:
    parts = torch.rand(2, 9, 8, 7, generator=torch.Generator().manual_seed(0))
    smooth = gaussian(torch.complex(parts[0], parts[1]), (1.0, 1.0, 1.0), 1.5)
    assert torch.allclose(smooth.real, gaussian(parts[0], (1.0, 1.0, 1.0), 1.5))
    assert torch.allclose(smooth.imag, gaussian(parts[1], (1.0, 1.0, 1.0), 1.5))


def test_matrices_apply_to_their_axis() -> None:
    volume = torch.rand(4, 5, 6, generator=torch.Generator().manual_seed(0))
    matrix = torch.rand(3, 5, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(along(volume, matrix, 1), torch.einsum("ij,ajb->aib", matrix, volume))


def test_blocks_hold_the_sum_and_come_back_straight() -> None:
    x, y, z = torch.meshgrid(torch.arange(10.0), torch.arange(11.0), torch.arange(5.0), indexing="ij")
    plane = 2 * x - y + 3 * z
    factors = (2, 3, 1)
    sums, counts = block_sum(plane, factors), block_sum(torch.ones_like(plane), factors)
    assert sums.shape == (5, 4, 5)
    assert sums.sum() == plane.sum()
    # The last block along y sticks out and is centred elsewhere; up to there a plane returns as it was.
    back = from_blocks(sums / counts, plane.shape, factors)
    assert back.shape == plane.shape
    assert torch.allclose(back[:, :8], plane[:, :8], atol=1e-4)


def test_a_single_block_spreads_evenly() -> None:
    assert torch.equal(from_blocks(torch.full((1, 1, 1), 3.0), (2, 3, 1), (2, 4, 1)), torch.full((2, 3, 1), 3.0))
