from __future__ import annotations

import pytest
import torch

from QSMReconLib.data import Artifact, GreData, Grid, Mask, R2StarMap, TotalField
from QSMReconLib.errors import InputError
from QSMReconLib.physics.constants import ppm_per_hz
from QSMReconLib.relaxometry.r2star import Arlo, R2StarFit, arlo, equal_spacing, fading_of
from QSMReconLib.runtime import Runtime
from QSMReconLib.stage import Stage

both = pytest.mark.parametrize("stage", [Arlo(), R2StarFit()], ids=["arlo", "r2starfit"])


@pytest.mark.parametrize("count", [3, 4, 8])
def test_arlo_finds_a_pure_decay_within_simpsons_rule(count: int) -> None:
    rates = torch.tensor([1.0, 20.0, 60.0, 120.0])
    times = 0.004 + 0.006 * torch.arange(count)
    found = arlo(700 * torch.exp(-rates * times[:, None]), 0.006).rate_hz
    assert torch.allclose(found, rates, rtol=5e-3)


def test_arlo_of_nothing_is_zero_and_never_negative() -> None:
    assert not arlo(torch.zeros(3, 4), 0.005).rate_hz.any()
    assert not arlo(torch.tensor([1.0, 2.0, 3.0])[:, None], 0.005).rate_hz.any()


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


@both
def test_the_standard_error_is_the_scatter(stage: Stage) -> None:
    grid = Grid.centred((24, 24, 24))
    times = tuple(0.004 + 0.006 * n for n in range(5))
    rough = 20 * torch.randn(2, 5, *grid.shape, generator=torch.Generator().manual_seed(3))
    pure = 1000 * torch.exp(-25 * torch.tensor(times))[:, None, None, None]
    signal = torch.complex(pure + rough[0], rough[1])
    made = stage.apply(
        GreData(grid, signal.abs(), signal.angle(), times, 3.0), Mask(grid, torch.ones(grid.shape)), Runtime()
    )
    assert made.std_hz is not None
    assert float(made.std_hz.mean()) == pytest.approx(float(made.r2star_hz.std()), rel=0.06)
    assert abs(float(made.r2star_hz.mean()) / 25 - 1) < 0.02


def test_a_linear_field_fades_as_the_sum_over_the_voxel_does() -> None:
    """Against spins on a fine grid inside every voxel, along all three axes at once, with an edge of the mask."""
    times = (0.005, 0.02, 0.04)
    per_voxel = (3.0, -5.0, 9.0)
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in (5, 4, 6)), indexing="ij")
    field_hz = sum(g * axis for g, axis in zip(per_voxel, axes, strict=True))
    mask = torch.ones(5, 4, 6)
    mask[0], field_hz[0] = 0, 1e4
    fading = fading_of(field_hz, mask, times)
    inside = (torch.arange(200) + 0.5) / 200 - 0.5
    for echo, time in enumerate(times):
        expected = 1.0
        for g in per_voxel:
            expected *= abs(complex(torch.exp(2j * torch.pi * g * time * inside).mean()))
        assert torch.allclose(fading[echo][mask > 0], torch.tensor(expected), rtol=1e-3)


def thick_slices(fades: bool, noise: float = 5.0) -> tuple[GreData, Mask, TotalField]:
    """A decay of 20 Hz in a linear field of 14 Hz a slice, which takes signal or, after a correction, does not."""
    grid = Grid.centred((8, 8, 8), (1.0, 1.0, 3.0))
    times = (0.005, 0.012, 0.019, 0.026, 0.033)
    slope = torch.arange(8.0)[None, None, :].expand(grid.shape) * 14.0
    sinc = torch.sinc(14.0 * torch.tensor(times)).abs() if fades else torch.ones(5)
    signal = (1000 * torch.exp(-20 * torch.tensor(times)) * sinc)[:, None, None, None].expand(5, *grid.shape)
    rough = noise * torch.randn(2, 5, *grid.shape, generator=torch.Generator().manual_seed(1))
    seen = torch.complex(signal + rough[0], rough[1])
    gre = GreData(grid, seen.abs(), seen.angle(), times, 3.0)
    mask = Mask(grid, torch.ones(grid.shape, dtype=torch.bool))
    return gre, mask, TotalField(grid, slope * ppm_per_hz(3.0))


def test_field_gradients_are_taken_off_r2star() -> None:
    gre, mask, total = thick_slices(fades=True)
    for way in ("on", "auto"):
        runtime = Runtime()
        found = R2StarFit(field_gradients=way).apply(gre, mask, runtime, total)
        assert float(found.r2star_hz.mean()) == pytest.approx(20.0, abs=0.1)
        assert "field gradients" in runtime.notes[0].lower()
    assert float(R2StarFit(field_gradients="off").apply(gre, mask, Runtime(), total).r2star_hz.mean()) > 23
    assert float(R2StarFit().apply(gre, mask, Runtime()).r2star_hz.mean()) > 23


def test_without_noise_they_are_taken_off_every_voxel() -> None:
    gre, mask, total = thick_slices(fades=True, noise=0.0)
    found = R2StarFit(field_gradients="on", noise_floor=False).apply(gre, mask, Runtime(), total)
    assert torch.allclose(found.r2star_hz, torch.tensor(20.0), atol=0.05)
    without = R2StarFit(field_gradients="off", noise_floor=False).apply(gre, mask, Runtime(), total)
    assert float(without.r2star_hz.min()) > 23


def test_echoes_that_do_not_fade_are_left_as_they_are() -> None:
    gre, mask, total = thick_slices(fades=False)
    runtime = Runtime()
    found = R2StarFit().apply(gre, mask, runtime, total)
    assert float(found.r2star_hz.mean()) == pytest.approx(20.0, abs=0.1)
    assert not runtime.notes


def test_field_gradients_need_the_total_field_where_they_are_asked_for() -> None:
    gre, mask, total = thick_slices(fades=True)
    with pytest.raises(InputError, match="needs the total field"):
        R2StarFit(field_gradients="on").apply(gre, mask, Runtime())
    elsewhere = TotalField(Grid.centred((8, 8, 8)), total.field_ppm)
    with pytest.raises(InputError, match="not on the grid"):
        R2StarFit(field_gradients="on").apply(gre, mask, Runtime(), elsewhere)
