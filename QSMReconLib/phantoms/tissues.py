"""What tissues are made of, and the canvas that they are painted on.

χ of the deep nuclei after an atlas of 106 people (doi:10.1002/nbm.5226); relaxation rates and proton densities are our
choice of usual values at 3 T, scattered from head to head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from .._lazy import torch
from ..labels import Label
from .space import Box


@dataclass(frozen=True)
class Tissue:
    """χ_para and χ_dia (positive) in ppb against water, R2 and R1 in Hz, proton density as a share of water's.

    Outside the brain `bulk_ppm` holds χ, of which R2′ takes no notice: there `r2_hz` is R2*.
    """

    para_ppb: float
    dia_ppb: float
    r2_hz: float
    r1_hz: float
    density: float
    bulk_ppm: float = 0.0

    def scattered(self, rng: np.random.Generator, by: float = 0.1) -> Tissue:
        """The tissue of another head: χ and R2 vary by about `by`, R1 and density by a quarter of that."""
        chi, rate, little = (float(np.exp(rng.normal(0, s))) for s in (by, by / 2, by / 4))
        return replace(
            self,
            para_ppb=self.para_ppb * chi,
            dia_ppb=self.dia_ppb * chi,
            r2_hz=self.r2_hz * rate,
            r1_hz=self.r1_hz * little,
            density=self.density / little,
        )


TISSUES: Mapping[Label, Tissue] = {
    Label.WHITE_MATTER: Tissue(18, 30, 14, 1.16, 0.70),
    Label.GREY_MATTER: Tissue(25, 12, 11.5, 0.70, 0.83),
    Label.CSF: Tissue(0, 0, 0.7, 0.24, 1.0),
    Label.CAUDATE: Tissue(48, 8, 13, 0.75, 0.82),
    Label.PUTAMEN: Tissue(77, 10, 14.5, 0.77, 0.82),
    Label.PALLIDUM: Tissue(132, 13, 20, 0.95, 0.75),
    Label.SUBSTANTIA_NIGRA: Tissue(116, 11, 18, 0.95, 0.78),
    Label.RED_NUCLEUS: Tissue(112, 10, 17, 0.95, 0.76),
    Label.DENTATE: Tissue(110, 15, 16, 0.85, 0.80),
    Label.THALAMUS: Tissue(23, 21, 13, 0.83, 0.78),
    Label.VEIN: Tissue(300, 5, 28, 0.62, 0.85),
    Label.BLEED: Tissue(1000, 0, 30, 0.9, 0.7),
    Label.CALCIFICATION: Tissue(0, 1000, 45, 1.0, 0.35),
}
"""Of every label, at 3 T."""

BRAINSTEM = Tissue(22, 24, 13.5, 1.05, 0.74)
PULVINAR = replace(TISSUES[Label.THALAMUS], para_ppb=52, dia_ppb=12)
AIR = Tissue(0, 0, 0, 0, 0, bulk_ppm=9.4)
SOFT_TISSUE = Tissue(0, 0, 32, 0.8, 0.75)
FAT = Tissue(0, 0, 25, 2.6, 0.8, bulk_ppm=0.6)
BONE = Tissue(0, 0, 500, 2.0, 0.1, bulk_ppm=-2.0)
MARROW = Tissue(0, 0, 70, 2.4, 0.45, bulk_ppm=-0.3)
EYE = Tissue(0, 0, 1.5, 0.27, 0.98)


@dataclass(frozen=True)
class Canvas:
    """Volumes that tissues are painted on, one over the other, each covering the last by its share of the voxel."""

    para_ppm: torch.Tensor
    dia_ppm: torch.Tensor
    r2_hz: torch.Tensor
    r1_hz: torch.Tensor
    density: torch.Tensor
    bulk_ppm: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def blank(cls, shape: tuple[int, int, int], device: torch.device | str) -> Canvas:
        """Air everywhere."""
        para, dia, r2, r1, density = (torch.zeros(shape, device=device) for _ in range(5))
        bulk = torch.full(shape, AIR.bulk_ppm, device=device)
        return cls(para, dia, r2, r1, density, bulk, torch.zeros(shape, dtype=torch.uint8, device=device))

    def paint(
        self,
        share: torch.Tensor,
        tissue: Tissue,
        label: Label | None = None,
        box: Box = (slice(None), slice(None), slice(None)),
    ) -> None:
        """Cover `share` (0 to 1, of the size of `box`) of each voxel of the box. Where it is most of the voxel, the
        voxel gets the label."""
        for volume, value in self._properties(tissue):
            volume[box].lerp_(torch.tensor(float(value), device=volume.device), share)
        if label is not None:
            self.labels[box].masked_fill_(share >= 0.5, int(label))

    def _properties(self, tissue: Tissue) -> list[tuple[torch.Tensor, float]]:
        return [
            (self.para_ppm, tissue.para_ppb * 1e-3),
            (self.dia_ppm, tissue.dia_ppb * 1e-3),
            (self.r2_hz, tissue.r2_hz),
            (self.r1_hz, tissue.r1_hz),
            (self.density, tissue.density),
            (self.bulk_ppm, tissue.bulk_ppm),
        ]
