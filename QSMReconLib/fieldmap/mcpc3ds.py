"""The phase a scan starts with (transmit and receive phase), found from two echoes and taken out of all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .._lazy import torch
from ..data import Artifact, GreData, Mask
from ..errors import InputError
from ..runtime import Runtime
from ..stage import Stage, option
from .smoothphase import smooth_phase
from .unwrap import edge_weights, unwrap_along_tree, wrap


def phase_offset(
    phase_rad: torch.Tensor,
    magnitude: torch.Tensor,
    echo_times_s: Sequence[float],
    mask: torch.Tensor,
    voxel_size_mm: Sequence[float],
    sigma_mm: float = 10.0,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """The phase at echo time zero (X, Y, Z), from the two echoes given, of the same readout direction.

    φ0 = φ1 - TE1/(TE2 - TE1)·unwrapped(φ2 - φ1), smoothed as a complex field (MCPC-3D-S; Eckstein et al. 2018,
    doi:10.1002/mrm.26963).
    """
    weight = magnitude[0] * magnitude[1] * (mask > 0)
    difference = wrap(phase_rad[1] - phase_rad[0])
    evolution = unwrap_along_tree(difference, edge_weights(difference, weight.sqrt(), mask), mask)
    if progress:
        progress(0.7)
    start = phase_rad[0] - echo_times_s[0] / (echo_times_s[1] - echo_times_s[0]) * evolution
    return smooth_phase(torch.polar(weight, start), voxel_size_mm, sigma_mm)


def readout_phase(
    phase_rad: torch.Tensor,
    magnitude: torch.Tensor,
    echo_times_s: Sequence[float],
    mask: torch.Tensor,
    voxel_size_mm: Sequence[float],
    sigma_mm: float = 10.0,
) -> torch.Tensor:
    """What an echo read backwards has more of phase than one read forwards (X, Y, Z), smooth, from three echoes."""
    (one, two, three), times = phase_rad, echo_times_s
    weight = magnitude.prod(0) ** (1 / 3) * (mask > 0)
    difference = wrap(three - one)
    evolution = unwrap_along_tree(difference, edge_weights(difference, weight, mask), mask)
    extra = two - one - evolution * ((times[1] - times[0]) / (times[2] - times[0]))
    return smooth_phase(torch.polar(weight, extra), voxel_size_mm, sigma_mm)


class Mcpc3ds(Stage):
    """Transmit-phase removal from the first two echoes (MCPC-3D-S; Eckstein et al. 2018, doi:10.1002/mrm.26963).

    A single echo cannot tell its starting phase from its field, and passes unchanged.
    """

    sigma_mm: float = option(10.0, "Width of the Gaussian that smooths the starting phase", unit="mm", ge=1, le=50)
    bipolar: bool = option(False, "Even echoes were read backwards (needs three echoes)")

    def check(self, given: Mapping[type[Artifact], Artifact]) -> None:
        gre = given.get(GreData)
        if isinstance(gre, GreData) and self.bipolar and len(gre.echo_times_s) < 3:
            raise InputError(
                f"The phase of a bipolar readout needs three echoes, and the scan has {len(gre.echo_times_s)}; "
                "set mcpc3ds.bipolar to false."
            )

    def apply(self, gre: GreData, runtime: Runtime, mask: Mask | None = None) -> GreData:
        self.check({GreData: gre})
        echoes = len(gre.echo_times_s)
        if echoes == 1:
            runtime.note("With a single echo the starting phase cannot be removed; it stays in the field.")
            return gre
        where = (gre.magnitude[0] > 0).to(gre.magnitude) if mask is None else mask.voxels
        phase, voxel = gre.phase_rad, gre.grid.voxel_size_mm
        pair = [0, 1]
        if self.bipolar:
            extra = readout_phase(phase[:3], gre.magnitude[:3], gre.echo_times_s[:3], where, voxel, self.sigma_mm)
            backwards = torch.zeros(echoes, dtype=phase.dtype, device=phase.device)
            backwards[1::2] = 1
            phase = phase - backwards[:, None, None, None] * extra
            pair = [0, 2]
            runtime.progress(0.5)
        times = [gre.echo_times_s[echo] for echo in pair]
        offset = phase_offset(phase[pair], gre.magnitude[pair], times, where, voxel, self.sigma_mm, runtime.progress)
        return GreData(gre.grid, gre.magnitude, wrap(phase - offset), gre.echo_times_s, gre.field_strength_t)
