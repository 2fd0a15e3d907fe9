"""The field as the frequency whose signal comes closest to the measured complex one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .._lazy import torch
from ..data import FieldNoise, GreData, Mask, TotalField, UnwrappedPhase
from ..physics.constants import radians_per_ppm
from ..runtime import Runtime
from ..stage import Stage, option
from .fieldfit import weighted_rate
from .noise import noise_ppm


def complex_fit(
    phase_rad: torch.Tensor,
    magnitude: torch.Tensor,
    echo_times_s: Sequence[float],
    start_rate: torch.Tensor,
    fit_offset: bool = False,
    iterations: int = 30,
    tolerance: float = 1e-4,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """The rate in rad/s (X, Y, Z) that minimises Σ |m·exp(iφ) - m·exp(i(φ0 + rate·TE))|² over the echoes (Liu et al.
    2013, doi:10.1002/mrm.24272), by Gauss-Newton from `start_rate`.

    φ0 is zero, or with `fit_offset` a value of each voxel's own (two echoes at least; noisier).
    """
    time = torch.tensor(list(echo_times_s), dtype=phase_rad.dtype, device=phase_rad.device)[:, None, None, None]
    weight = magnitude**2
    total = weight.sum(0).clamp(min=1e-30)
    mean_time = (weight * time).sum(0) / total if fit_offset else torch.zeros_like(start_rate)
    # About the mean time the offset and the rate do not mix, and each has its own closed step.
    lever = weight * (time - mean_time)
    curvature = (lever * (time - mean_time)).sum(0).clamp(min=1e-30)
    rate = start_rate.clone()
    offset = torch.zeros_like(rate)
    if fit_offset:
        offset = torch.polar(weight, phase_rad - rate * time).sum(0).angle() + rate * mean_time
    for iteration in range(iterations):
        misfit = torch.sin(phase_rad - offset - rate * (time - mean_time))
        change = (lever * misfit).sum(0) / curvature
        rate = rate + change
        if fit_offset:
            offset = offset + (weight * misfit).sum(0) / total
        if progress:
            progress((iteration + 1) / iterations)
        if change.norm() <= tolerance * rate.norm():
            break
    return rate


class ComplexFit(Stage):
    """Field from the complex signal by nonlinear least squares (Liu et al. 2013, doi:10.1002/mrm.24272).

    Starts from the weighted mean of the unwrapped echoes; a wrapped echo or two do not move the result.
    """

    fit_offset: bool = option(False, "Fit each voxel's starting phase too (noisier; where mcpc3ds was left out)")
    iterations: int = option(30, "Gauss-Newton steps at most", ge=1, le=200)
    tolerance: float = option(1e-4, "Stop when a step changes the field by less than this fraction", ge=1e-8, le=0.1)

    def apply(self, gre: GreData, phase: UnwrappedPhase, mask: Mask, runtime: Runtime) -> tuple[TotalField, FieldNoise]:
        inside = mask.voxels > 0
        times = phase.echo_times_s
        start = weighted_rate(phase.phase_rad, gre.magnitude, times) * inside
        rate = complex_fit(
            phase.phase_rad,
            gre.magnitude * inside,
            times,
            start,
            self.fit_offset and len(times) > 1,
            self.iterations,
            self.tolerance,
            runtime.progress,
        )
        rate = rate * inside
        noise = noise_ppm(rate, phase.phase_rad, gre.magnitude, times, phase.field_strength_t, mask.voxels)
        field = rate / radians_per_ppm(phase.field_strength_t, 1.0)
        return TotalField(gre.grid, field), FieldNoise(gre.grid, noise)
