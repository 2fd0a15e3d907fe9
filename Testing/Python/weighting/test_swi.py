"""SWI on veins whose phase is known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from QSMReconLib.data import Artifact, GreData, Grid, Mask, UnwrappedPhase
from QSMReconLib.runtime import Runtime
from QSMReconLib.weighting.swi import Swi, homodyne, minimum_projection, phase_mask

ECHOES_S = (0.004, 0.02)


def venous_scan(sign: float = 1.0, field_rad: float = 1.2) -> tuple[GreData, Mask, torch.Tensor]:
    """A smooth background phase of several turns, and a thin vessel along B0 whose phase is `field_rad` at 20 ms."""
    grid = Grid.centred((48, 48, 16), (1.0, 1.0, 2.0))
    x = torch.linspace(-1, 1, 48)
    background = 6 * x[:, None, None] ** 2 + 4 * x[None, :, None] + torch.zeros(grid.shape)
    vessel = torch.zeros(grid.shape, dtype=torch.bool)
    vessel[20:22, 30:32] = True
    phases = [
        torch.remainder(t / 0.02 * (background + sign * field_rad * vessel) + math.pi, 2 * math.pi) - math.pi
        for t in ECHOES_S
    ]
    magnitude = torch.full((2, *grid.shape), 100.0)
    mask = torch.zeros(grid.shape, dtype=torch.bool)
    mask[4:-4, 4:-4, 2:-2] = True
    return GreData(grid, magnitude, torch.stack(phases), ECHOES_S, 3.0), Mask(grid, mask), vessel & mask


@pytest.mark.parametrize(("sign", "share"), [(1.0, 0.5), (-1.0, 0.95)])
def test_a_vein_along_b0_is_dark_and_a_diamagnetic_line_is_not(sign: float, share: float) -> None:
    gre, mask, vessel = venous_scan(sign)
    made = Swi().apply(gre, mask, Runtime())
    tissue = made.swi[mask.voxels & ~vessel].median()
    ratio = float(made.swi[vessel].mean() / tissue)
    assert ratio < share if sign > 0 else ratio > share


def test_the_mask_is_one_for_no_and_negative_phase_and_falls_to_a_power() -> None:
    phase = torch.tensor([-3.0, 0.0, math.pi / 2, math.pi])
    assert torch.allclose(phase_mask(phase, 4), torch.tensor([1.0, 1.0, 0.5**4, 0.0]), atol=1e-6)


def test_homodyne_takes_wraps_and_slow_phase_away() -> None:
    gre, mask, vessel = venous_scan()
    high = homodyne(gre.magnitude[1], gre.phase_rad[1], gre.grid.voxel_size_mm, 3.0)
    assert high[mask.voxels & ~vessel].abs().median() < 0.1
    assert high[vessel].min() > 0.7


def test_unwrapped_and_homodyne_agree_where_both_can(small_head: dict[type[Artifact], Artifact]) -> None:
    gre, mask, unwrapped = (small_head[kind] for kind in (GreData, Mask, UnwrappedPhase))
    assert isinstance(gre, GreData)
    assert isinstance(mask, Mask)
    assert isinstance(unwrapped, UnwrappedPhase)
    made = [
        Swi(filter=name).apply(gre, mask, Runtime(), unwrapped).swi[mask.voxels] for name in ("homodyne", "unwrapped")
    ]
    assert float(torch.corrcoef(torch.stack(made))[0, 1]) > 0.9


def test_says_when_it_takes_another_filter_or_echo_than_asked_for() -> None:
    gre, mask, _ = venous_scan()
    runtime = Runtime()
    Swi(filter="unwrapped", first_echo_s=0.05).apply(gre, mask, runtime)
    assert any("homodyne" in note for note in runtime.notes)
    assert any("last one" in note for note in runtime.notes)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_projects_along_the_thick_axis_and_never_takes_what_lies_outside(axis: int) -> None:
    voxel = [1.0, 1.0, 1.0]
    voxel[axis] = 2.0
    volume = torch.full((12, 13, 14), 10.0)
    mask = torch.ones(12, 13, 14, dtype=torch.bool)
    mask.select(axis, 0).fill_(False)
    dark = [6, 6, 6]
    volume[tuple(dark)] = 1.0
    made = minimum_projection(volume * mask, mask, voxel, 6.0)
    line = [slice(n, n + 1) for n in dark]
    line[axis] = slice(None)
    assert made[tuple(line)].flatten().tolist()[3:10] == [10.0, 10.0, 1.0, 1.0, 1.0, 10.0, 10.0]
    assert made.select(axis, 1).min() == 10.0
    assert not made.select(axis, 0).any()


def test_a_scan_of_another_gain_gives_the_same_picture() -> None:
    gre, mask, _ = venous_scan()
    one = Swi().apply(gre, mask, Runtime()).swi
    other = Swi().apply(replace(gre, magnitude=7 * gre.magnitude), mask, Runtime()).swi
    assert torch.allclose(7 * one, other, rtol=1e-4)
