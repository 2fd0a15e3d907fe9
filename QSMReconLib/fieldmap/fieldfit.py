"""The field as the weighted mean of the phase's rate over the echoes."""

from __future__ import annotations

from collections.abc import Sequence

from .._lazy import torch
from ..data import FieldNoise, GreData, Mask, TotalField, UnwrappedPhase
from ..physics.constants import radians_per_ppm
from ..runtime import Runtime
from ..stage import Stage
from .noise import noise_ppm


def weighted_rate(phase_rad: torch.Tensor, magnitude: torch.Tensor, echo_times_s: Sequence[float]) -> torch.Tensor:
    """rad/s from unwrapped phase (echo, X, Y, Z) that is zero at time zero: Σ w·φ/TE / Σ w with w = (magnitude·TE)²,
    the least-variance mean where the noise of the complex signal is the same in all echoes."""
    time = torch.tensor(list(echo_times_s), dtype=phase_rad.dtype, device=phase_rad.device)[:, None, None, None]
    weight = (magnitude * time) ** 2
    return (weight * phase_rad / time).sum(0) / weight.sum(0).clamp(min=1e-30)


class FieldFit(Stage):
    """Field from unwrapped echoes by the magnitude- and time-weighted mean of their rates.

    Least variance for phase that starts at zero; the starting phase must have been removed (mcpc3ds).
    """

    def apply(self, gre: GreData, phase: UnwrappedPhase, mask: Mask, runtime: Runtime) -> tuple[TotalField, FieldNoise]:
        rate = weighted_rate(phase.phase_rad, gre.magnitude, phase.echo_times_s) * (mask.voxels > 0)
        runtime.progress(0.5)
        noise = noise_ppm(rate, phase.phase_rad, gre.magnitude, phase.echo_times_s, phase.field_strength_t, mask.voxels)
        field = rate / radians_per_ppm(phase.field_strength_t, 1.0)
        return TotalField(gre.grid, field), FieldNoise(gre.grid, noise)
