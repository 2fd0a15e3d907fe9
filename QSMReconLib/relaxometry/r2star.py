"""R2* from the magnitudes of gradient echoes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from .._lazy import torch
from ..data import Artifact, GreData, Mask, R2StarMap, TotalField
from ..errors import InputError
from ..fieldmap.noise import signal_noise
from ..physics.constants import ppm_per_hz
from ..runtime import Runtime
from ..stage import Stage, option
from .decay import HIGHEST_HZ, Decay, check_echoes, check_place, fit_decay

UNEVEN = 0.01
"""How far, as a fraction of their spacing, echo times may stray from equal steps."""
AT_ONCE = 65536
"""Voxels that a processor's cache holds with all that is computed of them; more at once take several times as long."""
MUCH = 0.02
"""A note is due where field gradients matter in more of the mask than this."""
FADED = 0.9
"""A voxel whose last echo keeps less than this tells whether field gradients take signal."""
WITNESSES = 200
"""Voxels that must tell so; fewer are not believed, and do not matter much."""


def arlo(magnitude: torch.Tensor, spacing_s: float, noise: float = 0.0) -> Decay:
    """R2* from three or more equidistant echoes (echo, ...), in closed form: the decay is fitted to its own integral by
    Simpson's rule (Pei et al. 2015, doi:10.1002/mrm.25137). 0 to 1000 Hz; its standard error is what `noise`, the
    standard deviation of every echo, does to it."""
    third = spacing_s / 3
    integrals, drops, mixed = torch.zeros_like(magnitude[:3])
    pairs = []
    for one, two, three in zip(magnitude[:-2], magnitude[1:-1], magnitude[2:], strict=True):
        integral, drop = (one + three).add_(two, alpha=4).mul_(third), one - three
        integrals.addcmul_(integral, integral)
        drops.addcmul_(drop, drop)
        mixed.addcmul_(integral, drop)
        pairs.append((integral, drop))
    time = integrals.add_(mixed, alpha=third)
    there = time > 0
    time.clamp_(min=1e-30)
    rate = mixed.add_(drops, alpha=third).div_(time)
    # By how much each echo moves the rate, times `time`.
    slopes = torch.zeros_like(magnitude)
    for index, (integral, drop) in enumerate(pairs):
        by_drop = integral.addcmul(rate, integral, value=-third).add_(drop, alpha=2 * third)
        by_integral = drop.addcmul_(rate, integral.mul_(2).add_(drop, alpha=third), value=-1).mul_(third)
        slopes[index].add_(by_integral).add_(by_drop)
        slopes[index + 1].add_(by_integral, alpha=4)
        slopes[index + 2].add_(by_integral).sub_(by_drop)
    std = slopes.square_().sum(0).sqrt_().mul_(noise).div_(time)
    return Decay(rate.mul_(there).clamp_(0, HIGHEST_HZ), std.mul_(there).clamp_(max=HIGHEST_HZ))


def equal_spacing(echo_times_s: Sequence[float]) -> float:
    """The spacing of equidistant echoes in seconds. Raises InputError where they are not."""
    steps = [after - before for before, after in pairwise(echo_times_s)]
    spacing = sum(steps) / len(steps)
    if max(abs(step - spacing) for step in steps) > UNEVEN * spacing:
        raise InputError("arlo needs equidistant echoes, and these are not; use r2starfit.")
    return spacing


def fading_of(
    field_hz: torch.Tensor, mask: torch.Tensor, echo_times_s: Sequence[float], least: float = 0.05
) -> torch.Tensor:
    """What a linear field across each voxel leaves of every echo's signal (echo, X, Y, Z), `least` to 1: a sinc of the
    difference along each axis (Fernández-Seara and Wehrli 2000,
    doi:10.1002/1522-2594(200009)44:3<358::AID-MRM3>3.0.CO;2-I).

    Of neighbours outside the mask nothing is known: there, the difference to the other side counts.
    """
    inside = mask > 0
    fading = torch.ones(len(echo_times_s), *field_hz.shape, dtype=field_hz.dtype, device=field_hz.device)
    for axis in range(3):
        n = field_hz.shape[axis]
        step = field_hz.diff(dim=axis)
        known = inside.narrow(axis, 1, n - 1) & inside.narrow(axis, 0, n - 1)
        total, count = torch.zeros_like(field_hz), torch.zeros_like(field_hz)
        for side in (0, 1):
            total.narrow(axis, side, n - 1).add_(step * known)
            count.narrow(axis, side, n - 1).add_(known)
        across = total / count.clamp(min=1)
        for echo, time in enumerate(echo_times_s):
            fading[echo] *= torch.sinc(across * time).abs()
    return fading.clamp(min=least)


