"""R2* from the magnitudes of gradient echoes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from .._lazy import torch
from ..data import Artifact, GreData, Mask, R2StarMap
from ..errors import InputError
from ..fieldmap.noise import signal_noise
from ..runtime import Runtime
from ..stage import Stage, option
from .decay import HIGHEST_HZ, check_echoes, check_place, fit_decay

UNEVEN = 0.01
"""How far, as a fraction of their spacing, echo times may stray from equal steps."""


def arlo(magnitude: torch.Tensor, spacing_s: float) -> torch.Tensor:
    """R2* in Hz (...) from three or more equidistant echoes (echo, ...), in closed form: the decay is fitted to its own
    integral by Simpson's rule (Pei et al. 2015, doi:10.1002/mrm.25137). 0 to 1000 Hz."""
    third = spacing_s / 3
    integrals, drops, mixed = (torch.zeros_like(magnitude[0]) for _ in range(3))
    for one, two, three in zip(magnitude[:-2], magnitude[1:-1], magnitude[2:], strict=True):
        integral = third * (one + 4 * two + three)
        drop = one - three
        integrals += integral**2
        drops += drop**2
        mixed += integral * drop
    time = integrals + third * mixed
    rate = (mixed + third * drops) / time.clamp(min=1e-30)
    return torch.where(time > 0, rate, torch.zeros_like(rate)).clamp(0, HIGHEST_HZ)


def equal_spacing(echo_times_s: Sequence[float]) -> float:
    """The spacing of equidistant echoes in seconds. Raises InputError where they are not."""
    steps = [after - before for before, after in pairwise(echo_times_s)]
    spacing = sum(steps) / len(steps)
    if max(abs(step - spacing) for step in steps) > UNEVEN * spacing:
        raise InputError("arlo needs equidistant echoes, and these are not; use r2starfit.")
    return spacing


class Arlo(Stage):
    """R2* from equidistant echoes in closed form (ARLO; Pei et al. 2015, doi:10.1002/mrm.25137). Fast."""

    def check(self, given: Mapping[type[Artifact], Artifact]) -> None:
        if isinstance(gre := given.get(GreData), GreData):
            check_echoes("arlo", gre.echo_times_s)
            equal_spacing(gre.echo_times_s)

    def apply(self, gre: GreData, mask: Mask, runtime: Runtime) -> R2StarMap:
        check_echoes("arlo", gre.echo_times_s)
        check_place("gradient echoes", gre.grid, mask)
        rate = arlo(gre.magnitude, equal_spacing(gre.echo_times_s))
        return R2StarMap(gre.grid, rate * (mask.voxels > 0), gre.field_strength_t)


class R2StarFit(Stage):
    """R2* by nonlinear least squares on the magnitudes, at any echo times, allowing for the floor that noise lays under
    them (Gudbjartsson and Patz 1995, doi:10.1002/mrm.1910340618).
    """

    noise_floor: bool = option(True, "Account for the positive bias that noise gives a magnitude")
    iterations: int = option(20, "Levenberg-Marquardt steps at most", ge=1, le=200)

    def check(self, given: Mapping[type[Artifact], Artifact]) -> None:
        if isinstance(gre := given.get(GreData), GreData):
            check_echoes("r2starfit", gre.echo_times_s)

    def apply(self, gre: GreData, mask: Mask, runtime: Runtime) -> R2StarMap:
        check_echoes("r2starfit", gre.echo_times_s)
        check_place("gradient echoes", gre.grid, mask)
        inside = mask.voxels > 0
        noise = signal_noise(gre.magnitude[-1], gre.phase_rad[-1], mask.voxels) if self.noise_floor else 0.0
        rate = torch.zeros_like(gre.magnitude[0])
        rate[inside] = fit_decay(
            gre.magnitude[:, inside], gre.echo_times_s, noise, self.iterations, progress=runtime.progress
        )
        return R2StarMap(gre.grid, rate, gre.field_strength_t)
