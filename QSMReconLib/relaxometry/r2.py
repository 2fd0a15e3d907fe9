"""R2 from the magnitudes of spin echoes."""

from __future__ import annotations

from .._lazy import torch
from ..data import GreData, Mask, R2Map, SpinEchoData
from ..fieldmap.noise import signal_noise
from ..runtime import Runtime
from ..stage import Stage, option
from .decay import check_echoes, check_place, fit_decay


class R2Fit(Stage):
    """R2 by nonlinear least squares on spin-echo magnitudes, allowing for the floor that noise lays under them.

    Imperfect refocusing feeds stimulated echoes into all echoes but the first, which then reads low and R2 with it;
    `skip_first` leaves that echo out (Milford et al. 2015, doi:10.1371/journal.pone.0145255). The field strength is
    that of the gradient-echo scan.
    """

    skip_first: bool = option(False, "Leave out the first echo, the one without stimulated echoes")
    noise_floor: bool = option(True, "Account for the positive bias that noise gives a magnitude")
    iterations: int = option(20, "Levenberg-Marquardt steps at most", ge=1, le=200)

    def apply(self, spin_echo: SpinEchoData, gre: GreData, mask: Mask, runtime: Runtime) -> R2Map:
        times, magnitude = spin_echo.echo_times_s, spin_echo.magnitude
        if self.skip_first:
            times, magnitude = times[1:], magnitude[1:]
        check_echoes("r2fit", times)
        check_place("spin echoes", spin_echo.grid, mask)
        inside = mask.voxels > 0
        noise = 0.0
        if self.noise_floor:
            # Noise of a magnitude well above it is that of its real part.
            noise = signal_noise(magnitude[-1], torch.zeros_like(magnitude[-1]), mask.voxels)
        rate = torch.zeros_like(magnitude[0])
        rate[inside] = fit_decay(magnitude[:, inside], times, noise, self.iterations, progress=runtime.progress)
        return R2Map(spin_echo.grid, rate, gre.field_strength_t)
