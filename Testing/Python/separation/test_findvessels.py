from __future__ import annotations

import pytest
import torch

from QSMReconLib.data import ChiMap, Grid, R2StarMap
from QSMReconLib.runtime import Runtime
from QSMReconLib.separation.findvessels import FindVessels, pieces_of, tubeness

SHAPE, VOXEL = (31, 35, 27), (0.8, 0.7, 1.1)
WIDTH_MM = 1.5


def distance_squared(direction: tuple[float, float, float]) -> torch.Tensor:
    """From the line through the middle along `direction`, mm²."""
    axes = [(torch.arange(n) - (n - 1) / 2) * v for n, v in zip(SHAPE, VOXEL, strict=True)]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    along = torch.tensor(direction)
    along = along / along.norm()
    return (place - (place @ along)[..., None] * along).square().sum(-1)


def middle(volume: torch.Tensor) -> float:
    return float(volume[tuple(n // 2 for n in volume.shape)])


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (1.0, 2.0, -1.5)])
def test_the_score_of_a_tube_is_its_height_whatever_its_direction(direction: tuple[float, float, float]) -> None:
    tube = 0.2 * torch.exp(-distance_squared(direction) / (2 * WIDTH_MM**2)) + 0.03
    mask = torch.ones(SHAPE)
    assert middle(tubeness(tube, mask, VOXEL, (WIDTH_MM,))) == pytest.approx(0.2, rel=0.15)
    assert middle(tubeness(tube, mask, VOXEL, (0.7, WIDTH_MM, 3.0))) == pytest.approx(0.2, rel=0.15)
    assert middle(tubeness(-tube, mask, VOXEL, (WIDTH_MM,))) < 0.01


def test_plates_balls_edges_and_the_end_of_the_mask_are_no_tubes() -> None:
    axes = [(torch.arange(n) - (n - 1) / 2) * v for n, v in zip(SHAPE, VOXEL, strict=True)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    mask = ((x / 9) ** 2 + (y / 9) ** 2 + (z / 11) ** 2 < 1).float()
    plate = torch.exp(-(x**2) / (2 * WIDTH_MM**2))
    ball = torch.exp(-(x**2 + y**2 + z**2) / (2 * WIDTH_MM**2))
    edge = (x > 0).float()
    core = tuple(slice(n // 4, -n // 4) for n in SHAPE)
    for name, volume in (("plate", plate), ("edge", edge)):
        assert float(tubeness(volume, torch.ones(SHAPE), VOXEL, (WIDTH_MM,))[core].max()) < 0.03, name
    assert middle(tubeness(ball, torch.ones(SHAPE), VOXEL, (WIDTH_MM,))) < 0.06
    assert float(tubeness(mask, mask, VOXEL, (0.7, WIDTH_MM)).max()) < 0.01


def test_small_pieces_go_and_diagonal_ones_hold_together() -> None:
    found = torch.zeros(8, 8, 8, dtype=torch.bool)
    found[0, 0, 0] = found[1, 1, 1] = found[2, 2, 2] = True
    found[6, 6, 6] = True
    kept = pieces_of(found, (1.0, 1.0, 2.0), 6.0)
    assert kept.sum() == 3
    assert kept[1, 1, 1]
    assert not kept[6, 6, 6]


def test_a_vein_must_show_in_both_maps() -> None:
    grid = Grid.centred(SHAPE, VOXEL)
    vein = torch.exp(-distance_squared((1.0, 2.0, -1.5)) / (2 * 1.0**2))
    sinus = torch.exp(-distance_squared((1.0, -2.0, 0.5)) / (2 * 1.0**2))
    mask = torch.ones(SHAPE, dtype=torch.bool)
    decay = R2StarMap(grid, 18 + 30 * vein, 3.0)
    chi = ChiMap(grid, 0.2 * vein + 0.2 * sinus, mask)
    found = FindVessels().apply(decay, chi, Runtime()).voxels
    assert found.dtype == torch.bool
    core = torch.zeros(SHAPE, dtype=torch.bool)
    core[3:-3, 3:-3, 3:-3] = True
    assert found[core & (vein > 0.9) & (sinus < 0.3)].all()
    assert not found[(sinus > 0.9) & (vein < 0.05)].any()
    assert not found[(vein < 0.05) & (sinus < 0.05)].any()
