"""Mono-exponential decay of magnitudes with noise, fitted to every voxel at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import pi
from typing import NamedTuple

from .._lazy import torch
from ..data import Grid, Mask
from ..errors import InputError

HIGHEST_HZ = 1000.0
"""Nothing that decays faster leaves a signal at a millisecond; noise does."""


LATE_S = 1.0
"""No gradient or spin echo is left after this time."""


class Decay(NamedTuple):
    """A rate and its standard error, both in Hz (...), and the squares that a fit leaves, summed over the echoes."""

    rate_hz: torch.Tensor
    std_hz: torch.Tensor
    misfit: torch.Tensor | None = None


def check_echoes(method: str, echo_times_s: Sequence[float]) -> None:
    """Raises InputError for too few echoes to tell a decay from noise, and for echo times in milliseconds."""
    if max(echo_times_s) > LATE_S:
        raise InputError(f"{method}: an echo time of {max(echo_times_s):g} s must be milliseconds; give seconds.")
    if len(echo_times_s) < 3:
        raise InputError(f"{method} needs at least three echoes, and the scan has {len(echo_times_s)}: add the others.")


def check_place(what: str, grid: Grid, mask: Mask) -> None:
    """Raises InputError where the mask lies on another grid."""
    if not grid.same_place(mask.grid):
        raise InputError(f"The mask is not on the grid of the {what}; resample one of them.")


def log_linear(signal: torch.Tensor, times_s: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Amplitude and rate in Hz (...) of a decay (echo, ...), from the logarithm weighted with the squared signal, which
    gives every echo its own precision."""
    total, first, second, level, slope = (torch.zeros_like(signal[0]) for _ in range(5))
    for echo, time in zip(signal, times_s, strict=True):
        weight = echo**2
        height = echo.clamp(min=1e-30).log()
        total += weight
        first += weight * time
        second += weight * time**2
        level += weight * height
        slope += weight * time * height
    mean_time = first / total.clamp(min=1e-30)
    spread = (second - first * mean_time).clamp(min=1e-30)
    rate = -(slope - level * mean_time) / spread
    amplitude = torch.exp((level / total.clamp(min=1e-30) + rate * mean_time).clamp(-60, 60))
    return amplitude, rate


def rician_mean(pure: torch.Tensor, noise: float) -> torch.Tensor:
    """The mean of a magnitude whose real and imaginary part carry noise of this standard deviation (Gudbjartsson and
    Patz 1995, doi:10.1002/mrm.1910340618), without Bessel functions, to 0.2 % of the noise."""
    power = (pure / noise) ** 2
    return noise * torch.sqrt(power + 1 + (pi / 2 - 1) / (1 + 0.205 * power) ** 2)


def fit_decay(
    signal: torch.Tensor,
    times_s: Sequence[float],
    noise: float = 0.0,
    iterations: int = 20,
    tolerance: float = 1e-4,
    progress: Callable[[float], None] | None = None,
    fading: torch.Tensor | None = None,
) -> Decay:
    """The least-squares fit of A·fading·exp(-rate·t) to magnitudes (echo, ...), lifted to the mean that a magnitude has
    in `noise` (the standard deviation of its real part).

    Levenberg-Marquardt in A and rate, starting from the weighted logarithm; 0 to 1000 Hz, 0 where there is no signal.
    `fading` (echo, ...), 1 where None, is what else takes signal from each echo. The standard error is that of the
    linearised fit, for `noise`, or for the scatter about the fit where none is given.
    """
    fades: Sequence[torch.Tensor | float] = [1.0] * len(times_s) if fading is None else list(fading)
    bright = (signal**2 - 2 * noise**2).clamp(min=0).sqrt()
    amplitude, rate = log_linear(bright if fading is None else bright / fading.clamp(min=0.1), times_s)
    rate = rate.clamp(0, HIGHEST_HZ)
    damping = torch.full_like(rate, 1e-3)

    def model(amplitude: torch.Tensor, rate: torch.Tensor) -> tuple[torch.Tensor, ...]:
        cost, aa, at, tt, ga, gt = (torch.zeros_like(rate) for _ in range(6))
        for echo, time, fade in zip(signal, times_s, fades, strict=True):
            decay = fade * torch.exp(-rate * time)
            pure = amplitude * decay
            whole = rician_mean(pure, noise) if noise > 0 else pure
            # The slope of the mean, but for the little that its last term changes.
            share = pure / whole if noise > 0 else torch.ones_like(pure)
            by_amplitude, by_rate = share * decay, -share * pure * time
            misfit = echo - whole
            cost += misfit**2
            aa += by_amplitude**2
            at += by_amplitude * by_rate
            tt += by_rate**2
            ga += by_amplitude * misfit
            gt += by_rate * misfit
        return cost, aa, at, tt, ga, gt

    cost, aa, at, tt, ga, gt = model(amplitude, rate)
    for iteration in range(iterations):
        more = 1 + damping
        determinant = (aa * tt * more**2 - at**2).clamp(min=1e-30)
        new_amplitude = amplitude + (tt * more * ga - at * gt) / determinant
        new_rate = (rate + (aa * more * gt - at * ga) / determinant).clamp(0, HIGHEST_HZ)
        found = model(new_amplitude, new_rate)
        better = found[0] < cost
        moved = torch.where(better, new_rate - rate, 0)
        amplitude, rate = torch.where(better, new_amplitude, amplitude), torch.where(better, new_rate, rate)
        cost, aa, at, tt, ga, gt = (
            torch.where(better, new, old) for new, old in zip(found, (cost, aa, at, tt, ga, gt), strict=True)
        )
        damping = torch.where(better, damping / 10, damping * 10).clamp(1e-7, 1e7)
        if progress:
            progress((iteration + 1) / iterations)
        if moved.norm() <= tolerance * rate.norm():
            break
    there = signal.sum(0) > 0
    spread = torch.full_like(cost, noise**2) if noise > 0 else cost / max(len(times_s) - 2, 1)
    # Relative to its parts, the determinant of two nearly parallel slopes is rounding.
    determinant = torch.maximum(aa * tt - at**2, 1e-6 * aa * tt).clamp(min=1e-30)
    std = (spread * aa / determinant).sqrt().clamp(max=HIGHEST_HZ)
    return Decay(torch.where(there, rate, 0), torch.where(there, std, 0), cost)
