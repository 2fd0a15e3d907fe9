"""Unwrapping through the Laplacian, which wraps leave alone."""

from __future__ import annotations

from math import pi

from .._lazy import torch
from ..data import GreData, Mask, UnwrappedPhase
from ..physics.fourier import Spectrum
from ..runtime import Runtime
from ..stage import Stage, option
from .unwrap import wrap


def laplacian_of_wrapped(phase_rad: torch.Tensor, mask: torch.Tensor, spectrum: Spectrum) -> torch.Tensor:
    """The Laplacian (X, Y, Z), rad/mm², of the phase without its jumps, over neighbours that are both in the mask.

    Schofield and Zhu write it cosφ·∇²sinφ - sinφ·∇²cosφ, which on a grid is the sum of the sines of the steps to the
    neighbours; the steps themselves, wrapped, are exact where a sine already falls short.
    """
    inside = mask > 0
    laplacian = torch.zeros_like(phase_rad)
    for axis, voxel in enumerate(spectrum.voxel_size_mm):
        n = phase_rad.shape[axis]
        both = inside.narrow(axis, 1, n - 1) & inside.narrow(axis, 0, n - 1)
        step = wrap(phase_rad.diff(dim=axis)) * both / voxel**2
        laplacian.narrow(axis, 0, n - 1).add_(step)
        laplacian.narrow(axis, 1, n - 1).sub_(step)
    return laplacian


def laplacian_unwrap(phase_rad: torch.Tensor, mask: torch.Tensor, spectrum: Spectrum) -> torch.Tensor:
    """Phase (X, Y, Z) without jumps, its median over the mask zero, 0 outside (Schofield and Zhu 2003,
    doi:10.1364/OL.28.001194).

    What satisfies Laplace's equation within the mask is lost on the way: part of the background field is gone already.
    """
    eigenvalues = sum(
        (torch.cos(2 * pi * frequency * voxel) - 1) * (2 / voxel**2)
        for frequency, voxel in zip(spectrum.frequencies(phase_rad.device), spectrum.voxel_size_mm, strict=True)
    )
    eigenvalues[0, 0, 0] = 1.0  # type: ignore[index]
    transformed = spectrum.to_k(laplacian_of_wrapped(phase_rad, mask, spectrum)) / eigenvalues.float()  # type: ignore[union-attr]
    transformed[0, 0, 0] = 0.0
    smooth = spectrum.from_k(transformed)
    inside = mask > 0
    middle = smooth[inside].median() if bool(inside.any()) else 0.0
    return (smooth - middle) * inside


class LaplacianUnwrap(Stage):
    """Unwrapping through the Laplacian (Schofield and Zhu 2003, doi:10.1364/OL.28.001194).

    Never tears, whatever the noise, but loses harmonic fields on the way: the total field it leads to is no measure of
    the background. Each echo on its own.
    """

    padding_mm: float = option(32.0, "Zeros around the volume against wrap-around", unit="mm", ge=0, le=200)

    def apply(self, gre: GreData, mask: Mask, runtime: Runtime) -> UnwrappedPhase:
        spectrum = Spectrum.of(gre.grid.shape, gre.grid.voxel_size_mm, self.padding_mm)
        echoes = []
        for number, phase in enumerate(gre.phase_rad):
            echoes.append(laplacian_unwrap(phase, mask.voxels, spectrum))
            runtime.progress((number + 1) / len(gre.phase_rad), f"echo {number + 1}")
        return UnwrappedPhase(gre.grid, torch.stack(echoes), gre.echo_times_s, gre.field_strength_t)
