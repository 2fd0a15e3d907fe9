"""Networks of several volumes on a scan: any axes, tiles as the whole, nothing outside the mask."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from QSMReconLib.data import Grid
from QSMReconLib.errors import InputError
from QSMReconLib.networks.card import load_card, load_network
from QSMReconLib.networks.runner import RUNGS
from QSMReconLib.networks.volumes import apply_network

GRID = Grid.centred((42, 50, 38), (1.0, 1.0, 1.5))


def case(seed: int = 0) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(GRID.shape, dtype=torch.bool)
    mask[3:40, 4:47, 2:35] = True
    coarse = torch.rand(2, 1, 7, 8, 6, generator=generator)
    rate, chi = torch.nn.functional.interpolate(coarse, GRID.shape, mode="trilinear", align_corners=True)[:, 0]
    volumes = {"r2star": 10 + 20 * rate, "guess": 5 * rate, "chi": 0.1 * (chi - 0.5), "weight": torch.ones(GRID.shape)}
    return {name: volume * mask for name, volume in volumes.items()}, mask


def applied(
    volumes: dict[str, torch.Tensor], mask: torch.Tensor, grid: Grid = GRID, rung: str = RUNGS[0]
) -> torch.Tensor:
    network = load_network(load_card("r2star-to-r2prime"))
    with torch.inference_mode():
        return apply_network(network, volumes, mask, grid, physics=False, rung=rung, half=False)[0][0]


def test_axes_in_another_order_give_the_same_map() -> None:
    volumes, mask = case()
    there = (2, 0, 1)
    turned = replace(
        GRID,
        shape=tuple(GRID.shape[a] for a in there),
        voxel_size_mm=tuple(GRID.voxel_size_mm[a] for a in there),
        b0_direction=tuple(GRID.b0_direction[a] for a in there),
    )
    straight = applied(volumes, mask)
    other = applied({name: v.permute(there) for name, v in volumes.items()}, mask.permute(there), turned)
    assert torch.allclose(straight.permute(there), other, atol=1e-5)
    assert not straight[~mask].any()
    assert straight[mask].std() > 0.1


def test_tiles_agree_with_the_whole_volume() -> None:
    volumes, mask = case(1)
    one, other = applied(volumes, mask), applied(volumes, mask, rung=RUNGS[1])
    inner = torch.zeros_like(mask)
    inner[8:36, 8:42, 6:30] = True
    assert float((one - other)[inner].abs().max()) < 0.02 * float(one[mask].std())


def test_an_empty_mask_is_refused() -> None:
    volumes, mask = case()
    with pytest.raises(InputError, match="empty"):
        applied(volumes, mask & False)
