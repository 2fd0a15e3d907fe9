"""Susceptibility-weighted images and their minimum-intensity projections."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .._lazy import torch
from ..data import GreData, Mask, SwiImages, UnwrappedPhase
from ..fieldmap.smooth import gaussian, gaussian_inside
from ..runtime import Runtime
from ..stage import Stage, option


def homodyne(
    magnitude: torch.Tensor, phase_rad: torch.Tensor, voxel_size_mm: Sequence[float], sigma_mm: float
) -> torch.Tensor:
    """The phase (X, Y, Z) in rad of the image over the same image smoothed by `sigma_mm`: needs no unwrapping."""
    image = torch.polar(magnitude.float(), phase_rad.float())
    return (image * gaussian(image, voxel_size_mm, sigma_mm).conj()).angle()


def phase_mask(phase_rad: torch.Tensor, power: int) -> torch.Tensor:
    """1 where the high-passed phase (rad, growing with the field) is not positive, falling to 0 at π, to a power.

    Venous blood and iron raise the field that they lie in, in vessels along B0 and wherever slices are thick, so that
    they darken (Haacke et al. 2004, doi:10.1002/mrm.20198).
    """
    return (1 - phase_rad.clamp(0, math.pi) / math.pi) ** power


def minimum_projection(
    volume: torch.Tensor, mask: torch.Tensor, voxel_size_mm: Sequence[float], slab_mm: float
) -> torch.Tensor:
    """Each slice (X, Y, Z) as the least of a slab of about `slab_mm` around it, over the voxels of the mask alone.

    Slabs lie along the axis of the longest voxels, which is that of the slices, and upwards where all are equal.
    """
    longest = max(voxel_size_mm)
    axis = max(a for a in range(3) if voxel_size_mm[a] > 0.999 * longest)
    width = 2 * round((slab_mm / voxel_size_mm[axis] - 1) / 2) + 1
    inside = mask > 0
    seen = torch.where(inside, volume, torch.full_like(volume, torch.inf)).movedim(axis, -1)
    least = -torch.nn.functional.max_pool1d(-seen.flatten(0, 1)[:, None], width, 1, width // 2)[:, 0]
    return torch.where(inside, least.reshape(seen.shape).movedim(-1, axis), torch.zeros_like(volume))


class Swi(Stage):
    """Susceptibility-weighted images: magnitudes darkened by their own high-passed phase (Haacke et al. 2009,
    doi:10.3174/ajnr.A1400), the mean of the echoes, and its minimum-intensity projection.

    For looking at, beside the maps: SWI is no measure of χ, and blooms more with every echo.
    """

    filter: str = option(
        "homodyne",
        "What makes the phase high-pass: the image over its smooth self, or the unwrapped phase less its smooth self",
        choices=("homodyne", "unwrapped"),
    )
    smooth_mm: float = option(6.0, "Width (σ) of what is smooth", unit="mm", ge=1, le=50)
    power: int = option(4, "How often the phase mask is multiplied in", ge=1, le=10)
    first_echo_s: float = option(0.008, "Earlier echoes hold too little phase and are left out", unit="s", ge=0, le=0.1)
    slab_mm: float = option(10.0, "Thickness of the minimum-intensity projection", unit="mm", ge=1, le=50)

    def apply(self, gre: GreData, mask: Mask, runtime: Runtime, unwrapped: UnwrappedPhase | None = None) -> SwiImages:
        voxel = gre.grid.voxel_size_mm
        brain = (mask.voxels > 0).float()
        chosen = unwrapped if self.filter == "unwrapped" else None
        if self.filter == "unwrapped" and chosen is None:
            runtime.note("SWI: there is no unwrapped phase, so the phase was high-passed by homodyne division instead.")
        late = [i for i, time in enumerate(gre.echo_times_s) if time >= self.first_echo_s]
        if not late:
            late = [len(gre.echo_times_s) - 1]
            runtime.note(f"SWI: no echo is later than {1e3 * self.first_echo_s:g} ms; the last one was taken.")
        total = torch.zeros_like(brain)
        for done, echo in enumerate(late):
            magnitude = gre.magnitude[echo].float()
            if chosen is not None:
                phase = chosen.phase_rad[echo].float()
                high = phase - gaussian_inside(phase, brain, voxel, self.smooth_mm)
            else:
                high = homodyne(magnitude, gre.phase_rad[echo], voxel, self.smooth_mm)
            total += magnitude * phase_mask(high, self.power)
            runtime.progress((done + 1) / (len(late) + 1))
        swi = total * brain / len(late)
        return SwiImages(gre.grid, swi, minimum_projection(swi, brain, voxel, self.slab_mm))
