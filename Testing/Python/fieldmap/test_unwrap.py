from __future__ import annotations

from math import pi

import pytest
import torch

from QSMReconLib.fieldmap.unwrap import TURN, edge_weights, quality_map, unwrap_along_tree, wrap


def coordinates(*shape: int) -> tuple[torch.Tensor, ...]:
    return torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")


def test_wrapping_takes_off_whole_turns() -> None:
    phase = torch.tensor([0.1, 3.0, 3.5, -3.5, 20.0])
    wrapped = wrap(phase)
    assert wrapped.abs().max() <= pi + 1e-6
    turns = (phase - wrapped) / TURN
    assert torch.allclose(turns, turns.round(), atol=1e-6)


def test_steep_but_sampled_phase_comes_back_exactly() -> None:
    x, y, z = coordinates(25, 28, 21)
    true = 10 * (x**2 - z**2) + 7 * x * y + 3
    mask = x**2 + y**2 + z**2 < 0.9
    weights = edge_weights(wrap(true), torch.ones_like(true), mask)
    unwrapped = unwrap_along_tree(wrap(true), weights, mask)
    apart = (unwrapped - true)[mask]
    assert float(apart.std()) < 1e-4
    assert float(apart[0] / TURN) == pytest.approx(round(float(apart[0] / TURN)), abs=1e-4)
    assert abs(float(unwrapped[mask].median())) <= pi
    assert not unwrapped[~mask].any()


def test_the_way_leads_round_what_is_bad() -> None:
    """A wall of noise between two halves, and a bridge of good voxels: the halves join over the bridge."""
    x, _, _ = coordinates(40, 20, 12)
    true = 15 * x
    noise = torch.rand(true.shape, generator=torch.Generator().manual_seed(0)) * TURN
    wall = (x.abs() < 0.1).logical_and(torch.arange(20)[None, :, None] > 3)
    phase = wrap(torch.where(wall, noise, true))
    mask = torch.ones_like(true, dtype=torch.bool)
    unwrapped = unwrap_along_tree(phase, edge_weights(phase, torch.ones_like(true), mask), mask)
    apart = (unwrapped - true)[~wall]
    assert float(apart.max() - apart.min()) < 1e-4


def test_the_greater_weight_wins() -> None:
    """A ring whose steps add up to a turn must tear at its weakest edge, and only there."""
    phase = torch.tensor([[0.0, pi / 2], [-pi / 2, pi]])[:, :, None]
    mask = torch.ones_like(phase, dtype=torch.bool)
    along_x = torch.tensor([[0.9, 0.2]])[:, :, None]
    along_y = torch.tensor([[0.8], [0.7]])[:, :, None]
    unwrapped = unwrap_along_tree(phase, [along_x, along_y, torch.zeros(2, 2, 0)], mask)[:, :, 0]
    assert float((unwrapped[1, 0] - unwrapped[0, 0]).abs()) == pytest.approx(pi / 2, abs=1e-5)
    assert float((unwrapped[0, 1] - unwrapped[0, 0]).abs()) == pytest.approx(pi / 2, abs=1e-5)
    assert float((unwrapped[1, 1] - unwrapped[1, 0]).abs()) == pytest.approx(pi / 2, abs=1e-5)
    assert float((unwrapped[1, 1] - unwrapped[0, 1]).abs()) == pytest.approx(3 * pi / 2, abs=1e-5)


def test_pieces_of_a_mask_continue_one_another() -> None:
    x, y, z = coordinates(60, 20, 15)
    true = 10 * x + 2 * y * z
    mask = (x.abs() > 0.08) & (x.abs() < 0.9)
    mask[3, 3, 3] = True
    unwrapped = unwrap_along_tree(wrap(true), edge_weights(wrap(true), torch.ones_like(true), mask), mask)
    # Across the gap the phase grows by 1.7 rad: less than half a turn, so the pieces belong together.
    apart = (unwrapped - true)[mask]
    assert float(apart.max() - apart.min()) < 1e-3
    assert not unwrapped[~mask].any()


def test_an_empty_mask_gives_zeros() -> None:
    phase = torch.rand(4, 5, 6, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros_like(phase, dtype=torch.bool)
    assert not unwrap_along_tree(phase, edge_weights(phase, phase, mask), mask).any()


def test_quality_is_high_in_tissue_low_in_noise_and_nowhere_beyond_its_range() -> None:
    x, y, z = coordinates(20, 20, 20)
    generator = torch.Generator().manual_seed(0)
    air = z > 0
    magnitude = torch.where(air, torch.rand(x.shape, generator=generator), torch.ones_like(x))
    phases = [wrap(torch.where(air, 6 * torch.rand(x.shape, generator=generator), e * (x + y))) for e in (1.0, 2.0)]
    everywhere = torch.ones_like(air)
    quality = quality_map(edge_weights(phases[0], magnitude, everywhere, phases[1], 2.0))
    inner = torch.zeros_like(air)
    inner[2:-2, 2:-2, 2:-2] = True
    assert float(quality.min()) >= 0
    assert float(quality.max()) <= 1
    assert float(quality[inner & (z < -0.2)].min()) > 0.7
    assert float(quality[inner & (z > 0.2)].mean()) < 0.1


def test_two_echoes_that_disagree_lower_the_weight() -> None:
    x, _, _ = coordinates(10, 10, 10)
    mask = torch.ones_like(x, dtype=torch.bool)
    one = torch.ones_like(x)
    agree = edge_weights(x, one, mask, 2 * x, 2.0)[0]
    disagree = edge_weights(x, one, mask, -2 * x, 2.0)[0]
    assert float(disagree.max()) < float(agree.min())


def test_magnitude_scale_does_not_matter_and_contrast_does() -> None:
    x, _, _ = coordinates(10, 10, 10)
    mask = torch.ones_like(x, dtype=torch.bool)
    magnitude = torch.where(x > 0, 1.0, 0.5)
    weights = edge_weights(0 * x, magnitude, mask)[0]
    assert torch.allclose(weights, edge_weights(0 * x, 1e-4 * magnitude, mask)[0])
    assert float(weights[4, 5, 5]) == pytest.approx(0.1 + 0.9 * 0.25)
    assert float(weights[2, 5, 5]) == pytest.approx(1.0)
