"""The noise of a scan, from the scan itself, and how far to trust each voxel of its field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi

from .._lazy import torch
from ..data import FieldNoise, GreData, Mask, PhaseQuality, UnwrappedPhase
from ..physics.constants import radians_per_ppm
from ..runtime import Runtime
from ..stage import option
from .smooth import gaussian
from .unwrap import wrap

NEAR_MM = 0.8
"""Width of the neighbourhood whose misfits are pooled: one voxel's own, of three or four echoes, says little."""
HIDDEN = 2.0
"""How much larger the error of the field is than the scatter between echoes shows, where the phase is not linear in
time: all echoes err the same way. Measured in simulated veins and bleeds of known field."""
ENOUGH = 65_536
"""Places in a volume where its noise is looked for: where a fifth of them is brain, to a hundredth."""
BEST_SNR = 1000.0
"""No scan is better; simulated ones without noise are, and their field must not weigh infinitely much."""
MUCH = 0.1
"""A note is due where more of the mask than this cannot be trusted."""


def signal_noise(magnitude: torch.Tensor, phase_rad: torch.Tensor, mask: torch.Tensor) -> float:
    """The standard deviation of the real part of one echo (X, Y, Z), in units of the magnitude.

    From the differences in cubes of eight voxels along all its axes at once, which cancel whatever is smooth along
    any of them, by their median, which edges do not move. No air around the head is needed.
    """
    inside = mask.flatten().bool()
    step = max(1, len(inside) // ENOUGH)
    first = inside[::step].nonzero().squeeze(1) * step
    corners = torch.zeros(1, dtype=first.dtype, device=first.device)
    sign = torch.ones(1, device=first.device)
    for n, stride in zip(mask.shape, (mask[0].numel(), mask.shape[2], 1), strict=True):
        if n > 1:
            first = first[first // stride % n < n - 1]
            corners, sign = torch.cat([corners, corners + stride]), torch.cat([sign, -sign])
    cubes = first + corners[:, None]
    cubes = cubes[:, inside[cubes].all(0)]
    if not cubes.numel():
        return 0.0
    signal = torch.polar(magnitude.flatten()[cubes], phase_rad.flatten()[cubes])
    difference = torch.view_as_real((signal * sign[:, None]).sum(0))
    # The median of |x| is 0.6745 σ for Gaussian noise.
    return float(difference.abs().median()) / 0.6745 / len(corners) ** 0.5


def field_noise(
    rate: torch.Tensor,
    phase_rad: torch.Tensor,
    magnitude: torch.Tensor,
    echo_times_s: Sequence[float],
    mask: torch.Tensor,
    voxel_size_mm: Sequence[float],
    quality: torch.Tensor | None = None,
    max_misfit_rad: float = 0.2,
    min_quality: float = 0.2,
    free_offset: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The standard deviation (rad/s) of a rate (X, Y, Z) fitted to unwrapped echoes, and where it cannot be trusted.

    Thermal noise, and more where the echoes scatter about a line through the origin. Unreliable is where that scatter
    exceeds `max_misfit_rad` (dephased, flowing, wrapped wrong), the phase quality falls below `min_quality` times its
    median, the first echo jumps by more than π to a neighbour, or the signal drowns in noise; there the standard
    deviation is half a turn of the first echo, which is also the most it can be. `free_offset` says that a starting
    phase was fitted along with the rate (and taken out of `phase_rad`).
    """
    inside = mask > 0
    within = inside.to(rate.dtype)
    count = len(echo_times_s)
    sigma = max(signal_noise(m, p, mask) for m, p in zip(magnitude, phase_rad, strict=True))
    if bool(inside.any()):
        sigma = max(sigma, float(magnitude[0][inside].mean()) / BEST_SNR)
    power, first, second, scatter = (torch.zeros_like(rate) for _ in range(4))
    for echo, time in enumerate(echo_times_s):
        squared = magnitude[echo] ** 2
        power += squared
        first += squared * time
        second += squared * time**2
        scatter += squared * time**2 * wrap(phase_rad[echo] - rate * time) ** 2
    power, second = power.clamp(min=1e-30), second.clamp(min=1e-30)
    information = (second - first**2 / power if free_offset else second).clamp(min=1e-30)
    thermal = sigma / information.sqrt()
    # What noise alone would leave after the fit of one or two numbers to all echoes.
    free = max(0, count - 1 - free_offset) / count
    noise_scatter = sigma**2 * sum(time**2 for time in echo_times_s) * free
    excess = (scatter - noise_scatter) / second * within
    around = gaussian(within, voxel_size_mm, NEAR_MM).clamp(min=1e-3)
    systematic = (gaussian(excess, voxel_size_mm, NEAR_MM) / around).clamp(min=0).sqrt()
    deviation = torch.hypot(thermal, HIDDEN * systematic * (power / information).sqrt())
    misfit = excess.clamp(min=0).sqrt()
    misfit = torch.maximum(misfit, gaussian(misfit, voxel_size_mm, NEAR_MM) / around)
    unreliable = (misfit > max_misfit_rad) | (power <= count * (3 * sigma) ** 2)
    unreliable |= _broken(phase_rad[0], inside)
    if quality is not None and bool(inside.any()):
        unreliable |= quality < min_quality * quality[inside].median()
    unreliable &= inside
    most = pi / min(echo_times_s)
    deviation = torch.where(unreliable, torch.full_like(deviation, most), deviation.clamp(max=most))
    return deviation * within, unreliable


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """The options by which a stage that makes a field map tells what of it can be trusted."""

    max_misfit_rad: float = option(
        0.2, "Beyond this scatter of the echoes about a line a voxel is unreliable", unit="rad", ge=0.01, le=3.0
    )
    min_quality: float = option(
        0.2, "Below this phase quality, relative to the median, a voxel is unreliable", ge=0.0, le=0.9
    )

    def noise(
        self,
        rate: torch.Tensor,
        gre: GreData,
        phase: UnwrappedPhase,
        mask: Mask,
        quality: PhaseQuality | None,
        runtime: Runtime,
        free_offset: bool = False,
    ) -> FieldNoise:
        """`field_noise` as an artifact, with a note where much of the mask cannot be trusted."""
        deviation, unreliable = field_noise(
            rate,
            phase.phase_rad,
            gre.magnitude,
            phase.echo_times_s,
            mask.voxels,
            gre.grid.voxel_size_mm,
            None if quality is None else quality.quality,
            self.max_misfit_rad,
            self.min_quality,
            free_offset,
        )
        share = float(unreliable.sum()) / max(1, int((mask.voxels > 0).sum()))
        if share > MUCH:
            runtime.note(
                f"The field cannot be trusted in {100 * share:.0f} % of the mask: the echoes disagree or the phase is "
                "noise. Check the echo times, the removal of the starting phase (mcpc3ds) and the mask."
            )
        return FieldNoise(gre.grid, deviation / radians_per_ppm(phase.field_strength_t, 1.0))


def _broken(phase_rad: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Voxels whose unwrapped phase is more than π from a neighbour's: one of the two is wrong."""
    broken = torch.zeros_like(inside)
    for axis in range(3):
        n = phase_rad.shape[axis]
        if n == 1:
            continue
        jump = phase_rad.diff(dim=axis).abs() > pi
        jump &= inside.narrow(axis, 1, n - 1) & inside.narrow(axis, 0, n - 1)
        broken.narrow(axis, 0, n - 1).logical_or_(jump)
        broken.narrow(axis, 1, n - 1).logical_or_(jump)
    return broken
