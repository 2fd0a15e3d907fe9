import itertools

import pytest
import torch

from QSMReconLib.networks.tiling import in_tiles, tile_starts


@pytest.mark.parametrize(
    ("size", "tile", "overlap"), [(8, 16, 8), (16, 16, 8), (40, 16, 8), (72, 32, 16), (48, 32, 16)]
)
def test_tiles_cover_everything_and_overlap_enough(size: int, tile: int, overlap: int) -> None:
    starts = tile_starts(size, tile, overlap)
    assert starts[0] == 0
    assert starts[-1] + min(tile, size) == size
    assert all(b - a <= tile - overlap for a, b in itertools.pairwise(starts))
    assert all(start % 8 == 0 for start in starts)


def test_a_local_operation_does_not_notice_the_tiles() -> None:
    torch.manual_seed(0)
    part = torch.nn.Sequential(
        torch.nn.Conv3d(2, 3, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(3, 1, 3, padding=1)
    )
    volume = torch.randn(1, 2, 40, 24, 48)
    with torch.no_grad():
        assert torch.allclose(in_tiles(part, volume, 24, 8), part(volume), atol=1e-6)


def test_what_comes_from_the_edge_of_a_tile_is_thrown_away() -> None:
    def spoiled(volume: torch.Tensor) -> torch.Tensor:
        made = torch.ones_like(volume)
        made[..., :2], made[..., -2:] = 100.0, 100.0
        return made

    result = in_tiles(spoiled, torch.zeros(1, 1, 8, 8, 40), 16, 8)
    assert torch.equal(result[..., 2:-2], torch.ones_like(result[..., 2:-2]))
