"""The unit dipole response: from susceptibility to field, both in ppm.

Marques and Bowtell 2005, doi:10.1002/cmr.b.20034; Salomir et al. 2003, doi:10.1002/cmr.b.10083.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .._lazy import torch
from ..data import Grid
from .fourier import Spectrum


def dipole_kernel(
    spectrum: Spectrum, b0_direction: Sequence[float], device: torch.device | str = "cpu"
) -> torch.Tensor:
    """D = 1/3 - (k·b)²/|k|² on the half-spectrum, float32, 0 at k = 0.

    At the Nyquist frequency of an even size +k and -k are the same sample; the kernel there is the mean of both, which
    keeps fields real and every orientation of the axes equal.
    """
    k = spectrum.frequencies(device)
    odd = []
    for axis, (frequency, size) in enumerate(zip(k, spectrum.padded, strict=True)):
        signed = frequency.clone()
        if size % 2 == 0:
            signed.select(axis, size // 2).zero_()
        odd.append(signed)
    along = sum((b * f) ** 2 for b, f in zip(b0_direction, k, strict=True))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        if b0_direction[i] * b0_direction[j] != 0:
            along = along + 2 * b0_direction[i] * b0_direction[j] * odd[i] * odd[j]
    squared = k[0] ** 2 + k[1] ** 2 + k[2] ** 2
    squared[0, 0, 0] = 1.0
    kernel = 1 / 3 - along / squared
    kernel[0, 0, 0] = 0.0
    return kernel.float()


@dataclass(frozen=True)
class Dipole:
    """The forward model on a grid: a self-adjoint linear operator on volumes (..., X, Y, Z).

    χ may also fill the padded box, sources around the volume included; then `spread` is the adjoint of `field`.
    """

    spectrum: Spectrum
    kernel: torch.Tensor

    @classmethod
    def of(cls, grid: Grid, device: torch.device | str = "cpu", padding_mm: float = 32.0) -> Dipole:
        """The dipole of a grid, with `padding_mm` of zeros against wrap-around."""
        spectrum = Spectrum.of(grid.shape, grid.voxel_size_mm, padding_mm)
        return cls(spectrum, dipole_kernel(spectrum, grid.b0_direction, device))

    def field(self, chi_ppm: torch.Tensor) -> torch.Tensor:
        """The field (..., X, Y, Z) of a susceptibility distribution, ppm."""
        return self.spectrum.from_k(self.spectrum.to_k(chi_ppm).mul_(self.kernel))

    def spread(self, field: torch.Tensor) -> torch.Tensor:
        """What a field (..., X, Y, Z) that is zero around the volume makes over the whole padded box."""
        return self.spectrum.uncut.from_k(self.spectrum.to_k(field).mul_(self.kernel))
