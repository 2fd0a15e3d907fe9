"""The field as the frequency whose signal comes closest to the measured complex one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from .._lazy import torch
from ..data import FieldNoise, GreData, Mask, PhaseQuality, TotalField, UnwrappedPhase
from ..physics.constants import radians_per_ppm
from ..runtime import Runtime
from ..stage import Stage, option
from .fieldfit import weighted_rate
from .noise import Reliability


def complex_fit(
    phase_rad: torch.Tensor,
    magnitude: torch.Tensor,
    echo_times_s: Sequence[float],
    start_rate: torch.Tensor,
    free_offset: bool = False,
    iterations: int = 30,
    tolerance: float = 1e-4,
    progress: Callable[[float], None] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The rate in rad/s and the starting phase φ0 in rad (...) that minimise Σ |m·exp(iφ) - m·exp(i(φ0 + rate·TE))|²
    over the echoes (echo, ...), by Gauss-Newton from `start_rate` (Liu et al. 2013, doi:10.1002/mrm.24272).

    φ0 is zero, or with `free_offset` each voxel's own (two echoes at least; noisier).
    """
    time = torch.tensor(list(echo_times_s), dtype=phase_rad.dtype, device=phase_rad.device)
    time = time.reshape(-1, *[1] * start_rate.dim())
    weight = magnitude**2
    total = weight.sum(0).clamp(min=1e-30)
    mean_time = (weight * time).sum(0) / total if free_offset else torch.zeros_like(start_rate)
    # Counted from the mean time, the phase there and the rate do not mix: each has its own closed step.
    lever = weight * (time - mean_time)
    curvature = (lever * (time - mean_time)).sum(0).clamp(min=1e-30)
    rate = start_rate.clone()
    middle = torch.zeros_like(rate)
    if free_offset:
        middle = torch.polar(weight, phase_rad - rate * (time - mean_time)).sum(0).angle()
    for iteration in range(iterations):
        misfit = torch.sin(phase_rad - middle - rate * (time - mean_time))
        change = (lever * misfit).sum(0) / curvature
        rate = rate + change
        if free_offset:
            middle = middle + (weight * misfit).sum(0) / total
        if progress:
            progress((iteration + 1) / iterations)
        if change.norm() <= tolerance * rate.norm():
            break
    return rate, middle - rate * mean_time


class ComplexFit(Reliability, Stage):
    """Field from the complex signal by nonlinear least squares (Liu et al. 2013, doi:10.1002/mrm.24272).

    Starts from the weighted mean of the unwrapped echoes. Positive phase evolution is positive ppm.
    """

    free_offset: bool = option(False, "Fit each voxel's starting phase too (noisier; where mcpc3ds was left out)")
    iterations: int = option(30, "Gauss-Newton steps at most", ge=1, le=200)
    tolerance: float = option(1e-4, "Stop when a step changes the field by less than this fraction", ge=1e-8, le=0.1)

    def apply(
        self, gre: GreData, phase: UnwrappedPhase, mask: Mask, runtime: Runtime, quality: PhaseQuality | None = None
    ) -> tuple[TotalField, FieldNoise]:
        inside = mask.voxels > 0
        times = phase.echo_times_s
        free = self.free_offset and len(times) > 1
        wound, strength = phase.phase_rad[:, inside], gre.magnitude[:, inside]
        fitted, start = complex_fit(
            wound,
            strength,
            times,
            weighted_rate(wound, strength, times),
            free,
            self.iterations,
            self.tolerance,
            runtime.progress,
        )
        rate, offset = torch.zeros_like(gre.magnitude[0]), torch.zeros_like(gre.magnitude[0])
        rate[inside], offset[inside] = fitted, start
        started = replace(phase, phase_rad=phase.phase_rad - offset) if free else phase
        noise = self.noise(rate, gre, started, mask, quality, runtime, free)
        return TotalField(gre.grid, rate / radians_per_ppm(phase.field_strength_t, 1.0)), noise
