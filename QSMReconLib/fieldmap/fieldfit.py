"""The field as the weighted mean of the phase's rate over the echoes."""

from __future__ import annotations

from collections.abc import Sequence

from .._lazy import torch
from ..data import FieldNoise, GreData, Mask, PhaseQuality, TotalField, UnwrappedPhase
from ..physics.constants import radians_per_ppm
from ..runtime import Runtime
from ..stage import Stage
from .noise import Reliability


def weighted_rate(phase_rad: torch.Tensor, magnitude: torch.Tensor, echo_times_s: Sequence[float]) -> torch.Tensor:
    """rad/s (...) from unwrapped phase (echo, ...) that is zero at time zero: Σ w·φ/TE / Σ w with w = (magnitude·TE)²,
    the least-variance mean where the noise of the complex signal is the same in all echoes."""
    total, weights = torch.zeros_like(phase_rad[0]), torch.zeros_like(phase_rad[0])
    for phase, strength, time in zip(phase_rad, magnitude, echo_times_s, strict=True):
        weight = strength**2 * time
        total += weight * phase
        weights += weight * time
    return total / weights.clamp(min=1e-30)


class FieldFit(Reliability, Stage):
    """Field from unwrapped echoes by the magnitude- and time-weighted mean of their rates.

    Least variance for phase that starts at zero; the starting phase must have been removed (mcpc3ds). Positive phase
    evolution is positive ppm.
    """

    def apply(
        self, gre: GreData, phase: UnwrappedPhase, mask: Mask, runtime: Runtime, quality: PhaseQuality | None = None
    ) -> tuple[TotalField, FieldNoise]:
        rate = weighted_rate(phase.phase_rad, gre.magnitude, phase.echo_times_s) * (mask.voxels > 0)
        runtime.progress(0.5)
        noise = self.noise(rate, gre, phase, mask, quality, runtime)
        return TotalField(gre.grid, rate / radians_per_ppm(phase.field_strength_t, 1.0)), noise
