"""R2 from the magnitudes of spin echoes."""

from __future__ import annotations

from .._lazy import torch
from ..data import GreData, Mask, R2Map, SpinEchoData
from ..fieldmap.noise import signal_noise
from ..runtime import Runtime
from ..stage import Stage, option
from .decay import HIGHEST_HZ, check_echoes, check_place, fit_decay, log_linear


class R2Fit(Stage):
    """R2 by nonlinear least squares on spin-echo magnitudes, allowing for the floor that noise lays under them.

    Imperfect refocusing feeds stimulated echoes into all echoes but the first, which then reads low and R2 with it;
    `skip_first` leaves that echo out (Milford et al. 2015, doi:10.1371/journal.pone.0145255). The field strength is
    that of the gradient-echo scan.

    One T2-weighted echo says R2 only with an assumption: that its signal without decay is that of the gradient echoes
    without theirs, but for a factor, which gives the brain the median R2 that `typical_r2_hz` says.
    """

    skip_first: bool = option(False, "Leave out the first echo, the one without stimulated echoes")
    noise_floor: bool = option(True, "Account for the positive bias that noise gives a magnitude")
    typical_r2_hz: float = option(
        13.0, "Of one echo alone: the median R2 of the brain, at 3 T", unit="Hz", ge=1, le=100
    )
    iterations: int = option(20, "Levenberg-Marquardt steps at most", ge=1, le=200)

    def apply(self, spin_echo: SpinEchoData, gre: GreData, mask: Mask, runtime: Runtime) -> R2Map:
        times, magnitude = spin_echo.echo_times_s, spin_echo.magnitude
        check_place("spin echoes", spin_echo.grid, mask)
        if len(times) == 1:
            return self._of_one(spin_echo, gre, mask, runtime)
        if self.skip_first:
            times, magnitude = times[1:], magnitude[1:]
        check_echoes("r2fit", times)
        inside = mask.voxels > 0
        noise = 0.0
        if self.noise_floor:
            # Noise of a magnitude well above it is that of its real part.
            noise = signal_noise(magnitude[-1], torch.zeros_like(magnitude[-1]), mask.voxels)
        found = fit_decay(magnitude[:, inside], times, noise, self.iterations, progress=runtime.progress)
        rate, std = torch.zeros_like(magnitude[0]), torch.zeros_like(magnitude[0])
        rate[inside], std[inside] = found.rate_hz, found.std_hz
        return R2Map(spin_echo.grid, rate, gre.field_strength_t, std)

    def _of_one(self, spin_echo: SpinEchoData, gre: GreData, mask: Mask, runtime: Runtime) -> R2Map:
        check_echoes("r2fit, of one spin echo", gre.echo_times_s)
        check_place("gradient echoes", gre.grid, mask)
        inside = (mask.voxels > 0) & (spin_echo.magnitude[0] > 0)
        undecayed, _ = log_linear(gre.magnitude[:, inside], gre.echo_times_s)
        lost = (undecayed / spin_echo.magnitude[0][inside]).clamp(min=1e-12).log() / spin_echo.echo_times_s[0]
        rate = torch.zeros_like(spin_echo.magnitude[0])
        rate[inside] = (lost - lost.median() + self.typical_r2_hz).clamp(0, HIGHEST_HZ)
        runtime.note(
            f"There is one spin echo: R2 assumes that its contrast without decay is the gradient echoes', and that the "
            f"brain's median R2 is {self.typical_r2_hz:g} Hz."
        )
        return R2Map(spin_echo.grid, rate, gre.field_strength_t)
