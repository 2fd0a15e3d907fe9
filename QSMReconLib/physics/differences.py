"""Forward differences with periodic ends, their adjoint, and the Laplacian they make, in space and in k.

Periodic ends are those of the discrete Fourier transform, so that div∘grad is a multiplication in k.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

from .._lazy import torch
from .fourier import Spectrum


def gradient(volume: torch.Tensor, voxel_size_mm: Sequence[float]) -> torch.Tensor:
    """Forward differences per mm of (X, Y, Z): (3, X, Y, Z)."""
    return torch.stack([(volume.roll(-1, axis) - volume) / size for axis, size in enumerate(voxel_size_mm)])


def divergence(vectors: torch.Tensor, voxel_size_mm: Sequence[float]) -> torch.Tensor:
    """Backward differences of (3, X, Y, Z), summed: (X, Y, Z). It is the negative of the adjoint of `gradient`."""
    parts = [
        (vector - vector.roll(1, axis)) / size
        for axis, (vector, size) in enumerate(zip(vectors, voxel_size_mm, strict=True))
    ]
    return parts[0] + parts[1] + parts[2]


def laplacian_spectrum(spectrum: Spectrum, device: torch.device | str = "cpu") -> torch.Tensor:
    """What -divergence∘gradient multiplies the half-spectrum by: Σ (2 - 2cos 2πkv)/v² >= 0, per mm², float32."""
    axes = zip(spectrum.frequencies(device), spectrum.voxel_size_mm, strict=True)
    x, y, z = ((2 - 2 * torch.cos(2 * pi * k * size)) / size**2 for k, size in axes)
    return (x + y + z).float()
