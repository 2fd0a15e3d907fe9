"""Padded half-spectrum transforms, float32 in, float32 out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._lazy import torch


def smooth_size(n: int) -> int:
    """The smallest even number of at least `n` whose prime factors are 2, 3 and 5, which FFTs like."""
    size = n + n % 2
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 2


@dataclass(frozen=True)
class Spectrum:
    """Volumes of `shape`, set into the corner of a `padded` box of zeros for the transform and cut out after it."""

    shape: tuple[int, int, int]
    padded: tuple[int, int, int]
    voxel_size_mm: tuple[float, float, float]

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        voxel_size_mm: Sequence[float],
        padding_mm: float = 0.0,
    ) -> Spectrum:
        """The spectrum of a grid with at least `padding_mm` of zeros between a volume and its periodic neighbour."""
        grown = [smooth_size(n + int(np.ceil(padding_mm / v))) for n, v in zip(shape, voxel_size_mm, strict=True)]
        x, y, z = (int(n) for n in shape)
        vx, vy, vz = (float(v) for v in voxel_size_mm)
        return cls((x, y, z), (grown[0], grown[1], grown[2]), (vx, vy, vz))

    def to_k(self, volume: torch.Tensor) -> torch.Tensor:
        """Half-spectrum of (..., X, Y, Z): (..., PX, PY, PZ // 2 + 1), complex."""
        return torch.fft.rfftn(volume, s=self.padded, dim=(-3, -2, -1))

    def from_k(self, spectrum: torch.Tensor) -> torch.Tensor:
        """The volume (..., X, Y, Z) of a half-spectrum."""
        x, y, z = self.shape
        return torch.fft.irfftn(spectrum, s=self.padded, dim=(-3, -2, -1))[..., :x, :y, :z]

    @property
    def uncut(self) -> Spectrum:
        """The same transform for volumes that fill the padded box."""
        return Spectrum(self.padded, self.padded, self.voxel_size_mm)

    def mean(self, spectrum: torch.Tensor) -> float:
        """The mean over the whole of k of a real, symmetric half-spectrum."""
        weight = torch.full((spectrum.shape[-1],), 2.0, dtype=torch.float64, device=spectrum.device)
        weight[0] = 1.0
        if self.padded[2] % 2 == 0:
            weight[-1] = 1.0
        x, y, z = self.padded
        return float((spectrum.double().sum((0, 1)) * weight).sum() / (x * y * z))

    def inner(self, one: torch.Tensor, other: torch.Tensor) -> float:
        """The inner product of two real volumes over the padded box, times its voxels, from their half-spectra."""
        total = 2 * float(torch.vdot(one.reshape(-1), other.reshape(-1)).real)
        for end in (0, -1) if self.padded[2] % 2 == 0 else (0,):
            total -= float(torch.vdot(one[..., end].reshape(-1), other[..., end].reshape(-1)).real)
        return total

    def frequencies(self, device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Spatial frequencies in cycles/mm along each axis, shaped to broadcast; float64, for accurate kernels."""
        (px, py, pz), (vx, vy, vz) = self.padded, self.voxel_size_mm
        kx = torch.fft.fftfreq(px, d=vx, device=device, dtype=torch.float64)
        ky = torch.fft.fftfreq(py, d=vy, device=device, dtype=torch.float64)
        kz = torch.fft.rfftfreq(pz, d=vz, device=device, dtype=torch.float64)
        return kx[:, None, None], ky[None, :, None], kz[None, None, :]
