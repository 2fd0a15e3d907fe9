from __future__ import annotations

import pytest
import torch

from QSMReconLib.data import Artifact, GreData, Grid, Mask, R2StarMap
from QSMReconLib.errors import InputError
from QSMReconLib.relaxometry.r2star import Arlo, R2StarFit, arlo, equal_spacing
from QSMReconLib.runtime import Runtime
from QSMReconLib.stage import Stage

both = pytest.mark.parametrize("stage", [Arlo(), R2StarFit()], ids=["arlo", "r2starfit"])


@pytest.mark.parametrize("count", [3, 4, 8])
def test_arlo_finds_a_pure_decay_within_simpsons_rule(count: int) -> None:
    rates = torch.tensor([1.0, 20.0, 60.0, 120.0])
    times = 0.004 + 0.006 * torch.arange(count)
    found = arlo(700 * torch.exp(-rates * times[:, None]), 0.006)
    assert torch.allclose(found, rates, rtol=5e-3)


def test_arlo_of_nothing_is_zero_and_never_negative() -> None:
    assert not arlo(torch.zeros(3, 4), 0.005).any()
    assert not arlo(torch.tensor([1.0, 2.0, 3.0])[:, None], 0.005).any()


def test_spacing_is_checked() -> None:
    assert equal_spacing((0.005, 0.0120, 0.01901, 0.026)) == pytest.approx(0.007)
    with pytest.raises(InputError, match="use r2starfit"):
        equal_spacing((0.005, 0.012, 0.020))


@both
def test_the_head_has_its_r2star(stage: Stage, small_head: dict[type[Artifact], Artifact]) -> None:
    gre, mask, true = small_head[GreData], small_head[Mask], small_head[R2StarMap]
    assert isinstance(gre, GreData)
    assert isinstance(mask, Mask)
    assert isinstance(true, R2StarMap)
    made = stage.apply(gre, mask, Runtime())
    apart = (made.r2star_hz - true.r2star_hz)[mask.voxels]
    assert abs(float(apart.median())) < 0.05
    assert float(apart.abs().median()) < 0.3
    assert not made.r2star_hz[~mask.voxels].any()
    assert made.field_strength_t == gre.field_strength_t


@both
def test_two_echoes_are_refused(stage: Stage) -> None:
    grid = Grid.centred((4, 4, 4))
    gre = GreData(grid, torch.ones(2, 4, 4, 4), torch.zeros(2, 4, 4, 4), (0.01, 0.02), 3.0)
    with pytest.raises(InputError, match="at least three echoes"):
        stage.apply(gre, Mask(grid, torch.ones(4, 4, 4)), Runtime())


def test_the_noise_floor_takes_the_bias_off_fast_decay() -> None:
    grid = Grid.centred((20, 20, 20))
    times = (0.005, 0.012, 0.019, 0.026)
    generator = torch.Generator().manual_seed(0)
    rough = 50 * torch.randn(2, 4, *grid.shape, generator=generator)
    pure = 1000 * torch.exp(-120 * torch.tensor(times))[:, None, None, None]
    signal = torch.complex(pure + rough[0], rough[1])
    gre = GreData(grid, signal.abs(), signal.angle(), times, 3.0)
    mask = Mask(grid, torch.ones(grid.shape, dtype=torch.bool))
    with_floor = R2StarFit().apply(gre, mask, Runtime()).r2star_hz.median()
    without = R2StarFit(noise_floor=False).apply(gre, mask, Runtime()).r2star_hz.median()
    assert abs(float(with_floor) - 120) < 3
    assert float(without) < 114