def shows_fading(signal: torch.Tensor, echo_times_s: Sequence[float], noise: float, fading: torch.Tensor) -> bool:
    """Whether echoes (echo, voxel) decay with this `fading` (echo, voxel) on top, rather than without.

    A sinc bends where an exponential does not. Of the voxels that it should take much from, most are fitted better by
    whichever model is true: some scans were made, or corrected, so that nothing fades.
    """
    strong = (fading[-1] < FADED).nonzero().squeeze(1)
    if len(strong) < WITNESSES:
        return False
    strong = strong[:: max(1, len(strong) // 20000)]
    seen, fades = signal[:, strong], fading[:, strong]
    with_it, without = (fit_decay(seen, echo_times_s, noise, fading=f).misfit for f in (fades, None))
    assert with_it is not None
    assert without is not None
    return float((with_it < without).float().mean()) > 0.5


def _places(mask: Mask) -> torch.Tensor:
    """The numbers of the voxels inside: to take and to put by number is several times as fast as by a boolean mask."""
    return mask.voxels.flatten().nonzero().squeeze(1)


def _at(volumes: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """The voxels (echo, voxel) of (echo, X, Y, Z)."""
    return volumes.flatten(1).index_select(1, places)


def _map(gre: GreData, parts: Iterable[tuple[torch.Tensor, Decay]]) -> R2StarMap:
    """What was found of each part of the voxels, as volumes with zeros around."""
    rate, std = torch.zeros_like(gre.magnitude[0]), torch.zeros_like(gre.magnitude[0])
    for places, found in parts:
        rate.view(-1).index_copy_(0, places, found.rate_hz)
        std.view(-1).index_copy_(0, places, found.std_hz)
    return R2StarMap(gre.grid, rate, gre.field_strength_t, std)


class Arlo(Stage):
    """R2* from equidistant echoes in closed form (ARLO; Pei et al. 2015, doi:10.1002/mrm.25137). Fast."""

    def check(self, given: Mapping[type[Artifact], Artifact]) -> None:
        if isinstance(gre := given.get(GreData), GreData):
            check_echoes("arlo", gre.echo_times_s)
            equal_spacing(gre.echo_times_s)

    def apply(self, gre: GreData, mask: Mask, runtime: Runtime) -> R2StarMap:
        check_echoes("arlo", gre.echo_times_s)
        check_place("gradient echoes", gre.grid, mask)
        spacing, places = equal_spacing(gre.echo_times_s), _places(mask)
        noise = signal_noise(gre.magnitude[-1], gre.phase_rad[-1], mask.voxels)
        parts = places.split(AT_ONCE) if places.device.type == "cpu" else (places,)
        return _map(gre, ((part, arlo(_at(gre.magnitude, part), spacing, noise)) for part in parts))


class R2StarFit(Stage):
    """R2* by nonlinear least squares on the magnitudes, at any echo times, allowing for the floor that noise lays under
    them (Gudbjartsson and Patz 1995, doi:10.1002/mrm.1910340618) and for the signal that a field gradient across the
    voxel takes (Fernández-Seara and Wehrli 2000, PubMed 10975885), where the echoes show it.
    """

    noise_floor: bool = option(True, "Account for the positive bias that noise gives a magnitude")
    field_gradients: str = option(
        "auto",
        "Account for dephasing by the total field's gradient across each voxel, near air and in thick slices; auto: "
        "where a total field is there and the echoes show it",
        choices=("auto", "on", "off"),
    )
    iterations: int = option(20, "Levenberg-Marquardt steps at most", ge=1, le=200)

    def check(self, given: Mapping[type[Artifact], Artifact]) -> None:
        if isinstance(gre := given.get(GreData), GreData):
            check_echoes("r2starfit", gre.echo_times_s)

    def apply(self, gre: GreData, mask: Mask, runtime: Runtime, total: TotalField | None = None) -> R2StarMap:
        check_echoes("r2starfit", gre.echo_times_s)
        check_place("gradient echoes", gre.grid, mask)
        places = _places(mask)
        noise = signal_noise(gre.magnitude[-1], gre.phase_rad[-1], mask.voxels) if self.noise_floor else 0.0
        signal = _at(gre.magnitude, places)
        fading = self._fading(gre, mask, places, total)
        if self.field_gradients == "auto" and fading is not None:
            fading = fading if shows_fading(signal, gre.echo_times_s, noise, fading) else None
        if fading is not None and (much := float((fading[-1] < 0.7).float().mean())) > MUCH:
            runtime.note(
                f"Field gradients take more than 30 % of the last echo's signal in {100 * much:.0f} % of the brain; "
                "R2* allows for it."
            )
        found = fit_decay(signal, gre.echo_times_s, noise, self.iterations, progress=runtime.progress, fading=fading)
        return _map(gre, [(places, found)])

    def _fading(self, gre: GreData, mask: Mask, places: torch.Tensor, total: TotalField | None) -> torch.Tensor | None:
        """Of the voxels inside (echo, voxel); None where it is not asked for, or cannot be known and need not be."""
        if self.field_gradients == "off" or (total is None and self.field_gradients == "auto"):
            return None
        if total is None:
            raise InputError("field_gradients needs the total field: put a field map before r2starfit, or give one.")
        if not gre.grid.same_place(total.grid):
            raise InputError("The total field is not on the grid of the gradient echoes; resample one of them.")
        field_hz = total.field_ppm / ppm_per_hz(gre.field_strength_t)
        return _at(fading_of(field_hz, mask.voxels, gre.echo_times_s), places)
