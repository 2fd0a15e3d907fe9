"""What every inversion that trusts the field only inside a mask begins and ends with."""

from __future__ import annotations

from dataclasses import dataclass

from .._lazy import torch
from ..data import ChiMap, FieldNoise, GreData, LocalField
from ..physics.box import Box
from ..physics.constants import radians_per_ppm
from ..physics.dipole import Dipole
from .weights import data_weight

USUAL_RADIANS_PER_PPM = 5.6
"""Where the scan is not known: echoes 7 ms apart at 3 T."""


@dataclass(frozen=True)
class Problem:
    """A local field cropped to its mask: `field_ppm`, `inside` and `weight` (w² in 0 to 1) are (X, Y, Z) in `box`."""

    local: LocalField
    box: Box
    dipole: Dipole
    field_ppm: torch.Tensor
    inside: torch.Tensor
    weight: torch.Tensor

    @classmethod
    def of(cls, local: LocalField, noise: FieldNoise | None = None) -> Problem:
        """The problem, weighted by `noise` where it is known. Raises InputError for an empty mask."""
        box = Box.around(local.mask)
        inside, field = box.cut(local.mask) > 0, box.cut(local.field_ppm)
        weight = data_weight(inside, None if noise is None else box.cut(noise.noise_ppm))
        return cls(local, box, Dipole.of(box.grid(local.grid), field.device), field * inside, inside, weight)

    def chi_map(self, chi_ppm: torch.Tensor) -> ChiMap:
        """The artifact of a χ that was found over the box, padded or not."""
        x, y, z = self.box.shape
        return ChiMap(self.local.grid, self.box.paste(chi_ppm[:x, :y, :z] * self.inside), self.local.mask)


def phase_per_ppm(gre: GreData | None, given: float | None = None) -> float:
    """Radians that 1 ppm of field makes between echoes (until the echo, if there is one): the scale on which a field
    map can be wrong by whole turns. `given` has the last word."""
    if given is not None:
        return given
    if gre is None:
        return USUAL_RADIANS_PER_PPM
    times = sorted(gre.echo_times_s)
    return radians_per_ppm(gre.field_strength_t, times[1] - times[0] if len(times) > 1 else times[0])
