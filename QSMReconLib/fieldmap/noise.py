"""The noise of a scan, from the scan itself, and what it makes of the field."""

from __future__ import annotations

from collections.abc import Sequence

from .._lazy import torch
from ..physics.constants import radians_per_ppm
from .unwrap import wrap


def signal_noise(magnitude: torch.Tensor, phase_rad: torch.Tensor, mask: torch.Tensor) -> float:
    """The standard deviation of the real part of one echo (X, Y, Z), in units of the magnitude.

    From differences along all three axes at once, which cancel whatever is smooth along any of them, by their median,
    which edges do not move. No air around the head is needed.
    """
    difference, inside = torch.polar(magnitude, phase_rad), mask > 0
    count = 1
    for axis in range(3):
        n = difference.shape[axis]
        if n > 1:
            difference = difference.diff(dim=axis)
            inside = inside.narrow(axis, 1, n - 1) & inside.narrow(axis, 0, n - 1)
            count *= 2
    values = torch.view_as_real(difference[inside]).flatten()
    # The median of |x| is 0.6745 σ for Gaussian noise.
    return float(values.abs().median()) / 0.6745 / count**0.5 if values.numel() else 0.0


def rate_noise(
    rate: torch.Tensor,
    phase_rad: torch.Tensor,
    magnitude: torch.Tensor,
    echo_times_s: Sequence[float],
    sigma: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The standard deviation (rad/s) of a rate fitted to all echoes for noise `sigma`, and the misfit of the phase in
    units of that noise (reduced χ², 1 where there is nothing but noise; ones for a single echo)."""
    time = torch.tensor(list(echo_times_s), dtype=rate.dtype, device=rate.device)[:, None, None, None]
    thermal = sigma / ((magnitude * time) ** 2).sum(0).clamp(min=1e-30).sqrt()
    if len(echo_times_s) == 1:
        return thermal, torch.ones_like(rate)
    misfit = (magnitude * wrap(phase_rad - rate * time)) ** 2
    return thermal, misfit.sum(0) / (len(echo_times_s) - 1) / max(sigma, 1e-30) ** 2


def noise_ppm(
    rate: torch.Tensor,
    phase_rad: torch.Tensor,
    magnitude: torch.Tensor,
    echo_times_s: Sequence[float],
    field_strength_t: float,
    mask: torch.Tensor,
) -> torch.Tensor:
    """The standard deviation of the field (X, Y, Z) in ppm: thermal noise, more where the echoes disagree."""
    sigma = max(signal_noise(m, p, mask) for m, p in zip(magnitude, phase_rad, strict=True))
    thermal, misfit = rate_noise(rate, phase_rad, magnitude, echo_times_s, sigma)
    return thermal * misfit.clamp(min=1).sqrt() / radians_per_ppm(field_strength_t, 1.0) * (mask > 0)
