"""iLSQR: its weights, its fast estimate, and that streaks go while what is not a streak stays."""

from __future__ import annotations

import pytest
import torch

from QSMReconLib.inversion.ilsqr import bend, falling, fast_estimate, ilsqr, remove_streaks
from QSMReconLib.inversion.tkd import tkd
from QSMReconLib.physics.dipole import Dipole


def error(found: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor) -> float:
    x, y, z = truth.shape
    one, other = found[:x, :y, :z][mask], truth[mask]
    one, other = one - one.mean(), other - other.mean()
    return float((one - other).norm() / other.norm())


def test_recovers_boxes_and_scales(dipole: Dipole, mask: torch.Tensor, chi: torch.Tensor) -> None:
    field = dipole.field(chi) * mask
    found = ilsqr(field, mask, dipole)
    divided = tkd(field, dipole, 0.2)
    assert error(found, chi, mask) < 0.25
    assert error(found, chi, mask) < 0.8 * error(divided, chi, mask)
    assert float(found[17:21, 20:23, 12:16].mean() - found[5:7, 6:8, 5:7].mean()) == pytest.approx(-0.06, abs=0.006)
    assert torch.allclose(ilsqr(-2 * field, mask, dipole), -2 * found, atol=1e-4)


def test_takes_off_what_the_cone_explains_and_nothing_else(
    dipole: Dipole, mask: torch.Tensor, chi: torch.Tensor
) -> None:
    noise = 0.02 * torch.randn(dipole.spectrum.padded, generator=torch.Generator().manual_seed(0))
    whole = dipole.spectrum.uncut
    blind = dipole.kernel.abs() < 0.1
    x, y, z = chi.shape
    streaks = whole.from_k(whole.to_k(noise) * blind)[:x, :y, :z] * mask
    cleaned = remove_streaks(chi + streaks, chi, mask, dipole, 0.1, 1e-3, 30, lambda done, residual: None)
    assert error(cleaned, chi, mask) < 0.5 * error(chi + streaks, chi, mask)
    untouched = remove_streaks(chi, chi, mask, dipole, 0.1, 1e-3, 30, lambda done, residual: None)
    assert error(untouched, chi, mask) < 0.02


def test_the_fast_estimate_has_the_edges(dipole: Dipole, mask: torch.Tensor, chi: torch.Tensor) -> None:
    found = fast_estimate(dipole.field(chi) * mask, mask, dipole)
    correlation = torch.corrcoef(torch.stack([found[mask], chi[mask]]))[0, 1]
    assert float(correlation) > 0.6
    assert not found[~mask].any()


def test_weights_fall_between_two_shares(mask: torch.Tensor) -> None:
    values = torch.linspace(0, 1, mask.numel()).reshape(mask.shape)
    weight = falling(values, torch.ones_like(mask), (0.5, 0.75))
    assert weight.flatten()[[0, mask.numel() // 2 - 9]].tolist() == [1, 1]
    assert weight.flatten()[int(0.625 * mask.numel())] == pytest.approx(0.5, abs=0.01)
    assert weight.flatten()[-1] == 0
    assert not falling(values, mask, (0.5, 0.75))[~mask].any()


def test_bend_is_the_laplacian_per_square_mm_where_it_is_known(mask: torch.Tensor) -> None:
    axes = [torch.arange(n) * v for n, v in zip(mask.shape, (1.0, 0.9, 1.4), strict=True)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    bent = bend(x**2 - 3 * y**2 + 0.5 * z**2 + 7 * x, mask, (1.0, 0.9, 1.4))
    assert bent[6:20, 7:20, 6:20] == pytest.approx(3.0, abs=2e-3)
    assert not bent[~mask].any()
    assert float(bend(4 * x + y, mask, (1.0, 0.9, 1.4)).max()) < 1e-4


def test_tells_how_far_it_is(dipole: Dipole, mask: torch.Tensor, chi: torch.Tensor) -> None:
    seen: list[float] = []
    ilsqr(dipole.field(chi) * mask, mask, dipole, iterations=5, progress=seen.append)
    assert seen == sorted(seen)
    assert len(seen) == 10
    assert seen[-1] <= 1
