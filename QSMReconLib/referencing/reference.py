"""What χ is measured against."""

from __future__ import annotations

from dataclasses import replace

from .._lazy import torch
from ..data import ChiMap, CsfMask, LabelMap
from ..errors import InputError
from ..runtime import Runtime
from ..stage import Stage, option


def referenced(chi_ppm: torch.Tensor, mask: torch.Tensor, region: torch.Tensor) -> tuple[torch.Tensor, float]:
    """χ (X, Y, Z) in ppm less its mean over `region`, still zero outside the mask, and that mean in ppm.

    Raises InputError where the region holds no voxel of the mask.
    """
    inside = mask > 0
    seen = chi_ppm[inside & (region > 0)]
    if not seen.numel():
        raise InputError("The reference region holds no voxel of the χ map: choose another region.")
    offset = float(seen.double().mean())
    return torch.where(inside, chi_ppm - offset, torch.zeros_like(chi_ppm)), offset


class Reference(Stage):
    """Gives χ the zero of a named region; a field tells χ only up to a constant.

    The 2024 consensus (doi:10.1002/mrm.30006) asks that the region be stated, and names the whole brain as the common
    one. Maps of different references are not interchangeable: region and offset are written beside the map.
    """

    region: str = option(
        "brain",
        "Where the mean of χ shall be zero: the whole mask, the ventricles' fluid, or a region of a label map",
        choices=("brain", "csf", "label"),
    )
    label: int = option(1, "Number of the region in the label map, for region = label", ge=1, le=100_000)

    def apply(
        self, chi: ChiMap, runtime: Runtime, csf: CsfMask | None = None, labels: LabelMap | None = None
    ) -> ChiMap:
        where, name = chi.mask, "the whole brain"
        if self.region == "csf":
            if csf is None:
                raise InputError("reference.region = csf needs a CSF mask: put findcsf before reference.")
            if bool((csf.voxels & (chi.mask > 0)).any()):
                where, name = csf.voxels, "the ventricles' fluid"
            else:
                runtime.note("There is no fluid to refer χ to, so that it refers to the whole brain instead.")
        elif self.region == "label":
            if labels is None:
                raise InputError("reference.region = label needs a label map: give one by --labels.")
            where, name = labels.numbers == self.label, f"region {self.label} of the label map"
        values, offset = referenced(chi.chi_ppm, chi.mask, where)
        voxels = int(((where > 0) & (chi.mask > 0)).sum())
        told = f"{name} ({voxels} voxels), whose mean of {1e3 * offset:.2f} ppb was taken off"
        return replace(chi, chi_ppm=values, reference=told)
