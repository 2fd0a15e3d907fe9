from __future__ import annotations

import pytest
import torch

from QSMReconLib.data import Grid, Mask
from QSMReconLib.errors import InputError
from QSMReconLib.relaxometry.decay import check_echoes, check_place, fit_decay, log_linear, rician_mean

TIMES_S = (0.004, 0.011, 0.015, 0.028)
RATES = torch.tensor([0.5, 5.0, 20.0, 60.0, 150.0])


def decay(times_s: tuple[float, ...] = TIMES_S, scale: float = 800.0) -> torch.Tensor:
    return scale * torch.exp(-RATES * torch.tensor(times_s)[:, None])


@pytest.mark.parametrize("scale", [1e-4, 1.0, 800.0])
def test_a_pure_decay_is_found_exactly_at_uneven_times(scale: float) -> None:
    amplitude, rate = log_linear(decay(scale=scale), TIMES_S)
    assert torch.allclose(rate, RATES, rtol=1e-3)
    assert torch.allclose(amplitude, torch.full_like(RATES, scale), rtol=1e-3)
    assert torch.allclose(fit_decay(decay(scale=scale), TIMES_S).rate_hz, RATES, rtol=1e-3)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0, 1.5, 2.0, 4.0, 20.0])
def test_the_mean_of_a_magnitude_is_right(level: float) -> None:
    drawn = torch.randn(2, 2_000_000, generator=torch.Generator().manual_seed(0))
    mean = float(torch.hypot(3 * (level + drawn[0]), 3 * drawn[1]).mean())
    assert float(rician_mean(torch.tensor(3 * level), 3.0)) == pytest.approx(mean, abs=0.02)


def test_the_lift_of_the_mean_by_noise_is_seen_through() -> None:
    measured = rician_mean(decay(), 80.0)
    assert torch.allclose(fit_decay(measured, TIMES_S, noise=80.0, iterations=50).rate_hz, RATES, rtol=0.02)
    assert float(fit_decay(measured, TIMES_S).rate_hz[-1]) < 120.0


def test_least_squares_beats_the_logarithm_in_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = 40 * torch.randn(2, 4, 20000, generator=generator)
    pure = 800.0 * torch.exp(-40.0 * torch.tensor(TIMES_S)[:, None])
    measured = torch.hypot(pure + noise[0], noise[1])
    fitted = fit_decay(measured, TIMES_S, noise=40.0).rate_hz
    assert abs(float(fitted.mean()) - 40.0) < 0.5
    unweighted = -(measured.log() * (torch.tensor(TIMES_S)[:, None] - sum(TIMES_S) / 4)).sum(0)
    unweighted = unweighted / float(((torch.tensor(TIMES_S) - sum(TIMES_S) / 4) ** 2).sum())
    assert fitted.std() < unweighted.std()


def test_no_signal_gives_no_rate_and_growth_gives_zero() -> None:
    assert not fit_decay(torch.zeros(4, 3), TIMES_S).rate_hz.any()
    assert not fit_decay(torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None], TIMES_S).rate_hz.any()


def test_rates_stay_within_what_can_be_measured() -> None:
    spike = torch.tensor([1000.0, 0.0, 0.0, 0.0])[:, None]
    assert 200 < float(fit_decay(spike, TIMES_S).rate_hz) <= 1000


def test_two_echoes_are_too_few() -> None:
    with pytest.raises(InputError, match="arlo needs at least three echoes, and the scan has 2"):
        check_echoes("arlo", (0.01, 0.02))
    check_echoes("arlo", (0.01, 0.02, 0.03))


def test_a_mask_from_elsewhere_is_refused() -> None:
    mask = Mask(Grid.centred((5, 5, 5)), torch.ones(5, 5, 5))
    with pytest.raises(InputError, match="not on the grid of the spin echoes"):
        check_place("spin echoes", Grid.centred((5, 5, 6)), mask)


@pytest.mark.parametrize("known", [True, False])
def test_the_standard_error_is_the_scatter_over_many_fits_and_near_the_cramer_rao_bound(known: bool) -> None:
    """At SNR 40 and 25 Hz; bias, scatter and the error told, against the bound of the same model."""
    times, rate, height, noise = TIMES_S, 25.0, 1000.0, 25.0
    pure = height * torch.exp(-rate * torch.tensor(times))[:, None]
    drawn = noise * torch.randn(2, 4, 40000, generator=torch.Generator().manual_seed(0))
    found = fit_decay(torch.hypot(pure + drawn[0], drawn[1]), times, noise if known else 0.0)
    slopes = torch.stack((pure[:, 0] / height, -torch.tensor(times) * pure[:, 0]))
    bound = noise * float(torch.linalg.inv(slopes @ slopes.T)[1, 1].sqrt())
    assert abs(float(found.rate_hz.mean()) / rate - 1) < 0.02
    assert float(found.rate_hz.std()) < 1.2 * bound
    told = float(found.std_hz.square().mean().sqrt())
    assert told == pytest.approx(float(found.rate_hz.std()), rel=0.06)


def test_what_else_takes_signal_is_allowed_for() -> None:
    fading = torch.tensor([0.99, 0.9, 0.8, 0.4])[:, None].expand(4, len(RATES))
    found = fit_decay(decay() * fading, TIMES_S, fading=fading)
    assert torch.allclose(found.rate_hz, RATES, rtol=1e-3, atol=1e-3)
    assert (fit_decay(decay() * fading, TIMES_S).rate_hz > RATES + 10).all()


def test_milliseconds_are_refused() -> None:
    with pytest.raises(InputError, match="28 s must be milliseconds"):
        check_echoes("r2starfit", (4.0, 11.0, 28.0))
