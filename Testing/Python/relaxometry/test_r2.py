from __future__ import annotations

import pytest
import torch

from QSMReconLib.data import Artifact, GreData, Grid, Mask, R2Map, R2PrimeMap, R2StarMap, SpinEchoData
from QSMReconLib.errors import InputError
from QSMReconLib.relaxometry.r2 import R2Fit
from QSMReconLib.relaxometry.r2prime import R2Prime
from QSMReconLib.runtime import Runtime

Head = dict[type[Artifact], Artifact]
GRID = Grid.centred((6, 5, 4))
MASK = Mask(GRID, torch.ones(GRID.shape, dtype=torch.bool))
GRE = GreData(GRID, torch.ones(1, *GRID.shape), torch.zeros(1, *GRID.shape), (0.01,), 7.0)
TIMES_S = (0.012, 0.024, 0.036, 0.048)


def spin_echoes(rate: float = 15.0, first: float = 1.0) -> SpinEchoData:
    levels = [900 * torch.exp(torch.tensor(-rate * time)).item() for time in TIMES_S]
    levels[0] *= first
    return SpinEchoData(GRID, torch.stack([torch.full(GRID.shape, level) for level in levels]), TIMES_S)


def test_the_head_has_its_r2_and_r2prime(small_head: Head) -> None:
    mask, true = small_head[Mask], small_head[R2Map]
    (found,) = R2Fit().run(small_head, Runtime())
    assert isinstance(found, R2Map)
    assert isinstance(true, R2Map)
    assert isinstance(mask, Mask)
    assert torch.allclose(found.r2_hz, true.r2_hz * mask.voxels, atol=0.05)
    (prime,) = R2Prime().run(small_head, Runtime())
    expected = small_head[R2PrimeMap]
    assert isinstance(prime, R2PrimeMap)
    assert isinstance(expected, R2PrimeMap)
    assert torch.allclose(prime.r2prime_hz, expected.r2prime_hz, atol=1e-4)


def test_the_field_strength_is_the_gradient_echoes() -> None:
    assert R2Fit().apply(spin_echoes(), GRE, MASK, Runtime()).field_strength_t == 7.0


def test_a_low_first_echo_biases_r2_unless_it_is_left_out() -> None:
    stimulated = spin_echoes(first=0.85)
    assert float(R2Fit().apply(stimulated, GRE, MASK, Runtime()).r2_hz.max()) < 12.5
    left_out = R2Fit(skip_first=True).apply(stimulated, GRE, MASK, Runtime()).r2_hz
    assert torch.allclose(left_out, torch.tensor(15.0), rtol=1e-3)


def test_skipping_the_first_of_three_leaves_too_few() -> None:
    three = SpinEchoData(GRID, spin_echoes().magnitude[:3], TIMES_S[:3])
    R2Fit().apply(three, GRE, MASK, Runtime())
    with pytest.raises(InputError, match="at least three echoes"):
        R2Fit(skip_first=True).apply(three, GRE, MASK, Runtime())


def test_a_mask_on_another_grid_is_refused() -> None:
    other = Mask(Grid.centred((6, 5, 4), (2.0, 2.0, 2.0)), MASK.voxels)
    with pytest.raises(InputError, match="not on the grid of the spin echoes"):
        R2Fit().apply(spin_echoes(), GRE, other, Runtime())


def test_one_echo_gives_r2_by_an_assumption_that_is_said() -> None:
    rates = torch.linspace(8, 18, GRID.shape[0])[:, None, None].expand(GRID.shape)
    shading = torch.linspace(0.5, 2, GRID.shape[1])[None, :, None].expand(GRID.shape)
    times = (0.004, 0.010, 0.016)
    echoes = torch.stack([700 * shading * torch.exp(-1.6 * rates * time) for time in times])
    gre = GreData(GRID, echoes, torch.zeros_like(echoes), times, 3.0)
    one = SpinEchoData(GRID, (250 * shading * torch.exp(-0.08 * rates))[None], (0.08,))
    runtime = Runtime()
    found = R2Fit(typical_r2_hz=12.0).apply(one, gre, MASK, runtime)
    assert torch.allclose(found.r2_hz, rates - rates.median() + 12.0, atol=1e-2)
    assert "median R2 is 12 Hz" in runtime.notes[0]
    with pytest.raises(InputError, match="at least three echoes"):
        R2Fit().apply(one, GRE, MASK, Runtime())


def test_r2prime_is_never_negative_and_says_so() -> None:
    star = R2StarMap(GRID, torch.full(GRID.shape, 10.0), 3.0)
    runtime = Runtime()
    assert not R2Prime().apply(star, R2Map(GRID, torch.full(GRID.shape, 12.0), 3.0), runtime).r2prime_hz.any()
    assert "less than R2 in 100 %" in runtime.notes[0]


def test_r2_on_another_grid_is_resampled_and_it_is_said() -> None:
    fine, coarse = Grid.centred((12, 12, 12)), Grid.centred((6, 6, 6), (2.0, 2.0, 2.0))

    def ramp(grid: Grid) -> torch.Tensor:
        x = (torch.arange(grid.shape[0]) - (grid.shape[0] - 1) / 2) * grid.voxel_size_mm[0]
        return (14 + 0.5 * x)[:, None, None].expand(grid.shape).contiguous()

    star = R2StarMap(fine, ramp(fine) + 6.0, 3.0, torch.full(fine.shape, 0.3))
    runtime = Runtime()
    made = R2Prime().apply(star, R2Map(coarse, ramp(coarse), 3.0, torch.full(coarse.shape, 0.4)), runtime)
    inside = (slice(2, -2),) * 3
    assert torch.allclose(made.r2prime_hz[inside], torch.tensor(6.0), atol=1e-4)
    assert made.std_hz is not None
    assert torch.allclose(made.std_hz[inside], torch.tensor(0.5), atol=1e-4)
    assert "another grid (2 × 2 × 2 mm): it was resampled" in runtime.notes[0]
