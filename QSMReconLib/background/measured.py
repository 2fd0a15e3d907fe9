"""What every background removal begins and ends with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._lazy import torch
from ..data import ChiMap, FieldNoise, Grid, LocalField, Mask, TotalField
from ..physics.box import Box
from ..runtime import Runtime
from ..stage import option
from .harmonic import harmonic_residual
from .trust import Trust, fill_holes, trust

LOST = "its field cannot be trusted"
"""Why voxels go that no method could use."""


def local_std_option() -> Any:
    """The option of every stage that weighs voxels by their noise, for `Measured.of`."""
    return option(
        0.01, "Expected size of the local field: noise well below it makes no difference", unit="ppm", ge=1e-4, le=1.0
    )


def no_sphere(radius_mm: float) -> str:
    """Why voxels near the edge go."""
    return f"a sphere of {radius_mm:g} mm does not fit there, or the field cannot be trusted"


@dataclass(frozen=True)
class Measured:
    """A total field cropped to its mask: `field_ppm` and `inside` are (X, Y, Z) on `grid`, in `box` of the whole.

    `known` is what of the mask is left without regions whose field is lost, and how much each voxel counts.
    """

    whole: Grid
    box: Box
    grid: Grid
    field_ppm: torch.Tensor
    inside: torch.Tensor
    known: Trust

    @classmethod
    def of(cls, total: TotalField, mask: Mask, noise: FieldNoise | None, local_std_ppm: float = 0.01) -> Measured:
        """Weighted by `noise` where it is known, against a local field of about `local_std_ppm`. Raises InputError for
        an empty mask."""
        box = Box.around(mask.voxels)
        grid, inside = box.grid(total.grid), box.cut(mask.voxels)
        sigma = None if noise is None else box.cut(noise.noise_ppm)
        known = trust(inside, sigma, grid.voxel_size_mm, local_std_ppm)
        return cls(total.grid, box, grid, box.cut(total.field_ppm), inside, known)

    def bridged(self) -> torch.Tensor:
        """The field for methods that know no weights: holes are filled by what is around them."""
        return fill_holes(self.field_ppm, self.known, self.grid.voxel_size_mm)

    def tell_erosion(self, kept: torch.Tensor, runtime: Runtime, why: str = LOST) -> None:
        """Note how much of the mask is not `kept`."""
        had, has = int((self.inside > 0).sum()), int((kept > 0).sum())
        if has < had:
            runtime.note(f"The mask lost {had - has} of {had} voxels ({100 * (had - has) / had:.1f} %): {why}.")

    def local_field(self, local_ppm: torch.Tensor, kept: torch.Tensor, runtime: Runtime, why: str = LOST) -> LocalField:
        """The artifact of a local field in the box that holds where `kept`; says what was lost, and why."""
        self.tell_erosion(kept, runtime, why)
        local = local_ppm * kept
        left = harmonic_residual(local, kept, self.grid.voxel_size_mm, self.known.weight)
        return LocalField(self.whole, self.box.paste(local), self.box.paste(kept), left)

    def chi_map(self, chi_ppm: torch.Tensor, runtime: Runtime) -> ChiMap:
        """The artifact of χ in the box, where the field is known; says what was lost."""
        kept = self.known.mask
        self.tell_erosion(kept, runtime)
        return ChiMap(self.whole, self.box.paste(chi_ppm * kept), self.box.paste(kept))
